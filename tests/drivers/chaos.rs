//! `make chaos`: two replicas of Pelton and their nats-server, killed at random
//! and started again. Counts from the streams what became of every event. Ends
//! with 1 if one was lost or came out twice.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal, built on the harness of the tests"
)]
#![expect(dead_code, unused_imports, reason = "the tests use more of their harness than this does")]

#[path = "../chaos/mod.rs"]
mod chaos;
#[path = "../harness/mod.rs"]
mod harness;

use std::{process::ExitCode, time::Instant};

use chaos::{Plan, Progress, Report, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

/// Kill hosts and their server at random, and count what became of every event
///
/// Example: chaos --events 20000 --host-kills 50 --server-kills 5 --seed 7
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of events; of a hundred, one is poison, one is rejected, four need retries
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// How often a host is killed
    #[arg(long, default_value_t = 50)]
    host_kills: u64,
    /// How often the server is killed
    #[arg(long, default_value_t = 5)]
    server_kills: u64,
    /// Decides whom it hits and when; default: another one each time
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { events, host_kills, server_kills, seed } = arguments;
    let plan = Plan { events, host_kills, server_kills, seed: seed.unwrap_or_else(rand::random) };
    // Now: a run that panics has no last line.
    eprintln!("chaos: seed={}", plan.seed);
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    // Whatever ends first, dropping the run stops its hosts and its server.
    tokio::select! {
        report = watched(plan) => verdict(&report),
        _ = interrupt.recv() => interrupted(plan, 130),
        _ = terminate.recv() => interrupted(plan, 143),
    }
}

fn interrupted(plan: Plan, code: u8) -> ExitCode {
    eprintln!("chaos: interrupted, seed={}", plan.seed);
    ExitCode::from(code)
}

fn verdict(report: &Report) -> ExitCode {
    if !report.is_right() {
        eprintln!("{}", report.account);
    }
    println!("{report}");
    if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn watched(plan: Plan) -> Report {
    let bar = ProgressBar::new(plan.events);
    let style = "{elapsed_precise} {bar:30} {pos}/{len} events  {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
    let began = Instant::now();
    let mut spoken = began;
    let report = run(plan, |progress| {
        let Progress { ended, host_kills, server_kills, caught } = progress;
        bar.set_position(ended);
        bar.set_message(format!("{host_kills}+{server_kills} kills, {caught} duplicates caught"));
        // Where there is no terminal, a line now and then.
        if bar.is_hidden() && spoken.elapsed().as_secs() >= 10 {
            spoken = Instant::now();
            let seconds = began.elapsed().as_secs();
            eprintln!(
                "chaos: {seconds} s, {ended}/{} events, {host_kills}/{} + {server_kills}/{} kills, \
                 {caught} duplicates caught",
                plan.events, plan.host_kills, plan.server_kills
            );
        }
    });
    let report = report.await;
    bar.finish_and_clear();
    report
}
