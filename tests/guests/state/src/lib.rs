//! Publishes how many events this instance has been given, this one included.

use std::sync::atomic::{AtomicU64, Ordering};

use guest::{Event, Guest, Handled, answer};

static CALLS: AtomicU64 = AtomicU64::new(0);

struct State;

impl Guest for State {
    fn handle(event: Event) -> Handled {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        answer(&event, calls.to_string())
    }
}

guest::export!(State);
