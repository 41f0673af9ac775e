//! A model of JetStream in memory, for tests of what is built on a broker.
//!
//! It keeps the server's rules that delivery depends on: duplicate window, ack
//! wait, order of redelivery, delayed nak, max ack pending, max deliver,
//! termination, acknowledgement by sequence, limits and retention of streams,
//! pauses, queue groups. `tests/conformance` compares it with real servers.
//!
//! Time is tokio's, so a test may pause it. Without trouble nothing takes time,
//! and messages are handed over in [`broker::Source::next`], not before, so
//! nothing ages on the way. Trouble is asked for: for the next publish or
//! settlement ([`Broker::inject`]), now ([`Broker::cut`], [`Broker::restart`],
//! [`Broker::outage`]), or by chance ([`Broker::trouble`]); [`Broker::heal`] ends
//! all of it. On one thread with paused time the same seed gives the same run.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use self::{
    consumer::Terms,
    server::Server,
    stream::Stream,
    wire::{Key, Line, Place, Sent},
};
pub use self::{
    delivery::Delivery,
    lease::LEASE,
    offer::{Offer, Offered},
    source::Source,
    trouble::{Fault, Spells, Trouble},
};
use super::{
    From, Keep, Message, Note, PublishError, Published, SettleError, SetupError, Subscription,
};
use crate::{
    broker,
    event::{Reply, Request, RequestError},
    manifest::{self, Start},
};

mod consumer;
mod delivery;
mod fleeting;
mod inbox;
mod lease;
mod offer;
mod replays;
mod server;
mod serving;
mod source;
mod stream;
mod trouble;
mod wire;

/// How long an answer is waited for.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a broker in memory. Cheap to clone: clones share the
/// connection, [`Broker::another`] makes one of its own.
#[derive(Debug, Clone)]
pub struct Broker {
    server: Arc<Mutex<Server>>,
    /// Has waiting sources look again, in the order in which they began to wait.
    /// (A watch wakes in an order drawn by lot, and no seed would repeat.)
    changes: Arc<Notify>,
    connection: u64,
    updates_consumers: bool,
}

impl Default for Broker {
    fn default() -> Broker {
        Broker::new()
    }
}

impl Broker {
    /// A server without streams, and a connection to it.
    pub fn new() -> Broker {
        Broker::starting_at(server::EPOCH_MS)
    }

    /// The same with a clock that begins at `epoch_ms`, in milliseconds since 1970.
    pub fn starting_at(epoch_ms: u64) -> Broker {
        let changes = Arc::<Notify>::default();
        let server = Arc::new(Mutex::new(Server::new(epoch_ms, Arc::clone(&changes))));
        Broker { server, changes, connection: 0, updates_consumers: false }.another()
    }

    /// One more connection to the same server, cut by itself.
    pub fn another(&self) -> Broker {
        let mut server = self.lock();
        let connection = server.number();
        server.connections.entry(connection).or_default();
        drop(server);
        Broker { connection, ..self.clone() }
    }

    /// The same connection, that changes existing consumers to what is asked
    /// for. Without it, a difference is an error.
    pub fn updating_consumers(self) -> Broker {
        Broker { updates_consumers: true, ..self }
    }

    /// Makes a stream, anew if there is one of this name: its consumers go with it.
    pub fn make_stream(&self, name: &str, settings: &manifest::Stream) {
        let created = self.lock().now_ns();
        self.make_stream_at(name, settings, created);
    }

    /// The same as if it had been made at `created`, in nanoseconds since 1970: ids
    /// of its events depend on that.
    pub fn make_stream_at(&self, name: &str, settings: &manifest::Stream, created: i64) {
        self.delete_stream(name);
        let mut server = self.lock();
        server.streams.insert(name.to_owned(), Stream::new(settings.clone(), created));
        drop(server);
        self.changed();
    }

    /// Removes a stream with its consumers. Sources wait for it to come back.
    pub fn delete_stream(&self, name: &str) {
        let mut server = self.lock();
        server.streams.remove(name);
        server.consumers.retain(|(stream, _), _| stream != name);
    }

    /// Removes all messages of a stream.
    pub fn purge_stream(&self, name: &str) {
        if let Some(stream) = self.lock().streams.get_mut(name) {
            stream.purge();
        }
        self.changed();
    }

