//! A stream of the model: messages by sequence, ids by age. It knows no consumers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::RangeFrom,
};

use tokio::time::Instant;

use crate::{
    broker::{Keep, Message},
    event::{Event, Position},
    manifest::{self, Discard, Retention, Storage},
};

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    Stored,
    Duplicate,
    Full(&'static str),
    TooLarge,
}

#[derive(Debug)]
pub(super) struct Stream {
    settings: manifest::Stream,
    /// In nanoseconds since 1970.
    created: i64,
    last: u64,
    messages: BTreeMap<u64, Kept>,
    bytes: u64,
    ids: Ids,
    /// Nobody answers for it until then.
    pub(super) away_until: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    at: Instant,
    stamp: Stamp,
}

/// What a stream knows of a message beside its bytes.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    /// The event's id; `None`: made of its position.
    pub(super) id: Option<String>,
    /// When it was published, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Deliveries that it counts before the first one.
    pub(super) earlier: u32,
}

impl Stamp {
    pub(super) fn at(time_ms: u64) -> Stamp {
        Stamp { id: None, time_ms, earlier: 0 }
    }
}

/// Message ids within the duplicate window.
#[derive(Debug, Default)]
struct Ids {
    known: HashMap<String, Instant>,
    /// Oldest first.
    by_age: VecDeque<(Instant, String)>,
}

impl Stream {
    pub(super) fn new(settings: manifest::Stream, created: i64) -> Stream {
        Stream {
            settings,
            created,
            last: 0,
            messages: BTreeMap::new(),
            bytes: 0,
            ids: Ids::default(),
            away_until: None,
        }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.settings.subjects.iter().any(|pattern| pattern.matches(subject))
    }

