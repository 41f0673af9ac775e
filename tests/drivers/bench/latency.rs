//! Latency at a fixed rate: events are published when their time has come,
//! whatever became of those before, and measured from that time until the
//! output is seen by a subscriber.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use async_nats::{Subscriber, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    Bench,
    contender::{Contender, DURABLE, Route},
    events,
    jetstream::empty,
    processes::Process,
};

/// Events a second.
pub const RATE: u32 = 1_000;
const EVENTS: usize = 10_000;
/// Events before those that count: code and memory are warm then.
const WARM_UP: usize = 1_000;
const START: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(10);

/// The latencies of each contender, sorted.
pub type Latencies = BTreeMap<Contender, Vec<Duration>>;

/// One run of each contender.
pub async fn run(bench: &Bench) -> anyhow::Result<Latencies> {
    let mut all = Latencies::new();
    for contender in Contender::ALL {
        all.insert(contender, of(bench, contender).await?);
    }
    Ok(all)
}

async fn of(bench: &Bench, contender: Contender) -> anyhow::Result<Vec<Duration>> {
    measured(bench, || contender.start(bench, Route::JetStream)).await
}

/// The latencies through the process that `start` starts, sorted.
pub async fn measured(
    bench: &Bench,
    start: impl FnOnce() -> anyhow::Result<Process>,
) -> anyhow::Result<Vec<Duration>> {
    let jetstream = jetstream::new(bench.client.clone());
    let input = empty(&jetstream, "IN", "in.stored").await?;
    empty(&jetstream, "OUT", "out.stored").await?;
    let mut outputs = bench.client.subscribe("out.stored").await?;
    let mut process = start()?;
    // Waits in the stream until the contender has started.
    send(bench, events::payload(0)).await?;
    if timeout(START, outputs.next()).await.is_err() {
        bail!("no output within {START:?}\n{}", process.last_words());
    }
    open_loop(bench, &mut outputs, &mut process, WARM_UP).await?;
    let mut latencies = open_loop(bench, &mut outputs, &mut process, EVENTS).await?;
    process.stop().await?;
    input.delete_consumer(DURABLE).await?;
    latencies.sort_unstable();
    Ok(latencies)
}

async fn open_loop(
    bench: &Bench,
    outputs: &mut Subscriber,
    process: &mut Process,
    n: usize,
) -> anyhow::Result<Vec<Duration>> {
    let start = Instant::now() + Duration::from_millis(100);
    let due = |id: usize| start + Duration::from_secs_f64(id as f64 / f64::from(RATE));
    let payloads: Vec<_> = (0..n).map(events::payload).collect();
    let publish = async {
        for (id, payload) in payloads.into_iter().enumerate() {
            sleep_until(due(id)).await;
            send(bench, payload).await?;
        }
        Ok(())
    };
    let ((), seen) = tokio::try_join!(publish, seen(outputs, n))?;
    process.check()?;
    let outputs: Vec<_> = seen.iter().map(|(_, output)| output.clone()).collect();
    events::check_all(&outputs, n)?;
    seen.iter().map(|(at, output)| Ok(*at - due(events::id(output)?))).collect()
}

/// When each output was seen, and what it was.
async fn seen(outputs: &mut Subscriber, n: usize) -> anyhow::Result<Vec<(Instant, Bytes)>> {
    let mut seen = Vec::with_capacity(n);
    while seen.len() < n {
        let next = timeout(SILENCE, outputs.next()).await;
        let next = next.with_context(|| format!("silence after {} of {n} outputs", seen.len()))?;
        seen.push((Instant::now(), next.context("the subscription has ended")?.payload));
    }
    Ok(seen)
}

async fn send(bench: &Bench, payload: Bytes) -> anyhow::Result<()> {
    Ok(bench.client.publish_with_headers("in.stored", events::headers(), payload).await?)
}
