//! How fast a plugin runs, when it rests and when it tries again: circuit
//! breaker, rate, retry budget, and what a stop does to attempts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::consumer::{self, pull};
use serde_json::{Value, json};

use crate::harness::{Daemon, Project, Server, Stored, eventually, guest};

/// Fails for as long as an event says, and is tried again soon.
const PATIENT: &str =
    "retry = { attempts = 100, backoff = { first = \"20ms\", max = \"50ms\" } }\nconcurrency = 8\n";

/// Rests after ten failures, for this long.
fn breaker(open: &str) -> String {
    format!(
        "breaker = {{ window = 10, minimum-calls = 10, probes = 3, \
         open = {{ first = \"{open}\", max = \"{open}\" }} }}\n"
    )
}

/// Events that fail until `until_ms`.
fn failing(n: usize, until_ms: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..n).map(move |n| {
        (format!("in.k{}", n % 8), json!({ "n": n, "until-ms": until_ms }).to_string().into_bytes())
    })
}

fn in_ms(ms: u64) -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() + ms
}

/// One counter or gauge of the plugin `subject`.
async fn metric(daemon: &Daemon, name: &str) -> f64 {
    daemon.metric(&format!("pelton_{name}{{plugin=\"subject\"}}")).await
}

/// Waits until the breaker is open.
async fn opens(daemon: &Daemon) {
    eventually("the circuit breaker opens", async || {
        (metric(daemon, "breaker_state").await == 2.0).then_some(())
    })
    .await;
}

async fn consumer(server: &Server) -> consumer::Info {
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    let consumer = stream.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
    consumer.cached_info().clone()
}

async fn is_paused(server: &Server) -> bool {
    consumer(server).await.paused
}

/// How many events each host has received, once all that the server has sent out
/// is with them.
async fn all_received(server: &Server, daemons: &[&Daemon]) -> Vec<f64> {
    eventually("what is on its way arrives", async || {
        let sent = consumer(server).await.delivered.consumer_sequence;
        let mut received = Vec::new();
        for daemon in daemons {
            received.push(metric(daemon, "events_received_total").await);
        }
        (received.iter().sum::<f64>() == sent as f64).then_some(received)
    })
    .await
}

/// Which event each output is of, and which attempt the guest saw.
fn testimonies(out: &[Stored]) -> Vec<(usize, u64)> {
    let mut all: Vec<_> = out
        .iter()
        .map(|out| serde_json::from_slice::<Value>(&out.payload).unwrap())
        .map(|said| (said["n"].as_u64().unwrap() as usize, said["attempt"].as_u64().unwrap()))
        .collect();
    all.sort_unstable();
    all
}

/// Through an outage no more runs than those that open the breaker and those
/// that probe; afterwards everything is handled once, and no attempt was
/// counted that was not made.
#[tokio::test]
async fn an_outage_costs_probes_only_and_ends_by_itself() {
    const EVENTS: usize = 500;
    const CONCURRENCY: f64 = 8.0;
    let (unordered, ordered) = ("", "order-by = \"subject.2\"\n");
    for (more, is_old) in [(unordered, false), (ordered, false), (unordered, true)] {
        let server = if is_old { Server::oldest().await } else { Server::start().await };
        let table = format!("{PATIENT}{}{more}", breaker("200ms"));
        let project = Project::with_guest("witness", &table).patient();
        let daemon = project.run(&server).await;
        server.publish_all(failing(EVENTS, in_ms(8_000))).await;
        eventually("the circuit breaker opens", async || {
            (metric(&daemon, "breaker_openings_total").await >= 1.0).then_some(())
        })
        .await;

        server.settled("IN", "pelton-subject").await;
        eventually("it closes again", async || {
            (metric(&daemon, "breaker_state").await == 0.0).then_some(())
        })
        .await;
        let said = testimonies(&server.stored("OUT").await);
        assert_eq!(
            said.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
            (0..EVENTS).collect::<Vec<_>>()
        );
        assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
        let metrics = daemon.metrics().await;
        let value = |name: &str| metrics.get(name).copied().unwrap_or(0.0);
        let openings = value("pelton_breaker_openings_total{plugin=\"subject\"}");
        let failed = value("pelton_events_failed_total{plugin=\"subject\",class=\"retry\"}");
        let burned: u64 = said.iter().map(|(_, attempt)| attempt - 1).sum();
        println!("outage: openings={openings} failed={failed} burned={burned}");
        assert!(openings > 1.0, "it never opened again after a probe");
        // What was under way when it opened, and three probes an opening.
        assert!(failed <= 10.0 + CONCURRENCY - 1.0 + 3.0 * openings, "{failed}, {openings}");
        assert_eq!(burned as f64, failed, "attempts counted, and attempts made");
        daemon.says("circuit breaker open: too many runs fail").await;
        daemon.says("circuit breaker closed: runs go well again").await;
    }
}

