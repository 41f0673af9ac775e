//! Messages that the client cannot read, in the streams of a real server.

use std::{collections::BTreeSet, sync::atomic::AtomicUsize};

use super::*;

const BLOCK: &[u8] = b"NATS/1.0\r\nColour: blue\r\nbad name: x\r\n\r\n";

/// Reads the stream IN with a short ack wait.
async fn source(broker: &Broker, plugin: &str) -> Source {
    let mut wish = Subscription { plugin: plugin.to_owned(), ..subscription(Ack::Plain) };
    if let From::Stream { ack_wait, .. } = &mut wish.from {
        *ack_wait = Duration::from_secs(5);
    }
    broker.subscribe(wish).await.unwrap()
}

/// What a source brought: how often each readable message, and the others.
#[derive(Default)]
struct Brought {
    readable: BTreeMap<u64, u32>,
    unreadable: Vec<DecodeError>,
}

impl Brought {
    /// Takes and settles until there are so many different ones.
    async fn take(&mut self, source: &mut Source, readable: usize, unreadable: usize) {
        while self.readable.len() < readable || self.unreadable.len() < unreadable {
            let delivery = next(source).await;
            self.take_one(source, delivery).await;
        }
    }

    /// Takes what comes again, because an answer got lost in a break, until all
    /// is settled.
    async fn take_the_rest(&mut self, source: &mut Source, broker: &Broker, durable: &str) {
        let deadline = Instant::now() + PATIENCE;
        while broker.backlog("IN", durable).await != Ok((0, 0)) {
            assert!(Instant::now() < deadline, "never: all is settled");
            if let Ok(came) = timeout(Duration::from_millis(20), source.next()).await {
                self.take_one(source, came.expect("the source goes on")).await;
            }
        }
    }

    async fn take_one(&mut self, source: &mut Source, delivery: Delivery) {
        let disposition = match delivery.event() {
            Ok(event) => {
                self.readable.insert(event.position.unwrap().sequence, event.attempt);
                Disposition::Ack
            }
            Err(error) => {
                self.unreadable.push(error);
                Disposition::Reject
            }
        };
        // One that does not reach the server comes again.
        drop(delivery.settle(disposition).await);
        source.allow(1);
    }

    /// Of the unreadable ones. One whose answer got lost is found twice.
    fn sequences(&self) -> Vec<u64> {
        let events = self.unreadable.iter().map(|error| &error.event);
        let sequences = events.map(|event| event.position.as_ref().unwrap().sequence);
        sequences.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[tokio::test]
async fn it_is_found_at_the_first_break_and_takes_no_other_with_it() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let mut source = source(&broker, "plugin").await;
    fill(&broker, 0..10).await;
    server.publish_raw("in.poison", BLOCK, "payload").await;
    fill(&broker, 10..20).await;
    source.allow(100);

    let mut brought = Brought::default();
    brought.take(&mut source, 20, 1).await;

    let [DecodeError { detail, event, headers }] = &brought.unreadable[..] else {
        panic!("{:?}", brought.unreadable)
    };
    assert!(detail.contains("bad name"), "{detail}");
    assert_eq!(headers, BLOCK);
    assert_eq!(event.headers, [Header { name: "Colour".into(), value: "blue".into() }]);
    assert_eq!((event.subject.as_str(), &event.payload[..]), ("in.poison", &b"payload"[..]));
    let position = event.position.clone().unwrap();
    assert_eq!((position.sequence, &event.id), (11, &position.event_id()));
    let age_ms = crate::broker::nats::core::now_ms().abs_diff(event.time_ms);
    assert!(age_ms < 600_000, "{age_ms} ms");
    brought.take_the_rest(&mut source, &broker, "host-plugin").await;
    nothing_comes(&mut source).await;
    assert_eq!(broker.reconnects(), 1);
    assert!(brought.readable.values().all(|attempt| *attempt <= 2), "{:?}", brought.readable);
}

#[tokio::test]
async fn many_in_one_batch_are_found_together() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let mut source = source(&broker, "plugin").await;
    let blocks: [(&[u8], &[u8]); 5] = [
        (b"in.a", b"NATS/1.0\r\nno colon\r\n\r\n"),
        (b"in.b", b"NATS/1.0\r\nA: \xff\r\n\r\n"),
        (b"in.c", b"NATS/1.0\r\n A: continues nothing\r\n\r\n"),
        (b"in.\xc2\xa0d", b"NATS/1.0\r\nA: b\r\n\r\n"),
        (b"in.\xffe", b"NATS/1.0\r\nA: b\r\n\r\n"),
    ];
    for (index, (subject, block)) in blocks.into_iter().enumerate() {
        fill(&broker, index * 3..index * 3 + 3).await;
        server.publish_raw(subject, block, "").await;
    }
    source.allow(100);

    let mut brought = Brought::default();
    brought.take(&mut source, 15, 5).await;

    assert_eq!(brought.sequences(), [4, 8, 12, 16, 20]);
    brought.take_the_rest(&mut source, &broker, "host-plugin").await;
    // What had not been sent when the connection broke may break the next.
    assert!(broker.reconnects() <= 2, "{} reconnects", broker.reconnects());
}

