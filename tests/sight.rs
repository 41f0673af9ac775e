//! What an operator sees: metrics and health.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Daemon, Project, Server, eventually, plugin_table};

#[tokio::test]
async fn metrics_agree_with_what_happened() {
    let server = Server::start().await;
    let project = Project::with_guest("flaky", crate::delivery::RETRY).patient();
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

/// All that a plugin counts and that is not zero, when it has come to rest.
async fn counters(daemon: &Daemon, plugin: &str) -> BTreeMap<String, f64> {
    let label = format!("{{plugin=\"{plugin}\"");
    let metrics = eventually(&format!("{plugin} has come to rest"), async || {
        let metrics = daemon.metrics().await;
        let at_rest = ["events", "bytes"].iter().all(|what| {
            metrics.get(&format!("pelton_inflight_{what}{label}}}")).is_none_or(|n| *n == 0.0)
        });
        at_rest.then_some(metrics)
    })
    .await;
    let counters = metrics.into_iter().filter_map(|(name, value)| {
        let (short, labels) = name.strip_prefix("pelton_")?.split_once(&label)?;
        let counts = short.ends_with("_total") || short.ends_with("_count");
        let labels = labels.trim_start_matches(',').trim_end_matches('}').replace('"', "");
        (counts && value != 0.0).then(|| (format!("{short} {labels}").trim().to_owned(), value))
    });
    counters.collect()
}

fn expected(counters: &[(&str, u32)]) -> BTreeMap<String, f64> {
    counters.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect()
}

/// How many dead letters there are of `plugin`, by reason.
async fn buried(server: &Server, plugin: &str) -> BTreeMap<String, u32> {
    let mut reasons = BTreeMap::new();
    for dead in server.stored("pelton_DEAD_LETTERS").await {
        if dead.header("Pelton-Dlq-Plugin") == Some(plugin) {
            *reasons.entry(dead.header("Pelton-Dlq-Reason").unwrap().to_owned()).or_default() += 1;
        }
    }
    reasons
}

/// What the plugin `strict` counts: two outputs that it may not publish, and one.
fn of_strict() -> BTreeMap<String, f64> {
    expected(&[
        ("events_received_total", 3),
        ("handler_duration_seconds_count", 3),
        ("events_failed_total class=output", 2),
        ("events_dead_lettered_total reason=output", 2),
        ("outputs_refused_total", 2),
        ("events_done_total", 1),
        ("event_age_seconds_count", 1),
        ("outputs_published_total", 1),
    ])
}

/// Waits until the breaker of `plugin` is open: it moves a little after the run that
/// was too much.
async fn opens(daemon: &Daemon, plugin: &str) {
    let state = format!("pelton_breaker_state{{plugin=\"{plugin}\"}}");
    eventually("the breaker is open", async || (daemon.metric(&state).await == 2.0).then_some(()))
        .await;
}

/// The server forgets what was handled.
async fn forget_consumers(server: &Server) {
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    for plugin in ["mixed", "strict", "broken"] {
        stream.delete_consumer(&format!("pelton-{plugin}")).await.unwrap();
    }
}

/// Every counter of three plugins against what went in and what the streams
/// store; then once more, after the server has forgotten what was handled, so
/// that every output is a duplicate.
#[tokio::test]
async fn every_counter_agrees_with_the_streams() {
    let server = Server::start().await;
    let once = "retry = { attempts = 1 }\nconcurrency = 1\nbreaker = { minimum-calls = 5, window = 5, \
                open = { first = \"5m\", max = \"5m\" } }";
    let retry = format!("{}\nbreaker = false", crate::delivery::RETRY);
    let project = Project::with_plugins(&format!(
        "{}{}{}",
        plugin_table("mixed", "witness", "in.mixed", &retry),
        plugin_table("strict", "emit", "in.strict", ""),
        plugin_table("broken", "witness", "in.broken", once),
    ))
    .patient();
    server.stream("IN", &["in.>"]).await;
    let wish = |subject: &str, wish: Value| (subject.to_owned(), wish.to_string().into_bytes());
    let mixed = [(5, json!({})), (3, json!({ "succeed-at": 2 })), (2, json!({ "succeed-at": 3 }))];
    let mixed = [&mixed[..], &[(2, json!({ "succeed-at": 99 })), (3, json!({ "reject": true }))]];
    for (n, what) in mixed.concat() {
        server.publish_all((0..n).map(|_| wish("in.mixed", what.clone()))).await;
    }
    for subject in ["out.x", "elsewhere", "out.>"] {
        server.publish_all([wish("in.strict", json!({ "subject": subject }))]).await;
    }
    server.publish_all((0..5).map(|_| wish("in.broken", json!({ "succeed-at": 99 })))).await;

    for life in 1..=2 {
        let mut daemon = project.run(&server).await;
        for plugin in ["mixed", "strict", "broken"] {
            server.settled("IN", &format!("pelton-{plugin}")).await;
        }
        let mut of_mixed = expected(&[
            // 5 + 3 * 2 + 2 * 3 + 2 * 4 + 3 runs.
            ("events_received_total", 28),
            ("handler_duration_seconds_count", 28),
            ("events_redelivered_total", 13),
            ("events_retried_total", 13),
            ("events_failed_total class=retry", 15),
            ("events_failed_total class=reject", 3),
            ("events_rejected_total", 3),
            ("events_dead_lettered_total reason=retry", 2),
            ("events_dead_lettered_total reason=reject", 3),
            ("events_done_total", 10),
            ("event_age_seconds_count", 10),
            ("outputs_published_total", 10),
        ]);
        let mut of_strict = of_strict();
        if life == 2 {
            of_mixed.insert("outputs_deduplicated_total".to_owned(), 10.0);
            of_strict.insert("outputs_deduplicated_total".to_owned(), 1.0);
        }
        assert_eq!(counters(&daemon, "mixed").await, of_mixed, "life {life}");
        assert_eq!(counters(&daemon, "strict").await, of_strict, "life {life}");
        opens(&daemon, "broken").await;
        let of_broken = expected(&[
            ("events_received_total", 5),
            ("handler_duration_seconds_count", 5),
            ("events_failed_total class=retry", 5),
            ("events_dead_lettered_total reason=retry", 5),
            ("breaker_openings_total", 1),
        ]);
        assert_eq!(counters(&daemon, "broken").await, of_broken, "life {life}");

        assert_eq!(server.count("OUT").await, 11);
        for (plugin, reasons) in [
            ("mixed", &[("reject", 3), ("retry", 2)][..]),
            ("strict", &[("output", 2)]),
            ("broken", &[("retry", 5)]),
        ] {
            let reasons = reasons.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
            assert_eq!(buried(&server, plugin).await, reasons);
        }
        assert!(daemon.stop().await.success(), "{}", daemon.log());
        forget_consumers(&server).await;
    }
}

#[tokio::test]
async fn lag_shows_what_waits_in_the_stream() {
    let server = Server::start().await;
    server.stream("IN", &["in.>"]).await;
    let project = Project::with_guest("slow", "concurrency = 1");
    server.publish_all((0..3_000).map(|_| ("in.x".to_owned(), b"100".to_vec()))).await;

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
