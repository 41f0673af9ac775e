//! One hand-over of one message: reading it as an event, answering it.
//!
//! What the answer is, is decided elsewhere.

use std::{fmt, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Message, RequestErrorKind, client, jetstream,
};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{
    Broker, bucket::Bucket, connect::Version, consumer::Durable, exclusive::Grip, malformed,
    replays::Original, suspect::Unreadable,
};
use crate::{
    broker::{self, DecodeError, Note, SettleError},
    event::{Disposition, Event, Header, Position},
    manifest::Ack,
    subject,
};

/// How often a confirmed answer is sent before the server's silence is believed.
const CONFIRM_ATTEMPTS: u32 = 3;
const CONFIRM_PAUSE: Duration = Duration::from_millis(250);
/// Before it, a termination with a reason is confirmed and not done.
const TERM_WITH_REASON: Version = Version(2, 10, 4);

/// What a stream's delivery has to know of where it comes from.
pub(super) struct Provenance {
    /// When the stream was made, in nanoseconds since 1970.
    pub(super) created: i64,
    pub(super) ack: Ack,
    pub(super) durable: Arc<Durable>,
    pub(super) bucket: Bucket,
    /// What makes it ours alone, if it has to be.
    pub(super) grip: Option<Grip>,
}

/// A message that was handed over, with the duty to settle it.
#[derive(Debug)]
pub struct Delivery {
    broker: Broker,
    message: Message,
    kind: Kind,
}

impl fmt::Debug for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provenance").field("durable", &self.durable.name).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Kind {
    /// By a durable consumer.
    Stream {
        provenance: Provenance,
        /// Why the client cannot read it, and the block of its headers, if it
        /// came in another way.
        refused: Option<Box<(String, Bytes)>>,
        /// If it asks for a replay: what was left in the source stream.
        replay: Option<Box<Original>>,
    },
    /// By core NATS.
    Core {
        id: String,
        /// When it came, in milliseconds since 1970.
        time_ms: u64,
    },
}

impl Delivery {
    pub(super) fn from_stream(
        broker: Broker,
        message: Message,
        provenance: Provenance,
    ) -> Delivery {
        Delivery { broker, message, kind: Kind::Stream { provenance, refused: None, replay: None } }
    }

    /// The delivery that broke the connection, which the client never returned.
    pub(super) fn unreadable(
        broker: Broker,
        found: Unreadable,
        provenance: Provenance,
    ) -> Delivery {
        let Unreadable { reply, subject, block, payload, refusal, .. } = found;
        let message = Message {
            length: subject.len() + reply.len() + block.len() + payload.len(),
            subject: subject.into(),
            reply: Some(reply.into()),
            payload,
            headers: None,
            status: None,
            description: None,
        };
        let refused = Some(Box::new((refusal, block)));
        Delivery { broker, message, kind: Kind::Stream { provenance, refused, replay: None } }
    }

    pub(super) fn from_core(
        broker: Broker,
        message: Message,
        id: String,
        time_ms: u64,
    ) -> Delivery {
        Delivery { broker, message, kind: Kind::Core { id, time_ms } }
    }

    /// The same delivery, as a request for a replay.
    pub(super) fn asking_for(mut self, original: Original) -> Delivery {
        if let Kind::Stream { replay, .. } = &mut self.kind {
            *replay = Some(Box::new(original));
        }
        self
    }

    fn stored_event(
        &self,
        created: i64,
        refused: Option<&(String, Bytes)>,
    ) -> Result<Event, DecodeError> {
        let ack = self.ack_message();
        let info = ack.info().map_err(|error| self.unknown(&*error))?;
        let position = Position {
            stream: info.stream.to_owned(),
            stream_created: created,
            sequence: info.stream_sequence,
        };
        let published_ms = info.published.unix_timestamp_nanos() / 1_000_000;
        let event = Event {
            id: position.event_id(),
            time_ms: u64::try_from(published_ms).unwrap_or(0),
            attempt: u32::try_from(info.delivered).unwrap_or(u32::MAX),
            position: Some(position),
            ..self.bare_event()
        };
        match refused {
            None => Ok(event),
            Some((detail, block)) => Err(DecodeError {
                detail: detail.clone(),
                event: Box::new(Event { headers: malformed::salvage(block), ..event }),
                headers: block.clone(),
            }),
        }
    }