/// Nothing is asked for while the breaker is open, by no replica.
#[tokio::test]
async fn an_open_breaker_stops_the_pulling_of_all_replicas() {
    let server = Server::start().await;
    let table = format!("{PATIENT}{}", breaker("1h"));
    let project = Project::with_guest("witness", &table).patient();
    let other = Project::with_guest("witness", &format!("{PATIENT}breaker = false\n")).patient();
    let daemon = project.run(&server).await;
    server.publish_all(failing(20, in_ms(3_600_000))).await;
    opens(&daemon).await;
    eventually("the consumer is paused", async || is_paused(&server).await.then_some(())).await;
    let replica = other.run(&server).await;
    assert!(is_paused(&server).await, "a replica that starts ends the pause");
    let before = all_received(&server, &[&daemon, &replica]).await;

    server.publish_all(failing(200, in_ms(3_600_000))).await;
    for daemon in [&daemon, &replica] {
        eventually("the new events are seen to wait", async || {
            (metric(daemon, "consumer_lag_events").await >= 200.0).then_some(())
        })
        .await;
    }

    let after = all_received(&server, &[&daemon, &replica]).await;
    assert_eq!(metric(&daemon, "breaker_state").await, 2.0);
    assert_eq!((&after, before[1]), (&before, 0.0));
}

/// What took the place of the plugin has shown nothing yet.
#[tokio::test]
async fn a_reload_closes_the_breaker_and_says_so() {
    let server = Server::start().await;
    let project = Project::with_guest("witness", &format!("{PATIENT}{}", breaker("50s")));
    let daemon = project.run(&server).await;
    server.publish_all(failing(20, in_ms(3_600_000))).await;
    opens(&daemon).await;

    let project = project.edited("timeout = \"1s\"", "timeout = \"900ms\"");
    let reloaded = daemon.reload(project.path()).await;
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:?}");
    eventually("the breaker is closed, or has opened anew", async || {
        let is_closed = metric(&daemon, "breaker_state").await == 0.0;
        let openings = metric(&daemon, "breaker_openings_total").await;
        (is_closed || openings > 1.0).then_some(())
    })
    .await;
}

/// Where the consumer cannot be paused, this host stops asking all the same.
#[tokio::test]
async fn an_open_breaker_stops_the_pulling_from_an_older_server() {
    let server = Server::oldest().await;
    let project = Project::with_guest("witness", &format!("{PATIENT}{}", breaker("1h"))).patient();
    let daemon = project.run(&server).await;
    server.publish_all(failing(20, in_ms(3_600_000))).await;
    opens(&daemon).await;
    eventually("it takes its requests back", async || {
        (consumer(&server).await.num_waiting == 0).then_some(())
    })
    .await;
    let before = all_received(&server, &[&daemon]).await;

    server.publish_all(failing(200, in_ms(3_600_000))).await;
    eventually("the new events are seen to wait", async || {
        (metric(&daemon, "consumer_lag_events").await >= 200.0).then_some(())
    })
    .await;

    assert!(!is_paused(&server).await, "an older server is none that can pause");
    assert_eq!(metric(&daemon, "breaker_state").await, 2.0);
    assert_eq!(all_received(&server, &[&daemon]).await, before);
}

