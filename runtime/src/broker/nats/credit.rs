//! How many deliveries a source may still ask the server for: pure accounting.
//!
//! What the dispatcher allows, and what open pull requests may still bring: the
//! second is never larger than the first, so nothing is delivered that cannot
//! run now.
//!
//! And a caution: after a connection broke while deliveries were on their way,
//! it asks for one, then two, four, ... A message whose headers the client
//! cannot read makes the client drop the connection, with all that was on its
//! way behind it. Asked for together again and again, good messages would use up
//! their deliveries in the company of the bad one.
//!
//! It knows no clock and no messages.

/// The account of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Credit {
    /// Deliveries the dispatcher still takes.
    allowed: usize,
    /// Deliveries that open requests may still bring.
    outstanding: usize,
    /// The most that may be on their way; `None`: no limit.
    caution: Option<usize>,
    /// How many may still come before the dispatcher says more; `None`: all
    /// that are allowed.
    pace: Option<usize>,
    /// How many have to come before anything is handed up. No pace holds them
    /// back: a part of them would be handed up in the wrong order.
    due: usize,
}

/// A caution of more than this is none.
const MAX_CAUTION: usize = 256;

impl Credit {
    /// The dispatcher takes `n` more.
    pub(super) fn allow(&mut self, n: usize) {
        self.allowed = self.allowed.saturating_add(n);
    }

    /// `n` have to come before all others: if the dispatcher takes fewer, more
    /// than that, once.
    pub(super) fn allow_at_least(&mut self, n: usize) {
        self.allowed = self.allowed.max(n);
    }

    /// At most `most` more may come until this is called again. Whether open
    /// requests may bring more than that, so that they have to be taken back.
    pub(super) fn pace(&mut self, most: Option<usize>) -> bool {
        self.pace = most;
        self.paced().is_some_and(|most| self.outstanding > most)
    }

    fn paced(&self) -> Option<usize> {
        self.pace.map(|most| most.max(self.due))
    }

    /// `n` more have to come before anything is handed up.
    pub(super) fn gathers(&mut self, n: usize) {
        self.due = n;
    }

    /// Whether nothing may come but what is gathered.
    pub(super) fn is_halted(&self) -> bool {
        self.pace == Some(0)
    }

    /// What the dispatcher still takes.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// What open requests may still bring.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// How many to ask for now; 0: nothing yet.
    ///
    /// While more is on its way than could be asked for, asking waits: a busy
    /// plugin frees its permits one by one, and a request for each would cost
    /// more than the messages. Nothing starves, because `outstanding` falls with
    /// each delivery.
    pub(super) fn wanted(&self) -> usize {
        let limits = [self.caution, self.paced()];
        let limit = limits.into_iter().flatten().fold(self.allowed, usize::min);
        let unasked = limit.saturating_sub(self.outstanding);
        if unasked >= self.outstanding { unasked } else { 0 }
    }

    /// A request for `n` was sent.
    pub(super) fn asked(&mut self, n: usize) {
        self.outstanding = self.outstanding.saturating_add(n).min(self.allowed);
    }

    /// A message came.
    pub(super) fn delivered(&mut self) {
        self.allowed = self.allowed.saturating_sub(1);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.caution = self.caution.map(|caution| caution * 2).filter(|n| *n <= MAX_CAUTION);
        if self.due > 0 {
            self.due -= 1;
        } else {
            self.pace = self.pace.map(|pace| pace.saturating_sub(1));
        }
    }

    /// A delivery is handed up that no open request brought. There must be none.
    pub(super) fn found(&mut self) {
        self.allowed = self.allowed.saturating_sub(1);
        self.pace = self.pace.map(|pace| pace.saturating_sub(1));
    }

    /// The connection broke.
    pub(super) fn broke(&mut self) {
        if self.outstanding > 0 {
            self.caution = Some(1);
        }
    }

    /// A request ended with `pending` deliveries missing: they may be asked for anew.
    pub(super) fn ended(&mut self, pending: usize) {
        self.outstanding = self.outstanding.saturating_sub(pending);
    }

    /// All open requests are void.
    pub(super) fn void(&mut self) {
        self.outstanding = 0;
    }
}

#[cfg(test)]
mod tests;
