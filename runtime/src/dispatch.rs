//! One event's journey: from a delivery to its settlement.
//!
//! The only module that decides what becomes of a delivery. It knows neither
//! NATS nor wasmtime: it takes a [`Broker`] and a [`Handler`].
//!
//! The order of the steps is the promise: outputs are published and stored
//! before the delivery is settled, under ids that a second run repeats; so an
//! event is never lost, and what a second run publishes is dropped as a
//! duplicate.

use std::{
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, DecodeError, Delivery, Source},
    event::{Disposition, Event, RunId},
    manifest,
    plugin::Handler,
    telemetry::PluginMetrics,
};

pub use admission::Admission;
pub use dead_letter::DeadLetters;
use history::History;
pub use outputs::{Keeper, Publishing, Rule};
use publish::Tally;
pub use verdict::{Failure, Verdict};

mod admission;
mod dead_letter;
mod history;
mod outputs;
mod publish;
mod verdict;

/// What the dispatcher has to know of its plugin.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `[host] name`.
    pub host: String,
    /// The plugin's name.
    pub plugin: String,
    /// The component's digest, for the record.
    pub digest: String,
    /// The most events in flight.
    pub concurrency: usize,
    /// How long the server waits for an answer.
    pub ack_wait: Duration,
    /// What happens after a failure.
    pub retry: manifest::Retry,
    /// What the plugin may publish, and where it is stored.
    pub publishing: Publishing,
    /// Where events go that could not be handled; `None` without JetStream.
    pub dead_letters: Option<DeadLetters>,
    /// How long a stop waits for what is in flight.
    pub drain: Duration,
    /// For the jitter of delays.
    pub seed: u64,
}

impl Plan {
    /// Names what the plugin publishes for `event`.
    fn run(&self, event: &Event) -> RunId {
        let namespace = event.replay.as_ref().map_or("", |replay| &replay.namespace);
        RunId::new(&event.id, &self.host, &self.plugin, namespace)
    }
}

/// Where the deliveries of one plugin come from.
#[derive(Debug)]
pub struct Sources<S> {
    /// What the plugin subscribes to.
    pub live: S,
    /// Dead letters that are to be run again; `None` without JetStream.
    pub replays: Option<S>,
}

/// Replays of one plugin that are in hand at once: they wait for a slot like
/// any other event, and must not keep live events from theirs.
const MAX_REPLAYS: usize = 4;

/// Handles the deliveries of one plugin.
pub struct Dispatcher<B, H> {
    broker: B,
    handler: H,
    plan: Plan,
    admission: Admission,
    metrics: PluginMetrics,
    history: History,
    slots: Arc<Semaphore>,
    random: Mutex<SmallRng>,
    /// Cancelled at the stop: ends what only waits.
    hurry: CancellationToken,
}

/// How the events of a stopped dispatcher ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All are settled.
    Settled,
    /// So many were still running when the time was up. Those of streams are
    /// delivered again.
    Left(usize),
}

impl<B: Broker, H: Handler> Dispatcher<B, H> {
    /// A dispatcher that has taken nothing yet.
    pub fn new(
        broker: B,
        handler: H,
        plan: Plan,
        admission: Admission,
        metrics: PluginMetrics,
    ) -> Dispatcher<B, H> {
        Dispatcher {
            broker,
            handler,
            slots: Arc::new(Semaphore::new(plan.concurrency)),
            random: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            plan,
            admission,
            metrics,
            history: History::default(),
            hurry: CancellationToken::new(),
        }
    }

