//! What a seed chooses: events, settings of the plugin, trouble, crashes.

use std::time::Duration;

use pelton::{
    broker::model::Trouble,
    manifest::{Breaker, OnFailure, OrderBy, Rate, Retry},
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// How often an event is tried.
pub const ATTEMPTS: u32 = 4;

/// Everything that a seed chooses.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    /// What each event wants: a word for the handler, and the key it belongs to.
    pub events: Vec<(String, usize)>,
    pub replicas: usize,
    pub concurrency: usize,
    pub ack_wait: Duration,
    pub order: Option<(OrderBy, OnFailure)>,
    pub breaker: Option<Breaker>,
    pub rate: Option<Rate>,
    pub retry: Retry,
    pub trouble: Trouble,
    /// How long everything goes wrong.
    pub bad_times: Duration,
    /// From one end of a process to the next.
    pub between_ends: Duration,
    /// How long a stop may take.
    pub drain: Duration,
}

/// What events want. `fail n`: until attempt n.
const WISHES: [&str; 10] =
    ["ok", "ok", "ok", "ok", "fail 1", "fail 2", "fail 99", "reject", "sleep 8", "panic"];

impl Scenario {
    pub fn of(seed: u64) -> Scenario {
        let mut random = SmallRng::seed_from_u64(seed);
        let is_ordered = random.random_bool(0.4);
        let n_keys = random.random_range(1..8);
        let events = (0..random.random_range(10..40)).map(|_| {
            let wish = WISHES[random.random_range(0..WISHES.len())];
            (wish.to_owned(), random.random_range(0..n_keys))
        });
        let events = events.collect();
        let seconds = |random: &mut SmallRng, from: u64, to: u64| {
            Duration::from_secs(random.random_range(from..to))
        };
        Scenario {
            seed,
            events,
            replicas: random.random_range(1..4),
            concurrency: random.random_range(1..10),
            ack_wait: seconds(&mut random, 10, 40),
            order: is_ordered.then_some((OrderBy::Token(2), OnFailure::DeadLetter)),
            breaker: random.random_bool(0.4).then(|| Breaker {
                window: random.random_range(2..20),
                minimum: 2,
                failure_ratio: random.random_range(0.2..1.0),
                slow: random.random_bool(0.3).then_some(Duration::from_secs(5)),
                slow_ratio: 0.5,
                open: Duration::from_secs(2),
                max_open: Duration::from_secs(20),
                probes: random.random_range(1..4),
            }),
            rate: random
                .random_bool(0.2)
                .then(|| Rate { runs: random.random_range(1..20), per: Duration::from_secs(1) }),
            retry: Retry {
                attempts: ATTEMPTS,
                first: Duration::from_secs(1),
                max: Duration::from_secs(8),
                budget: 0.25,
            },
            trouble: Trouble::drawn(seed),
            bad_times: seconds(&mut random, 30, 400),
            between_ends: seconds(&mut random, 5, 120),
            drain: seconds(&mut random, 0, 20),
        }
    }
}
