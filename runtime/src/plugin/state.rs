//! What one store owns: the limits of its guest, its log, its WASI context.
//!
//! Limits only: what is done when one is reached is decided in `failure`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::{
    Requests,
    determinism::Course,
    engine::{MEMORIES, TABLE_ELEMENTS, TABLES},
    epoch::TICK,
    grants::Grants,
    journal::{Journal, Stream},
    messages::Messages,
    outbound::Http,
    redact::Redaction,
};
use crate::event::Event;

/// Handles to host resources that a guest may hold at a time.
pub(super) const HANDLES: usize = 1_000;

/// Random bytes for one request.
const RANDOM: u64 = 64 << 10;

/// What an element of a table costs the host, in bytes.
const ELEMENT: usize = size_of::<usize>();

/// The `T` of a `Store<T>`.
pub(super) struct State {
    pub(super) memory: MemoryBudget,
    pub(super) cpu: CpuBudget,
    pub(super) journal: Journal,
    pub(super) config: Arc<BTreeMap<String, String>>,
    grants: Arc<Grants>,
    pub(super) messages: Messages,
    /// Clocks and random numbers that follow from the event; `None`: real ones.
    pub(super) course: Option<Course>,
    /// Made when the guest first asks for it: most runs never do.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    /// Made when the guest first asks for it, as the rest.
    http: Option<Http>,
}

/// Memories and tables of a store, added up.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    most: usize,
    used: usize,
    /// What the last growth added: taken back if it fails after all.
    last: usize,
    /// Whether the current run was refused any: explains a trap that follows.
    pub(super) refused: bool,
}

/// Ticks of the epoch in which the guest ran.
#[derive(Debug)]
pub(super) struct CpuBudget {
    most: u64,
    used: u64,
}

/// The guest used up its time on a processor.
#[derive(Debug, thiserror::Error)]
#[error("out of processor time")]
pub(super) struct CpuExhausted;

/// What a store begins with.
pub(super) struct Beginning {
    pub(super) memory: MemoryBudget,
    pub(super) cpu: CpuBudget,
    pub(super) journal: Journal,
    pub(super) config: Arc<BTreeMap<String, String>>,
    pub(super) grants: Arc<Grants>,
    pub(super) messages: Messages,
    pub(super) course: Option<Course>,
}

impl State {
    pub(super) fn new(beginning: Beginning) -> State {
        let Beginning { memory, cpu, journal, config, grants, messages, course } = beginning;
        State { memory, cpu, journal, config, grants, messages, course, wasi: None }
    }

    /// Begins a run: budgets that are for one run are full again.
    pub(super) fn begin(&mut self, event: &Event, requests: Requests) {
        self.memory.refused = false;
        self.cpu.used = 0;
        self.journal.begin(&event.id);
        self.messages.begin(requests);
        if let Some(course) = &self.course {
            course.begin(event);
        }
        if let Some(http) = self.http_in_use() {
            http.begin(&event.id);
        }
    }

    /// Ends a run: its log, and its requests.
    pub(super) fn end(&mut self) {
        self.journal.finish();
        if let Some(http) = self.http_in_use() {
            http.end();
        }
    }

    /// What the guest's own words are without.
    pub(super) fn redaction(&self) -> &Redaction {
        &self.grants.redaction
    }

    fn http_in_use(&mut self) -> Option<&mut Http> {
        self.wasi.as_mut()?.http.as_mut()
    }

    fn wasi(&mut self) -> &mut Wasi {
        let (journal, grants, course) = (&self.journal, &self.grants, self.course.as_ref());
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(journal, grants, course)))
    }
}

impl CpuBudget {
    /// A budget of this much time, counted in ticks, one at least.
    pub(super) fn new(most: Duration) -> CpuBudget {
        let most = most.as_micros().div_ceil(TICK.as_micros());
        CpuBudget { most: u64::try_from(most).unwrap_or(u64::MAX).max(1), used: 0 }
    }

    /// Called at each tick in which the guest ran: lets its neighbours run, or
    /// ends it.
    pub(super) fn tick(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        let cpu = &mut store.data_mut().cpu;
        cpu.used += 1;
        if cpu.used > cpu.most {
            return Err(wasmtime::Error::new(CpuExhausted));
        }
        // tokio's own yield looks after its timers and sockets before it comes back.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }
}

impl MemoryBudget {
    /// A budget of this many bytes.
    pub(super) fn new(most: u64) -> MemoryBudget {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        MemoryBudget { most, used: 0, last: 0, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        let used = self.used.saturating_add(more);
        if used > self.most {
            self.refused = true;
            return false;
        }
        self.used = used;
        self.last = more;
        true
    }

    /// Bytes that the host keeps for the guest.
    ///
    /// # Errors
    /// If they are more than are left: the guest has to end.
    pub(super) fn take(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.grow(0, bytes) {
            true => Ok(()),
            false => Err(wasmtime::Error::msg("no memory is left for the guest's messages")),
        }
    }

    /// The host keeps them no longer.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// The growth was allowed, but the guest's own maximum or the system was in the
    /// way: not for this budget to explain.
    fn take_back(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a memory could not grow");
        self.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.refused = true;
            return Ok(false);
        }
        Ok(self.grow(current * ELEMENT, desired * ELEMENT))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a table could not grow");
        self.take_back();
        Ok(())
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

impl Wasi {
    /// Clocks and random numbers work; what is granted, works; no arguments, no
    /// sockets. What is denied by default is denied again: defaults change.
    fn new(journal: &Journal, grants: &Grants, course: Option<&Course>) -> Wasi {
        let mut ctx = WasiCtx::builder();
        ctx.stdout(journal.stream(Stream::Stdout))
            .stderr(journal.stream(Stream::Stderr))
            .max_random_size(RANDOM)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if let Some(course) = course {
            ctx.wall_clock(course.wall());
            ctx.secure_random(course.secure()).insecure_random(course.insecure());
        }
        let ctx = grants.give(&mut ctx);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Wasi { ctx, table, http: None }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (journal, outbound) = (self.journal.clone(), Arc::clone(&self.grants.outbound));
        let wasi = self.wasi();
        let http = wasi.http.get_or_insert_with(|| Http::new(outbound, journal.event()));
        WasiHttpCtxView { hooks: &mut http.hooks, ctx: &mut http.ctx, table: &mut wasi.table }
    }
}
