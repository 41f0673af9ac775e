//! Events of one key run one after the other, in the order of the stream,
//! through retries, kills and take-overs; other keys do not wait for them.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::consumer::pull;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{Daemon, Network, Project, Proxy, Server, Stored, eventually, seed};

/// An ordered plugin that fails as its events say.
const ORDERED: &str = r#"
order-by = "subject.2"
retry = { attempts = 4, backoff = { first = "20ms", max = "100ms" } }
breaker = false
"#;

fn ordered(more: &str) -> Project {
    Project::with_guest("flaky", &format!("{ORDERED}{more}"))
}

/// The same, taken over as soon as can be: so short an ack wait that its lease
/// lives for a second.
fn taken_over_soon() -> Project {
    ordered("")
        .edited("ack-wait = \"3s\"", "ack-wait = \"1500ms\"")
        .edited("timeout = \"1s\"", "timeout = \"1400ms\"")
}

/// An event of `key`, the `n`th, that succeeds at this attempt.
fn event(key: usize, n: usize, succeed_at: usize) -> (String, Vec<u8>) {
    let payload = json!({ "n": n, "succeed-at": succeed_at }).to_string();
    (format!("in.k{key}"), payload.into_bytes())
}

/// The numbers that came out for each key, in the order of the output stream.
fn by_key(out: &[Stored]) -> BTreeMap<String, Vec<u64>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for message in out {
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        keys.entry(message.subject.clone()).or_default().push(payload["n"].as_u64().unwrap());
    }
    keys
}

/// Events of `keys` keys by turns, a tenth of them failing twice.
fn tangled(keys: usize, events: usize, random: &mut SmallRng) -> Vec<(String, Vec<u8>)> {
    let all = (0..events).flat_map(|n| (0..keys).map(move |key| (key, n)));
    all.map(|(key, n)| event(key, n, if random.random_bool(0.1) { 3 } else { 1 })).collect()
}

fn assert_in_order(out: &[Stored], keys: usize, events: usize) {
    let found = by_key(out);
    assert_eq!(found.len(), keys);
    let expected: Vec<_> = (0..events as u64).collect();
    for (key, numbers) in found {
        assert_eq!(numbers, expected, "{key}");
    }
}

#[tokio::test]
async fn events_of_a_key_keep_their_order_through_retries() {
    let server = Server::start().await;
    let project = ordered("").patient();
    let daemon = project.run(&server).await;
    let mut random = SmallRng::seed_from_u64(1);

    server.publish_all(tangled(20, 20, &mut random)).await;

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, 20, 20);
    assert!(daemon.metric("pelton_events_retried_total{plugin=\"subject\"}").await > 0.0);
    assert_eq!(daemon.metric("pelton_events_redelivered_total{plugin=\"subject\"}").await, 0.0);
}

