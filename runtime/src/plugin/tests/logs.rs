//! What guests say, as lines of the host's log.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

use tracing::Level;

use super::{Bench, event, guests};
use crate::plugin::{
    CallError, Handler as _,
    journal::{excerpt, printable},
};

thread_local! {
    /// What was logged on this thread, which is a test's own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of the current thread.
struct Captured;

impl Captured {
    /// One subscriber for all threads: with one for each, which comes and goes, a line
    /// that is logged for the first time just then may be taken for unwanted.
    fn begin() -> Captured {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(|| Captured)
                .with_max_level(Level::INFO)
                .with_ansi(false)
                .without_time()
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("the only one");
        });
        tracing::callsite::rebuild_interest_cache();
        LOGGED.with_borrow_mut(Vec::clear);
        Captured
    }

    /// What guests said, a line each.
    fn lines(&self) -> Vec<String> {
        let text = LOGGED.with_borrow(|bytes| String::from_utf8(bytes.clone()).expect("text"));
        text.lines()
            .filter(|line| line.contains("pelton::guest"))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_carries_level_plugin_and_event() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::logging(1)).await;
    let captured = Captured::begin();
    plugin.handle(&event("x")).await.expect("an answer");
    let said = r#"INFO pelton::guest: he\u{1b}lo plugin="guest" event="event-1""#;
    assert_eq!(captured.lines(), [said]);
}

#[tokio::test]
async fn a_flood_is_cut_and_counted_once() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::logging(100_000)).await;
    let captured = Captured::begin();
    for _ in 0..2 {
        plugin.handle(&event("x")).await.expect("an answer");
    }
    let lines = captured.lines();
    assert_eq!(lines.len(), 2 * 11, "{lines:?}");
    assert!(lines[10].contains("99990 lines dropped"), "{}", lines[10]);
}

#[tokio::test]
async fn bytes_are_limited_as_lines_are() {
    let mut bench = Bench::new();
    bench.spec.limits.log_bytes = 14;
    let plugin = bench.plugin(&guests::logging(4)).await;
    let captured = Captured::begin();
    plugin.handle(&event("x")).await.expect("an answer");
    let lines = captured.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].contains("2 lines dropped"), "{}", lines[2]);
}

#[tokio::test]
async fn stdout_and_stderr_become_lines() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::printing("")).await;
    let captured = Captured::begin();
    plugin.handle(&event("one\ntwo")).await.expect("an answer");
    let fields = r#"plugin="guest" event="event-1""#;
    let said = ["INFO pelton::guest: out", "WARN pelton::guest: one", "WARN pelton::guest: two"];
    assert_eq!(captured.lines(), said.map(|said| format!("{said} {fields}")));
}

#[tokio::test]
async fn blank_lines_are_left_out_and_not_counted() {
    let mut bench = Bench::new();
    bench.spec.limits.log_lines = 3;
    let plugin = bench.plugin(&guests::printing("")).await;
    let captured = Captured::begin();
    plugin.handle(&event("\n\n  one\n \t\r\n\r\n\ntwo\n\n")).await.expect("an answer");
    let fields = r#"plugin="guest" event="event-1""#;
    let said = ["INFO pelton::guest: out", "WARN pelton::guest:   one", "WARN pelton::guest: two"];
    assert_eq!(captured.lines(), said.map(|said| format!("{said} {fields}")));
}

#[tokio::test]
async fn a_trap_is_explained_by_stderr() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::printing("unreachable")).await;
    let Err(CallError::Trap { reason, .. }) =
        plugin.handle(&event("Traceback:\n  boom\u{7}\n")).await
    else {
        panic!("not a trap");
    };
    assert!(reason.ends_with(r"; stderr: Traceback: |   boom\u{7}"), "{reason}");
}

#[tokio::test]
async fn only_the_end_of_stderr_is_kept() {
    let mut bench = Bench::new();
    bench.spec.limits.log_lines = 0;
    let plugin = bench.plugin(&guests::printing("unreachable")).await;
    let long = format!("{}THE END", "a".repeat(20_000));
    let Err(CallError::Trap { reason, .. }) = plugin.handle(&event(&long)).await else {
        panic!("not a trap");
    };
    assert!(reason.ends_with("THE END") && reason.len() < 5_000, "{}", reason.len());
}

#[tokio::test]
async fn an_exit_is_told_by_its_status() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::printing("(call $exit (i32.const 3))")).await;
    let Err(CallError::Trap { reason, .. }) = plugin.handle(&event("bye")).await else {
        panic!("not a trap");
    };
    assert_eq!(reason, "it called exit with status 1; stderr: bye");
}

#[test]
fn text_is_made_harmless() {
    assert_eq!(printable("a\tb ü"), "a\tb ü");
    assert_eq!(printable("\u{1b}[2Jx\r\n\u{202e}y\u{9b}"), r"\u{1b}[2Jx\r\n\u{202e}y\u{9b}");
}

#[test]
fn an_excerpt_ends_between_characters() {
    assert_eq!(excerpt("äöü", 6), "äöü");
    assert_eq!(excerpt("äöü", 5), "äö…");
    assert_eq!(excerpt("\u{1b}\u{1b}", 7), r"\u{1b}\");
}
