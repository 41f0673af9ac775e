//! A call of a guest that does nothing: Pelton's sandbox, with its limits, its
//! time-outs and its log, against wasmtime alone with the same pools. Both in
//! this process, on one thread.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use pelton::{
    event::{Event, Header, Position},
    manifest::{Environment, Manifest, Surroundings},
    plugin::{Engine, EngineConfig, Handler as _, Plugin},
};

use crate::{Bench, contender::guest, events};

use bare::Bare;

#[path = "bare.rs"]
mod bare;

/// Calls of one run.
pub const CALLS: u32 = 5_000;
/// Calls after which signals are looked at.
const CHUNK: u32 = 500;

/// Microseconds a call, one for each round.
#[derive(Debug, Default)]
pub struct Calls {
    pub bare_reused: Vec<f64>,
    pub bare_fresh: Vec<f64>,
    pub reused: Vec<f64>,
    pub fresh: Vec<f64>,
}

/// All rounds; the first, which warms everything up, does not count.
pub async fn run(bench: &Bench) -> anyhow::Result<Calls> {
    let component = guest("noop")?;
    let cache = bench.folder.path().join("cache");
    let engine = Engine::new(&EngineConfig { cache: Some(cache), ..EngineConfig::default() })?;
    let reused = plugin(&engine, &component, "{ reuse = 1000 }").await?;
    let fresh = plugin(&engine, &component, "\"event\"").await?;
    let bare = Bare::new(&component)?;
    let event = event();
    let mut calls = Calls::default();
    for _ in 0..=bench.rounds {
        let mut instance = bare.instantiate().await?;
        calls.bare_reused.push(timed(async || instance.call(&event).await).await?);
        calls.reused.push(timed(async || handle(&reused, &event).await).await?);
        calls.bare_fresh.push(timed(async || bare.instantiate().await?.call(&event).await).await?);
        calls.fresh.push(timed(async || handle(&fresh, &event).await).await?);
    }
    for series in
        [&mut calls.bare_reused, &mut calls.bare_fresh, &mut calls.reused, &mut calls.fresh]
    {
        series.remove(0);
    }
    Ok(calls)
}

/// The microseconds that one of many calls takes.
async fn timed(mut call: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut took = Duration::ZERO;
    for _ in 0..CALLS / CHUNK {
        let started = Instant::now();
        for _ in 0..CHUNK {
            call().await?;
        }
        took += started.elapsed();
        tokio::task::yield_now().await;
    }
    Ok(took.as_secs_f64() * 1e6 / f64::from(CALLS))
}

async fn handle(plugin: &Plugin, event: &Event) -> anyhow::Result<()> {
    ensure!(plugin.handle(event).await?.is_empty(), "the guest did something");
    Ok(())
}

async fn plugin(engine: &Engine, component: &Path, isolation: &str) -> anyhow::Result<Plugin> {
    let manifest = format!(
        "[streams.IN]\nsubjects = [\"in.stored\"]\n\
         [plugins.noop]\ncomponent = {component:?}\nstream = \"IN\"\n\
         subscribe = [\"in.stored\"]\nisolation = {isolation}\n"
    );
    let surroundings = Surroundings {
        base: Path::new(""),
        environment: &Environment::fixed([]),
        check_component: &|_| Ok(()),
        needs_components: true,
    };
    let manifest = Manifest::parse(manifest.as_bytes(), "bench", &surroundings)?;
    let spec = manifest.plugins.get("noop").context("the manifest has no such plugin")?;
    Ok(engine.load("noop", spec).await?)
}

fn event() -> Event {
    let header =
        |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| Header {
            name: name.to_string(),
            value: values.first().map(ToString::to_string).unwrap_or_default(),
        };
    let position = Position { stream: "IN".to_owned(), stream_created: 1, sequence: 1 };
    Event {
        id: position.event_id(),
        subject: "in.stored".to_owned(),
        headers: events::headers().iter().map(header).collect(),
        payload: events::payload(0),
        reply_to: None,
        time_ms: 1,
        attempt: 1,
        position: Some(position),
        replay: None,
    }
}
