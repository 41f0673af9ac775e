//! Returns as many outputs as the payload says, numbered from 0; echoes anything
//! but a number.

use guest::{Event, Guest, Handled, Output, echo, number, out};

struct Fan;

impl Guest for Fan {
    fn handle(event: Event) -> Handled {
        let Some(count) = number(&event) else { return echo(event) };
        let output = |index: u64| Output {
            subject: out(&event.subject),
            headers: event.headers.clone(),
            payload: index.to_string().into_bytes(),
        };
        Ok((0..count).map(output).collect())
    }
}

guest::export!(Fan);
