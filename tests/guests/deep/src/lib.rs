//! Calls itself without end on the payload `deep`, to the depth in the payload
//! if it is a number; echoes if it is still alive.

use std::hint::black_box;

use guest::{Event, Guest, Handled, echo, number};

struct Deep;

impl Guest for Deep {
    fn handle(event: Event) -> Handled {
        let endless = (event.payload == b"deep").then_some(u64::MAX);
        black_box(descend(endless.or(number(&event)).unwrap_or(0)));
        echo(event)
    }
}

/// Keeps a value across the call, so that it cannot become a loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(descend(black_box(depth - 1))) + 1 }
}

guest::export!(Deep);
