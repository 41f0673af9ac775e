//! Another manifest for a host that runs.
//!
//! Everything that can fail is done first: the new components are compiled and
//! started once, streams are made or compared, consumers compared, new ones
//! made. Until then nothing that runs is touched, and a mistake is an answer.
//! Then plugins that changed are swapped, each at an event boundary; the others
//! go on as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    Begin, Bound, Finding, Mode, Part, Provision, Running, StartError, System, part,
    running::Stage, unusable,
};
use crate::{
    manifest::{Manifest, Plugin as Spec},
    plugin::Plugin,
    telemetry::Metrics,
};

/// How reloads are counted: everything runs as the manifest says; something was
/// refused by the server after the checks; nothing was changed.
const OUTCOMES: [&str; 3] = ["reloaded", "unfinished", "refused"];

/// Reloads that wait for their turn.
const WAITING: usize = 4;

/// How long a swap may take, beside the drain of what ran before. What takes
/// longer goes on by itself; the answer says so.
const SWAP_LIMIT: Duration = Duration::from_secs(15);

/// How long a reload waits for a connection that is down.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);

/// What a reload did, plugin by plugin. Every plugin of either manifest is in
/// one of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Run with new settings or a new component.
    pub swapped: Vec<String>,
    /// Are new and run.
    pub added: Vec<String>,
    /// Have ended.
    pub removed: Vec<String>,
    /// Were not touched.
    pub untouched: Vec<String>,
    /// Do not run as the manifest says, and why: the server refused them after
    /// the checks, and what ran before runs again, or they are still being tried.
    pub unfinished: BTreeMap<String, String>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The manifest asks for what is not there, or for what only a restart can
    /// change. All of it.
    #[error("{}", super::join(.0))]
    Findings(Vec<Finding>),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// The host stops.
    #[error("the host is stopping: it takes no other manifest")]
    Stopping,
}

/// Gives a running host another manifest, and counts what came of it. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    metrics: Metrics,
}

/// A manifest, and where the answer goes.
#[derive(Debug)]
pub(super) struct Request {
    manifest: Manifest,
    answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// Everything that a swap needs, and that could have failed.
struct Prepared {
    /// What is added or changed.
    parts: BTreeMap<String, Arc<Part>>,
    /// Sources of those that read what nobody has read before them.
    sources: BTreeMap<String, Bound>,
    untouched: Vec<String>,
    removed: Vec<String>,
}

/// A swap under way.
#[derive(Default)]
struct Swap {
    done: Reloaded,
    /// Started, and not known to take events.
    starting: Vec<(String, Arc<Part>)>,
    /// Told to end.
    leaving: Vec<Running>,
}

pub(super) fn channel(metrics: Metrics) -> (Reloader, mpsc::Receiver<Request>) {
    let (requests, receiver) = mpsc::channel(WAITING);
    (Reloader { requests, metrics }, receiver)
}

/// Notes that a manifest is in use from now on.
pub(super) fn taken(metrics: &Metrics) {
    let metrics = metrics.manifest(&OUTCOMES);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.loaded_at.set(now.as_secs_f64());
    metrics.last_reload_ok.set(1.0);
}

impl Reloader {
    /// Gives the host `manifest` and waits until it runs by it. Several at once
    /// are done one after the other.
    ///
    /// # Errors
    /// If nothing was changed: what is wrong with the manifest, all of it.
    pub async fn reload(&self, manifest: Manifest) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { manifest, answer };
        let outcome = match self.requests.send(request).await {
            Ok(()) => answered.await.unwrap_or(Err(ReloadError::Stopping)),
            Err(_) => Err(ReloadError::Stopping),
        };
        self.count(&outcome);
        outcome
    }

    /// Notes that a manifest was so wrong that the host was not even asked.
    pub fn refused(&self) {
        self.count(&Err(ReloadError::Findings(Vec::new())));
    }

