//! What an operator sees: metrics and health.

use crate::harness::{Project, Server, eventually};

#[tokio::test]
async fn metrics_agree_with_what_happened() {
    let server = Server::start().await;
    let project = Project::with_guest("flaky", crate::delivery::RETRY);
    let daemon = project.run(&server).await;

    for succeed_at in [1, 1, 2, 3, 99] {
        server.publish("in.x", format!(r#"{{"succeed-at":{succeed_at}}}"#)).await;
    }
    crate::delivery::dead_letters(&server, 1).await;
    server.settled("IN", "pelton-subject").await;

    eventually("the last event is counted", async || {
        let inflight = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (inflight == 0.0).then_some(())
    })
    .await;
    let metrics = daemon.metrics().await;
    let value = |name: &str| metrics.get(name).copied();
    for (name, expected) in [
        // 1 + 1 + 2 + 3 + 4 deliveries.
        ("pelton_events_received_total{plugin=\"subject\"}", 11.0),
        ("pelton_events_redelivered_total{plugin=\"subject\"}", 6.0),
        ("pelton_events_done_total{plugin=\"subject\"}", 4.0),
        ("pelton_events_failed_total{plugin=\"subject\",class=\"retry\"}", 7.0),
        ("pelton_events_retried_total{plugin=\"subject\"}", 6.0),
        ("pelton_events_dead_lettered_total{plugin=\"subject\",reason=\"retry\"}", 1.0),
        ("pelton_outputs_published_total{plugin=\"subject\"}", 4.0),
        ("pelton_handler_duration_seconds_count{plugin=\"subject\"}", 11.0),
        ("pelton_nats_connected", 1.0),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn lag_shows_what_waits_in_the_stream() {
    let server = Server::start().await;
    server.stream("IN", &["in.>"]).await;
    let project = Project::with_guest("slow", "concurrency = 1");
    server.publish_all((0..300).map(|_| ("in.x".to_owned(), b"100".to_vec()))).await;

    let daemon = project.run(&server).await;

    eventually("the lag is shown", async || {
        let lag = daemon.metric("pelton_consumer_lag_events{plugin=\"subject\"}").await;
        (lag > 100.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let mut server = Server::start().await;
    let project = Project::with_guest("echo", "");
    server.kill();
    let mut daemon = project.launch(&server);

    let (status, _) = eventually("it says that it has no connection", async || {
        daemon.get("/readyz").await.filter(|(_, body)| body.contains("nats: "))
    })
    .await;
    assert_eq!(status, 503);
    assert_eq!(daemon.get("/livez").await.unwrap().0, 200);

    server.restart().await;
    daemon.ready().await;
}

#[tokio::test]
async fn the_front_page_names_the_others() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let daemon = project.run(&server).await;
    let (_, body) = daemon.get("/").await.unwrap();
    assert!(body.contains("/metrics") && body.contains("/readyz"));
    assert_eq!(daemon.get("/nothing").await.unwrap().0, 404);
}
