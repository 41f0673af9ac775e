use super::*;

fn wish(subjects: &[&str], queue: usize) -> Subscription {
    Subscription {
        subjects: patterns(subjects),
        from: From::Core { capacity: crate::broker::Capacity { events: queue, bytes: usize::MAX } },
        ..subscription(Ack::Plain)
    }
}

fn fleeting(subject: &str, payload: &str) -> Message {
    Message { keep: Keep::Fleeting, ..stored(subject, payload) }
}

#[tokio::test]
async fn every_event_comes_once_though_patterns_contain_each_other() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let wish = wish(&["a.>", "a.b", "a.>", "c"], 10);
    let mut source = broker.subscribe(wish).await.unwrap();
    source.allow(10);

    for subject in ["a.b", "c", "d"] {
        broker.publish(&fleeting(subject, "x")).await.unwrap();
    }

    let (first, second) = (next(&mut source).await, next(&mut source).await);
    let events = [first.event().unwrap(), second.event().unwrap()];
    let subjects = events.iter().map(|event| event.subject.as_str()).collect::<HashSet<_>>();
    assert_eq!(subjects, HashSet::from(["a.b", "c"]));
    assert_ne!(events[0].id, events[1].id);
    assert!(events[0].position.is_none() && !first.redelivers());
    nothing_comes(&mut source).await;
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_counted_exactly() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = broker.subscribe(wish(&["a"], 8)).await.unwrap();

    for n in 0..100 {
        broker.publish(&fleeting("a", &n.to_string())).await.unwrap();
    }
    eventually("92 are dropped", || async { broker.dropped() == [("plugin".to_owned(), 92)] })
        .await;

    source.allow(100);
    for n in 0..8 {
        let event = next(&mut source).await.event().unwrap();
        assert_eq!(event.payload, n.to_string().as_bytes(), "the newest are dropped");
    }
    nothing_comes(&mut source).await;
}

#[tokio::test]
async fn core_events_wait_for_permission_and_are_returned_after_a_stop() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = broker.subscribe(wish(&["a"], 8)).await.unwrap();
    for n in 0..3 {
        broker.publish(&fleeting("a", &n.to_string())).await.unwrap();
    }
    nothing_comes(&mut source).await;

    source.stop().await;
    source.allow(3);
    for _ in 0..3 {
        next(&mut source).await.settle(Disposition::Ack).await.unwrap();
    }

    assert!(timeout(PATIENCE, source.next()).await.unwrap().is_none());
    let mut idle = broker.subscribe(wish(&["b"], 8)).await.unwrap();
    idle.stop().await;
    assert!(timeout(PATIENCE, idle.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_request_is_answered_even_when_it_is_rejected() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut source = broker.subscribe(wish(&["ask"], 8)).await.unwrap();
    source.allow(2);
    let client = broker.inner.client();
    let asked = tokio::spawn(async move {
        let good = client.request("ask", "good".into()).await.unwrap();
        (good, client.request("ask", "bad".into()).await.unwrap())
    });

    let delivery = next(&mut source).await;
    let reply_to = delivery.event().unwrap().reply_to.unwrap();
    broker.publish(&fleeting(&reply_to, "yes")).await.unwrap();
    delivery.settle(Disposition::Ack).await.unwrap();
    next(&mut source).await.settle(Disposition::Reject).await.unwrap();

    let (good, bad) = asked.await.unwrap();
    assert_eq!(good.payload, "yes");
    let headers = bad.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "500");
    assert!(headers.get("Nats-Service-Error").is_some());
}

#[tokio::test]
async fn replicas_of_a_host_share_the_events_and_hosts_do_not() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let mut first = broker.subscribe(wish(&["a"], 100)).await.unwrap();
    let mut second = broker.subscribe(wish(&["a"], 100)).await.unwrap();
    let other = Subscription { host: "other".to_owned(), ..wish(&["a"], 100) };
    let mut other = broker.subscribe(other).await.unwrap();
    for source in [&mut first, &mut second, &mut other] {
        source.allow(100);
    }
    for n in 0..50 {
        broker.publish(&fleeting("a", &n.to_string())).await.unwrap();
    }

    for _ in 0..50 {
        next(&mut other).await.settle(Disposition::Ack).await.unwrap();
    }
    let mut shared = 0;
    while shared < 50 {
        let delivery = tokio::select! {
            delivery = next(&mut first) => delivery,
            delivery = next(&mut second) => delivery,
        };
        delivery.settle(Disposition::Ack).await.unwrap();
        shared += 1;
    }
    nothing_comes(&mut first).await;
    nothing_comes(&mut second).await;
}

#[tokio::test]
async fn what_was_sent_is_with_the_server_after_close() {
    let server = Server::start().await;
    let (broker, listener) = (connect(&server).await, connect(&server).await);
    let mut source = listener.subscribe(wish(&["a"], 1000)).await.unwrap();
    source.allow(1000);
    for n in 0..1000 {
        broker.publish(&fleeting("a", &n.to_string())).await.unwrap();
    }

    broker.close(PATIENCE).await.unwrap();
    drop(broker);

    for _ in 0..1000 {
        next(&mut source).await.settle(Disposition::Ack).await.unwrap();
    }
}
