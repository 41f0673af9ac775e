use super::*;

async fn source(broker: &Broker, ack: Ack) -> Source {
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    broker.subscribe(subscription(ack)).await.unwrap()
}

fn waiting(limit: Duration) -> Subscription {
    let mut wish = subscription(Ack::Plain);
    if let From::Stream { ack_wait, .. } = &mut wish.from {
        *ack_wait = limit;
    }
    wish
}

fn sequence(delivery: &Delivery) -> u64 {
    delivery.event().unwrap().position.unwrap().sequence
}

#[tokio::test]
async fn a_delivery_is_the_event_that_was_published() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Confirmed).await;
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let message = Message {
        headers: vec![header("B", "1"), header("A", "x"), header("B", "2")],
        ..stored("in.a", "first")
    };
    broker.publish(&message).await.unwrap();
    source.allow(1);

    let delivery = next(&mut source).await;
    let event = delivery.event().unwrap();

    assert_eq!(
        (event.subject.as_str(), &event.payload[..], event.attempt),
        ("in.a", &b"first"[..], 1)
    );
    let headers = ["A", "B", "B"].into_iter().zip(["x", "1", "2"]);
    let expected = headers.map(|(name, value)| header(name, value)).collect::<Vec<_>>();
    let ours = event.headers.iter().filter(|header| header.name != "Nats-Msg-Id");
    assert_eq!(ours.cloned().collect::<Vec<_>>(), expected);
    let position = event.position.unwrap();
    let created = broker.stream_facts("IN").await.unwrap().created;
    assert_eq!((position.sequence, position.stream_created), (1, created));
    assert_eq!(event.id, position.event_id());
    delivery.settle(Disposition::Ack).await.unwrap();
    assert_eq!(broker.backlog("IN", "host-plugin").await.unwrap(), (0, 0));
}

#[tokio::test]
async fn never_more_comes_than_was_allowed() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Plain).await;
    fill(&broker, 0..10).await;
    nothing_comes(&mut source).await;

    source.allow(3);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut source).await);
    }
    nothing_comes(&mut source).await;

    assert_eq!(broker.backlog("IN", "host-plugin").await.unwrap(), (7, 3));
    source.allow(1);
    held.push(next(&mut source).await);
    nothing_comes(&mut source).await;
}

#[tokio::test]
async fn a_retry_comes_again_after_its_delay_and_a_rejection_never() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Confirmed).await;
    fill(&broker, 0..2).await;
    source.allow(10);
    let (retried, rejected) = (next(&mut source).await, next(&mut source).await);
    let id = retried.event().unwrap().id;

    rejected.settle(Disposition::Reject).await.unwrap();
    let asked = Instant::now();
    retried.settle(Disposition::Retry(Duration::from_millis(400))).await.unwrap();
    let again = next(&mut source).await;

    assert!(asked.elapsed() >= Duration::from_millis(390), "{:?}", asked.elapsed());
    let event = again.event().unwrap();
    assert_eq!((event.id, event.attempt), (id, 2));
    again.settle(Disposition::Ack).await.unwrap();
    nothing_comes(&mut source).await;
    assert_eq!(broker.backlog("IN", "host-plugin").await.unwrap(), (0, 0));
}

#[tokio::test]
async fn progress_keeps_a_delivery_beyond_its_ack_wait() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let mut source = broker.subscribe(waiting(Duration::from_secs(5))).await.unwrap();
    fill(&broker, 0..1).await;
    source.allow(10);
    let delivery = next(&mut source).await;

    for _ in 0..4 {
        delivery.progress().await.unwrap();
        let came = timeout(Duration::from_millis(1_500), source.next()).await;
        assert!(came.is_err(), "unexpected: {came:?}");
    }
    let again = next(&mut source).await;
    assert_eq!(again.event().unwrap().attempt, 2);
}

