//! Which attempt at an event is under way: told apart from its deliveries.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How often an event was delivered, and which attempt is under way.
#[derive(Debug)]
pub(super) struct Tries {
    delivered: AtomicU32,
    attempt: AtomicU32,
    /// Whether the attempt is to be noted when it begins.
    is_unnoted: AtomicBool,
}

impl Tries {
    /// Those of a first delivery.
    pub(super) fn first() -> Tries {
        Tries {
            delivered: AtomicU32::new(1),
            attempt: AtomicU32::new(1),
            is_unnoted: AtomicBool::new(false),
        }
    }

    /// What the notes of earlier deliveries say.
    pub(super) fn begin(&self, delivered: u32, attempt: u32) {
        self.delivered.store(delivered, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// Whether notes of earlier deliveries were looked at.
    pub(super) fn was_redelivered(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) > 1
    }

    /// Counts one more attempt within the same delivery, and says which it is.
    pub(super) fn next_attempt(&self) -> u32 {
        self.attempt.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Says whether the attempt is to be noted when its run begins.
    pub(super) fn mark_unnoted(&self, is_unnoted: bool) {
        self.is_unnoted.store(is_unnoted, Ordering::Relaxed);
    }

    /// Whether the attempt is to be noted; it is after this.
    pub(super) fn take_unnoted(&self) -> bool {
        self.is_unnoted.swap(false, Ordering::Relaxed)
    }

    /// How many deliveries are not to count at the next one, so that it is the
    /// same attempt as this one.
    pub(super) fn spared(&self) -> u32 {
        let attempt = self.attempt.load(Ordering::Relaxed);
        self.delivered.load(Ordering::Relaxed).saturating_add(1).saturating_sub(attempt)
    }

    /// How many attempts came to their end; less than all there are, since one
    /// that was cut off is to be made again.
    pub(super) fn ended(&self, attempts: u32) -> u32 {
        let attempt = self.attempt.load(Ordering::Relaxed);
        attempt.saturating_sub(1).min(attempts.saturating_sub(1))
    }
}
