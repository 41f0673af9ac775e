//! A whole manifest without a server: its plugins, in the real sandbox, on the
//! broker in memory.
//!
//! [`Loaded::load`] does once what takes long; [`Loaded::start`] then costs next to
//! nothing, so that each test may have a [`Local`] of its own. It runs on a runtime
//! of any kind: where time is paused, backoffs and sleeps take no time (but see
//! [`Local::outside`]). No streams,
//! consumers or dead letters of a server are touched, and limits of streams do
//! not count. Nothing here reads files or prints.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, anyhow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{recorder::Recorder, watched::Watched};
use super::{Finding, Provision, StartError, Stopped, plan};
use crate::{
    broker::{Broker as _, PublishError, Published, Subscription, model},
    dispatch::{Admission, Dispatcher, Drained, Plan, Sources},
    manifest::{self, Manifest},
    plugin::{CompilationListener, Determinism, Engine, EngineConfig, Fitting, Outside, Plugin},
    telemetry::Metrics,
};

pub use self::{
    input::{Input, Taken},
    record::{DeadLetter, Emitted, Record, Recording, Run, Told},
};

mod input;
mod record;
mod recorder;
mod watched;

/// Instances that may run at once, over all hosts that share the engine, unless
/// the manifest asks for more.
const INSTANCES: usize = 1_024;

/// When the streams of a local host were made, in nanoseconds since 1970: always
/// the same, so that the same events have the same ids.
const STREAMS_MADE: i64 = 1_700_000_000_000_000_000;

/// The components of a manifest, compiled and ready for any number of hosts.
/// Cheap to clone; hosts on several threads may share it.
#[derive(Clone)]
pub struct Loaded {
    manifest: Arc<Manifest>,
    engine: Engine,
    plugins: BTreeMap<String, Arc<Plugin>>,
    metrics: Metrics,
}

/// What one host does otherwise than the manifest says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The manifest to run: a changed copy of the one that was loaded, with other
    /// limits, configuration, retries, or fewer plugins. Which components its
    /// plugins name is not looked at. `None`: the one that was loaded.
    pub manifest: Option<Manifest>,
    /// What the broker's clock shows at the start, in milliseconds since 1970: the
    /// time of events that are given none. It goes on with tokio's clock, paused
    /// or not. `None`: the clock of this machine.
    pub start_ms: Option<u64>,
    /// What becomes of what the plugins do.
    pub recording: Recording,
    /// Whether events are forgotten once all plugins have handled them. Then memory
    /// does not grow with their number, but an event under an id that was there
    /// before is no duplicate.
    pub forget_handled: bool,
    /// Whether outputs have the time of the event that they were returned for, and
    /// not that of their publication. Then no time depends on how long a run took.
    pub times_from_cause: bool,
    /// Whether clocks and random numbers of runs follow from the event alone, for
    /// plugins where the manifest does not say (`deterministic`).
    pub deterministic: bool,
    /// The clock and the seed of those that are deterministic.
    pub determinism: Determinism,
}

/// A manifest that runs in this process. Dropping it ends all runs at once.
pub struct Local {
    broker: model::Broker,
    record: Record,
    tasks: JoinSet<Drained>,
    stop: CancellationToken,
    /// Cancelled when a plugin's task has ended, for whatever reason.
    ended: CancellationToken,
    outside: Outside,
}

impl Loaded {
    /// Compiles, or takes from the cache, every component of the manifest; what is
    /// compiled is told to `compilations`, here and when it is loaded again.
    ///
    /// # Errors
    /// If the sandbox does not work here, or components cannot be used: all of them.
    pub async fn load(
        manifest: &Manifest,
        compilations: CompilationListener,
    ) -> Result<Loaded, StartError> {
        let config = plan::engine(manifest);
        let max_instances = config.max_instances.max(INSTANCES);
        let engine = Engine::new(&EngineConfig { max_instances, compilations, ..config });
        Loaded::load_into(engine.context("start the sandbox")?, manifest).await
    }