    pub(super) fn is_away(&self, now: Instant) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }

    pub(super) fn created(&self) -> i64 {
        self.created
    }

    pub(super) fn retention(&self) -> Retention {
        self.settings.retention
    }

    /// See `Broker::forget_handled`.
    pub(super) fn forget_handled(&mut self) {
        self.settings.retention = Retention::Interest;
        self.settings.duplicate_window = std::time::Duration::ZERO;
    }

    /// How many messages it holds, and their bytes.
    pub(super) fn held(&self) -> (usize, u64) {
        (self.messages.len(), self.bytes)
    }

    /// Deliveries that the message counts before its first one.
    pub(super) fn earlier(&self, sequence: u64) -> u32 {
        self.messages.get(&sequence).map_or(0, |kept| kept.stamp.earlier)
    }

    /// See `Broker::skip_to`.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.last = self.last.max(sequence.saturating_sub(1));
    }

    /// The sequence that the next message will have.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last + 1
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.messages.values().map(|kept| kept.message.clone()).collect()
    }

    /// Sequences and subjects from `sequences` on.
    pub(super) fn subjects(
        &self,
        sequences: RangeFrom<u64>,
    ) -> impl Iterator<Item = (u64, &str)> + '_ {
        self.messages.range(sequences).map(|(n, kept)| (*n, kept.message.subject.as_str()))
    }

    pub(super) fn subject(&self, sequence: u64) -> Option<&str> {
        self.messages.get(&sequence).map(|kept| kept.message.subject.as_str())
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.messages.contains_key(&sequence)
    }

    /// The server's order of checks: a duplicate is one even if the stream is
    /// full. `is_wanted`: a stream kept by interest stores nothing else, and says
    /// that it did.
    pub(super) fn put(&mut self, message: &Message, stamp: &Stamp, is_wanted: bool) -> Put {
        let now = Instant::now();
        self.expire(now);
        let id = match &message.keep {
            Keep::Stored { id, .. } => Some(id),
            Keep::Fleeting => None,
        };
        let size = block_size(message) + message.payload.len() as u64;
        if self.settings.max_message_size.is_some_and(|max| size > max) {
            return Put::TooLarge;
        }
        if id.is_some_and(|id| self.ids.known.contains_key(id)) {
            return Put::Duplicate;
        }
        let new = self.stored_size(message);
        if self.settings.discard == Discard::New
            && let Some(limit) = self.limit_reached(new)
        {
            return Put::Full(limit);
        }
        self.last += 1;
        if let Some(id) = id {
            self.ids.add(id, now);
        }
        if is_wanted || self.settings.retention != Retention::Interest {
            let kept = Kept { message: message.clone(), at: now, stamp: stamp.clone() };
            self.messages.insert(self.last, kept);
            self.bytes += new;
        }
        while self.is_over_limit() {
            let Some(oldest) = self.messages.keys().next().copied() else { break };
            self.remove(oldest);
        }
        Put::Stored
    }

    pub(super) fn event(&self, name: &str, sequence: u64, attempt: u32) -> Option<Event> {
        let Kept { message, stamp, .. } = self.messages.get(&sequence)?;
        let position = Position { stream: name.to_owned(), stream_created: self.created, sequence };
        Some(Event {
            id: stamp.id.clone().unwrap_or_else(|| position.event_id()),
            subject: message.subject.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            reply_to: None,
            time_ms: stamp.time_ms,
            attempt: attempt.saturating_add(stamp.earlier),
            position: Some(position),
            replay: None,
        })
    }

    /// Whether there was such a message.
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        let Some(kept) = self.messages.remove(&sequence) else { return false };
        self.bytes = self.bytes.saturating_sub(self.stored_size(&kept.message));
        true
    }

    /// All messages go; the sequence goes on, and ids are remembered.
    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }

    /// Removes what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.ids.expire(now, self.settings.duplicate_window);
        let Some(max_age) = self.settings.max_age else { return };
        let old = |kept: &Kept| now.saturating_duration_since(kept.at) >= max_age;
        while let Some((&sequence, kept)) = self.messages.first_key_value() {
            if !old(kept) {
                break;
            }
            self.remove(sequence);
        }
    }

    /// The server was killed and is there again: ids are read from what is still
    /// stored. Whether the stream is.
    pub(super) fn restart(&mut self) -> bool {
        self.away_until = None;
        let mut ids = Ids::default();
        for Kept { message, at, .. } in self.messages.values() {
            if let Keep::Stored { id, .. } = &message.keep {
                ids.add(id, *at);
            }
        }
        self.ids = ids;
        self.settings.storage == Storage::File
    }

    fn limit_reached(&self, new: u64) -> Option<&'static str> {
        let manifest::Stream { max_messages, max_bytes, .. } = self.settings;
        if max_messages.is_some_and(|max| self.messages.len() as u64 >= max) {
            return Some("maximum messages exceeded");
        }
        max_bytes.is_some_and(|max| self.bytes + new > max).then_some("maximum bytes exceeded")
    }

    fn is_over_limit(&self) -> bool {
        let manifest::Stream { max_messages, max_bytes, .. } = self.settings;
        max_messages.is_some_and(|max| self.messages.len() as u64 > max)
            || max_bytes.is_some_and(|max| self.bytes > max)
    }

    /// What a message costs of the limit of bytes: the server's sum.
    fn stored_size(&self, message: &Message) -> u64 {
        let block = block_size(message);
        let own = match (self.settings.storage, block) {
            (Storage::Memory, _) => 16,
            (Storage::File, 0) => 30,
            (Storage::File, _) => 34,
        };
        own + message.subject.len() as u64 + block + message.payload.len() as u64
    }
}

impl Ids {
    fn add(&mut self, id: &str, now: Instant) {
        self.known.insert(id.to_owned(), now);
        self.by_age.push_back((now, id.to_owned()));
    }

    fn expire(&mut self, now: Instant, window: std::time::Duration) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= window;
        while let Some((_, id)) = self.by_age.pop_front_if(|(at, _)| is_old(*at)) {
            self.known.remove(&id);
        }
    }
}

/// The bytes of the headers as they are sent, with those that carry id and stream.
fn block_size(message: &Message) -> u64 {
    let line = |name: &str, value: &str| name.len() + value.len() + ": \r\n".len();
    let mut lines = message.headers.iter().map(|h| line(&h.name, &h.value)).sum::<usize>();
    if let Keep::Stored { id, stream } = &message.keep {
        lines += line("Nats-Msg-Id", id);
        lines += stream.as_deref().map_or(0, |stream| line("Nats-Expected-Stream", stream));
    }
    if lines == 0 { 0 } else { (lines + "NATS/1.0\r\n\r\n".len()) as u64 }
}
