//! `pelton run`: the daemon.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use pelton::{
    admin::Admin,
    host::{Host, StartError, Stopped, Unreachable},
    manifest::Manifest,
    telemetry::{Metrics, Readiness},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Exit, check, report, signals};

/// Run the plugins of a manifest until SIGINT or SIGTERM
///
/// The first signal drains: nothing new is taken, what is running finishes within [host] drain, and
/// everything is acknowledged. A second signal stops at once; what was running is delivered again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton run\n  \
    pelton run deploy/orders.toml --nats-url nats://nats:4222\n  \
    pelton run --admin 127.0.0.1:9464 --log info,pelton::guest=debug")]
pub struct Arguments {
    #[command(flatten)]
    manifest: check::Source,
    /// Serve /metrics, /livez and /readyz here, instead of at [admin] listen
    #[arg(long, value_name = "ADDRESS", env = "PELTON_ADMIN")]
    admin: Option<SocketAddr>,
    /// Fail when no server answers at the start, instead of waiting for one
    #[arg(long)]
    no_wait: bool,
}

/// How long answers of the admin server may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs the daemon.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(manifest) = arguments.manifest.load()? else {
        return Ok(Exit::Usage);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(daemon(manifest, &arguments));
    // After a second signal guests may still be running: they are not waited for.
    runtime.shutdown_background();
    exit
}

async fn daemon(manifest: Manifest, arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut signals = signals::Stop::listen()?;
    let stop = CancellationToken::new();
    let mut work = std::pin::pin!(serve(manifest, arguments, stop.clone()));
    tokio::select! {
        exit = &mut work => return exit,
        signal = signals.next() => tracing::info!(signal, "draining; a second signal stops at once"),
    }
    stop.cancel();
    tokio::select! {
        exit = work => exit,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once; what was running is delivered again");
            Ok(Exit::Failed)
        }
    }
}

/// Starts everything, runs until `stop`, ends everything.
async fn serve(
    manifest: Manifest,
    arguments: &Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    readiness.lacks("host", "starting");
    let address = arguments.admin.or(manifest.admin.as_ref().map(|admin| admin.listen));
    let answering = CancellationToken::new();
    let admin = match address {
        Some(address) => Some(Admin::bind(address, metrics.clone(), readiness.clone()).await?),
        None => None,
    };
    let admin = admin.map(|admin| {
        tracing::info!(address = %admin.address(), "serving /metrics, /livez and /readyz");
        tokio::spawn(admin.serve(answering.clone()))
    });
    let exit = handle(manifest, arguments, metrics, readiness, stop).await;
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
    manifest: Manifest,
    arguments: &Arguments,
    metrics: Metrics,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let unreachable = if arguments.no_wait { Unreachable::Fail } else { Unreachable::Wait };
    let started = tokio::select! {
        started = Host::start(manifest.clone(), unreachable, metrics, readiness) => started,
        () = stop.cancelled() => return Ok(Exit::Ok),
    };
    let host = match started {
        Ok(host) => host,
        Err(StartError::Findings(findings)) => {
            report::note(&check::findings(&manifest, findings));
            return Ok(Exit::Usage);
        }
        Err(StartError::Other(error)) => return Err(error),
    };
    tracing::info!(plugins = manifest.plugins.len(), host = manifest.host.name, "running");
    Ok(farewell(host.run(stop).await?))
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
