//! What comes in, what goes out, and what becomes of a delivery.
//!
//! Plain data: no I/O, no broker types, no guest types.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub use letter::Replay;
pub use request::{Reply, Request, RequestError};

pub mod letter;
pub mod request;

/// One header of an event or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, in the sender's spelling.
    pub name: String,
    /// The value, without surrounding white space.
    pub value: String,
}

/// Where a stream stores an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The stream's name.
    pub stream: String,
    /// When the stream was created, in nanoseconds since 1970. A stream that is
    /// deleted and made anew counts from 1 again: this tells the two apart.
    pub stream_created: i64,
    /// The sequence in the stream, counted from 1.
    pub sequence: u64,
}

/// What a handler is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same at every delivery of this event.
    pub id: String,
    /// The subject it was published to.
    pub subject: String,
    /// All headers; the values of one name in their order.
    pub headers: Vec<Header>,
    /// The bytes as published.
    pub payload: Bytes,
    /// Where the sender waits for a reply.
    pub reply_to: Option<String>,
    /// When it was published (stream) or received (core), in milliseconds since 1970.
    pub time_ms: u64,
    /// 1 at the first delivery.
    pub attempt: u32,
    /// Where it is stored; `None` for core NATS.
    pub position: Option<Position>,
    /// Set when this is a run of a dead letter.
    pub replay: Option<Box<Replay>>,
}

/// What a handler returns for publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The subject to publish to.
    pub subject: String,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The bytes to publish.
    pub payload: Bytes,
}

/// How a delivery is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Handled: never deliver it again.
    Ack,
    /// Not handled: deliver it again, not before this delay.
    Retry(Duration),
    /// In the dead letters: never deliver it again.
    Reject,
}

impl Event {
    /// Payload, headers and subject together, in bytes: what it costs to hold.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter().map(|h| h.name.len() + h.value.len());
        self.payload.len() + self.subject.len() + headers.sum::<usize>()
    }
}

impl Output {
    /// Payload, headers and subject together, in bytes.
    pub fn size(&self) -> u64 {
        let headers = self.headers.iter().map(|h| h.name.len() + h.value.len());
        (self.payload.len() + self.subject.len() + headers.sum::<usize>()) as u64
    }
}

impl Position {
    /// The id of the event stored here: the same on every host, at every delivery.
    pub fn event_id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"pelton/event/1\0");
        hash.update(self.stream.as_bytes());
        hash.update(b"\0");
        hash.update(self.stream_created.to_be_bytes());
        hash.update(self.sequence.to_be_bytes());
        short(&hash.finalize())
    }
}

/// Names what one plugin publishes for one event, so that a second run publishes
/// under the same ids and the output stream keeps only one of each.
///
/// Built from the event and the plugin's name, not from the component: an
/// upgrade between two attempts must not publish twice. A deliberate new run of
/// old events uses another `namespace` (empty: none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// The run of `plugin` of `host` on the event with `event_id`. The host is
    /// part of it, since two hosts may have plugins of one name, and each is
    /// to publish its own outputs; replicas of a host share its name.
    pub fn new(event_id: &str, host: &str, plugin: &str, namespace: &str) -> RunId {
        let mut hash = Sha256::new();
        for part in ["pelton/run/1", event_id, host, plugin, namespace] {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        RunId(short(&hash.finalize()))
    }

    /// The message id of the output at `index`, counted from 0.
    pub fn output(&self, index: usize) -> String {
        format!("{}.{index}", self.0)
    }

    /// The message id of the dead letter; another one for each `replay`, which
    /// may fail within the time that ids are remembered.
    pub fn dead_letter(&self, replay: Option<&Replay>) -> String {
        let run = &self.0;
        replay.map_or(format!("{run}.dead"), |replay| format!("{run}.dead.{}", replay.id))
    }
}

/// 132 bits of a digest in 22 characters: short in headers, and no two will meet.
fn short(digest: &[u8]) -> String {
    let mut text = BASE64_URL_SAFE_NO_PAD.encode(digest);
    text.truncate(22);
    text
}

#[cfg(test)]
mod tests;
