//! Behaves: `in.x` becomes `out.x` with the same headers and payload.
//!
//! With `reply = "true"` in its configuration, a request is answered instead.

use guest::{Event, Guest, Handled, Output, config, echo};

struct Echo;

impl Guest for Echo {
    fn handle(event: Event) -> Handled {
        if config::get("reply").as_deref() != Some("true") {
            return echo(event);
        }
        let Some(subject) = event.reply_to else { return echo(event) };
        Ok(vec![Output { subject, headers: event.headers, payload: event.payload }])
    }
}

guest::export!(Echo);
