//! An event goes in and the right one comes out; what the handler answers
//! decides what becomes of it.

use std::collections::BTreeSet;

use crate::harness::{Daemon, Project, Server, Stored, eventually, plugin_table};

#[tokio::test]
async fn event_goes_through_a_handler_with_its_headers() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "").patient();
    let daemon = project.run(&server).await;

    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    headers.append("Colour", "grün");
    headers.insert("Nats-Msg-Id", "the producer's own");
    let jetstream = server.jetstream().await;
    let stored = jetstream.publish_with_headers("in.greeting", headers, "hello".into());
    stored.await.unwrap().await.unwrap();

    server.settled("IN", "pelton-subject").await;
    let out = server.stored("OUT").await;
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].subject.as_str(), out[0].text().as_str()), ("out.greeting", "hello"));
    assert_eq!(out[0].headers["Colour"], ["blue", "grün"]);
    let id = out[0].header("Nats-Msg-Id").unwrap();
    assert!(id.ends_with(".0") && id != "the producer's own", "{id}");
    assert_eq!(daemon.metric("pelton_events_done_total{plugin=\"subject\"}").await, 1.0);
}

/// Old servers take the name of a header for missing if they find it elsewhere
/// first; then nothing would be deduplicated.
#[tokio::test]
async fn headers_that_hide_the_id_from_an_old_server_cause_no_duplicate() {
    const EVENTS: u64 = 40;
    let server = Server::oldest().await;
    let project = Project::with_guest("echo", "").patient();
    let mut daemon = project.run(&server).await;
    let jetstream = server.jetstream().await;
    for n in 0..EVENTS {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("X-Nats-Msg-Id", "x");
        headers.insert("Note", "there is no Nats-Msg-Id: here");
        let stored = jetstream.publish_with_headers(format!("in.{n}"), headers, "e".into());
        stored.await.unwrap().await.unwrap();
    }
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;

    // All of them run again.
    let stream = jetstream.get_stream("IN").await.unwrap();
    stream.delete_consumer("pelton-subject").await.unwrap();
    let daemon = project.run(&server).await;
    server.settled("IN", "pelton-subject").await;

    assert_eq!(daemon.metric("pelton_events_done_total{plugin=\"subject\"}").await, EVENTS as f64);
    assert_eq!(server.count("OUT").await, EVENTS);
}

#[tokio::test]
async fn every_plugin_sees_every_event_of_its_subjects() {
    let server = Server::start().await;
    let project = Project::with_plugins(&format!(
        "{}{}",
        plugin_table("left", "echo", "in.>", ""),
        plugin_table("right", "fan", "in.a.*", "")
    ));
    let _daemon = project.run(&server).await;

    server.publish("in.a.x", "2").await;
    server.publish("in.b.x", "3").await;

    server.settled("IN", "pelton-left").await;
    server.settled("IN", "pelton-right").await;
    let out: Vec<_> = server.stored("OUT").await.into_iter().map(|out| out.subject).collect();
    // One echo each; `right` fans the first event out in two and does not see the other.
    let count = |subject: &str| out.iter().filter(|out| *out == subject).count();
    assert_eq!((count("out.a.x"), count("out.b.x")), (1 + 2, 1), "{out:?}");
}

#[tokio::test]
async fn several_subjects_are_filters_of_one_consumer() {
    let server = Server::start().await;
    let table = plugin_table("subject", "echo", "in.a\", \"in.b.>", "");
    let project = Project::with_plugins(&table);
    let _daemon = project.run(&server).await;

    for subject in ["in.a", "in.b.x", "in.c"] {
        server.publish(subject, subject).await;
    }

    server.settled("IN", "pelton-subject").await;
    let mut out: Vec<_> = server.stored("OUT").await.into_iter().map(|out| out.text()).collect();
    // They run beside each other.
    out.sort();
    assert_eq!(out, ["in.a", "in.b.x"]);
}

