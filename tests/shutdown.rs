//! SIGTERM drains, a second signal stops at once.

use std::time::Duration;

use crate::harness::{Daemon, Project, Server, eventually, plugin_table};

#[tokio::test]
async fn sigterm_in_full_flow_loses_and_repeats_nothing() {
    let server = Server::start().await;
    let project = Project::with_guest("slow", "concurrency = 16");
    const EVENTS: usize = 2_000;
    server.stream("IN", &["in.>"]).await;
    server.publish_all((0..EVENTS).map(|_| ("in.x".to_owned(), b"3".to_vec()))).await;

    let mut stops = 0;
    loop {
        let mut daemon = project.run(&server).await;
        let before = server.count("OUT").await;
        let done = eventually("some events are handled", async || {
            let now = server.count("OUT").await;
            (now as usize == EVENTS || now > before + 100).then_some(now as usize == EVENTS)
        })
        .await;
        let status = daemon.stop().await;
        assert!(status.success(), "{status}: {}", daemon.log());
        stops += 1;
        if done {
            break;
        }
        // Whatever was delivered is settled: nothing waits for the ack wait.
        let stream = server.jetstream().await.get_stream("IN").await.unwrap();
        let consumer =
            stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("pelton-subject");
        let info = consumer.await.unwrap().cached_info().clone();
        assert_eq!(info.num_ack_pending, 0, "unsettled after stop {stops}");
        assert_eq!(info.num_redelivered, 0, "redelivered after stop {stops}");
    }
    assert!(stops > 3, "only {stops} stops happened in full flow");
    assert_eq!(server.count("OUT").await as usize, EVENTS);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let server = Server::start().await;
    let project = Project::with_plugins(&patient("sleep"));
    let mut daemon = project.run(&server).await;
    server.publish("in.x", "sleep").await;
    runs(&daemon).await;

    daemon.signal("TERM");
    daemon.says("draining").await;
    assert!(daemon.is_running(), "it did not wait for the event that runs");
    daemon.signal("INT");

    let status = tokio::time::timeout(Duration::from_secs(20), daemon.end()).await;
    assert_eq!(status.expect("it stops at once").code(), Some(1));
    daemon.says("stopped at once; what was running is delivered again from streams").await;
    assert_eq!(daemon.log().matches("\"running\":1").count(), 2, "{}", daemon.log());
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline_and_the_event_comes_again() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[host]\ndrain = \"200ms\"\n[streams.IN]\nsubjects = [\"in.>\"]\n\
         [streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        patient("sleep")
    ));
    let mut daemon = project.run(&server).await;
    server.publish("in.x", "sleep").await;
    runs(&daemon).await;

    let status = daemon.stop().await;

    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    assert_eq!(server.backlog("IN", "pelton-subject").await, Some(1));
}

#[tokio::test]
async fn a_stop_while_waiting_for_a_server_is_quick_and_clean() {
    let mut server = Server::start().await;
    let project = Project::with_guest("echo", "");
    server.kill();
    let mut daemon = project.launch(&server);
    daemon.says("waiting for it").await;
    assert!(daemon.stop().await.success(), "{}", daemon.log());
}

/// A plugin with a long time-out.
fn patient(guest: &str) -> String {
    let table = plugin_table("subject", guest, "in.>", "breaker = false");
    table.replace("\"1s\"", "\"50s\"").replace("\"3s\"", "\"55s\"")
}

#[tokio::test]
async fn half_a_request_to_the_admin_server_does_not_hold_up_the_stop() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let mut daemon = project.run(&server).await;
    let mut stream = tokio::net::TcpStream::connect(daemon.admin().unwrap()).await.unwrap();
    let half = b"GET /metrics HTTP/1.1\r\nHost: x\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();

    assert!(daemon.stop().await.success(), "{}", daemon.log());
}

#[tokio::test]
async fn a_daemon_that_drains_is_not_ready() {
    let server = Server::start().await;
    let project = Project::with_plugins(&patient("slow"));
    let mut daemon = project.run(&server).await;
    server.publish("in.x", "1500").await;
    runs(&daemon).await;
    daemon.signal("TERM");
    eventually("it says that it drains", async || {
        daemon
            .get("/readyz")
            .await
            .filter(|(status, body)| *status == 503 && body.contains("drain"))
    })
    .await;
    assert!(daemon.end().await.success());
    assert_eq!(server.count("OUT").await, 1);
}

/// Waits until the one event is in the handler's hands.
async fn runs(daemon: &Daemon) {
    eventually("the event runs", async || {
        let running = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (running == 1.0).then_some(())
    })
    .await;
}