#[tokio::test]
async fn two_sources_of_one_connection_find_it_both() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let (mut left, mut right) = (source(&broker, "left").await, source(&broker, "right").await);
    fill(&broker, 0..50).await;
    server.publish_raw("in.poison", BLOCK, "").await;
    fill(&broker, 50..100).await;
    left.allow(30);
    right.allow(40);

    let (mut of_left, mut of_right) = (Brought::default(), Brought::default());
    tokio::join!(of_left.take(&mut left, 100, 1), of_right.take(&mut right, 100, 1));

    of_left.take_the_rest(&mut left, &broker, "host-left").await;
    of_right.take_the_rest(&mut right, &broker, "host-right").await;
    assert_eq!((of_left.sequences(), of_right.sequences()), (vec![51], vec![51]));
    assert!(broker.reconnects() <= 4, "{} reconnects", broker.reconnects());
}

#[tokio::test]
async fn one_that_broke_another_host_is_found_below_what_was_received() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    server.publish_raw("in.poison", BLOCK, "").await;
    let gone = connect(&server).await;
    drop(source(&gone, "plugin").await);
    // Asks, and has gone before it can look for what it died of.
    let ask = "$JS.API.CONSUMER.MSG.NEXT.IN.host-plugin";
    let client = gone.inner.client();
    let asked = client.request(ask, Bytes::new());
    let delivered = eventually("it is delivered", || async {
        broker.backlog("IN", "host-plugin").await.unwrap() == (0, 1)
    });
    tokio::select! {
        came = asked => panic!("{came:?}"),
        () = delivered => {}
    }
    drop((client, gone));
    fill(&broker, 0..20).await;

    let mut source = source(&broker, "plugin").await;
    let mut brought = Brought::default();
    // New ones first: the other comes when the ack wait is over.
    source.allow(20);
    brought.take(&mut source, 20, 1).await;

    assert_eq!(brought.sequences(), [1]);
    brought.take_the_rest(&mut source, &broker, "host-plugin").await;
    assert!(broker.reconnects() <= 2, "{} reconnects", broker.reconnects());
}

/// Over such a header the client panics and is never heard of again.
#[tokio::test]
async fn a_client_that_breaks_down_is_replaced() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let mut source = source(&broker, "plugin").await;
    let core = Subscription {
        subjects: patterns(&["core.>"]),
        from: From::Core { capacity: crate::broker::Capacity { events: 10, bytes: usize::MAX } },
        ..subscription(Ack::Plain)
    };
    let mut core = broker.subscribe(core).await.unwrap();
    core.allow(10);
    fill(&broker, 0..5).await;
    server.publish_raw("in.poison", b"NATS/1.0\r\nA: b\rc\r\n\r\n", "payload").await;
    fill(&broker, 5..10).await;
    source.allow(100);

    let mut brought = Brought::default();
    brought.take(&mut source, 10, 1).await;

    assert_eq!(brought.sequences(), [6]);
    brought.take_the_rest(&mut source, &broker, "host-plugin").await;
    assert_eq!(broker.reconnects(), 1);
    assert!(broker.is_connected());

    server.publish_raw("core.poison", b"NATS/1.0\r\nA: b\rc\r\n\r\n", "").await;
    eventually("it is counted", || async { broker.reconnects() == 2 }).await;
    let publisher = connect(&server).await;
    let delivery = loop {
        let hello = Message { keep: Keep::Fleeting, ..stored("core.hello", "hello") };
        publisher.publish(&hello).await.unwrap();
        let came = timeout(Duration::from_millis(100), core.next()).await;
        if let Ok(came) = came {
            break came.unwrap();
        }
    };
    assert_eq!(delivery.event().unwrap().subject, "core.hello");
    broker.close(PATIENCE).await.unwrap();
    while timeout(PATIENCE, core.next()).await.expect("the end is seen").is_some() {}
}

#[tokio::test]
async fn another_break_costs_a_look_at_one_message() {
    let mut server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let mut source = source(&broker, "plugin").await;
    fill(&broker, 0..100).await;
    let looks = AtomicUsize::new(0);
    let witness = async_nats::connect(&server.settings().urls[0]).await.unwrap();
    let mut requests = witness.subscribe("$JS.API.STREAM.MSG.GET.>").await.unwrap();
    witness.request("$JS.API.INFO", Bytes::new()).await.unwrap();
    let count = async {
        while futures::StreamExt::next(&mut requests).await.is_some() {
            looks.fetch_add(1, Ordering::Relaxed);
        }
    };

    let mut brought = Brought::default();
    let work = async {
        source.allow(50);
        brought.take(&mut source, 20, 0).await;
        server.kill();
        server.run().await;
        brought.take(&mut source, 100, 0).await;
        // All that it was sent before comes before the answer.
        witness.request("$JS.API.INFO", Bytes::new()).await.unwrap();
    };
    tokio::select! { () = work => {} () = count => panic!("the witness sees all") }

    assert_eq!(broker.reconnects(), 1);
    assert!(looks.load(Ordering::Relaxed) <= 1, "{looks:?} looks");
}
