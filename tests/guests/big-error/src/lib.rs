//! Rejects the payload `big-error` with a reason of 10 MiB; echoes anything else.

use guest::{Event, Failure, Guest, Handled, echo};

struct BigError;

impl Guest for BigError {
    fn handle(event: Event) -> Handled {
        if event.payload == b"big-error" {
            return Err(Failure::Reject("é".repeat(5 << 20)));
        }
        echo(event)
    }
}

guest::export!(BigError);
