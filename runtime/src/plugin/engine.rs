//! The engine: settings, the pools that instances come from, the permits to use
//! them. Made once for a process; it compiles components but runs none.

use std::{io, num::NonZeroUsize, path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

use super::{
    cache::Cache, compiled::Modules, compiling::CompilationListener, epoch::Ticker,
    functions::Functions,
};

/// More instances than this need more address space than a process has.
const MOST_INSTANCES: usize = 2_048;

/// Idle instances beside the running ones. They have slots of their own, so that
/// those of one plugin never keep another from running.
const MOST_IDLE: usize = 1_024;

/// What a host function may use of a guest's stack, beyond the guest's own.
const HOST_STACK: usize = 1_536 << 10;

/// What one component may consist of. Guest languages need 38 core instances
/// (Python without WASI), 3 memories and 3 tables at most.
const CORE_INSTANCES: u32 = 64;
pub(super) const MEMORIES: u32 = 4;
pub(super) const TABLES: u32 = 4;

/// Elements of one table; guest languages need 7,689 at most.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Frames in the backtrace of a trap.
const FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

/// What an engine is made from.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The most instances that run at a time, over all plugins: 1 to 2,048, more
    /// is taken as 2,048. As many again may wait to be reused, up to 1,024.
    pub max_instances: usize,
    /// The stack of a guest, in bytes: 64 KiB to 64 MiB, else the nearest of the two.
    pub stack: u64,
    /// Where compiled components are kept; `None`: `pelton` in the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Whether functions are kept for the next compilation of much the same
    /// component: for a host whose components are just being written. Costs memory.
    pub incremental: bool,
    /// Who is told when a component is compiled.
    pub compilations: CompilationListener,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            max_instances: 1_024,
            stack: 512 << 10,
            cache: None,
            incremental: false,
            compilations: CompilationListener::default(),
        }
    }
}

/// Why no engine could be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The WebAssembly engine refuses its settings on this machine.
    #[error("the webassembly engine does not work on this machine: {0}")]
    Settings(String),
    /// The thread that interrupts guests cannot be started.
    #[error(
        "the thread that interrupts guests cannot be started: {0}; raise the limit for processes (ulimit -u)"
    )]
    Thread(#[source] io::Error),
}

/// Compiles components and owns the pools that their instances come from.
#[derive(Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

/// What an engine and its plugins have in common.
pub(super) struct Shared {
    pub(super) wasm: wasmtime::Engine,
    pub(super) ticker: Ticker,
    /// One permit for each instance that may run.
    pub(super) running: Semaphore,
    /// The first instance of a component is made in a slot of its own.
    pub(super) starting: Semaphore,
    /// One permit for each instance that may wait to be reused.
    pub(super) idle: Arc<Semaphore>,
    /// One component is compiled at a time: it takes all processors as it is.
    pub(super) compiling: Arc<Semaphore>,
    pub(super) cache: Option<Cache>,
    pub(super) modules: Modules,
    /// `None`: nothing is kept.
    pub(super) functions: Option<Arc<Functions>>,
    pub(super) compilations: CompilationListener,
}

/// Where the memory of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Pools, and the kernel says which pages have to be reset (Linux 6.7).
    /// Halves the cost of a fresh instance.
    Scanned,
    /// Pools.
    Pooled,
    /// The operating system, for each instance: slower, but works with little
    /// address space.
    OnDemand,
}

impl Engine {
    /// Makes an engine and starts the thread that interrupts its guests. The
    /// thread ends when the engine and all its plugins are dropped.
    pub fn new(config: &EngineConfig) -> Result<Engine, EngineError> {
        let most = config.max_instances.clamp(1, MOST_INSTANCES);
        if most < config.max_instances {
            tracing::warn!(asked = config.max_instances, most, "too many instances: using fewer");
        }
        let functions = config.incremental.then(Arc::<Functions>::default);
        let wasm = make(config.stack, most, functions.as_ref())?;
        let ticker = Ticker::start(wasm.clone()).map_err(EngineError::Thread)?;
        let cache = Cache::open(config.cache.clone(), &wasm);
        Ok(Engine {
            shared: Arc::new(Shared {
                wasm,
                ticker,
                running: Semaphore::new(most),
                starting: Semaphore::new(1),
                idle: Arc::new(Semaphore::new(most.min(MOST_IDLE))),
                compiling: Arc::new(Semaphore::new(1)),
                cache,
                modules: Modules::default(),
                functions,
                compilations: config.compilations.clone(),
            }),
        })
    }
}

/// The best engine that this machine can have.
fn make(
    stack: u64,
    instances: usize,
    functions: Option<&Arc<Functions>>,
) -> Result<wasmtime::Engine, EngineError> {
    let mut reason = String::new();
    for memory in [Memory::Scanned, Memory::Pooled, Memory::OnDemand] {
        if memory == Memory::OnDemand {
            tracing::warn!(
                reason,
                "no memory pools: instances cost more; raise the limit for address space (ulimit -v)"
            );
        }
        let mut settings = settings(stack, instances, memory);
        if let Some(functions) = functions {
            let kept = settings.enable_incremental_compilation(Arc::<Functions>::clone(functions));
            kept.map_err(|error| EngineError::Settings(format!("{error:#}")))?;
        }
        match wasmtime::Engine::new(&settings) {
            Ok(engine) => return Ok(engine),
            Err(error) => reason = format!("{error:#}"),
        }
        tracing::debug!(?memory, reason, "engine settings not supported here");
    }
    Err(EngineError::Settings(reason))
}

/// Features are left as they are where a guest language may need them. Stacks are
/// not zeroed between guests: Wasm cannot read what it has not written to its
/// stack, and zeroing would add to the cost of every fresh instance.
fn settings(stack: u64, instances: usize, memory: Memory) -> Config {
    let stack = usize::try_from(stack.clamp(64 << 10, 64 << 20)).unwrap_or(512 << 10);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_memory64(false)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        .wasm_backtrace_max_frames(Some(FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    match memory {
        Memory::Scanned | Memory::Pooled => {
            config
                .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, memory)));
        }
        Memory::OnDemand => {
            config
                .memory_reservation(0)
                .memory_reservation_for_growth(1 << 20)
                .memory_guard_size(64 << 10);
        }
    }
    config
}

/// Slots for all instances that run, all that wait and one that is tried. Memories and tables are
/// bounded by the limiter of each store, so slots are as large as they can be:
/// that costs address space only, and spares guests their bounds checks.
fn pool(instances: usize, memory: Memory) -> PoolingAllocationConfig {
    let slots = instances + instances.min(MOST_IDLE) + 1;
    let slots = u32::try_from(slots).unwrap_or(u32::MAX / CORE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * CORE_INSTANCES)
        .total_memories(slots * MEMORIES)
        .total_tables(slots * TABLES)
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ELEMENTS);
    if memory == Memory::Scanned {
        // Pages that stay are reset by copying: cheaper than to fault them in again.
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10);
    }
    pool
}
