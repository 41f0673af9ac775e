//! A noisy neighbour: the latency of a plugin that behaves, alone and beside
//! four that loop, sleep, allocate and trap on every slot, in one host.
//!
//! What the four do is bounded by the limits in their manifest and by nothing
//! else: they have no circuit breaker, so that they never rest.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use tokio::time::sleep;

use crate::{
    Bench,
    contender::{Contender, Route, guest, manifest, start_pelton},
    jetstream::empty,
    latency::measured,
};

/// How often each of them gets an event: more than they can work off.
const NOISE: Duration = Duration::from_millis(10);
/// The guest, which is also its payload, and its limits.
const NEIGHBOURS: [(&str, &str); 4] =
    [("spin", "limits = { cpu = \"100ms\" }"), ("sleep", ""), ("hog", ""), ("trap", "")];

/// The latencies of the plugin that behaves, sorted.
pub struct Noisy {
    pub alone: Vec<Duration>,
    pub beside: Vec<Duration>,
}

/// One run alone, one with neighbours.
pub async fn run(bench: &Bench) -> anyhow::Result<Noisy> {
    let alone = manifest(Route::JetStream, Contender::ISOLATED, &guest("enrich")?);
    let mut beside = format!("{alone}[streams.NOISE]\nsubjects = [\"noise.*\"]\n");
    for (name, limits) in NEIGHBOURS {
        beside += &neighbour(name, limits)?;
    }
    Ok(Noisy {
        alone: measured(bench, || start_pelton(bench, &alone)).await?,
        beside: {
            empty(&jetstream::new(bench.client.clone()), "NOISE", "noise.*").await?;
            tokio::select! {
                latencies = measured(bench, || start_pelton(bench, &beside)) => latencies?,
                ended = noise(bench) => return Err(ended),
            }
        },
    })
}

fn neighbour(name: &str, limits: &str) -> anyhow::Result<String> {
    Ok(format!(
        "[plugins.{name}]\ncomponent = {:?}\nstream = \"NOISE\"\nsubscribe = [\"noise.{name}\"]\n\
         concurrency = 4\ntimeout = \"1s\"\nbreaker = false\nretry = {{ attempts = 1 }}\n{limits}\n",
        guest(name)?
    ))
}

/// Publishes for the neighbours until it is dropped; the error that ends it.
async fn noise(bench: &Bench) -> anyhow::Error {
    loop {
        for (name, _) in NEIGHBOURS {
            let subject = format!("noise.{name}");
            if let Err(error) = bench.client.publish(subject, Bytes::from(name)).await {
                return error.into();
            }
        }
        sleep(NOISE).await;
    }
}
