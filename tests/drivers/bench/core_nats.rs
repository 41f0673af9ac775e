//! Core → JSON → core: the driver publishes as fast as outputs come back, with a
//! bounded number of events under way, so that nothing is dropped.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::Subscriber;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use crate::{
    Bench,
    contender::{Contender, Route},
    events,
    figures::Run,
    processes::Process,
};

/// Events under way; fewer than fit into the queues of any contender.
const WINDOW: usize = 512;
/// Events before the clock starts.
const WARM_UP: usize = 2_000;
/// How long a contender may take to start.
const START: Duration = Duration::from_secs(60);
/// How long no output may come; longer, and an event is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// The events of one run.
pub fn events(bench: &Bench) -> usize {
    bench.events * 5 / 2
}

/// One run of `contender`.
pub async fn run(bench: &Bench, contender: Contender) -> anyhow::Result<Run> {
    let n = events(bench);
    let mut outputs = bench.client.subscribe("out.core").await?;
    let mut process = contender.start(bench, Route::Core)?;
    answering(bench, &mut outputs, &mut process).await?;
    closed_loop(bench, &mut outputs, &payloads(WARM_UP)).await?;
    let input = payloads(n);
    let (started, before) = (Instant::now(), process.processor_time());
    let received = closed_loop(bench, &mut outputs, &input).await?;
    let (took, processor) = (started.elapsed(), process.processor_time() - before);
    process.stop().await?;
    events::check_all(&received, n)?;
    let processor = processor.as_secs_f64() * 1e6 / n as f64;
    Ok(Run { rate: n as f64 / took.as_secs_f64(), processor })
}

fn payloads(n: usize) -> Vec<Bytes> {
    (0..n).map(events::payload).collect()
}

/// Waits until an event comes back, and every other one sent meanwhile too.
async fn answering(
    bench: &Bench,
    outputs: &mut Subscriber,
    process: &mut Process,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        process.check()?;
        send(bench, events::payload(0)).await?;
        if timeout(Duration::from_millis(20), outputs.next()).await.is_ok() {
            while timeout(Duration::from_millis(300), outputs.next()).await.is_ok() {}
            return Ok(());
        }
    }
    bail!("no output within {START:?}\n{}", process.last_words())
}

/// Sends everything and returns what came back for it.
async fn closed_loop(
    bench: &Bench,
    outputs: &mut Subscriber,
    input: &[Bytes],
) -> anyhow::Result<Vec<Bytes>> {
    let mut received = Vec::with_capacity(input.len());
    let mut sent = 0;
    while received.len() < input.len() {
        let room = (received.len() + WINDOW).min(input.len());
        for event in input.get(sent..room).unwrap_or_default() {
            send(bench, event.clone()).await?;
        }
        sent = sent.max(room);
        let next = timeout(SILENCE, outputs.next()).await;
        let next = next.with_context(|| {
            format!("silence after {} of {} outputs", received.len(), input.len())
        })?;
        received.push(next.context("the subscription has ended")?.payload);
        while let Some(Some(more)) = outputs.next().now_or_never() {
            received.push(more.payload);
        }
    }
    Ok(received)
}

async fn send(bench: &Bench, payload: Bytes) -> anyhow::Result<()> {
    Ok(bench.client.publish_with_headers("in.core", events::headers(), payload).await?)
}
