//! For exact accounting: `{"id": 7, "outputs": 3, "sleep-ms": 2}` becomes the
//! outputs `7.0`, `7.1`, `7.2` after that time; echoes anything without an id.
//! With `"succeed-at": 3` it asks for a retry until that attempt; with
//! `"reject": true` it rejects.

use std::{thread, time::Duration};

use guest::{Event, Failure, Guest, Handled, Output, echo, out};
use serde_json::Value;

struct Split;

impl Guest for Split {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        let Some(id) = wish["id"].as_u64() else { return echo(event) };
        thread::sleep(Duration::from_millis(wish["sleep-ms"].as_u64().unwrap_or(0)));
        if wish["reject"].as_bool() == Some(true) {
            return Err(Failure::Reject("rejected on purpose".to_owned()));
        }
        if wish["succeed-at"].as_u64().is_some_and(|attempt| u64::from(event.attempt) < attempt) {
            return Err(Failure::Retry(format!("attempt {}", event.attempt)));
        }
        let output = |index: u64| Output {
            subject: out(&event.subject),
            headers: Vec::new(),
            payload: format!("{id}.{index}").into_bytes(),
        };
        Ok((0..wish["outputs"].as_u64().unwrap_or(1)).map(output).collect())
    }
}

guest::export!(Split);
