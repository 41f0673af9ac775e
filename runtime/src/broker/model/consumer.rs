//! A durable consumer of the model: what is pending, what comes next. Pure but
//! for the clock that it is given.
//!
//! The server's two steps of a redelivery are kept: what is due joins a queue,
//! in the order in which it became due (by sequence, if at once), and the queue
//! goes before what is new. Progress does not take a message out of the queue.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::stream::Stream;
use crate::{
    broker::{From, Subscription},
    manifest::{Retention, Start},
    subject::Pattern,
};

/// The server writes a consumer's state down so often: what is younger is lost
/// when it is killed.
const FLUSH: Duration = Duration::from_millis(250);

/// An answer to a delivery, as the server takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Never again: acknowledged or terminated.
    Done,
    Later(Duration),
    Progress,
}

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

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    subjects: Vec<Pattern>,
    ack_wait: Duration,
    max_deliver: u32,
    max_pending: usize,
}

#[derive(Debug)]
pub(super) struct Consumer {
    terms: Terms,
    state: State,
    /// The state that a killed server would find, and since when it is that.
    flushed: (State, Instant),
    pub(super) paused_until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct State {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// Due again, in the order of their redelivery.
    queue: VecDeque<u64>,
}

#[derive(Debug, Clone)]
struct Pending {
    /// When it joins the queue of redeliveries.
    due: Instant,
    attempts: u32,
}

impl Terms {
    pub(super) fn new(wish: &Subscription) -> Terms {
        let (ack_wait, max_deliver) = match wish.from {
            From::Stream { ack_wait, max_deliver, .. }
            | From::Replays { ack_wait, max_deliver, .. } => (ack_wait, max_deliver),
            From::Core { .. } => (Duration::MAX, 1),
        };
        let (subjects, max_pending) = (wish.subjects.clone(), wish.max_in_flight);
        Terms { subjects, ack_wait, max_deliver, max_pending }
    }

    pub(super) fn wants(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }

    /// Whether a subject may be wanted by both.
    pub(super) fn overlaps(&self, other: &Terms) -> bool {
        let mut pairs =
            self.subjects.iter().flat_map(|a| other.subjects.iter().map(move |b| (a, b)));
        pairs.any(|(a, b)| a.overlaps(b))
    }
}

impl Consumer {
    /// One that begins at `start`, or, if it was lost, after what was settled.
    pub(super) fn new(
        terms: Terms,
        start: Start,
        stream: &Stream,
        resume_after: Option<u64>,
    ) -> Consumer {
        let next = match (resume_after, start) {
            (Some(sequence), _) => sequence + 1,
            (None, Start::All) => 1,
            (None, Start::New) => stream.next_sequence(),
        };
        let state = State { next, pending: BTreeMap::new(), queue: VecDeque::new() };
        let flushed = (state.clone(), Instant::now());
        Consumer { terms, state, flushed, paused_until: None }
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Changes what an existing consumer may change. Deadlines move with the ack wait.
    pub(super) fn update(&mut self, terms: Terms) {
        let (old, new) = (self.terms.ack_wait, terms.ack_wait);
        for pending in self.state.pending.values_mut() {
            pending.due = if new >= old {
                pending.due + (new - old)
            } else {
                pending.due.checked_sub(old - new).unwrap_or(pending.due)
            };
        }
        self.terms = terms;
    }

    /// What is due again comes first; then what is new, if not too much is pending.
    pub(super) fn next(&mut self, stream: &Stream, now: Instant) -> Next {
        self.flush(now);
        self.look(stream, now);
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Next::Wait(Some(until));
        }
        let ack_wait = self.terms.ack_wait;
        self.give_up();
        if let Some(sequence) = self.state.queue.pop_front()
            && let Some(pending) = self.state.pending.get_mut(&sequence)
        {
            pending.attempts += 1;
            pending.due = now + ack_wait;
            return Next::Deliver { sequence, attempt: pending.attempts };
        }
        let has_room = self.state.pending.len() < self.terms.max_pending;
        match self.new_one(stream).filter(|_| has_room) {
            Some(sequence) => {
                self.state.next = sequence + 1;
                let pending = Pending { due: now + ack_wait, attempts: 1 };
                self.state.pending.insert(sequence, pending);
                Next::Deliver { sequence, attempt: 1 }
            }
            None => Next::Wait(self.state.pending.values().map(|pending| pending.due).min()),
        }
    }

