//! Ends its process with the status in the payload (WASI 0.2 tells the host 0 or 1
//! of it); echoes anything but a number.

use guest::{Event, Guest, Handled, echo, number};

struct Exit;

impl Guest for Exit {
    fn handle(event: Event) -> Handled {
        match number(&event) {
            Some(status) => std::process::exit(status as i32),
            None => echo(event),
        }
    }
}

guest::export!(Exit);
