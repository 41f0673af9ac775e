//! SIGTERM drains, a second signal stops at once.

use async_nats::jetstream::consumer::pull;

use crate::harness::{Daemon, Project, Server, eventually, plugin_table};

#[tokio::test]
async fn sigterm_in_full_flow_loses_and_repeats_nothing() {
    let server = Server::start().await;
    let project = Project::with_guest("slow", "concurrency = 16").patient();
    const BATCH: usize = 2_000;
    server.stream("IN", &["in.>"]).await;
    let batch = || (0..BATCH).map(|_| ("in.x".to_owned(), b"3".to_vec()));
    server.publish_all(batch()).await;

    let (mut published, mut stops) = (BATCH, 0);
    loop {
        let mut daemon = project.run(&server).await;
        let before = server.count("OUT").await;
        let done = eventually("some events are handled", async || {
            let now = server.count("OUT").await;
            let done = now as usize == published;
            (done || now > before + 100).then_some(done)
        })
        .await;
        let status = daemon.stop().await;
        assert!(status.success(), "{status}: {}", daemon.log());
        stops += 1;
        // Whatever was delivered is settled: nothing waits for the ack wait. The
        // server may be a moment behind with what it was told.
        let stream = server.jetstream().await.get_stream("IN").await.unwrap();
        let info = eventually(&format!("all is settled after stop {stops}"), async || {
            let consumer = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
            let info = consumer.cached_info().clone();
            (info.num_ack_pending == 0).then_some(info)
        })
        .await;
        assert_eq!(info.num_redelivered, 0, "redelivered after stop {stops}");
        match done {
            true if stops > 3 => break,
            // The host was faster than this test: there is to be more to stop in.
            true => {
                server.publish_all(batch()).await;
                published += BATCH;
            }
            false => {}
        }
    }
    assert_eq!(server.count("OUT").await as usize, published);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let server = Server::start().await;
    // Without the second signal it would wait for longer than this test does.
    let project = Project::with_plugins(&format!("[host]\ndrain = \"1h\"\n{}", patient("sleep")));
    let mut daemon = project.run(&server).await;
    server.publish("in.x", "sleep").await;
    runs(&daemon).await;

    daemon.signal("TERM");
    daemon.says("draining").await;
    assert!(daemon.is_running(), "it did not wait for the event that runs");
    daemon.signal("INT");

    assert_eq!(daemon.end().await.code(), Some(1));
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
    crate::harness::patient(&plugin_table("subject", guest, "in.>", "breaker = false"))
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
    server.publish("in.x", "10000").await;
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
