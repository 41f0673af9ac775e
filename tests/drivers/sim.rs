//! `make sim`: many seeds of the simulation, on all cores. Ends with 1 if one of
//! them violates a promise, with the seed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal, built on what the tests use"
)]

#[path = "../simulation/mod.rs"]
mod simulation;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use simulation::{Outcome, Scenario, run};
use tracing_subscriber::EnvFilter;

/// Run the dispatcher on the model of JetStream, with trouble and crashes that
/// each seed chooses
///
/// Example: sim --seeds 10000
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them; with `--seeds 1`, this one alone
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
}

#[derive(Default)]
struct Total {
    events: usize,
    runs: usize,
    caught: usize,
    dead: usize,
    crashes: usize,
    violations: Vec<(u64, Vec<String>)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What one seed does can be read: RUST_LOG=debug make sim SEEDS=1 SEED=7
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off")),
        )
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| work(&arguments, &next, &total));
        }
    });
    let mut total = total.into_inner().unwrap();
    total.violations.sort();
    report(&arguments, &total, begun)
}

fn work(arguments: &Arguments, next: &AtomicU64, total: &Mutex<Total>) {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= arguments.seeds {
            return;
        }
        let seed = arguments.first_seed.wrapping_add(n);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(run(Scenario::of(seed)));
        total.lock().unwrap().add(seed, outcome);
    }
}

impl Total {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.events += outcome.events;
        self.runs += outcome.runs;
        self.caught += outcome.caught;
        self.dead += outcome.dead;
        self.crashes += outcome.crashes;
        if !outcome.violations.is_empty() {
            self.violations.push((seed, outcome.violations));
        }
    }
}

fn report(arguments: &Arguments, total: &Total, begun: Instant) -> ExitCode {
    for (seed, violations) in total.violations.iter().take(10) {
        eprintln!("seed {seed} (again with: make sim SEEDS=1 SEED={seed}):");
        for violation in violations.iter().take(5) {
            eprintln!("  {violation}");
        }
    }
    let Total { events, runs, caught, dead, crashes, violations } = total;
    println!(
        "{events} events, {runs} runs, {crashes} crashes, {caught} duplicates caught, \
         {dead} dead letters, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    println!("sim: seeds={} violations={}", arguments.seeds, violations.len());
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
