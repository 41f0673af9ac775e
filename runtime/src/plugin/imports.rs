//! What a guest may import: our own interfaces, those of other contracts, and
//! WASI as far as it is granted.

use tracing::Level;
use wasmtime::{
    Result,
    component::{HasSelf, InstancePre, Linker},
};
use wasmtime_wasi::p2::bindings::{clocks::monotonic_clock, random::insecure_seed};

use super::{
    bindings::{
        Plugin,
        pelton::events::{config, log, types},
        services::Services,
        wasi_messaging::WasiMessaging,
        wasmcloud::Wasmcloud,
    },
    compiled::Compiled,
    state::State,
};

/// Links a component. What it imports beyond what is served is an error that
/// names it. `wasi:http` is linked for those who import it: requests are refused
/// unless they are granted.
pub(super) fn link(compiled: &Compiled, uses_http: bool) -> Result<InstancePre<State>> {
    let mut linker = Linker::new(compiled.component.engine());
    for module in compiled.modules.iter() {
        linker.root().module(&module.name, &module.module)?;
    }
    Plugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Wasmcloud::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    WasiMessaging::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Services::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // In place of those of WASI: they may follow from the event.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    insecure_seed::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    linker.allow_shadowing(false);
    if uses_http {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    linker.instantiate_pre(&compiled.component)
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        self.journal.line(level.into(), &message);
    }
}

impl config::Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.config.get(&key).cloned()
    }
}

impl types::Host for State {}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Level {
        match level {
            log::Level::Trace => Level::TRACE,
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        }
    }
}
