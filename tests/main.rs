//! The integration tests: the real daemon, real guests, a real nats-server.
//!
//! Every test starts its own server on a free port in a temporary folder and
//! stops what it started. A failing test prints the daemon's log.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test helper fails by panicking; .clippy.toml covers only `#[test]` functions"
)]

mod harness;

mod adapters;
mod book;
mod cases;
mod cases_http;
mod chaos;
mod command_line;
mod components;
mod conformance;
mod core_nats;
mod dead_letters;
mod delivery;
mod determinism;
mod dev;
mod examples;
mod faults;
mod flow;
mod grants;
mod hostile;
mod languages;
mod local;
mod misbehaviour;
mod network;
mod new;
mod order;
mod outbound;
mod outbound_languages;
mod pipe;
mod pressure;
mod reload;
mod rotation;
mod setup;
mod shutdown;
mod sight;
mod simulation;
mod simulations;
mod templates;
mod terminal;
mod tidy;
mod webhook;
