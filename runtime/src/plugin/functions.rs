//! Compiled functions, kept for the next compilation of much the same component.
//!
//! For hosts that compile what somebody is just writing: most functions of a program
//! are those of its language's runtime and libraries, and stay the same from one save
//! to the next. (An interpreter stays the same as a whole: see [`Parts`].) Kept in
//! memory only, and for one process: whoever could write such a file could bring code
//! past the compiler.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use wasmtime::{CacheStore, Engine};

use super::{parts::Parts, trim};

/// The most bytes that are kept. Beyond it, all is forgotten, and fills again.
const MOST: usize = 256 << 20;

/// What was compiled, by what it was compiled from.
#[derive(Default)]
pub(super) struct Functions {
    kept: Mutex<Kept>,
    found: AtomicUsize,
    missed: AtomicUsize,
    learning: Mutex<()>,
}

#[derive(Default)]
struct Kept {
    code: HashMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Functions {
    /// Compiles a component for its functions alone, in the background and one
    /// after the other: it came from the cache on disk, and the next save is to find
    /// them.
    pub(super) fn learn(self: &Arc<Functions>, engine: Engine, component: Vec<u8>) {
        let functions = Arc::clone(self);
        let learn = move || {
            let _turn = functions.learning.lock().unwrap_or_else(PoisonError::into_inner);
            // Its large modules are found again as a whole.
            let component = Parts::of(&component).map_or(component, |parts| parts.component);
            if let Err(error) = engine.precompile_component(&component) {
                tracing::debug!(error = format!("{error:#}"), "nothing learned");
            }
            trim::give_back();
        };
        // Without it the next save takes longer, no more.
        if let Err(error) = thread::Builder::new().name("pelton-learn".to_owned()).spawn(learn) {
            tracing::debug!(%error, "nothing learned");
        }
    }

    /// How many functions did not have to be compiled, and how many had, so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.found.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let code = self.lock().code.get(key).cloned();
        let count = if code.is_some() { &self.found } else { &self.missed };
        count.fetch_add(1, Ordering::Relaxed);
        code.map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut kept = self.lock();
        let size = key.len() + value.len();
        if kept.bytes + size > MOST {
            *kept = Kept::default();
        }
        kept.bytes += size;
        kept.code.insert(key.to_vec(), value);
        true
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.lock().bytes;
        f.debug_struct("Functions").field("bytes", &bytes).finish_non_exhaustive()
    }
}
