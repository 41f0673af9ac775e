//! Scripts that nobody thought of, from a seed.
//!
//! One kind of action a tick, so that nothing depends on which of two things
//! that happen at once the server does first.

use std::collections::BTreeSet;

use pelton::manifest::{Discard, Retention};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::script::{
    Answer::{self, Ack, Progress, Reject, Retry},
    Script, Step, StreamTerms, Terms, plain, usual,
};

const GROUPS: usize = 12;
const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

pub fn script(seed: u64) -> Script {
    let mut random = StdRng::seed_from_u64(seed);
    let stream = stream(&mut random);
    let terms = Terms {
        max_in_flight: if random.random_bool(0.5) { random.random_range(1..4) } else { 100 },
        max_deliver: random.random_range(1..4),
        ..usual()
    };
    let mut groups = vec![vec![
        Step::Stream(stream),
        Step::Fill(random.random_range(1..5)),
        Step::Open("p", terms),
        Step::Allow("p", random.random_range(1..6)),
    ]];
    groups.extend((0..GROUPS).map(|_| group(&mut random)));
    groups.push(vec![Step::Backlog("p"), Step::Stored]);
    Script { name: format!("seed {seed}"), since: (2, 10), groups }
}

fn stream(random: &mut StdRng) -> StreamTerms {
    let limit = random.random_bool(0.3).then(|| random.random_range(2..5));
    StreamTerms {
        retention: if random.random_bool(0.3) { Retention::WorkQueue } else { Retention::Limits },
        discard: if random.random_bool(0.5) { Discard::New } else { Discard::Old },
        max_messages: limit,
        window: if random.random_bool(0.5) { 10 } else { plain().window },
        ..plain()
    }
}

fn group(random: &mut StdRng) -> Vec<Step> {
    let look = [Step::Backlog("p"), Step::Stored];
    match random.random_range(0..10) {
        0 | 1 => vec![Step::Allow("p", random.random_range(1..4))],
        2 | 3 => {
            let id = IDS[random.random_range(0..IDS.len())];
            vec![Step::Publish { id, token: "a", bytes: 10 }]
        }
        4 => look.to_vec(),
        5 => vec![Step::DeleteMessage(random.random_range(1..6))],
        6 if random.random_bool(0.2) => vec![Step::Purge],
        _ => answers(random),
    }
}

/// To deliveries that may have come; those that have not are in the trace as such.
fn answers(random: &mut StdRng) -> Vec<Step> {
    let n = random.random_range(1..4);
    let sequences: BTreeSet<u64> = (0..n).map(|_| random.random_range(1..7)).collect();
    let all = sequences.into_iter().map(|sequence| {
        let attempt = random.random_range(1..3);
        Step::Answer("p", (sequence, attempt), answer(random))
    });
    // One at a time: which of two answers frees a place first is not said.
    all.take(1).collect()
}

fn answer(random: &mut StdRng) -> Answer {
    match random.random_range(0..6) {
        0..=2 => Ack,
        3 => Retry(1 + 4 * random.random_range(0..3)),
        4 => Progress,
        _ => Reject,
    }
}
