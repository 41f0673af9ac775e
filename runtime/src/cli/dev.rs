//! `pelton dev`: from sources to a running host that follows every save.
//!
//! It is `pelton run --watch` with a build in front of it, a server if there is
//! none, and every run shown. Nothing here decides how events are handled.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use pelton::{host::Witness, manifest::Manifest};

use self::{
    nats::Server,
    workshop::{Sight, Workshop},
};
use super::{
    Exit, check,
    reloads::Origin,
    report,
    run::{self, Beginning, Stop},
    signals::Hangup,
    watch::Snapshot,
};

mod nats;
mod show;
mod typed;
mod workshop;

/// What git leaves alone: the store and the log of a server that was started here.
const FOLDER: &str = ".pelton";

/// Build, run, and follow every save: one command from sources to handled events
///
/// Builds the plugins, starts a nats-server if none answers where the manifest says, runs the
/// host, and shows every event with what the handler made of it. On a save it builds what changed
/// and swaps it at an event boundary; what does not build is shown, and the old goes on.
///
/// A line that is typed is published: a subject, a space, the payload.
///
/// The server's streams are kept in `.pelton` beside the manifest, until --fresh.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dev\n  \
    pelton dev examples/orders --fresh\n  \
    echo 'orders.created {\"id\": 1}' | pelton dev")]
pub struct Arguments {
    #[command(flatten)]
    manifest: check::Source,
    /// The nats-server to start if none answers; by default the one on PATH
    #[arg(long, value_name = "PROGRAM", env = "PELTON_NATS_SERVER", hide_env_values = true)]
    nats_server: Option<PathBuf>,
    /// Forget what a server that was started here has stored
    #[arg(long)]
    fresh: bool,
    /// Install and fetch nothing when building
    #[arg(long)]
    offline: bool,
    /// Serve /metrics, /livez, /readyz and /reload here, instead of at [admin] listen
    #[arg(long, value_name = "ADDRESS", env = "PELTON_ADMIN")]
    admin: Option<SocketAddr>,
}

/// One `pelton dev`.
struct Dev {
    arguments: Arguments,
    workshop: Workshop,
    stop: Stop,
}

/// Runs until it is stopped.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    // A mistake is waited out; a manifest in another folder would never come here.
    if arguments.manifest.is_missing() {
        arguments.manifest.load();
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(run::until_stopped(|stop| {
        let workshop = Workshop {
            manifest: arguments.manifest.manifest.clone(),
            offline: arguments.offline,
            stop: stop.asked.clone(),
        };
        Dev { arguments, workshop, stop }.work()
    }));
    // What is typed is read on a thread that nothing wakes.
    runtime.shutdown_background();
    exit
}

impl Dev {
    async fn work(self) -> anyhow::Result<Exit> {
        // It comes when the terminal is closed: then nobody sees what runs here.
        let (mut hangup, asked) = (Hangup::listen()?, self.stop.asked.clone());
        tokio::spawn(async move {
            hangup.next().await;
            asked.cancel();
        });
        let Some(manifest) = self.settings().await else { return Ok(Exit::Ok) };
        let mut server = self.server(&manifest).await?;
        if let Some(server) = &server {
            let Server { address, log, .. } = server;
            report::note(&format!(
                "nats-server started at {address}; its log is {}\n",
                log.display()
            ));
        }
        let file = self.arguments.manifest.manifest.clone();
        let typed = tokio::spawn(typed::publish(manifest, file));
        let exit = tokio::select! {
            exit = Box::pin(self.sessions()) => exit,
            error = ended(&mut server) => Err(error),
        };
        typed.abort();
        if let Some(server) = server {
            server.stop().await;
        }
        exit
    }

    /// The manifest, as soon as it can be read; `None`: stopped before that.
    async fn settings(&self) -> Option<Manifest> {
        loop {
            let seen = self.workshop.look(&Sight::default()).await;
            match self.arguments.manifest.read_unbuilt(check::look()) {
                Ok(manifest) => return Some(manifest),
                Err(problems) => report::note(&problems),
            }
            self.wait(&seen).await?;
        }
    }

    async fn server(&self, manifest: &Manifest) -> anyhow::Result<Option<Server>> {
        let folder = manifest.folder.join(FOLDER);
        if self.arguments.fresh {
            nats::forget(&folder)?;
        }
        nats::ensure(&manifest.nats, self.arguments.nats_server.as_deref(), &folder).await
    }

    /// Builds and runs; when one of them cannot be, again after the next change.
    async fn sessions(&self) -> anyhow::Result<Exit> {
        loop {
            let seen = self.workshop.look(&Sight::default()).await;
            let built = self.workshop.build_all().await;
            if self.stop.asked.is_cancelled() {
                return Ok(Exit::Ok);
            }
            if built && let Some(exit) = self.session(seen.clone()).await? {
                return Ok(exit);
            }
            if self.wait(&seen).await.is_none() {
                return Ok(Exit::Ok);
            }
        }
    }

    /// Runs the host until the stop; `None`: it does not start as things are.
    async fn session(&self, seen: Sight) -> anyhow::Result<Option<Exit>> {
        let source = self.arguments.manifest.clone();
        let origin = Origin { source, admin: self.arguments.admin };
        let snapshot = Snapshot::take(&origin.source.manifest, &Snapshot::default());
        let manifest = match origin.read(check::look()) {
            Ok(manifest) => manifest,
            Err(problems) => {
                report::note(&problems);
                return Ok(None);
            }
        };
        let beginning = Beginning {
            manifest,
            origin,
            watched: Some(snapshot),
            no_wait: false,
            update_consumers: true,
            reload_on_hangup: false,
            witness: Some(Witness::new(|seen| {
                // A reader that is gone is noticed elsewhere.
                report::text(&show::run(seen)).ok();
            })),
        };
        let exit = tokio::select! {
            exit = Box::pin(run::serve(beginning, self.stop.clone())) => exit?,
            never = self.workshop.follow(seen) => match never {},
        };
        Ok(Some(exit).filter(|exit| *exit != Exit::Usage))
    }

    /// Waits for a change; `None`: stopped before that.
    async fn wait(&self, seen: &Sight) -> Option<()> {
        report::note("waiting for a change; Ctrl-C ends\n");
        tokio::select! {
            _ = self.workshop.changed(seen) => Some(()),
            () = self.stop.asked.cancelled() => None,
        }
    }
}

/// Waits until a server that was started here ends by itself.
async fn ended(server: &mut Option<Server>) -> anyhow::Error {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}