    /// It cannot be said which message of the stream this is.
    fn unknown(&self, error: &dyn std::error::Error) -> DecodeError {
        let id = self.broker.unique_id();
        DecodeError {
            detail: format!("its reply subject is not that of a stream's delivery: {error}"),
            event: Box::new(Event { id, reply_to: None, ..self.bare_event() }),
            headers: Bytes::new(),
        }
    }

    fn answered(&mut self) {
        if let Kind::Stream { provenance: Provenance { grip: Some(grip), .. }, .. } = &mut self.kind
        {
            grip.answered();
        }
    }

    /// A later delivery of the same message is in hand, and will be answered.
    pub(super) fn superseded(mut self) {
        self.answered();
    }

    /// How many deliveries its consumer had made with this one.
    pub(super) fn consumer_sequence(&self) -> Option<u64> {
        self.ack_message().info().ok().map(|info| info.consumer_sequence)
    }

    /// Where notes about its message are.
    fn note_place(&self) -> Option<(&Bucket, String)> {
        let Kind::Stream { provenance, .. } = &self.kind else { return None };
        let Provenance { bucket, durable, created, .. } = provenance;
        Some((bucket, format!("note.{}.{created}.{}", durable.name, self.sequence()?)))
    }

    pub(super) fn has_header(&self, name: &HeaderName) -> bool {
        self.message.headers.as_ref().is_some_and(|headers| headers.get(name.clone()).is_some())
    }

    /// Its place in the stream.
    pub(super) fn sequence(&self) -> Option<u64> {
        self.ack_message().info().ok().map(|info| info.stream_sequence)
    }

    /// The part of the message that the client's parser of acknowledgement
    /// subjects needs, without its headers and payload.
    fn ack_message(&self) -> jetstream::Message {
        let message = Message {
            subject: self.message.subject.clone(),
            reply: self.message.reply.clone(),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        jetstream::Message { message, context: self.broker.inner.jetstream.clone() }
    }

    fn bare_event(&self) -> Event {
        Event {
            id: String::new(),
            subject: self.message.subject.as_str().to_owned(),
            headers: self.message.headers.as_ref().map(read_headers).unwrap_or_default(),
            payload: self.message.payload.clone(),
            reply_to: None,
            time_ms: 0,
            attempt: 1,
            position: None,
            replay: None,
        }
    }

    async fn settle_stored(&self, disposition: Disposition, ack: Ack) -> Result<(), SettleError> {
        match (disposition, ack) {
            (Disposition::Ack, Ack::Plain) => self.answer(Bytes::from_static(b"+ACK")).await,
            (Disposition::Ack, Ack::Confirmed) => self.confirm(Bytes::from_static(b"+ACK")).await,
            (Disposition::Retry(delay), _) => {
                let nanos = delay.as_nanos();
                self.answer(format!("-NAK {{\"delay\": {nanos}}}").into()).await
            }
            (Disposition::Reject, Ack::Plain) => self.answer(self.term()).await,
            (Disposition::Reject, Ack::Confirmed) => self.confirm(self.term()).await,
        }
    }

    fn term(&self) -> Bytes {
        let version = Version::parse(&self.broker.inner.client().server_info().version);
        if version.is_some_and(|version| version >= TERM_WITH_REASON) {
            Bytes::from_static(b"+TERM rejected by pelton: see its dead letters")
        } else {
            Bytes::from_static(b"+TERM")
        }
    }

    /// Sends `answer`; nobody confirms.
    async fn answer(&self, answer: Bytes) -> Result<(), SettleError> {
        let reply = self.reply()?;
        let client = self.broker.inner.client();
        let sent = client.publish(reply, answer);
        match timeout(self.broker.inner.request_timeout, sent).await {
            Ok(sent) => sent.map_err(unsettled),
            Err(_) => Err(unsettled("the connection is lost and its queue full")),
        }
    }

    /// Sends `answer` as a request, again if need be. Not the client's
    /// `double_ack`: that takes "no responders" for a confirmation.
    async fn confirm(&self, answer: Bytes) -> Result<(), SettleError> {
        let mut attempt = 1;
        loop {
            let error = match self.request(answer.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if attempt == CONFIRM_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            sleep(CONFIRM_PAUSE.mul_f64(rand::random_range(0.5..=1.5))).await;
        }
    }

    async fn request(&self, answer: Bytes) -> Result<(), SettleError> {
        let request = client::Request::new().payload(answer).timeout(None);
        let client = self.broker.inner.client();
        let request = client.send_request(self.reply()?, request);
        match timeout(self.broker.inner.request_timeout, request).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(unsettled("the consumer does not answer: it is gone, or its leader is moving"))
            }
            Ok(Err(error)) => Err(unsettled(error)),
            Err(_) => Err(unsettled("the server did not confirm in time")),
        }
    }