#[tokio::test]
async fn a_key_that_backs_off_holds_up_only_itself() {
    let server = Server::start().await;
    let project = Project::with_guest(
        "flaky",
        "order-by = \"subject.2\"\nconcurrency = 2\nbreaker = false\n\
         retry = { attempts = 2, backoff = { first = \"1h\", max = \"1h\" } }",
    );
    // Its retries may take longer than the default window.
    let project = project.patient();
    let daemon = project.run(&server).await;

    let stuck = (0..4).flat_map(|key| (0..50).map(move |n| event(key, n, 2)));
    let free = (4..20).flat_map(|key| (0..50).map(move |n| event(key, n, 1)));
    server.publish_all(stuck.chain(free)).await;

    eventually("all other keys are done", async || {
        (server.count("OUT").await == 16 * 50).then_some(())
    })
    .await;
    let out = by_key(&server.stored("OUT").await);
    assert!(out.keys().all(|key| !["out.k0", "out.k1", "out.k2", "out.k3"].contains(&&**key)));
    // A lane ends a little after its last output is stored.
    eventually("only their lanes are left", async || {
        (daemon.metric("pelton_lanes{plugin=\"subject\"}").await == 4.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("pelton_events_redelivered_total{plugin=\"subject\"}").await, 0.0);
}

#[tokio::test]
async fn an_event_that_fails_for_good_is_a_gap_or_blocks_its_key() {
    for (on_failure, expected, dead) in [("dead-letter", vec![1], 1), ("block", vec![0, 1], 0)] {
        let server = Server::start().await;
        let project = ordered(&format!("on-failure = \"{on_failure}\"")).patient();
        let daemon = project.run(&server).await;

        // More than all attempts.
        server.publish_all([event(1, 0, 7), event(1, 1, 1)]).await;

        server.settled("IN", "pelton-subject").await;
        assert_eq!(by_key(&server.stored("OUT").await)["out.k1"], expected, "{on_failure}");
        assert_eq!(server.count("pelton_DEAD_LETTERS").await, dead, "{on_failure}");
        let says_so = daemon.log().contains("holds up all later ones of its key");
        assert_eq!(says_so, on_failure == "block");
    }
}

#[tokio::test]
async fn keys_are_found_in_headers_and_payloads() {
    for by in ["header:Key", "json:/key"] {
        let server = Server::start().await;
        let project = ordered("").edited("subject.2", by).patient();
        let _daemon = project.run(&server).await;
        let jetstream = server.jetstream().await;
        for n in 0..40 {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Key", format!("{}", n % 4));
            let succeed_at = if n % 5 == 0 { 3 } else { 1 };
            let payload = json!({ "n": n, "key": n % 4, "succeed-at": succeed_at }).to_string();
            let published = jetstream.publish_with_headers("in.x", headers, payload.into());
            published.await.unwrap().await.unwrap();
        }

        server.settled("IN", "pelton-subject").await;
        let numbers = &by_key(&server.stored("OUT").await)["out.x"];
        for key in 0..4 {
            let of_key: Vec<_> = numbers.iter().filter(|n| *n % 4 == key).copied().collect();
            assert!(of_key.is_sorted(), "{by}: {of_key:?}");
        }
        assert_eq!(numbers.len(), 40, "{by}");
    }
}

#[tokio::test]
async fn one_replica_has_the_plugin_and_another_takes_over_when_it_stops() {
    let server = Server::start().await;
    let project = ordered("").patient();
    let mut first = project.run(&server).await;
    first.says("this host has the plugin now").await;
    let second = project.run(&server).await;
    second.says("another host has the plugin; standing by").await;
    let mut random = SmallRng::seed_from_u64(2);

    server.publish_all(tangled(10, 100, &mut random)).await;
    eventually("some events are handled", async || (server.count("OUT").await > 100).then_some(()))
        .await;
    assert_eq!(second.metric("pelton_events_received_total{plugin=\"subject\"}").await, 0.0);
    assert_eq!(second.metric("pelton_plugin_active{plugin=\"subject\"}").await, 0.0);
    assert!(first.stop().await.success(), "{}", first.log());

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, 10, 100);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(second.metric("pelton_plugin_active{plugin=\"subject\"}").await, 1.0);
    let (_, plugins) = second.get("/plugins").await.unwrap();
    let plugins: Value = serde_json::from_str(&plugins).unwrap();
    assert_eq!(plugins["subject"], json!({ "breaker": "closed", "active": true }));
}

/// Two replicas, killed at random: order, no loss, nothing twice.
#[tokio::test]
async fn order_holds_through_kills_of_two_replicas() {
    const KEYS: usize = 100;
    const EVENTS: usize = 200;
    const KILLS: usize = 20;
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let server = Server::start().await;
    let project = taken_over_soon();
    let mut daemons = [project.run(&server).await, project.launch(&server)];
    server.publish_all(tangled(KEYS, EVENTS, &mut random)).await;

    let mut kills = 0;
    while kills < KILLS {
        let before = server.count("OUT").await;
        let goal = (before + random.random_range(1..400)).min((KEYS * EVENTS) as u64);
        eventually("events go on being handled", async || {
            (server.count("OUT").await >= goal).then_some(())
        })
        .await;
        if before as usize == KEYS * EVENTS {
            break;
        }
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        // Either the one at work, or the one that stands by.
        let victim = random.random_range(0..2);
        daemons[victim].kill();
        daemons[victim] = project.launch(&server);
        kills += 1;
    }

    server.settled("IN", "pelton-subject").await;
    let out = server.stored("OUT").await;
    println!("order: keys={KEYS} events={} kills={kills} out={}", KEYS * EVENTS, out.len());
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_in_order(&out, KEYS, EVENTS);
    assert_eq!(kills, KILLS, "the events were too few for all kills");
}

/// A holder that stood still for longer than its lease finds that another has
/// the plugin, and neither runs nor answers anything in its place.
#[tokio::test]
async fn order_holds_when_the_holder_stands_still_for_longer_than_its_lease() {
    const KEYS: usize = 10;
    const EVENTS: usize = 300;
    let server = Server::start().await;
    let project = ordered("")
        .edited("ack-wait = \"3s\"", "ack-wait = \"10s\"")
        .edited("timeout = \"1s\"", "timeout = \"9s\"");
    let first = project.run(&server).await;
    first.says("this host has the plugin now").await;
    let second = project.run(&server).await;
    second.says("another host has the plugin; standing by").await;
    let mut random = SmallRng::seed_from_u64(3);
    let mut some = tangled(KEYS, EVENTS, &mut random);
    let others = some.split_off(KEYS * EVENTS / 2);
    server.publish_all(some).await;
    eventually("some events are handled", async || (server.count("OUT").await > 100).then_some(()))
        .await;

    first.signal("STOP");
    // However fast it was: there is something left for the other.
    server.publish_all(others).await;
    second.says("this host has the plugin now").await;
    eventually("the other goes on", async || {
        let received = second.metric("pelton_events_received_total{plugin=\"subject\"}").await;
        (received > 0.0).then_some(())
    })
    .await;
    first.signal("CONT");
    first.says("the plugin's lease is lost; standing by").await;

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, KEYS, EVENTS);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(first.metric("pelton_plugin_active{plugin=\"subject\"}").await, 0.0);
}

