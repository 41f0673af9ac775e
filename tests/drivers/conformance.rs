//! `make conformance`: the model of JetStream against real nats-servers, one line
//! a server. Ends with 1 if one of them does otherwise, with both traces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal, built on the harness of the tests"
)]
#![expect(dead_code, unused_imports, reason = "the tests use more of their harness than this does")]

#[path = "../conformance/mod.rs"]
mod conformance;
#[path = "../harness/mod.rs"]
mod harness;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use conformance::{Comparison, Suite, compare};
use tokio::signal::unix::{SignalKind, signal};

/// Run the same scripts on the model of JetStream and on real servers, and
/// compare what happens
///
/// Example: conformance --seeds 200 .tools/nats-server-2.15.1/nats-server
#[derive(Parser)]
struct Arguments {
    /// Binaries of nats-server
    #[arg(required = true)]
    servers: Vec<PathBuf>,
    /// Scripts from seeds, beside those of the rules
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of the seeds
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    // Whatever ends first, dropping the run stops its servers.
    tokio::select! {
        code = run(&arguments) => code,
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

async fn run(arguments: &Arguments) -> ExitCode {
    let suite = Suite { seeds: arguments.seeds, first_seed: arguments.first_seed };
    let mut is_same = true;
    for server in &arguments.servers {
        let comparison = compare(server, suite).await;
        is_same &= comparison.differences.is_empty();
        report(&comparison);
    }
    if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(comparison: &Comparison) {
    for difference in &comparison.differences {
        eprint!("{difference}");
    }
    for known in &comparison.known {
        eprintln!("known: {}: {}", known.script, known.what);
    }
    if comparison.skipped > 0 {
        eprintln!("skipped: {} scripts that need a newer server", comparison.skipped);
    }
    if comparison.repeated > 0 {
        eprintln!("repeated: {} scripts that were late on a busy machine", comparison.repeated);
    }
    println!("{comparison}");
}
