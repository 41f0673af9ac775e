//! Keeps metrics and readiness up to date with what only the broker knows: the
//! connection, the lag of consumers, drops before the handler.

use std::time::Duration;

use tokio::{
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
    plugins: Vec<Observed>,
    stops: Stops,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = stops.end.cancelled() => {}
            () = draining(&stops.stop, &readiness) => {}
            () = connection(&broker, &metrics, &readiness) => {}
            () = lag(&broker, &plugins) => {}
            () = drops(&broker, &plugins) => {}
            () = upkeep(&metrics) => {}
        }
        // What was dropped since the last tick, too.
        count_drops(&broker, &plugins);
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

async fn lag(broker: &Broker, plugins: &[Observed]) {
    let mut tick = interval(LAG_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for observed in plugins {
            let Some((stream, durable)) = &observed.consumer else { continue };
            match broker.backlog(stream, durable).await {
                Ok((waiting, unsettled)) => {
                    observed.metrics.lag.set(waiting as f64);
                    observed.metrics.ack_pending.set(unsettled as f64);
                }
                Err(error) => {
                    tracing::debug!(plugin = observed.plugin, %error, "lag not known");
                }
            }
        }
    }
}

async fn drops(broker: &Broker, plugins: &[Observed]) {
    let mut tick = interval(DROPS_INTERVAL);
    loop {
        tick.tick().await;
        count_drops(broker, plugins);
    }
}

fn count_drops(broker: &Broker, plugins: &[Observed]) {
    for observed in plugins {
        observed.metrics.active.set(if broker.has_plugin(&observed.plugin) { 1.0 } else { 0.0 });
    }
    for (plugin, n) in broker.dropped() {
        for observed in plugins.iter().filter(|observed| observed.plugin == plugin) {
            observed.metrics.core_dropped.absolute(n);
        }
    }
}

async fn upkeep(metrics: &Metrics) {
    let mut tick = interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}
