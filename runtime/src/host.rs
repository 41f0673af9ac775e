//! The running system: built from a manifest, run until told to stop, drained.
//!
//! All wiring is here. It starts everything in an order in which a mistake is
//! found before anything is taken from the server, and decides nothing about
//! events.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{
        self,
        nats::{Broker, WhenUnreachable},
    },
    dispatch::{Admission, Dispatcher, Drained, Sources},
    manifest::{self, Manifest},
    plugin::{self, Engine, Plugin},
    telemetry::{Metrics, PluginMetrics, Readiness},
};

pub use crate::broker::nats::WhenUnreachable as Unreachable;
pub use provision::{Finding, Mode, Provision};

mod observe;
mod plan;
mod provision;
mod replays;

/// How long the last answers may take to leave, after the drain.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Why a host does not start. Each text names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifest asks for what is not there: components that cannot be
    /// loaded, streams and consumers that are otherwise. All of them.
    #[error("{}", join(.0))]
    Findings(Vec<Finding>),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A host that is ready to take events.
pub struct Host {
    manifest: Manifest,
    broker: Broker,
    plugins: Vec<Ready>,
    metrics: Metrics,
    readiness: Readiness,
}

/// A plugin that is loaded and bound to its source.
struct Ready {
    plugin: Plugin,
    sources: Sources<broker::nats::Source>,
    plan: crate::dispatch::Plan,
    metrics: PluginMetrics,
}

/// What was left when a host had stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Events that were still running when the drain time was up.
    pub unfinished: usize,
}

impl Host {
    /// Loads every component, connects, makes or compares streams, binds every
    /// consumer. Nothing is taken from the server yet.
    ///
    /// # Errors
    /// If something is not as the manifest wants it: all that is, at once.
    pub async fn start(
        manifest: Manifest,
        unreachable: WhenUnreachable,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Host, StartError> {
        readiness.lacks("nats", "not connected yet");
        for name in manifest.plugins.keys() {
            readiness.lacks(&part(name), "not loaded yet");
        }
        let plugins = load_all(&manifest).await?;
        let broker = connect(&manifest, unreachable).await?;
        let provision = Provision::survey(&broker, &manifest, Mode::Make).await?;
        if !provision.findings().is_empty() {
            return Err(StartError::Findings(provision.findings().to_vec()));
        }
        let plugins = bind_all(&manifest, &broker, &provision, plugins, &metrics).await?;
        for name in manifest.plugins.keys() {
            readiness.has(&part(name));
        }
        Ok(Host { manifest, broker, plugins, metrics, readiness })
    }

    /// Handles events until `stop`, then finishes what is in flight, each
    /// plugin for at most the manifest's drain time.
    ///
    /// # Errors
    /// If a part of the host ends before it was told to.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<Stopped> {
        let Host { manifest, broker, plugins, metrics, readiness } = self;
        readiness.has("host");
        let host = &manifest.host;
        let admission = Admission::new(host.max_in_flight, host.max_in_flight_bytes);
        let observed = plugins.iter().map(|ready| ready.observed(&manifest)).collect();
        let observers = CancellationToken::new();
        let stops = observe::Stops { stop: stop.clone(), end: observers.clone() };
        let observer = observe::start(broker.clone(), metrics, readiness, observed, stops);
        let mut dispatchers = JoinSet::new();
        for ready in plugins {
            let Ready { plugin, sources, plan, metrics } = ready;
            let dispatcher =
                Dispatcher::new(broker.clone(), plugin, plan, admission.clone(), metrics);
            dispatchers.spawn(dispatcher.run(sources, stop.clone()));
        }
        let stopped = join_all(&mut dispatchers, &stop).await;
        observers.cancel();
        observer.await.context("stop the observers")?;
        if let Err(error) = broker.close(CLOSE_LIMIT).await {
            tracing::warn!(%error, "some answers may not have reached the server");
        }
        stopped
    }
}

impl Ready {
    fn observed(&self, manifest: &Manifest) -> observe::Observed {
        let plugin = self.plan.plugin.clone();
        let spec = manifest.plugins.get(&plugin);
        let stream = spec.and_then(|spec| spec.stream.clone());
        let durable = broker::durable(&self.plan.host, &plugin);
        let consumer = stream.map(|stream| (stream, durable));
        observe::Observed { plugin, consumer, metrics: self.metrics.clone() }
    }
}

/// Waits for every dispatcher. One that ends unasked stops the others: its
/// plugin's events would wait for ever, and nobody would notice.
async fn join_all(
    dispatchers: &mut JoinSet<Drained>,
    stop: &CancellationToken,
) -> anyhow::Result<Stopped> {
    let (mut stopped, mut failure) = (Stopped::default(), None);
    while let Some(ended) = dispatchers.join_next().await {
        let was_asked = stop.is_cancelled();
        match ended {
            Ok(Drained::Settled) => {}
            Ok(Drained::Left(n)) => stopped.unfinished += n,
            Err(error) => failure = failure.or(Some(anyhow!(error).context("a dispatcher failed"))),
        }
        if !was_asked {
            stop.cancel();
            let unasked = "a plugin lost its source for good; start the host again";
            failure = failure.or(Some(anyhow!(unasked)));
        }
    }
    failure.map_or(Ok(stopped), Err)
}

/// Compiles, or takes from the cache, every component of the manifest.
async fn load_all(manifest: &Manifest) -> Result<Vec<Plugin>, StartError> {
    let engine = Engine::new(&plan::engine(manifest)).context("start the sandbox")?;
    let (mut plugins, mut findings) = (Vec::new(), Vec::new());
    for (name, spec) in &manifest.plugins {
        match engine.load(name, spec).await {
            Ok(plugin) => plugins.push(plugin),
            Err(error) => findings.push(unusable(name, spec, &error)),
        }
    }
    match findings.is_empty() {
        true => Ok(plugins),
        false => Err(StartError::Findings(findings)),
    }
}

fn unusable(name: &str, spec: &manifest::Plugin, error: &plugin::LoadError) -> Finding {
    Finding {
        key: format!("plugins.{name}.component"),
        what: format!("component {}", spec.component.display()),
        problem: error.to_string(),
    }
}

/// Connects as the manifest says.
///
/// # Errors
/// If the server refuses, or does not answer and shall not be waited for.
pub async fn connect(manifest: &Manifest, unreachable: WhenUnreachable) -> anyhow::Result<Broker> {
    let name = format!("pelton {}", manifest.host.name);
    Ok(Broker::connect(&manifest.nats, &name, unreachable).await?)
}

async fn bind_all(
    manifest: &Manifest,
    broker: &Broker,
    provision: &Provision,
    plugins: Vec<Plugin>,
    metrics: &Metrics,
) -> Result<Vec<Ready>, StartError> {
    let (mut ready, mut findings) = (Vec::new(), Vec::new());
    for plugin in plugins {
        let name = plugin.name().to_owned();
        let Some(spec) = manifest.plugins.get(&name) else { continue };
        let plan = plan::dispatch(manifest, spec, &plugin, provision);
        match replays::sources(manifest, broker, provision, (&name, spec)).await {
            Ok(sources) => {
                ready.push(Ready { plugin, sources, plan, metrics: metrics.plugin(&name) });
            }
            Err(error) => findings.push(Finding::at(format!("plugins.{name}.subscribe"), error)),
        }
    }
    match findings.is_empty() {
        true => Ok(ready),
        false => Err(StartError::Findings(findings)),
    }
}

/// The name under which readiness speaks of a plugin.
fn part(plugin: &str) -> String {
    format!("plugin {plugin}")
}

fn join(findings: &[Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
    lines.join("\n")
}
