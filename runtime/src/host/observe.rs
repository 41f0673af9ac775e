//! Keeps metrics and readiness up to date with what only the broker knows: the
//! connection, the lag of consumers, drops before the handler.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::nats::Broker,
    telemetry::{Metrics, PluginMetrics, Readiness, UPKEEP_INTERVAL},
};

/// How often the server is asked for the lag of the consumers.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How often the connection is looked at. Events of the client tell sooner, but
/// it drops them under load.
const CONNECTION_INTERVAL: Duration = Duration::from_millis(250);
/// How often drops, and who has a plugin, are carried over into the metrics.
const DROPS_INTERVAL: Duration = Duration::from_millis(250);

/// One plugin, as seen from here.
#[derive(Clone)]
pub(super) struct Observed {
    pub plugin: String,
    /// The stream and the durable consumer; `None` for core NATS.
    pub consumer: Option<(String, String)>,
    pub metrics: PluginMetrics,
}

/// When the host stops, and when there is nothing left to observe.
pub(super) struct Stops {
    /// Nothing new is taken from here on.
    pub stop: CancellationToken,
    /// Everything has ended.
    pub end: CancellationToken,
}

/// Observes until everything has ended.
pub(super) fn start(
    broker: Broker,
    metrics: Metrics,
    readiness: Readiness,
    plugins: watch::Receiver<Vec<Observed>>,
    stops: Stops,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = stops.end.cancelled() => {}
            () = draining(&stops.stop, &readiness) => {}
            () = connection(&broker, &metrics, &readiness) => {}
            () = lag(&broker, &plugins) => {}
            () = drops(&broker, &metrics, &plugins) => {}
            () = troubles(&broker, &metrics, &readiness, &plugins) => {}
            () = upkeep(&metrics) => {}
        }
        // What was dropped since the last tick, too.
        count_drops(&broker, &metrics, &plugins.borrow());
    })
}

async fn draining(stop: &CancellationToken, readiness: &Readiness) {
    stop.cancelled().await;
    readiness.lacks("host", "draining");
    std::future::pending().await
}

async fn connection(broker: &Broker, metrics: &Metrics, readiness: &Readiness) {
    let handles = metrics.nats();
    let mut tick = interval(CONNECTION_INTERVAL);
    loop {
        tick.tick().await;
        handles.reconnects.absolute(broker.reconnects());
        handles.slow_consumers.absolute(broker.slow_consumers());
        let is_connected = broker.is_connected();
        handles.connected.set(if is_connected { 1.0 } else { 0.0 });
        match is_connected {
            true => readiness.has("nats"),
            false => readiness.lacks("nats", "not connected; trying again"),
        }
    }
}

async fn lag(broker: &Broker, plugins: &watch::Receiver<Vec<Observed>>) {
    let mut tick = interval(LAG_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Vec::new();
    loop {
        tick.tick().await;
        let now = plugins.borrow().clone();
        before.iter().filter(|observed| !is_in(observed, &now)).for_each(Observed::forget);
        for observed in &now {
            observed.look(broker).await;
        }
        before = now;
    }
}

fn is_in(observed: &Observed, plugins: &[Observed]) -> bool {
    plugins.iter().any(|other| {
        other.plugin == observed.plugin && other.consumer.is_some() == observed.consumer.is_some()
    })
}

impl Observed {
    async fn look(&self, broker: &Broker) {
        let Some((stream, durable)) = &self.consumer else { return };
        match broker.backlog(stream, durable).await {
            Ok((waiting, unsettled)) => {
                self.metrics.lag.set(waiting as f64);
                self.metrics.ack_pending.set(unsettled as f64);
            }
            Err(error) => tracing::debug!(plugin = self.plugin, %error, "lag not known"),
        }
    }

    /// A plugin that was removed lags behind nothing any more; the last figure
    /// would stand for ever.
    fn forget(&self) {
        self.metrics.lag.set(0.0);
        self.metrics.ack_pending.set(0.0);
        self.metrics.gone();
    }
}

async fn drops(broker: &Broker, metrics: &Metrics, plugins: &watch::Receiver<Vec<Observed>>) {
    let mut tick = interval(DROPS_INTERVAL);
    loop {
        tick.tick().await;
        count_drops(broker, metrics, &plugins.borrow());
    }
}

/// Of plugins that were removed, too: they drop what still waits at their end.
fn count_drops(broker: &Broker, metrics: &Metrics, plugins: &[Observed]) {
    for observed in plugins {
        observed.metrics.active(broker.has_plugin(&observed.plugin));
    }
    for (plugin, n) in broker.dropped() {
        metrics.core_dropped(&plugin).absolute(n);
    }
}

/// A plugin that gets no events, can publish none, or as an ordered one can
/// neither have its events nor leave them to another replica, is not ready.
async fn troubles(
    broker: &Broker,
    metrics: &Metrics,
    readiness: &Readiness,
    plugins: &watch::Receiver<Vec<Observed>>,
) {
    let mut tick = interval(CONNECTION_INTERVAL);
    let mut told = BTreeSet::<String>::new();
    loop {
        tick.tick().await;
        let plugins: Vec<_> = plugins.borrow().iter().map(|it| it.plugin.clone()).collect();
        let leases = plugins.iter().filter_map(|plugin| {
            let problem = broker.claim_problem(plugin)?;
            Some((format!("lease of plugin {plugin}"), problem))
        });
        let sources = broker.failing_sources().into_iter();
        let sources = sources.filter(|(plugin, ..)| plugins.contains(plugin));
        let events =
            sources.map(|(plugin, stream, why)| (format!("events of {stream} for {plugin}"), why));
        let outputs = metrics.plugins().into_iter().filter_map(|(plugin, state)| {
            Some((format!("outputs of plugin {plugin}"), state.publishing?))
        });
        let problems: BTreeMap<_, _> = leases.chain(events).chain(outputs).collect();
        told.iter().filter(|part| !problems.contains_key(*part)).for_each(|it| readiness.has(it));
        problems.iter().for_each(|(part, problem)| readiness.lacks(part, problem));
        told = problems.into_keys().collect();
    }
}

async fn upkeep(metrics: &Metrics) {
    let mut tick = interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}
