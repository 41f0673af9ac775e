//! Every metric of the host: its name, its type, its labels. And readiness.
//!
//! Labels are bounded: plugin, class of failure, stream; never a subject, a key
//! or an error text. Counters are registered once and kept as handles, so that
//! counting costs an addition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use metrics::{Counter, Gauge, Histogram, Unit, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

/// How often [`Metrics::upkeep`] wants to be called.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Buckets of durations, in seconds: a fresh instance of an idle guest takes
/// about 20 µs, a time-out some seconds.
const SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.1, 0.25, 1.0, 2.5, 10.0,
];

/// Name, unit and help of every metric.
const CATALOGUE: [(&str, Kind, Unit, &str); 34] = [
    (EVENTS_RECEIVED, Kind::Counter, Unit::Count, "Deliveries taken from the server."),
    (EVENTS_REDELIVERED, Kind::Counter, Unit::Count, "Deliveries after the first of an event."),
    (EVENTS_DONE, Kind::Counter, Unit::Count, "Events handled, their outputs published."),
    (EVENTS_FAILED, Kind::Counter, Unit::Count, "Runs that failed, by class of failure."),
    (EVENTS_RETRIED, Kind::Counter, Unit::Count, "Failed runs whose event is tried again."),
    (EVENTS_REJECTED, Kind::Counter, Unit::Count, "Events that the handler rejected."),
    (EVENTS_DEAD_LETTERED, Kind::Counter, Unit::Count, "Events put into the dead letters."),
    (EVENTS_DROPPED, Kind::Counter, Unit::Count, "Events of core NATS that were given up."),
    (OUTPUTS_PUBLISHED, Kind::Counter, Unit::Count, "Outputs published."),
    (OUTPUTS_DEDUPLICATED, Kind::Counter, Unit::Count, "Outputs that the stream already had."),
    (OUTPUTS_REFUSED, Kind::Counter, Unit::Count, "Runs refused for an output that broke a rule."),
    (REQUESTS, Kind::Counter, Unit::Count, "Requests that handlers made while they ran."),
    (REQUESTS_FAILED, Kind::Counter, Unit::Count, "Requests without an answer, by reason."),
    (REQUEST_SECONDS, Kind::Histogram, Unit::Seconds, "Sending of a request to its answer."),
    (PUBLISH_RETRIES, Kind::Counter, Unit::Count, "Publishes repeated with the same id."),
    (SETTLE_FAILURES, Kind::Counter, Unit::Count, "Answers that may not have reached the server."),
    (HANDLER_SECONDS, Kind::Histogram, Unit::Seconds, "Time in the handler, with its instance."),
    (EVENT_AGE_SECONDS, Kind::Histogram, Unit::Seconds, "Publishing of an event to its end."),
    (INFLIGHT_EVENTS, Kind::Gauge, Unit::Count, "Events delivered and not settled."),
    (INFLIGHT_BYTES, Kind::Gauge, Unit::Bytes, "Bytes of the events in flight."),
    (CONSUMER_LAG, Kind::Gauge, Unit::Count, "Events that wait in the stream."),
    (CONSUMER_ACK_PENDING, Kind::Gauge, Unit::Count, "Events delivered, unsettled, to all hosts."),
    (BREAKER_STATE, Kind::Gauge, Unit::Count, "Circuit breaker: 0 closed, 1 half open, 2 open."),
    (BREAKER_OPENINGS, Kind::Counter, Unit::Count, "How often the circuit breaker opened."),
    (LANES, Kind::Gauge, Unit::Count, "Keys of an ordered plugin with events in hand."),
    (PLUGIN_ACTIVE, Kind::Gauge, Unit::Count, "0 while another replica has an ordered plugin."),
    (CORE_DROPPED, Kind::Counter, Unit::Count, "Events of core NATS dropped before the handler."),
    (HOST_PANICS, Kind::Counter, Unit::Count, "Panics of the host: report each as a bug."),
    (NATS_CONNECTED, Kind::Gauge, Unit::Count, "1 while connected to NATS."),
    (NATS_RECONNECTS, Kind::Counter, Unit::Count, "Connections made after the first."),
    (SLOW_CONSUMERS, Kind::Counter, Unit::Count, "Drops that the client noted, a lower bound."),
    (RELOADS, Kind::Counter, Unit::Count, "Reloads, by outcome."),
    (LAST_RELOAD_OK, Kind::Gauge, Unit::Count, "1 if the last reload, or the start, was complete."),
    (MANIFEST_TIME, Kind::Gauge, Unit::Seconds, "When the manifest in use was taken, Unix time."),
];

