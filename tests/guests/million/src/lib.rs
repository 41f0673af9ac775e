//! Returns a million outputs on the payload `million` (which takes about 80 MiB
//! of memory); echoes anything else.

use guest::{Event, Guest, Handled, Output, echo, out};

struct Million;

impl Guest for Million {
    fn handle(event: Event) -> Handled {
        if event.payload != b"million" {
            return echo(event);
        }
        let mut outputs = Vec::with_capacity(1_000_000);
        outputs.resize_with(1_000_000, || Output {
            subject: out(&event.subject),
            headers: Vec::new(),
            payload: Vec::new(),
        });
        Ok(outputs)
    }
}

guest::export!(Million);
