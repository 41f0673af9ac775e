//! From deliveries to settlements, for one plugin.
//!
//! The only module that decides what becomes of a delivery. It knows neither
//! NATS nor wasmtime: it takes a [`Broker`] and a [`Handler`].
//!
//! Here is the loop that takes deliveries in hand; what happens to one of them
//! is in `journey`.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Delivery as _, Source},
    event::{Event, Output, RunId},
    manifest::{self, OnFailure, OrderBy},
    plugin::Handler,
    subject::Pattern,
    telemetry::{BreakerState, PluginMetrics},
};

pub use admission::Admission;
use breaker::Position;
use budget::Budget;
pub use dead_letter::DeadLetters;
use gate::Gate;
use history::History;
pub use intake::Sources;
use intake::{Ended, Hold, Intake, Kind};
use journey::InHand;
use lanes::Lanes;
pub use outputs::{Keeper, OutputError, Publishing, Rule};
use publish::Tally;
pub use verdict::{Failure, Verdict};

mod admission;
mod breaker;
mod budget;
mod dead_letter;
mod gate;
mod history;
mod intake;
mod journey;
mod lanes;
mod outputs;
mod publish;
mod requests;
mod tries;
mod verdict;

/// How long a run that is cut off at the end of the drain time may take to end: its
/// event is given back, and that it was not run is noted, by questions to the server.
const GRACE: Duration = Duration::from_secs(5);

/// The most events of an ordered plugin in hand: those that run, and those that
/// wait for others of their key.
pub const MAX_LINED_UP: usize = 4_096;

/// What the dispatcher has to know of its plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `[host] name`.
    pub host: String,
    /// The plugin's name.
    pub plugin: String,
    /// The component's digest, for the record.
    pub digest: String,
    /// The most runs at once.
    pub concurrency: usize,
    /// No more events are asked for while those in hand have so many bytes.
    pub max_held_bytes: usize,
    /// The most runs begun in a time; `None`: as fast as it goes.
    pub rate: Option<manifest::Rate>,
    /// When to stop asking for events; `None`: never.
    pub breaker: Option<manifest::Breaker>,
    /// Which events have to be handled one after the other; `None`: none.
    pub order: Option<(OrderBy, OnFailure)>,
    /// How long the server waits for an answer.
    pub ack_wait: Duration,
    /// What happens after a failure.
    pub retry: manifest::Retry,
    /// What the plugin may publish, and where it is stored.
    pub publishing: Publishing,
    /// What the plugin may ask on while it runs.
    pub requests: Vec<Pattern>,
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

    /// Why nothing of what a run returned is published; `None`: nothing speaks against
    /// it, but the server may yet refuse it. `redact` goes over the guest's words.
    pub fn refusal(
        &self,
        event: &Event,
        outputs: &[Output],
        redact: &dyn Fn(&str) -> String,
    ) -> Option<OutputError> {
        self.publishing.messages(event, outputs.to_vec(), &self.run(event), redact).err()
    }

    fn hold(&self) -> Hold {
        let (events, ahead) = match self.order {
            None => (self.concurrency, self.concurrency),
            Some(_) => (MAX_LINED_UP.max(self.concurrency), self.concurrency.max(256)),
        };
        Hold { events, ahead, replays: self.concurrency, bytes: self.max_held_bytes }
    }
}

/// Handles the deliveries of one plugin.
pub struct Dispatcher<B, H> {
    broker: B,
    handler: H,
    plan: Plan,
    admission: Admission,
    metrics: PluginMetrics,
    gate: Gate,
    budget: Budget,
    lanes: Option<Lanes>,
    /// Events whose outputs have not been stored for a while.
    stuck: AtomicUsize,
    /// Lanes whose first event waits for its next attempt.
    backing_off: AtomicUsize,
    /// Another one does: there may be room for more keys.
    backs_off: Notify,
    history: History,
    random: Mutex<SmallRng>,
    /// Cancelled at the stop: ends what only waits.
    hurry: CancellationToken,
    /// Cancelled at the end of the drain time: cuts off what still runs.
    cut: CancellationToken,
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
            gate: Gate::new(plan.concurrency, plan.rate, plan.breaker),
            budget: Budget::new(plan.retry.budget),
            lanes: plan.order.as_ref().map(|(by, _)| Lanes::new(by.clone())),
            backing_off: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            backs_off: Notify::new(),
            random: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            plan,
            admission,
            metrics,
            history: History::default(),
            hurry: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Handles the deliveries of both sources until `stop`, then finishes what
    /// is in flight, for at most the plan's drain time.
    pub async fn run(self, sources: Sources<B::Source>, stop: CancellationToken) -> Drained {
        let dispatcher = Arc::new(self);
        let mut intake = Intake::new(sources, dispatcher.plan.hold());
        let mut in_flight = JoinSet::new();
        let mut breaker = dispatcher.gate.moves();
        // What an earlier dispatcher of this plugin left there is past.
        dispatcher.metrics.breaker(BreakerState::Closed, Duration::ZERO);
        loop {
            if dispatcher.wants_more() {
                intake.allow();
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(Ok(ended)) = in_flight.join_next() => intake.ended(ended),
                position = breaker.next() => {
                    dispatcher.breaker_moved(position);
                    intake.follow(position);
                }
                () = dispatcher.backs_off.notified() => {}
                came = intake.next() => {
                    let Some((kind, delivery)) = came else { break };
                    dispatcher.begin(&mut intake, &mut in_flight, kind, delivery);
                }
            }
        }
        Arc::clone(&dispatcher).wind_up(intake, in_flight).await
    }

