//! Executes `unreachable` on the payload `trap`; echoes anything else.

use guest::{Event, Guest, Handled, echo};

struct Trap;

impl Guest for Trap {
    fn handle(event: Event) -> Handled {
        if event.payload == b"trap" {
            fall_into_the_trap();
        }
        echo(event)
    }
}

/// A function of its own, so that a backtrace has a name to show.
#[inline(never)]
fn fall_into_the_trap() {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable()
}

guest::export!(Trap);
