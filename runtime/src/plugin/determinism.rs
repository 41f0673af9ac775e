//! Clocks and random numbers that are the same at every run of an event.
//!
//! All of it follows from the event's id and time. Nothing else of a guest is made
//! deterministic: what it keeps in memory from event to event (`isolation =
//! { reuse = … }`), what it read from outside through a grant, and random numbers
//! that its build wrote into the component (a snapshot of an interpreter) are its
//! own. Seeds can be worked out from the event's id, so a guest that makes secrets
//! must not run so.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::TryRng;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until};
use wasmtime::{Result, component::Resource};
use wasmtime_wasi::{
    HostWallClock, WasiView as _,
    clocks::WasiClocksView as _,
    p2::{
        DynPollable, Pollable,
        bindings::{clocks::monotonic_clock, random::insecure_seed},
        subscribe,
    },
    random::WasiRandomView as _,
};

use super::state::State;
use crate::event::Event;

/// What one look at the monotonic clock adds to it: a guest that waits for a
/// moment by looking reaches it.
const LOOK: Duration = Duration::from_micros(1);

/// What runs are determined by, beside the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Determinism {
    /// What the clock shows, in milliseconds since 1970; `None`: the event's time.
    pub clock_ms: Option<u64>,
    /// Goes into all random numbers, beside the event's id; `None`: the id alone.
    pub seed: Option<u64>,
}

/// Clocks and random numbers of a store, one run after the other. Clones are the
/// same course.
#[derive(Clone)]
pub(super) struct Course(Arc<Mutex<Inner>>);

struct Inner {
    determinism: Determinism,
    plugin: Arc<str>,
    begun: Duration,
    /// By sleeping.
    slept: Duration,
    /// By looking at the monotonic clock.
    looked: Duration,
    seed: [u8; 32],
    secure: Numbers,
    insecure: Numbers,
}

/// What a stream of random bytes is for: two of them have nothing in common.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Secure,
    Insecure,
    InsecureSeed,
}

/// A stream of bytes: SHA-256 of seed, purpose and a counter. Slower than a
/// generator, and the same in every version of this host.
struct Numbers {
    seed: [u8; 32],
    purpose: Purpose,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Course {
    pub(super) fn new(plugin: Arc<str>, determinism: Determinism) -> Course {
        Course(Arc::new(Mutex::new(Inner {
            determinism,
            plugin,
            begun: Duration::ZERO,
            slept: Duration::ZERO,
            looked: Duration::ZERO,
            seed: [0; 32],
            secure: Numbers::new([0; 32], Purpose::Secure),
            insecure: Numbers::new([0; 32], Purpose::Insecure),
        })))
    }

    /// Begins a run on `event`: clocks and numbers are as if nothing had run before.
    pub(super) fn begin(&self, event: &Event) {
        let mut inner = self.inner();
        let Determinism { clock_ms, seed } = inner.determinism;
        let mut hash = Sha256::new();
        hash.update(b"pelton/seed/1\0");
        hash.update(event.id.as_bytes());
        hash.update(b"\0");
        // Plugins that handle the same event must not make the same identifiers.
        hash.update(inner.plugin.as_bytes());
        hash.update(b"\0");
        hash.update(seed.map(u64::to_be_bytes).unwrap_or_default());
        inner.begun = Duration::from_millis(clock_ms.unwrap_or(event.time_ms));
        (inner.slept, inner.looked) = (Duration::ZERO, Duration::ZERO);
        inner.seed = hash.finalize().into();
        inner.secure = Numbers::new(inner.seed, Purpose::Secure);
        inner.insecure = Numbers::new(inner.seed, Purpose::Insecure);
    }

    /// The wall clock: it stands still but for sleeps.
    pub(super) fn wall(&self) -> impl HostWallClock + use<> {
        Wall(self.clone())
    }

    /// The numbers of `wasi:random/random`.
    pub(super) fn secure(&self) -> impl rand::Rng + Send + use<> {
        Source(self.clone(), Purpose::Secure)
    }

    /// The numbers of `wasi:random/insecure`.
    pub(super) fn insecure(&self) -> impl rand::Rng + Send + use<> {
        Source(self.clone(), Purpose::Insecure)
    }

    fn look(&self) -> u64 {
        let mut inner = self.inner();
        inner.looked += LOOK;
        nanoseconds(inner.monotonic())
    }

    /// A sleep of this length, beginning now.
    fn nap(&self, time: Duration) -> Nap {
        let (ends, slept) = (Instant::now().checked_add(time), self.inner().slept + time);
        Nap { course: self.clone(), ends, slept }
    }

    fn insecure_seed(&self) -> (u64, u64) {
        let mut numbers = Numbers::new(self.inner().seed, Purpose::InsecureSeed);
        (numbers.number(), numbers.number())
    }

    /// A panic elsewhere must not cost this store its clock.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Later events have later times, so that the clock of an instance that is
    /// reused goes on as far as its events do.
    fn monotonic(&self) -> Duration {
        self.begun.saturating_add(self.slept).saturating_add(self.looked)
    }
}

struct Wall(Course);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        let inner = self.0.inner();
        inner.begun.saturating_add(inner.slept)
    }
}

/// A sleep: as long as any other, but the clock afterwards shows what was asked
/// for, and not how late it ended.
struct Nap {
    course: Course,
    /// `None`: never, it is too far away.
    ends: Option<Instant>,
    slept: Duration,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Nap {
    async fn ready(&mut self) {
        match self.ends {
            // Others on this thread get their turn, also between naps of no length.
            Some(ends) if ends <= Instant::now() => tokio::task::yield_now().await,
            Some(ends) => sleep_until(ends).await,
            None => std::future::pending().await,
        }
        let mut inner = self.course.inner();
        inner.slept = inner.slept.max(self.slept);
    }
}

/// The random numbers of a course, as WASI takes them.
struct Source(Course, Purpose);

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut inner = self.0.inner();
        let numbers = match self.1 {
            Purpose::Secure => &mut inner.secure,
            Purpose::Insecure | Purpose::InsecureSeed => &mut inner.insecure,
        };
        bytes.fill_with(|| numbers.byte());
        Ok(())
    }
}

impl Numbers {
    fn new(seed: [u8; 32], purpose: Purpose) -> Numbers {
        Numbers { seed, purpose, counter: 0, block: [0; 32], used: 32 }
    }

    fn byte(&mut self) -> u8 {
        if let Some(byte) = self.block.get(self.used) {
            self.used += 1;
            return *byte;
        }
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update([self.purpose as u8]);
        hash.update(self.counter.to_be_bytes());
        self.block = hash.finalize().into();
        self.counter += 1;
        self.used = 1;
        let [first, ..] = self.block;
        first
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> Result<u64> {
        match &self.course {
            Some(course) => Ok(course.look()),
            None => self.clocks().now(),
        }
    }

    fn resolution(&mut self) -> Result<u64> {
        match &self.course {
            Some(_) => Ok(nanoseconds(LOOK)),
            None => monotonic_clock::Host::resolution(&mut self.clocks()),
        }
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let Some(course) = &self.course else { return self.clocks().subscribe_instant(when) };
        let now = nanoseconds(course.inner().monotonic());
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, time: u64) -> Result<Resource<DynPollable>> {
        let Some(course) = &self.course else { return self.clocks().subscribe_duration(time) };
        let nap = course.nap(Duration::from_nanos(time));
        let table = self.ctx().table;
        let nap = table.push(nap)?;
        subscribe(table, nap)
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        match &self.course {
            Some(course) => Ok(course.insecure_seed()),
            None => insecure_seed::Host::insecure_seed(self.random()),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
