//! A durable consumer of the model: what is pending, what comes next. Pure but
//! for the clock that it is given.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Answer, stream::Stream};
use crate::{
    broker::{From, Subscription},
    manifest::Start,
    subject::Pattern,
};

/// What a consumer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Deliver {
        sequence: u64,
        attempt: u32,
    },
    /// Nothing before then; `None`: nothing before something changes.
    Wait(Option<Instant>),
}

#[derive(Debug, Clone)]
pub(super) struct Consumer {
    subjects: Vec<Pattern>,
    ack_wait: Duration,
    max_deliver: u32,
    max_pending: usize,
    next: u64,
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug, Clone)]
struct Pending {
    /// When it is delivered again.
    due: Instant,
    attempts: u32,
}

impl Consumer {
    pub(super) fn new(wish: &Subscription, stream: &Stream) -> Consumer {
        let (ack_wait, max_deliver, start) = match wish.from {
            From::Stream { ack_wait, max_deliver, start, .. } => (ack_wait, max_deliver, start),
            From::Replays { ack_wait, max_deliver, .. } => (ack_wait, max_deliver, Start::All),
            From::Core { .. } => (Duration::MAX, 1, Start::New),
        };
        let next = match start {
            Start::All => 1,
            Start::New => stream.next_sequence(),
        };
        let (subjects, max_pending) = (wish.subjects.clone(), wish.max_in_flight);
        Consumer { subjects, ack_wait, max_deliver, max_pending, next, pending: BTreeMap::new() }
    }

    pub(super) fn is_set_up_like(&self, other: &Consumer) -> bool {
        self.subjects == other.subjects
            && self.ack_wait == other.ack_wait
            && self.max_deliver == other.max_deliver
            && self.max_pending == other.max_pending
    }

    /// What is due again comes first, by sequence; then what is new, if not too
    /// much is pending.
    pub(super) fn next(&mut self, stream: &Stream, now: Instant) -> Next {
        // The limit of deliveries only skips: the message stays in the stream.
        let (due, max_deliver) = (|pending: &Pending| pending.due <= now, self.max_deliver);
        self.pending.retain(|sequence, pending| {
            stream.holds(*sequence) && !(due(pending) && pending.attempts >= max_deliver)
        });
        let again = self.pending.iter_mut().find(|(_, pending)| due(pending));
        if let Some((sequence, pending)) = again {
            pending.attempts += 1;
            pending.due = now + self.ack_wait;
            return Next::Deliver { sequence: *sequence, attempt: pending.attempts };
        }
        let new = if self.pending.len() < self.max_pending { self.new_one(stream) } else { None };
        match new {
            Some(sequence) => {
                self.next = sequence + 1;
                self.pending.insert(sequence, Pending { due: now + self.ack_wait, attempts: 1 });
                Next::Deliver { sequence, attempt: 1 }
            }
            None => Next::Wait(self.pending.values().map(|pending| pending.due).min()),
        }
    }

    pub(super) fn answer(&mut self, sequence: u64, answer: Answer, now: Instant) {
        let Some(pending) = self.pending.get_mut(&sequence) else { return };
        match answer {
            Answer::Done => {
                self.pending.remove(&sequence);
            }
            Answer::Later(delay) => pending.due = now + delay,
            Answer::Progress => pending.due = now + self.ack_wait,
        }
    }

    /// How many are not delivered, and how many of those delivered not settled.
    pub(super) fn backlog(&self, stream: &Stream) -> (u64, u64) {
        let waiting = stream.subjects(self.next..).filter(|(_, subject)| self.wants(subject));
        (waiting.count() as u64, self.pending.len() as u64)
    }

    fn new_one(&self, stream: &Stream) -> Option<u64> {
        stream.subjects(self.next..).find(|(_, subject)| self.wants(subject)).map(|(n, _)| n)
    }

    fn wants(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}
