//! Rejects the payload `reject`; echoes anything else.

use guest::{Event, Failure, Guest, Handled, echo};

struct Reject;

impl Guest for Reject {
    fn handle(event: Event) -> Handled {
        if event.payload == b"reject" {
            return Err(Failure::Reject("rejected on purpose".to_owned()));
        }
        echo(event)
    }
}

guest::export!(Reject);
