//! Waiting until the host has run what it was asked to run again.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Act, Asked, DeadLetters, Entry, Filter};
use crate::broker::{SetupError, replays_durable};

/// How often the server is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// After this time without a sign of a host there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a host was asked to run again in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    id: String,
    plugins: BTreeSet<String>,
    /// The first and the last request.
    requests: Option<(u64, u64)>,
    /// The last dead letter before it.
    after: u64,
    /// How many events were asked for.
    pub size: u64,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Everything was run.
    All {
        /// How many are in the dead letters again.
        back: u64,
    },
    /// No host runs these plugins now.
    NoHost {
        /// The plugins.
        plugins: Vec<String>,
        /// How many events wait for them.
        left: u64,
    },
    /// The wait was ended.
    Interrupted {
        /// How many events are still to be run.
        left: u64,
    },
}

/// How far the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many events are still to be run, at most.
    pub left: u64,
}

impl Batch {
    pub(super) fn new(act: &Act, after: u64) -> Batch {
        let id = match act {
            Act::Replay(errand) => errand.batch.clone(),
            Act::SendTo(_) | Act::Drop => String::new(),
        };
        Batch { id, after, ..Batch::default() }
    }

    pub(super) fn asked(&mut self, asked: &Asked) {
        let Asked { plugin, request, .. } = asked;
        self.size += 1;
        let (first, last) = self.requests.unwrap_or((*request, *request));
        self.requests = Some((first.min(*request), last.max(*request)));
        if !self.plugins.contains(plugin) {
            self.plugins.insert(plugin.clone());
        }
    }
}

impl DeadLetters {
    /// Waits until every event of `batch` has been run, or `stop`, or no host is
    /// there to do it. `tell` is called as it goes on.
    ///
    /// # Errors
    /// If the server does not say how far it is.
    pub async fn wait(
        &self,
        batch: &Batch,
        stop: &CancellationToken,
        mut tell: impl FnMut(Waiting),
    ) -> Result<Settled, SetupError> {
        let (mut left, mut seen_at) = (batch.size, Instant::now());
        loop {
            let now = self.left(batch).await?;
            if now == 0 {
                let back = self.back(batch).await?;
                return Ok(Settled::All { back });
            }
            let idle = self.idle(batch).await?;
            if now != left || idle.is_empty() {
                seen_at = Instant::now();
            }
            left = now;
            tell(Waiting { left });
            if seen_at.elapsed() >= PATIENCE {
                return Ok(Settled::NoHost { plugins: idle, left });
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(Settled::Interrupted { left }),
                () = sleep(POLL) => {}
            }
        }
    }

    /// How many are still to be run: exact at 0, an upper bound above.
    async fn left(&self, batch: &Batch) -> Result<u64, SetupError> {
        let Some((first, last)) = batch.requests else { return Ok(0) };
        let (stream, prefix) = (&self.settings.replays, &self.settings.replays_prefix);
        let next = self.broker.stored_from(stream, first, &format!("{prefix}.>")).await?;
        if next.is_none_or(|next| next.sequence > last) {
            return Ok(0);
        }
        let state = self.broker.stream_state(stream).await?;
        Ok(state.map_or(0, |state| state.messages).clamp(1, batch.size.max(1)))
    }

    /// The plugins that have something to run, and that no host runs.
    async fn idle(&self, batch: &Batch) -> Result<Vec<String>, SetupError> {
        let mut idle = Vec::new();
        let mut is_any_at_work = false;
        for plugin in &batch.plugins {
            let durable = replays_durable(&self.host, plugin);
            let listening = self.broker.listening(&self.settings.replays, &durable).await?;
            match listening {
                Some(found) if found.unsettled > 0 => is_any_at_work = true,
                Some(found) if found.waiting == 0 => {}
                Some(found) if found.open > 0 => is_any_at_work = true,
                Some(_) | None => idle.push(plugin.clone()),
            }
        }
        Ok(if is_any_at_work { Vec::new() } else { idle })
    }

    /// How many events of the batch are in the dead letters again.
    async fn back(&self, batch: &Batch) -> Result<u64, SetupError> {
        let last = self.state().await?.map_or(0, |state| state.last);
        let scope = self.scope(&Filter::default(), batch.after.saturating_add(1), last);
        let (mut reading, mut back) = (self.broker.read(scope), 0);
        while let Some(stored) = reading.next().await? {
            let batch_of = Entry::new(stored).letter.and_then(|letter| letter.batch);
            back += u64::from(batch_of.as_ref() == Some(&batch.id));
        }
        Ok(back)
    }
}
