//! Replicas of one plugin on one model of JetStream, ended and begun again.

use std::time::Duration;

use bytes::Bytes;
use pelton::{
    broker::{
        Broker as _, From, Keep, Message, Subscription,
        model::{self, Trouble},
    },
    dispatch::{
        Admission, DeadLetters, Dispatcher, Drained, Keeper, MAX_LINED_UP, Plan, Publishing, Rule,
        Sources,
    },
    manifest::{Ack, Discard, Retention, Start, Storage, Stream},
    subject::Pattern,
    telemetry::Metrics,
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Outcome, handler::Obedient, oracle, plan::Scenario};

/// How long everything may take once nothing goes wrong any more.
const LIVENESS: Duration = Duration::from_secs(2 * 3_600);

/// One process.
struct Replica {
    stop: CancellationToken,
    dispatcher: JoinHandle<Option<Drained>>,
}

/// Everything of one seed.
pub struct World {
    pub scenario: Scenario,
    pub broker: model::Broker,
    pub handler: Obedient,
    metrics: Metrics,
    random: SmallRng,
    crashes: usize,
}

/// Runs one seed to its end. On a current-thread runtime with paused time.
pub async fn run(scenario: Scenario) -> Outcome {
    // Timers tick in whole milliseconds since the runtime began, which is some
    // nanoseconds ago. From here on, it is whole milliseconds ago.
    sleep(Duration::from_millis(1)).await;
    let mut world = World::new(scenario).await;
    let mut replicas: Vec<_> = (0..world.scenario.replicas).map(|_| world.begin()).collect();
    world.bad_times(&mut replicas).await;
    let mut violations = oracle::safety(&world);
    tracing::debug!(at = ?Instant::now(), "nothing goes wrong any more");
    world.broker.heal();
    let is_settled = world.settled().await;
    for replica in replicas {
        replica.stop.cancel();
        drop(replica.dispatcher.await);
    }
    if !is_settled {
        let left = world.broker.backlog("IN", "h-p");
        violations.push(format!("not settled within {LIVENESS:?}: {left:?}"));
    }
    violations.extend(oracle::safety(&world));
    violations.extend(oracle::accounts(&world));
    violations.dedup();
    world.outcome(violations)
}

impl World {
    async fn new(scenario: Scenario) -> World {
        let broker = model::Broker::new();
        for (name, subject) in [("IN", "in.>"), ("OUT", "out.>"), ("DEAD", "dead.>")] {
            broker.make_stream(name, &stream(subject));
        }
        for (n, (wish, key)) in scenario.events.iter().enumerate() {
            let message = Message {
                subject: format!("in.k{key}"),
                headers: Vec::new(),
                payload: Bytes::from(wish.clone()),
                keep: Keep::Stored { id: format!("in {n}"), stream: None },
            };
            broker.publish(&message).await.unwrap();
        }
        World {
            random: SmallRng::seed_from_u64(scenario.seed ^ 0x5eed),
            broker,
            scenario,
            handler: Obedient::default(),
            metrics: Metrics::new(),
            crashes: 0,
        }
    }

    /// Everything goes wrong, and processes end.
    async fn bad_times(&mut self, replicas: &mut [Replica]) {
        let Scenario { seed, trouble, bad_times, .. } = self.scenario.clone();
        if trouble != Trouble::NONE {
            self.broker.trouble(seed, trouble);
        }
        let end = Instant::now() + bad_times;
        loop {
            let pause = self.scenario.between_ends.mul_f64(self.random.random_range(0.1..2.0));
            if Instant::now() + pause >= end {
                sleep(end - Instant::now()).await;
                return;
            }
            sleep(pause).await;
            let victim = self.random.random_range(0..replicas.len());
            if self.random.random_bool(0.5) {
                self.crashes += 1;
                tracing::debug!(victim, at = ?Instant::now(), "crash");
                replicas[victim].dispatcher.abort();
            } else {
                tracing::debug!(victim, at = ?Instant::now(), "stop");
                replicas[victim].stop.cancel();
                // A supervisor loses its patience at last.
                let dispatcher = &mut replicas[victim].dispatcher;
                drop(timeout(self.scenario.drain * 2 + Duration::from_secs(30), dispatcher).await);
                replicas[victim].dispatcher.abort();
            }
            replicas[victim] = self.begin();
        }
    }

