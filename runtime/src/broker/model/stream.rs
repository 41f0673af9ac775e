//! A stream of the model: messages by sequence, ids by age. It knows no consumers.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeFrom,
};

use tokio::time::Instant;

use crate::{
    broker::Message,
    event::{Event, Position},
    manifest::{self, Discard},
};

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    Stored,
    Duplicate,
    Full,
    TooLarge,
}

#[derive(Debug)]
pub(super) struct Stream {
    settings: manifest::Stream,
    /// In nanoseconds since 1970.
    created: i64,
    last: u64,
    messages: BTreeMap<u64, (Message, u64)>,
    ids: HashMap<String, Instant>,
}

impl Stream {
    pub(super) fn new(settings: manifest::Stream, created: i64) -> Stream {
        Stream { settings, created, last: 0, messages: BTreeMap::new(), ids: HashMap::new() }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.settings.subjects.iter().any(|pattern| pattern.matches(subject))
    }

    /// The sequence that the next message will have.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last + 1
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.messages.values().map(|(message, _)| message.clone()).collect()
    }

    /// Sequences and subjects from `sequences` on.
    pub(super) fn subjects(
        &self,
        sequences: RangeFrom<u64>,
    ) -> impl Iterator<Item = (u64, &str)> + '_ {
        self.messages.range(sequences).map(|(n, (message, _))| (*n, message.subject.as_str()))
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.messages.contains_key(&sequence)
    }

    /// The server's order of checks: a duplicate is one even if the stream is full.
    pub(super) fn put(&mut self, message: &Message, id: Option<&str>, time_ms: u64) -> Put {
        let now = Instant::now();
        let window = self.settings.duplicate_window;
        self.ids.retain(|_, at| now.duration_since(*at) < window);
        let too_large = |limit: u64| message.payload.len() as u64 > limit;
        if self.settings.max_message_size.is_some_and(too_large) {
            return Put::TooLarge;
        }
        if id.is_some_and(|id| self.ids.contains_key(id)) {
            return Put::Duplicate;
        }
        if self.is_full() && self.settings.discard == Discard::New {
            return Put::Full;
        }
        while self.is_full() && self.messages.pop_first().is_some() {}
        self.last += 1;
        self.messages.insert(self.last, (message.clone(), time_ms));
        self.ids.extend(id.map(|id| (id.to_owned(), now)));
        Put::Stored
    }

    pub(super) fn event(&self, name: &str, sequence: u64, attempt: u32) -> Option<Event> {
        let (message, time_ms) = self.messages.get(&sequence)?;
        let position = Position { stream: name.to_owned(), stream_created: self.created, sequence };
        Some(Event {
            id: position.event_id(),
            subject: message.subject.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            reply_to: None,
            time_ms: *time_ms,
            attempt,
            position: Some(position),
            replay: None,
        })
    }

    fn is_full(&self) -> bool {
        self.settings.max_messages.is_some_and(|max| self.messages.len() as u64 >= max)
    }
}
