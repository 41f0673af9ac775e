//! Returns one output of as many MiB as the payload says; echoes anything but a number.

use guest::{Event, Guest, Handled, answer, echo, number};

struct Huge;

impl Guest for Huge {
    fn handle(event: Event) -> Handled {
        match number(&event) {
            Some(mebibytes) => answer(&event, vec![b'x'; (mebibytes as usize) << 20]),
            None => echo(event),
        }
    }
}

guest::export!(Huge);
