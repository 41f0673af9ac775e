//! A dead letter as a message: the facts that stand in its headers beside the
//! original event, and how both are read back.
//!
//! A request for a replay is the same message with some headers more. Nothing is
//! stored, fetched or decided here: `dispatch` writes letters, `broker` and
//! `dead_letters` read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use packed::{Unpacked, unpacked};

use super::{Event, Header, Position};

pub use attempt::Attempt;
pub use packed::{packed, packed_size};
pub use text::{one_line, percent_decoded, percent_encoded};

mod attempt;
mod packed;
mod text;
mod written;

/// The first part of the names of the headers with facts.
const FACT: &str = "Pelton-Dlq-";
/// The first part of the names of the headers that a request for a replay adds.
const REQUEST: &str = "Pelton-Replay-";
/// What stands before the name of an original header that would command the
/// server, or that is ours.
const ORIGINAL: &str = "Pelton-Original-";
/// The header with the block of headers that could not be read, whole and
/// percent-encoded.
const MALFORMED: &str = "Pelton-Malformed-Headers";

/// The most earlier failures that a letter tells of, replays included.
pub const MAX_HISTORY: usize = 32;

/// Facts that only explain, in the order in which they are given up when a
/// message would be too large.
const EXPENDABLE: [&str; 4] = ["Backtrace", "History", "Error", "Digest"];

/// A dead letter, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The event as it was, with the number of the last attempt; its payload is
    /// empty if it was left in the source stream.
    pub event: Event,
    /// The host that gave it up.
    pub host: String,
    /// The plugin that could not handle it.
    pub plugin: String,
    /// The component's digest.
    pub digest: String,
    /// The class of the last failure.
    pub reason: String,
    /// What the last failure said, on one line.
    pub error: String,
    /// Where the guest was, on one line.
    pub backtrace: Option<String>,
    /// When it was given up, in milliseconds since 1970.
    pub failed_at_ms: u64,
    /// Earlier failures, as far as they are known; oldest first.
    pub history: Vec<Attempt>,
    /// The block of headers that could not be read, as it was sent.
    pub malformed: Option<Bytes>,
    /// The payload's length in bytes, if it, and the event's headers, have to be
    /// fetched from the source stream.
    pub left_in_stream: Option<u64>,
    /// How often it had been replayed before.
    pub replays: u32,
    /// What told the last run's outputs from those of other runs; empty: nothing.
    pub namespace: String,
    /// The request for the last replay, if there was one.
    pub batch: Option<String>,
}

/// A run of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Names the request: the same at every delivery of it, and of no other.
    pub id: String,
    /// 1 at the first replay of an event.
    pub number: u32,
    /// Tells the outputs from those of other runs; empty: the same outputs.
    pub namespace: String,
    /// Which call of `pelton dlq replay` asked for it.
    pub batch: String,
    /// The failures before it, as far as they are known.
    pub past: Vec<Attempt>,
}

/// What a request for a replay says beside the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// See [`Replay::namespace`].
    pub namespace: String,
    /// See [`Replay::batch`].
    pub batch: String,
}

/// The header with a fact.
pub fn fact(name: &str, value: impl Into<String>) -> Header {
    Header { name: format!("{FACT}{name}"), value: value.into() }
}

/// A header of the event as a letter carries it.
pub fn original(header: &Header) -> Header {
    match is_ours(&header.name) {
        true => Header { name: format!("{ORIGINAL}{}", header.name), value: header.value.clone() },
        false => header.clone(),
    }
}

/// The header with a block of headers that could not be read.
pub fn malformed(block: &[u8]) -> Header {
    Header { name: MALFORMED.to_owned(), value: percent_encoded(block) }
}

/// What a record that is run again says of that.
pub fn replayed(replay: &Replay) -> Vec<Header> {
    let mut facts = vec![fact("Replays", replay.number.to_string())];
    let texts = [("Namespace", &replay.namespace), ("Replay", &replay.batch)];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    facts.extend(texts.map(|(name, text)| fact(name, text.as_str())));
    facts
}

/// RFC 3339, in milliseconds.
pub fn timestamp(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    match time.filter(|_| ms < MAX_MS) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => ms.to_string(),
    }
}

/// The end of the year 9999, which is where RFC 3339 ends, in milliseconds since 1970.
pub const MAX_MS: u64 = 253_402_300_800_000;

/// What [`timestamp`] wrote, in milliseconds since 1970.
pub fn milliseconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time: SystemTime| time.duration_since(UNIX_EPOCH).ok());
    let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    ms.or_else(|| text.parse().ok())
}

fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("nats-") || name.starts_with("pelton-")
}

/// The rest of `name` after `prefix`, in any spelling.
fn after<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The headers of a stored message, to be asked for facts.
struct Facts<'a>(&'a [Header]);

impl<'a> Facts<'a> {
    fn all(&self, prefix: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let named = move |header: &&Header| {
            after(&header.name, prefix).is_some_and(|rest| rest.eq_ignore_ascii_case(name))
        };
        self.0.iter().filter(named).map(|header| header.value.as_str())
    }