    /// Whether more events would help. Of an ordered plugin they do not while
    /// there are enough keys in hand to fill all slots.
    fn wants_more(&self) -> bool {
        let Some(lanes) = &self.lanes else { return true };
        self.metrics.lanes.set(lanes.len() as f64);
        let runnable = lanes.len().saturating_sub(self.backing_off.load(Ordering::Relaxed));
        runnable < self.plan.concurrency.saturating_mul(2)
    }

    /// Takes a delivery in hand.
    fn begin(
        self: &Arc<Self>,
        intake: &mut Intake<B::Source>,
        in_flight: &mut JoinSet<Ended>,
        kind: Kind,
        delivery: <B::Source as Source>::Delivery,
    ) {
        let ended = Ended { kind, bytes: delivery.size() };
        intake.took(ended.bytes);
        in_flight.spawn(Arc::clone(self).take(self.line_up(delivery), ended));
    }

    /// Stops asking, and ends what is in hand in time.
    async fn wind_up(
        self: Arc<Self>,
        mut intake: Intake<B::Source>,
        mut in_flight: JoinSet<Ended>,
    ) -> Drained {
        let deadline = Instant::now() + self.plan.drain;
        // What only waits for a better time need not be waited for.
        self.hurry.cancel();
        // An open breaker must not keep back what only has to be given back.
        intake.follow(Position::Closed);
        intake.stop().await;
        let all = async {
            // What was on its way still comes; from core NATS as it is allowed.
            loop {
                intake.allow();
                tokio::select! {
                    biased;
                    Some(Ok(ended)) = in_flight.join_next() => intake.ended(ended),
                    came = intake.next() => {
                        let Some((kind, delivery)) = came else { break };
                        self.begin(&mut intake, &mut in_flight, kind, delivery);
                    }
                }
            }
            while in_flight.join_next().await.is_some() {}
        };
        let drained = match timeout_at(deadline, all).await {
            Ok(()) => Drained::Settled,
            Err(_) => self.cut_off(&mut in_flight).await,
        };
        in_flight.shutdown().await;
        intake.close().await;
        drained
    }

    /// Cuts off what still runs, and lets it give its events back.
    async fn cut_off(&self, in_flight: &mut JoinSet<Ended>) -> Drained {
        let left = in_flight.len();
        self.cut.cancel();
        let all = async { while in_flight.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!(plugin = self.plan.plugin, "some events could not be given back");
        }
        Drained::Left(left)
    }

    fn breaker_moved(&self, position: Position) {
        let plugin = &*self.plan.plugin;
        let (state, open_for) = match position {
            Position::Closed => {
                tracing::info!(plugin, "circuit breaker closed: runs go well again");
                (BreakerState::Closed, Duration::ZERO)
            }
            Position::HalfOpen(probes) => {
                tracing::info!(plugin, probes, "circuit breaker half open: probing");
                (BreakerState::HalfOpen, Duration::ZERO)
            }
            Position::Open(until) => {
                let pause = until.saturating_duration_since(Instant::now());
                tracing::warn!(plugin, ?pause, "circuit breaker open: too many runs fail");
                self.metrics.breaker_openings.increment(1);
                (BreakerState::Open, pause)
            }
        };
        self.metrics.breaker(state, open_for);
    }

    /// Takes a delivery in hand. A panic beside the run costs its event one
    /// redelivery, not the process.
    async fn take(self: Arc<Self>, in_hand: InHand<B>, ended: Ended) -> Ended {
        self.metrics.inflight.increment(1);
        self.metrics.inflight_bytes.increment(ended.bytes as f64);
        // On the heap, so that its 4 KiB are not copied on the way into the task.
        let journey = Box::pin(self.process(in_hand));
        let outcome = AssertUnwindSafe(journey).catch_unwind().await;
        self.metrics.inflight.decrement(1);
        self.metrics.inflight_bytes.decrement(ended.bytes as f64);
        if outcome.is_err() {
            self.panicked();
        }
        ended
    }

    fn panicked(&self) {
        self.metrics.panics.increment(1);
        let plugin = &*self.plan.plugin;
        tracing::error!(plugin, "the host panicked over an event: please report it");
    }

    /// Between nothing and `bound`, every length as likely.
    fn jitter(&self, bound: Duration) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        bound.mul_f64(random.random::<f64>())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
