//! One dead letter with its number.

use crate::{
    broker::nats::StoredMessage,
    event::{
        Header,
        letter::{Letter, packed_size},
    },
};

/// One message of the stream of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence in the stream, by which it is named.
    pub number: u64,
    /// When it was stored, in milliseconds since 1970.
    pub stored_ms: u64,
    /// The subject that it is stored on.
    pub subject: String,
    /// All its headers, as they are stored.
    pub headers: Vec<Header>,
    /// The payload's length in bytes: of the event, if that is known.
    pub size: u64,
    /// What it says; `None`: something that pelton has not written.
    pub letter: Option<Letter>,
    /// The payload as it is stored; empty if only headers were read.
    pub payload: bytes::Bytes,
}

/// Where the server says how long the payload is that it left out.
const SIZE: &str = "Nats-Msg-Size";

impl Entry {
    pub(super) fn new(stored: StoredMessage) -> Entry {
        let StoredMessage { sequence, time_ms, subject, headers, payload } = stored;
        let letter = Letter::read(&headers, payload.clone());
        let told = headers.iter().find(|header| header.name == SIZE);
        let told = told.and_then(|header| header.value.parse().ok());
        let left = letter.as_ref().and_then(|letter| letter.left_in_stream);
        let size = told.unwrap_or(payload.len() as u64);
        let size = left.unwrap_or_else(|| size.saturating_sub(packed_size(&headers)));
        Entry { number: sequence, stored_ms: time_ms, subject, headers, size, letter, payload }
    }
}