    fn text(&self, name: &'a str) -> Option<&'a str> {
        self.all(FACT, name).next()
    }

    fn owned(&self, name: &'a str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn number<T: std::str::FromStr>(&self, name: &'a str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &'a str) -> Option<u64> {
        self.text(name).and_then(milliseconds)
    }

    fn request(&self, name: &'a str) -> Option<&'a str> {
        self.all(REQUEST, name).next()
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            stream: self.text("Stream")?.to_owned(),
            stream_created: self.number("Stream-Created")?,
            sequence: self.number("Sequence")?,
        })
    }

    fn event(&self, payload: Bytes) -> Option<Event> {
        Some(Event {
            id: self.text("Event-Id")?.to_owned(),
            subject: self.text("Subject")?.to_owned(),
            headers: restored(self.0),
            payload,
            reply_to: None,
            time_ms: self.time("Published-At").unwrap_or(0),
            attempt: self.number("Attempts").unwrap_or(0),
            position: self.position(),
            replay: None,
        })
    }
}

/// The event's own headers among those of a letter.
fn restored(headers: &[Header]) -> Vec<Header> {
    let restore = |header: &Header| match after(&header.name, ORIGINAL) {
        Some(name) => Some(Header { name: name.to_owned(), value: header.value.clone() }),
        None => Some(header.clone()).filter(|header| !is_ours(&header.name)),
    };
    headers.iter().filter_map(restore).collect()
}

impl Letter {
    /// Reads a stored message; `None` if it is no dead letter.
    pub fn read(headers: &[Header], payload: Bytes) -> Option<Letter> {
        let facts = Facts(headers);
        let history = facts.all(FACT, "History").filter_map(Attempt::parse);
        let blocks = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(MALFORMED));
        let in_header = blocks.map(|header| percent_decoded(&header.value).into()).next();
        let Unpacked { headers: more, malformed, payload } = unpacked(&facts, payload);
        let mut event = facts.event(payload)?;
        event.headers.extend(more);
        Some(Letter {
            event,
            host: facts.text("Host")?.to_owned(),
            plugin: facts.text("Plugin")?.to_owned(),
            digest: facts.owned("Digest"),
            reason: facts.owned("Reason"),
            error: facts.owned("Error"),
            backtrace: facts.text("Backtrace").map(str::to_owned),
            failed_at_ms: facts.time("Failed-At").unwrap_or(0),
            history: history.take(MAX_HISTORY).collect(),
            malformed: malformed.or(in_header),
            left_in_stream: facts.number("Payload-Left-In-Stream"),
            replays: facts.number("Replays").unwrap_or(0),
            namespace: facts.owned("Namespace"),
            batch: facts.text("Replay").map(str::to_owned),
        })
    }

    /// All failures that are known, the last one included; oldest first.
    pub fn failures(&self) -> Vec<Attempt> {
        let last = Attempt {
            replay: self.replays,
            number: self.event.attempt,
            at_ms: self.failed_at_ms,
            class: self.reason.clone(),
            error: self.error.clone(),
        };
        self.history.iter().cloned().chain([last]).collect()
    }

    /// The headers of a request to run it again, for a letter with `headers`.
    /// `effort` is how many of the facts that only explain are given up, because
    /// the message would be too large: 0 to [`Letter::MAX_EFFORT`].
    pub fn request(headers: &[Header], wish: &Wish, effort: usize) -> Vec<Header> {
        let given_up = EXPENDABLE.get(..effort).unwrap_or(&EXPENDABLE);
        let is_kept = |header: &&Header| {
            let fact = after(&header.name, FACT);
            after(&header.name, "Nats-").is_none()
                && after(&header.name, REQUEST).is_none()
                && !fact.is_some_and(|name| given_up.iter().any(|g| name.eq_ignore_ascii_case(g)))
        };
        let mut kept: Vec<_> = headers.iter().filter(is_kept).cloned().collect();
        let added = [("Namespace", &wish.namespace), ("Batch", &wish.batch)];
        let added = added.into_iter().filter(|(_, value)| !value.is_empty());
        kept.extend(added.map(|(name, value)| Header {
            name: format!("{REQUEST}{name}"),
            value: value.clone(),
        }));
        kept
    }

    /// The last step of [`Letter::request`].
    pub const MAX_EFFORT: usize = EXPENDABLE.len();

    /// The event that `request`, a delivery of a request for a replay, asks to
    /// run, and the letter's other facts.
    ///
    /// # Errors
    /// Says why it is no such request.
    pub fn asked(request: &Event) -> Result<Letter, String> {
        let facts = Facts(&request.headers);
        let batch = facts.request("Batch");
        let letter = Letter::read(&request.headers, request.payload.clone());
        let (Some(mut letter), Some(batch)) = (letter, batch) else {
            return Err("it is no request for a replay: `pelton dlq replay` makes them".to_owned());
        };
        let replay = Replay {
            id: request.id.clone(),
            number: letter.replays.saturating_add(1),
            namespace: facts.request("Namespace").unwrap_or_default().to_owned(),
            batch: batch.to_owned(),
            past: letter.failures(),
        };
        letter.event.attempt = request.attempt;
        letter.event.replay = Some(Box::new(replay));
        Ok(letter)
    }
}

#[cfg(test)]
mod tests;
