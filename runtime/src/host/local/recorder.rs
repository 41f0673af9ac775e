//! One plugin's connection to the broker in memory, which takes down what the
//! plugin publishes. It changes nothing of what is published.

use super::{
    super::provision::ELSEWHERE,
    record::{Cause, Emitted, Record, Told},
};
use crate::{
    broker::{Broker, Keep, Message, PublishError, Published, SetupError, Subscription, model},
    event::{Reply, Request, RequestError},
};

/// The longest id that tells an event's way, in bytes.
const MAX_ID: usize = 200;

/// A connection that is listened to.
#[derive(Clone)]
pub(super) struct Recorder {
    broker: model::Broker,
    plugin: String,
    record: Record,
    /// Whether outputs have the time of the event that they were returned for.
    times_from_cause: bool,
}

impl Recorder {
    pub(super) fn new(broker: model::Broker, plugin: &str, record: &Record) -> Recorder {
        let (plugin, record) = (plugin.to_owned(), record.clone());
        Recorder { broker, plugin, record, times_from_cause: false }
    }

    /// The same, with outputs that have the time of the event they were returned
    /// for: then it does not depend on how long the run took.
    pub(super) fn with_times_from_cause(self, times_from_cause: bool) -> Recorder {
        Recorder { times_from_cause, ..self }
    }
}

impl Recorder {
    /// What the message is called as an event: its way can be read from it, as long
    /// as that is not too long. In this it differs from a server's.
    fn id(&self, message: &Message, cause: Option<&Cause>) -> Option<String> {
        let named = match &message.keep {
            Keep::Stored { id, .. } => Some(id),
            Keep::Fleeting => None,
        };
        let Some(cause) = cause else { return named.cloned() };
        // Outputs that are stored may be published again, in another order.
        let index = named.and_then(|id| id.rsplit_once('.')?.1.parse().ok());
        let index: usize = index.unwrap_or(cause.index);
        let id = format!("{}/{}.{index}", cause.event, self.plugin);
        if id.len() > MAX_ID { named.cloned() } else { Some(id) }
    }
}

impl Broker for Recorder {
    type Source = model::Source;

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        let room = self.record.room().await;
        let stream = match &message.keep {
            Keep::Stored { stream, .. } => stream.as_deref(),
            Keep::Fleeting => None,
        };
        let letter = self.record.dead_letter(message, stream);
        if letter.is_some() {
            self.record.forget_cause();
        }
        let cause = self.record.cause();
        let time_ms = cause.as_ref().filter(|_| self.times_from_cause).map(|it| it.time_ms);
        let id = self.id(message, cause.as_ref());
        let message = message.clone();
        let offer = model::Offer { message, id, time_ms, earlier: 0, reply_to: None };
        let offered = self.broker.offer(&offer)?;
        // The stream has it from an earlier run.
        if offered.published == Published::Duplicate {
            return Ok(Published::Duplicate);
        }
        let message = offer.message;
        let told = match letter {
            Some(letter) => Told::DeadLetter(Box::new(letter)),
            None => Told::Output(Emitted {
                plugin: self.plugin.clone(),
                event: cause.map(|cause| cause.event).unwrap_or_default(),
                subject: message.subject,
                headers: message.headers,
                payload: message.payload,
                id: offer.id.unwrap_or_default(),
                streams: offered.streams.into_iter().filter(|it| it != ELSEWHERE).collect(),
            }),
        };
        self.record.tell(room, told);
        Ok(offered.published)
    }

    async fn request(&self, request: &Request) -> Result<Vec<Reply>, RequestError> {
        Broker::request(&self.broker, request).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<model::Source, SetupError> {
        self.broker.subscribe(subscription).await
    }
}