/// What the server goes on to hand out to a holder that is cut off without a
/// word comes again before anything newer.
#[tokio::test]
async fn order_holds_when_the_holder_is_cut_off_without_a_word() {
    const KEYS: usize = 4;
    const EVENTS: usize = 120;
    let server = Server::start().await;
    let proxy = Proxy::start(server.port()).await;
    let project = taken_over_soon();
    let first = project.run_at(&proxy.url()).await;
    first.says("this host has the plugin now").await;
    let second = project.run(&server).await;
    second.says("another host has the plugin; standing by").await;
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    eventually("the holder asks for events", async || {
        let info = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
        (info.cached_info().num_waiting > 0).then_some(())
    })
    .await;

    proxy.set(Network::Blackhole);
    let all = (0..EVENTS).flat_map(|n| (0..KEYS).map(move |key| event(key, n, 1)));
    let (some, others): (Vec<_>, Vec<_>) = all.enumerate().partition(|(n, _)| *n < 100);
    let event = |(_, event)| event;
    server.publish_all(some.into_iter().map(event)).await;
    eventually("the other has taken over", async || {
        (server.count("OUT").await == 100).then_some(())
    })
    .await;
    server.publish_all(others.into_iter().map(event)).await;

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, KEYS, EVENTS);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(first.metric("pelton_events_received_total{plugin=\"subject\"}").await, 0.0);
}

/// Who deletes the bucket takes nobody's plugin away, nor gives it to two.
#[tokio::test]
async fn order_holds_when_the_bucket_of_the_lease_is_deleted() {
    let server = Server::start().await;
    let project = ordered("");
    let daemons = [project.run(&server).await, project.run(&server).await];
    let mut random = SmallRng::seed_from_u64(4);
    server.publish_all(tangled(10, 200, &mut random)).await;
    eventually("some events are handled", async || (server.count("OUT").await > 100).then_some(()))
        .await;

    server.jetstream().await.delete_key_value("pelton_STATE").await.unwrap();

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, 10, 200);
    drop(daemons);
}

/// Whoever may write into the bucket may put anything in the place of a lease.
#[tokio::test]
async fn what_is_no_lease_holds_nobody_up() {
    let server = Server::start().await;
    let project = ordered("")
        // A lease of the longest life, which no busy machine outlives soon; what
        // is lost with it comes again after this.
        .edited("ack-wait = \"3s\"", "ack-wait = \"10s\"")
        .edited("timeout = \"1s\"", "timeout = \"9s\"");
    let daemon = project.run(&server).await;
    daemon.says("this host has the plugin now").await;
    let forgeries: [(&[u8], &str); 3] = [
        (b"NATS/1.0\r\nno colon\r\n\r\n", "x"),
        (b"NATS/1.0\r\nA: b\r\n\r\n", "{\"holder\": 7}"),
        (b"NATS/1.0\r\nKV-Operation: DEL\r\nno colon\r\n\r\n", ""),
    ];
    for (n, (headers, value)) in forgeries.into_iter().enumerate() {
        server.publish_raw("$KV.pelton_STATE.lease.IN.pelton-subject", headers, value).await;
        eventually("the lease is lost", async || {
            let log = daemon.log();
            (log.matches("the plugin's lease is lost").count() > n).then_some(())
        })
        .await;
        let (subject, event) = event(0, n, 1);
        server.publish(&subject, event).await;
        eventually("the plugin goes on", async || {
            (server.count("OUT").await == n as u64 + 1).then_some(())
        })
        .await;
    }
    assert_eq!(daemon.log().matches("is no lease").count(), 2, "{}", daemon.log());
    assert_eq!(daemon.metric("pelton_nats_reconnects_total").await, 0.0);
}