    /// Takes an answer. By sequence: a late one to an earlier delivery counts.
    /// Whether the message is settled: it was delivered, whether or not it is
    /// still pending.
    pub(super) fn answer(
        &mut self,
        stream: &Stream,
        (sequence, answer): (u64, Answer),
        now: Instant,
    ) -> bool {
        self.flush(now);
        self.look(stream, now);
        let ack_wait = self.terms.ack_wait;
        let pending = self.state.pending.get_mut(&sequence);
        match (answer, pending) {
            (Answer::Done, _) => {
                self.forget(sequence);
                return sequence < self.state.next;
            }
            (Answer::Later(delay), Some(pending)) => {
                pending.due = now + delay;
                self.state.queue.retain(|queued| *queued != sequence);
            }
            (Answer::Progress, Some(pending)) => pending.due = now + ack_wait,
            (Answer::Later(_) | Answer::Progress, None) => {}
        }
        false
    }

    /// Whether nothing is left that is not settled.
    pub(super) fn is_done(&self, stream: &Stream) -> bool {
        let mut pending = self.state.pending.keys();
        !pending.any(|sequence| stream.holds(*sequence)) && self.new_one(stream).is_none()
    }

    /// How many are not delivered, and how many of those delivered not settled.
    /// `is_asked`: whether somebody waits for a delivery.
    pub(super) fn backlog(&mut self, stream: &Stream, is_asked: bool, now: Instant) -> (u64, u64) {
        self.look(stream, now);
        if is_asked && self.paused_until.is_none_or(|until| until <= now) {
            self.give_up();
        }
        let waiting = stream.subjects(self.state.next..);
        let waiting = waiting.filter(|(_, subject)| self.terms.wants(subject));
        (waiting.count() as u64, self.state.pending.len() as u64)
    }

    /// All that is pending is due, in the order of the stream: another source
    /// shall have it first.
    pub(super) fn recall(&mut self, now: Instant) {
        for pending in self.state.pending.values_mut() {
            pending.due = now;
        }
        self.state.queue = self.state.pending.keys().copied().collect();
    }

    /// Up to this sequence all is settled.
    pub(super) fn floor(&self) -> u64 {
        let first = self.state.pending.keys().next().copied();
        first.unwrap_or(self.state.next).saturating_sub(1)
    }

    /// Whether it may still deliver this message.
    pub(super) fn needs(&self, sequence: u64, subject: &str) -> bool {
        let is_new = sequence >= self.state.next && self.terms.wants(subject);
        is_new || self.state.pending.contains_key(&sequence)
    }

    /// The server was killed and is there again. `forgets`: without what it had
    /// not written down.
    pub(super) fn restart(&mut self, forgets: bool, stream: &Stream, now: Instant) {
        self.flush(now);
        if forgets && stream.retention() == Retention::Limits {
            self.state = self.flushed.0.clone();
        }
        // The queue is not written down: what was in it is due.
        while let Some(sequence) = self.state.queue.pop_front() {
            if let Some(pending) = self.state.pending.get_mut(&sequence) {
                pending.due = now;
            }
        }
    }

    /// Brings the state up to date: what is gone from the stream is settled, what
    /// is due joins the queue. Where one delivery is the limit it is given up
    /// there and then.
    fn look(&mut self, stream: &Stream, now: Instant) {
        let State { pending, queue, .. } = &mut self.state;
        pending.retain(|sequence, _| stream.holds(*sequence));
        queue.retain(|sequence| pending.contains_key(sequence));
        let max = self.terms.max_deliver;
        let is_due =
            |sequence: &u64, pending: &Pending| pending.due <= now && !queue.contains(sequence);
        let mut due = Vec::new();
        pending.retain(|sequence, pending| {
            let (is_due, is_last) = (is_due(sequence, pending), max <= 1);
            if is_due && !is_last {
                due.push((pending.due, *sequence));
            }
            !(is_due && is_last)
        });
        due.sort_unstable();
        queue.extend(due.into_iter().map(|(_, sequence)| sequence));
    }

    /// Skips what comes first in the queue and has reached the limit of
    /// deliveries. The server looks at that when it is asked for a delivery, not
    /// before; till then the message counts as pending. It stays in the stream.
    fn give_up(&mut self) {
        let State { pending, queue, .. } = &mut self.state;
        let max = self.terms.max_deliver;
        while let Some(sequence) = queue.pop_front_if(|sequence| {
            pending.get(sequence).is_none_or(|pending| pending.attempts >= max)
        }) {
            pending.remove(&sequence);
        }
    }

    fn forget(&mut self, sequence: u64) {
        self.state.pending.remove(&sequence);
        self.state.queue.retain(|queued| *queued != sequence);
    }

    fn flush(&mut self, now: Instant) {
        if now.saturating_duration_since(self.flushed.1) >= FLUSH {
            self.flushed = (self.state.clone(), now);
        }
    }

    fn new_one(&self, stream: &Stream) -> Option<u64> {
        let mut subjects = stream.subjects(self.state.next..);
        subjects.find(|(_, subject)| self.terms.wants(subject)).map(|(sequence, _)| sequence)
    }
}
