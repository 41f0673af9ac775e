//! The running system: built from a manifest, run until told to stop, drained.
//! While it runs it can take another manifest; see `reload`.
//!
//! All wiring is here. It starts everything in an order in which a mistake is
//! found before anything is taken from the server, and decides nothing about
//! events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::nats::{Broker, WhenUnreachable},
    dispatch::{Admission, Drained},
    manifest::{self, Manifest},
    plugin::{self, Engine, EngineConfig, Plugin},
    telemetry::{Metrics, Readiness},
};

pub use crate::broker::nats::WhenUnreachable as Unreachable;
pub use provision::{Finding, Mode, Provision};
pub use reload::{ReloadError, Reloaded, Reloader};
use running::{Begin, Bound, Ended, Ground, Part, Running};
pub use witness::{Seen, Witness};

pub mod local;
mod observe;
mod plan;
mod provision;
mod reload;
mod remake;
mod running;
mod witness;

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

/// What a start may do beyond what the manifest says.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do while no server answers.
    pub unreachable: WhenUnreachable,
    /// Whether durable consumers that differ from the manifest are brought to
    /// it, where that does not cost them their place.
    pub update_consumers: bool,
    /// Who is told of every run; `None`: nobody.
    pub witness: Option<Witness>,
    /// Whether the components are just being written: see
    /// [`EngineConfig::incremental`](crate::plugin::EngineConfig::incremental).
    pub incremental: bool,
}

/// A host that is ready to take events.
pub struct Host {
    manifest: Manifest,
    engine: Engine,
    ground: Ground,
    /// Loaded and bound to their sources, by name.
    ready: BTreeMap<String, (Arc<Part>, Bound)>,
    metrics: Metrics,
    reloader: Reloader,
    requests: mpsc::Receiver<reload::Request>,
}

/// How busy a host is.
#[derive(Debug, Clone)]
pub struct Activity(Admission);

impl Activity {
    /// Events that handlers work on now, over all plugins.
    pub fn running(&self) -> usize {
        self.0.running()
    }
}

/// What was left when a host had stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Events that were still running when the drain time was up.
    pub unfinished: usize,
}

/// A host that takes events.
struct System {
    /// The one that was taken last.
    manifest: Manifest,
    engine: Engine,
    ground: Ground,
    metrics: Metrics,
    /// By name.
    plugins: BTreeMap<String, Running>,
    tasks: JoinSet<Ended>,
    observed: watch::Sender<Vec<observe::Observed>>,
    stop: CancellationToken,
}

impl Host {
    /// Loads every component, connects, makes or compares streams, binds every
    /// consumer. Nothing is taken from the server yet.
    ///
    /// # Errors
    /// If something is not as the manifest wants it: all that is, at once.
    pub async fn start(
        manifest: Manifest,
        options: Options,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Host, StartError> {
        readiness.lacks("nats", "not connected yet");
        for name in manifest.plugins.keys() {
            readiness.lacks(&readable(name), "not loaded yet");
        }
        let config = EngineConfig { incremental: options.incremental, ..plan::engine(&manifest) };
        let engine = Engine::new(&config).context("start the sandbox")?;
        let plugins = load_all(&engine, &manifest).await?;
        let broker = connect(&manifest, options.unreachable).await?;
        let provision = Provision::survey(&broker, &manifest, Mode::Make).await?;
        if !provision.findings().is_empty() {
            return Err(StartError::Findings(provision.findings().to_vec()));
        }
        let parts = plugins.into_iter().map(|plugin| (plugin.name().to_owned(), Arc::new(plugin)));
        let parts = parts.filter_map(|(name, plugin)| {
            let part = part(&manifest, &provision, &metrics, plugin)?;
            Some((name, Arc::new(part)))
        });
        let (parts, host) = (parts.collect::<BTreeMap<_, _>>(), &manifest.host);
        let admission = Admission::new(host.max_in_flight, host.max_in_flight_bytes);
        let ground = Ground { broker, admission, readiness, witness: options.witness };
        let ready = bind_all(&ground, parts, options.update_consumers).await?;
        for name in manifest.plugins.keys() {
            ground.readiness.has(&readable(name));
        }
        let (reloader, requests) = reload::channel(metrics.clone());
        Ok(Host { manifest, engine, ground, ready, metrics, reloader, requests })
    }

    /// The handle that gives the running host another manifest.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Tells, as long as it is kept, how many events are worked on.
    pub fn activity(&self) -> Activity {
        Activity(self.ground.admission.clone())
    }

    /// Handles events until `stop`, then finishes what is in flight, each
    /// plugin for at most the manifest's drain time.
    ///
    /// # Errors
    /// If a part of the host ends before it was told to.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<Stopped> {
        let (mut system, mut requests) = self.begin(stop.clone());
        let broker = system.ground.broker.clone();
        let observers = CancellationToken::new();
        let observer = system.observe(observers.clone());
        let failure = system.serve(&mut requests).await;
        drop(requests);
        let stopped = system.drain().await;
        observers.cancel();
        observer.await.context("stop the observers")?;
        if let Err(error) = broker.close(CLOSE_LIMIT).await {
            tracing::warn!(%error, "some answers may not have reached the server");
        }
        failure.and(stopped)
    }