    /// Removes one message; whether there was such a one.
    pub fn delete_message(&self, name: &str, sequence: u64) -> bool {
        let removed = self.lock().streams.get_mut(name).is_some_and(|it| it.remove(sequence));
        self.changed();
        removed
    }

    /// Removes a consumer. A source that reads through it makes it anew.
    pub fn delete_consumer(&self, stream: &str, durable: &str) {
        self.lock().consumers.remove(&(stream.to_owned(), durable.to_owned()));
        self.changed();
    }

    /// Lets a consumer deliver nothing for `pause`; nothing: lets it go on.
    /// Whether there is such a consumer.
    pub fn pause_consumer(&self, stream: &str, durable: &str, pause: Duration) -> bool {
        let key = (stream.to_owned(), durable.to_owned());
        let mut server = self.lock();
        let consumer = server.consumers.get_mut(&key);
        let is_there = consumer.map(|it| it.paused_until = Some(Instant::now() + pause)).is_some();
        drop(server);
        self.changed();
        is_there
    }

    /// Acknowledges a sequence as one who has made up the answer's subject.
    pub fn ack_by_sequence(&self, stream: &str, durable: &str, sequence: u64) {
        let key = (stream.to_owned(), durable.to_owned());
        // Nobody waits for an answer, not even for that there is no consumer.
        drop(self.settle(Place { key, sequence, answer: consumer::Answer::Done, term: None }));
    }

    /// What the stream `name` holds, oldest first.
    pub fn stored(&self, name: &str) -> Vec<Message> {
        let mut server = self.lock();
        let Some(stream) = server.streams.get_mut(name) else { return Vec::new() };
        stream.expire(Instant::now());
        stream.messages()
    }

    /// What a consumer has not been given, and what of it is not settled.
    pub fn backlog(&self, stream: &str, durable: &str) -> Option<(u64, u64)> {
        let mut server = self.lock();
        let key = (stream.to_owned(), durable.to_owned());
        let is_asked = server.is_asked(&key);
        let Server { streams, consumers, .. } = &mut *server;
        let consumer = consumers.get_mut(&key)?;
        let (stream, now) = (streams.get_mut(stream)?, Instant::now());
        stream.expire(now);
        Some(consumer.backlog(stream, is_asked, now))
    }

