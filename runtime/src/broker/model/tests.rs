use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    broker::{Broker as _, Capacity, Delivery as _, Source as _},
    event::{Disposition, Event},
    manifest::{Ack, Discard, Retention, Start, Storage},
    subject::Pattern,
};

mod administration;
mod redelivery;
mod requests;
mod streams;
mod troubles;

const WAIT: Duration = Duration::from_secs(30);

fn pattern(text: &str) -> Vec<Pattern> {
    vec![Pattern::parse(text).unwrap()]
}

fn settings() -> manifest::Stream {
    manifest::Stream {
        subjects: pattern("in.>"),
        retention: Retention::Limits,
        storage: Storage::Memory,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        duplicate_window: Duration::from_secs(60),
    }
}

fn wish(max_in_flight: usize) -> Subscription {
    Subscription {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        subjects: pattern("in.>"),
        from: From::Stream {
            stream: "IN".to_owned(),
            ack_wait: WAIT,
            max_deliver: 3,
            start: Start::All,
            ack: Ack::Plain,
        },
        max_in_flight,
        exclusive: false,
        replicas: 1,
    }
}

fn message(subject: &str, keep: Keep) -> Message {
    Message { subject: subject.to_owned(), headers: Vec::new(), payload: Bytes::new(), keep }
}

fn stored(id: &str) -> Message {
    message("in.a", Keep::Stored { id: id.to_owned(), stream: None })
}

async fn filled(n: usize) -> Broker {
    let broker = Broker::new();
    broker.make_stream("IN", &settings());
    for id in 0..n {
        broker.publish(&stored(&id.to_string())).await.unwrap();
    }
    broker
}

async fn attempt_within(source: &mut Source, limit: Duration) -> Option<(u64, u32)> {
    let delivery = timeout(limit, source.next()).await.ok()??;
    let event = delivery.event().unwrap();
    Some((event.position.unwrap().sequence, event.attempt))
}

#[tokio::test(start_paused = true)]
async fn an_id_is_stored_once_within_the_window() {
    let broker = filled(1).await;
    assert_eq!(broker.publish(&stored("0")).await.unwrap(), Published::Duplicate);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(broker.publish(&stored("0")).await.unwrap(), Published::Stored);
    assert_eq!(broker.stored("IN").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_comes_again_until_the_limit() {
    let broker = filled(1).await;
    let mut source = broker.subscribe(wish(10)).await.unwrap();
    source.allow(10);
    for attempt in 1..=3 {
        assert_eq!(attempt_within(&mut source, WAIT).await, Some((1, attempt)));
        assert_eq!(attempt_within(&mut source, WAIT - Duration::from_millis(1)).await, None);
    }
    assert_eq!(attempt_within(&mut source, WAIT * 10).await, None);
    assert_eq!(broker.stored("IN").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_its_delay_and_progress_for_the_ack_wait() {
    let broker = filled(2).await;
    let mut source = broker.subscribe(wish(10)).await.unwrap();
    source.allow(10);
    let (first, second) = (source.next().await.unwrap(), source.next().await.unwrap());
    sleep(WAIT - Duration::from_secs(1)).await;
    first.settle(Disposition::Retry(Duration::from_secs(5))).await.unwrap();
    second.progress().await.unwrap();
    assert_eq!(attempt_within(&mut source, Duration::from_secs(4)).await, None);
    assert_eq!(attempt_within(&mut source, Duration::from_secs(2)).await, Some((1, 2)));
    assert_eq!(attempt_within(&mut source, Duration::from_secs(20)).await, None);
    assert_eq!(attempt_within(&mut source, Duration::from_secs(5)).await, Some((2, 2)));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_pending_than_the_consumer_or_the_plugin_allows() {
    let broker = filled(5).await;
    let mut source = broker.subscribe(wish(2)).await.unwrap();
    source.allow(10);
    let first = source.next().await.unwrap();
    let _second = source.next().await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT / 2).await, None);
    first.settle(Disposition::Ack).await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT / 4).await, Some((3, 1)));
    assert_eq!(broker.backlog("IN", "h-p"), Some((2, 2)));

    let other = Subscription { plugin: "q".to_owned(), ..wish(10) };
    let mut other = broker.subscribe(other).await.unwrap();
    assert_eq!(attempt_within(&mut other, WAIT).await, None);
    other.allow(1);
    assert_eq!(attempt_within(&mut other, WAIT).await, Some((1, 1)));
    assert_eq!(attempt_within(&mut other, WAIT / 2).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_termination_is_for_ever_and_a_late_answer_counts() {
    let broker = filled(2).await;
    let mut source = broker.subscribe(wish(10)).await.unwrap();
    source.allow(10);
    source.next().await.unwrap().settle(Disposition::Reject).await.unwrap();
    let stale = source.next().await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT * 2).await, Some((2, 2)));
    stale.settle(Disposition::Ack).await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT * 9).await, None);
}