#[tokio::test]
async fn a_publish_is_stored_once_under_its_id() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();

    assert_eq!(broker.publish(&stored("in.a", "x")).await.unwrap(), Published::Stored);
    assert_eq!(broker.publish(&stored("in.b", "x")).await.unwrap(), Published::Duplicate);
    let nowhere = broker.publish(&stored("out.a", "y")).await.unwrap_err();
    assert!(matches!(nowhere, PublishError::Unavailable { .. }), "{nowhere}");
    let keep = Keep::Stored { id: "z".to_owned(), stream: Some("OTHER".into()) };
    let elsewhere = broker.publish(&Message { keep, ..stored("in.a", "z") }).await.unwrap_err();
    assert!(matches!(elsewhere, PublishError::Refused { .. }), "{elsewhere}");
    let payload = Bytes::from(vec![0; broker.max_payload()]);
    let large = broker.publish(&Message { payload, ..stored("in.a", "l") }).await.unwrap_err();
    assert!(matches!(large, PublishError::Refused { .. }), "{large}");
    let headers = vec![Header { name: "A".into(), value: "x\r\nB: y".into() }];
    let injected = broker.publish(&Message { headers, ..stored("in.a", "i") }).await.unwrap_err();
    assert!(matches!(injected, PublishError::Refused { .. }), "{injected}");
    assert_eq!(broker.stream_facts("IN").await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_full_stream_is_worth_another_try() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let full =
        manifest::Stream { max_messages: Some(1), discard: Discard::New, ..stream(&["in.>"]) };
    broker.ensure_stream("IN", &full).await.unwrap();
    fill(&broker, 0..1).await;

    let error = broker.publish(&stored("in.a", "second")).await.unwrap_err();

    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn an_unanswered_publish_may_be_stored_and_the_same_id_is_safe() {
    let mut server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    server.kill();
    eventually("the loss is seen", || async { !broker.is_connected() }).await;

    let error = broker.publish(&stored("in.a", "x")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
    server.run().await;
    eventually("it is back", || async { broker.publish(&stored("in.a", "x")).await.is_ok() }).await;

    assert_eq!(broker.stream_facts("IN").await.unwrap().messages, 1);
    assert_eq!(broker.reconnects(), 1);
}

#[tokio::test]
async fn hundreds_of_publishes_are_awaited_together() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();

    let messages = (0..500).map(|n| stored("in.a", &format!("id-{n}"))).collect::<Vec<_>>();
    let all = messages.iter().map(|message| broker.publish(message));
    let all = futures::future::join_all(all).await;

    assert!(all.iter().all(|published| matches!(published, Ok(Published::Stored))));
}

#[tokio::test]
async fn a_restart_of_the_server_costs_nothing() {
    let mut server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    // What the dead connection swallowed comes again after the ack wait. A
    // confirmed answer would take long: a restarted server is silent on answers
    // to deliveries that it has forgotten.
    let mut source = broker.subscribe(waiting(Duration::from_secs(2))).await.unwrap();
    fill(&broker, 0..50).await;
    source.allow(8);
    let mut seen = HashSet::new();
    while seen.len() < 20 {
        let delivery = next(&mut source).await;
        seen.insert(delivery.event().unwrap().subject);
        delivery.settle(Disposition::Ack).await.unwrap();
        source.allow(1);
    }
    server.kill();
    server.run().await;

    while seen.len() < 50 {
        let delivery = next(&mut source).await;
        seen.insert(delivery.event().unwrap().subject);
        // One that does not reach the server comes again.
        drop(delivery.settle(Disposition::Ack).await);
        source.allow(1);
    }
    assert_eq!(broker.reconnects(), 1);
}

#[tokio::test]
async fn an_idle_source_goes_on_after_a_restart() {
    let mut server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Confirmed).await;
    source.allow(4);
    nothing_comes(&mut source).await;
    let mut times = Vec::new();
    for round in 0..3 {
        server.kill();
        server.run().await;
        let publisher = connect(&server).await;
        let begun = Instant::now();
        fill(&publisher, round * 4..round * 4 + 4).await;

        for _ in 0..4 {
            next(&mut source).await.settle(Disposition::Ack).await.unwrap();
        }
        times.push(begun.elapsed());
        nothing_comes(&mut source).await;
        source.allow(4);
    }

    // By the reconnect, not by the silence of the server: that would take longer
    // each time, and a busy machine takes longer now and then.
    assert!(times.iter().any(|time| *time < Duration::from_secs(8)), "{times:?}");
}

