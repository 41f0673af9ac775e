//! Asks for a retry after the time in the payload, `{"succeed-at": 2, "wait-ms": 300}`,
//! until that attempt; then echoes.

use guest::{Event, Failure, Guest, Handled, echo};
use serde_json::Value;

struct RetryAfter;

impl Guest for RetryAfter {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        match (wish["succeed-at"].as_u64(), wish["wait-ms"].as_u64()) {
            (Some(attempt), Some(wait)) if u64::from(event.attempt) < attempt => {
                Err(Failure::RetryAfter((wait, format!("not before {wait} ms have passed"))))
            }
            _ => echo(event),
        }
    }
}

guest::export!(RetryAfter);
