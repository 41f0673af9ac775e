//! An event-processing runtime for NATS with sandboxed WebAssembly handlers.
//!
//! One event, start to end: [`broker`] delivers it, [`dispatch`] has it handled
//! by a [`plugin`], publishes what the plugin returned, and settles the
//! delivery last, once.
//!
//! Modules are listed bottom up; a module imports only from those on floors
//! below it (`tests/tidy.rs` checks that).

pub mod event;
pub mod explain;
pub mod subject;
pub mod telemetry;

pub mod manifest;

pub mod broker;
pub mod plugin;

pub mod dispatch;

pub mod admin;
pub mod build;
pub mod cases;
pub mod dead_letters;
pub mod host;