/// What the server had sent has to be returned, or it would come again after the
/// ack wait only, which is longer than this test's patience. What it had taken
/// out and not sent, it gives to the next who asks.
#[tokio::test]
async fn a_stop_in_full_flow_wastes_no_delivery() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    fill(&broker, 0..100).await;
    let mut times = Vec::new();
    for round in 0..10 {
        let wish = Subscription { plugin: format!("p{round}"), ..subscription(Ack::Plain) };
        let mut source = broker.subscribe(wish.clone()).await.unwrap();
        source.allow(10 * round + 5);
        let mut seen = Vec::from([sequence(&next(&mut source).await)]);

        let begun = Instant::now();
        source.stop().await;
        while let Some(delivery) = timeout(PATIENCE, source.next()).await.unwrap() {
            seen.push(sequence(&delivery));
        }
        times.push(begun.elapsed());
        assert!(source.next().await.is_none());
        assert!(seen.len() <= 10 * round + 5);

        let mut other = broker.subscribe(wish).await.unwrap();
        other.allow(1000);
        while seen.len() < 100 {
            seen.push(sequence(&next(&mut other).await));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=100).collect::<Vec<_>>(), "round {round}");
    }
    // Half of them, since a busy machine takes longer now and then.
    times.sort_unstable();
    assert!(times[4] < Duration::from_secs(2), "{times:?}");
}

#[tokio::test]
async fn an_idle_source_stops_at_once_and_leaves_no_request_open() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut source = source(&broker, Ack::Plain).await;
        source.allow(5);
        nothing_comes(&mut source).await;

        let begun = Instant::now();
        source.stop().await;
        assert!(timeout(PATIENCE, source.next()).await.unwrap().is_none());
        times.push(begun.elapsed());
    }
    // Not each time on a busy machine.
    assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?}");

    fill(&broker, 0..5).await;
    // The consumer hears of a message a little after the stream has it.
    let counted = async {
        while broker.backlog("IN", "host-plugin").await.unwrap() != (5, 0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("all five wait");
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_again_where_it_was() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Confirmed).await;
    fill(&broker, 0..1).await;
    source.allow(4);
    next(&mut source).await.settle(Disposition::Ack).await.unwrap();

    broker.inner.jetstream.delete_consumer_from_stream("host-plugin", "IN").await.unwrap();
    fill(&broker, 1..3).await;

    let mut seen = HashSet::new();
    while !(seen.contains("in.1") && seen.contains("in.2")) {
        let delivery = next(&mut source).await;
        seen.insert(delivery.event().unwrap().subject);
        delivery.settle(Disposition::Ack).await.unwrap();
        source.allow(1);
    }
}

#[tokio::test]
async fn a_consumer_of_a_work_queue_that_is_deleted_is_made_again() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let queue = manifest::Stream { retention: Retention::WorkQueue, ..stream(&["in.>"]) };
    broker.ensure_stream("IN", &queue).await.unwrap();
    fill(&broker, 0..3).await;
    let mut source = broker.subscribe(subscription(Ack::Confirmed)).await.unwrap();
    source.allow(1);
    next(&mut source).await.settle(Disposition::Ack).await.unwrap();

    broker.inner.jetstream.delete_consumer_from_stream("host-plugin", "IN").await.unwrap();
    source.allow(1);

    let again = next(&mut source).await;
    assert_eq!(again.event().unwrap().subject, "in.1");
}

#[tokio::test]
async fn a_stream_that_is_made_anew_gives_other_ids() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Confirmed).await;
    fill(&broker, 0..1).await;
    source.allow(4);
    let delivery = next(&mut source).await;
    let before = delivery.event().unwrap().id;
    delivery.settle(Disposition::Ack).await.unwrap();

    broker.inner.jetstream.delete_stream("IN").await.unwrap();
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    fill(&broker, 0..1).await;

    let event = next(&mut source).await.event().unwrap();
    assert_eq!(event.position.as_ref().unwrap().sequence, 1);
    assert_ne!(event.id, before);
}

#[tokio::test]
async fn dropping_the_future_of_next_loses_nothing() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = source(&broker, Ack::Plain).await;
    fill(&broker, 0..200).await;
    source.allow(200);
    let mut sequences = Vec::new();
    while sequences.len() < 200 {
        let came = timeout(Duration::from_micros(30), source.next()).await;
        if let Ok(Some(delivery)) = came {
            sequences.push(sequence(&delivery));
        }
    }
    assert_eq!(sequences, (1..=200).collect::<Vec<_>>());
}
