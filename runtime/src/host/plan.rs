//! From the manifest to what each lower floor has to know. Pure.

use crate::{
    broker::{From, Subscription},
    dispatch::{DeadLetters, Plan},
    host::Provision,
    manifest::{Manifest, Plugin as Spec},
    plugin::{EngineConfig, Plugin},
    subject::Pattern,
};

/// A fuse: the server gives up on an event after this many deliveries more than
/// the plugin's attempts. The host settles every event long before, so what
/// blows it is a fault of the host, which must not spin for ever.
const FUSE: u32 = 1_000;

/// Deliveries of one consumer that may be unsettled at once, over all replicas:
/// far more than run, since an event that waits for its next attempt counts.
const MAX_ACK_PENDING: usize = 4_096;

pub(super) fn engine(manifest: &Manifest) -> EngineConfig {
    let concurrency: usize = manifest.plugins.values().map(|plugin| plugin.concurrency).sum();
    EngineConfig {
        max_instances: concurrency.min(manifest.host.max_in_flight).max(1),
        stack: manifest.host.stack,
        cache: manifest.host.cache.clone(),
    }
}

pub(super) fn subscription(manifest: &Manifest, name: &str, spec: &Spec) -> Subscription {
    let from = match &spec.stream {
        Some(stream) => From::Stream {
            stream: stream.clone(),
            ack_wait: spec.ack_wait,
            max_deliver: spec.retry.attempts.saturating_add(FUSE),
            start: spec.start,
            ack: spec.ack,
        },
        None => From::Core { queue: spec.queue },
    };
    Subscription {
        host: manifest.host.name.clone(),
        plugin: name.to_owned(),
        subjects: spec.subscribe.clone(),
        from,
        max_in_flight: max_in_flight(spec),
        exclusive: false,
    }
}

/// What the plugin is asked to run again.
pub(super) fn replays(manifest: &Manifest, name: &str, spec: &Spec) -> Option<Subscription> {
    let letters = &manifest.dead_letters;
    let subject = Pattern::parse(&format!("{}.{name}.>", letters.replays_prefix)).ok()?;
    Some(Subscription {
        host: manifest.host.name.clone(),
        plugin: name.to_owned(),
        subjects: vec![subject],
        from: From::Replays {
            stream: letters.replays.clone(),
            ack_wait: spec.ack_wait,
            max_deliver: spec.retry.attempts.saturating_add(FUSE),
            ack: spec.ack,
        },
        max_in_flight: MAX_ACK_PENDING,
        exclusive: false,
    })
}

/// For order the server hands out one event at a time, to one of all replicas,
/// and none while it waits for its next attempt.
fn max_in_flight(spec: &Spec) -> usize {
    match spec.order_by {
        Some(_) => 1,
        None => spec.concurrency.saturating_mul(64).max(MAX_ACK_PENDING),
    }
}

pub(super) fn dispatch(
    manifest: &Manifest,
    spec: &Spec,
    plugin: &Plugin,
    provision: &Provision,
) -> Plan {
    let dead_letters = DeadLetters {
        stream: manifest.dead_letters.stream.clone(),
        prefix: manifest.dead_letters.prefix.clone(),
        source_keeps: provision.source_keeps(spec),
    };
    Plan {
        host: manifest.host.name.clone(),
        plugin: plugin.name().to_owned(),
        digest: plugin.digest().to_owned(),
        concurrency: spec.concurrency,
        ack_wait: spec.ack_wait,
        retry: spec.retry.clone(),
        publishing: provision.publishing(spec),
        dead_letters: provision.jetstream().then_some(dead_letters),
        drain: manifest.host.drain,
        seed: rand::random(),
    }
}
