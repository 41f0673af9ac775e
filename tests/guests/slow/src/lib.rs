//! Sleeps for the milliseconds in the payload, then echoes; with `busy 200` it
//! computes for so long instead.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

use guest::{Event, Guest, Handled, echo};

struct Slow;

impl Guest for Slow {
    fn handle(event: Event) -> Handled {
        let text = String::from_utf8_lossy(&event.payload);
        let (busy, number) = match text.strip_prefix("busy ") {
            Some(rest) => (true, rest),
            None => (false, &*text),
        };
        let time = Duration::from_millis(number.trim().parse().unwrap_or(0));
        if busy {
            compute(time)
        } else {
            thread::sleep(time)
        }
        echo(event)
    }
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        (0..10_000).for_each(|i| _ = hint::black_box(i));
    }
}

guest::export!(Slow);
