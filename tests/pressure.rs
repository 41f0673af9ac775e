//! Back-pressure: what waits for a slow handler waits in the stream and not in
//! the host, and nothing comes again because it waited.

use async_nats::jetstream::consumer::pull;

use crate::harness::{Daemon, Project, Server, eventually, plugin_table};

const BACKLOG: usize = 100_000;
/// What all of the backlog takes in memory is several times more than this.
const MOST_GROWTH: u64 = 64 << 20;
/// Of each event.
const PAYLOAD: usize = 2_000;

/// An event over which the guest `slow` takes 2 ms.
fn slow(n: usize) -> (String, Vec<u8>) {
    (format!("in.k{}", n % 4), format!("{:PAYLOAD$}", 2).into_bytes())
}

async fn value(daemon: &Daemon, name: &str) -> f64 {
    daemon.metric(&format!("pelton_{name}{{plugin=\"subject\"}}")).await
}

/// Works off `events` of a large backlog; returns the most that were in hand.
async fn flat(more: &str, events: f64) -> f64 {
    let server = Server::start().await;
    server.stream("IN", &["in.>"]).await;
    server.publish_all((0..BACKLOG).map(slow)).await;
    let project = Project::with_plugins(&plugin_table("subject", "slow", "in.>", more)).patient();
    let daemon = project.run(&server).await;
    eventually("the host is warm", async || {
        (value(&daemon, "events_done_total").await >= events / 4.0).then_some(())
    })
    .await;
    let before = daemon.resident();

    let (mut most, mut in_hand) = (before, 0.0_f64);
    eventually("it works on", async || {
        most = most.max(daemon.resident());
        in_hand = in_hand.max(value(&daemon, "inflight_events").await);
        (value(&daemon, "events_done_total").await >= events).then_some(())
    })
    .await;

    println!(
        "pressure: {} MiB warm, at most {} MiB, {in_hand} in hand ({more})",
        before >> 20,
        most >> 20
    );
    assert!(most < before + MOST_GROWTH, "from {before} to {most} bytes");
    assert_eq!(value(&daemon, "events_redelivered_total").await, 0.0);
    assert!(server.backlog("IN", "pelton-subject").await.unwrap() > 0, "the backlog was too short");
    in_hand
}

#[tokio::test]
async fn memory_stays_flat_before_a_backlog() {
    let in_hand = flat("concurrency = 16", 4_000.0).await;
    assert!(in_hand <= 16.0, "{in_hand} in hand");
}

#[tokio::test]
async fn memory_stays_flat_before_a_backlog_of_few_keys() {
    // Four keys: four run, and the others wait for them in hand.
    let in_hand = flat("order-by = \"subject.2\"", 1_500.0).await;
    assert!(in_hand <= 4_096.0, "{in_hand} in hand");
}

/// As the server sees it: what is delivered and not settled.
#[tokio::test]
async fn no_more_is_asked_for_than_can_run() {
    let server = Server::start().await;
    server.stream("IN", &["in.>"]).await;
    server.publish_all((0..2_000).map(|_| ("in.x".to_owned(), b"900".to_vec()))).await;
    let project = Project::with_guest("slow", "concurrency = 4\n").patient();
    let daemon = project.run(&server).await;

    let mut most = 0;
    eventually("some are handled", async || {
        let stream = server.jetstream().await.get_stream("IN").await.unwrap();
        let consumer = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
        most = most.max(consumer.cached_info().num_ack_pending);
        (value(&daemon, "events_done_total").await >= 24.0).then_some(())
    })
    .await;

    // Four that run; and four of which the server does not know yet that they
    // are done, since those after them were asked for at the same time.
    assert!(most <= 8, "{most} events were delivered and not settled");
    assert_eq!(value(&daemon, "events_redelivered_total").await, 0.0);
}
