//! Core NATS: at most once, counted; request and reply.

use futures::StreamExt as _;

use crate::harness::{PATIENCE, Project, Server, eventually, guest};

fn table(guest_name: &str, more: &str) -> String {
    format!(
        "[plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in.>\"]\npublish = [\"out.>\"]\n{more}\n",
        guest(guest_name)
    )
}

#[tokio::test]
async fn an_event_goes_through_without_any_stream() {
    let server = Server::with_config("").await;
    let project = Project::new(&table("echo", ""));
    let daemon = project.run(&server).await;
    let client = server.client().await;
    let mut out = client.subscribe("out.>").await.unwrap();
    client.flush().await.unwrap();

    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    client.publish_with_headers("in.x", headers, "hello".into()).await.unwrap();

    let message = tokio::time::timeout(PATIENCE, out.next()).await.unwrap().unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("out.x", &b"hello"[..]));
    assert_eq!(message.headers.unwrap().get("Colour").unwrap().as_str(), "blue");
    eventually("it is counted", async || {
        let done = daemon.metric("pelton_events_done_total{plugin=\"subject\"}").await;
        (done == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_output_that_a_stream_takes_is_stored() {
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let project = Project::new(&table("echo", ""));
    let _daemon = project.run(&server).await;

    let client = server.client().await;
    client.publish("in.x", "hello".into()).await.unwrap();

    let out = eventually("the output is stored", async || {
        let out = server.stored("OUT").await;
        (!out.is_empty()).then_some(out)
    })
    .await;
    assert!(out[0].header("Nats-Msg-Id").is_some(), "{:?}", out[0].headers);
}

#[tokio::test]
async fn a_request_gets_its_reply() {
    let server = Server::with_config("").await;
    let project = Project::new(&table("echo", "config = { reply = \"true\" }"));
    let _daemon = project.run(&server).await;
    let client = server.client().await;

    let reply = client.request("in.x", "ping".into()).await.unwrap();

    assert_eq!(&reply.payload[..], b"ping");
}

#[tokio::test]
async fn a_request_that_fails_is_told_so() {
    let server = Server::with_config("").await;
    let project = Project::new(&table("reject", ""));
    let _daemon = project.run(&server).await;
    let client = server.client().await;

    let reply = client.request("in.x", "reject".into()).await.unwrap();

    let headers = reply.headers.expect("an error has headers");
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "500");
    assert!(headers.get("Nats-Service-Error").is_some());
}

#[tokio::test]
async fn a_retry_happens_inside_the_host() {
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let project = Project::new(&table("flaky", crate::delivery::RETRY));
    let _daemon = project.run(&server).await;

    let client = server.client().await;
    client.publish("in.x", r#"{"succeed-at":3}"#.into()).await.unwrap();
    client.publish("in.x", r#"{"succeed-at":99}"#.into()).await.unwrap();

    eventually("the first succeeds", async || (server.count("OUT").await == 1).then_some(())).await;
    let dead = crate::delivery::dead_letters(&server, 1).await;
    assert_eq!(dead[0].text(), r#"{"succeed-at":99}"#);
    assert_eq!(dead[0].header("Pelton-Dlq-Attempts"), Some("4"));
}

/// Sent = handled + dropped, to the event.
#[tokio::test]
async fn every_event_that_does_not_fit_is_counted() {
    const EVENTS: u32 = 100_000;
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let project = Project::new(&table("slow", "queue = 50\nconcurrency = 2"));
    let daemon = project.run(&server).await;
    let client = server.client().await;

    for _ in 0..EVENTS {
        client.publish("in.x", "2".into()).await.unwrap();
    }
    client.flush().await.unwrap();

    // Under load a run may take longer than its time-out: given up, and counted too.
    let (done, failed, dropped) = eventually("sent = handled + dropped", async || {
        let metrics = daemon.metrics().await;
        let sum = |name: &str| -> f64 {
            let of_it = metrics.iter().filter(|(sample, _)| sample.starts_with(name));
            of_it.map(|(_, value)| value).sum()
        };
        let done = sum("pelton_events_done_total{");
        let failed = sum("pelton_events_dropped_total{");
        let dropped = sum("pelton_core_dropped_total{");
        let all = done + failed + dropped;
        assert!(all <= f64::from(EVENTS), "{done} + {failed} + {dropped}");
        (all == f64::from(EVENTS)).then_some((done, failed, dropped))
    })
    .await;
    println!("core: sent={EVENTS} handled={done} failed={failed} dropped={dropped}");
    assert!(dropped > 0.0, "the handler was not slow");
    // What is counted as handled was: its output is stored.
    assert_eq!(server.count("OUT").await as f64, done);
    assert_eq!(daemon.metric("pelton_nats_slow_consumers_total").await, 0.0);
}

#[tokio::test]
async fn replicas_share_a_queue_group() {
    const EVENTS: usize = 400;
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let project = Project::new(&table("echo", ""));
    let (_left, _right) = (project.run(&server).await, project.run(&server).await);

    let client = server.client().await;
    for n in 0..EVENTS {
        client.publish("in.x", n.to_string().into()).await.unwrap();
    }

    eventually("all are handled once", async || {
        (server.count("OUT").await as usize >= EVENTS).then_some(())
    })
    .await;
    let mut seen: Vec<_> = server.stored("OUT").await.iter().map(|out| out.text()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), EVENTS);
    assert_eq!(server.count("OUT").await as usize, EVENTS);
}

#[tokio::test]
async fn a_sender_cannot_have_the_host_publish_with_its_rights() {
    let server = Server::start().await;
    server.stream("VICTIM", &["victim"]).await;
    let project = Project::new(&table("reject", ""));
    let daemon = project.run(&server).await;
    let client = server.client().await;

    let reply = "$JS.API.STREAM.DELETE.VICTIM";
    client.publish_with_reply("in.x", reply, "reject".into()).await.unwrap();

    eventually("the event is rejected", async || {
        let rejected = daemon.metric("pelton_events_rejected_total{plugin=\"subject\"}").await;
        (rejected == 1.0).then_some(())
    })
    .await;
    // A request after it on the same connection is answered after it.
    client.request("in.y", "reject".into()).await.unwrap();
    assert!(server.jetstream().await.get_stream("VICTIM").await.is_ok());
}
