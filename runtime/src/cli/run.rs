//! `pelton run`: the daemon.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use pelton::{
    admin::Admin,
    host::{Activity, Host, Options, StartError, Stopped, Unreachable, Witness},
    manifest::Manifest,
    telemetry::{Metrics, Readiness},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Exit, check,
    reloads::{Origin, Triggers},
    report, signals,
    watch::{Snapshot, Watch},
};

/// Run the plugins of a manifest until SIGINT or SIGTERM
///
/// The first signal drains: nothing new is taken, what is running finishes within [host] drain, and
/// everything is acknowledged. A second signal stops at once; what was running is delivered again.
/// SIGHUP and `pelton reload` make it take a changed manifest and changed components, without losing
/// or repeating an event; plugins that did not change are not touched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton run\n  \
    pelton run deploy/orders.toml --nats-url nats://nats:4222\n  \
    pelton run --watch\n  \
    pelton run --admin 127.0.0.1:9464 --log info,pelton::guest=debug")]
pub struct Arguments {
    #[command(flatten)]
    manifest: check::Source,
    /// Serve /metrics, /livez, /readyz and /reload here, instead of at [admin] listen
    #[arg(long, value_name = "ADDRESS", env = "PELTON_ADMIN")]
    admin: Option<SocketAddr>,
    /// Fail when no server answers at the start, instead of waiting for one
    #[arg(long)]
    no_wait: bool,
    /// Reload whenever the manifest or a component changes on disk
    #[arg(long)]
    watch: bool,
    /// Bring durable consumers that differ from the manifest to it, instead of refusing to start;
    /// only subjects, ack wait and limits: they keep their place in the stream
    #[arg(long)]
    update_consumers: bool,
}

/// Requests for a reload that wait for their turn.
const WAITING_RELOADS: usize = 4;
/// How long answers of the admin server may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the daemon begins with.
pub struct Beginning {
    pub manifest: Manifest,
    pub origin: Origin,
    /// The files that make it reload when they are no longer like this.
    pub watched: Option<Snapshot>,
    /// Whether to fail when no server answers.
    pub no_wait: bool,
    pub update_consumers: bool,
    /// Who is told of every run.
    pub witness: Option<Witness>,
    /// Whether SIGHUP asks for a reload.
    pub reload_on_hangup: bool,
}

/// Runs the daemon.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let origin = Origin { source: arguments.manifest.clone(), admin: arguments.admin };
    // Before the manifest is read: what changes after that is a change.
    let snapshot = Snapshot::take(&origin.source.manifest, &Snapshot::default());
    let manifest = match origin.read(check::look()) {
        Ok(manifest) => manifest,
        Err(problems) => {
            report::note(&problems);
            return Ok(Exit::Usage);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let beginning = Beginning {
        manifest,
        origin,
        watched: arguments.watch.then_some(snapshot),
        no_wait: arguments.no_wait,
        update_consumers: arguments.update_consumers,
        witness: None,
        reload_on_hangup: true,
    };
    let exit = runtime.block_on(until_stopped(|stop| serve(beginning, stop)));
    // After a second signal guests may still be running: they are not waited for.
    runtime.shutdown_background();
    exit
}

/// The end of `work`, as it is asked for, and what there is to end.
#[derive(Clone, Default)]
pub struct Stop {
    /// Cancelled by the first signal.
    pub asked: CancellationToken,
    /// The host, once it takes events.
    host: watch::Sender<Option<Activity>>,
}

impl Stop {
    fn running(&self) -> Option<usize> {
        self.host.borrow().as_ref().map(Activity::running)
    }

    /// What is said at the first signal.
    fn first_words(&self) -> &'static str {
        match self.running() {
            Some(_) => "draining; a second signal stops at once",
            None => "stopping; no handler takes events yet",
        }
    }

    /// What is said when the second one has ended it.
    fn last_words(&self) -> &'static str {
        match self.running() {
            None | Some(0) => "stopped at once; no handler was running",
            Some(_) => {
                "stopped at once; what was running is delivered again from streams, and lost from core NATS"
            }
        }
    }
}

