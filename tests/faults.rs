//! Crashes and lost connections, with exact accounting: nothing lost, nothing
//! published twice.

use async_nats::jetstream::consumer::pull;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::harness::{Account, Project, Server, Stored, events, eventually, seed};

const FAN: u64 = 3;

#[tokio::test]
async fn killed_hosts_lose_and_repeat_nothing() {
    const BATCH: u64 = 3_000;
    const KILLS: u32 = 10;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start().await;
    let project = Project::with_guest("split", "concurrency = 32");
    server.stream("IN", &["in.>"]).await;
    server.publish_all(events(0..BATCH, FAN)).await;

    let (mut published, mut kills) = (BATCH, 0);
    let mut deduplicated = 0.0;
    loop {
        let mut daemon = project.run(&server).await;
        let before = server.count("OUT").await;
        let until = before + random.random_range(50..400);
        let now = eventually("some events are handled", async || {
            let now = server.count("OUT").await;
            (now >= until || now >= published * FAN).then_some(now)
        })
        .await;
        if now >= published * FAN && kills < KILLS {
            // This test was slower than the host: that must not save the host.
            server.publish_all(events(published..published + BATCH, FAN)).await;
            published += BATCH;
        } else if now >= published * FAN {
            server.settled("IN", "pelton-subject").await;
            deduplicated += daemon.metric(DEDUPLICATED).await;
            break;
        }
        deduplicated += daemon.metric(DEDUPLICATED).await;
        daemon.kill();
        kills += 1;
    }

    println!("seed {seed}: {kills} kills, {deduplicated} duplicates caught");
    Account::of(&server, published, FAN).await.assert_all_done();
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
}

#[tokio::test]
async fn a_server_killed_in_full_flow_loses_and_repeats_nothing() {
    const BATCH: u64 = 3_000;
    const KILLS: u32 = 5;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start().await;
    let project = Project::with_guest("split", "concurrency = 32");
    server.stream("IN", &["in.>"]).await;
    server.publish_all(events(0..BATCH, FAN)).await;
    let daemon = project.run(&server).await;

    let (mut published, mut kills) = (BATCH, 0);
    loop {
        let before = server.count("OUT").await;
        let until = before + random.random_range(300..1_200);
        let now = eventually("events flow again", async || {
            let now = server.count("OUT").await;
            (now >= until || now >= published * FAN).then_some(now)
        })
        .await;
        if now >= published * FAN {
            if kills >= KILLS {
                break;
            }
            server.publish_all(events(published..published + BATCH, FAN)).await;
            published += BATCH;
        }
        server.restart().await;
        kills += 1;
    }

    server.settled("IN", "pelton-subject").await;
    println!("seed {seed}: {kills} kills");
    Account::of(&server, published, FAN).await.assert_all_done();
    // The metric follows the connection a little later.
    eventually("every reconnect is counted", async || {
        let reconnects = daemon.metric("pelton_nats_reconnects_total").await;
        (reconnects >= f64::from(kills)).then_some(())
    })
    .await;
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
}

#[tokio::test]
async fn an_unsettled_event_is_delivered_again_to_another_host() {
    let server = Server::start().await;
    // The first is not to come to an end with it before it is killed.
    let project = Project::with_guest("witness", "config = { hold = \"yes\" }").patient();
    let project = project.edited("\"55s\"", "\"12s\"").edited("\"50s\"", "\"11s\"");
    let mut first = project.run(&server).await;
    server.publish("in.x", r#"{"n":0}"#).await;
    first.says("holding attempt 1").await;
    first.kill();
    let project = project.edited("\"yes\"", "\"no\"");

    let second = project.run(&server).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 1);
    assert_eq!(second.metric("pelton_events_redelivered_total{plugin=\"subject\"}").await, 1.0);
}

#[tokio::test]
async fn a_run_longer_than_the_ack_wait_is_not_delivered_twice() {
    let server = Server::start().await;
    // One run at a time: the last event waits and runs for longer than the ack
    // wait, in thirds of which the server is told that it is in hand.
    let project = Project::with_plugins(&format!(
        "[host]\nmax-in-flight = 1\n{}",
        crate::harness::plugin_table("subject", "slow", "in.>", "concurrency = 6")
    ))
    .edited("ack-wait = \"3s\"", "ack-wait = \"9s\"")
    .edited("timeout = \"1s\"", "timeout = \"8s\"");
    let daemon = project.run(&server).await;
    server.publish_all((0..6).map(|_| ("in.x".to_owned(), b"2000".to_vec()))).await;

    server.settled("IN", "pelton-subject").await;

    assert_eq!(server.count("OUT").await, 6);
    assert_eq!(daemon.metric("pelton_events_redelivered_total{plugin=\"subject\"}").await, 0.0);
}

#[tokio::test]
async fn two_replicas_share_the_work() {
    const EVENTS: u64 = 1_000;
    let server = Server::start().await;
    let project = Project::with_guest("split", "").patient();
    let (left, right) = (project.run(&server).await, project.run(&server).await);
    // Else the first might do everything before the other has asked.
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    eventually("both ask for events", async || {
        let info = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
        (info.cached_info().num_waiting >= 2).then_some(())
    })
    .await;

    server.publish_all(events(0..EVENTS, FAN)).await;
    server.settled("IN", "pelton-subject").await;

    Account::of(&server, EVENTS, FAN).await.assert_all_done();
    let done = "pelton_events_done_total{plugin=\"subject\"}";
    let (left, right) = (left.metric(done).await, right.metric(done).await);
    assert_eq!(left + right, EVENTS as f64);
    assert!(left > 0.0 && right > 0.0, "{left} and {right}");
}

