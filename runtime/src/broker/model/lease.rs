//! Exclusive subscriptions of the model: one source at a time gets deliveries.
//!
//! A source that is connected holds what it has. One that is cut off, or gone
//! without a word, keeps it for a while; who closes gives it back at once. Who
//! takes over first gets what its predecessor left unsettled.

use std::time::Duration;

use tokio::time::Instant;

use super::{server::Server, wire::Key};

/// How long a source that is not heard of keeps its right.
pub const LEASE: Duration = Duration::from_secs(10);

/// The right to be the only source of a consumer.
#[derive(Debug)]
pub(super) struct Lease {
    holder: u64,
    /// Counts how often it was taken.
    pub(super) term: u64,
    /// Unless the holder is heard of before.
    lapses: Option<Instant>,
}

impl Lease {
    fn holds(&self, now: Instant) -> bool {
        self.lapses.is_none_or(|lapses| now < lapses)
    }
}

impl Server {
    /// The term in which the source `id` may get deliveries, taken over if it is
    /// free; or when to ask again.
    pub(super) fn tenure(&mut self, id: u64, key: &Key) -> Result<u64, Option<Instant>> {
        let now = Instant::now();
        if let Some(lease) = self.leases.get(key).filter(|lease| lease.holds(now)) {
            if lease.holder != id {
                return Err(lease.lapses);
            }
            // After a cut the holder begins anew: what was on its way to it comes
            // before anything else.
            if lease.lapses.is_none() {
                return Ok(lease.term);
            }
        }
        let term = self.number();
        self.leases.insert(key.clone(), Lease { holder: id, term, lapses: None });
        if let Some(consumer) = self.consumers.get_mut(key) {
            consumer.recall(now);
        }
        Ok(term)
    }

    /// Whether the right taken as `term` is still held.
    pub(super) fn holds(&self, key: &Key, term: u64) -> bool {
        let lease = self.leases.get(key).filter(|lease| lease.term == term);
        lease.is_some_and(|lease| lease.holds(Instant::now()))
    }

    /// The source is not heard of any more.
    pub(super) fn lose_touch(&mut self, id: u64) {
        let lapses = Instant::now() + LEASE;
        for lease in self.leases.values_mut().filter(|lease| lease.holder == id) {
            lease.lapses.get_or_insert(lapses);
        }
    }

    /// The source gives its right back.
    pub(super) fn give_back(&mut self, id: u64) {
        self.leases.retain(|_, lease| lease.holder != id);
    }
}
