//! How a dead letter looks: as a row, and as JSON with field names that stay.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pelton::{
    dead_letters::Entry,
    event::{
        Event, Header,
        letter::{Attempt, Letter, timestamp},
    },
};
use serde_json::{Map, Value, json};

/// The columns of a row, from left to right.
pub const COLUMNS: [&str; 7] =
    ["NUMBER", "FAILED", "PLUGIN", "REASON", "ATTEMPTS", "SUBJECT", "ERROR"];

/// Shown in the place of what is not known.
const UNKNOWN: &str = "-";

/// The cells of `entry`; `now` makes times into ages.
pub fn row(entry: &Entry, now: Option<SystemTime>) -> [String; 7] {
    let failed = |ms| now.map_or_else(|| timestamp(ms), |now| age(now, ms));
    let number = entry.number.to_string();
    let Some(letter) = &entry.letter else {
        let [unknown, foreign] = [UNKNOWN, "not written by pelton"].map(str::to_owned);
        let (failed, subject) = (failed(entry.stored_ms), clean(&entry.subject));
        return [number, failed, unknown.clone(), unknown.clone(), unknown, subject, foreign];
    };
    [
        number,
        failed(letter.failed_at_ms),
        clean(&letter.plugin),
        clean(&letter.reason),
        letter.event.attempt.to_string(),
        clean(&letter.event.subject),
        clean(&letter.error),
    ]
}

/// How long ago that was, in its largest unit.
pub fn age(now: SystemTime, ms: u64) -> String {
    let then = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    let age = then.and_then(|then| now.duration_since(then).ok()).unwrap_or_default().as_secs();
    match age {
        0..60 => format!("{age}s"),
        60..3_600 => format!("{}min", age / 60),
        3_600..172_800 => format!("{}h", age / 3_600),
        _ => format!("{}d", age / 86_400),
    }
}

/// `text` without what could harm a terminal.
pub fn clean(text: &str) -> String {
    let clean = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(clean).collect()
}

/// What the list says of `entry`.
pub fn summary(entry: &Entry) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| _ = fields.insert(name.to_owned(), value);
    set("number", json!(entry.number));
    set("stored_at", json!(timestamp(entry.stored_ms)));
    set("size", json!(entry.size));
    let Some(letter) = &entry.letter else {
        set("stored_subject", json!(entry.subject));
        return fields;
    };
    set("host", json!(letter.host));
    set("plugin", json!(letter.plugin));
    set("reason", json!(letter.reason));
    set("error", json!(letter.error));
    set("failed_at", json!(timestamp(letter.failed_at_ms)));
    set("attempts", json!(letter.event.attempt));
    set("replays", json!(letter.replays));
    set("event_id", json!(letter.event.id));
    set("subject", json!(letter.event.subject));
    set("published_at", json!(timestamp(letter.event.time_ms)));
    let position = letter.event.position.as_ref();
    set("stream", json!(position.map(|position| &position.stream)));
    set("sequence", json!(position.map(|position| position.sequence)));
    fields
}

/// Everything that is known of `entry`, whose event is `event`, or why it is not
/// there: enough to run it again from elsewhere.
pub fn whole(entry: &Entry, event: &Result<Event, String>) -> Map<String, Value> {
    let mut fields = summary(entry);
    if let Some(letter) = &entry.letter {
        facts(&mut fields, letter);
    }
    let (headers, payload) = match event {
        Ok(event) => (&event.headers, &event.payload),
        Err(_) => (&entry.headers, &entry.payload),
    };
    let mut set = |name: &str, value: Value| _ = fields.insert(name.to_owned(), value);
    if let Err(problem) = event {
        set("incomplete", json!(problem));
    }
    set("headers", pairs(headers));
    set("payload_base64", json!(BASE64_STANDARD.encode(payload)));
    set("payload_text", json!(str::from_utf8(payload).ok()));
    fields
}

fn facts(fields: &mut Map<String, Value>, letter: &Letter) {
    let mut set = |name: &str, value: Value| _ = fields.insert(name.to_owned(), value);
    let created = letter.event.position.as_ref().map(|position| position.stream_created);
    set("stream_created_ns", json!(created));
    set("digest", json!(letter.digest));
    set("namespace", json!(letter.namespace));
    set("backtrace", json!(letter.backtrace));
    set("history", letter.history.iter().map(attempt).collect());
    let malformed = letter.malformed.as_ref().map(|block| BASE64_STANDARD.encode(block));
    set("malformed_headers_base64", json!(malformed));
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "replay": attempt.replay,
        "attempt": attempt.number,
        "at": timestamp(attempt.at_ms),
        "reason": attempt.class,
        "error": attempt.error,
    })
}

fn pairs(headers: &[Header]) -> Value {
    headers.iter().map(|header| json!([header.name, header.value])).collect()
}
