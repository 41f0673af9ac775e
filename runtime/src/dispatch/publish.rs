//! Publishing what a run returned: all at once, under ids that do not change,
//! for as long as it takes.
//!
//! Says what is known of each message; what follows from it is decided above.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{Dispatcher, Failure};
use crate::{
    broker::{Broker, Keep, Message, PublishError, Published},
    plugin::Handler,
    telemetry::PluginMetrics,
};

/// How long the dispatcher waits before it publishes the same id again, first
/// and at most.
const PUBLISH_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// From this delay on a plugin counts as one that cannot publish.
const PATIENCE: Duration = Duration::from_millis(800);

/// An event whose outputs have not been stored for a while.
struct Stuck<'a> {
    metrics: &'a PluginMetrics,
    /// How many there are.
    all: &'a AtomicUsize,
}

impl Stuck<'_> {
    /// `message` is the next that has to be stored.
    fn on(&self, message: &Message) {
        let subject = &message.subject;
        let stream = match &message.keep {
            Keep::Stored { stream: Some(stream), .. } => format!(" in stream `{stream}`"),
            Keep::Stored { .. } | Keep::Fleeting => String::new(),
        };
        let problem = format!(
            "a message on `{subject}` is not stored{stream}; it is published again and again, and the log says why"
        );
        self.metrics.publishing(Some(problem));
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        if self.all.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.metrics.publishing(None);
        }
    }
}

/// As what a published message counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    Outputs,
    DeadLetter,
}

impl<B: Broker, H: Handler> Dispatcher<B, H> {
    /// Publishes every message, all on their way at once. Returns those that are
    /// not known to be stored.
    pub(super) async fn publish(
        &self,
        messages: Vec<Message>,
        tally: Tally,
    ) -> Result<Vec<Message>, Failure> {
        if messages.len() <= 1 {
            // The usual run: one output needs no set of futures.
            let Some(message) = messages.into_iter().next() else { return Ok(Vec::new()) };
            return Ok(self.publish_one(message, tally).await?.into_iter().collect());
        }
        let mut pending: FuturesUnordered<_> =
            messages.into_iter().map(|message| self.publish_one(message, tally)).collect();
        let (mut unanswered, mut refused) = (Vec::new(), None);
        while let Some(outcome) = pending.next().await {
            match outcome {
                Ok(None) => {}
                Ok(Some(message)) => unanswered.push(message),
                Err(failure) => refused = refused.or(Some(failure)),
            }
        }
        match refused {
            Some(failure) => Err(failure),
            None => Ok(unanswered),
        }
    }

    /// Publishes one message; gives it back if it is not known to be stored.
    async fn publish_one(
        &self,
        message: Message,
        tally: Tally,
    ) -> Result<Option<Message>, Failure> {
        match self.broker.publish(&message).await {
            Ok(published) => {
                self.published(published, tally);
                Ok(None)
            }
            Err(PublishError::Refused { subject, detail }) => {
                Err(Failure::Publish { subject, detail })
            }
            Err(error) if message.keep == Keep::Fleeting => {
                Err(Failure::Unsent { detail: error.to_string() })
            }
            Err(error) => {
                self.metrics.publish_retries.increment(1);
                tracing::warn!(plugin = self.plan.plugin, %error, "the same id is published again");
                Ok(Some(message))
            }
        }
    }

    /// Publishes again and again under the same ids: the delivery stays ours
    /// meanwhile, so an output stream that is full or away burns no attempts
    /// and stops the pulling.
    pub(super) async fn publish_until_stored(
        &self,
        mut unanswered: Vec<Message>,
        tally: Tally,
    ) -> Result<(), Failure> {
        let (mut delay, longest) = PUBLISH_BACKOFF;
        let mut stuck = None;
        loop {
            unanswered = self.publish(unanswered, tally).await?;
            let Some(first) = unanswered.first() else { return Ok(()) };
            if delay >= PATIENCE {
                stuck.get_or_insert_with(|| self.stuck()).on(first);
            }
            let pause = delay / 2 + self.jitter(delay / 2);
            self.unless_stopped(sleep(pause)).await.ok_or(Failure::Stopped)?;
            delay = (delay * 2).min(longest);
        }
    }

    fn stuck(&self) -> Stuck<'_> {
        self.stuck.fetch_add(1, Ordering::Relaxed);
        Stuck { metrics: &self.metrics, all: &self.stuck }
    }

    fn published(&self, published: Published, tally: Tally) {
        if tally == Tally::DeadLetter {
            return;
        }
        self.metrics.outputs.increment(1);
        if published == Published::Duplicate {
            self.metrics.deduplicated.increment(1);
        }
    }
}
