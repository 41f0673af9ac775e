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
#[derive(Debug)]
struct Lane {
    current: Stand,
    waiting: BTreeMap<u64, Waiting>,
    /// Tells deliveries of the same event apart.
    n_stands: u64,
}

/// Which delivery of which event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stand {
    sequence: u64,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    turn: oneshot::Sender<Turn>,
}

/// What became of an event's wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All earlier events of the key are settled.
    Run,
    /// There is nothing to do: another delivery of the event was settled, or has
    /// taken its place.
    Void,
}

/// An event's place in its lane. The turn passes on when this is dropped.
#[derive(Debug)]
pub struct Place {
    lanes: Arc<Mutex<HashMap<u64, Lane>>>,
    key: u64,
    stand: Stand,
    turn: Option<oneshot::Receiver<Turn>>,
    is_settled: bool,
}

impl Lanes {
    /// Lanes by the key that `by` finds in an event.
    pub fn new(by: OrderBy) -> Lanes {
        Lanes { by, hasher: RandomState::new(), lanes: Arc::default() }
    }

    /// Lines up an event of a stream: behind those of its key with a lower
    /// sequence, before those with a higher one that have not begun. A delivery
    /// of an event that waits already takes its place; one of the event whose
    /// turn it is waits for how that ends.
    pub fn line_up(&self, event: &Event) -> Place {
        let sequence = event.position.as_ref().map_or(0, |position| position.sequence);
        let key = self.hasher.hash_one(key(&self.by, event));
        let mut lanes = lock(&self.lanes);
        let (number, turn) = match lanes.get_mut(&key) {
            None => {
                let current = Stand { sequence, number: 0 };
                lanes.insert(key, Lane { current, waiting: BTreeMap::new(), n_stands: 0 });
                (0, None)
            }
            Some(lane) => {
                let (sender, turn) = oneshot::channel();
                lane.n_stands += 1;
                let number = lane.n_stands;
                lane.waiting.insert(sequence, Waiting { number, turn: sender });
                (number, Some(turn))
            }
        };
        let stand = Stand { sequence, number };
        Place { lanes: Arc::clone(&self.lanes), key, stand, turn, is_settled: false }
    }

    /// How many keys are in hand.
    pub fn len(&self) -> usize {
        lock(&self.lanes).len()
    }
}

impl Place {
    /// Waits until all earlier events of the key are settled. Cancel-safe.
    pub async fn turn(&mut self) -> Turn {
        let Some(turn) = &mut self.turn else { return Turn::Run };
        // Without an answer, another delivery has taken the place.
        let turn = turn.await.unwrap_or(Turn::Void);
        if turn == Turn::Run {
            self.turn = None;
        }
        turn
    }

    /// The event is settled: other deliveries of it need not run.
    pub fn settled(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        let Some(lane) = lanes.get_mut(&self.key) else { return };
        let Stand { sequence, number } = self.stand;
        if lane.current != self.stand {
            // Not the place of a delivery that came after it.
            if lane.waiting.get(&sequence).is_some_and(|waiting| waiting.number == number) {
                lane.waiting.remove(&sequence);
            }
            return;
        }
        if self.is_settled
            && let Some(again) = lane.waiting.remove(&sequence)
        {
            // Whoever gave up waiting needs no word.
            again.turn.send(Turn::Void).ok();
        }
        while let Some((sequence, Waiting { number, turn })) = lane.waiting.pop_first() {
            lane.current = Stand { sequence, number };
            if turn.send(Turn::Run).is_ok() {
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
