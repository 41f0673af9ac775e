//! Signals: the first SIGINT or SIGTERM asks for a stop, a second one forces it;
//! SIGHUP asks for a reload.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop the process.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen; from here on the signals do not end the process by themselves.
    pub fn listen() -> anyhow::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// Waits for the next signal and names it. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// The signal that asks a daemon for a reload, and comes when a terminal is closed.
pub struct Hangup(Signal);

impl Hangup {
    /// Begins to listen; from here on SIGHUP does not end the process, not even when
    /// it comes from a terminal that is gone.
    pub fn listen() -> anyhow::Result<Hangup> {
        Ok(Hangup(signal(SignalKind::hangup()).context("listen for SIGHUP")?))
    }

    /// Waits for the next one; several at once are one. Cancel-safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
