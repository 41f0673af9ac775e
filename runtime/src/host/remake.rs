//! Streams of the manifest that a server came back without: one that was kept in
//! memory, one of a server with another store. They are made again after a
//! reconnect, as at the start.
//!
//! Not what somebody removes while the server runs: that may be meant.

use std::time::Duration;

use tokio::{
    task::AbortHandle,
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use super::provision::{Mode, Provision};
use crate::{broker::nats::Broker, manifest::Manifest};

/// How often the host looks whether it has reconnected.
const LOOK: Duration = Duration::from_millis(250);
/// How often the server is asked again when JetStream is not there yet.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks for reconnects, and after each for what is missing.
pub(super) struct Remaker {
    broker: Broker,
    seen: u64,
    look: Interval,
    /// The look that was begun last.
    last: Option<AbortHandle>,
}

impl Remaker {
    pub(super) fn new(broker: Broker) -> Remaker {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Remaker { seen: broker.reconnects(), broker, look, last: None }
    }

    /// Waits for the next reconnect. Cancel-safe.
    pub(super) async fn reconnected(&mut self) {
        loop {
            self.look.tick().await;
            let now = self.broker.reconnects();
            if now != self.seen && self.broker.is_connected() {
                self.seen = now;
                return;
            }
        }
    }

    /// Makes what `manifest` needs and the server does not have, in the background.
    pub(super) fn make(&mut self, manifest: Manifest) {
        self.stop();
        let task = tokio::spawn(make(self.broker.clone(), manifest));
        self.last = Some(task.abort_handle());
    }

    fn stop(&mut self) {
        if let Some(last) = self.last.take() {
            last.abort();
        }
    }
}

impl Drop for Remaker {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn make(broker: Broker, manifest: Manifest) {
    while broker.is_connected() {
        match Provision::survey(&broker, &manifest, Mode::Make).await {
            Ok(provision) => {
                for finding in provision.findings() {
                    tracing::warn!(key = finding.key, "after the reconnect: {finding}");
                }
                return;
            }
            Err(error) => tracing::debug!(%error, "streams cannot be looked at yet"),
        }
        sleep(PAUSE).await;
    }
}