    fn count(&self, outcome: &Result<Reloaded, ReloadError>) {
        let [reloaded, unfinished, refused] = OUTCOMES;
        let outcome = match outcome {
            Ok(done) if done.unfinished.is_empty() => reloaded,
            Ok(_) => unfinished,
            Err(_) => refused,
        };
        if outcome != refused {
            taken(&self.metrics);
        }
        let metrics = self.metrics.manifest(&[]);
        metrics.last_reload_ok.set(if outcome == reloaded { 1.0 } else { 0.0 });
        metrics.reloaded(outcome);
    }
}

impl System {
    /// Reloads, unless the host is told to stop before it is done. Whatever was
    /// begun by then is in `plugins` and `tasks`, and drains with the others.
    pub(super) async fn answer(&mut self, Request { manifest, answer }: Request) {
        let stop = self.stop.clone();
        let outcome = tokio::select! {
            outcome = Box::pin(self.reload(manifest)) => outcome,
            () = stop.cancelled() => Err(ReloadError::Stopping),
        };
        // Whoever asked may have gone.
        answer.send(outcome).ok();
    }

    async fn reload(&mut self, manifest: Manifest) -> Result<Reloaded, ReloadError> {
        let prepared = self.prepare(&manifest).await?;
        let wait = SWAP_LIMIT + self.manifest.host.drain;
        tracing::info!(
            changed = ?prepared.parts.keys().collect::<Vec<_>>(), removed = ?prepared.removed,
            "everything new is checked and compiled: swapping"
        );
        self.manifest = manifest;
        let swap = self.swap(prepared).await;
        self.tell_observers();
        Ok(self.finish(swap, Instant::now() + wait).await)
    }

    /// Checks, compiles and makes all that the new manifest needs, and touches
    /// nothing that runs.
    async fn prepare(&self, manifest: &Manifest) -> Result<Prepared, ReloadError> {
        let mut findings = needs_restart(&self.manifest, manifest);
        let plugins = self.load_changed(manifest, &mut findings).await;
        refuse(findings)?;
        self.connected().await?;
        // Looked at first: a manifest that is refused has made no streams.
        self.survey(manifest, Mode::Compare).await?;
        let provision = self.survey(manifest, Mode::Make).await?;
        let mut prepared = self.sort(manifest, &provision, plugins);
        self.bind_new(&mut prepared).await?;
        Ok(prepared)
    }

    /// Every plugin of the new manifest, compiled and started once; those whose
    /// settings and component are as before are the running ones themselves.
    async fn load_changed(
        &self,
        manifest: &Manifest,
        findings: &mut Vec<Finding>,
    ) -> Vec<Arc<Plugin>> {
        let mut plugins = Vec::new();
        for (name, spec) in &manifest.plugins {
            match self.load(name, spec).await {
                Ok(plugin) => plugins.push(plugin),
                Err(error) => findings.push(unusable(name, spec, &error)),
            }
        }
        plugins
    }

    async fn load(&self, name: &str, spec: &Spec) -> Result<Arc<Plugin>, crate::plugin::LoadError> {
        if let Some(running) = self.plugins.get(name).and_then(Running::settled)
            && running.spec == *spec
            && self.engine.digest(&spec.component).await? == running.plan.digest
        {
            return Ok(Arc::clone(&running.plugin));
        }
        Ok(Arc::new(self.engine.load(name, spec).await?))
    }

