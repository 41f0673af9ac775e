//! What has to hold: no output twice or out of nowhere, each event done or
//! dead, order per key.

use std::collections::{BTreeMap, BTreeSet};

use pelton::broker::Message;

use super::{plan::ATTEMPTS, world::World};

/// An output: which one of the two, the key, the event's sequence.
type Output = (String, String, u64);

/// What may never be seen, not even while everything goes wrong.
pub fn safety(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let outputs = outputs(world);
    let mut seen = BTreeSet::new();
    for output in &outputs {
        if !seen.insert(output) {
            violations.push(format!("{output:?} is there twice"));
        }
        if !may_come_out(world, output) {
            violations.push(format!("{output:?} came out of nowhere"));
        }
    }
    if world.scenario.order.is_some() {
        violations.extend(inversions(&outputs, &reasons(world)));
    }
    let mut dead = BTreeSet::new();
    for letter in world.broker.stored("DEAD") {
        let sequence = header(&letter, "Pelton-Dlq-Sequence");
        if !dead.insert(sequence.clone()) {
            violations.push(format!("event {sequence} is in the dead letters twice"));
        }
    }
    violations
}

/// What has to be true at the end.
pub fn accounts(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let out: BTreeSet<_> = outputs(world).into_iter().map(|(index, _, n)| (n, index)).collect();
    let dead = reasons(world);
    for (sequence, (wish, _)) in (1..).zip(&world.scenario.events) {
        let n_out =
            ["0", "1"].iter().filter(|i| out.contains(&(sequence, (**i).to_owned()))).count();
        let reason = dead.get(&sequence).map(String::as_str);
        let is_accounted = match (reason, n_out) {
            (None, 2) => !is_hopeless(wish),
            // So many deliveries were lost that the event was suspected.
            (Some("crash-loop"), _) => true,
            (Some("reject"), 0) => wish == "reject",
            (Some("retry"), 0) => wish.starts_with("fail "),
            _ => false,
        };
        if !is_accounted {
            violations.push(format!(
                "event {sequence} ({wish}): {n_out} outputs, dead letter: {reason:?}"
            ));
        }
    }
    violations
}

/// For each of the two outputs, the events of a key have to come in their order.
///
/// Except for an event that was suspected of ending the host: nobody has waited
/// for what its last run sent, so that may arrive at any time.
fn inversions(outputs: &[Output], dead: &BTreeMap<u64, String>) -> Vec<String> {
    let mut last = BTreeMap::new();
    let mut violations = Vec::new();
    let is_suspect = |sequence| dead.get(sequence).is_some_and(|reason| reason == "crash-loop");
    for (index, key, sequence) in outputs.iter().filter(|(.., sequence)| !is_suspect(sequence)) {
        let before = last.insert((index, key), *sequence).unwrap_or(0);
        if before > *sequence {
            violations.push(format!("{key}: event {sequence} came out after {before}"));
        }
    }
    violations
}

fn is_hopeless(wish: &str) -> bool {
    let attempts = wish.strip_prefix("fail ").and_then(|n| n.parse::<u32>().ok());
    wish == "reject" || attempts.is_some_and(|n| n >= ATTEMPTS)
}

fn may_come_out(world: &World, (index, key, sequence): &Output) -> bool {
    let event = usize::try_from(*sequence).ok().and_then(|n| world.scenario.events.get(n - 1));
    let is_known = event.is_some_and(|(wish, of)| !is_hopeless(wish) && *key == format!("k{of}"));
    is_known && ["0", "1"].contains(&index.as_str())
}

fn outputs(world: &World) -> Vec<Output> {
    let stored = world.broker.stored("OUT");
    let read = |message: &Message| {
        let mut tokens = message.subject.split('.').skip(1).map(str::to_owned);
        let sequence = String::from_utf8_lossy(&message.payload).parse().unwrap();
        (tokens.next().unwrap(), tokens.next().unwrap(), sequence)
    };
    stored.iter().map(read).collect()
}

fn reasons(world: &World) -> BTreeMap<u64, String> {
    let stored = world.broker.stored("DEAD");
    let read = |letter: &Message| {
        (
            header(letter, "Pelton-Dlq-Sequence").parse().unwrap(),
            header(letter, "Pelton-Dlq-Reason"),
        )
    };
    stored.iter().map(read).collect()
}

fn header(message: &Message, name: &str) -> String {
    let header = message.headers.iter().find(|header| header.name == name);
    header.map(|header| header.value.clone()).unwrap_or_default()
}
