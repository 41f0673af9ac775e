//! A plugin's deliveries from core NATS: at most once, every drop counted.
//!
//! The client drops silently when a subscription is not read. So tasks on a
//! thread of their own (`readers`) read at once, into a queue of our own that
//! counts what does not fit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use async_nats::{Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Broker, connect::delay, delivery::Delivery, pull::UNSUBSCRIBE_BUT_LISTEN};
use crate::{
    broker::{Capacity, Delivery as _, SetupError, Subscription, queue},
    subject::Pattern,
};

/// The deliveries of one queue group to this process.
pub(super) struct Core {
    queue: queue::Receiver<Delivery>,
    allowed: usize,
    /// How many may still come before the dispatcher says more.
    pace: Option<usize>,
    dropped: Arc<AtomicU64>,
    stop: CancellationToken,
    /// Aborted when the source is dropped.
    readers: JoinSet<()>,
}

/// Reads one subscription.
struct Reader {
    broker: Broker,
    subject: String,
    group: String,
    subscriber: Subscriber,
    queue: queue::Sender<Delivery>,
    dropped: Arc<AtomicU64>,
}

impl Core {
    pub(super) async fn open(
        broker: &Broker,
        subscription: &Subscription,
        capacity: Capacity,
    ) -> Result<Core, SetupError> {
        let (sender, queue) = queue::new(capacity);
        let dropped = broker.drop_counter(&subscription.plugin);
        let (stop, mut readers) = (CancellationToken::new(), JoinSet::new());
        let thread = broker.inner.readers.handle()?;
        for subject in distinct(&subscription.subjects) {
            let (subject, group) = (subject.as_str().to_owned(), subscription.name());
            let reader = Reader {
                subscriber: broker.listen(subject.clone(), Some(group.clone())).await?,
                subject,
                group,
                broker: broker.clone(),
                queue: sender.clone(),
                dropped: Arc::clone(&dropped),
            };
            readers.spawn_on(reader.run(stop.clone()), &thread);
        }
        // The subscriptions stand when the server has handled what was sent.
        broker.round_trip().await;
        Ok(Core { queue, allowed: 0, pace: None, dropped, stop, readers })
    }

    pub(super) fn allow(&mut self, n: usize) {
        self.allowed = self.allowed.saturating_add(n);
    }

    pub(super) fn pace(&mut self, most: Option<usize>) {
        self.pace = most;
    }

    pub(super) fn stop(&mut self) {
        self.stop.cancel();
    }

    /// Without permission it only looks whether there is an end to report.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        if self.allowed == 0 || self.pace == Some(0) {
            while self.readers.join_next().await.is_some() {}
            if !self.queue.is_empty() {
                std::future::pending::<()>().await;
            }
        }
        let delivery = self.queue.take().await?;
        self.allowed = self.allowed.saturating_sub(1);
        self.pace = self.pace.map(|pace| pace.saturating_sub(1));
        Some(delivery)
    }
}

/// What still waits is lost with the source: it came once.
impl Drop for Core {
    fn drop(&mut self) {
        let n_lost = self.queue.clear();
        if n_lost > 0 {
            self.dropped.fetch_add(n_lost, Ordering::Relaxed);
            tracing::warn!(n_lost, "events of core NATS were still waiting at the stop");
        }
    }
}

impl Reader {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let message = tokio::select! {
                message = self.subscriber.next() => message,
                () = stop.cancelled() => break,
            };
            match message {
                Some(message) => self.enqueue(message),
                None if self.broker.inner.connection.is_closed() => return,
                // The client broke down; there will be another.
                None => tokio::select! {
                    () = self.listen_again() => {}
                    () = stop.cancelled() => return,
                },
            }
        }
        self.leave().await;
    }

    async fn listen_again(&mut self) {
        for attempt in 1.. {
            sleep(delay(attempt)).await;
            let (subject, group) = (self.subject.clone(), self.group.clone());
            if let Ok(subscriber) = self.broker.listen(subject, Some(group)).await {
                self.subscriber = subscriber;
                return;
            }
        }
    }

    /// Leaves the queue group, so that other members get what comes, and takes
    /// what the server had sent before.
    async fn leave(&mut self) {
        let left = self.subscriber.unsubscribe_after(UNSUBSCRIBE_BUT_LISTEN);
        if matches!(timeout(self.broker.inner.request_timeout, left).await, Ok(Ok(()))) {
            self.broker.round_trip().await;
        }
        while let Some(Some(message)) = self.subscriber.next().now_or_never() {
            self.enqueue(message);
        }
    }

    fn enqueue(&self, message: Message) {
        let time_ms = now_ms();
        let delivery =
            Delivery::from_core(self.broker.clone(), message, self.broker.unique_id(), time_ms);
        let size = delivery.size();
        if self.queue.put(delivery, size).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Without those that another one contains: they would deliver everything twice.
fn distinct(subjects: &[Pattern]) -> Vec<&Pattern> {
    let is_within = |index: usize, subject: &Pattern| {
        subjects.iter().enumerate().any(|(other, wide)| {
            other != index && wide.contains(subject) && (wide != subject || other < index)
        })
    };
    let subjects = subjects.iter().enumerate();
    subjects.filter(|(index, s)| !is_within(*index, s)).map(|(_, s)| s).collect()
}
