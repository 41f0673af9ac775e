use std::{collections::HashSet, future::Future, time::Duration};

use async_nats::jetstream::consumer;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    broker::{Broker as _, DecodeError, Delivery as _, Keep, Source as _},
    event::{Disposition, Header},
    manifest::{Ack, Auth, Discard, Retention, Secret, Start, Storage},
    subject::Pattern,
};

use self::server::Server;

mod core;
mod delivering;
mod malformed;
mod server;
mod setup;

/// Two slow cores run all other tests meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longer than that: what is wasted does not come again while a test waits for it.
const ACK_WAIT: Duration = Duration::from_secs(3_600);

/// Asks again and again, and fails when the answer stays no.
async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn connect(server: &Server) -> Broker {
    Broker::connect(&server.settings(), "test", WhenUnreachable::Fail).await.unwrap()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn stream(subjects: &[&str]) -> manifest::Stream {
    manifest::Stream {
        subjects: patterns(subjects),
        retention: Retention::Limits,
        storage: Storage::File,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        duplicate_window: Duration::from_secs(600),
    }
}

fn subscription(ack: Ack) -> Subscription {
    Subscription {
        host: "host".to_owned(),
        plugin: "plugin".to_owned(),
        subjects: patterns(&["in.>"]),
        from: From::Stream {
            stream: "IN".to_owned(),
            ack_wait: ACK_WAIT,
            max_deliver: 10,
            start: Start::All,
            ack,
        },
        max_in_flight: 1000,
        exclusive: false,
        replicas: 1,
    }
}

fn stored(subject: &str, id: &str) -> Message {
    Message {
        subject: subject.to_owned(),
        headers: Vec::new(),
        payload: Bytes::from(id.to_owned()),
        keep: Keep::Stored { id: id.to_owned(), stream: None },
    }
}

async fn fill(broker: &Broker, numbers: std::ops::Range<usize>) {
    for n in numbers {
        broker.publish(&stored(&format!("in.{n}"), &format!("id-{n}"))).await.unwrap();
    }
}

/// The next delivery, which must come soon.
async fn next(source: &mut Source) -> Delivery {
    let next = timeout(PATIENCE, source.next()).await;
    next.expect("a delivery comes").expect("the source goes on")
}

/// That nothing comes for a while: long against a round trip.
async fn nothing_comes(source: &mut Source) {
    let came = timeout(Duration::from_millis(300), source.next()).await;
    assert!(came.is_err(), "unexpected: {came:?}");
}
