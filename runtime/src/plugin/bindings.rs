//! The contract of `wit/events.wit` as Rust types, generated, and those of others
//! in `runtime/wit`. They do not leave `plugin`.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    exports: { default: async },
    // An event is lowered straight from where it lies: its payload is copied once.
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// `wasmcloud:messaging@0.2.0`.
pub(super) mod wasmcloud {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "pelton:adapters/wasmcloud",
        imports: {
            "wasmcloud:messaging/consumer.request": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// `wasi:messaging@0.2.0-draft`.
pub(super) mod wasi_messaging {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "pelton:adapters/wasi-messaging",
        imports: {
            "wasi:messaging/request-reply.request": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "wasi:messaging/types.client": crate::plugin::messages::Client,
            "wasi:messaging/types.message": crate::plugin::messages::Message,
            "wasi:messaging/request-reply.request-options": crate::plugin::messages::RequestOptions,
        },
    });
}

/// What components for other hosts import besides.
pub(super) mod services {
    wasmtime::component::bindgen!({ path: "wit", world: "pelton:adapters/services" });
}
