//! Spins forever on the payload `spin`; echoes anything else.

use guest::{Event, Guest, Handled, echo};

struct Spin;

impl Guest for Spin {
    fn handle(event: Event) -> Handled {
        while event.payload == b"spin" {
            std::hint::spin_loop();
        }
        echo(event)
    }
}

guest::export!(Spin);
