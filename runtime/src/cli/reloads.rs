//! What makes a running host take its manifest anew, and what is told of it.
//!
//! One reload at a time; each reads the files when its turn comes, so the last
//! one sees the newest.

use std::{convert::Infallible, net::SocketAddr};

use pelton::{
    admin::{Outcome, ReloadAnswer},
    host::{ReloadError, Reloaded, Reloader},
    manifest::{Admin, Look, Manifest},
};
use tokio::sync::{mpsc, oneshot};

use super::{check, signals, watch::Watch};

/// Which manifest, with what the command line says instead of it.
#[derive(Debug, Clone)]
pub struct Origin {
    pub source: check::Source,
    pub admin: Option<SocketAddr>,
}

/// Everything that asks for a reload.
pub struct Triggers {
    /// `None`: nobody sends it for that.
    pub hangup: Option<signals::Hangup>,
    pub requests: mpsc::Receiver<oneshot::Sender<ReloadAnswer>>,
    pub watch: Option<Watch>,
}

/// Who asked, and who waits for the answer.
struct Trigger {
    by: &'static str,
    answer: Option<oneshot::Sender<ReloadAnswer>>,
}

impl Origin {
    /// The manifest, complete and valid, or its problems, for people.
    pub fn read(&self, look: Look) -> Result<Manifest, String> {
        let mut manifest = self.source.read(look)?;
        if let Some(listen) = self.admin {
            manifest.admin = Some(Admin { listen });
        }
        Ok(manifest)
    }
}

impl Triggers {
    /// Waits until somebody asks. Cancel-safe.
    async fn next(&mut self) -> Trigger {
        let Triggers { hangup, requests, watch } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.next().await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hangup => Trigger { by: "SIGHUP", answer: None },
            Some(answer) = requests.recv() => {
                Trigger { by: "POST /reload", answer: Some(answer) }
            }
            () = changed => Trigger { by: "changed files", answer: None },
        }
    }

    /// Tells those who ask that there is no host to reload yet. Signals and
    /// files wait until there is.
    pub async fn turn_away(&mut self) -> Infallible {
        loop {
            let Some(answer) = self.requests.recv().await else {
                return std::future::pending().await;
            };
            answer.send(ReloadAnswer::unavailable("the host is still starting")).ok();
        }
    }

    /// Reloads whenever somebody asks.
    pub async fn serve(mut self, origin: Origin, reloader: Reloader) -> Infallible {
        loop {
            let Trigger { by, answer } = self.next().await;
            tracing::info!(by, "reloading");
            if let Some(watch) = &mut self.watch {
                watch.about_to_load(&origin.source.manifest);
            }
            let outcome = reload(&origin, &reloader).await;
            tell(by, &outcome);
            if let Some(answer) = answer {
                // Who asked may have gone; the log has it.
                answer.send(outcome).ok();
            }
        }
    }
}

async fn reload(origin: &Origin, reloader: &Reloader) -> ReloadAnswer {
    let reading = origin.clone();
    let read = tokio::task::spawn_blocking(move || reading.read(Look::Plain)).await;
    let manifest = match read {
        Ok(Ok(manifest)) => manifest,
        Ok(Err(problems)) => {
            reloader.refused();
            return ReloadAnswer::refused(problems);
        }
        Err(error) => {
            reloader.refused();
            return ReloadAnswer::refused(format!("the manifest cannot be read: {error}"));
        }
    };
    match reloader.reload(manifest.clone()).await {
        Ok(done) => answer(done),
        Err(ReloadError::Findings(findings)) => {
            ReloadAnswer::refused(check::findings(&manifest, findings, Look::Plain))
        }
        Err(error @ ReloadError::Stopping) => ReloadAnswer::unavailable(error.to_string()),
        Err(ReloadError::Other(error)) => ReloadAnswer::unavailable(format!("{error:#}")),
    }
}

fn answer(done: Reloaded) -> ReloadAnswer {
    let Reloaded { swapped, added, removed, untouched, unfinished } = done;
    let outcome = if unfinished.is_empty() { Outcome::Reloaded } else { Outcome::Unfinished };
    ReloadAnswer {
        outcome,
        swapped,
        added,
        removed,
        untouched,
        unfinished,
        problems: String::new(),
    }
}

fn tell(by: &str, answer: &ReloadAnswer) {
    let ReloadAnswer { outcome, swapped, added, removed, untouched, unfinished, problems } = answer;
    match outcome {
        Outcome::Reloaded => {
            tracing::info!(by, ?swapped, ?added, ?removed, ?untouched, "reloaded");
        }
        Outcome::Unfinished => tracing::error!(
            by,
            ?swapped,
            ?added,
            ?removed,
            ?untouched,
            ?unfinished,
            "reloaded, but some plugins do not run as the manifest says"
        ),
        Outcome::Refused | Outcome::Unavailable => {
            tracing::error!(by, problems, "not reloaded; everything runs as before");
        }
    }
}