    /// Handles the deliveries of both sources until `stop`, then finishes what is in flight, for at
    /// most the plan's drain time.
    ///
    /// Slots first, then deliveries: the server is asked for no more than can
    /// run now, so the backlog waits in the stream, where no ack wait runs.
    pub async fn run(self, mut sources: Sources<B::Source>, stop: CancellationToken) -> Drained {
        let dispatcher = Arc::new(self);
        let mut in_flight = JoinSet::new();
        if let Some(replays) = &mut sources.replays {
            replays.allow(MAX_REPLAYS.min(dispatcher.plan.concurrency));
        }
        let mut deadline = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + dispatcher.plan.drain);
                    // What only waits for a better time need not be waited for.
                    dispatcher.hurry.cancel();
                    sources.stop().await;
                }
                () = reached(deadline) => break,
                Some(ended) = in_flight.join_next() => sources.ended(ended.ok()),
                n = dispatcher.free_slots() => sources.live.allow(n),
                came = sources.next() => {
                    let Some((kind, delivery)) = came else { break };
                    in_flight.spawn(Arc::clone(&dispatcher).take(kind, delivery));
                }
            }
        }
        let drained = dispatcher.drain(in_flight, deadline).await;
        sources.close().await;
        drained
    }

    /// Waits for a free slot and takes all that are free: each is a delivery
    /// that the source may ask for. [`Dispatcher::take`] gives it back.
    async fn free_slots(&self) -> usize {
        let Ok(first) = self.slots.acquire().await else { return 0 };
        first.forget();
        let mut n = 1;
        while let Ok(more) = self.slots.try_acquire() {
            more.forget();
            n += 1;
        }
        n
    }

    async fn drain(&self, mut in_flight: JoinSet<Kind>, deadline: Option<Instant>) -> Drained {
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.plan.drain);
        let all = async { while in_flight.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_ok() {
            return Drained::Settled;
        }
        let left = in_flight.len();
        in_flight.shutdown().await;
        Drained::Left(left)
    }

    /// One delivery, and its slot, whatever happens. A panic is a bug of ours:
    /// it costs its event one redelivery, not the process.
    async fn take(self: Arc<Self>, kind: Kind, delivery: <B::Source as Source>::Delivery) -> Kind {
        let size = delivery.size();
        self.metrics.inflight.increment(1);
        self.metrics.inflight_bytes.increment(size as f64);
        // On the heap, so that its 4 KiB are not copied on the way into the task.
        let journey = Box::pin(self.process(delivery));
        let outcome = AssertUnwindSafe(journey).catch_unwind().await;
        self.metrics.inflight.decrement(1);
        self.metrics.inflight_bytes.decrement(size as f64);
        if outcome.is_err() {
            self.metrics.panics.increment(1);
            tracing::error!(
                plugin = self.plan.plugin,
                "the host panicked over an event: please report it"
            );
        }
        // A replay came without one: all that are free are allowed to the live
        // source, which may have nothing to deliver.
        if kind == Kind::Live {
            self.slots.add_permits(1);
        }
        kind
    }

    /// One delivery, from arrival to settlement.
    async fn process(&self, delivery: <B::Source as Source>::Delivery) {
        let answer = async {
            match delivery.event() {
                Ok(event) => self.answer(&delivery, event).await,
                Err(error) => self.give_up(&delivery, error).await,
            }
        };
        // Pinned in a block of its own: the delivery is free again after it.
        let disposition = {
            let answer = pin!(answer);
            self.alive(&delivery, answer).await
        };
        if let Some(disposition) = disposition {
            self.settle(delivery, disposition).await;
        }
    }

    /// What to tell the server about an event; `None`: nothing, because the
    /// host stops and the server shall deliver it again.
    async fn answer(
        &self,
        delivery: &<B::Source as Source>::Delivery,
        mut event: Event,
    ) -> Option<Disposition> {
        self.arrived(&event);
        loop {
            let Err(failure) = self.handle(&event).await else {
                self.finished(&event);
                return Some(Disposition::Ack);
            };
            match self.judge(&event, &failure) {
                // Rare, and larger than all the rest.
                Verdict::DeadLetter => {
                    return Box::pin(self.bury(delivery, &event, &failure)).await;
                }
                Verdict::Retry(delay) if delivery.redelivers() => {
                    return Some(Disposition::Retry(delay));
                }
                Verdict::Retry(delay) => match self.wait_here(delay).await {
                    Some(()) => event.attempt += 1,
                    None => return self.leave(delivery),
                },
                Verdict::Leave => return self.leave(delivery),
            }
        }
    }

    /// Call, check, publish.
    async fn handle(&self, event: &Event) -> Result<(), Failure> {
        if event.attempt > self.plan.retry.crash_limit() {
            return Err(Failure::CrashLoop { deliveries: event.attempt });
        }
        let room = self.admission.admit(event.size()).await;
        let outputs = self.call(event).await?;
        let run = self.plan.run(event);
        let messages = self.plan.publishing.messages(event, outputs, &run)?;
        let unanswered = self.publish(messages, Tally::Outputs).await?;
        // Room is for work: a wait for a stream that is full or away must not
        // keep the other plugins from theirs.
        drop(room);
        match unanswered.is_empty() {
            true => Ok(()),
            false => self.publish_until_stored(unanswered, Tally::Outputs).await,
        }
    }

    async fn call(&self, event: &Event) -> Result<Vec<crate::event::Output>, Failure> {
        let started = Instant::now();
        let outcome = self.handler.handle(event).await;
        self.metrics.handler_seconds.record(started.elapsed());
        Ok(outcome?)
    }

    /// Puts the event into the dead letters. Only then may it be rejected.
    async fn bury(
        &self,
        delivery: &<B::Source as Source>::Delivery,
        event: &Event,
        failure: &Failure,
    ) -> Option<Disposition> {
        let class = failure.class();
        if let Err(problem) = self.store_dead_letter(event, failure).await {
            tracing::error!(
                plugin = self.plan.plugin, event = event.id, subject = event.subject,
                error = %failure, %problem, "an event that failed is not in the dead letters"
            );
            return self.unburied(delivery, class, &problem);
        }
        self.history.forget(event);
        self.metrics.dead_lettered(class);
        tracing::warn!(
            plugin = self.plan.plugin, event = event.id, subject = event.subject,
            attempt = event.attempt, class, error = %failure, "event put into the dead letters"
        );
        Some(Disposition::Reject)
    }

    async fn store_dead_letter(&self, event: &Event, failure: &Failure) -> Result<(), Failure> {
        let dead_letters = self.plan.dead_letters.as_ref().ok_or(Failure::NoDeadLetters)?;
        let history = self.history.of(event);
        let record = dead_letters.record(&self.plan, event, failure, (&history, now_ms()));
        let record = vec![record.ok_or(Failure::TooLargeToBury)?];
        self.publish_until_stored(record, Tally::DeadLetter).await
    }

    /// An event of a stream stays where it is; one of core NATS is gone, and counted.
    fn unburied(
        &self,
        delivery: &<B::Source as Source>::Delivery,
        class: &'static str,
        problem: &Failure,
    ) -> Option<Disposition> {
        match (delivery.redelivers(), problem) {
            (true, Failure::Stopped) => None,
            (true, _) => Some(Disposition::Retry(self.plan.retry.max)),
            (false, _) => {
                self.metrics.dropped(class);
                Some(Disposition::Reject)
            }
        }
    }

    /// No answer: the server delivers it again, unless it came over core NATS.
    fn leave(&self, delivery: &<B::Source as Source>::Delivery) -> Option<Disposition> {
        if !delivery.redelivers() {
            self.metrics.dropped("stopped");
        }
        None
    }

    fn judge(&self, event: &Event, failure: &Failure) -> Verdict {
        let class = failure.class();
        self.metrics.failed(class);
        let verdict = failure.verdict(&self.plan.retry, event.attempt, |bound| self.jitter(bound));
        match verdict {
            Verdict::Retry(delay) => {
                self.metrics.retried.increment(1);
                self.history.note(event, failure, now_ms());
                tracing::warn!(
                    plugin = self.plan.plugin, event = event.id, subject = event.subject,
                    attempt = event.attempt, class, error = %failure, ?delay, "event not handled; it comes again"
                );
            }
            Verdict::DeadLetter if class == "reject" => self.metrics.rejected.increment(1),
            Verdict::DeadLetter | Verdict::Leave => {}
        }
        if matches!(failure, Failure::Output(_)) {
            self.metrics.outputs_refused.increment(1);
        }
        verdict
    }

    /// Runs `work` and tells the server meanwhile that the delivery is in hand.
    /// `work` is pinned by the caller: as an argument it would be kept twice, and
    /// all of it is copied when its task begins.
    async fn alive<T>(
        &self,
        delivery: &<B::Source as Source>::Delivery,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        loop {
            if let Ok(outcome) = timeout(self.plan.ack_wait / 3, work.as_mut()).await {
                return outcome;
            }
            // Telling may take long while the connection is away; work goes on.
            tokio::select! {
                outcome = work.as_mut() => return outcome,
                told = delivery.progress() => if let Err(error) = told {
                    tracing::debug!(plugin = self.plan.plugin, %error, "progress not told");
                },
            }
        }
    }

    async fn settle(&self, delivery: <B::Source as Source>::Delivery, disposition: Disposition) {
        if let Err(error) = delivery.settle(disposition).await {
            self.metrics.settle_failures.increment(1);
            tracing::warn!(plugin = self.plan.plugin, %error, "the event may come again");
        }
    }

    /// What to tell the server about a message that no handler can be given:
    /// it goes to the dead letters, with all that could be saved of it.
    async fn give_up(
        &self,
        delivery: &<B::Source as Source>::Delivery,
        error: DecodeError,
    ) -> Option<Disposition> {
        let event = Event::clone(&error.event);
        self.arrived(&event);
        let failure = Failure::Decode(error);
        self.metrics.failed(failure.class());
        self.bury(delivery, &event, &failure).await
    }

    /// Waits here for `delay`; `None` when the host stops before that.
    async fn wait_here(&self, delay: Duration) -> Option<()> {
        tokio::select! {
            () = sleep(delay) => Some(()),
            () = self.hurry.cancelled() => None,
        }
    }

    /// Between nothing and `bound`, every length as likely.
    fn jitter(&self, bound: Duration) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        bound.mul_f64(random.random::<f64>())
    }

    fn arrived(&self, event: &Event) {
        self.metrics.received.increment(1);
        if event.attempt > 1 {
            self.metrics.redelivered.increment(1);
        }
    }

    fn finished(&self, event: &Event) {
        self.history.forget(event);
        self.metrics.done.increment(1);
        let age_ms = now_ms().saturating_sub(event.time_ms);
        self.metrics.age_seconds.record(Duration::from_millis(age_ms));
    }
}

/// Which source a delivery came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live,
    Replay,
}

impl<S: Source> Sources<S> {
    /// The next delivery of either; `None` when both have ended.
    async fn next(&mut self) -> Option<(Kind, S::Delivery)> {
        if let Some(replays) = &mut self.replays {
            tokio::select! {
                biased;
                Some(delivery) = replays.next() => return Some((Kind::Replay, delivery)),
                Some(delivery) = self.live.next() => return Some((Kind::Live, delivery)),
                else => return None,
            }
        }
        self.live.next().await.map(|delivery| (Kind::Live, delivery))
    }

    fn ended(&mut self, kind: Option<Kind>) {
        if let (Some(Kind::Replay), Some(replays)) = (kind, &mut self.replays) {
            replays.allow(1);
        }
    }

    async fn stop(&mut self) {
        self.live.stop().await;
        if let Some(replays) = &mut self.replays {
            replays.stop().await;
        }
    }

    async fn close(self) {
        self.live.close().await;
        if let Some(replays) = self.replays {
            replays.close().await;
        }
    }
}

/// Waits for the deadline, for ever if there is none.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
