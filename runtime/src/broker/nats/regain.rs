//! What a former holder left unsettled, gathered before anything is handed up,
//! so that it comes first and in the order of the stream.
//!
//! The server hands out again what is due before what is new, but in the order
//! in which it became due. Pure: it is told what comes and what time it is.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// How often the server is asked how much there still is to gather.
pub(super) const RECHECK: Duration = Duration::from_secs(1);

/// Deliveries `D` that are gathered.
#[derive(Debug)]
pub(super) struct Regain<D> {
    /// How many are unsettled and not in hand.
    missing: usize,
    /// What has a higher sequence is new.
    newest: u64,
    gathered: BTreeMap<u64, D>,
    has_new: bool,
    /// Gathering ends then, whatever is missing: the first one waits since.
    give_up_at: Option<Instant>,
    patience: Duration,
}

impl<D> Regain<D> {
    pub(super) fn new(missing: usize, newest: u64, patience: Duration) -> Regain<D> {
        Regain {
            missing,
            newest,
            gathered: BTreeMap::new(),
            has_new: false,
            give_up_at: None,
            patience,
        }
    }

    /// Gives back the earlier delivery of the same message, if there is one: its
    /// ack wait was over, and it is the later one that is to be answered.
    pub(super) fn came(&mut self, sequence: u64, delivery: D, now: Instant) -> Option<D> {
        self.has_new |= sequence > self.newest;
        self.give_up_at.get_or_insert(now + self.patience);
        self.gathered.insert(sequence, delivery)
    }

    /// Nothing can come now: the time until it is given up does not run.
    pub(super) fn held_up(&mut self, now: Instant) {
        self.give_up_at = self.give_up_at.map(|_| now + self.patience);
    }

    /// How many were gathered.
    pub(super) fn len(&self) -> usize {
        self.gathered.len()
    }

    /// How many are still to come.
    pub(super) fn still_missing(&self) -> usize {
        self.missing.saturating_sub(self.gathered.len())
    }

    /// The server says that so many are unsettled that are not in hand, those
    /// gathered among them.
    pub(super) fn unsettled(&mut self, n: usize) {
        self.missing = self.missing.min(n);
    }

    /// Whether all is here that will come. Something new shows it, too: the
    /// server hands out again first.
    pub(super) fn is_done(&self, now: Instant) -> bool {
        self.has_new
            || self.gathered.len() >= self.missing
            || self.give_up_at.is_some_and(|at| at <= now)
    }

    /// All that was gathered, in the order of the stream.
    pub(super) fn into_deliveries(self) -> impl Iterator<Item = D> {
        self.gathered.into_values()
    }
}

#[cfg(test)]
mod tests;
