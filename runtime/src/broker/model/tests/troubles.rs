use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_publish_that_was_given_up_may_be_stored_later() {
    let broker = filled(0).await;
    broker.inject(Fault::PublishLate(SECOND * 60));
    assert!(matches!(broker.publish(&stored("a")).await, Err(PublishError::Unknown { .. })));
    assert_eq!(broker.stored("IN"), []);
    sleep(SECOND * 60).await;
    assert_eq!(broker.stored("IN").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plain_settlement_that_vanishes_looks_well_and_a_confirmed_one_is_repeated() {
    for (ack, left) in [(Ack::Plain, 1), (Ack::Confirmed, 0)] {
        let broker = filled(1).await;
        let From::Stream { stream, ack_wait, max_deliver, start, .. } = wish(1).from else {
            panic!()
        };
        let from = From::Stream { stream, ack_wait, max_deliver, start, ack };
        let mut source = opened(&broker, Subscription { from, ..wish(1) }).await;
        let delivery = source.next().await.unwrap();
        broker.inject(Fault::SettleVanished);
        delivery.settle(Disposition::Ack).await.unwrap();
        assert_eq!(broker.backlog("IN", "h-p"), Some((0, left)), "{ack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_answer_to_a_consumer_that_is_gone_fails() {
    let broker = filled(1).await;
    let From::Stream { stream, ack_wait, max_deliver, start, .. } = wish(1).from else { panic!() };
    let from = From::Stream { stream, ack_wait, max_deliver, start, ack: Ack::Confirmed };
    let mut source = opened(&broker, Subscription { from, ..wish(1) }).await;
    let delivery = source.next().await.unwrap();
    broker.delete_consumer("IN", "h-p");
    assert!(delivery.settle(Disposition::Ack).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_deliveries_of_its_connection_only_and_ends() {
    let broker = filled(50).await;
    let mut source = opened(&broker, wish(100)).await;
    let other = broker.another();
    broker.cut(SECOND);
    assert_eq!(other.publish(&stored("over another")).await.unwrap(), Published::Stored);
    let (_, lost) = broker.backlog("IN", "h-p").unwrap();
    assert!(lost > 0, "some were on their way");
    assert_eq!(attempt_within(&mut source, SECOND / 2).await, None);
    sleep(SECOND).await;
    let came = all_that_comes(&mut source).await;
    assert_eq!(came.len() as u64, 51 - lost);
    sleep(WAIT).await;
    assert!(all_that_comes(&mut source).await.len() as u64 >= lost);
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_forgets_memory_and_at_most_the_last_moment_of_a_consumer() {
    let broker = Broker::new();
    broker.make_stream("MEMORY", &manifest::Stream { subjects: pattern("m.>"), ..settings() });
    broker.make_stream("IN", &manifest::Stream { storage: Storage::File, ..settings() });
    broker.publish(&stored("a")).await.unwrap();
    let mut source = opened(&broker, wish(10)).await;
    source.next().await.unwrap().settle(Disposition::Ack).await.unwrap();
    sleep(SECOND).await;
    broker.restart(SECOND);
    sleep(SECOND).await;
    assert_eq!(all_that_comes(&mut source).await, []);
    assert!(broker.publish(&message("m.x", stored("m").keep)).await.is_err());
    let mut again = 0;
    for n in 0..20 {
        broker.publish(&stored(&n.to_string())).await.unwrap();
        let Some(one) = source.next().await else { panic!() };
        one.settle(Disposition::Ack).await.unwrap();
        broker.restart(Duration::ZERO);
        for _ in 0..20 {
            let next = timeout(SECOND / 100, source.next()).await;
            let Ok(Some(repeated)) = next else { break };
            repeated.settle(Disposition::Ack).await.unwrap();
            again += 1;
        }
        sleep(WAIT).await;
    }
    assert!(again > 0, "an acknowledgement is forgotten now and then");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_stream_loses_nothing() {
    let broker = filled(2).await;
    let mut source = opened(&broker, wish(10)).await;
    let held = source.next().await.unwrap();
    broker.outage("IN", SECOND);
    assert!(matches!(broker.publish(&stored("x")).await, Err(PublishError::Unavailable { .. })));
    held.settle(Disposition::Ack).await.unwrap();
    assert_eq!(attempt_within(&mut source, SECOND / 2).await, None);
    assert_eq!(attempt_within(&mut source, SECOND).await, Some((2, 1)));
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 2)), "the answer went nowhere");
}

#[tokio::test(start_paused = true)]
async fn healing_ends_everything_at_once() {
    let broker = filled(3).await;
    let always = Trouble { publish_lost: 1.0, settle_vanished: 1.0, ..Trouble::NONE };
    broker.trouble(7, always);
    assert!(broker.publish(&stored("x")).await.is_err());
    broker.cut(SECOND * 1000);
    broker.outage("IN", SECOND * 1000);
    broker.heal();
    assert_eq!(broker.publish(&stored("y")).await.unwrap(), Published::Stored);
    let mut source = opened(&broker, wish(10)).await;
    assert!(!all_that_comes(&mut source).await.is_empty());
}

/// Publishes and handles under the trouble of one seed; what happened, and when.
async fn run(seed: u64) -> Vec<String> {
    let begun = Instant::now();
    let broker = Broker::new();
    broker.make_stream("IN", &manifest::Stream { storage: Storage::File, ..settings() });
    let mut source = opened(&broker, wish(20)).await;
    broker.trouble(seed, Trouble::drawn(seed));
    let mut trace = Vec::new();
    for n in 0..200 {
        let published = broker.publish(&stored(&n.to_string())).await;
        trace.push(format!("{:?} {n} {published:?}", begun.elapsed()));
        let next = timeout(SECOND / 20, source.next()).await;
        if let Ok(Some(delivery)) = next {
            let Event { attempt, position, .. } = delivery.event().unwrap();
            let sequence = position.unwrap().sequence;
            let answer = match n % 3 {
                0 => Disposition::Retry(SECOND),
                _ => Disposition::Ack,
            };
            let settled = delivery.settle(answer).await;
            trace.push(format!("{:?} {sequence} {attempt} {settled:?}", begun.elapsed()));
            source.allow(1);
        }
    }
    broker.heal();
    trace.push(format!("{:?}", broker.stored("IN").len()));
    trace
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    let mut different = 0;
    for seed in 0..30 {
        let trace = run(seed).await;
        assert_eq!(trace, run(seed).await, "seed {seed}");
        different += usize::from(trace != run(seed + 1000).await);
    }
    assert!(different > 20, "{different}");
}
