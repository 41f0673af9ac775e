//! The host's own limits: how many events, and how many bytes of them, may be
//! worked on at once, over all plugins.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size, since a semaphore counts to 2^32.
const UNIT: u64 = 1024;

/// Room in the host. Cheap to clone; all clones share the room.
#[derive(Debug, Clone)]
pub struct Admission {
    events: Arc<Semaphore>,
    most: usize,
    bytes: Arc<Semaphore>,
    units: u32,
}

/// Room taken by one event; given back when dropped.
#[must_use = "the room is given back when this is dropped"]
#[derive(Debug)]
pub struct Room {
    _event: Option<OwnedSemaphorePermit>,
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Room for `events`, of together `bytes`.
    pub fn new(events: usize, bytes: u64) -> Admission {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let most = events.clamp(1, Semaphore::MAX_PERMITS);
        Admission {
            events: Arc::new(Semaphore::new(most)),
            most,
            bytes: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// How many events are worked on now.
    pub fn running(&self) -> usize {
        self.most.saturating_sub(self.events.available_permits())
    }

    /// Waits until there is room for an event of `size` bytes. One that is
    /// larger than all room together gets in alone.
    pub async fn admit(&self, size: usize) -> Room {
        let units = u32::try_from((size as u64).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let event = Arc::clone(&self.events).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(units.min(self.units)).await;
        // Neither semaphore is ever closed.
        Room { _event: event.ok(), _bytes: bytes.ok() }
    }
}

#[cfg(test)]
mod tests;