    fn begin(&mut self) -> Replica {
        let stop = CancellationToken::new();
        let broker = self.broker.another();
        let dispatcher = Dispatcher::new(
            broker.clone(),
            self.handler.clone(),
            plan(&self.scenario, self.random.random()),
            Admission::new(1024, 1 << 30),
            self.metrics.plugin("p"),
        );
        let (subscription, stopped) = (subscription(&self.scenario), stop.clone());
        let dispatcher = tokio::spawn(async move {
            let live = loop {
                match broker.subscribe(subscription.clone()).await {
                    Ok(live) => break live,
                    // The server may be away, as it may be at any start.
                    Err(_) => tokio::select! {
                        biased;
                        () = sleep(Duration::from_secs(1)) => {}
                        () = stopped.cancelled() => return None,
                    },
                }
            };
            Some(dispatcher.run(Sources { live, replays: None }, stopped).await)
        });
        Replica { stop, dispatcher }
    }

    /// Lets time pass until every event is settled; not for ever.
    async fn settled(&self) -> bool {
        let all = async {
            while self.broker.backlog("IN", "h-p") != Some((0, 0)) {
                sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(LIVENESS, all).await.is_ok()
    }

    fn outcome(&self, violations: Vec<String>) -> Outcome {
        let counted = self.metrics.render();
        let caught = counted.lines().find_map(|line| {
            let rest = line.strip_prefix("pelton_outputs_deduplicated_total{plugin=\"p\"} ")?;
            rest.parse().ok()
        });
        Outcome {
            events: self.scenario.events.len(),
            runs: self.handler.runs(),
            outputs: self.broker.stored("OUT").len(),
            caught: caught.unwrap_or(0),
            dead: self.broker.stored("DEAD").len(),
            crashes: self.crashes,
            violations,
        }
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn stream(subject: &str) -> Stream {
    Stream {
        subjects: vec![pattern(subject)],
        retention: Retention::Limits,
        storage: Storage::File,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        // Longer than any seed takes.
        duplicate_window: Duration::from_secs(86_400),
    }
}

fn plan(scenario: &Scenario, seed: u64) -> Plan {
    let keeper = Keeper { stream: "OUT".into(), max_message: None };
    let dead =
        DeadLetters { stream: "DEAD".to_owned(), prefix: "dead.h".to_owned(), source_keeps: true };
    Plan {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        digest: "d".to_owned(),
        concurrency: scenario.concurrency,
        max_held_bytes: 1 << 30,
        rate: scenario.rate,
        breaker: scenario.breaker,
        order: scenario.order.clone(),
        ack_wait: scenario.ack_wait,
        retry: scenario.retry.clone(),
        publishing: Publishing {
            allowed: vec![(pattern("out.>"), Rule::Stored)],
            stored: vec![(pattern("out.>"), keeper)],
            max_message: 1 << 20,
        },
        requests: Vec::new(),
        dead_letters: Some(dead),
        drain: scenario.drain,
        seed,
    }
}

fn subscription(scenario: &Scenario) -> Subscription {
    let is_ordered = scenario.order.is_some();
    Subscription {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        subjects: vec![pattern("in.>")],
        from: From::Stream {
            stream: "IN".to_owned(),
            ack_wait: scenario.ack_wait,
            max_deliver: 10_000,
            start: Start::All,
            ack: if is_ordered { Ack::Confirmed } else { Ack::Plain },
        },
        max_in_flight: if is_ordered { MAX_LINED_UP } else { 1_000 },
        exclusive: is_ordered,
        replicas: 1,
    }
}
