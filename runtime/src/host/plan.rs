//! From the manifest to what each lower floor has to know. Pure.

use crate::{
    broker::{Capacity, From, Subscription},
    dispatch::{DeadLetters, MAX_LINED_UP, Plan},
    host::Provision,
    manifest::{Manifest, Plugin as Spec},
    plugin::{EngineConfig, Plugin},
    subject::Pattern,
};

/// Without end: the host counts attempts. What the server gives up on is in no
/// dead letter, and an event whose letter is refused, or that blocks its key, has to
/// come again for as long as it takes.
const MAX_DELIVER: u32 = u32::MAX;

/// Deliveries of one consumer that may be unsettled at once, over all replicas:
/// far more than run, since an event that waits for its next attempt counts.
const MAX_ACK_PENDING: usize = 4_096;

/// Sized for all that the host lets in, not for the plugins of this manifest: a
/// reload may bring more of them, and their pools cost only address space.
pub(super) fn engine(manifest: &Manifest) -> EngineConfig {
    EngineConfig {
        max_instances: manifest.host.max_in_flight,
        stack: manifest.host.stack,
        cache: manifest.host.cache.clone(),
        ..EngineConfig::default()
    }
}

pub(super) fn subscription(manifest: &Manifest, name: &str, spec: &Spec) -> Subscription {
    let from = match &spec.stream {
        Some(stream) => From::Stream {
            stream: stream.clone(),
            ack_wait: spec.ack_wait,
            max_deliver: MAX_DELIVER,
            start: spec.start,
            ack: spec.ack,
        },
        None => {
            From::Core { capacity: Capacity { events: spec.queue, bytes: held_bytes(manifest) } }
        }
    };
    Subscription {
        host: manifest.host.name.clone(),
        plugin: name.to_owned(),
        subjects: spec.subscribe.clone(),
        from,
        max_in_flight: max_in_flight(spec),
        exclusive: spec.order_by.is_some(),
        replicas: manifest.dead_letters.replicas,
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
            max_deliver: MAX_DELIVER,
            ack: spec.ack,
        },
        max_in_flight: MAX_ACK_PENDING,
        exclusive: false,
        replicas: letters.replicas,
    })
}

/// An ordered plugin has in hand what waits in line, too, and its host is alone.
fn max_in_flight(spec: &Spec) -> usize {
    match spec.order_by {
        Some(_) => MAX_LINED_UP.max(spec.concurrency),
        None => spec.concurrency.saturating_mul(64).max(MAX_ACK_PENDING),
    }
}

/// Whether a dispatcher that runs by one plan does all that the other asks for.
pub(super) fn is_same(left: &Plan, right: &Plan) -> bool {
    comparable(left) == comparable(right)
}

/// Without what is drawn by lot, and without streams that store nothing that the
/// plugin can publish: other plugins' streams come and go.
fn comparable(plan: &Plan) -> Plan {
    let mut plan = Plan { seed: 0, ..plan.clone() };
    let letters = plan.dead_letters.iter();
    let letters = letters.filter_map(|it| Pattern::parse(&format!("{}.>", it.prefix)).ok());
    let allowed = plan.publishing.allowed.iter().map(|(pattern, _)| pattern.clone());
    let published: Vec<_> = allowed.chain(letters).collect();
    plan.publishing.stored.retain(|(stored, _)| published.iter().any(|it| it.overlaps(stored)));
    plan
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
        max_held_bytes: held_bytes(manifest),
        rate: spec.rate,
        breaker: spec.breaker,
        order: spec.order_by.clone().map(|by| (by, spec.on_failure)),
        ack_wait: spec.ack_wait,
        retry: spec.retry.clone(),
        publishing: provision.publishing(spec),
        requests: spec.request.clone(),
        dead_letters: provision.jetstream().then_some(dead_letters),
        drain: manifest.host.drain,
        seed: rand::random(),
    }
}

/// What waits or is in hand may take so much, for each plugin.
fn held_bytes(manifest: &Manifest) -> usize {
    usize::try_from(manifest.host.max_in_flight_bytes).unwrap_or(usize::MAX)
}