    fn begin(self, stop: CancellationToken) -> (System, mpsc::Receiver<reload::Request>) {
        self.ground.readiness.has("host");
        reload::taken(&self.metrics);
        let mut system = System {
            manifest: self.manifest,
            engine: self.engine,
            ground: self.ground,
            metrics: self.metrics,
            plugins: BTreeMap::new(),
            tasks: JoinSet::new(),
            observed: watch::Sender::default(),
            stop,
        };
        let ready = self.ready.into_values().collect::<Vec<_>>();
        let observed = ready.iter().map(|(part, _)| part.observed()).collect();
        system.observed.send_replace(observed);
        for (part, source) in ready {
            system.start(Begin { part, source: Some(source), predecessor: None });
        }
        (system, self.requests)
    }
}

impl System {
    /// Starts a plugin in the place of the one that has its name, if there is one.
    fn start(&mut self, begin: Begin) -> Option<Running> {
        let name = begin.part.plan.plugin.clone();
        let (running, life) = Running::start(self.ground.clone(), begin, &self.stop);
        self.tasks.spawn(life);
        self.plugins.insert(name, running)
    }

    fn observe(&self, end: CancellationToken) -> tokio::task::JoinHandle<()> {
        let stops = observe::Stops { stop: self.stop.clone(), end };
        let (broker, metrics) = (self.ground.broker.clone(), self.metrics.clone());
        let readiness = self.ground.readiness.clone();
        observe::start(broker, metrics, readiness, self.observed.subscribe(), stops)
    }

    /// Takes new manifests until the stop, or until a plugin ends unasked: its
    /// events would wait for ever, and nobody would notice.
    async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<reload::Request>,
    ) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut remaker = remake::Remaker::new(self.ground.broker.clone());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                Some(request) = requests.recv() => self.answer(request).await,
                () = remaker.reconnected() => remaker.make(self.manifest.clone()),
            }
        }
    }

    fn ended(&self, ended: Result<Ended, tokio::task::JoinError>) -> anyhow::Result<()> {
        match ended {
            Ok(Ended { drained, asked: true }) => {
                if let Drained::Left(unfinished) = drained {
                    tracing::warn!(
                        unfinished,
                        "a plugin was replaced or removed before all its events were done; those of streams are delivered again"
                    );
                }
                Ok(())
            }
            Ok(Ended { asked: false, .. }) => {
                Err(anyhow!("a plugin lost its source for good; start the host again"))
            }
            Err(error) => Err(anyhow!(error).context("a dispatcher failed")),
        }
    }

    /// Stops every plugin and waits for it.
    async fn drain(mut self) -> anyhow::Result<Stopped> {
        self.stop.cancel();
        let (mut stopped, mut failure) = (Stopped::default(), None);
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ended { drained: Drained::Settled, .. }) => {}
                Ok(Ended { drained: Drained::Left(n), .. }) => stopped.unfinished += n,
                Err(error) => failure = Some(anyhow!(error).context("a dispatcher failed")),
            }
        }
        failure.map_or(Ok(stopped), Err)
    }
}

/// Compiles, or takes from the cache, every component of the manifest.
async fn load_all(engine: &Engine, manifest: &Manifest) -> Result<Vec<Plugin>, StartError> {
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
        code: error.code(),
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

/// Everything that `plugin` needs to start; `None` if the manifest does not know it.
fn part(
    manifest: &Manifest,
    provision: &Provision,
    metrics: &Metrics,
    plugin: Arc<Plugin>,
) -> Option<Part> {
    let name = plugin.name();
    let spec = manifest.plugins.get(name)?;
    Some(Part {
        spec: spec.clone(),
        subscription: plan::subscription(manifest, name, spec),
        replays: plan::replays(manifest, name, spec).filter(|_| provision.jetstream()),
        plan: plan::dispatch(manifest, spec, &plugin, provision),
        metrics: metrics.plugin(name),
        plugin,
    })
}

async fn bind_all(
    ground: &Ground,
    parts: BTreeMap<String, Arc<Part>>,
    update_consumers: bool,
) -> Result<BTreeMap<String, (Arc<Part>, Bound)>, StartError> {
    let broker = if update_consumers { ground.updating() } else { ground.broker.clone() };
    let (mut ready, mut findings) = (BTreeMap::new(), Vec::new());
    for (name, part) in parts {
        match part.bind(&broker).await {
            Ok(source) => _ = ready.insert(name, (part, source)),
            Err(error) => findings.push(Finding::at(format!("plugins.{name}.subscribe"), error)),
        }
    }
    match findings.is_empty() {
        true => Ok(ready),
        false => Err(StartError::Findings(findings)),
    }
}

/// The name under which readiness speaks of a plugin.
fn readable(plugin: &str) -> String {
    format!("plugin {plugin}")
}

fn join(findings: &[Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
    lines.join("\n")
}
