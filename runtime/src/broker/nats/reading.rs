//! Reading a stream from one message to another, in order, a batch at a time.
//!
//! For people, not for plugins: nothing is acknowledged and nothing is left on
//! the server but a consumer in memory, which goes by itself. Not the client's
//! ordered consumer: that begins anew with everything after an early break.
//! Messages that the client cannot read break the connection; after a break the
//! next messages are fetched one by one through the JSON API.

use std::time::Duration;

use async_nats::{
    Message, Subscriber, jetstream,
    jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info},
};
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Broker,
    delivery::read_headers,
    stored::{StoredMessage, milliseconds},
    stream,
};
use crate::broker::SetupError;

/// How many messages are asked for at once.
const BATCH: usize = 512;
/// How many bytes, if one message may not have more.
const BATCH_BYTES: usize = 4 << 20;
/// After this time without a reader the server forgets the consumer.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How often a break is looked for while nothing comes.
const LOOK: Duration = Duration::from_millis(100);
/// How many messages are fetched one by one after a break.
const ONE_BY_ONE: usize = 16;
/// Breaks in a row, with nothing read between them, that end a reading.
const MAX_BREAKS: usize = 8;

/// What is read of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The stream's name.
    pub stream: String,
    /// Messages on subjects that match this.
    pub subject: String,
    /// From this sequence on.
    pub first: u64,
    /// Up to this one.
    pub last: u64,
    /// Whether payloads are left out.
    pub only_headers: bool,
}

/// A stream that is being read.
pub struct Reading {
    broker: Broker,
    scope: Scope,
    line: Option<Line>,
    breaks: usize,
    /// How many of the next messages are fetched one by one.
    singly: usize,
}

/// A consumer, and an inbox for its messages.
struct Line {
    consumer: String,
    inbox: String,
    subscriber: Subscriber,
    connects: u64,
    /// How many messages the consumer has sent.
    received: u64,
    /// How many are still to come of what was asked for.
    open: usize,
    /// How often was asked.
    n_asked: usize,
}

/// What came on a line.
enum Came {
    Message(StoredMessage),
    /// The rest of the batch will not come: that is all for now.
    BatchEnd,
    /// There was nothing.
    Nothing,
    /// The end of a batch that has come already.
    Stale,
    Broken,
}

impl Broker {
    /// Begins to read.
    pub fn read(&self, scope: Scope) -> Reading {
        Reading { broker: self.clone(), scope, line: None, breaks: 0, singly: 0 }
    }

    /// How many messages of `scope.stream` on `scope.subject` there are from
    /// `scope.first` on. Exact; the end of the scope does not count.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn count_stored(&self, scope: &Scope) -> Result<u64, SetupError> {
        let info = self.open_consumer(scope).await?;
        self.forget(&scope.stream, &info.name).await;
        Ok(info.num_pending)
    }

    async fn open_consumer(&self, scope: &Scope) -> Result<Info, SetupError> {
        let Scope { stream, subject, first, only_headers, .. } = scope;
        let name = format!("pelton-reading-{}", self.unique_id());
        let config = Config {
            name: Some(name.clone()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: (*first).max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: subject.clone(),
            headers_only: *only_headers,
            memory_storage: true,
            inactive_threshold: FORGOTTEN,
            num_replicas: 1,
            ..Config::default()
        };
        let request = json!({ "stream_name": stream, "config": config, "action": "create" });
        let made = self.tell(&format!("CONSUMER.CREATE.{stream}.{name}.{subject}"), &request).await;
        made.map_err(|error| error.about(stream::what(stream)))
    }

    async fn forget(&self, stream: &str, consumer: &str) {
        let verb = format!("CONSUMER.DELETE.{stream}.{consumer}");
        // It goes by itself after some seconds, too.
        if let Err(error) = self.ask::<serde_json::Value>(&verb).await {
            tracing::debug!(consumer, %error, "not removed");
        }
    }
}

impl Reading {
    /// The next message; `None` at the end of the scope.
    ///
    /// # Errors
    /// If the server does not hand out more after several tries.
    pub async fn next(&mut self) -> Result<Option<StoredMessage>, SetupError> {
        loop {
            if self.scope.first > self.scope.last {
                return self.end().await;
            }
            if self.singly > 0 {
                self.singly -= 1;
                return self.fetch().await;
            }
            if self.line.is_none() && !self.open().await? {
                return self.end().await;
            }
            match self.receive().await {
                Came::Message(message) => return self.take(message).await,
                Came::BatchEnd | Came::Stale => {}
                Came::Nothing => return self.end().await,
                Came::Broken => self.broke().await?,
            }
        }
    }

    /// One message by the API: what it cannot harm.
    async fn fetch(&mut self) -> Result<Option<StoredMessage>, SetupError> {
        let Scope { stream, subject, first, .. } = &self.scope;
        match self.broker.stored_from(stream, *first, subject).await? {
            Some(message) => self.take(message).await,
            None => self.end().await,
        }
    }

