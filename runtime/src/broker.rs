//! What the dispatcher asks of a message broker.
//!
//! Two implementations: [`nats`], the real one, and [`model`], a model of
//! JetStream in memory. `dispatch` is generic over them and knows neither.
//! Nothing here decides what becomes of a delivery.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    event::{Disposition, Event, Header, Reply, Request, RequestError},
    manifest,
    subject::Pattern,
};

pub mod model;
pub mod nats;
mod queue;

pub use queue::Capacity;

/// The most bytes of headers that a stream stores with one message, the version
/// line included. Source: nats-server, `JSStreamHeaderExceedsMaximumErr`, 10097.
pub const MAX_STORED_HEADERS: usize = 65_535;

/// What headers take on the wire, in bytes: `name: value`, and a line break.
pub fn size_of_headers(headers: &[Header]) -> usize {
    headers.iter().map(|header| header.name.len() + header.value.len() + 4).sum()
}

/// A connection to a broker. Cheap to clone.
pub trait Broker: Clone + Send + Sync + 'static {
    /// One plugin's deliveries.
    type Source: Source;

    /// Publishes `message` and, if a stream is to keep it, waits until it does.
    ///
    /// Publishing the same id again is harmless: see [`PublishError::Unknown`].
    fn publish(
        &self,
        message: &Message,
    ) -> impl Future<Output = Result<Published, PublishError>> + Send;

    /// Asks over core NATS, and waits for the answers: until there are as many as
    /// the request wants, or its time is up. Returns one at least.
    ///
    /// Nothing is repeated: who was asked may have acted though no answer came.
    fn request(
        &self,
        request: &Request,
    ) -> impl Future<Output = Result<Vec<Reply>, RequestError>> + Send;

    /// Begins to deliver what `subscription` asks for. Nothing is delivered
    /// before [`Source::allow`].
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> impl Future<Output = Result<Self::Source, SetupError>> + Send;
}

/// One plugin's deliveries, never more at once than were allowed.
pub trait Source: Send + 'static {
    /// One hand-over of one message.
    type Delivery: Delivery;

    /// Allows `n` more deliveries. What was allowed stays so until it is
    /// delivered, over reconnects too.
    fn allow(&mut self, n: usize);

    /// At most `most` more deliveries come until this is called again; `None`:
    /// as many as are allowed. What is on its way already may still come.
    ///
    /// What was allowed stays allowed: this only holds it back.
    fn pace(&mut self, most: Option<usize>);

    /// The next delivery; `None` after [`Source::stop`], when all that was on
    /// its way has been returned. Cancel-safe.
    ///
    /// Trouble with the connection or the consumer is logged, counted and
    /// mended inside, with jitter: it is not the end of the source.
    fn next(&mut self) -> impl Future<Output = Option<Self::Delivery>> + Send;

    /// Asks the server to deliver to nobody for this long, over all replicas, if
    /// it can do that. Nothing waits for it.
    fn pause(&mut self, time: Duration);

    /// Asks for nothing more. What the server has already sent is still
    /// returned by [`Source::next`], so that no delivery is wasted; for core
    /// NATS, as far as [`Source::allow`] goes on to allow it.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;

    /// The end, when every delivery has been settled or dropped: what the source
    /// holds on the server, such as the right to be the only one, is given up.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// One hand-over of one message, with the duty to settle it.
#[must_use = "an unsettled delivery comes back after the consumer's ack wait"]
pub trait Delivery: Send + Sync + 'static {
    /// The event, or why it cannot be read.
    fn event(&self) -> Result<Event, DecodeError>;

    /// What it costs to hold, in bytes.
    fn size(&self) -> usize;

    /// Whether the server delivers it again when it is not settled. Without
    /// that (core NATS) a retry has to happen inside the host.
    fn redelivers(&self) -> bool;

    /// Whether a run may begin: not once another host may have taken over an
    /// exclusive subscription, see [`Subscription::exclusive`].
    fn is_ours(&self) -> bool;

    /// What was noted about earlier deliveries of the same event. Nothing, if
    /// nothing was or it cannot be read now.
    fn noted(&self) -> impl Future<Output = Note> + Send;

    /// Notes what the next delivery of the event has to know, beyond the life
    /// of this process. It is forgotten after a day.
    fn note(&self, note: Note) -> impl Future<Output = Result<(), SettleError>> + Send;

    /// Tells the server that work goes on, so that its ack wait starts anew.
    fn progress(&self) -> impl Future<Output = Result<(), SettleError>> + Send;

    /// Answers the delivery. Consumes it: a delivery is settled once.
    fn settle(
        self,
        disposition: Disposition,
    ) -> impl Future<Output = Result<(), SettleError>> + Send;
}

/// What outlives the process about an event that is not settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Note {
    /// Deliveries that do not count as attempts, since no run of the handler
    /// came to its end: the host stopped.
    pub spared: u32,
    /// Runs that were begun, in a subscription that hands out events long
    /// before they run.
    pub begun: u32,
}

