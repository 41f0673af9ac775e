//! One instance of a component in its store, and the idle ones that wait to be
//! reused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use super::{
    Requests,
    guest::{Answer, Guest, GuestPre},
    state::{CpuBudget, HANDLES, State},
};
use crate::event::{Event, Output};

/// A store with a guest in it. One that trapped, timed out or was cancelled must
/// never be called again: it is dropped.
pub(super) struct Instance {
    store: Store<State>,
    guest: Option<Guest>,
    /// Events it was given.
    pub(super) served: u32,
}

impl Instance {
    /// A store with nothing in it yet. `fuel`: the bytes that one call between
    /// guest and host may hand over.
    pub(super) fn new(engine: &wasmtime::Engine, state: State, fuel: usize) -> Instance {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(fuel);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(CpuBudget::tick);
        Instance { store, guest: None, served: 0 }
    }

    /// Begins a run: budgets are full, a tick from now the guest has to yield.
    pub(super) fn begin(&mut self, event: &Event, requests: Requests) {
        self.store.data_mut().begin(event, requests);
        self.store.set_epoch_deadline(1);
        self.served = self.served.saturating_add(1);
    }

    /// Puts a guest into the store, unless there is one.
    pub(super) async fn start(&mut self, pre: &GuestPre) -> wasmtime::Result<()> {
        if self.guest.is_none() {
            self.guest = Some(pre.instantiate(&mut self.store).await?);
        }
        Ok(())
    }

    /// Calls the guest.
    pub(super) async fn call(&mut self, event: &Event) -> wasmtime::Result<Answer> {
        let Some(guest) = &self.guest else {
            return Err(wasmtime::Error::msg("the instance was not started"));
        };
        guest.call(&mut self.store, event).await
    }

    /// What the guest has sent while it ran.
    pub(super) fn take_sent(&mut self) -> Vec<Output> {
        self.store.data_mut().messages.take()
    }

    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    /// Whether a guest is in the store.
    pub(super) fn started(&self) -> bool {
        self.guest.is_some()
    }
}

/// Each with its place.
type Waiting = Vec<(Instance, OwnedSemaphorePermit)>;

/// Idle instances of one plugin, the last used first: its memory is warm.
pub(super) struct Idle {
    waiting: Mutex<Waiting>,
    /// Places for idle instances, shared by all plugins of the engine.
    places: Arc<Semaphore>,
    most: usize,
}

impl Idle {
    pub(super) fn new(most: usize, places: Arc<Semaphore>) -> Idle {
        Idle { waiting: Mutex::default(), places, most }
    }

    pub(super) fn take(&self) -> Option<Instance> {
        self.waiting().pop().map(|(instance, _place)| instance)
    }

    /// Keeps the instance if there is a place for it, else drops it.
    pub(super) fn put(&self, instance: Instance) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let mut waiting = self.waiting();
        if waiting.len() < self.most {
            waiting.push((instance, place));
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
