//! A model of JetStream in memory, for tests of what is built on a broker.
//!
//! It keeps the server's rules that delivery depends on: duplicate window, ack
//! wait, redelivery, delayed nak, max ack pending, max deliver, termination,
//! acknowledgement by sequence, queue groups. It has no connection to lose: a
//! test asks for trouble with [`Broker::inject`]. Time is tokio's, so a test may
//! pause it. Messages are handed over in [`broker::Source::next`], not before,
//! so nothing ages on the way.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::{
    consumer::{Consumer, Next},
    source::Kind,
    stream::{Put, Stream},
};
pub use self::{delivery::Delivery, source::Source};
use super::{From, Keep, Message, PublishError, Published, SettleError, SetupError, Subscription};
use crate::{broker, event::Event, manifest, subject::Pattern};

mod consumer;
mod delivery;
mod replays;
mod source;
mod stream;

/// 2023-11-14: where the model's wall clock begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Trouble that a test asks for. Each happens once, in the order asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next publish is not stored and is said to be unavailable.
    PublishUnavailable,
    /// The next publish is not stored, and nobody answers.
    PublishLost,
    /// The next publish is stored, and the answer is lost.
    PublishUnanswered,
    /// The next settlement does not reach the server, and this is known.
    SettleLost,
}

/// A broker in memory. Cheap to clone: clones are connections to the same server.
#[derive(Debug, Clone)]
pub struct Broker {
    server: Arc<Mutex<Server>>,
    /// Counts changes, so that waiting sources look again.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Server {
    begun: Instant,
    streams: BTreeMap<String, Stream>,
    /// By stream and durable name.
    consumers: BTreeMap<(String, String), Consumer>,
    members: Vec<Member>,
    faults: VecDeque<Fault>,
    drops: BTreeMap<String, Arc<AtomicU64>>,
    n_made: u64,
}

/// One subscription over core NATS.
#[derive(Debug)]
struct Member {
    group: String,
    subjects: Vec<Pattern>,
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
    n_received: u64,
}

impl Default for Broker {
    fn default() -> Broker {
        Broker::new()
    }
}

impl Broker {
    /// A server without streams.
    pub fn new() -> Broker {
        let server = Server {
            begun: Instant::now(),
            streams: BTreeMap::new(),
            consumers: BTreeMap::new(),
            members: Vec::new(),
            faults: VecDeque::new(),
            drops: BTreeMap::new(),
            n_made: 0,
        };
        Broker { server: Arc::new(Mutex::new(server)), changes: watch::Sender::new(0) }
    }

    /// Makes a stream, anew if there is one of this name: its consumers go with it.
    pub fn make_stream(&self, name: &str, settings: &manifest::Stream) {
        let mut server = self.lock();
        server.n_made += 1;
        let created = i64::try_from(EPOCH_MS * 1_000_000 + server.n_made).unwrap_or(i64::MAX);
        server.consumers.retain(|(stream, _), _| stream != name);
        server.streams.insert(name.to_owned(), Stream::new(settings.clone(), created));
    }

    /// What the stream `name` holds, oldest first.
    pub fn stored(&self, name: &str) -> Vec<Message> {
        self.lock().streams.get(name).map(Stream::messages).unwrap_or_default()
    }

    /// What a consumer has not been given, and what of it is not settled.
    pub fn backlog(&self, stream: &str, durable: &str) -> Option<(u64, u64)> {
        let server = self.lock();
        let consumer = server.consumers.get(&(stream.to_owned(), durable.to_owned()))?;
        Some(consumer.backlog(server.streams.get(stream)?))
    }

