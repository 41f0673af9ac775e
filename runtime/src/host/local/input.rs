//! An event that is handed to a local host. It is not checked: see
//! [`crate::subject::check`] for subjects that one may publish to.

use bytes::Bytes;

use crate::{
    broker::{Keep, Message, model::Offer},
    event::Header,
};

/// An event to be handled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// The subject.
    pub subject: String,
    /// All headers.
    pub headers: Vec<Header>,
    /// The bytes.
    pub payload: Bytes,
    /// The event's id, as the handler sees it; `None`: as the broker makes it. Of
    /// two inputs with one id, the second is a duplicate.
    pub id: Option<String>,
    /// When it was published, in milliseconds since 1970; `None`: now, by the
    /// broker's clock.
    pub time_ms: Option<u64>,
    /// The number of its first attempt, counted from 1; 0 is taken as 1. A plugin
    /// that tries an event five times tries one that begins at 4 twice.
    pub attempt: u32,
    /// Where the sender waits for a reply.
    pub reply_to: Option<String>,
}

/// Who has got an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The streams that take its subject.
    pub streams: Vec<String>,
    /// How many plugins get it, from a stream or over core NATS.
    pub listeners: usize,
    /// A stream had an input of this id before, and did not store it again.
    pub is_duplicate: bool,
}

impl Input {
    /// An event with nothing but a subject and a payload.
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Input {
        Input { subject: subject.into(), payload: payload.into(), ..Input::default() }
    }

    pub(super) fn offer(&self) -> Offer {
        let keep = self
            .id
            .as_ref()
            .map_or(Keep::Fleeting, |id| Keep::Stored { id: id.clone(), stream: None });
        Offer {
            message: Message {
                subject: self.subject.clone(),
                headers: self.headers.clone(),
                payload: self.payload.clone(),
                keep,
            },
            id: self.id.clone(),
            time_ms: self.time_ms,
            earlier: self.attempt.saturating_sub(1),
            reply_to: self.reply_to.clone(),
        }
    }
}
