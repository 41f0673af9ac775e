//! The record of an event that could not be handled: its bytes and headers as
//! they were, and everything one needs to find out why and to run it again.

use bytes::Bytes;

use crate::{
    broker::{Keep, Message},
    dispatch::{Failure, Plan},
    event::{Event, Header},
    subject,
};

/// The longest error text in a record, in bytes.
const MAX_ERROR: usize = 1024;
/// The longest backtrace in a record, in bytes.
const MAX_BACKTRACE: usize = 4096;

/// The longest subject in a record, in bytes: the longest that servers take.
const MAX_SUBJECT: usize = 4096;

/// The first part of the names of the headers that we add.
const PREFIX: &str = "Pelton-Dlq-";
/// What stands before the name of an original header that would command the
/// server, or that is ours.
const ORIGINAL: &str = "Pelton-Original-";

/// The header with the block of headers that could not be read, whole and
/// percent-encoded: every byte but printable ASCII, and `%`.
const MALFORMED: &str = "Pelton-Malformed-Headers";

/// Where dead letters are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The stream.
    pub stream: String,
    /// The first tokens of the subject; `<plugin>.<subject>` follows.
    pub prefix: String,
    /// Whether the plugin's source stream keeps an event after it was rejected
    /// (retention by limits), so that a record may leave the payload there.
    pub source_keeps: bool,
}

/// How much a record tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    /// What a replay needs, and the first words of the error.
    Least,
}

impl DeadLetters {
    /// The record of `event`, which failed at `now_ms` (milliseconds since 1970),
    /// as complete as the server takes it. `None` if it takes none, and the
    /// payload would be lost.
    pub fn record(
        &self,
        plan: &Plan,
        event: &Event,
        failure: &Failure,
        now_ms: u64,
    ) -> Option<Message> {
        let malformed = failure.malformed_headers().map(malformed);
        let record = |detail| {
            // The block of headers that could not be read has those that could.
            let is_twofold = detail == Detail::Least && malformed.is_some();
            let readable = event.headers.iter().filter(|_| !is_twofold);
            let mut headers: Vec<_> = readable.map(original).collect();
            headers.extend(malformed.clone());
            headers.extend(facts(plan, event, failure, (detail, now_ms)));
            self.message(plan, event, headers, event.payload.clone())
        };
        let fits = |message: &Message| plan.publishing.takes(message);
        [Detail::All, Detail::Least].into_iter().map(record).find(fits).or_else(|| {
            let kept = self.source_keeps && event.position.is_some();
            kept.then(|| self.reference(plan, event, failure, now_ms))
        })
    }

    /// The record without the payload, which is still in the source stream.
    fn reference(&self, plan: &Plan, event: &Event, failure: &Failure, now_ms: u64) -> Message {
        let mut headers = facts(plan, event, failure, (Detail::Least, now_ms));
        headers.push(fact("Payload-Left-In-Stream", event.payload.len().to_string()));
        self.message(plan, event, headers, Bytes::new())
    }

    fn message(&self, plan: &Plan, event: &Event, headers: Vec<Header>, payload: Bytes) -> Message {
        let id = plan.run(event).dead_letter();
        Message {
            subject: format!("{}.{}.{}", self.prefix, plan.plugin, plain(&event.subject)),
            headers,
            payload,
            keep: Keep::Stored { id, stream: Some(self.stream.as_str().into()) },
        }
    }
}

fn facts(
    plan: &Plan,
    event: &Event,
    failure: &Failure,
    (detail, now_ms): (Detail, u64),
) -> Vec<Header> {
    let max_error = if detail == Detail::All { MAX_ERROR } else { MAX_ERROR / 8 };
    let mut facts = vec![
        fact("Reason", failure.class()),
        fact("Error", one_line(&failure.to_string(), max_error)),
        fact("Host", &*plan.host),
        fact("Plugin", &*plan.plugin),
        fact("Digest", &*plan.digest),
        fact("Event-Id", &*event.id),
        fact("Subject", one_line(&event.subject, MAX_SUBJECT)),
        fact("Attempts", event.attempt.to_string()),
        fact("Published-At", timestamp(event.time_ms)),
        fact("Failed-At", timestamp(now_ms)),
    ];
    if let Some(position) = &event.position {
        facts.push(fact("Stream", &*position.stream));
        facts.push(fact("Stream-Created", position.stream_created.to_string()));
        facts.push(fact("Sequence", position.sequence.to_string()));
    }
    if let Some(backtrace) = failure.backtrace().filter(|_| detail == Detail::All) {
        facts.push(fact("Backtrace", one_line(backtrace, MAX_BACKTRACE)));
    }
    facts
}

fn fact(name: &str, value: impl Into<String>) -> Header {
    Header { name: format!("{PREFIX}{name}"), value: value.into() }
}

fn original(header: &Header) -> Header {
    let name = header.name.to_ascii_lowercase();
    match name.starts_with("nats-") || name.starts_with("pelton-") {
        true => Header { name: format!("{ORIGINAL}{}", header.name), value: header.value.clone() },
        false => header.clone(),
    }
}

fn malformed(block: &[u8]) -> Header {
    let encode = |byte: &u8| match byte {
        b'%' => "%25".to_owned(),
        byte if byte.is_ascii_graphic() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    Header { name: MALFORMED.to_owned(), value: block.iter().map(encode).collect() }
}

/// `subject` without what a subject to publish to must not contain, and not
/// longer than that may be: the server lets publishers use wildcards and control
/// characters literally, and lines of 4 KiB. The header has it in full.
fn plain(subject: &str) -> String {
    let plain = |character: char| match character {
        '*' | '>' => '_',
        character if character.is_ascii_graphic() => character,
        _ => '_',
    };
    let plain: String = subject.chars().map(plain).take(subject::MAX_BYTES).collect();
    plain.trim_end_matches('.').to_owned()
}

/// `text` as a header's value: line breaks become ` | `, other control
/// characters are shown as escapes, and at most `max` bytes are kept.
fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for character in text.trim().replace('\n', " | ").chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
        if line.len() > max {
            line.push('…');
            break;
        }
    }
    line
}

/// RFC 3339, in milliseconds.
fn timestamp(ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms));
    match time.filter(|_| ms < MAX_MS) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => ms.to_string(),
    }
}

/// The end of the year 9999, which is where RFC 3339 ends.
const MAX_MS: u64 = 253_402_300_800_000;

#[cfg(test)]
mod tests;