const EVENTS_RECEIVED: &str = "pelton_events_received_total";
const EVENTS_REDELIVERED: &str = "pelton_events_redelivered_total";
const EVENTS_DONE: &str = "pelton_events_done_total";
const EVENTS_FAILED: &str = "pelton_events_failed_total";
const EVENTS_RETRIED: &str = "pelton_events_retried_total";
const EVENTS_REJECTED: &str = "pelton_events_rejected_total";
const EVENTS_DEAD_LETTERED: &str = "pelton_events_dead_lettered_total";
const EVENTS_DROPPED: &str = "pelton_events_dropped_total";
const OUTPUTS_PUBLISHED: &str = "pelton_outputs_published_total";
const OUTPUTS_DEDUPLICATED: &str = "pelton_outputs_deduplicated_total";
const OUTPUTS_REFUSED: &str = "pelton_outputs_refused_total";
const REQUESTS: &str = "pelton_requests_total";
const REQUESTS_FAILED: &str = "pelton_requests_failed_total";
const REQUEST_SECONDS: &str = "pelton_request_duration_seconds";
const PUBLISH_RETRIES: &str = "pelton_publish_retries_total";
const SETTLE_FAILURES: &str = "pelton_settle_failures_total";
const HANDLER_SECONDS: &str = "pelton_handler_duration_seconds";
const EVENT_AGE_SECONDS: &str = "pelton_event_age_seconds";
const INFLIGHT_EVENTS: &str = "pelton_inflight_events";
const INFLIGHT_BYTES: &str = "pelton_inflight_bytes";
const CONSUMER_LAG: &str = "pelton_consumer_lag_events";
const CONSUMER_ACK_PENDING: &str = "pelton_consumer_ack_pending_events";
const BREAKER_STATE: &str = "pelton_breaker_state";
const BREAKER_OPENINGS: &str = "pelton_breaker_openings_total";
const LANES: &str = "pelton_lanes";
const PLUGIN_ACTIVE: &str = "pelton_plugin_active";
const CORE_DROPPED: &str = "pelton_core_dropped_total";
const HOST_PANICS: &str = "pelton_host_panics_total";
const NATS_CONNECTED: &str = "pelton_nats_connected";
const NATS_RECONNECTS: &str = "pelton_nats_reconnects_total";
const SLOW_CONSUMERS: &str = "pelton_nats_slow_consumers_total";
const RELOADS: &str = "pelton_reloads_total";
const LAST_RELOAD_OK: &str = "pelton_last_reload_successful";
const MANIFEST_TIME: &str = "pelton_manifest_loaded_timestamp_seconds";

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All metrics of one host. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    plugins: Arc<Mutex<BTreeMap<String, PluginState>>>,
}

/// What a plugin is doing, for operators.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginState {
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// Until when it is open, RFC 3339; absent unless it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_until: Option<String>,
    /// Whether this replica handles its events: not while another one has an
    /// ordered plugin.
    pub active: bool,
    /// What it cannot publish for a while now; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishing: Option<String>,
}

/// What a circuit breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Runs begin.
    Closed,
    /// Some runs are tried.
    HalfOpen,
    /// None begins.
    Open,
}

/// The metrics of one plugin.
#[derive(Clone)]
pub struct PluginMetrics {
    metrics: Metrics,
    plugin: String,
    /// Deliveries taken from the server.
    pub received: Counter,
    /// Deliveries after the first of an event.
    pub redelivered: Counter,
    /// Events handled, their outputs published.
    pub done: Counter,
    /// Failed runs whose event is tried again.
    pub retried: Counter,
    /// Events that the handler rejected.
    pub rejected: Counter,
    /// Outputs published.
    pub outputs: Counter,
    /// Outputs that the stream already had.
    pub deduplicated: Counter,
    /// Runs refused for an output that broke a rule.
    pub outputs_refused: Counter,
    /// Requests that the handler made while it ran.
    pub requests: Counter,
    /// From the sending of a request to its answer.
    pub request_seconds: Histogram,
    /// Publishes repeated with the same id.
    pub publish_retries: Counter,
    /// Answers that may not have reached the server.
    pub settle_failures: Counter,
    /// Time in the handler, with its instance.
    pub handler_seconds: Histogram,
    /// From the publishing of an event to its end.
    pub age_seconds: Histogram,
    /// Events delivered and not settled.
    pub inflight: Gauge,
    /// Bytes of the events in flight.
    pub inflight_bytes: Gauge,
    /// Events that wait in the stream.
    pub lag: Gauge,
    /// Events delivered and not settled, over all hosts.
    pub ack_pending: Gauge,
    breaker_state: Gauge,
    /// How often the circuit breaker opened.
    pub breaker_openings: Counter,
    /// Keys of an ordered plugin with events in hand.
    pub lanes: Gauge,
    active: Gauge,
    /// Events of core NATS dropped before the handler.
    pub core_dropped: Counter,
    /// Panics of the host.
    pub panics: Counter,
}

