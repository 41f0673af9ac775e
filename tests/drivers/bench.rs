//! `make bench`: Pelton against a plain Rust loop on the same client that does
//! the same job with the same guarantees, in one run, in turns.
//!
//! What is measured, and how, is said in `bench/`: one file a measurement. All
//! of it runs on one machine, over loopback, with a nats-server of its own, so
//! the rates are for comparison with each other.

#![expect(clippy::print_stdout, reason = "a driver's output is for people")]

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use contender::Contender;
use figures::{Rounds, Run, Summary};
use processes::NatsServer;

#[path = "bench/call.rs"]
mod call;
#[path = "bench/contender.rs"]
mod contender;
#[path = "bench/core_nats.rs"]
mod core_nats;
#[path = "bench/events.rs"]
mod events;
#[path = "bench/figures.rs"]
mod figures;
#[path = "bench/jetstream.rs"]
mod jetstream;
#[path = "bench/latency.rs"]
mod latency;
#[path = "bench/native.rs"]
mod native;
#[path = "bench/noisy.rs"]
mod noisy;
#[path = "bench/processes.rs"]
mod processes;

/// Pelton against a native loop on the same client
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    make bench\n  \
    target/release/examples/bench --only jetstream --rounds 9")]
struct Arguments {
    /// How often each contender runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Events of one run through JetStream; over core NATS 2.5 times as many
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    events: u32,
    /// Measure this alone
    #[arg(long, value_name = "WHAT")]
    only: Option<What>,
    #[command(subcommand)]
    role: Option<native::Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Jetstream,
    Core,
    Call,
    Latency,
    NoisyNeighbour,
}

/// What all measurements share.
struct Bench {
    server: NatsServer,
    client: async_nats::Client,
    folder: TempDir,
    rounds: u32,
    events: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        native::run(role).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends this, what was started is dropped, and so killed.
    tokio::select! {
        done = measure(&arguments) => done.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let server = NatsServer::start().await?;
    let bench = Bench {
        client: async_nats::connect(server.url()).await?,
        server,
        folder: TempDir::with_prefix("pelton-bench-")?,
        rounds: arguments.rounds,
        events: usize::try_from(arguments.events)?,
    };
    let wanted = |what| arguments.only.is_none_or(|only| only == what);
    let mut summary = Summary::default();
    if wanted(What::Jetstream) {
        println!("JetStream → JSON → JetStream: {} events a run, events/s", bench.events);
        let rounds = in_turns(&bench, async |contender| jetstream::run(&bench, contender).await);
        summary.rates("jetstream", &rounds.await?);
    }
    if wanted(What::Core) {
        println!("core → JSON → core: {} events a run, events/s", core_nats::events(&bench));
        let rounds = in_turns(&bench, async |contender| core_nats::run(&bench, contender).await);
        summary.rates("core", &rounds.await?);
    }
    if wanted(What::Call) {
        println!("a call of a guest that does nothing: {} calls a run, µs a call", call::CALLS);
        summary.calls(&call::run(&bench).await?);
    }
    if wanted(What::Latency) {
        println!("JetStream → JSON → JetStream at {} events/s, µs", latency::RATE);
        summary.latencies(&latency::run(&bench).await?);
    }
    if wanted(What::NoisyNeighbour) {
        println!(
            "a plugin beside four that loop, sleep, allocate and trap, at {} events/s, µs",
            latency::RATE
        );
        summary.noisy(&noisy::run(&bench).await?);
    }
    println!("{summary}");
    Ok(())
}

/// Runs all contenders one after the other, again and again, so that what the
/// machine does besides falls on all of them.
async fn in_turns(
    bench: &Bench,
    mut run: impl AsyncFnMut(Contender) -> anyhow::Result<Run>,
) -> anyhow::Result<Rounds> {
    let mut rounds = Rounds::default();
    for round in 1..=bench.rounds {
        for contender in Contender::ALL {
            let run = run(contender).await?;
            println!("  round {round}/{}: {contender:<14} {:>9.0}", bench.rounds, run.rate);
            rounds.add(contender, run);
        }
    }
    Ok(rounds)
}
