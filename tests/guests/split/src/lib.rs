//! For exact accounting: `{"id": 7, "outputs": 3, "sleep-ms": 2}` becomes the
//! outputs `7.0`, `7.1`, `7.2` after that time; echoes anything without an id.

use std::{thread, time::Duration};

use guest::{Event, Guest, Handled, Output, echo, out};
use serde_json::Value;

struct Split;

impl Guest for Split {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        let Some(id) = wish["id"].as_u64() else { return echo(event) };
        thread::sleep(Duration::from_millis(wish["sleep-ms"].as_u64().unwrap_or(0)));
        let output = |index: u64| Output {
            subject: out(&event.subject),
            headers: Vec::new(),
            payload: format!("{id}.{index}").into_bytes(),
        };
        Ok((0..wish["outputs"].as_u64().unwrap_or(1)).map(output).collect())
    }
}

guest::export!(Split);
