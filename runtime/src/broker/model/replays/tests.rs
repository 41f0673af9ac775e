use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    broker::{Broker as _, Delivery as _, From, Keep, Message, Source as _, Subscription},
    event::{
        Header,
        letter::{Wish, fact},
    },
    manifest::{Ack, DeadLetters},
    subject::Pattern,
};

fn letters() -> DeadLetters {
    DeadLetters {
        stream: "DEAD".to_owned(),
        prefix: "dead".to_owned(),
        max_age: Duration::from_secs(60),
        max_bytes: 1024,
        replicas: 1,
        replays: "REPLAYS".to_owned(),
        replays_prefix: "replays.h".to_owned(),
    }
}

fn letter() -> Vec<Header> {
    let facts = [("Event-Id", "e"), ("Subject", "in.x"), ("Host", "h"), ("Plugin", "p")];
    facts.map(|(name, value)| fact(name, value)).to_vec()
}

async fn source() -> (Broker, super::super::Source) {
    let broker = Broker::new();
    broker.make_stream("REPLAYS", &letters().replays_settings());
    let wish = Subscription {
        host: "h".to_owned(),
        plugin: "p".to_owned(),
        subjects: vec![Pattern::parse("replays.h.p.>").unwrap()],
        from: From::Replays {
            stream: "REPLAYS".to_owned(),
            ack_wait: Duration::from_secs(30),
            max_deliver: 10,
            ack: Ack::Plain,
        },
        max_in_flight: 10,
        exclusive: false,
        replicas: 1,
    };
    assert_eq!(wish.name(), "h-p-replays");
    let mut source = broker.subscribe(wish).await.unwrap();
    source.allow(10);
    (broker, source)
}

async fn publish(broker: &Broker, id: &str, headers: Vec<Header>) {
    let keep = Keep::Stored { id: id.to_owned(), stream: None };
    let (subject, payload) = ("replays.h.p.in.x".to_owned(), Bytes::from_static(b"p"));
    broker.publish(&Message { subject, headers, payload, keep }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_has_the_original_event() {
    let (broker, mut source) = source().await;
    let wish = Wish { namespace: "n".to_owned(), batch: "b".to_owned() };
    publish(&broker, "1", Letter::request(&letter(), &wish, 0)).await;
    let event = source.next().await.unwrap().event().unwrap();
    assert_eq!((&*event.id, &*event.subject, &event.payload[..]), ("e", "in.x", &b"p"[..]));
    assert_eq!(event.replay.unwrap().namespace, "n");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_cannot_be_read() {
    let (broker, mut source) = source().await;
    publish(&broker, "1", letter()).await;
    assert!(source.next().await.unwrap().event().is_err());
}