    fn reply(&self) -> Result<async_nats::Subject, SettleError> {
        let reply = self.message.reply.clone();
        reply.ok_or_else(|| unsettled("the delivery has no reply subject"))
    }

    async fn settle_fleeting(&self, disposition: Disposition) -> Result<(), SettleError> {
        match disposition {
            Disposition::Ack => Ok(()),
            Disposition::Retry(_) => Err(unsettled("core NATS delivers an event once")),
            Disposition::Reject => self.tell_requester().await,
        }
    }

    /// Tells who waits for a reply that there will be none (ADR-32).
    async fn tell_requester(&self) -> Result<(), SettleError> {
        let Some(reply) = self.message.reply.clone() else { return Ok(()) };
        // The sender names the subject, and we have rights that it may not have.
        if subject::check_reply(&reply).is_err() {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        let text = HeaderValue::from("the event was rejected");
        headers.insert(HeaderName::from_static("Nats-Service-Error"), text);
        let code = HeaderValue::from(500_i32);
        headers.insert(HeaderName::from_static("Nats-Service-Error-Code"), code);
        let client = self.broker.inner.client();
        let sent = client.publish_with_headers(reply, headers, Bytes::new());
        match timeout(self.broker.inner.request_timeout, sent).await {
            Ok(sent) => sent.map_err(unsettled),
            Err(_) => Err(unsettled("the connection is lost and its queue full")),
        }
    }
}

impl broker::Delivery for Delivery {
    fn event(&self) -> Result<Event, DecodeError> {
        match &self.kind {
            Kind::Stream { provenance, refused, replay } => {
                let stored = self.stored_event(provenance.created, refused.as_deref())?;
                match replay {
                    None => Ok(stored),
                    Some(original) => original.event_of(stored),
                }
            }
            Kind::Core { id, time_ms } => {
                let reply_to = self.message.reply.as_ref().map(ToString::to_string);
                Ok(Event { id: id.clone(), time_ms: *time_ms, reply_to, ..self.bare_event() })
            }
        }
    }

    fn size(&self) -> usize {
        self.message.length
    }

    fn redelivers(&self) -> bool {
        matches!(self.kind, Kind::Stream { .. })
    }

    fn is_ours(&self) -> bool {
        match &self.kind {
            Kind::Stream { provenance: Provenance { grip: Some(grip), .. }, .. } => grip.holds(),
            // Of an ordered plugin, the host that has it runs replays, too.
            Kind::Stream { provenance, replay: Some(_), .. } => {
                self.broker.has_plugin(provenance.durable.plugin())
            }
            Kind::Stream { .. } => true,
            Kind::Core { .. } => true,
        }
    }

    async fn noted(&self) -> Note {
        match self.note_place() {
            Some((bucket, key)) => bucket.note(&key).await,
            None => Note::default(),
        }
    }

    async fn note(&self, note: Note) -> Result<(), SettleError> {
        match self.note_place() {
            Some((bucket, key)) => bucket.put_note(&key, note).await,
            None => Ok(()),
        }
    }

    async fn progress(&self) -> Result<(), SettleError> {
        match self.kind {
            Kind::Stream { .. } => self.answer(Bytes::from_static(b"+WPI")).await,
            Kind::Core { .. } => Ok(()),
        }
    }

    async fn settle(mut self, disposition: Disposition) -> Result<(), SettleError> {
        match &self.kind {
            Kind::Stream { provenance, .. } => {
                self.settle_stored(disposition, provenance.ack).await?;
                self.answered();
                Ok(())
            }
            Kind::Core { .. } => self.settle_fleeting(disposition).await,
        }
    }
}

/// The headers by name; values of one name in their order. The client keeps
/// names in a hash map, so their order among each other is gone.
pub(super) fn read_headers(map: &HeaderMap) -> Vec<Header> {
    let mut names = map.iter().collect::<Vec<_>>();
    names.sort_by(|(left, _), (right, _)| {
        AsRef::<str>::as_ref(*left).cmp(AsRef::<str>::as_ref(*right))
    });
    let headers = names.into_iter().flat_map(|(name, values)| {
        values
            .iter()
            .map(move |value| Header { name: name.to_string(), value: value.as_str().to_owned() })
    });
    headers.collect()
}

fn unsettled(detail: impl ToString) -> SettleError {
    SettleError { detail: detail.to_string() }
}
