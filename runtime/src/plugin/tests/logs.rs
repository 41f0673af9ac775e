//! What guests say, as lines of the host's log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Level, subscriber::DefaultGuard};

use super::{Bench, event, guests};
use crate::plugin::{
    CallError, Handler as _,
    journal::{excerpt, printable},
};

/// The log of the current thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn begin() -> (Captured, DefaultGuard) {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(Level::INFO)
            .with_ansi(false)
            .without_time()
            .finish();
        (captured, tracing::subscriber::set_default(subscriber))
    }

    /// What guests said, a line each.
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("no panic").clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines()
            .filter(|line| line.contains("pelton::guest"))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
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
    let (captured, _guard) = Captured::begin();
    plugin.handle(&event("x")).await.expect("an answer");
    let said = r#"INFO pelton::guest: he\u{1b}lo plugin="guest" event="event-1""#;
    assert_eq!(captured.lines(), [said]);
}

#[tokio::test]
async fn a_flood_is_cut_and_counted_once() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::logging(100_000)).await;
    let (captured, _guard) = Captured::begin();
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
    let (captured, _guard) = Captured::begin();
    plugin.handle(&event("x")).await.expect("an answer");
    let lines = captured.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].contains("2 lines dropped"), "{}", lines[2]);
}

#[tokio::test]
async fn stdout_and_stderr_become_lines() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::printing("")).await;
    let (captured, _guard) = Captured::begin();
    plugin.handle(&event("one\ntwo")).await.expect("an answer");
    let fields = r#"plugin="guest" event="event-1""#;
    let said = ["INFO pelton::guest: out", "WARN pelton::guest: one", "WARN pelton::guest: two"];
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
