//! One plugin that runs: from the binding of its source to the end of its drain.
//!
//! What a plugin needs to start is here and nowhere else, for the first start
//! and for every reload. It does not know manifests; `reload` decides who
//! starts, and in place of whom.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{self, Broker as _, SetupError, Subscription, nats::Broker},
    dispatch::{Admission, Dispatcher, Drained, Plan, Sources},
    host::{
        observe::Observed,
        plan,
        witness::{Witness, Witnessed},
    },
    manifest,
    plugin::Plugin,
    telemetry::{PluginMetrics, Readiness},
};

/// The longest time between two tries to bind a source.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Tries to bind a source with new settings before the old ones get their turn,
/// as long as the server answers.
const TRIES: u32 = 2;

/// A plugin, loaded and ready to be started.
pub(super) struct Part {
    pub(super) spec: manifest::Plugin,
    pub(super) plugin: Arc<Plugin>,
    pub(super) subscription: Subscription,
    /// What it is asked to run again; `None` without JetStream.
    pub(super) replays: Option<Subscription>,
    pub(super) plan: Plan,
    pub(super) metrics: PluginMetrics,
}

/// Everything that a plugin reads, bound.
pub(super) type Bound = Sources<broker::nats::Source>;

/// What all plugins of a host share.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) broker: Broker,
    pub(super) admission: Admission,
    pub(super) readiness: Readiness,
    pub(super) witness: Option<Witness>,
}

/// A plugin that was started.
pub(super) struct Running {
    stop: CancellationToken,
    stage: watch::Receiver<Stage>,
}

/// How far a plugin has come.
#[derive(Clone)]
pub(super) enum Stage {
    /// Its source is not bound yet: it waits for its predecessor's end, or for
    /// the server. Why the last try failed, and what ran before.
    Starting { problem: Option<String>, before: Option<Arc<Part>> },
    /// It takes events.
    Runs(Arc<Part>),
    /// It takes events as its predecessor did, since the server refused the
    /// new settings for this reason.
    Fell { back_to: Arc<Part>, problem: String },
}

/// How a plugin's task ended.
pub(super) struct Ended {
    pub(super) drained: Drained,
    /// Whether it was told to.
    pub(super) asked: bool,
}

/// What a plugin begins with.
pub(super) struct Begin {
    pub(super) part: Arc<Part>,
    /// Bound already; else it is bound when the predecessor has ended.
    pub(super) source: Option<Bound>,
    /// Whom it takes over from, once that one has settled what was in flight.
    pub(super) predecessor: Option<Running>,
}

impl Part {
    /// The stream and the durable consumer; `None` for core NATS.
    pub(super) fn consumer(&self) -> Option<(String, String)> {
        Some((self.spec.stream.clone()?, self.subscription.name()))
    }

    /// Whether one may run in place of the other and nobody would notice.
    pub(super) fn is_same(&self, other: &Part) -> bool {
        self.spec == other.spec && plan::is_same(&self.plan, &other.plan)
    }

    pub(super) fn observed(&self) -> Observed {
        Observed {
            plugin: self.plan.plugin.clone(),
            consumer: self.consumer(),
            metrics: self.metrics.clone(),
        }
    }

    /// Binds everything that it reads. Nothing is taken from a stream yet; core
    /// NATS begins to fill the queue.
    pub(super) async fn bind(&self, broker: &Broker) -> Result<Bound, SetupError> {
        let replays = match &self.replays {
            Some(replays) => Some(broker.subscribe(replays.clone()).await?),
            None => None,
        };
        // Last: one that may be the only one seeks its lease from now on, and would
        // have to give it back if the other failed.
        let live = broker.subscribe(self.subscription.clone()).await?;
        Ok(Sources { live, replays })
    }
}

impl Running {
    /// Starts a plugin: its future, to be spawned, and the handle on it. It
    /// stops when `host_stop` says so, or when it is told alone.
    pub(super) fn start(
        ground: Ground,
        begin: Begin,
        host_stop: &CancellationToken,
    ) -> (Running, impl Future<Output = Ended> + Send + use<>) {
        let stop = host_stop.child_token();
        let before = begin.predecessor.as_ref().and_then(Running::part);
        let (stage, seen) = watch::channel(Stage::Starting { problem: None, before });
        let running = Running { stop: stop.clone(), stage: seen };
        let life = Life { ground, stage, stop };
        (running, life.live(begin))
    }

    /// Takes nothing more and settles what is in flight.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// What takes events in this plugin's name now; while nobody does, what did
    /// so last.
    pub(super) fn part(&self) -> Option<Arc<Part>> {
        match &*self.stage.borrow() {
            Stage::Starting { before, .. } => before.clone(),
            Stage::Runs(part) | Stage::Fell { back_to: part, .. } => Some(Arc::clone(part)),
        }
    }

