//! The model's server: streams, consumers, who listens, and what is on its way.
//!
//! It acts only when it is looked at: everything that should have happened until
//! then happens first, in the order of time ([`Server::advance`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    consumer::{Answer, Consumer},
    fleeting::Member,
    inbox::Answer as InboxAnswer,
    lease::Lease,
    stream::{Put, Stamp, Stream},
    trouble::{Spell, Troubles},
    unavailable,
    wire::{self, Agenda, Connection, Deed, Key, Line, Place, Sent},
};
use crate::{
    broker::{Keep, Message, Note, PublishError, Published, SettleError},
    event::Event,
    manifest::Retention,
};

/// 2023-11-14: where the model's wall clock begins, in milliseconds since 1970.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;
/// How often a killed server comes back without what its consumers had not
/// written down.
const FORGETS: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Server {
    begun: Instant,
    /// What the wall clock showed then, in milliseconds since 1970.
    epoch_ms: u64,
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) consumers: BTreeMap<Key, Consumer>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) lines: BTreeMap<u64, Line>,
    pub(super) members: Vec<Member>,
    /// Who waits for answers to requests, by the inbox's subject.
    pub(super) inboxes: BTreeMap<String, mpsc::Sender<InboxAnswer>>,
    pub(super) leases: BTreeMap<Key, Lease>,
    pub(super) notes: BTreeMap<(Key, u64), Note>,
    pub(super) drops: BTreeMap<String, Arc<AtomicU64>>,
    /// Has waiting sources look again.
    pub(super) changes: Arc<Notify>,
    pub(super) troubles: Troubles,
    agenda: Agenda,
    n_made: u64,
}

impl Server {
    pub(super) fn new(epoch_ms: u64, changes: Arc<Notify>) -> Server {
        Server {
            begun: Instant::now(),
            epoch_ms,
            streams: BTreeMap::new(),
            consumers: BTreeMap::new(),
            connections: BTreeMap::new(),
            lines: BTreeMap::new(),
            members: Vec::new(),
            inboxes: BTreeMap::new(),
            leases: BTreeMap::new(),
            notes: BTreeMap::new(),
            drops: BTreeMap::new(),
            changes,
            troubles: Troubles::none(),
            agenda: Agenda::default(),
            n_made: 0,
        }
    }

