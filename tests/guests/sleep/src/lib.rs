//! Waits in the host for an hour on the payload `sleep`, and says so; echoes
//! anything else.
//!
//! It uses no processor: only a limit for wall clock time ends it.

use std::{thread, time::Duration};

use guest::{Event, Guest, Handled, echo, log};

struct Sleep;

impl Guest for Sleep {
    fn handle(event: Event) -> Handled {
        if event.payload == b"sleep" {
            log::write(log::Level::Info, "sleeping for an hour");
            thread::sleep(Duration::from_secs(3600));
        }
        echo(event)
    }
}

guest::export!(Sleep);
