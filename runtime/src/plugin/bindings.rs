//! The contract of `wit/events.wit` as Rust types, generated. They do not leave
//! `plugin`.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    exports: { default: async },
    // An event is lowered straight from where it lies: its payload is copied once.
    ownership: Borrowing { duplicate_if_necessary: true },
});