    /// Events of core NATS that were dropped because a plugin's queue was full.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        let server = self.lock();
        let drops = server.drops.iter();
        drops.map(|(plugin, n)| (plugin.clone(), n.load(Ordering::Relaxed))).collect()
    }

    /// Asks for trouble.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Publishes over core NATS as one who waits for an answer on `reply_to`.
    pub fn request(&self, message: &Message, reply_to: &str) {
        // A message that nobody stores reaches who listens all the same.
        drop(self.lock().route(message, Some(reply_to)));
        self.changed();
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Server {
    fn fault(&mut self, matching: &[Fault]) -> Option<Fault> {
        let fault = self.faults.front().copied().filter(|fault| matching.contains(fault))?;
        self.faults.pop_front();
        Some(fault)
    }

    fn now_ms(&self) -> u64 {
        EPOCH_MS + u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(0)
    }

    fn publish(&mut self, message: &Message) -> Result<Published, PublishError> {
        const FAULTS: [Fault; 3] =
            [Fault::PublishUnavailable, Fault::PublishLost, Fault::PublishUnanswered];
        let fault = match message.keep {
            Keep::Stored { .. } => self.fault(&FAULTS),
            Keep::Fleeting => None,
        };
        let subject = message.subject.clone();
        let unknown = |subject| PublishError::Unknown { subject, detail: "none".to_owned() };
        match fault {
            Some(Fault::PublishUnavailable) => Err(unavailable(subject, "asked for by a test")),
            Some(Fault::PublishLost) => Err(unknown(subject)),
            Some(_) => self.route(message, None).and(Err(unknown(subject))),
            None => self.route(message, None),
        }
    }

    /// Gives a message to whoever wants it, and answers as a stream would.
    fn route(
        &mut self,
        message: &Message,
        reply_to: Option<&str>,
    ) -> Result<Published, PublishError> {
        self.n_made += 1;
        let event = Event {
            id: format!("core-{}", self.n_made),
            subject: message.subject.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            reply_to: reply_to.map(str::to_owned),
            time_ms: self.now_ms(),
            attempt: 1,
            position: None,
            replay: None,
        };
        self.fan_out(&event);
        self.store(message, event.time_ms)
    }

    /// One member of each group gets it: the one that has got the fewest.
    fn fan_out(&mut self, event: &Event) {
        self.members.retain(|member| !member.queue.is_closed());
        let interested = self
            .members
            .iter_mut()
            .filter(|member| member.subjects.iter().any(|subject| subject.matches(&event.subject)));
        let mut chosen = BTreeMap::<String, &mut Member>::new();
        for member in interested {
            match chosen.get(&member.group) {
                Some(other) if other.n_received <= member.n_received => {}
                _ => {
                    chosen.insert(member.group.clone(), member);
                }
            }
        }
        for member in chosen.into_values() {
            member.n_received += 1;
            if member.queue.try_send(event.clone()).is_err() {
                member.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn store(&mut self, message: &Message, time_ms: u64) -> Result<Published, PublishError> {
        let subject = || message.subject.clone();
        let found = self.streams.iter_mut().find(|(_, stream)| stream.takes(&message.subject));
        let Some((name, stream)) = found else {
            return match message.keep {
                Keep::Stored { .. } => Err(unavailable(subject(), "no stream answers")),
                Keep::Fleeting => Ok(Published::Sent),
            };
        };
        let Keep::Stored { id, stream: expected } = &message.keep else {
            // Stored all the same, but nobody waits for the answer.
            stream.put(message, None, time_ms);
            return Ok(Published::Sent);
        };
        if expected.as_deref().is_some_and(|expected| expected != name) {
            let detail = "expected stream does not match".to_owned();
            return Err(PublishError::Refused { subject: subject(), detail });
        }
        match stream.put(message, Some(id), time_ms) {
            Put::Stored => Ok(Published::Stored),
            Put::Duplicate => Ok(Published::Duplicate),
            Put::Full => Err(unavailable(subject(), "maximum messages exceeded")),
            Put::TooLarge => {
                let detail = "message size exceeds maximum allowed".to_owned();
                Err(PublishError::Refused { subject: subject(), detail })
            }
        }
    }

    /// The next delivery of a consumer, or when to look again.
    fn next(&mut self, key: &(String, String)) -> Result<Event, Option<Instant>> {
        let (Some(consumer), Some(stream)) =
            (self.consumers.get_mut(key), self.streams.get(&key.0))
        else {
            return Err(None);
        };
        match consumer.next(stream, Instant::now()) {
            Next::Deliver { sequence, attempt } => {
                stream.event(&key.0, sequence, attempt).ok_or(None)
            }
            Next::Wait(until) => Err(until),
        }
    }

    fn settle(&mut self, place: &Place, answer: Answer) -> Result<(), SettleError> {
        if answer != Answer::Progress && self.fault(&[Fault::SettleLost]).is_some() {
            return Err(SettleError { detail: "asked for by a test".to_owned() });
        }
        let key = (place.stream.clone(), place.durable.clone());
        if let Some(consumer) = self.consumers.get_mut(&key) {
            consumer.answer(place.sequence, answer, Instant::now());
        }
        Ok(())
    }
}

/// An answer to a delivery, as the server takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Never again: acknowledged or terminated.
    Done,
    Later(Duration),
    Progress,
}

/// What an answer refers to. As on the server, the sequence alone: a late
/// answer of an earlier delivery counts.
#[derive(Debug)]
struct Place {
    stream: String,
    durable: String,
    sequence: u64,
}

fn unavailable(subject: String, detail: &str) -> PublishError {
    PublishError::Unavailable { subject, detail: detail.to_owned() }
}

impl broker::Broker for Broker {
    type Source = Source;

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        let published = self.lock().publish(message);
        self.changed();
        published
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Source, SetupError> {
        let kind = match &subscription.from {
            From::Stream { stream, .. } | From::Replays { stream, .. } => {
                self.open_consumer(stream, &subscription)?
            }
            From::Core { queue } => Kind::Core(self.join(*queue, &subscription)),
        };
        let changes = self.changes.subscribe();
        let is_replays = matches!(subscription.from, From::Replays { .. });
        Ok(Source::new(self.clone(), kind, changes).of_replays(is_replays))
    }
}

impl Broker {
    fn open_consumer(&self, stream: &str, wish: &Subscription) -> Result<Kind, SetupError> {
        let mut server = self.lock();
        let Some(stored) = server.streams.get(stream) else {
            let what = format!("stream `{stream}`");
            return Err(SetupError { what, problem: "it does not exist".to_owned() });
        };
        let wanted = Consumer::new(wish, stored);
        let key = (stream.to_owned(), wish.name());
        let found = server.consumers.entry(key.clone()).or_insert_with(|| wanted.clone());
        if !found.is_set_up_like(&wanted) {
            let what = format!("consumer `{}` of stream `{stream}`", wish.name());
            return Err(SetupError { what, problem: "it differs from the manifest".to_owned() });
        }
        Ok(Kind::Stream(key))
    }

    fn join(&self, capacity: usize, wish: &Subscription) -> mpsc::Receiver<Event> {
        let (queue, receiver) = mpsc::channel(capacity.max(1));
        let mut server = self.lock();
        let dropped = Arc::clone(server.drops.entry(wish.plugin.clone()).or_default());
        let (group, subjects) = (wish.name(), wish.subjects.clone());
        server.members.push(Member { group, subjects, queue, dropped, n_received: 0 });
        receiver
    }
}

#[cfg(test)]
mod tests;