#[tokio::test]
async fn rejections_do_not_open_the_breaker() {
    let server = Server::start().await;
    let project = Project::with_guest("witness", &format!("{PATIENT}{}", breaker("50s"))).patient();
    let daemon = project.run(&server).await;

    let bad = json!({ "reject": true }).to_string().into_bytes();
    server.publish_all((0..100).map(|_| ("in.x".to_owned(), bad.clone()))).await;
    server.publish("in.x", json!({ "n": 0 }).to_string()).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 100);
    assert_eq!(server.count("OUT").await, 1);
    assert_eq!(metric(&daemon, "breaker_openings_total").await, 0.0);
}

#[tokio::test]
async fn without_a_breaker_every_attempt_is_made() {
    let server = Server::start().await;
    let table =
        "breaker = false\nretry = { attempts = 2, backoff = { first = \"5ms\", max = \"5ms\" } }";
    let project = Project::with_guest("witness", table).patient();
    let daemon = project.run(&server).await;

    server.publish_all(failing(100, in_ms(3_600_000))).await;

    crate::delivery::dead_letters(&server, 100).await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(metric(&daemon, "breaker_openings_total").await, 0.0);
    let made = "pelton_events_failed_total{plugin=\"subject\",class=\"retry\"}";
    assert_eq!(daemon.metric(made).await, 200.0);
}

/// By the times at which the outputs were stored.
fn assert_spaced(out: &[Stored], rate: f64) {
    let first = out.iter().map(|out| out.time).min().unwrap();
    let mut at: Vec<_> =
        out.iter().map(|out| out.time.duration_since(first).unwrap().as_secs_f64()).collect();
    at.sort_by(f64::total_cmp);
    let (span, least) = (at[at.len() - 1], at.len() as f64 / rate);
    println!("rate: {} events in {span:.2} s", at.len());
    assert!(span > 0.8 * least, "{span} s for what takes {least} s");
    let most =
        at.iter().map(|from| at.iter().filter(|at| (*from..from + 1.0).contains(at)).count());
    // Those that were held up by a busy machine may come with those after them.
    assert!(most.max().unwrap() as f64 <= 1.6 * rate, "{at:?}");
}

#[tokio::test]
async fn a_rate_is_kept_from_a_stream() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "rate = \"50/s\"").patient();
    server.stream("IN", &["in.>"]).await;
    server.publish_all((0..200).map(|n| ("in.x".to_owned(), n.to_string().into()))).await;

    let daemon = project.run(&server).await;

    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 200);
    assert_spaced(&server.stored("OUT").await, 50.0);
    assert_eq!(metric(&daemon, "events_redelivered_total").await, 0.0);
}

#[tokio::test]
async fn a_rate_is_kept_from_core_nats() {
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let project = Project::new(&format!(
        "[plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in.>\"]\npublish = [\"out.>\"]\nrate = \"50/s\"\n",
        guest("echo")
    ));
    let _daemon = project.run(&server).await;
    let client = server.client().await;
    for n in 0..200 {
        client.publish("in.x", n.to_string().into()).await.unwrap();
    }

    eventually("all are handled", async || (server.count("OUT").await == 200).then_some(())).await;
    assert_spaced(&server.stored("OUT").await, 50.0);
}