/// Without the right to its lease a plugin takes nothing, and says why.
#[tokio::test]
async fn an_ordered_plugin_that_may_not_write_its_lease_says_so() {
    for denied in ["$KV.>", "$JS.API.STREAM.CREATE.KV_pelton_STATE"] {
        let server = Server::with_config(&format!(
            "jetstream {{}}\nauthorization {{ users: [\
             {{ user: u, password: p, permissions: {{ publish: {{ deny: [\"{denied}\"] }} }} }} ] }}",
        ))
        .await;
        let login = "[nats]\nuser = \"u\"\npassword = { from-file = \"password\" }\n[streams.IN]";
        let project = ordered("").edited("[streams.IN]", login);
        std::fs::write(project.path().join("password"), "p").unwrap();
        let daemon = project.launch(&server);
        let says = "the plugin takes no events";
        daemon.says(says).await;
        let (status, page) = eventually("it is not ready", async || {
            daemon.get("/readyz").await.filter(|(_, page)| page.contains("lease of plugin"))
        })
        .await;
        assert_eq!(status, 503, "{page}");
        assert!(page.contains("ermissions"), "{page}");
        assert!(page.contains(denied.trim_end_matches('>')), "{page}");
        assert_eq!(daemon.log().matches(says).count(), 1, "{}", daemon.log());
    }
}

/// What ends the process is put down to the event after so many deaths.
#[tokio::test]
async fn an_ordered_event_that_ends_the_process_goes_to_the_dead_letters() {
    let server = Server::start().await;
    let table = "order-by = \"subject.2\"\nretry = { attempts = 2 }\nbreaker = false";
    // Not its time-out is to end a run.
    let project = Project::with_guest("sleep", table)
        .edited("ack-wait = \"3s\"", "ack-wait = \"4s\"")
        .edited("timeout = \"1s\"", "timeout = \"3900ms\"");
    server.stream("IN", &["in.>"]).await;
    // Behind it waits one that has nothing to do with it.
    server.publish_all([("in.a".to_owned(), b"sleep".to_vec()), event(0, 0, 1)]).await;

    let mut deaths = 0;
    loop {
        let mut daemon: Daemon = project.run(&server).await;
        let runs_or_is_dead = eventually("the event runs, or is buried", async || {
            match server.count("pelton_DEAD_LETTERS").await {
                0 => daemon.log().contains("sleeping for an hour").then_some(false),
                _ => Some(true),
            }
        });
        if runs_or_is_dead.await {
            break;
        }
        daemon.kill();
        deaths += 1;
        // The attempts, those put down to chance, and the first, which nobody noted.
        assert!(deaths <= 2 + 5 + 1, "{}", daemon.log());
    }
    let dead = server.stored("pelton_DEAD_LETTERS").await;
    assert_eq!(dead[0].header("Pelton-Dlq-Reason"), Some("crash-loop"));
    assert_eq!(dead[0].header("Pelton-Dlq-Subject"), Some("in.a"));
}

#[tokio::test]
async fn order_holds_through_reloads_in_full_flow() {
    const KEYS: usize = 20;
    const EVENTS: usize = 150;
    let server = Server::start().await;
    // So slow that all reloads fall into the flow.
    let mut project = ordered("rate = \"150/s\"\nconcurrency = 2");
    let daemon = project.run(&server).await;
    let mut random = SmallRng::seed_from_u64(3);
    server.publish_all(tangled(KEYS, EVENTS, &mut random)).await;

    for (n, concurrency) in (1..).zip([4, 8, 16]) {
        let before = server.count("OUT").await;
        eventually("events go on being handled", async || {
            (server.count("OUT").await > before + 50).then_some(())
        })
        .await;
        let old = format!("concurrency = {}", concurrency / 2);
        project = project.edited(&old, &format!("concurrency = {concurrency}"));
        daemon.signal("HUP");
        eventually("the reload is done", async || {
            let reloads = daemon.metric("pelton_reloads_total{outcome=\"reloaded\"}").await;
            (reloads as usize >= n).then_some(())
        })
        .await;
    }
    assert!(server.count("OUT").await < (KEYS * EVENTS) as u64, "too few events for all reloads");

    server.settled("IN", "pelton-subject").await;
    assert_in_order(&server.stored("OUT").await, KEYS, EVENTS);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(daemon.metric("pelton_plugin_active{plugin=\"subject\"}").await, 1.0);
}