    /// Does what should have happened until now.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        loop {
            let (deed, spell) = (self.agenda.next(), self.troubles.next());
            let is_spell = spell.is_some_and(|spell| deed.is_none_or(|deed| spell < deed));
            if is_spell {
                let Some((at, spell)) = self.troubles.due(now) else { return };
                self.suffer(spell, at);
            } else {
                let Some(deed) = self.agenda.take(now) else { return };
                self.act(deed);
            }
        }
    }

    /// When something happens by itself.
    pub(super) fn next_change(&self) -> Option<Instant> {
        [self.agenda.next(), self.troubles.next()].into_iter().flatten().min()
    }

    /// A number that was not there before.
    pub(super) fn number(&mut self) -> u64 {
        self.n_made += 1;
        self.n_made
    }

    /// When something made now was made, in nanoseconds since 1970; never the
    /// same twice.
    pub(super) fn now_ns(&mut self) -> i64 {
        let number = self.number();
        i64::try_from(self.now_ms() * 1_000_000 + number).unwrap_or(i64::MAX)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.epoch_ms + u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(0)
    }

    pub(super) fn send_publish(
        &mut self,
        id: u64,
        message: &Message,
    ) -> Result<Sent<Result<Published, PublishError>>, PublishError> {
        let connection = self.connections.entry(id).or_default();
        wire::send_publish((&mut self.agenda, &mut self.troubles), (id, connection), message)
    }

    /// Sends what nobody answers.
    pub(super) fn send_fleeting(&mut self, id: u64, message: &Message) {
        let connection = self.connections.entry(id).or_default();
        if let Some(arrives) = connection.send(&mut self.troubles, Instant::now()) {
            let deed = Deed::Publish { message: message.clone(), answer: None };
            self.agenda.add(id, arrives, deed);
        }
    }

    pub(super) fn send_settlement(
        &mut self,
        id: u64,
        place: Place,
    ) -> Result<Sent<Result<(), SettleError>>, SettleError> {
        let fault = match place.answer {
            Answer::Progress => self.troubles.of_progress(),
            Answer::Done | Answer::Later(_) => self.troubles.of_settlement(),
        };
        if fault == Some(super::Fault::SettleLost) {
            return Err(SettleError { detail: "asked for by a test".to_owned() });
        }
        let connection = self.connections.entry(id).or_default();
        let parts = (&mut self.agenda, &mut self.troubles);
        Ok(wire::send_settlement(parts, (id, connection), (place, fault)))
    }

    /// Something that a client sent arrives then.
    pub(super) fn add_deed(&mut self, connection: u64, arrives: Instant, deed: Deed) {
        self.agenda.add(connection, arrives, deed);
    }

    fn act(&mut self, deed: Deed) {
        // Who waits may have given up; then nobody is told.
        match deed {
            Deed::Publish { message, answer } => {
                let published = self.route(&message, None);
                answer.map(|answer| answer.send(published).ok());
            }
            Deed::Ask { message, inbox } => self.take_request(&message, &inbox),
            Deed::Settle { place, confirm } => {
                let settled = self.settle(&place);
                confirm.map(|confirm| confirm.send(settled).ok());
            }
        }
    }

    fn suffer(&mut self, spell: Spell, at: Instant) {
        let choose = |dice: &mut super::trouble::Dice, n: usize| dice.number(n.saturating_sub(1));
        match spell {
            Spell::Cut(lasts) => {
                let chosen = choose(&mut self.troubles.dice, self.connections.len());
                if let Some(id) = self.connections.keys().nth(chosen).copied() {
                    self.cut(id, at + lasts);
                }
            }
            Spell::Restart(lasts) => self.restart(at + lasts),
            Spell::Outage(lasts) => {
                let chosen = choose(&mut self.troubles.dice, self.streams.len());
                if let Some(stream) = self.streams.values_mut().nth(chosen) {
                    stream.away_until = stream.away_until.max(Some(at + lasts));
                }
            }
        }
    }

    /// Cuts a connection. Deliveries on their way are lost: those that were sent,
    /// and some that the server sends before it notices.
    pub(super) fn cut(&mut self, id: u64, until: Instant) {
        let lines = self.lines.iter().filter(|(_, line)| line.connection == id);
        for line in lines.map(|(n, _)| *n).collect::<Vec<_>>() {
            self.lose_deliveries(line);
            self.lose_touch(line);
        }
        self.agenda.cut(id, &mut self.troubles.dice);
        self.connections.entry(id).or_default().cut(until);
    }

    fn lose_deliveries(&mut self, id: u64) {
        let Some(line) = self.lines.get(&id) else { return };
        // Nothing is sent to who stands by.
        let stands_by =
            line.is_exclusive && !line.term.is_some_and(|term| self.holds(&line.key, term));
        let Some(line) = self.lines.get_mut(&id).filter(|_| !stands_by) else { return };
        let mut n = self.troubles.dice.number(line.may_come().saturating_sub(line.on_way.len()));
        line.on_way.clear();
        let key = line.key.clone();
        while n > 0 && self.deliver(&key).is_ok() {
            n -= 1;
        }
    }

    /// Kills the server; it is there again at `until`. Streams in memory are gone.
    pub(super) fn restart(&mut self, until: Instant) {
        let now = Instant::now();
        let connections: Vec<_> = self.connections.keys().copied().collect();
        connections.into_iter().for_each(|id| self.cut(id, until));
        self.streams.retain(|_, stream| stream.restart());
        let Server { consumers, streams, troubles, .. } = self;
        consumers.retain(|(stream, _), _| streams.contains_key(stream));
        for ((stream, _), consumer) in consumers {
            let Some(stream) = streams.get(stream) else { continue };
            let forgets = troubles.dice.happens(FORGETS);
            consumer.restart(forgets, stream, now);
        }
    }

    /// Ends all trouble: connections stand, streams answer, what is on its way
    /// arrives when it was to arrive.
    pub(super) fn heal(&mut self) {
        self.troubles.end();
        self.connections.values_mut().for_each(Connection::heal);
        self.streams.values_mut().for_each(|stream| stream.away_until = None);
    }

    /// Gives a message to whoever wants it, and answers as a stream would.
    pub(super) fn route(
        &mut self,
        message: &Message,
        reply_to: Option<&str>,
    ) -> Result<Published, PublishError> {
        let stamp = Stamp::at(self.now_ms());
        let event = self.fleeting(message, stamp.clone(), reply_to);
        self.fan_out(&event);
        self.answer_request(message);
        self.store(message, &stamp)
    }

    /// The message as who listens gets it.
    pub(super) fn fleeting(
        &mut self,
        message: &Message,
        stamp: Stamp,
        reply_to: Option<&str>,
    ) -> Event {
        Event {
            id: stamp.id.unwrap_or_else(|| format!("core-{}", self.number())),
            subject: message.subject.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            reply_to: reply_to.map(str::to_owned),
            time_ms: stamp.time_ms,
            attempt: stamp.earlier.saturating_add(1),
            position: None,
            replay: None,
        }
    }

    /// Whether a consumer of the stream wants messages of this subject.
    pub(super) fn is_wanted(&self, stream: &str, subject: &str) -> bool {
        let mut consumers = self.consumers.iter().filter(|((of, _), _)| of == stream);
        consumers.any(|(_, consumer)| consumer.terms().wants(subject))
    }

    pub(super) fn store(
        &mut self,
        message: &Message,
        stamp: &Stamp,
    ) -> Result<Published, PublishError> {
        let subject = message.subject.as_str();
        let refused = |detail: &str| {
            Err(PublishError::Refused { subject: subject.to_owned(), detail: detail.to_owned() })
        };
        let found = self.streams.iter_mut().find(|(_, stream)| stream.takes(subject));
        let found = found.filter(|(_, stream)| !stream.is_away(Instant::now()));
        let (name, stream, expected) = match (found, &message.keep) {
            (None, Keep::Fleeting) => return Ok(Published::Sent),
            (None, Keep::Stored { .. }) => return Err(unavailable(subject, "no stream answers")),
            (Some((name, stream)), Keep::Fleeting) => (name, stream, None),
            (Some((name, stream)), Keep::Stored { stream: wanted, .. }) => {
                (name, stream, wanted.as_deref())
            }
        };
        if expected.is_some_and(|expected| expected != name) {
            return refused("expected stream does not match");
        }
        let mut consumers = self.consumers.iter().filter(|((of, _), _)| of == name);
        let is_wanted = consumers.any(|(_, consumer)| consumer.terms().wants(subject));
        let put = stream.put(message, stamp, is_wanted);
        match (put, &message.keep) {
            // Nobody waits for the answer.
            (_, Keep::Fleeting) => Ok(Published::Sent),
            (Put::Stored, _) => Ok(Published::Stored),
            (Put::Duplicate, _) => Ok(Published::Duplicate),
            (Put::Full(limit), _) => Err(unavailable(subject, limit)),
            (Put::TooLarge, _) => refused("message size exceeds maximum allowed"),
        }
    }

    /// Whether a source waits for a delivery of the consumer.
    pub(super) fn is_asked(&self, key: &Key) -> bool {
        let mut lines = self.lines.values().filter(|line| line.key == *key && !line.is_stopping);
        lines.any(|line| line.may_come() > line.on_way.len())
    }

    fn settle(&mut self, place: &Place) -> Result<(), SettleError> {
        let gone = |detail: &str| Err(SettleError { detail: detail.to_owned() });
        let now = Instant::now();
        // A source gives its right back over the connection that its answers
        // take, after them: none but what was lost comes later.
        let is_void = place.term.is_some_and(|term| !self.holds(&place.key, term));
        if is_void && place.answer != Answer::Done {
            return Ok(());
        }
        let stream = self.streams.get_mut(&place.key.0).filter(|stream| !stream.is_away(now));
        let (Some(stream), Some(consumer)) = (stream, self.consumers.get_mut(&place.key)) else {
            return gone("the consumer does not answer");
        };
        if !consumer.answer(stream, (place.sequence, place.answer), now) {
            return Ok(());
        }
        match stream.retention() {
            Retention::Limits => {}
            Retention::WorkQueue => {
                stream.remove(place.sequence);
            }
            Retention::Interest => self.release(&place.key.0, place.sequence),
        }
        Ok(())
    }

    /// Removes a message from a stream kept by interest when nobody needs it.
    fn release(&mut self, name: &str, sequence: u64) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(subject) = stream.subject(sequence) else { return };
        let mut consumers = self.consumers.iter().filter(|((stream, _), _)| stream == name);
        if !consumers.any(|(_, consumer)| consumer.needs(sequence, subject)) {
            stream.remove(sequence);
        }
    }
}
