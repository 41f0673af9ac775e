//! Events handed to the model by one who knows more about them than a publisher:
//! their time, their id, how often they were delivered before.
//!
//! For hosts that run on the model alone: nothing here takes time, and no trouble
//! reaches it. What is left to do, and what may be forgotten, is here, too.

use tokio::sync::futures::Notified;

use super::{Broker, server::Server, stream::Stamp};
use crate::broker::{Keep, Message, PublishError, Published};

/// What is handed in.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Subject, headers, payload, and who has to keep it.
    pub message: Message,
    /// The event's id; `None`: as a server would have it.
    pub id: Option<String>,
    /// When it was published, in milliseconds since 1970; `None`: now.
    pub time_ms: Option<u64>,
    /// How often it counts as delivered before the first delivery.
    pub earlier: u32,
    /// Where the sender waits for a reply.
    pub reply_to: Option<String>,
}

/// Who took what was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// What a publisher is told.
    pub published: Published,
    /// The streams that store it.
    pub streams: Vec<String>,
    /// How many plugins get it, from a stream or over core NATS.
    pub listeners: usize,
}

impl Broker {
    /// Hands an event to whoever wants it: to every stream that takes its subject,
    /// also where a server would let only one take it, and to who listens.
    ///
    /// # Errors
    /// As a publish of the message.
    pub fn offer(&self, offer: &Offer) -> Result<Offered, PublishError> {
        let offered = self.lock().take_offer(offer);
        self.changed();
        offered
    }

    /// Gives the next message of a stream this sequence, unless it had a later one.
    pub fn skip_to(&self, stream: &str, sequence: u64) {
        if let Some(stream) = self.lock().streams.get_mut(stream) {
            stream.skip_to(sequence);
        }
    }

    /// Keeps from now on only what a plugin still has to handle, and no ids of
    /// messages: what is held does not grow with the number of events.
    pub fn forget_handled(&self) {
        self.lock().streams.values_mut().for_each(super::Stream::forget_handled);
    }

    /// Whether every event was settled: nothing waits, runs, or comes again.
    pub fn is_idle(&self) -> bool {
        let server = self.lock();
        let is_done = |((name, _), consumer): (&super::Key, &super::consumer::Consumer)| {
            server.streams.get(name).is_none_or(|stream| consumer.is_done(stream))
        };
        server.consumers.iter().all(is_done) && server.members.iter().all(|it| it.in_hand() == 0)
    }

    /// How many events are stored, or in the hands of plugins over core NATS, and
    /// the bytes of those stored.
    pub fn held(&self) -> (usize, u64) {
        let server = self.lock();
        let stored = server.streams.values().map(super::Stream::held);
        let stored = stored.fold((0, 0), |sum, (n, bytes)| (sum.0 + n, sum.1 + bytes));
        let in_hand = server.members.iter().map(super::fleeting::Member::in_hand);
        (stored.0 + in_hand.sum::<usize>(), stored.1)
    }

    /// Whether every plugin that listens to `subject` over core NATS has room for
    /// an event: else it would be dropped.
    pub fn has_room(&self, subject: &str) -> bool {
        let server = self.lock();
        let mut members = server.members.iter().filter(|member| member.wants(subject));
        members.all(super::fleeting::Member::has_room)
    }

    /// Completes when something changes after this call. What [`Broker::is_idle`]
    /// and the like say holds until then.
    pub fn next_change(&self) -> Notified<'_> {
        self.changes.notified()
    }
}

impl Server {
    /// How many consumers of the streams want messages of this subject.
    fn readers(&self, streams: &[String], subject: &str) -> usize {
        let consumers = self.consumers.iter();
        let consumers = consumers.filter(|((stream, _), _)| streams.contains(stream));
        consumers.filter(|(_, consumer)| consumer.terms().wants(subject)).count()
    }

    fn take_offer(&mut self, offer: &Offer) -> Result<Offered, PublishError> {
        let Offer { message, id, time_ms, earlier, reply_to } = offer;
        let time_ms = time_ms.unwrap_or_else(|| self.now_ms());
        let stamp = Stamp { id: id.clone(), time_ms, earlier: *earlier };
        let takers = self.streams.iter().filter(|(_, stream)| stream.takes(&message.subject));
        let streams: Vec<String> = takers.map(|(name, _)| name.clone()).collect();
        let event = self.fleeting(message, stamp.clone(), reply_to.as_deref());
        let listeners = self.fan_out(&event) + self.readers(&streams, &message.subject);
        self.answer_request(message);
        let published = match &message.keep {
            // Whoever names a stream wants it stored.
            Keep::Stored { stream: None, .. } if streams.is_empty() => Published::Sent,
            _ => self.store(message, &stamp)?,
        };
        // A copy for each of the others: they stand for mirrors and sources.
        for name in streams.iter().skip(1) {
            let is_wanted = self.is_wanted(name, &message.subject);
            if let Some(stream) = self.streams.get_mut(name) {
                stream.put(message, &stamp, is_wanted);
            }
        }
        let published = match (&message.keep, streams.is_empty()) {
            (Keep::Fleeting, false) => Published::Stored,
            _ => published,
        };
        Ok(Offered { published, streams, listeners })
    }
}