    /// The same for a manifest that has changed, in the same engine: hosts of the
    /// old one go on.
    ///
    /// # Errors
    /// If components cannot be used: all of them.
    pub async fn load_again(&self, manifest: &Manifest) -> Result<Loaded, StartError> {
        Loaded::load_into(self.engine.clone(), manifest).await
    }

    async fn load_into(engine: Engine, manifest: &Manifest) -> Result<Loaded, StartError> {
        let plugins = super::load_all(&engine, manifest).await?;
        let plugins = plugins.into_iter().map(|plugin| (plugin.name().to_owned(), plugin.into()));
        Ok(Loaded {
            manifest: Arc::new(manifest.clone()),
            engine,
            plugins: plugins.collect(),
            metrics: Metrics::new(),
        })
    }

    /// The manifest as it was loaded, to be copied and changed for [`Options`].
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Starts a host of its own on an empty broker. To be called within the runtime
    /// that runs it.
    ///
    /// # Errors
    /// If [`Options::manifest`] has a plugin that was not loaded, or a plugin cannot
    /// read its stream: all that is wrong.
    pub async fn start(&self, options: Options) -> Result<Local, StartError> {
        let manifest = options.manifest.as_ref().unwrap_or(&self.manifest);
        let (provision, streams) = Provision::assumed(manifest);
        let broker = model::Broker::starting_at(options.start_ms.unwrap_or_else(now_ms));
        for (name, stream) in &streams {
            broker.make_stream_at(name, stream, STREAMS_MADE);
        }
        let record = Record::new(options.recording.clone(), &manifest.dead_letters.stream);
        let outside = Outside::default();
        let parts = self.parts((manifest, &options), &provision, (&record, &outside))?;
        let host = &manifest.host;
        let admission = Admission::new(host.max_in_flight, host.max_in_flight_bytes);
        let mut local = Local {
            broker,
            record,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            outside,
        };
        local.begin(parts, &options, &admission, &self.metrics).await?;
        if options.forget_handled {
            local.broker.forget_handled();
        }
        Ok(local)
    }

    fn parts(
        &self,
        (manifest, options): (&Manifest, &Options),
        provision: &Provision,
        (record, outside): (&Record, &Outside),
    ) -> Result<Vec<Part>, StartError> {
        let Options { deterministic, determinism, .. } = options;
        let (deterministic, determinism) = (*deterministic, *determinism);
        let outside = Some(outside.clone());
        let fitting = Fitting { log: None, deterministic, determinism, outside };
        let part = |(name, spec): (&String, &manifest::Plugin)| {
            let loaded = self.plugins.get(name);
            let loaded = loaded.ok_or_else(|| anyhow!("plugin `{name}` was not loaded"))?;
            let plugin = loaded.fitted(spec, Fitting { log: record.log(), ..fitting.clone() });
            let subscription = plan::subscription(manifest, name, spec);
            let plan = Plan { seed: 0, ..plan::dispatch(manifest, spec, &plugin, provision) };
            Ok(Part { plugin, subscription, plan })
        };
        manifest.plugins.iter().map(part).collect()
    }
}

/// One plugin that is ready to start.
struct Part {
    plugin: Plugin,
    subscription: Subscription,
    plan: Plan,
}

impl Local {
    /// Binds every plugin to what it reads, then lets all of them run.
    async fn begin(
        &mut self,
        parts: Vec<Part>,
        options: &Options,
        admission: &Admission,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let (mut bound, mut findings) = (Vec::new(), Vec::new());
        for part in parts {
            let key = format!("plugins.{}.subscribe", part.plan.plugin);
            match self.broker.subscribe(part.subscription.clone()).await {
                Ok(source) => bound.push((part, source)),
                Err(error) => findings.push(Finding::at(key, error)),
            }
        }
        if !findings.is_empty() {
            return Err(StartError::Findings(findings));
        }
        for (Part { plugin, plan, .. }, live) in bound {
            let broker = Recorder::new(self.broker.clone(), &plan.plugin, &self.record);
            let broker = broker.with_times_from_cause(options.times_from_cause);
            let handler = Watched::new(plugin, &self.record, metrics);
            let metrics = metrics.plugin(&plan.plugin);
            let dispatcher = Dispatcher::new(broker, handler, plan, admission.clone(), metrics);
            let (stop, ended) = (self.stop.clone(), self.ended.clone().drop_guard());
            self.tasks.spawn(async move {
                let _ended = ended;
                dispatcher.run(Sources { live, replays: None }, stop).await
            });
        }
        Ok(())
    }

