//! Publishes what its clocks show and what it draws by lot, in every way that
//! WASI offers: `{"time": 0, "wall-ms": 0, "later-ms": 0, "passed-us": 0, "secure": …}`.
//!
//! On the payload `nap` it sleeps for three seconds first; on `wait` it looks at the
//! monotonic clock until a millisecond has passed.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    thread,
    time::{Duration, Instant, SystemTime},
};

use guest::{Event, Guest, Handled, answer};
use serde_json::json;
use wasip2::random::{insecure, insecure_seed, random};

struct Chance;

impl Guest for Chance {
    fn handle(event: Event) -> Handled {
        let begun = Instant::now();
        let wall = wall_ms();
        match &*event.payload {
            b"nap" => thread::sleep(Duration::from_secs(3)),
            b"wait" => while begun.elapsed() < Duration::from_millis(1) {},
            _ => {}
        }
        let seen = json!({
            "time": event.time,
            "wall-ms": wall,
            "later-ms": wall_ms(),
            "passed-us": begun.elapsed().as_micros() as u64,
            "secure": [random::get_random_u64(), random::get_random_u64()],
            "secure-bytes": random::get_random_bytes(70),
            "insecure": insecure::get_insecure_random_u64(),
            "insecure-bytes": insecure::get_insecure_random_bytes(5),
            "seed": insecure_seed::insecure_seed(),
            "hash": RandomState::new().hash_one("x"),
        });
        answer(&event, seen.to_string())
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

guest::export!(Chance);
