//! What a source does when deliveries are lost, and what an exclusive one keeps
//! back until they have come again.

use tokio::time::Instant;

use super::{Phase, Pull};
use crate::broker::nats::{
    delivery::Delivery,
    exclusive::{Exclusive, Gathering},
};

impl Pull {
    /// Waits until this replica has the consumer, then begins anew.
    pub(super) async fn stand_by(&mut self) {
        if let Some(exclusive) = &mut self.exclusive {
            exclusive.held().await;
        }
        self.phase = Phase::Leaving;
    }

    /// What was on its way is lost, and one of it may be the cause.
    pub(super) fn broke(&mut self) {
        if self.credit.outstanding() > 0 {
            self.suspicion.broke(Instant::now(), self.durable.ack_wait);
        }
        self.credit.broke();
        self.leave_in_doubt();
    }

    /// What is on its way may be lost.
    pub(super) fn leave_in_doubt(&mut self) {
        if let Some(exclusive) = &mut self.exclusive {
            let given_up = exclusive.broke();
            self.credit.allow(given_up);
        }
        self.phase = Phase::Leaving;
    }

    /// Keeps a delivery back while others have to come before it.
    pub(super) fn gather(&mut self, delivery: Delivery) -> Option<Delivery> {
        let Some(exclusive) = &mut self.exclusive else { return Some(delivery) };
        let gathering = exclusive.gather(delivery);
        self.gathered.extend(exclusive.gathered());
        match gathering {
            Gathering::Not(delivery) => return Some(*delivery),
            Gathering::Kept => {}
            Gathering::Instead(earlier) => {
                earlier.superseded();
                self.credit.allow(1);
            }
        }
        None
    }

    /// Looks whether deliveries before this one went elsewhere.
    pub(super) fn look_for_gap(&mut self, delivery: &Delivery) {
        let follows = self.exclusive.as_mut().is_none_or(|exclusive| exclusive.follows(delivery));
        if !follows && !self.is_stopping {
            tracing::warn!(
                consumer = self.durable.name,
                "deliveries went elsewhere; gathering them first"
            );
            let phase = std::mem::replace(&mut self.phase, Phase::Leaving);
            self.leave_in_doubt();
            if !matches!(phase, Phase::Pulling) {
                // On the way out already.
                self.phase = phase;
            }
        }
    }

    /// Says how many no pace may hold back.
    pub(super) fn note_missing(&mut self) {
        self.credit.gathers(self.exclusive.as_ref().map_or(0, Exclusive::still_missing));
    }
}