/// The metrics of the connection.
#[derive(Clone)]
pub struct NatsMetrics {
    /// 1 while connected.
    pub connected: Gauge,
    /// Connections made after the first.
    pub reconnects: Counter,
    /// Messages that the client dropped because they were not read in time.
    pub slow_consumers: Counter,
}

/// The metrics of the manifest in use.
#[derive(Clone)]
pub struct ManifestMetrics {
    metrics: Metrics,
    /// 1 if the last reload, or the start, was complete.
    pub last_reload_ok: Gauge,
    /// When the manifest in use was taken, in seconds since 1970-01-01T00:00:00Z.
    pub loaded_at: Gauge,
}

impl Metrics {
    /// A registry with nothing counted yet.
    pub fn new() -> Metrics {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new();
        // The only error is an empty list of buckets.
        let builder = match builder.set_buckets_for_metric(seconds, &SECONDS) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
        let metrics =
            Metrics { recorder: Arc::new(builder.build_recorder()), plugins: Arc::default() };
        metrics.describe();
        metrics
    }

    fn describe(&self) {
        with_local_recorder(&*self.recorder, || {
            for (name, kind, unit, help) in CATALOGUE {
                match kind {
                    Kind::Counter => metrics::describe_counter!(name, unit, help),
                    Kind::Gauge => metrics::describe_gauge!(name, unit, help),
                    Kind::Histogram => metrics::describe_histogram!(name, unit, help),
                }
            }
        });
    }

