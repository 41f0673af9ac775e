use super::*;

#[test]
fn counters_appear_with_their_plugin_and_help() {
    let metrics = Metrics::new();
    let plugin = metrics.plugin("price");
    plugin.done.increment(3);
    plugin.failed("trap");
    plugin.handler_seconds.record(0.002);
    metrics.upkeep();
    let text = metrics.render();
    for line in [
        "# HELP pelton_events_done_total Events handled, their outputs published.",
        "# TYPE pelton_events_done_total counter",
        "pelton_events_done_total{plugin=\"price\"} 3",
        "pelton_events_received_total{plugin=\"price\"} 0",
        "pelton_events_failed_total{plugin=\"price\",class=\"trap\"} 1",
        "pelton_handler_duration_seconds_bucket{plugin=\"price\",le=\"0.0025\"} 1",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

#[test]
fn two_hosts_in_one_process_count_apart() {
    let (left, right) = (Metrics::new(), Metrics::new());
    left.plugin("p").done.increment(1);
    right.plugin("p");
    assert!(right.render().contains("pelton_events_done_total{plugin=\"p\"} 0"));
}

#[test]
fn readiness_names_what_is_missing() {
    let readiness = Readiness::default();
    readiness.lacks("nats", "not connected");
    readiness.lacks("plugin price", "being compiled");
    readiness.has("nats");
    assert_eq!(
        readiness.missing().into_iter().collect::<Vec<_>>(),
        [("plugin price".to_owned(), "being compiled".to_owned())]
    );
}
