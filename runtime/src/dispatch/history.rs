//! A small memory of the failures that came before: what the dead letter of an
//! event will tell of it.
//!
//! Bounded, and only of this process: what failed on another replica, before a
//! restart or long ago is not known, and nothing depends on it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Failure;
use crate::event::{
    Event,
    letter::{Attempt, MAX_HISTORY},
};

/// Of how many events the failures are remembered.
const MAX_EVENTS: usize = 1024;
/// The longest error text, in bytes, before it is shortened for the record.
const MAX_ERROR: usize = 256;

/// The failures of events that are to be tried again. Remembers those of the
/// last 1,024 events that failed.
#[derive(Debug, Default)]
pub(super) struct History {
    known: Mutex<Known>,
}

/// An event, or one of its replays.
type Key = (String, u32);

#[derive(Debug, Default)]
struct Known {
    failures: HashMap<Key, VecDeque<Attempt>>,
    /// The oldest first; of what is forgotten, too.
    order: VecDeque<Key>,
}

impl History {
    /// Remembers that an attempt at `event` failed at `now_ms`.
    pub(super) fn note(&self, event: &Event, failure: &Failure, now_ms: u64) {
        let attempt = Attempt {
            replay: replay_number(event),
            number: event.attempt,
            at_ms: now_ms,
            class: failure.class().to_owned(),
            error: failure.to_string().chars().take(MAX_ERROR).collect(),
        };
        self.lock().note(key(event), attempt);
    }

    /// What is known of earlier failures of `event`, oldest first.
    pub(super) fn of(&self, event: &Event) -> Vec<Attempt> {
        let past = event.replay.iter().flat_map(|replay| replay.past.clone());
        let known = self.lock().failures.get(&key(event)).cloned();
        let all: Vec<_> = past.chain(known.into_iter().flatten()).collect();
        let oldest = all.len().saturating_sub(MAX_HISTORY);
        all.into_iter().skip(oldest).collect()
    }

    /// Forgets `event`, which is done with.
    pub(super) fn forget(&self, event: &Event) {
        // Of a first attempt nothing is known: the usual event costs no lock.
        if event.attempt > 1 {
            self.lock().failures.remove(&key(event));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, key: Key, attempt: Attempt) {
        if let Some(failures) = self.failures.get_mut(&key) {
            failures.push_back(attempt);
            if failures.len() > MAX_HISTORY {
                failures.pop_front();
            }
            return;
        }
        while self.failures.len() >= MAX_EVENTS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.failures.remove(&oldest);
        }
        if self.order.len() >= 2 * MAX_EVENTS {
            let failures = &self.failures;
            self.order.retain(|key| failures.contains_key(key));
        }
        self.order.push_back(key.clone());
        self.failures.insert(key, VecDeque::from([attempt]));
    }
}

fn key(event: &Event) -> Key {
    (event.id.clone(), replay_number(event))
}

fn replay_number(event: &Event) -> u32 {
    event.replay.as_ref().map_or(0, |replay| replay.number)
}

#[cfg(test)]
mod tests;