    /// The handles of the plugin called `name`.
    pub fn plugin(&self, name: &str) -> PluginMetrics {
        let counter = |metric| self.counter(metric, name);
        let gauge = |metric| self.gauge(metric, name);
        let histogram = |metric: &'static str| {
            let plugin = name.to_owned();
            with_local_recorder(&*self.recorder, || metrics::histogram!(metric, "plugin" => plugin))
        };
        PluginMetrics {
            received: counter(EVENTS_RECEIVED),
            redelivered: counter(EVENTS_REDELIVERED),
            done: counter(EVENTS_DONE),
            retried: counter(EVENTS_RETRIED),
            rejected: counter(EVENTS_REJECTED),
            outputs: counter(OUTPUTS_PUBLISHED),
            deduplicated: counter(OUTPUTS_DEDUPLICATED),
            outputs_refused: counter(OUTPUTS_REFUSED),
            requests: counter(REQUESTS),
            request_seconds: histogram(REQUEST_SECONDS),
            publish_retries: counter(PUBLISH_RETRIES),
            settle_failures: counter(SETTLE_FAILURES),
            handler_seconds: histogram(HANDLER_SECONDS),
            age_seconds: histogram(EVENT_AGE_SECONDS),
            inflight: gauge(INFLIGHT_EVENTS),
            inflight_bytes: gauge(INFLIGHT_BYTES),
            lag: gauge(CONSUMER_LAG),
            ack_pending: gauge(CONSUMER_ACK_PENDING),
            breaker_state: gauge(BREAKER_STATE),
            breaker_openings: counter(BREAKER_OPENINGS),
            lanes: gauge(LANES),
            active: gauge(PLUGIN_ACTIVE),
            core_dropped: counter(CORE_DROPPED),
            panics: counter(HOST_PANICS),
            metrics: self.clone(),
            plugin: name.to_owned(),
        }
    }

    /// The handles of the connection to NATS.
    pub fn nats(&self) -> NatsMetrics {
        with_local_recorder(&*self.recorder, || NatsMetrics {
            connected: metrics::gauge!(NATS_CONNECTED),
            reconnects: metrics::counter!(NATS_RECONNECTS),
            slow_consumers: metrics::counter!(SLOW_CONSUMERS),
        })
    }

    /// The handles of the manifest in use. `outcomes` are all that a reload can
    /// have.
    pub fn manifest(&self, outcomes: &[&'static str]) -> ManifestMetrics {
        let handles = with_local_recorder(&*self.recorder, || ManifestMetrics {
            metrics: self.clone(),
            last_reload_ok: metrics::gauge!(LAST_RELOAD_OK),
            loaded_at: metrics::gauge!(MANIFEST_TIME),
        });
        outcomes.iter().for_each(|outcome| handles.count(outcome, 0));
        handles
    }

    /// Events of core NATS dropped before the handler of the plugin called `name`.
    pub fn core_dropped(&self, name: &str) -> Counter {
        self.counter(CORE_DROPPED, name)
    }

    /// What the plugins are doing, by name.
    pub fn plugins(&self) -> BTreeMap<String, PluginState> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Folds the samples of histograms into buckets. Without it they pile up:
    /// call it every [`UPKEEP_INTERVAL`].
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    fn counter(&self, metric: &'static str, plugin: &str) -> Counter {
        let plugin = plugin.to_owned();
        let counter =
            with_local_recorder(&*self.recorder, || metrics::counter!(metric, "plugin" => plugin));
        // A series that is missing until its first event reads as "no data" on
        // a dashboard, not as zero.
        counter.increment(0);
        counter
    }

    fn gauge(&self, metric: &'static str, plugin: &str) -> Gauge {
        let plugin = plugin.to_owned();
        with_local_recorder(&*self.recorder, || metrics::gauge!(metric, "plugin" => plugin))
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl ManifestMetrics {
    /// Counts a reload that ended with `outcome`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.count(outcome, 1);
    }

    fn count(&self, outcome: &'static str, n: u64) {
        with_local_recorder(&*self.metrics.recorder, || {
            metrics::counter!(RELOADS, "outcome" => outcome).increment(n);
        });
    }
}

impl PluginMetrics {
    /// Shows what the circuit breaker does; if it is open, for how long.
    pub fn breaker(&self, breaker: BreakerState, open_for: Duration) {
        self.breaker_state.set(match breaker {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        });
        let until = SystemTime::now().checked_add(open_for);
        let until = until.filter(|_| breaker == BreakerState::Open);
        self.update(|state| {
            state.breaker = breaker;
            state.open_until = until.map(|at| humantime::format_rfc3339_millis(at).to_string());
        });
    }

    /// Shows whether this replica has the plugin.
    pub fn active(&self, active: bool) {
        self.active.set(if active { 1.0 } else { 0.0 });
        self.update(|state| state.active = active);
    }

    /// Shows what it cannot publish; `None`: nothing any more.
    pub fn publishing(&self, problem: Option<String>) {
        match problem {
            Some(problem) => self.update(|state| state.publishing = Some(problem)),
            // May be the last word of a plugin that is not shown any more.
            None => {
                let plugins = self.metrics.plugins.lock();
                let mut plugins = plugins.unwrap_or_else(PoisonError::into_inner);
                if let Some(state) = plugins.get_mut(&self.plugin) {
                    state.publishing = None;
                }
            }
        }
    }

    /// The plugin is gone from the manifest.
    pub fn gone(&self) {
        self.active.set(0.0);
        let mut plugins = self.metrics.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.remove(&self.plugin);
    }

    fn update(&self, change: impl FnOnce(&mut PluginState)) {
        let mut plugins = self.metrics.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        change(plugins.entry(self.plugin.clone()).or_insert(PluginState {
            breaker: BreakerState::Closed,
            open_until: None,
            active: true,
            publishing: None,
        }));
    }

    /// Counts a run that failed with `class`.
    pub fn failed(&self, class: &'static str) {
        self.by(EVENTS_FAILED, "class", class);
    }

    /// Counts an event put into the dead letters for `reason`.
    pub fn dead_lettered(&self, reason: &'static str) {
        self.by(EVENTS_DEAD_LETTERED, "reason", reason);
    }

    /// Counts an event of core NATS that was given up for `reason`.
    pub fn dropped(&self, reason: &'static str) {
        self.by(EVENTS_DROPPED, "reason", reason);
    }

    /// Counts a request that came to nothing for `reason`.
    pub fn request_failed(&self, reason: &'static str) {
        self.by(REQUESTS_FAILED, "reason", reason);
    }

    /// Failures are rare: they are looked up by name.
    fn by(&self, metric: &'static str, label: &'static str, value: &'static str) {
        let plugin = self.plugin.clone();
        with_local_recorder(&*self.metrics.recorder, || {
            metrics::counter!(metric, "plugin" => plugin, label => value).increment(1);
        });
    }
}

/// What the host still lacks before it can do its work. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Notes that `part` is not ready, and why.
    pub fn lacks(&self, part: &str, why: &str) {
        self.lock().insert(part.to_owned(), why.to_owned());
    }

    /// Notes that `part` is ready.
    pub fn has(&self, part: &str) {
        self.lock().remove(part);
    }

    /// What is missing, with the reason; empty when ready.
    pub fn missing(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
