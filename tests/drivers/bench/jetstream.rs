//! JetStream → JSON → JetStream: a stream that is full already is read through a
//! durable consumer, every event gets a field more, is stored in another stream
//! under an id of its own, and is acknowledged.
//!
//! The rate is taken from the server's clock, between the first output and the
//! last, so neither the start of a process nor its end counts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, consumer::pull, stream};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use tokio::time::{Instant, sleep};

use crate::{
    Bench,
    contender::{Contender, DURABLE, Route},
    events,
    figures::Run,
    processes::Process,
};

/// How often the progress is looked at: seldom, it costs the server time.
const LOOK: Duration = Duration::from_millis(50);
/// How long one run may take.
const LONGEST: Duration = Duration::from_secs(120);

/// One run of `contender`.
pub async fn run(bench: &Bench, contender: Contender) -> anyhow::Result<Run> {
    let jetstream = jetstream::new(bench.client.clone());
    fill(&jetstream, bench.events).await?;
    let mut output = empty(&jetstream, "OUT", "out.stored").await?;
    let mut process = contender.start(bench, Route::JetStream)?;
    let processor = finished(&jetstream, &mut output, &mut process, bench.events).await?;
    process.stop().await?;
    jetstream.get_stream("IN").await?.delete_consumer(DURABLE).await?;
    events::check_all(&stored(&output, bench.events).await?, bench.events)?;
    let state = &output.info().await?.state;
    let took = (state.last_timestamp - state.first_timestamp).as_seconds_f64();
    Ok(Run { rate: (bench.events - 1) as f64 / took, processor })
}

/// The streams that all contenders use, as Pelton makes them.
pub async fn empty(
    jetstream: &jetstream::Context,
    name: &str,
    subject: &str,
) -> anyhow::Result<stream::Stream> {
    if jetstream.get_stream(name).await.is_ok() {
        jetstream.delete_stream(name).await?;
    }
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        duplicate_window: Duration::from_secs(600),
        ..Default::default()
    };
    Ok(jetstream.create_stream(config).await?)
}

/// Stores `n` events in IN, unless that is done.
async fn fill(jetstream: &jetstream::Context, n: usize) -> anyhow::Result<()> {
    if let Ok(stream) = jetstream.get_stream("IN").await
        && stream.cached_info().state.messages == n as u64
    {
        return Ok(());
    }
    empty(jetstream, "IN", "in.stored").await?;
    let stored = iter(0..n).map(|id| async move {
        let (headers, payload) = (events::headers(), events::payload(id));
        jetstream.publish_with_headers("in.stored", headers, payload).await?.await
    });
    stored.buffered(1_000).try_for_each(async |_| Ok(())).await?;
    Ok(())
}

/// Waits until `n` outputs are stored and every event is acknowledged; returns
/// the processor time for an event after the first that were seen.
async fn finished(
    jetstream: &jetstream::Context,
    output: &mut stream::Stream,
    process: &mut Process,
    n: usize,
) -> anyhow::Result<f64> {
    let deadline = Instant::now() + LONGEST;
    let mut first = None;
    loop {
        process.check()?;
        let (stored, processor) = (output.info().await?.state.messages, process.processor_time());
        if stored > 0 {
            let (at_first, before) = *first.get_or_insert((stored, processor));
            if stored >= n as u64 && settled(jetstream).await? {
                let micros = (processor - before).as_secs_f64() * 1e6;
                return Ok(micros / (stored - at_first) as f64);
            }
        }
        ensure!(
            Instant::now() < deadline,
            "not done within {LONGEST:?}; {} of {n} outputs are stored\n{}",
            output.cached_info().state.messages,
            process.last_words()
        );
        sleep(LOOK).await;
    }
}

async fn settled(jetstream: &jetstream::Context) -> anyhow::Result<bool> {
    let input = jetstream.get_stream("IN").await?;
    let info = input.consumer_info(DURABLE).await.context("look at the consumer")?;
    Ok(info.num_pending == 0 && info.num_ack_pending == 0)
}

async fn stored(output: &stream::Stream, n: usize) -> anyhow::Result<Vec<Bytes>> {
    let consumer = output.create_consumer(pull::OrderedConfig::default()).await?;
    let messages = consumer.messages().await?.take(n);
    let payloads = messages.map_ok(|message| message.message.payload);
    Ok(payloads.try_collect().await?)
}
