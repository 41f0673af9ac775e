//! Panics on the payload `panic`, after two outputs were made; echoes anything else.

use guest::{Event, Guest, Handled, answer, echo};

struct Panic;

impl Guest for Panic {
    fn handle(event: Event) -> Handled {
        let outputs = [answer(&event, "first")?, answer(&event, "second")?].concat();
        assert!(event.payload != b"panic", "panic on purpose with {} outputs", outputs.len());
        echo(event)
    }
}

guest::export!(Panic);
