//! How the model's server serves the sources of its consumers: who gets what, and
//! when, and the consumers that they make.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    consumer::{Consumer, Next, Terms},
    server::Server,
    wire::{Key, Line},
};
use crate::{
    event::Event,
    manifest::{Ack, Retention, Start},
};

/// What a source gets when it looks.
#[derive(Debug)]
pub(super) enum Served {
    Event(Box<Event>, Grant),
    /// Nothing before then; `None`: nothing before something changes.
    Wait(Option<Instant>),
    /// It was stopped, and nothing is on its way.
    Ended,
}

/// How a delivery is answered.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) key: Key,
    pub(super) ack: Ack,
    /// Whether the message is a request for a replay.
    pub(super) is_replays: bool,
    /// In which term it was given, if only one source may have it.
    pub(super) term: Option<u64>,
}

impl Server {
    /// What the source `id` gets now. It makes its consumer anew if that is gone.
    pub(super) fn serve(&mut self, id: u64) -> Served {
        let now = Instant::now();
        let mut until = self.next_change();
        let Some(line) = self.lines.get(&id) else { return Served::Ended };
        let connection = self.connections.entry(line.connection).or_default();
        let mut soonest = |at: Option<Instant>| until = [until, at].into_iter().flatten().min();
        match connection.down_until(now) {
            Some(up) => soonest(Some(up)),
            None => soonest(self.fill(id, now)),
        }
        let Some(line) = self.lines.get_mut(&id) else { return Served::Ended };
        match line.on_way.front() {
            Some((arrives, _)) if *arrives <= now => {}
            Some((arrives, _)) => {
                soonest(Some(*arrives));
                return Served::Wait(until);
            }
            None if line.is_stopping => return Served::Ended,
            None => return Served::Wait(until),
        }
        let grant = Grant {
            key: line.key.clone(),
            ack: line.ack,
            is_replays: line.is_replays,
            term: line.term,
        };
        line.hand_over().map_or(Served::Ended, |event| Served::Event(Box::new(event), grant))
    }

    /// Sends a source what it may get. When nothing takes time, one at a time:
    /// then nothing ages on the way. Returns when to look again.
    fn fill(&mut self, id: u64, now: Instant) -> Option<Instant> {
        loop {
            let line = self.lines.get(&id)?;
            let is_instant = self.troubles.profile.latency == Duration::ZERO;
            let room = if is_instant { line.may_come().min(1) } else { line.may_come() };
            let (key, is_exclusive) = (line.key.clone(), line.is_exclusive);
            // Renewed by who wants nothing just now, too.
            let term = match is_exclusive.then(|| self.tenure(id, &key)).transpose() {
                Ok(term) => term,
                Err(until) => return until,
            };
            let line = self.lines.get_mut(&id)?;
            line.term = term;
            if line.is_stopping || line.on_way.len() >= room {
                return None;
            }
            self.find_consumer(id);
            let event = match self.deliver(&key) {
                Ok(event) => event,
                Err(until) => return until,
            };
            let arrives = now + self.troubles.latency();
            let line = self.lines.get_mut(&id)?;
            let arrives = line.on_way.back().map_or(arrives, |(before, _)| arrives.max(*before));
            line.on_way.push_back((arrives, event));
        }
    }

    /// The next delivery of a consumer, or when to look again.
    pub(super) fn deliver(&mut self, key: &Key) -> Result<Event, Option<Instant>> {
        let now = Instant::now();
        let Some(stream) = self.streams.get_mut(&key.0) else { return Err(None) };
        if stream.is_away(now) {
            return Err(stream.away_until);
        }
        stream.expire(now);
        let Some(consumer) = self.consumers.get_mut(key) else { return Err(None) };
        match consumer.next(stream, now) {
            Next::Deliver { sequence, attempt } => {
                stream.event(&key.0, sequence, attempt).ok_or(None)
            }
            Next::Wait(until) => Err(until),
        }
    }

    /// Makes a source's consumer anew if it is gone: after what was settled when
    /// it was last seen, or, if the stream was made anew, from its beginning.
    fn find_consumer(&mut self, id: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(stream) = self.streams.get(&line.key.0) else { return };
        if self.consumers.contains_key(&line.key) {
            return;
        }
        let (created, floor) = line.seen;
        let resume_after = if created == stream.created() { floor } else { 0 };
        line.seen = (stream.created(), resume_after);
        // What a work queue has settled is gone: it begins at the beginning.
        let is_queue = stream.retention() == Retention::WorkQueue;
        let from = if is_queue { 0 } else { resume_after };
        let consumer = Consumer::new(line.terms.clone(), line.start, stream, Some(from));
        self.consumers.insert(line.key.clone(), consumer);
    }

    /// Makes the consumer of a new source, or takes the one that is there.
    pub(super) fn open_consumer(&mut self, line: &mut Line, updates: bool) -> Result<(), String> {
        let now = Instant::now();
        let Some(stream) = self.streams.get(&line.key.0) else {
            return Err("its stream does not exist".to_owned());
        };
        let connection = self.connections.entry(line.connection).or_default();
        if stream.is_away(now) || connection.down_until(now).is_some() {
            return Err("the server does not answer".to_owned());
        }
        if !self.consumers.contains_key(&line.key) {
            self.check_queue(line)?;
        }
        let fresh = || Consumer::new(line.terms.clone(), line.start, stream, None);
        let consumer = self.consumers.entry(line.key.clone()).or_insert_with(fresh);
        if *consumer.terms() != line.terms {
            if !updates {
                return Err("it differs from the manifest".to_owned());
            }
            consumer.update(line.terms.clone());
        }
        line.seen = (stream.created(), consumer.floor());
        Ok(())
    }

    /// In a work queue a message has one consumer, which reads from the beginning.
    fn check_queue(&self, line: &Line) -> Result<(), String> {
        let stream = self.streams.get(&line.key.0);
        if stream.is_none_or(|stream| stream.retention() != Retention::WorkQueue) {
            return Ok(());
        }
        if line.start == Start::New {
            return Err("consumer must be deliver all on workqueue stream".to_owned());
        }
        let mut others = self.consumers.iter().filter(|((stream, _), _)| *stream == line.key.0);
        let overlaps = |terms: &Terms| terms.overlaps(&line.terms);
        if others.any(|(_, other)| overlaps(other.terms())) {
            return Err("filtered consumer not unique on workqueue stream".to_owned());
        }
        Ok(())
    }
}
