//! Floods the log, stdout and stderr on the payload `loud`, with escape
//! sequences, forged lines and a line without an end; then, and on anything
//! else, echoes.

use guest::{Event, Guest, Handled, echo, log};

struct Loud;

impl Guest for Loud {
    fn handle(event: Event) -> Handled {
        if event.payload == b"loud" {
            (0..10_000).for_each(shout);
            print!("{}", "no end ".repeat(200_000));
        }
        echo(event)
    }
}

fn shout(line: u32) {
    log::write(log::Level::Error, &format!("\u{1b}[31mlog {line}\u{1b}[0m\nforged\r\u{7}\u{202e}"));
    println!("\u{1b}]0;title\u{7}stdout {line}");
    eprintln!("\u{1b}[2Jstderr {line}");
}

guest::export!(Loud);
