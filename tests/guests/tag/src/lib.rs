//! Says who handled an event: `{"n": 7, "sleep-ms": 2}` becomes `7` after that
//! time, with the header `Tag` from its configuration and the header `Calls`:
//! how many events this instance has been given. `{"n": 7, "until": "b"}` asks
//! for a retry until the tag is `b`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use guest::{Event, Failure, Guest, Handled, Header, Output, config, out};
use serde_json::Value;

static CALLS: AtomicU64 = AtomicU64::new(0);

struct Tag;

impl Guest for Tag {
    fn handle(event: Event) -> Handled {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        thread::sleep(Duration::from_millis(wish["sleep-ms"].as_u64().unwrap_or(0)));
        let tag = config::get("tag").unwrap_or_default();
        if wish["until"].as_str().is_some_and(|until| until != tag) {
            return Err(Failure::Retry(format!("the tag is {tag}")));
        }
        let header = |name: &str, value: String| Header { name: name.to_owned(), value };
        Ok(vec![Output {
            subject: out(&event.subject),
            headers: vec![header("Tag", tag), header("Calls", calls.to_string())],
            payload: wish["n"].to_string().into_bytes(),
        }])
    }
}

guest::export!(Tag);
