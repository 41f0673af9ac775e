//! Does nothing at all: what is left is the cost of a call.

use guest::{Event, Guest, Handled};

struct Noop;

impl Guest for Noop {
    fn handle(_event: Event) -> Handled {
        Ok(Vec::new())
    }
}

guest::export!(Noop);
