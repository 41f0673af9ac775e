//! The gate that every run of a plugin passes: as many at once as there are
//! slots, as fast as the rate allows, none while the breaker is open.
//!
//! It looks at runs and not at deliveries: those wait before it, in hand.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

use super::breaker::{Breaker, Permit, Position, Showing, Trial};
use crate::manifest;

/// What passes one plugin's gate.
pub struct Gate {
    slots: Semaphore,
    rate: Option<Rate>,
    breaker: Option<Mutex<Breaker>>,
    /// Whoever waits for the breaker looks again.
    moved: Notify,
    position: watch::Sender<Position>,
}

/// The right to run once; its slot is free again when this is dropped.
#[must_use = "the slot is free again when this is dropped"]
pub struct Pass<'a> {
    gate: &'a Gate,
    permit: Option<Permit>,
    _slot: Option<SemaphorePermit<'a>>,
    begun: Instant,
}

/// The moves of a gate's breaker, each seen once.
pub struct Moves<'a> {
    gate: &'a Gate,
    changes: watch::Receiver<Position>,
    seen: Position,
}

impl Gate {
    /// A gate for `slots` runs at once.
    pub fn new(
        slots: usize,
        rate: Option<manifest::Rate>,
        breaker: Option<manifest::Breaker>,
    ) -> Gate {
        Gate {
            slots: Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)),
            rate: rate.map(Rate::new),
            breaker: breaker.map(|settings| Mutex::new(Breaker::new(settings))),
            moved: Notify::new(),
            position: watch::Sender::new(Position::Closed),
        }
    }

    /// Waits until a run may begin. Cancel-safe.
    pub async fn enter(&self) -> Pass<'_> {
        // Never closed.
        let slot = self.slots.acquire().await.ok();
        if let Some(rate) = &self.rate {
            rate.wait().await;
        }
        let permit = match &self.breaker {
            Some(breaker) => Some(self.permit(breaker).await),
            None => None,
        };
        Pass { gate: self, permit, _slot: slot, begun: Instant::now() }
    }

    async fn permit(&self, breaker: &Mutex<Breaker>) -> Permit {
        loop {
            let moved = self.moved.notified();
            let (permit, position) = {
                let (mut breaker, now) = (lock(breaker), Instant::now());
                (breaker.permit(now), breaker.position(now))
            };
            if let Some(permit) = permit {
                self.show();
                return permit;
            }
            match position {
                Position::Open(until) => tokio::select! {
                biased;
                                   () = sleep_until(until) => {}
                                   () = moved => {}
                               },
                Position::Closed | Position::HalfOpen(_) => moved.await,
            }
        }
    }

    /// The breaker's moves from now on.
    pub fn moves(&self) -> Moves<'_> {
        Moves { gate: self, changes: self.position.subscribe(), seen: Position::Closed }
    }

    /// What the breaker does now.
    pub fn position(&self) -> Position {
        match &self.breaker {
            Some(breaker) => lock(breaker).position(Instant::now()),
            None => Position::Closed,
        }
    }

    /// Shows where the breaker is. Looked at only here, inside: of two that show
    /// at once, the last one must not show what is past.
    fn show(&self) {
        self.position.send_if_modified(|shown| {
            let position = self.position();
            std::mem::replace(shown, position) != position
        });
    }
}

impl Moves<'_> {
    /// Where the breaker moves next. Cancel-safe.
    pub async fn next(&mut self) -> Position {
        loop {
            let now = self.gate.position();
            if now != self.seen {
                self.seen = now;
                return now;
            }
            let changed = self.changes.changed();
            match now {
                Position::Open(until) => tokio::select! {
                biased;
                                   () = sleep_until(until) => {}
                                   _ = changed => {}
                               },
                Position::Closed | Position::HalfOpen(_) => drop(changed.await),
            }
        }
    }
}

impl Pass<'_> {
    /// Tells what the run showed, and whether its event had failed before. The slot
    /// stays taken.
    pub fn tell(&mut self, showing: Showing, again: bool) {
        let (Some(permit), Some(breaker)) = (self.permit.take(), &self.gate.breaker) else {
            return;
        };
        let now = Instant::now();
        let moved =
            lock(breaker).shown(permit, Trial { showing, again, time: now - self.begun }, now);
        if moved {
            self.gate.show();
            self.gate.moved.notify_waiters();
        }
    }
}

/// A run that is cut off shows nothing.
impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.tell(Showing::Nothing, false);
    }
}

/// Spaces runs out: the generic cell rate algorithm. After a pause, a tenth of
/// a second's runs may begin at once.
struct Rate {
    interval: Duration,
    burst: Duration,
    /// When the next run would begin if they were spaced exactly.
    next: Mutex<Instant>,
}

const BURST: Duration = Duration::from_millis(100);

impl Rate {
    fn new(rate: manifest::Rate) -> Rate {
        Rate { interval: rate.interval(), burst: BURST, next: Mutex::new(Instant::now()) }
    }

    async fn wait(&self) {
        let begin = {
            let now = Instant::now();
            let mut next = lock(&self.next);
            let earliest = now.checked_sub(self.burst).unwrap_or(now);
            let turn = (*next).max(earliest);
            *next = turn + self.interval;
            turn
        };
        sleep_until(begin).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
