//! Does as the payload says, and testifies which attempt it was:
//! `{"n": 7, "succeed-at": 3}` becomes `{"n": 7, "attempt": 3}`.
//!
//! It asks for a retry before the attempt `succeed-at`, and before the time
//! `until-ms` (since 1970); it rejects with `"reject": true`. With `hold = "yes"`
//! in its configuration what would succeed says so and sleeps for an hour instead.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use guest::{Event, Failure, Guest, Handled, answer, config, log};
use serde_json::{Value, json};

struct Witness;

impl Guest for Witness {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        if wish["reject"] == true {
            return Err(Failure::Reject("as wished".to_owned()));
        }
        let succeed_at = wish["succeed-at"].as_u64().unwrap_or(1);
        if u64::from(event.attempt) < succeed_at {
            return Err(Failure::Retry(format!("attempt {} of {succeed_at}", event.attempt)));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if now < Duration::from_millis(wish["until-ms"].as_u64().unwrap_or(0)) {
            return Err(Failure::Retry("out of order".to_owned()));
        }
        if config::get("hold").as_deref() == Some("yes") {
            log::write(log::Level::Info, &format!("holding attempt {}", event.attempt));
            thread::sleep(Duration::from_secs(3600));
        }
        let testimony = json!({ "n": wish["n"], "attempt": event.attempt });
        answer(&event, testimony.to_string())
    }
}

guest::export!(Witness);
