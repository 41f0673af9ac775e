//! A bad network between the daemon and its server, with exact accounting:
//! nothing lost, nothing twice, and it goes on by itself.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::harness::{
    Account, Daemon, Direction, Network, Project, Proxy, Server, events, eventually,
};

const FAN: u64 = 2;
const DEDUPLICATED: &str = "pelton_outputs_deduplicated_total{plugin=\"subject\"}";
const DONE: &str = "pelton_events_done_total{plugin=\"subject\"}";

/// A daemon behind a proxy, with a backlog.
struct Line {
    server: Server,
    proxy: Proxy,
    daemon: Daemon,
    events: u64,
    _project: Project,
}

impl Line {
    async fn with_backlog(n: u64) -> Line {
        // Silence is noticed within seconds, not within half a minute.
        let nats = "[nats]\nping-interval = \"500ms\"\nrequest-timeout = \"1s\"\n";
        let plugin = crate::harness::plugin_table("subject", "split", "in.>", "concurrency = 32");
        Line::through(Network::Pass, n, &format!("{nats}{plugin}")).await
    }

    /// Through a network that is bad from the beginning. What comes late because the
    /// machine is busy is not taken for lost; what is lost is missed after that.
    async fn counted(network: Network, n: u64) -> Line {
        let nats = "[nats]\nping-interval = \"60s\"\nrequest-timeout = \"8s\"\n";
        // Runs whose answer is lost are to wait beside each other.
        let plugin = crate::harness::plugin_table("subject", "split", "in.>", "concurrency = 256")
            .replace("\"3s\"", "\"15s\"")
            .replace("\"1s\"", "\"14s\"");
        Line::through(network, n, &format!("{nats}{plugin}")).await
    }

    async fn through(network: Network, n: u64, manifest: &str) -> Line {
        let server = Server::start().await;
        let proxy = Proxy::start(server.port()).await;
        proxy.set(network);
        let project = Project::with_plugins(manifest);
        server.stream("IN", &["in.>"]).await;
        server.publish_all(events(0..n, FAN)).await;
        let daemon = project.run_at(&proxy.url()).await;
        Line { server, proxy, daemon, events: n, _project: project }
    }

    /// Waits until so many more outputs are stored, and something is left to do
    /// after that, however fast the daemon is beside this test.
    async fn is_in_flow(&mut self, more: u64) {
        while !self.flows(more).await {
            let n = self.events;
            self.server.publish_all(events(n..2 * n, FAN)).await;
            self.events = 2 * n;
        }
    }

    /// Waits until so many more outputs are stored, or all are; whether not all are.
    async fn flows(&self, more: u64) -> bool {
        let before = self.server.count("OUT").await;
        let all = self.events * FAN;
        let now = eventually("events flow", async || {
            let now = self.server.count("OUT").await;
            (now >= all.min(before + more)).then_some(now)
        });
        now.await < all
    }

    /// Waits until nothing has been stored for a while: the fault is felt.
    async fn stands_still(&self) {
        let mut before = None;
        eventually("nothing is stored any more", async || {
            let now = self.server.count("OUT").await;
            let same = before.replace(now) == Some(now);
            tokio::time::sleep(Duration::from_millis(200)).await;
            same.then_some(())
        })
        .await;
    }

    async fn assert_exactly_once(&self) {
        Account::of(&self.server, self.events, FAN).await.assert_all_done();
    }

    /// What the fault did to the connection, in words for the test's output.
    async fn print(&self, what: &str) {
        let caught = self.daemon.metric(DEDUPLICATED).await;
        let (connections, dropped) = (self.proxy.connections(), self.proxy.dropped());
        println!(
            "{what}: {} events, {connections} connections, {dropped} messages dropped, \
             {caught} duplicates caught, 0 lost, 0 duplicated",
            self.events
        );
    }
}

#[tokio::test]
async fn twenty_cuts_in_full_flow_lose_and_repeat_nothing() {
    let seed = crate::harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut line = Line::with_backlog(20_000).await;
    let mut cuts = 0;
    while cuts < 20 {
        line.is_in_flow(random.random_range(200..1_500)).await;
        line.proxy.cut();
        cuts += 1;
    }
    line.assert_exactly_once().await;
    assert!(line.proxy.connections() > 20, "seed {seed}: {}", line.proxy.connections());
    line.print(&format!("seed {seed}: {cuts} cuts")).await;
}