#[tokio::test(start_paused = true)]
async fn faults_happen_once_and_in_order() {
    let broker = filled(0).await;
    broker.inject(Fault::PublishUnanswered);
    broker.inject(Fault::PublishLost);
    broker.inject(Fault::SettleLost);
    assert!(matches!(broker.publish(&stored("a")).await, Err(PublishError::Unknown { .. })));
    assert!(matches!(broker.publish(&stored("b")).await, Err(PublishError::Unknown { .. })));
    assert_eq!(broker.publish(&stored("a")).await.unwrap(), Published::Duplicate);
    assert_eq!(broker.publish(&stored("b")).await.unwrap(), Published::Stored);

    let mut source = broker.subscribe(wish(10)).await.unwrap();
    source.allow(2);
    let delivery = source.next().await.unwrap();
    assert!(delivery.settle(Disposition::Ack).await.is_err());
    assert_eq!(broker.backlog("IN", "h-p"), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_core_event_goes_to_one_of_a_group_and_its_rejection_is_answered() {
    let broker = Broker::new();
    let wish = |plugin: &str, subject: &str| Subscription {
        plugin: plugin.to_owned(),
        subjects: pattern(subject),
        from: From::Core { capacity: Capacity { events: 2, bytes: usize::MAX } },
        ..wish(10)
    };
    let mut first = broker.subscribe(wish("p", "a")).await.unwrap();
    let mut second = broker.subscribe(wish("p", "a")).await.unwrap();
    let mut replies = broker.subscribe(wish("r", "reply")).await.unwrap();
    for source in [&mut first, &mut second, &mut replies] {
        source.allow(10);
    }
    for _ in 0..6 {
        broker.request(&message("a", Keep::Fleeting), "reply");
    }
    assert_eq!(broker.dropped(), [("p".to_owned(), 2), ("r".to_owned(), 0)]);

    let delivery = first.next().await.unwrap();
    assert!(!delivery.redelivers());
    delivery.settle(Disposition::Reject).await.unwrap();
    let reply = replies.next().await.unwrap().event().unwrap();
    assert_eq!(reply.headers[1].value, "500");

    for source in [&mut first, &mut second] {
        source.stop().await;
    }
    assert!(first.next().await.is_some() && first.next().await.is_none());
    assert!(second.next().await.is_some() && second.next().await.is_some());
    assert!(second.next().await.is_none());
}

/// What comes at once, in order: sequences and attempts.
async fn all_that_comes(source: &mut Source) -> Vec<(u64, u32)> {
    let mut came = Vec::new();
    while let Some(one) = attempt_within(source, Duration::from_millis(20)).await {
        came.push(one);
    }
    came
}

async fn take(source: &mut Source, n: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for _ in 0..n {
        taken.push(source.next().await.unwrap());
    }
    taken
}

fn sequence(delivery: &Delivery) -> u64 {
    delivery.event().unwrap().position.unwrap().sequence
}

async fn opened(broker: &Broker, wish: Subscription) -> Source {
    let mut source = broker.subscribe(wish).await.unwrap();
    source.allow(100);
    source
}
