//! Asks for a retry until the attempt in the payload, `{"succeed-at": 3}`, then echoes.

use guest::{Event, Failure, Guest, Handled, echo};
use serde_json::Value;

struct Flaky;

impl Guest for Flaky {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        match wish["succeed-at"].as_u64() {
            Some(attempt) if u64::from(event.attempt) < attempt => {
                Err(Failure::Retry(format!("attempt {} of {attempt}", event.attempt)))
            }
            _ => echo(event),
        }
    }
}

guest::export!(Flaky);
