//! `make demo`: the order pipeline of `examples/orders` on a nats-server of its
//! own. Feeds it, shows what comes out as it comes, counts everything from the
//! streams, and stops all that it started.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal, built on the harness of the tests"
)]
#![expect(dead_code, unused_imports, reason = "the tests use more of their harness than this does")]

#[path = "../harness/mod.rs"]
mod harness;

#[path = "demo/account.rs"]
mod account;

use std::{
    collections::BTreeMap,
    process::{Command, ExitCode},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use account::Account;
use clap::Parser;
use futures::StreamExt as _;
use harness::{Daemon, Server, eventually, root};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// Run the order pipeline and show what comes out
#[derive(Parser)]
struct Arguments {
    /// Number of orders; one of them is poison, one needs a retry
    #[arg(long, default_value_t = 1200)]
    events: usize,
    /// Orders a second
    #[arg(long, default_value_t = 400)]
    rate: u32,
}

/// When each order was published, and when its decision was seen.
type Times = Arc<Mutex<BTreeMap<String, (Instant, Option<Instant>)>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    // Whatever ends first, dropping the demo stops its server and its daemon.
    tokio::select! {
        account = demo(&arguments) => verdict(&account),
        _ = interrupt.recv() => interrupted(),
        _ = terminate.recv() => interrupted(),
    }
}

fn interrupted() -> ExitCode {
    eprintln!("demo: interrupted; everything that it started is stopped");
    ExitCode::from(130)
}

fn verdict(account: &Account) -> ExitCode {
    println!("{account}");
    match account.is_right() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn demo(arguments: &Arguments) -> Account {
    let orders = orders(arguments.events);
    let server = Server::start().await;
    println!("nats-server at {}, JetStream in a temporary folder", server.url());
    let manifest = root().join("examples/orders/pelton.toml");
    let logs = tempfile::tempdir().unwrap();
    let flags = [manifest.to_str().unwrap(), "--nats-url", &server.url()];
    let mut daemon = Daemon::launch(logs.path(), &flags);
    daemon.ready().await;
    println!("pelton runs {}, {} orders follow\n", manifest.display(), orders.len());

    let times = Times::default();
    let client = server.client().await;
    let decided = client.subscribe("orders.*").await.unwrap();
    let watcher = tokio::spawn(watch(decided, Arc::clone(&times)));
    let bar = bar(orders.len());
    let feeding = feed(&server, &orders, arguments.rate, &times);
    tokio::join!(feeding, show(&server, &daemon, &bar, orders.len()));
    watcher.abort();

    let account = Account::of(&server).await;
    let status = daemon.stop().await;
    bar.finish_and_clear();
    println!("{}", account.table(&latencies(&times)));
    println!("pelton stopped: {status}\n");
    account
}

/// The orders that `make-events.py` prints.
fn orders(count: usize) -> Vec<Value> {
    let script = root().join("examples/orders/make-events.py");
    let printed =
        Command::new("python3").arg(script).args(["--count", &count.to_string()]).output();
    let printed = printed.expect("python3 is needed: apt-get install python3");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let lines = String::from_utf8(printed.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Publishes every order, `rate` a second, with its headers.
async fn feed(server: &Server, orders: &[Value], rate: u32, times: &Times) {
    let jetstream = server.jetstream().await;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    let mut acks = Vec::new();
    for order in orders {
        tick.tick().await;
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in order["headers"].as_object().unwrap() {
            headers.insert(name.as_str(), value.as_str().unwrap());
        }
        let subject = order["subject"].as_str().unwrap().to_owned();
        let payload = order["payload"].to_string();
        times.lock().unwrap().insert(id(&order["payload"]), (Instant::now(), None));
        acks.push(jetstream.publish_with_headers(subject, headers, payload.into()).await.unwrap());
    }
    for ack in acks {
        ack.await.expect("the stream stores an order");
    }
}

/// Notes when the decision on each order comes.
async fn watch(mut decided: async_nats::Subscriber, times: Times) {
    while let Some(message) = decided.next().await {
        if !matches!(message.subject.as_str(), "orders.accepted" | "orders.review") {
            continue;
        }
        let order: Value = serde_json::from_slice(&message.payload).unwrap();
        if let Some((_, seen)) = times.lock().unwrap().get_mut(&id(&order)) {
            seen.get_or_insert(Instant::now());
        }
    }
}

fn id(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

/// A line that follows the pipeline until it has nothing left to do.
async fn show(server: &Server, daemon: &Daemon, bar: &ProgressBar, n_orders: usize) {
    let letters = "orders_DEAD_LETTERS";
    let mut lines = Lines::default();
    eventually("the pipeline decides every order", async || {
        let out = count(server, "orders.accepted").await + count(server, "orders.review").await;
        let dead = server.count(letters).await;
        let retried = daemon.metric("pelton_events_retried_total{plugin=\"price\"}").await;
        bar.set_position(out + dead);
        let message = format!("{out} decided, {retried} retried, {dead} dead-lettered");
        lines.print(bar, &message);
        bar.set_message(message);
        (out + dead >= n_orders as u64).then_some(())
    })
    .await;
    for plugin in ["validate", "price", "branch", "alert"] {
        server.settled("ORDERS", &format!("orders-{plugin}")).await;
    }
}

/// Where there is no terminal for the bar: a line a second.
#[derive(Default)]
struct Lines {
    last: Option<Instant>,
}

impl Lines {
    fn print(&mut self, bar: &ProgressBar, message: &str) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        if bar.is_hidden() && is_due {
            println!("  {message}");
            self.last = Some(Instant::now());
        }
    }
}

/// How many orders the stream stores under `subject`.
async fn count(server: &Server, subject: &str) -> u64 {
    let orders = server.jetstream().await.get_stream("ORDERS").await.unwrap();
    let mut counts = orders.info_with_subjects(subject).await.unwrap();
    counts.next().await.map_or(0, |count| count.unwrap().1 as u64)
}

fn bar(n_orders: usize) -> ProgressBar {
    let style = "{bar:30} {pos}/{len} orders, {per_sec}: {msg}";
    let bar = ProgressBar::with_draw_target(Some(n_orders as u64), ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(style).unwrap())
}

/// Publish to decision, sorted.
fn latencies(times: &Times) -> Vec<Duration> {
    let times = times.lock().unwrap();
    let taken = times.values().filter_map(|(from, to)| Some(to.as_ref()?.duration_since(*from)));
    let mut taken: Vec<_> = taken.collect();
    taken.sort();
    taken
}