#[tokio::test]
async fn a_stream_made_anew_does_not_look_like_the_old_one() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let mut daemon = project.run(&server).await;
    server.publish("in.x", "old").await;
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;
    server.jetstream().await.delete_stream("IN").await.unwrap();

    // The new stream counts from 1 again: its first event must not be taken
    // for the old one by the output stream.
    let _daemon = project.run(&server).await;
    server.publish("in.x", "new").await;
    server.settled("IN", "pelton-subject").await;

    let out: Vec<_> = server.stored("OUT").await.iter().map(Stored::text).collect();
    assert_eq!(out, ["old", "new"]);
}

#[tokio::test]
async fn a_consumer_deleted_under_the_host_comes_back() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let _daemon = project.run(&server).await;
    server.publish("in.x", "before").await;
    server.settled("IN", "pelton-subject").await;

    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    stream.delete_consumer("pelton-subject").await.unwrap();
    server.publish("in.x", "after").await;

    eventually("the event after it is handled", async || {
        server.stored("OUT").await.iter().any(|out| out.text() == "after").then_some(())
    })
    .await;
    // The new consumer begins with all that is stored: ids catch the repeat.
    assert_eq!(server.count("OUT").await, 2);
}

/// The client gives the connection up over the first, and over the second it
/// breaks down for good.
#[tokio::test]
async fn a_message_with_malformed_headers_ends_in_the_dead_letters_and_hurts_no_other() {
    for (line, encoded) in [("bad name: x", "bad%20name:%20x"), ("A: b\rc", "A:%20b%0Dc")] {
        malformed_headers_hurt_no_other(line, encoded).await;
    }
}

async fn malformed_headers_hurt_no_other(line: &str, encoded: &str) {
    const EVENTS: usize = 200;
    let server = Server::start().await;
    let project = Project::with_plugins(&format!(
        "{}{}",
        crate::harness::plugin_table("left", "echo", "in.left.>", "concurrency = 16"),
        crate::harness::plugin_table("right", "echo", "in.right.>", "concurrency = 16")
    ));
    server.stream("IN", &["in.>"]).await;
    let events = |range: std::ops::Range<usize>| {
        let subject = |n| if n % 2 == 0 { "in.left.x" } else { "in.right.x" };
        range.map(move |n| (subject(n).to_owned(), n.to_string().into_bytes()))
    };
    server.publish_all(events(0..EVENTS / 2)).await;
    let block = format!("NATS/1.0\r\nColour: blue\r\n{line}\r\n\r\n");
    server.publish_raw("in.left.odd", block.as_bytes(), "payload").await;
    server.publish_all(events(EVENTS / 2..EVENTS)).await;
    let daemon = project.run(&server).await;

    server.settled("IN", "pelton-left").await;
    server.settled("IN", "pelton-right").await;

    let mut seen: Vec<_> = server.stored("OUT").await.iter().map(Stored::text).collect();
    seen.sort_by_key(|text| text.parse::<usize>().unwrap());
    assert_eq!(seen, (0..EVENTS).map(|n| n.to_string()).collect::<Vec<_>>());
    let dead = server.stored("pelton_DEAD_LETTERS").await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].text(), "payload");
    let whole = format!("NATS/1.0%0D%0AColour:%20blue%0D%0A{encoded}%0D%0A%0D%0A");
    for (name, value) in [
        ("Pelton-Dlq-Reason", "decode"),
        ("Pelton-Dlq-Plugin", "left"),
        ("Pelton-Dlq-Subject", "in.left.odd"),
        ("Pelton-Dlq-Sequence", "101"),
        ("Pelton-Malformed-Headers", &whole),
        ("Colour", "blue"),
    ] {
        assert_eq!(dead[0].header(name), Some(value), "{name} in {:?}", dead[0].headers);
    }
    // The metric follows the connection a little later.
    let reconnects = eventually("the break is counted", async || {
        let reconnects = daemon.metric("pelton_nats_reconnects_total").await;
        (reconnects >= 1.0).then_some(reconnects)
    })
    .await;
    assert!(reconnects <= 3.0, "{reconnects} reconnects");
}

const DEDUPLICATED: &str = "pelton_outputs_deduplicated_total{plugin=\"subject\"}";

#[tokio::test]
async fn a_host_outlives_a_long_outage() {
    let mut server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let mut daemon = project.run(&server).await;
    server.kill();
    eventually("the host notices", async || {
        daemon.get("/readyz").await.filter(|(status, body)| *status == 503 && body.contains("nats"))
    })
    .await;
    assert_eq!(daemon.get("/livez").await.unwrap().0, 200);
    server.restart().await;
    server.publish("in.x", "x").await;
    server.settled("IN", "pelton-subject").await;
    daemon.ready().await;
    assert_eq!(server.count("OUT").await, 1);
}