    async fn connected(&self) -> anyhow::Result<()> {
        let broker = &self.ground.broker;
        let connected = async {
            while !broker.is_connected() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(CONNECTION_LIMIT, connected).await.map_err(|_| {
            anyhow!(
                "not connected to NATS, so streams and consumers cannot be compared: reload again when the server is back"
            )
        })
    }

    async fn survey(&self, manifest: &Manifest, mode: Mode) -> Result<Provision, ReloadError> {
        let broker = self.ground.updating();
        let provision = Provision::survey(&broker, manifest, mode).await?;
        refuse(provision.findings().to_vec())?;
        Ok(provision)
    }

    /// Tells what changed from what did not.
    fn sort(
        &self,
        manifest: &Manifest,
        provision: &Provision,
        plugins: Vec<Arc<Plugin>>,
    ) -> Prepared {
        let (mut parts, mut untouched) = (BTreeMap::new(), Vec::new());
        let new = plugins.into_iter();
        for part in new.filter_map(|plugin| part(manifest, provision, &self.metrics, plugin)) {
            let name = part.plan.plugin.clone();
            let running = self.plugins.get(&name).and_then(Running::settled);
            match running.is_some_and(|running| running.is_same(&part)) {
                true => untouched.push(name),
                false => _ = parts.insert(name, Arc::new(part)),
            }
        }
        let gone = self.plugins.keys().filter(|name| !manifest.plugins.contains_key(*name));
        Prepared { parts, sources: BTreeMap::new(), untouched, removed: gone.cloned().collect() }
    }

    /// Makes consumers that nobody reads yet. Only those of streams: a
    /// subscription of core NATS would take events at once. Nor of a plugin that
    /// has to be the only one: the right to its events would be taken from other
    /// replicas while its predecessor still drains, or for nothing.
    async fn bind_new(&self, prepared: &mut Prepared) -> Result<(), ReloadError> {
        let mut findings = Vec::new();
        for (name, part) in &prepared.parts {
            let read_before = self.plugins.get(name).and_then(Running::part);
            let read_before = read_before.and_then(|part| part.consumer());
            let binds_later = part.subscription.exclusive && self.plugins.contains_key(name);
            if binds_later || part.consumer().is_none() || part.consumer() == read_before {
                continue;
            }
            match part.bind(&self.ground.updating()).await {
                Ok(source) => _ = prepared.sources.insert(name.clone(), source),
                Err(error) => {
                    findings.push(Finding::at(format!("plugins.{name}.subscribe"), error));
                }
            }
        }
        refuse(findings)
    }

    /// Puts what is new in the place of what it replaces. Between two waits
    /// everything that runs is in `plugins` or in `leaving`.
    async fn swap(&mut self, prepared: Prepared) -> Swap {
        let Prepared { parts, mut sources, untouched, removed } = prepared;
        let mut swap =
            Swap { done: Reloaded { untouched, ..Reloaded::default() }, ..Swap::default() };
        for name in removed {
            if let Some(running) = self.plugins.remove(&name) {
                swap.remove(name, running);
            }
        }
        for (name, part) in parts {
            let source = sources.remove(&name);
            let before = self.plugins.get(&name).and_then(Running::part);
            if let Some(before) = before.as_ref() {
                note_consumer_left(before, Some(&part));
            }
            match before.filter(|before| before.consumer().is_none() && part.consumer().is_none()) {
                Some(_) => self.overlap(name, part, &mut swap).await,
                None => self.follow(name, part, source, &mut swap),
            }
        }
        swap
    }

    /// Core NATS: whoever is not subscribed misses what is sent, so the new one
    /// is, before the old one leaves. Both are members of one queue group: the
    /// server gives each event to one of them.
    async fn overlap(&mut self, name: String, part: Arc<Part>, swap: &mut Swap) {
        match part.bind(&self.ground.broker).await {
            Ok(source) => {
                let begin =
                    Begin { part: Arc::clone(&part), source: Some(source), predecessor: None };
                if let Some(old) = self.start(begin) {
                    old.stop();
                    swap.leaving.push(old);
                }
                swap.starting.push((name, part));
            }
            Err(error) => {
                let problem = format!("{error}; it runs as before, reload again");
                swap.done.unfinished.insert(name, problem);
            }
        }
    }

    /// Streams: what is in flight is settled first, so that no event runs twice
    /// and order is kept; the backlog waits in the stream.
    fn follow(&mut self, name: String, part: Arc<Part>, source: Option<Bound>, swap: &mut Swap) {
        let predecessor = self.plugins.remove(&name);
        if predecessor.is_none() {
            swap.done.added.push(name.clone());
        }
        self.start(Begin { part: Arc::clone(&part), source, predecessor });
        swap.starting.push((name, part));
    }

    fn tell_observers(&self) {
        let parts = self.plugins.values().filter_map(Running::part);
        self.observed.send_replace(parts.map(|part| part.observed()).collect());
    }

    /// Waits for what was started and stopped, at most until `deadline`.
    async fn finish(&mut self, mut swap: Swap, deadline: Instant) -> Reloaded {
        for (name, part) in std::mem::take(&mut swap.starting) {
            let Some(running) = self.plugins.get_mut(&name) else { continue };
            let stage = running.started(deadline).await;
            swap.started(name, &part, stage);
        }
        for mut running in swap.leaving {
            // What is late goes on draining, up to the limit of its own.
            tokio::time::timeout_at(deadline, running.ended()).await.ok();
        }
        // Those that bound later than the others have a consumer by now.
        self.tell_observers();
        swap.done
    }
}

impl Swap {
    fn remove(&mut self, name: String, running: Running) {
        if let Some(part) = running.part() {
            note_consumer_left(&part, None);
        }
        running.stop();
        self.leaving.push(running);
        self.done.removed.push(name);
    }

