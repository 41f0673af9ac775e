//! The dispatcher on the model of JetStream, with time that passes at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use super::*;
use crate::{
    broker::{
        From, Keep, Message, Subscription,
        model::{self, Fault},
    },
    event::Output,
    manifest::{Ack, Discard, Retention, Start, Storage, Stream},
    plugin::CallError,
    subject::Pattern,
    telemetry::Metrics,
};
use tokio::time::sleep;

const ACK_WAIT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 4;

/// Does what the payload says, and counts what runs at once.
#[derive(Clone, Default)]
struct Script {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    runs: Arc<AtomicUsize>,
}

impl Handler for Script {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(running, Ordering::Relaxed);
        let _left = Left(&self.running);
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        let mut words = text.split(' ');
        match (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) {
            (Some("panic"), _) if event.attempt == 1 => panic!("asked to"),
            (Some("sleep"), Some(seconds)) => sleep(Duration::from_secs(seconds)).await,
            (Some("fail"), Some(n)) if u64::from(event.attempt) <= n => {
                return Err(CallError::Retry { reason: text, after: None });
            }
            (Some("reject"), _) => return Err(CallError::Reject { reason: text }),
            (Some("elsewhere"), _) => return Ok(vec![output("elsewhere", 0, event)]),
            _ => {}
        }
        Ok(vec![output("out.a", 0, event), output("out.b", 1, event)])
    }
}

/// Counts down whatever happens.
struct Left<'a>(&'a AtomicUsize);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn output(subject: &str, index: usize, event: &Event) -> Output {
    let position = event.position.as_ref().unwrap();
    let payload = format!("{}.{index}", position.sequence).into();
    Output { subject: subject.to_owned(), headers: Vec::new(), payload }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn stream(subject: &str) -> Stream {
    Stream {
        subjects: vec![pattern(subject)],
        retention: Retention::Limits,
        storage: Storage::Memory,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        duplicate_window: Duration::from_secs(3600),
    }
}

/// A dispatcher at work on a model of JetStream.
struct World {
    broker: model::Broker,
    script: Script,
    metrics: Metrics,
    stop: CancellationToken,
    host: tokio::task::JoinHandle<Drained>,
}

impl World {
    async fn start(payloads: &[String], concurrency: usize, faults: &[Fault]) -> World {
        let broker = filled(payloads).await;
        faults.iter().for_each(|fault| broker.inject(*fault));
        World::on(broker, concurrency).await
    }

    async fn on(broker: model::Broker, concurrency: usize) -> World {
        let (script, metrics) = (Script::default(), Metrics::new());
        let dispatcher = Dispatcher::new(
            broker.clone(),
            script.clone(),
            plan(concurrency),
            Admission::new(1024, 1 << 30),
            metrics.plugin("p"),
        );
        let source = broker.subscribe(subscription(concurrency)).await.unwrap();
        let stop = CancellationToken::new();
        let host =
            tokio::spawn(dispatcher.run(Sources { live: source, replays: None }, stop.clone()));
        World { broker, script, metrics, stop, host }
    }

    /// One that keeps the order of the events of a subject.
    async fn ordered(broker: model::Broker, script: Script, on_failure: OnFailure) -> World {
        let metrics = Metrics::new();
        let order = Some((OrderBy::Token(2), on_failure));
        let dispatcher = Dispatcher::new(
            broker.clone(),
            script.clone(),
            Plan { order, ..plan(1) },
            Admission::new(1024, 1 << 30),
            metrics.plugin("p"),
        );
        let live = broker.subscribe(Subscription { exclusive: true, ..subscription(4_096) });
        let (sources, stop) =
            (Sources { live: live.await.unwrap(), replays: None }, CancellationToken::new());
        let host = tokio::spawn(dispatcher.run(sources, stop.clone()));
        World { broker, script, metrics, stop, host }
    }