#[tokio::test]
async fn a_retry_comes_again_and_succeeds() {
    let server = Server::start().await;
    let project = Project::with_guest("flaky", RETRY).patient();
    let daemon = project.run(&server).await;

    server.publish("in.x", r#"{"succeed-at":3}"#).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 1);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(daemon.metric("pelton_events_retried_total{plugin=\"subject\"}").await, 2.0);
    assert_eq!(daemon.metric("pelton_events_redelivered_total{plugin=\"subject\"}").await, 2.0);
}

#[tokio::test]
async fn a_retry_that_never_succeeds_is_dead_lettered() {
    let server = Server::start().await;
    let project = Project::with_guest("flaky", RETRY).patient();
    let daemon = project.run(&server).await;

    server.publish("in.x", r#"{"succeed-at":99}"#).await;

    let dead = dead_letters(&server, 1).await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(dead[0].subject, "dead-letters.pelton.subject.in.x");
    assert_eq!(dead[0].text(), r#"{"succeed-at":99}"#);
    assert_eq!(dead[0].header("Pelton-Dlq-Reason"), Some("retry"));
    assert_eq!(dead[0].header("Pelton-Dlq-Attempts"), Some("4"));
    assert_eq!(server.count("OUT").await, 0);
    let counted = "pelton_events_dead_lettered_total{plugin=\"subject\",reason=\"retry\"}";
    assert_eq!(daemon.metric(counted).await, 1.0);
}

#[tokio::test]
async fn a_rejected_event_is_dead_lettered_at_once_with_all_one_needs() {
    let server = Server::start().await;
    let project = Project::with_guest("reject", RETRY).patient();
    let _daemon = project.run(&server).await;

    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    headers.insert("Nats-Msg-Id", "m1");
    let jetstream = server.jetstream().await;
    let payload = b"reject".to_vec();
    let stored = jetstream.publish_with_headers("in.a.b", headers, payload.clone().into());
    stored.await.unwrap().await.unwrap();

    let dead = dead_letters(&server, 1).await.remove(0);
    server.settled("IN", "pelton-subject").await;
    assert_eq!(dead.payload, payload);
    for (name, value) in [
        ("Colour", "blue"),
        ("Pelton-Original-Nats-Msg-Id", "m1"),
        ("Pelton-Dlq-Reason", "reject"),
        ("Pelton-Dlq-Plugin", "subject"),
        ("Pelton-Dlq-Host", "pelton"),
        ("Pelton-Dlq-Stream", "IN"),
        ("Pelton-Dlq-Sequence", "1"),
        ("Pelton-Dlq-Subject", "in.a.b"),
        ("Pelton-Dlq-Attempts", "1"),
    ] {
        assert_eq!(dead.header(name), Some(value), "{name} in {:?}", dead.headers);
    }
    for name in ["Error", "Digest", "Stream-Created", "Published-At", "Failed-At", "Event-Id"] {
        let value = dead.header(&format!("Pelton-Dlq-{name}"));
        assert!(value.is_some_and(|value| value.len() > 5), "{name} in {:?}", dead.headers);
    }
}

#[tokio::test]
async fn retry_after_is_kept_within_the_longest_backoff() {
    let server = Server::start().await;
    let project = Project::with_guest("retry-after", RETRY);
    let _daemon = project.run(&server).await;

    // The guest asks for an hour; the plugin's longest backoff is 200 ms.
    server.publish("in.x", r#"{"succeed-at":2,"wait-ms":3600000}"#).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 1);
}

#[tokio::test]
async fn an_instance_is_fresh_for_every_event_unless_reused() {
    let server = Server::start().await;
    let project = Project::with_plugins(&format!(
        "{}{}",
        plugin_table("fresh", "state", "in.>", "concurrency = 1"),
        plugin_table("reused", "state", "in.>", "concurrency = 1\nisolation = { reuse = 3 }")
    ))
    .patient();
    let _daemon = project.run(&server).await;

    for _ in 0..5 {
        server.publish("in.x", "").await;
    }

    server.settled("IN", "pelton-fresh").await;
    server.settled("IN", "pelton-reused").await;
    let mut counts: Vec<_> = server.stored("OUT").await.iter().map(|out| out.text()).collect();
    counts.sort();
    // Fresh: 1 five times. Reused three times: 1 2 3, then 1 2.
    assert_eq!(counts, ["1", "1", "1", "1", "1", "1", "1", "2", "2", "3"]);
}

#[tokio::test]
async fn confirmed_acks_settle_too() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "ack = \"confirmed\"");
    let _daemon = project.run(&server).await;

    server.publish_all((0..50).map(|n| (format!("in.{n}"), b"x".to_vec()))).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 50);
}

#[tokio::test]
async fn a_full_output_stream_holds_events_back_and_loses_none() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\n\
         [streams.OUT]\nsubjects = [\"out.>\"]\nmax-messages = 2\ndiscard = \"new\"\n{}",
        plugin_table("subject", "echo", "in.>", RETRY)
    ));
    let daemon = project.run(&server).await;

    server.publish_all((0..6).map(|n| ("in.x".to_owned(), n.to_string().into_bytes()))).await;
    eventually("publishing is tried again", async || {
        let retries = daemon.metric("pelton_publish_retries_total{plugin=\"subject\"}").await;
        (retries >= 4.0).then_some(())
    })
    .await;
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);

    let out = server.jetstream().await.get_stream("OUT").await.unwrap();
    let mut seen = Vec::new();
    eventually("room in the stream lets the rest through", async || {
        for stored in server.stored("OUT").await {
            seen.push(stored.text());
            out.delete_message(stored.sequence).await.unwrap();
        }
        (seen.len() == 6).then_some(())
    })
    .await;
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5"]);
    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
}

