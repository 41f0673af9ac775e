//! A plugin's replays: requests from a work queue, as deliveries of the original
//! events.
//!
//! What a request could not carry, because event and record were too large for
//! one message, is fetched from the source stream before the delivery is handed
//! up. What a replay is, is known to `event::letter`.

use std::{pin::Pin, time::Duration};

use async_nats::HeaderName;
use tokio::time::sleep;

use super::{
    Broker,
    bucket::Bucket,
    consumer::{Durable, Terms},
    delivery::Delivery,
    pull::Pull,
    stored::StoredMessage,
};
use crate::{
    broker::{DecodeError, Delivery as _, From, SetupError, Subscription},
    event::{Event, Position, letter::Letter},
    manifest::Start,
};

/// How often the source stream is asked before the request is left to come again.
const FETCH_ATTEMPTS: u32 = 3;
/// How often a replica that stands by looks whether it still does.
const TENURE_CHECK: Duration = Duration::from_millis(250);
const FETCH_PAUSE: Duration = Duration::from_millis(250);

/// The event's headers and payload, if the request does not have them.
#[derive(Debug)]
pub(super) enum Original {
    InRequest,
    InStream(StoredMessage),
    /// Why there is none.
    Gone(String),
}

impl Original {
    /// The event that the request in `stored` asks to run.
    pub(super) fn event_of(&self, stored: Event) -> Result<Event, DecodeError> {
        let letter = match Letter::asked(&stored) {
            Ok(letter) => letter,
            Err(detail) => return Err(unreadable(detail, stored)),
        };
        match self {
            Original::InRequest => Ok(letter.event),
            Original::InStream(StoredMessage { headers, payload, .. }) => {
                let (headers, payload) = (headers.clone(), payload.clone());
                Ok(Event { headers, payload, ..letter.event })
            }
            Original::Gone(detail) => Err(unreadable(detail.clone(), letter.event)),
        }
    }
}

fn unreadable(detail: String, event: Event) -> DecodeError {
    DecodeError { detail, event: Box::new(event), headers: bytes::Bytes::new() }
}

type Fetching = Pin<Box<dyn Future<Output = Result<Original, SetupError>> + Send>>;

/// The replays of one plugin.
pub(super) struct Replays {
    broker: Broker,
    plugin: String,
    pull: Pull,
    is_stopping: bool,
    /// The request whose event is being fetched.
    fetching: Option<(Delivery, Fetching)>,
}

impl Replays {
    pub(super) async fn open(
        broker: Broker,
        subscription: &Subscription,
    ) -> Result<Replays, SetupError> {
        let From::Replays { stream, ack_wait, max_deliver, ack } = &subscription.from else {
            let what = format!("the replays of `{}`", subscription.plugin);
            let problem = "asked for as something else".to_owned();
            return Err(SetupError { code: "nats-api", what, problem });
        };
        let (ack_wait, max_deliver) = (*ack_wait, *max_deliver);
        let terms = Terms { stream, ack_wait, max_deliver, start: Start::All };
        let durable = Durable::new(subscription, &terms);
        let bucket = Bucket::new(broker.clone(), &subscription.host, subscription.replicas);
        let pull = Pull::open(broker.clone(), durable, bucket, *ack, false).await?;
        let plugin = subscription.plugin.clone();
        Ok(Replays { broker, plugin, pull, fetching: None, is_stopping: false })
    }

    pub(super) fn allow(&mut self, n: usize) {
        self.pull.allow(n);
    }

    pub(super) fn pace(&mut self, most: Option<usize>) {
        self.pull.pace(most);
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.pull.stop();
    }

    /// Cancel-safe: what is being fetched is kept.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        // Of an ordered plugin, only the host that has it runs anything.
        while !self.is_stopping && !self.broker.has_plugin(&self.plugin) {
            sleep(TENURE_CHECK).await;
        }
        loop {
            if let Some(delivery) = self.fetched().await {
                return Some(delivery);
            }
            let delivery = self.pull.next().await?.asking_for(Original::InRequest);
            match delivery.event().ok().and_then(|_| delivery.left_in_stream()) {
                None => return Some(delivery),
                Some(position) => {
                    let fetching = Box::pin(fetch(self.broker.clone(), position));
                    self.fetching = Some((delivery, fetching));
                }
            }
        }
    }

    async fn fetched(&mut self) -> Option<Delivery> {
        let (_, fetching) = self.fetching.as_mut()?;
        let original = fetching.await;
        let (delivery, _) = self.fetching.take()?;
        match original {
            Ok(original) => Some(delivery.asking_for(original)),
            Err(error) => {
                // Not answered: the request comes again after the ack wait.
                tracing::warn!(%error, "the event of a replay cannot be fetched now");
                self.pull.allow(1);
                None
            }
        }
    }
}

async fn fetch(broker: Broker, position: Position) -> Result<Original, SetupError> {
    let mut attempt = 1;
    loop {
        match broker.stored_at(&position).await {
            Ok(Ok(message)) => return Ok(Original::InStream(message)),
            Ok(Err(gone)) => return Ok(Original::Gone(gone)),
            Err(error) if attempt == FETCH_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
        sleep(FETCH_PAUSE.mul_f64(rand::random_range(0.5..=1.5))).await;
    }
}

impl Delivery {
    /// Where the event is, if this request for a replay does not carry it.
    fn left_in_stream(&self) -> Option<Position> {
        const LEFT: HeaderName = HeaderName::from_static("Pelton-Dlq-Payload-Left-In-Stream");
        self.has_header(&LEFT).then(|| self.event().ok()?.position).flatten()
    }
}