    /// Lets time pass until every event is settled; at most an hour of it.
    async fn settled(&self) {
        let all = async {
            while self.broker.backlog("IN", "h-p") != Some((0, 0)) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let hour = Duration::from_secs(3600);
        timeout(hour, all).await.expect("everything settles within an hour");
    }

    async fn end(self) -> Drained {
        self.stop.cancel();
        self.host.await.unwrap()
    }

    fn payloads(&self, name: &str) -> Vec<String> {
        let stored = self.broker.stored(name);
        stored.iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    }
}

/// A model with the streams of these tests and events in `IN`.
async fn filled(payloads: &[String]) -> model::Broker {
    filled_by_key(payloads.iter().map(|payload| ("x", payload.as_str()))).await
}

/// The same with events of these keys.
async fn filled_by_key(events: impl IntoIterator<Item = (&str, &str)>) -> model::Broker {
    let broker = model::Broker::new();
    for (name, subject) in [("IN", "in.>"), ("OUT", "out.>"), ("DEAD", "dead.>")] {
        broker.make_stream(name, &stream(subject));
    }
    for (index, (key, payload)) in events.into_iter().enumerate() {
        let keep = Keep::Stored { id: format!("in {index}"), stream: None };
        let (subject, payload) = (format!("in.{key}"), Bytes::from(payload.to_owned()));
        let message = Message { subject, headers: Vec::new(), payload, keep };
        broker.publish(&message).await.unwrap();
    }
    broker
}

fn plan(concurrency: usize) -> Plan {
    let keeper = Keeper { stream: "OUT".into(), max_message: None };
    let out = vec![(pattern("out.>"), keeper)];
    Plan {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        digest: "d".to_owned(),
        concurrency,
        max_held_bytes: 1 << 30,
        rate: None,
        breaker: None,
        order: None,
        ack_wait: ACK_WAIT,
        retry: manifest::Retry {
            attempts: ATTEMPTS,
            first: Duration::from_secs(1),
            max: Duration::from_secs(8),
            budget: 1.0,
        },
        publishing: Publishing {
            allowed: vec![(pattern("out.>"), Rule::Stored)],
            stored: out,
            max_message: 1 << 20,
        },
        requests: Vec::new(),
        dead_letters: Some(DeadLetters {
            stream: "DEAD".to_owned(),
            prefix: "dead.h".to_owned(),
            source_keeps: true,
        }),
        drain: Duration::from_secs(10),
        seed: 1,
    }
}

fn subscription(concurrency: usize) -> Subscription {
    Subscription {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        subjects: vec![pattern("in.>")],
        from: From::Stream {
            stream: "IN".to_owned(),
            ack_wait: ACK_WAIT,
            max_deliver: 1000,
            start: Start::All,
            ack: Ack::Plain,
        },
        max_in_flight: concurrency,
        exclusive: false,
        replicas: 1,
    }
}

/// Publishes an event of its own key.
async fn publish_keyed(broker: &model::Broker, key: usize, payload: &str) {
    let keep = Keep::Stored { id: format!("key {key}"), stream: None };
    let (subject, payload) = (format!("in.k{key}"), Bytes::from(payload.to_owned()));
    let message = Message { subject, headers: Vec::new(), payload, keep };
    broker.publish(&message).await.unwrap();
}

/// Those that block their keys are at the gate when the last of the others
/// ends, and back off soon after: that alone makes room for more.
#[tokio::test(start_paused = true)]
async fn keys_that_are_blocked_do_not_keep_others_from_being_asked_for() {
    const BLOCKED: usize = 2;
    const OTHERS: usize = 400;
    let broker = filled(&[]).await;
    for key in 0..BLOCKED + OTHERS {
        // Longer than the longest delay.
        let payload = if key < BLOCKED { "fail 999999" } else { "sleep 9" };
        publish_keyed(&broker, key, payload).await;
    }
    let world = World::ordered(broker.clone(), Script::default(), OnFailure::Block).await;

    let all = async {
        while broker.stored("OUT").len() < 2 * OTHERS {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let outcome = timeout(Duration::from_secs(7_200), all).await;
    assert!(outcome.is_ok(), "only {} of {} outputs", broker.stored("OUT").len(), 2 * OTHERS);
    assert_eq!(world.end().await, Drained::Settled);
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// The oracle: each event is done, once, or dead, once, as its payload says.
fn assert_accounted(world: &World, payloads: &[String], seed: u64) {
    let mut expected = BTreeSet::new();
    let mut dead = BTreeMap::new();
    for (sequence, payload) in (1..).zip(payloads) {
        let hopeless = format!("fail {ATTEMPTS}");
        if ["reject", "elsewhere", &hopeless].contains(&payload.as_str()) {
            *dead.entry(payload.clone()).or_insert(0) += 1;
        } else {
            expected.extend([format!("{sequence}.0"), format!("{sequence}.1")]);
        }
    }
    let out = world.payloads("OUT");
    let distinct: BTreeSet<_> = out.iter().cloned().collect();
    assert_eq!(distinct.len(), out.len(), "seed {seed}: an output is there twice");
    assert_eq!(distinct, expected, "seed {seed}: outputs are lost or made up");
    let mut buried = BTreeMap::new();
    for payload in world.payloads("DEAD") {
        *buried.entry(payload).or_insert(0) += 1;
    }
    assert_eq!(buried, dead, "seed {seed}: dead letters");
}

#[tokio::test(start_paused = true)]
async fn every_answer_ends_as_it_should() {
    let payloads = texts(&["ok", "fail 2", "reject", "elsewhere", "fail 4", "sleep 100", "panic"]);
    let world = World::start(&payloads, 3, &[]).await;
    world.settled().await;
    assert_accounted(&world, &payloads, 0);
    let counted = world.metrics.render();
    for line in [
        "pelton_events_done_total{plugin=\"p\"} 4",
        "pelton_events_rejected_total{plugin=\"p\"} 1",
        "pelton_outputs_refused_total{plugin=\"p\"} 1",
        "pelton_events_retried_total{plugin=\"p\"} 6",
        "pelton_host_panics_total{plugin=\"p\"} 1",
        "pelton_inflight_events{plugin=\"p\"} 0",
    ] {
        assert!(counted.contains(line), "no `{line}` in\n{counted}");
    }
    assert_eq!(world.end().await, Drained::Settled);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_there_are_slots() {
    let world = World::start(&vec!["sleep 5".to_owned(); 40], 3, &[]).await;
    world.settled().await;
    assert_eq!(world.script.most.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_beyond_the_ack_wait_is_not_delivered_again() {
    let world = World::start(&texts(&["sleep 300"]), 1, &[]).await;
    world.settled().await;
    assert_eq!(world.script.runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_not_answered_is_repeated_under_its_id() {
    use Fault::{PublishLost, PublishUnanswered, PublishUnavailable};
    let faults = [PublishUnanswered, PublishLost, PublishUnavailable, PublishUnanswered];
    let payloads = texts(&["ok", "ok"]);
    let world = World::start(&payloads, 1, &faults).await;
    world.settled().await;
    assert_accounted(&world, &payloads, 0);
    assert_eq!(world.script.runs.load(Ordering::Relaxed), 2, "the handler ran again");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_a_run_and_no_output() {
    let payloads = texts(&["ok"]);
    let world = World::start(&payloads, 1, &[Fault::SettleLost]).await;
    world.settled().await;
    assert_accounted(&world, &payloads, 0);
    assert_eq!(world.script.runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_never_answered_is_not_run_for_ever() {
    let broker = filled(&texts(&["ok"])).await;
    // Crashes, as the server sees them: delivered, never answered.
    for _ in 0..ATTEMPTS + manifest::Retry::CRASH_ALLOWANCE {
        let mut source = broker.subscribe(subscription(1)).await.unwrap();
        source.allow(1);
        drop(source.next().await);
        sleep(ACK_WAIT * 2).await;
    }
    let world = World::on(broker, 1).await;
    world.settled().await;
    assert_eq!(world.script.runs.load(Ordering::Relaxed), 0);
    let dead = world.broker.stored("DEAD");
    let reason = dead[0].headers.iter().find(|header| header.name == "Pelton-Dlq-Reason");
    assert_eq!(reason.unwrap().value, "crash-loop");
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_runs_and_takes_nothing_new() {
    let world = World::start(&vec!["sleep 5".to_owned(); 10], 2, &[]).await;
    sleep(Duration::from_secs(1)).await;
    let broker = world.broker.clone();
    assert_eq!(world.end().await, Drained::Settled);
    assert_eq!(broker.backlog("IN", "h-p"), Some((8, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_at_its_deadline() {
    let world = World::start(&texts(&["sleep 500", "sleep 500"]), 2, &[]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.end().await, Drained::Left(2));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_blocks_its_key_is_not_taken_for_one_that_ends_the_process() {
    let broker = filled(&texts(&["fail 99"])).await;
    for life in 0..4 {
        let order = Some((OrderBy::Token(2), OnFailure::Block));
        let dispatcher = Dispatcher::new(
            broker.clone(),
            Script::default(),
            Plan { order, ..plan(1) },
            Admission::new(1024, 1 << 30),
            Metrics::new().plugin("p"),
        );
        let live = broker.subscribe(Subscription { exclusive: true, ..subscription(4_096) });
        let sources = Sources { live: live.await.unwrap(), replays: None };
        let stop = CancellationToken::new();
        let host = tokio::spawn(dispatcher.run(sources, stop.clone()));
        // Long enough for more failures than there are attempts.
        sleep(Duration::from_secs(120)).await;
        // A stop and a crash by turns.
        if life % 2 == 0 {
            stop.cancel();
            host.await.unwrap();
        } else {
            host.abort();
        }
    }
    assert!(broker.stored("DEAD").is_empty());
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 1)));
}

/// A crash costs an attempt, and no more: those before it are not made again.
#[tokio::test(start_paused = true)]
async fn a_crash_does_not_take_back_the_attempts_at_an_ordered_event() {
    let (broker, script) = (filled(&texts(&["fail 99"])).await, Script::default());
    let runs = || script.runs.load(Ordering::Relaxed);
    let ordered = || World::ordered(broker.clone(), script.clone(), OnFailure::DeadLetter);
    let first = ordered().await;
    let thrice = async {
        while runs() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(3600), thrice).await.unwrap();
    first.host.abort();
    let _second = ordered().await;
    let buried = async {
        while broker.stored("DEAD").is_empty() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(3600), buried).await.unwrap();
    assert_eq!(runs(), ATTEMPTS as usize);
}

/// Only what runs when a process ends may be why it ends.
#[tokio::test(start_paused = true)]
async fn events_that_wait_for_a_slot_are_not_taken_for_what_ends_the_process() {
    let broker = filled_by_key([("a", "sleep 1000"), ("b", "ok"), ("c", "ok")]).await;
    let ordered = || World::ordered(broker.clone(), Script::default(), OnFailure::DeadLetter);
    for _ in 0..=ATTEMPTS + manifest::Retry::CRASH_ALLOWANCE {
        let world = ordered().await;
        sleep(ACK_WAIT).await;
        assert_eq!(world.script.runs.load(Ordering::Relaxed), 1);
        world.host.abort();
        sleep(ACK_WAIT * 2).await;
    }
    let world = ordered().await;
    world.settled().await;

    let dead = broker.stored("DEAD");
    let told = |name| dead[0].headers.iter().find(|header| header.name == name).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(told("Pelton-Dlq-Reason").value, "crash-loop");
    assert_eq!(told("Pelton-Dlq-Subject").value, "in.a");
    assert_eq!(broker.stored("OUT").len(), 4);
}