#[tokio::test]
async fn a_network_that_goes_silent_loses_and_repeats_nothing() {
    for network in [
        Network::Blackhole,
        Network::HalfOpen(Direction::ToServer),
        Network::HalfOpen(Direction::ToClient),
    ] {
        let mut line = Line::with_backlog(2_000).await;
        line.is_in_flow(300).await;
        line.proxy.set(network);
        line.stands_still().await;
        // It gives the silent connection up and asks for another, in vain.
        let before = line.proxy.connections();
        eventually("the daemon gives the connection up", async || {
            (line.proxy.connections() > before).then_some(())
        })
        .await;
        line.proxy.set(Network::Pass);
        line.assert_exactly_once().await;
        line.print(&format!("{network:?}")).await;
    }
}

#[tokio::test]
async fn a_slow_or_late_or_cut_up_network_changes_nothing() {
    for network in
        [Network::Delay(Duration::from_millis(100)), Network::Slow(400_000), Network::Split(7)]
    {
        let line = Line::counted(network, 1_000).await;
        line.assert_exactly_once().await;
        assert_eq!(line.daemon.metric(DONE).await, line.events as f64, "{network:?}");
        line.print(&format!("{network:?}")).await;
    }
}

#[tokio::test]
async fn answers_to_publishes_that_are_lost_cost_no_run_and_no_duplicate() {
    let line = Line::counted(Network::DropPublishAcks(20), 1_000).await;
    line.assert_exactly_once().await;
    let (caught, dropped) = (line.daemon.metric(DEDUPLICATED).await, line.proxy.dropped());
    assert!(dropped > 20, "{dropped} answers were dropped");
    // A repeated publish finds its first one stored; its own answer may be lost, too.
    assert!(caught > 0.0 && caught <= dropped as f64, "{caught} caught, {dropped} dropped");
    assert_eq!(line.daemon.metric(DONE).await, line.events as f64);
    line.print("one answer to a publish in 20 lost").await;
}

#[tokio::test]
async fn publishes_that_are_lost_are_made_again_before_the_event_is_settled() {
    let line = Line::counted(Network::DropPublishes(20), 1_000).await;
    line.assert_exactly_once().await;
    assert!(line.proxy.dropped() > 20, "{} publishes were dropped", line.proxy.dropped());
    assert_eq!(line.daemon.metric(DEDUPLICATED).await, 0.0);
    line.print("one publish in 20 lost").await;
}

#[tokio::test]
async fn acknowledgements_that_are_lost_cost_a_run_and_no_duplicate() {
    let line = Line::counted(Network::DropAcks(20), 1_000).await;
    line.assert_exactly_once().await;
    let (caught, dropped) = (line.daemon.metric(DEDUPLICATED).await, line.proxy.dropped());
    assert!(dropped > 20, "{dropped} acknowledgements were dropped");
    // Each costs one more run, all of whose outputs are caught.
    assert_eq!(caught, (dropped * FAN) as f64, "{dropped} dropped");
    assert_eq!(line.daemon.metric(DONE).await, (line.events + dropped) as f64);
    line.print("one acknowledgement in 20 lost").await;
}

/// What the server still hands to a replica that is cut off costs attempts, but
/// too few to take the event for one that ends the process.
#[tokio::test]
async fn a_replica_that_is_cut_off_without_a_word_costs_no_event() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.port()).await;
    let plugin = crate::harness::plugin_table("subject", "split", "in.>", "");
    let project = Project::with_plugins(&plugin)
        .edited("timeout = \"1s\"", "timeout = \"900ms\"")
        .edited("ack-wait = \"3s\"", "ack-wait = \"1s\"");
    server.stream("IN", &["in.>"]).await;
    let first = project.run_at(&proxy.url()).await;
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    let asked = async || {
        let info = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
        let info = info.cached_info();
        (info.num_waiting, info.delivered.consumer_sequence)
    };
    eventually("the replica asks for events", async || (asked().await.0 > 0).then_some(())).await;

    proxy.set(Network::Blackhole);
    server.publish_all(events(0..1, FAN)).await;
    let deliveries = eventually("its requests end", async || {
        let (waiting, deliveries) = asked().await;
        (waiting == 0).then_some(deliveries)
    })
    .await;
    let second = project.run(&server).await;

    Account::of(&server, 1, FAN).await.assert_all_done();
    assert_eq!(first.metric("pelton_events_received_total{plugin=\"subject\"}").await, 0.0);
    // As often as the server had to deliver it: once, unless the machine is so busy
    // that the ack wait ends before the answer is there.
    let received = second.metric("pelton_events_received_total{plugin=\"subject\"}").await;
    assert!(received >= 1.0);
    assert_eq!(second.metric(DONE).await, received);
    println!("{deliveries} deliveries went to the replica that was cut off");
}