/// What one plugin reads.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// `[host] name`: the first part of the durable's or queue group's name.
    pub host: String,
    /// The plugin's name: the second part.
    pub plugin: String,
    /// Which subjects; all are filters of the one consumer.
    pub subjects: Vec<Pattern>,
    /// From where.
    pub from: From,
    /// The most deliveries that may be unsettled at once, over all replicas.
    pub max_in_flight: usize,
    /// Whether only one source at a time may get deliveries, over all replicas.
    /// The others stand by, and one of them takes over when it is closed, or is
    /// not heard of. What the former source left unsettled comes before
    /// anything new.
    pub exclusive: bool,
    /// Copies in a cluster of what the host keeps about its deliveries.
    pub replicas: usize,
}

impl Subscription {
    /// The name of the durable consumer or queue group, which all replicas of
    /// the host share.
    pub fn name(&self) -> String {
        match self.from {
            From::Replays { .. } => replays_durable(&self.host, &self.plugin),
            From::Stream { .. } | From::Core { .. } => durable(&self.host, &self.plugin),
        }
    }
}

/// The name of the durable consumer of a plugin's replays.
pub fn replays_durable(host: &str, plugin: &str) -> String {
    format!("{host}-{plugin}-replays")
}

/// The name of the durable consumer or queue group of a plugin of a host.
pub fn durable(host: &str, plugin: &str) -> String {
    format!("{host}-{plugin}")
}

/// Where a plugin's events come from.
#[derive(Debug, Clone)]
pub enum From {
    /// A stream, through a durable consumer.
    Stream {
        /// The stream's name.
        stream: String,
        /// How long the server waits for an answer before it delivers again.
        ack_wait: Duration,
        /// After how many deliveries the server gives an event up; `u32::MAX`: never.
        max_deliver: u32,
        /// Where a new consumer begins. An existing one goes on where it is.
        start: manifest::Start,
        /// How deliveries are acknowledged.
        ack: manifest::Ack,
    },
    /// Requests to run dead letters again, through a durable consumer of the
    /// work queue that holds them. A delivery's event is the original one.
    Replays {
        /// The stream's name.
        stream: String,
        /// How long the server waits for an answer before it delivers again.
        ack_wait: Duration,
        /// After how many deliveries the server gives an event up; `u32::MAX`: never.
        max_deliver: u32,
        /// How deliveries are acknowledged.
        ack: manifest::Ack,
    },
    /// Core NATS, through a queue group: at most once.
    Core {
        /// How much may wait in the host; what does not fit is dropped and counted.
        capacity: Capacity,
    },
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject; checked by the caller.
    pub subject: String,
    /// Headers; checked by the caller.
    pub headers: Vec<Header>,
    /// The bytes.
    pub payload: Bytes,
    /// What is waited for.
    pub keep: Keep,
}

/// Whether a stream has to keep a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// A stream stores it once under this id within its duplicate window.
    Stored {
        /// The message id (`Nats-Msg-Id`).
        id: String,
        /// The stream that must store it, if it is known.
        stream: Option<Arc<str>>,
    },
    /// Core NATS: sent, and nothing more is known.
    Fleeting,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The stream stored it now.
    Stored,
    /// The stream had stored the same id before.
    Duplicate,
    /// It was sent; nobody confirms.
    Sent,
}

/// Why a message is not known to be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No answer. It may be stored or still be stored later: publish the same
    /// id again, never another.
    #[error("no answer to the publish on `{subject}`: {detail}")]
    Unknown {
        /// The message's subject.
        subject: String,
        /// What the client said.
        detail: String,
    },
    /// The server cannot store it now: no stream answers (a leader election, a
    /// stream that is gone) or the stream is full. Worth another try.
    #[error("`{subject}` was not stored: {detail}")]
    Unavailable {
        /// The message's subject.
        subject: String,
        /// What the server said.
        detail: String,
    },
    /// The server will never take this message (too large, a rule of the stream).
    #[error("`{subject}` was refused: {detail}")]
    Refused {
        /// The message's subject.
        subject: String,
        /// What the server said.
        detail: String,
    },
}

/// A message that no handler can be given, with all that could be saved of it:
/// enough for its dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the delivery cannot be read: {detail}")]
pub struct DecodeError {
    /// What is wrong with it.
    pub detail: String,
    /// What could be read. Its attempt may be too low.
    pub event: Box<Event>,
    /// The block of headers as it was sent, if some of it could not be read;
    /// the event has the others. Empty: all could.
    pub headers: Bytes,
}

/// An answer that may not have reached the server: the delivery comes again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer may not have reached the server: {detail}")]
pub struct SettleError {
    /// What went wrong.
    pub detail: String,
}

/// Why a stream or consumer is not as the manifest wants it. The text names
/// what was found, what is wanted and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct SetupError {
    /// What kind of mistake: a code of [`crate::explain`].
    pub code: &'static str,
    /// Which object: ``stream `ORDERS` ``.
    pub what: String,
    /// What is wrong with it, and the remedy.
    pub problem: String,
}