    /// Events of core NATS that were dropped because a plugin's queue was full.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        let server = self.lock();
        let drops = server.drops.iter();
        drops.map(|(plugin, n)| (plugin.clone(), n.load(Ordering::Relaxed))).collect()
    }

    /// Asks for trouble with what comes next.
    pub fn inject(&self, fault: Fault) {
        self.lock().troubles.ask(fault);
    }

    /// Lets things go wrong by chance from now on, as `seed` decides.
    pub fn trouble(&self, seed: u64, trouble: Trouble) {
        self.lock().troubles.begin(seed, trouble, Instant::now());
        self.changed();
    }

    /// Cuts this connection for so long. Of what is on its way some is lost,
    /// deliveries always.
    pub fn cut(&self, lasts: Duration) {
        self.lock().cut(self.connection, Instant::now() + lasts);
        self.changed();
    }

    /// Kills the server; it comes back after so long. All connections are cut,
    /// streams in memory are gone, consumers may have forgotten their last steps.
    pub fn restart(&self, lasts: Duration) {
        self.lock().restart(Instant::now() + lasts);
        self.changed();
    }

    /// Lets nobody answer for a stream for so long. It loses nothing.
    pub fn outage(&self, stream: &str, lasts: Duration) {
        let mut server = self.lock();
        if let Some(stream) = server.streams.get_mut(stream) {
            stream.away_until = Some(Instant::now() + lasts);
        }
        drop(server);
        self.changed();
    }

    /// Ends all trouble: from now on everything works, and at once.
    pub fn heal(&self) {
        self.lock().heal();
        self.changed();
    }

    /// Publishes over core NATS as one who waits for an answer on `reply_to`.
    pub fn request(&self, message: &Message, reply_to: &str) {
        // A message that nobody stores reaches who listens all the same.
        drop(self.lock().route(message, Some(reply_to)));
        self.changed();
    }

    /// Sends what nobody answers.
    fn send(&self, message: &Message) {
        self.lock().send_fleeting(self.connection, message);
        // At once, if nothing takes time.
        drop(self.lock());
        self.changed();
    }

    fn settle(&self, place: Place) -> Result<Sent<Result<(), SettleError>>, SettleError> {
        let sent = self.lock().send_settlement(self.connection, place);
        drop(self.lock());
        self.changed();
        sent
    }

    /// What was noted, unless the connection is down.
    fn noted(&self, place: &(Key, u64)) -> Option<Note> {
        let server = self.lock();
        let connection = server.connections.get(&self.connection)?;
        let is_up = connection.down_until(Instant::now()).is_none();
        let ((stream, _), sequence) = place;
        // Deliveries that are only said to have been count as runs.
        let earlier = || Some(server.streams.get(stream)?.earlier(*sequence)).filter(|n| *n > 0);
        let made_up = || earlier().map(|begun| Note { begun, ..Note::default() });
        server.notes.get(place).copied().or_else(made_up).filter(|_| is_up)
    }

    fn note(&self, place: (Key, u64), note: Note) -> Result<(), SettleError> {
        let mut server = self.lock();
        let connection = server.connections.entry(self.connection).or_default();
        if connection.down_until(Instant::now()).is_some() {
            return Err(SettleError { detail: "the connection is lost".to_owned() });
        }
        server.notes.insert(place, note);
        Ok(())
    }

    /// The answer to what was sent, if it comes in time.
    async fn answered<T>(&self, sent: Sent<T>) -> Option<T> {
        let Sent { arrives, n_cuts, answer } = sent;
        let answered = async {
            if Instant::now() < arrives {
                sleep_until(arrives).await;
            }
            drop(self.lock());
            self.changed();
            let Ok(answer) = answer.await else { return std::future::pending().await };
            let back = Instant::now() + self.lock().troubles.latency();
            if Instant::now() < back {
                sleep_until(back).await;
            }
            let cuts = self.lock().connections.get(&self.connection).map(|it| it.n_cuts);
            // The answer was on its way when the connection was cut.
            if cuts == Some(n_cuts) { answer } else { std::future::pending().await }
        };
        timeout(ANSWER_TIMEOUT, answered).await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.advance();
        server
    }

    fn changed(&self) {
        self.changes.notify_waiters();
    }
}

fn unavailable(subject: &str, detail: &str) -> PublishError {
    PublishError::Unavailable { subject: subject.to_owned(), detail: detail.to_owned() }
}

impl broker::Broker for Broker {
    type Source = Source;

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        if message.keep == Keep::Fleeting {
            self.send(message);
            return Ok(Published::Sent);
        }
        let sent = self.lock().send_publish(self.connection, message)?;
        let unknown = || PublishError::Unknown {
            subject: message.subject.clone(),
            detail: "none in time".to_owned(),
        };
        self.answered(sent).await.unwrap_or_else(|| Err(unknown()))
    }

    async fn request(&self, request: &Request) -> Result<Vec<Reply>, RequestError> {
        self.await_answers(request).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Source, SetupError> {
        match &subscription.from {
            From::Stream { stream, ack, .. } | From::Replays { stream, ack, .. } => {
                let start = match subscription.from {
                    From::Stream { start, .. } => start,
                    From::Replays { .. } | From::Core { .. } => Start::All,
                };
                let line = Line {
                    is_replays: matches!(subscription.from, From::Replays { .. }),
                    connection: self.connection,
                    key: (stream.clone(), subscription.name()),
                    terms: Terms::new(&subscription),
                    start,
                    ack: *ack,
                    seen: (0, 0),
                    allowed: 0,
                    pace: None,
                    is_exclusive: subscription.exclusive,
                    term: None,
                    on_way: std::collections::VecDeque::new(),
                    is_stopping: false,
                };
                self.open(line)
            }
            From::Core { capacity } => {
                let queue = self.lock().join(self.connection, *capacity, &subscription);
                Ok(Source::of_core(self.clone(), queue))
            }
        }
    }
}

impl Broker {
    fn open(&self, mut line: Line) -> Result<Source, SetupError> {
        let opened = self.lock().open_consumer(&mut line, self.updates_consumers);
        let what = || format!("consumer `{}` of stream `{}`", line.key.1, line.key.0);
        match opened {
            Ok(()) => Ok(Source::of_stream(self.clone(), line)),
            Err(problem) => Err(SetupError { code: "consumer-differs", what: what(), problem }),
        }
    }
}

#[cfg(test)]
mod tests;
