//! The thread on which subscriptions of core NATS are read.
//!
//! The client hands up what came in one go, up to [`CAPACITY`] messages, and drops
//! what is beyond without saying how much. A task that it wakes on its own thread
//! stands behind it until it pauses, and the other threads may be busy with
//! guests; a thread of its own is given its turn by the operating system.

use std::{sync::OnceLock, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::SetupError;

/// Messages that may wait in the client for a reader. Memory is taken as they
/// come; a reader needs about a microsecond for each.
pub(super) const CAPACITY: usize = 1 << 20;

/// Started when the first subscription is read; ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Readers {
    thread: OnceLock<(Handle, DropGuard)>,
}

impl Readers {
    /// Where readers are to be spawned.
    pub(super) fn handle(&self) -> Result<Handle, SetupError> {
        if let Some((handle, _)) = self.thread.get() {
            return Ok(handle.clone());
        }
        let started = start().map_err(|error| SetupError {
            code: "nats-api",
            what: "the thread that reads core NATS".to_owned(),
            problem: format!("it does not start: {error}; raise the limit of threads"),
        })?;
        // Of two that start at once, the later one ends its thread again.
        Ok(self.thread.get_or_init(|| started).0.clone())
    }
}

fn start() -> std::io::Result<(Handle, DropGuard)> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
    let ended = end.clone();
    thread::Builder::new()
        .name("pelton-core".to_owned())
        .spawn(move || runtime.block_on(ended.cancelled()))?;
    Ok((handle, end.drop_guard()))
}