    async fn take(&mut self, message: StoredMessage) -> Result<Option<StoredMessage>, SetupError> {
        if message.sequence > self.scope.last {
            self.scope.first = message.sequence;
            return self.end().await;
        }
        self.scope.first = message.sequence.saturating_add(1);
        self.breaks = 0;
        Ok(Some(message))
    }

    async fn end(&mut self) -> Result<Option<StoredMessage>, SetupError> {
        self.scope.first = self.scope.last.saturating_add(1);
        if let Some(line) = self.line.take() {
            self.broker.forget(&self.scope.stream, &line.consumer).await;
        }
        Ok(None)
    }

    /// Whether there is anything to be read.
    async fn open(&mut self) -> Result<bool, SetupError> {
        let connects = self.broker.inner.connects();
        let info = self.broker.open_consumer(&self.scope).await?;
        let inbox = self.broker.inner.client().new_inbox();
        let subscriber = self.broker.listen(format!("{inbox}.*"), None).await?;
        let consumer = info.name;
        self.line =
            Some(Line { consumer, inbox, subscriber, connects, received: 0, open: 0, n_asked: 0 });
        Ok(info.num_pending > 0)
    }

    async fn receive(&mut self) -> Came {
        let Reading { broker, scope, line: Some(line), .. } = self else { return Came::Broken };
        // Before the last batch has ended, so that the server need not wait.
        if line.open <= BATCH / 2 && line.ask(broker, scope).await.is_err() {
            return Came::Broken;
        }
        let deadline = Instant::now() + broker.inner.request_timeout;
        loop {
            match timeout(LOOK, line.subscriber.next()).await {
                Ok(Some(message)) => return line.read(broker, message),
                Ok(None) => return Came::Broken,
                Err(_) if broker.inner.connects() != line.connects => return Came::Broken,
                Err(_) if Instant::now() >= deadline => return Came::Broken,
                Err(_) => {}
            }
        }
    }

    async fn broke(&mut self) -> Result<(), SetupError> {
        self.line = None;
        self.singly = ONE_BY_ONE;
        self.breaks += 1;
        if self.breaks > MAX_BREAKS {
            let problem = "the server does not hand out what it stores".to_owned();
            let what = stream::what(&self.scope.stream);
            return Err(SetupError { code: "nats-api", what, problem });
        }
        sleep(LOOK).await;
        Ok(())
    }
}

impl Line {
    async fn ask(&mut self, broker: &Broker, scope: &Scope) -> Result<(), String> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", scope.stream, self.consumer);
        let bytes = BATCH_BYTES.max(2 * broker.max_payload());
        let request = json!({ "batch": BATCH, "max_bytes": bytes, "no_wait": true });
        let client = broker.inner.client();
        self.n_asked += 1;
        let reply = format!("{}.{}", self.inbox, self.n_asked);
        let sent = client.publish_with_reply(subject, reply, request.to_string().into());
        match timeout(broker.inner.request_timeout, sent).await {
            Ok(Ok(())) => self.open += BATCH,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the connection is lost and its queue full".to_owned()),
        }
        Ok(())
    }

    fn read(&mut self, broker: &Broker, message: Message) -> Came {
        // By the subject: a stored message may carry what looks like a status.
        if let Some(batch) = message.subject.strip_prefix(self.inbox.as_str()) {
            let is_stale = batch.trim_start_matches('.').parse() != Ok(self.n_asked);
            return if is_stale { Came::Stale } else { self.ended(&message) };
        }
        let message = jetstream::Message { message, context: broker.inner.jetstream.clone() };
        let Ok(info) = message.info() else { return Came::Broken };
        self.received += 1;
        self.open = self.open.saturating_sub(1);
        if info.consumer_sequence != self.received {
            // Something before it was lost.
            return Came::Broken;
        }
        let (sequence, time) = (info.stream_sequence, info.published.unix_timestamp_nanos());
        Came::Message(StoredMessage {
            sequence,
            time_ms: milliseconds(time),
            subject: message.subject.to_string(),
            headers: message.headers.as_ref().map(read_headers).unwrap_or_default(),
            payload: message.payload.clone(),
        })
    }

    /// What the status at the end of a batch says.
    fn ended(&mut self, status: &Message) -> Came {
        let brought = BATCH.saturating_sub(std::mem::take(&mut self.open));
        let text = status.description.as_deref().unwrap_or_default();
        let code = status.status.map_or(0, |status| status.as_u16());
        // Only with a limit of bytes does the server speak of a batch that it filled.
        let is_full = text.eq_ignore_ascii_case("Batch Completed") || text.contains("MaxBytes");
        match (code, brought) {
            (404 | 408, 0) => Came::Nothing,
            (404 | 408, _) => Came::BatchEnd,
            (409, 1..) if is_full => Came::BatchEnd,
            _ => Came::Broken,
        }
    }
}
