//! The clock that interrupts guests: a thread of the operating system, because a
//! task could be kept from running by the very guest it should stop.
//!
//! It only makes guests yield; what a run may use is counted in `state`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long a guest runs before its neighbours on the same thread get a turn.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// After this many ticks without a call the thread sleeps until the next one.
/// Not at once: waking it costs more than a short call.
const IDLE_TICKS: u32 = 50;

/// Advances the epoch of an engine while calls are running.
pub(super) struct Ticker {
    calls: Arc<Calls>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Calls {
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// Keeps the clock ticking for as long as it lives.
pub(super) struct Running<'a>(&'a Calls);

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(engine: wasmtime::Engine) -> io::Result<Ticker> {
        let calls = Arc::new(Calls::default());
        let seen = Arc::clone(&calls);
        let thread = thread::Builder::new()
            .name("pelton-epoch".to_owned())
            .spawn(move || seen.tick(&engine))?;
        Ok(Ticker { calls, thread: Some(thread) })
    }

    /// Says that a call begins, and ends when the result is dropped.
    pub(super) fn enter(&self) -> Running<'_> {
        self.calls.running.fetch_add(1, SeqCst);
        if self.calls.asleep.load(SeqCst) {
            self.wake();
        }
        Running(&self.calls)
    }

    /// Whether the thread waits for a call.
    #[cfg(test)]
    pub(super) fn asleep(&self) -> bool {
        self.calls.asleep.load(SeqCst)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Calls {
    fn tick(&self, engine: &wasmtime::Engine) {
        let mut idle = 0;
        while !self.stop.load(SeqCst) {
            idle = if self.running.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
            thread::park_timeout(TICK);
            engine.increment_epoch();
        }
    }

    /// Sleeps until `enter` or a stop. The flag is set before the counter is read
    /// and `enter` does it the other way round, so one of the two sees the other.
    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        while self.running.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
            thread::park();
        }
        self.asleep.store(false, SeqCst);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.calls.stop.store(true, SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the epoch thread panicked");
        }
    }
}
