//! Lanes: the events of one key one after the other, in the order of their
//! stream; other keys beside them.
//!
//! A lane exists while an event of its key is in hand, so there are never more
//! lanes than events in hand, however many keys there are. Keys are kept as
//! hashes: two keys that meet in one share a lane, which costs speed and never
//! order.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{event::Event, manifest::OrderBy};

/// The lanes of one plugin. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lanes {
    by: OrderBy,
    hasher: RandomState,
    lanes: Arc<Mutex<HashMap<u64, Lane>>>,
}

/// The events of one key that are in hand. There is always one whose turn it is.
#[derive(Debug, Default)]
struct Lane {
    /// The sequence of the event whose turn it is.
    current: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// An event's place in its lane. The turn passes on when this is dropped.
#[derive(Debug)]
pub struct Place {
    lanes: Arc<Mutex<HashMap<u64, Lane>>>,
    key: u64,
    sequence: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl Lanes {
    /// Lanes by the key that `by` finds in an event.
    pub fn new(by: OrderBy) -> Lanes {
        Lanes { by, hasher: RandomState::new(), lanes: Arc::default() }
    }

    /// Lines up an event of a stream: behind those of its key with a lower
    /// sequence, before those with a higher one that have not begun. `None` if
    /// the same event is in line already.
    pub fn line_up(&self, event: &Event) -> Option<Place> {
        let sequence = event.position.as_ref().map_or(0, |position| position.sequence);
        let key = self.hasher.hash_one(key(&self.by, event));
        let mut lanes = lock(&self.lanes);
        let turn = match lanes.get_mut(&key) {
            None => {
                lanes.insert(key, Lane { current: sequence, waiting: BTreeMap::new() });
                None
            }
            Some(lane) if lane.current == sequence || lane.waiting.contains_key(&sequence) => {
                return None;
            }
            Some(lane) => {
                let (sender, turn) = oneshot::channel();
                lane.waiting.insert(sequence, sender);
                Some(turn)
            }
        };
        Some(Place { lanes: Arc::clone(&self.lanes), key, sequence, turn })
    }

    /// How many keys are in hand.
    pub fn len(&self) -> usize {
        lock(&self.lanes).len()
    }
}

impl Place {
    /// Waits until all earlier events of the key are settled. Cancel-safe.
    pub async fn turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            // The sender lives in the lane until it is this event's turn.
            drop(turn.await);
            self.turn = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        let Some(lane) = lanes.get_mut(&self.key) else { return };
        if lane.current != self.sequence {
            lane.waiting.remove(&self.sequence);
            return;
        }
        while let Some((sequence, next)) = lane.waiting.pop_first() {
            lane.current = sequence;
            if next.send(()).is_ok() {
                return;
            }
        }
        lanes.remove(&self.key);
    }
}

/// The key of an event; `None` if it has none. All events without a key share
/// one lane: nothing says that they may run side by side.
fn key(by: &OrderBy, event: &Event) -> Option<Vec<u8>> {
    match by {
        OrderBy::Token(n) => {
            let token = event.subject.split('.').nth(n.checked_sub(1)?)?;
            Some(token.as_bytes().to_vec())
        }
        OrderBy::Header(name) => {
            let header = event.headers.iter().find(|header| header.name == *name)?;
            Some(header.value.as_bytes().to_vec())
        }
        OrderBy::Json(pointer) => {
            let payload: serde_json::Value = serde_json::from_slice(&event.payload).ok()?;
            // A number, a text and an object are all keys.
            Some(payload.pointer(pointer)?.to_string().into_bytes())
        }
    }
}

fn lock<'a>(lanes: &'a Mutex<HashMap<u64, Lane>>) -> MutexGuard<'a, HashMap<u64, Lane>> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
