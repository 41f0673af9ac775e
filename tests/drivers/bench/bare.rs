//! wasmtime alone: the same contract, the same pools, instances from the same
//! kind of template, and none of Pelton's limits.

use std::path::Path;

use pelton::event::Event;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::bindings::{
    Plugin, PluginPre,
    pelton::events::{
        config, log,
        types::{self, HeaderParam},
    },
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// A component that is ready to be instantiated.
pub struct Bare {
    engine: wasmtime::Engine,
    pre: PluginPre<State>,
}

/// An instance in its store.
pub struct Instance {
    store: Store<State>,
    guest: Plugin,
}

/// What the guest may use; made when it first does.
#[derive(Default)]
struct State(Option<Box<(WasiCtx, ResourceTable)>>);

impl Bare {
    pub fn new(component: &Path) -> wasmtime::Result<Bare> {
        let engine = wasmtime::Engine::new(&settings())?;
        let mut linker = Linker::new(&engine);
        Plugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let component = Component::from_file(&engine, component)?;
        let pre = PluginPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Bare { engine, pre })
    }

    pub async fn instantiate(&self) -> wasmtime::Result<Instance> {
        let mut store = Store::new(&self.engine, State::default());
        let guest = self.pre.instantiate_async(&mut store).await?;
        Ok(Instance { store, guest })
    }
}

impl Instance {
    pub async fn call(&mut self, event: &Event) -> anyhow::Result<()> {
        let headers: Vec<_> = event
            .headers
            .iter()
            .map(|header| HeaderParam { name: &header.name, value: &header.value })
            .collect();
        let event = types::Event {
            id: &event.id,
            subject: &event.subject,
            headers: &headers,
            payload: &event.payload,
            reply_to: None,
            time: event.time_ms,
            attempt: event.attempt,
            position: event.position.as_ref().map(|position| types::Position {
                stream: &position.stream,
                sequence: position.sequence,
            }),
        };
        let answer = self.guest.pelton_events_handler().call_handle(&mut self.store, event).await?;
        anyhow::ensure!(answer.is_ok_and(|outputs| outputs.is_empty()), "the guest did something");
        Ok(())
    }
}

/// Pools as in `runtime/src/plugin/engine.rs`.
fn settings() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.max_memories_per_component(4)
        .max_tables_per_component(4)
        .table_elements(100_000)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl log::Host for State {
    fn write(&mut self, _level: log::Level, _message: String) {}
}

impl config::Host for State {
    fn get(&mut self, _key: String) -> Option<String> {
        None
    }
}

impl types::Host for State {}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let make = || Box::new((WasiCtx::builder().build(), ResourceTable::new()));
        let (ctx, table) = &mut **self.0.get_or_insert_with(make);
        WasiCtxView { ctx, table }
    }
}
