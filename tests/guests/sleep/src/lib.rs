//! Waits in the host for an hour on the payload `sleep`; echoes anything else.
//!
//! It uses no processor: only a limit for wall clock time ends it.

use std::{thread, time::Duration};

use guest::{Event, Guest, Handled, echo};

struct Sleep;

impl Guest for Sleep {
    fn handle(event: Event) -> Handled {
        if event.payload == b"sleep" {
            thread::sleep(Duration::from_secs(3600));
        }
        echo(event)
    }
}

guest::export!(Sleep);