    /// Hands an event to the plugins that want it. It is taken when this returns,
    /// and handled afterwards.
    ///
    /// # Errors
    /// If its stream refuses it: it is larger than `max-message-size`.
    pub fn publish(&self, input: &Input) -> Result<Taken, PublishError> {
        let offered = self.broker.offer(&input.offer())?;
        let streams =
            offered.streams.into_iter().filter(|name| name != super::provision::ELSEWHERE);
        Ok(Taken {
            streams: streams.collect(),
            listeners: offered.listeners,
            is_duplicate: offered.published == Published::Duplicate,
        })
    }

    /// Gives the next event of a stream this sequence, counted from 1, unless the
    /// stream is beyond it.
    pub fn skip_to(&self, stream: &str, sequence: u64) {
        self.broker.skip_to(stream, sequence);
    }

    /// Waits until every event is settled, those that the plugins have published
    /// included: handled, or in the dead letters; or until a plugin has ended, which
    /// [`Local::stop`] then tells.
    ///
    /// It may last for ever: where plugins feed each other in a circle, or an ordered
    /// one holds its key up until an event is handled. Where time is paused, a limit
    /// in tokio's time works.
    pub async fn idle(&self) {
        self.until(model::Broker::is_idle).await;
    }

    /// Waits until less than `events` events and `bytes` bytes are held in streams
    /// and in the hands of plugins, and an event to `subject` would be dropped by
    /// none: then there is room for one more.
    pub async fn room(&self, subject: &str, (events, bytes): (usize, u64)) {
        self.until(|broker| {
            let (held_events, held_bytes) = broker.held();
            held_events < events && held_bytes < bytes && broker.has_room(subject)
        })
        .await;
    }

    async fn until(&self, is_so: impl Fn(&model::Broker) -> bool) {
        loop {
            // Before the look: what changes after it is not missed.
            let changed = self.broker.next_change();
            if is_so(&self.broker) {
                return;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.ended.cancelled() => return,
            }
        }
    }

    /// The requests of its plugins to servers elsewhere. Where time is paused, it has
    /// to go on while any is under way: nothing else waits for such a server.
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// What plugins have published so far, in the order in which they did. Empty if
    /// it is [`Recording::Handed`] on.
    pub fn outputs(&self) -> Vec<Emitted> {
        self.record.outputs()
    }

    /// The dead letters so far, in order. Empty if they are [`Recording::Handed`] on.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.record.dead_letters()
    }

    /// Every run of a handler that has ended so far, in the order of their ends.
    /// Empty if they are [`Recording::Handed`] on.
    pub fn runs(&self) -> Vec<Run> {
        self.record.runs()
    }

    /// What guests have logged so far, in order. Empty if what they do is
    /// [`Recording::Handed`] on: then their log is the host's.
    pub fn logs(&self) -> Vec<crate::plugin::LogLine> {
        self.record.logs()
    }

    /// Events that plugins did not get, because the queue of one that listens over
    /// core NATS was full: by plugin, without those that lost none.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        self.broker.dropped().into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// Takes nothing more, lets what runs finish within the manifest's drain time,
    /// and ends.
    ///
    /// # Errors
    /// If a plugin's dispatcher broke: that is a fault of the host.
    pub async fn stop(mut self) -> anyhow::Result<Stopped> {
        self.stop.cancel();
        let mut stopped = Stopped::default();
        while let Some(ended) = self.tasks.join_next().await {
            if let Drained::Left(n) = ended.context("a dispatcher failed")? {
                stopped.unfinished += n;
            }
        }
        Ok(stopped)
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