/// An event is settled when its outputs are stored, and not when they were sent.
#[tokio::test]
async fn outputs_for_a_stream_that_is_gone_are_published_when_it_is_back() {
    const EVENTS: usize = 20;
    let server = Server::start().await;
    let project = Project::with_guest("echo", RETRY);
    let daemon = project.run(&server).await;
    server.jetstream().await.delete_stream("OUT").await.unwrap();

    server.publish_all((0..EVENTS).map(|n| ("in.x".to_owned(), n.to_string().into()))).await;
    let settled = eventually("all are refused, or forgotten", async || {
        let refused = daemon.metric("pelton_publish_retries_total{plugin=\"subject\"}").await;
        let left = server.backlog("IN", "pelton-subject").await?;
        let settled = EVENTS - usize::try_from(left).unwrap();
        (refused >= EVENTS as f64 || settled > 0).then_some(settled)
    })
    .await;
    not_ready(&daemon, "outputs of plugin subject").await;
    server.stream("OUT", &["out.>"]).await;

    server.settled("IN", "pelton-subject").await;
    let out: BTreeSet<_> = server.stored("OUT").await.iter().map(Stored::text).collect();
    assert_eq!(out.len(), EVENTS, "lost: settled before anything was stored: {settled}");
    ready_again(&daemon).await;
    assert_eq!(server.count("OUT").await as usize, EVENTS);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
}

#[tokio::test]
async fn a_plugin_whose_stream_is_gone_is_not_ready_until_it_is_back() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", RETRY);
    let daemon = project.run(&server).await;
    server.jetstream().await.delete_stream("IN").await.unwrap();
    not_ready(&daemon, "events of IN for subject").await;

    server.stream("IN", &["in.>"]).await;
    ready_again(&daemon).await;
    server.publish("in.x", "again").await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 1);
}

/// Of what the manifest declares; the server keeps nothing over its end.
#[tokio::test]
async fn streams_that_a_server_comes_back_without_are_made_again() {
    let mut server = Server::start().await;
    let project = Project::with_guest("echo", RETRY)
        .edited("[streams.IN]", "[streams.IN]\nstorage = \"memory\"")
        .edited("[streams.OUT]", "[streams.OUT]\nstorage = \"memory\"");
    let daemon = project.run(&server).await;
    server.publish("in.x", "before").await;
    server.settled("IN", "pelton-subject").await;
    server.restart().await;

    eventually("the streams are there again", async || {
        let jetstream = server.jetstream().await;
        let streams = [jetstream.get_stream("IN").await, jetstream.get_stream("OUT").await];
        streams.iter().all(Result::is_ok).then_some(())
    })
    .await;
    ready_again(&daemon).await;
    server.publish("in.x", "after").await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.stored("OUT").await.iter().map(Stored::text).collect::<Vec<_>>(), ["after"]);
}

async fn not_ready(daemon: &Daemon, part: &str) {
    eventually(&format!("it is not ready: {part}"), async || {
        daemon.get("/readyz").await.filter(|(status, page)| *status == 503 && page.contains(part))
    })
    .await;
}

async fn ready_again(daemon: &Daemon) {
    eventually("it is ready again", async || {
        daemon.get("/readyz").await.filter(|(status, _)| *status == 200)
    })
    .await;
}

/// Four attempts with short delays.
pub const RETRY: &str = "retry = { attempts = 4, backoff = { first = \"50ms\", max = \"200ms\" } }";

/// Waits for `n` dead letters.
pub async fn dead_letters(server: &Server, n: usize) -> Vec<Stored> {
    eventually(&format!("{n} dead letters"), async || {
        let dead = server.stored("pelton_DEAD_LETTERS").await;
        (dead.len() >= n).then_some(dead)
    })
    .await
}
