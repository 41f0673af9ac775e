//! The contender without Pelton: what an engineer would write who needs only
//! this one job, with the same promises. An output is stored under an id that a
//! second run repeats, then the event is acknowledged.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::{
    Message,
    jetstream::{self, consumer::pull},
};
use bytes::Bytes;
use clap::Subcommand;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value};

use crate::contender::{CONCURRENCY, DURABLE, Route};

/// Messages that the client asks for at a time. More do not make it faster.
const BATCH: usize = 256;

/// This program as a contender.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Read the stream, for the benchmark itself
    #[command(hide = true)]
    NativeJetstream {
        /// The server
        url: String,
    },
    /// Read core NATS, for the benchmark itself
    #[command(hide = true)]
    NativeCore {
        /// The server
        url: String,
    },
}

/// The arguments that make this program take a role.
pub fn arguments(route: Route, url: &str) -> [&str; 2] {
    match route {
        Route::JetStream => ["native-jetstream", url],
        Route::Core => ["native-core", url],
    }
}

/// Does the job until it is killed.
pub async fn run(role: Role) -> anyhow::Result<()> {
    match role {
        Role::NativeJetstream { url } => from_stream(&url).await,
        Role::NativeCore { url } => from_subject(&url).await,
    }
}

async fn from_stream(url: &str) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    let config = pull::Config {
        durable_name: Some(DURABLE.to_owned()),
        ack_wait: Duration::from_secs(30),
        ..Default::default()
    };
    let consumer = jetstream.get_stream("IN").await?.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
    let handled = messages
        .map_err(anyhow::Error::from)
        .try_for_each_concurrent(CONCURRENCY, |message| handle(&jetstream, message));
    handled.await
}

async fn handle(jetstream: &jetstream::Context, message: jetstream::Message) -> anyhow::Result<()> {
    let sequence = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
    let (message, acker) = message.split();
    let mut headers = message.headers.unwrap_or_default();
    headers.insert("Nats-Msg-Id", format!("IN.{sequence}"));
    let output = enrich(&message.payload)?;
    let stored = jetstream.publish_with_headers("out.stored", headers, output).await?;
    stored.await?;
    acker.ack().await.map_err(anyhow::Error::from_boxed)
}

async fn from_subject(url: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut events = client.queue_subscribe("in.core", DURABLE.to_owned()).await?;
    while let Some(Message { headers, payload, .. }) = events.next().await {
        let output = enrich(&payload)?;
        client.publish_with_headers("out.core", headers.unwrap_or_default(), output).await?;
    }
    Ok(())
}

/// The job itself, as in `tests/guests/enrich`.
fn enrich(event: &[u8]) -> anyhow::Result<Bytes> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(event).context("an event is not a JSON object")?;
    fields.insert("enriched".to_owned(), Value::Bool(true));
    Ok(serde_json::to_vec(&fields)?.into())
}