    /// What it was started to be, if that is what takes events.
    pub(super) fn settled(&self) -> Option<Arc<Part>> {
        match &*self.stage.borrow() {
            Stage::Runs(part) => Some(Arc::clone(part)),
            Stage::Starting { .. } | Stage::Fell { .. } => None,
        }
    }

    /// Waits until it takes events or has ended, at most until `deadline`; how
    /// far it has come by then.
    pub(super) async fn started(&mut self, deadline: tokio::time::Instant) -> Stage {
        let starting = |stage: &Stage| !matches!(stage, Stage::Starting { .. });
        // Both errors are an end of the wait: it is late, or it has ended.
        timeout_at(deadline, self.stage.wait_for(starting)).await.ok();
        self.stage.borrow().clone()
    }

    /// Waits until all that was in flight is settled or given up.
    pub(super) async fn ended(&mut self) {
        while self.stage.changed().await.is_ok() {}
    }
}

/// The inside of a plugin's task.
struct Life {
    ground: Ground,
    /// Dropped at the end, which others wait for.
    stage: watch::Sender<Stage>,
    stop: CancellationToken,
}

impl Life {
    async fn live(self, begin: Begin) -> Ended {
        let drained = match Box::pin(self.begin(begin)).await {
            Some((part, source)) => self.run(&part, source).await,
            None => Drained::Settled,
        };
        Ended { drained, asked: self.stop.is_cancelled() }
    }

    /// The source, and the settings it was bound with; `None`: stopped before that.
    async fn begin(&self, begin: Begin) -> Option<(Arc<Part>, Bound)> {
        let Begin { part, source, predecessor } = begin;
        let name = super::readable(&part.plan.plugin);
        let before = predecessor.as_ref().and_then(Running::part);
        if let Some(mut predecessor) = predecessor {
            predecessor.stop();
            predecessor.ended().await;
        }
        let bound = match source {
            Some(source) => Some((Stage::Runs(Arc::clone(&part)), part, source)),
            None => tokio::select! {
                bound = self.bind(&part, before.as_ref()) => Some(bound),
                () = self.stop.cancelled() => None,
            },
        };
        self.ground.readiness.has(&name);
        let (stage, part, source) = bound?;
        self.stage.send_replace(stage);
        Some((part, source))
    }

    /// Binds the source with the new settings, or, when the server refuses those,
    /// with the ones before; tries until one of them works. A plugin that was
    /// running is never left without a source.
    async fn bind(
        &self,
        part: &Arc<Part>,
        before: Option<&Arc<Part>>,
    ) -> (Stage, Arc<Part>, Bound) {
        let mut tries = 0;
        loop {
            let problem = match part.bind(&self.ground.updating()).await {
                Ok(source) => return (Stage::Runs(Arc::clone(part)), Arc::clone(part), source),
                Err(error) => error.to_string(),
            };
            self.troubled(part, &problem, before);
            tries += 1;
            if let Some(before) = before.filter(|_| tries >= TRIES && self.ground.is_connected())
                && let Ok(source) = before.bind(&self.ground.updating()).await
            {
                let stage = Stage::Fell { back_to: Arc::clone(before), problem };
                return (stage, Arc::clone(before), source);
            }
            sleep(delay(tries)).await;
        }
    }

    fn troubled(&self, part: &Part, problem: &str, before: Option<&Arc<Part>>) {
        let plugin = &part.plan.plugin;
        tracing::warn!(plugin, error = problem, "the plugin's source is not bound; trying again");
        self.ground.readiness.lacks(&super::readable(plugin), problem);
        let problem = Some(problem.to_owned());
        self.stage.send_replace(Stage::Starting { problem, before: before.cloned() });
    }

    async fn run(&self, part: &Part, source: Bound) -> Drained {
        let Ground { broker, admission, witness, .. } = self.ground.clone();
        let plan = part.plan.clone();
        let handler = Witnessed { plugin: Arc::clone(&part.plugin), plan: plan.clone(), witness };
        let dispatcher = Dispatcher::new(broker, handler, plan, admission, part.metrics.clone());
        dispatcher.run(source, self.stop.clone()).await
    }
}

impl Ground {
    /// The broker for a source that was bound otherwise before: the durable
    /// consumer is brought to the new settings.
    pub(super) fn updating(&self) -> Broker {
        self.broker.clone().updating_consumers()
    }

    fn is_connected(&self) -> bool {
        self.broker.is_connected()
    }
}

/// With jitter: replicas that lost the same server do not all come at once.
fn delay(tries: u32) -> Duration {
    let longest = Duration::from_millis(200).saturating_mul(1 << tries.min(8)).min(LONGEST_DELAY);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}