    fn started(&mut self, name: String, part: &Arc<Part>, stage: Stage) {
        let problem = match stage {
            Stage::Runs(now) if Arc::ptr_eq(&now, part) => None,
            Stage::Runs(_) => Some("it was replaced meanwhile".to_owned()),
            Stage::Fell { problem, .. } => {
                Some(format!("{problem}; it runs with its old settings again"))
            }
            Stage::Starting { problem: Some(problem), .. } => {
                Some(format!("{problem}; it is tried again until it works"))
            }
            Stage::Starting { problem: None, .. } => {
                Some("what it replaces is not done yet; it starts after that".to_owned())
            }
        };
        let is_new = self.done.added.contains(&name);
        if let Some(problem) = problem {
            self.done.added.retain(|added| *added != name);
            self.done.unfinished.insert(name, problem);
        } else if !is_new {
            self.done.swapped.push(name);
        }
    }
}

/// What only a restart can change, each with its key.
fn needs_restart(old: &Manifest, new: &Manifest) -> Vec<Finding> {
    let (host, other) = (&old.host, &new.host);
    let (nats, next) = (&old.nats, &new.nats);
    let keys = [
        ("host.name", host.name != other.name),
        ("host.max-in-flight", host.max_in_flight != other.max_in_flight),
        ("host.max-in-flight-bytes", host.max_in_flight_bytes != other.max_in_flight_bytes),
        ("host.stack", host.stack != other.stack),
        ("host.cache", host.cache != other.cache),
        ("nats.url", nats.urls != next.urls),
        ("nats", nats.auth != next.auth),
        ("nats.tls", nats.tls != next.tls),
        ("nats.request-timeout", nats.request_timeout != next.request_timeout),
        ("nats.ping-interval", nats.ping_interval != next.ping_interval),
        ("admin.listen", old.admin != new.admin),
    ];
    let changed = keys.into_iter().filter(|(_, changed)| *changed);
    let problem = "it cannot change while the host runs: put it back, or restart the host";
    changed
        .map(|(key, _)| Finding {
            code: "needs-restart",
            key: key.to_owned(),
            what: match key {
                "nats" => "the credentials in `[nats]` differ from those in use".to_owned(),
                key => format!("`{key}` differs from the value in use"),
            },
            problem: problem.to_owned(),
        })
        .collect()
}

fn refuse(findings: Vec<Finding>) -> Result<(), ReloadError> {
    let mut seen = BTreeSet::new();
    let findings = findings.into_iter().filter(|it| seen.insert((it.key.clone(), it.what.clone())));
    match findings.collect::<Vec<_>>() {
        findings if findings.is_empty() => Ok(()),
        findings => Err(ReloadError::Findings(findings)),
    }
}

/// A consumer that nobody reads any more stays: it remembers what is done.
fn note_consumer_left(part: &Part, by: Option<&Arc<Part>>) {
    let Some((stream, consumer)) = part.consumer() else { return };
    if by.and_then(|by| by.consumer()) == part.consumer() {
        return;
    }
    tracing::info!(
        plugin = part.plan.plugin,
        stream,
        consumer,
        remedy = format!("nats consumer rm {stream} {consumer}"),
        "the plugin's consumer stays on the server and remembers its place; the command removes it"
    );
}

impl From<StartError> for ReloadError {
    fn from(error: StartError) -> ReloadError {
        match error {
            StartError::Findings(findings) => ReloadError::Findings(findings),
            StartError::Other(error) => ReloadError::Other(error),
        }
    }
}