/// What was running when a host stopped runs again as the same attempt, even if
/// it is the only one; what had failed before stays counted.
#[tokio::test]
async fn a_stop_burns_no_attempts() {
    for more in ["", "order-by = \"subject.2\"\n"] {
        for (attempts, succeed_at) in [(1, 1), (3, 2)] {
            let server = Server::start().await;
            let project = Project::with_guest("witness", &format!(
                "{more}breaker = false\nconfig = {{ hold = \"yes\" }}\n\
                 retry = {{ attempts = {attempts}, backoff = {{ first = \"20ms\", max = \"20ms\" }} }}\n\
                 [host]\ndrain = \"100ms\"\n"
            ))
            .edited("\"1s\"", "\"50s\"")
            .edited("\"3s\"", "\"55s\"");
            let wish = json!({ "n": 0, "succeed-at": succeed_at }).to_string();
            server.stream("IN", &["in.>"]).await;
            server.publish("in.x", wish).await;
            // More stops than there are attempts.
            for _ in 0..3 {
                let mut daemon = project.run(&server).await;
                held(&daemon, succeed_at).await;
                assert_eq!(daemon.stop().await.code(), Some(1), "{}", daemon.log());
            }

            let project = project.edited("\"yes\"", "\"no\"");
            let daemon = project.run(&server).await;

            server.settled("IN", "pelton-subject").await;
            let said = testimonies(&server.stored("OUT").await);
            assert_eq!(said, [(0, succeed_at)], "{more}{}", daemon.log());
            assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
        }
    }
}

/// Waits until this attempt runs and goes on running.
async fn held(daemon: &Daemon, attempt: u64) {
    let line = format!("holding attempt {attempt}");
    eventually(&line, async || daemon.log().contains(&line).then_some(())).await;
}

/// The delays of the retries that the log tells of, oldest first.
fn delays(daemon: &Daemon) -> Vec<Duration> {
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("it comes again"));
    lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| seconds(line["delay"].as_str().unwrap()))
        .map(Duration::from_secs_f64)
        .collect()
}

/// Reads a duration as it is written into the log: `1.5ms`.
fn seconds(text: &str) -> f64 {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .expect("a number with its unit");
    number.parse::<f64>().unwrap() * unit
}

#[tokio::test]
async fn retries_are_rare_while_most_runs_fail_and_quick_again_afterwards() {
    let server = Server::start().await;
    let project = Project::with_guest(
        "witness",
        "breaker = false\nretry = { attempts = 5, backoff = { first = \"20ms\", max = \"3s\" } }",
    )
    .patient();
    let daemon = project.run(&server).await;
    let fails_once = |n: usize| json!({ "n": n, "succeed-at": 2 }).to_string().into_bytes();
    let quick = Duration::from_millis(20);

    server.publish_all((0..300).map(|n| ("in.x".to_owned(), fails_once(n)))).await;
    server.settled("IN", "pelton-subject").await;
    let during = delays(&daemon);
    assert_eq!(during.len(), 300);
    // Half of the hundred that the budget holds, before any success has paid.
    assert!(during[..40].iter().all(|delay| *delay <= quick), "{during:?}");
    let n_quick = during.iter().filter(|delay| **delay <= quick).count();
    let longest = during.iter().max().unwrap();
    println!("budget: {n_quick} of 300 retries are quick, the longest waits {longest:?}");
    assert!(n_quick < 200 && *longest > Duration::from_secs(1), "{during:?}");
    assert!(*longest <= Duration::from_secs(3), "{during:?}");

    // Each success pays for a quarter of a retry.
    server
        .publish_all((0..400).map(|n| ("in.x".to_owned(), json!({ "n": n }).to_string().into())))
        .await;
    server.settled("IN", "pelton-subject").await;
    server.publish_all((0..20).map(|n| ("in.x".to_owned(), fails_once(n)))).await;
    server.settled("IN", "pelton-subject").await;
    let after = &delays(&daemon)[300..];
    assert_eq!(after.len(), 20);
    assert!(after.iter().all(|delay| *delay <= quick), "{after:?}");
    // Full jitter: no two are alike.
    let distinct: std::collections::BTreeSet<_> = during[..40].iter().collect();
    assert!(distinct.len() > 30, "{during:?}");
}