/// Does `work` until it ends or a signal asks for a stop; a second one does not
/// wait for its end.
pub async fn until_stopped<F: Future<Output = anyhow::Result<Exit>>>(
    work: impl FnOnce(Stop) -> F,
) -> anyhow::Result<Exit> {
    let mut signals = signals::Stop::listen()?;
    let stop = Stop::default();
    let mut work = Box::pin(work(stop.clone()));
    tokio::select! {
        exit = &mut work => return exit,
        signal = signals.next() => {
            tracing::info!(signal, running = stop.running(), "{}", stop.first_words());
        }
    }
    stop.asked.cancel();
    tokio::select! {
        // Borrowed: what runs is counted before it is dropped.
        exit = &mut work => exit,
        signal = signals.next() => {
            tracing::warn!(signal, running = stop.running(), "{}", stop.last_words());
            Ok(Exit::Failed)
        }
    }
}

/// Starts everything, runs until `stop`, ends everything.
pub async fn serve(beginning: Beginning, stop: Stop) -> anyhow::Result<Exit> {
    let Beginning { manifest, origin, watched, no_wait, update_consumers, witness, .. } = beginning;
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    readiness.lacks("host", "starting");
    let (reloads, requests) = mpsc::channel(WAITING_RELOADS);
    let watch = watched.map(Watch::start);
    let hangup = beginning.reload_on_hangup.then(signals::Hangup::listen).transpose()?;
    let triggers = Triggers { hangup, requests, watch };
    let answering = CancellationToken::new();
    let admin = match &manifest.admin {
        Some(admin) => {
            Some(Admin::bind(admin.listen, metrics.clone(), readiness.clone(), reloads).await?)
        }
        None => None,
    };
    let admin = admin.map(|admin| {
        tracing::info!(address = %admin.address(), "serving /metrics, /livez and /readyz");
        tokio::spawn(admin.serve(answering.clone()))
    });
    let unreachable = if no_wait { Unreachable::Fail } else { Unreachable::Wait };
    let incremental = witness.is_some();
    let options = Options { unreachable, update_consumers, witness, incremental };
    let starting = Host::start(manifest.clone(), options, metrics, readiness);
    let exit = handle((manifest, origin), Box::pin(starting), triggers, stop).await;
    answering.cancel();
    if let Some(mut admin) = admin {
        // A client that sends half a request must not keep the host from ending.
        match timeout(LAST_ANSWERS, &mut admin).await {
            Ok(served) => served??,
            Err(_) => admin.abort(),
        }
    }
    exit
}

async fn handle(
    (manifest, origin): (Manifest, Origin),
    starting: impl Future<Output = Result<Host, StartError>>,
    mut triggers: Triggers,
    stop: Stop,
) -> anyhow::Result<Exit> {
    let started = tokio::select! {
        started = starting => started,
        never = triggers.turn_away() => match never {},
        () = stop.asked.cancelled() => return Ok(Exit::Ok),
    };
    let host = match started {
        Ok(host) => host,
        Err(StartError::Findings(findings)) => {
            report::note(&check::findings(&manifest, findings, check::look()));
            return Ok(Exit::Usage);
        }
        Err(StartError::Other(error)) => return Err(error),
    };
    tracing::info!(plugins = manifest.plugins.len(), host = manifest.host.name, "running");
    let reloads = triggers.serve(origin, host.reloader());
    stop.host.send_replace(Some(host.activity()));
    tokio::select! {
        stopped = Box::pin(host.run(stop.asked)) => Ok(farewell(stopped?)),
        never = reloads => match never {},
    }
}

fn farewell(stopped: Stopped) -> Exit {
    match stopped.unfinished {
        0 => {
            tracing::info!("stopped; everything that was in flight is settled");
            Exit::Ok
        }
        unfinished => {
            tracing::warn!(
                unfinished,
                "stopped; unfinished events of streams are delivered again, those of core NATS are lost"
            );
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_before_anything_runs_speaks_of_nothing_that_did() {
        let stop = Stop::default();
        assert_eq!(stop.first_words(), "stopping; no handler takes events yet");
        assert_eq!(stop.last_words(), "stopped at once; no handler was running");
    }
}
