//! What goes in, what comes out, and what an instance remembers.

use std::time::Duration;

use super::{Bench, event, guests};
use crate::{
    manifest::Isolation,
    plugin::{CallError, Handler as _, Plugin},
};

/// The payload of the only output.
async fn payload(plugin: &Plugin, payload: &str) -> String {
    let outputs = plugin.handle(&event(payload)).await.expect("an answer");
    assert_eq!(outputs.len(), 1);
    String::from_utf8(outputs[0].payload.to_vec()).expect("text")
}

#[tokio::test]
async fn an_event_goes_in_and_comes_out() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::echo()).await;
    let given = event("hello ✓");
    let outputs = plugin.handle(&given).await.expect("an answer");
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].subject, given.subject);
    assert_eq!(outputs[0].headers, given.headers);
    assert_eq!(outputs[0].payload, given.payload);
}

#[tokio::test]
async fn the_plugin_knows_its_name_and_component() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::echo()).await;
    assert_eq!(plugin.name(), "guest");
    assert_eq!(plugin.digest(), crate::plugin::inspect(bench.path()).expect("a component").digest);
}

#[tokio::test]
async fn what_the_guest_says_keeps_its_meaning_and_loses_its_escapes() {
    let bench = Bench::new();
    let reason = r"sorry\u{1b}".to_owned();
    let says = [
        CallError::Retry { reason: reason.clone(), after: None },
        CallError::Retry { reason: reason.clone(), after: Some(Duration::from_millis(1_500)) },
        CallError::Reject { reason },
    ];
    for (case, says) in (0..).zip(says) {
        let plugin = bench.plugin(&guests::failing(case)).await;
        assert_eq!(plugin.handle(&event("")).await, Err(says));
    }
}

#[tokio::test]
async fn config_is_read_by_key() {
    let mut bench = Bench::new();
    bench.spec.config.insert("currency".to_owned(), "EUR".to_owned());
    let plugin = bench.plugin(&guests::configured()).await;
    assert_eq!(payload(&plugin, "currency").await, "EUR");
    let missing = plugin.handle(&event("nothing")).await;
    assert!(matches!(missing, Err(CallError::Trap { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_fresh_instance_remembers_nothing() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::counter()).await;
    for _ in 0..3 {
        assert_eq!(payload(&plugin, "x").await, "1");
    }
}

#[tokio::test]
async fn a_reused_instance_is_dropped_after_its_number_of_events() {
    let mut bench = Bench::new();
    bench.spec.isolation = Isolation::Reuse(3);
    let plugin = bench.plugin(&guests::counter()).await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(payload(&plugin, "x").await);
    }
    assert_eq!(seen, ["1", "2", "3", "1", "2", "3", "1"]);
}

#[tokio::test]
async fn a_reused_instance_survives_a_refusal_but_not_a_trap() {
    let mut bench = Bench::new();
    bench.spec.isolation = Isolation::Reuse(100);
    let plugin = bench.plugin(&guests::counter()).await;
    assert_eq!(payload(&plugin, "x").await, "1");
    let refused = plugin.handle(&event("r")).await;
    assert!(matches!(refused, Err(CallError::Reject { .. })), "{refused:?}");
    assert_eq!(payload(&plugin, "x").await, "3");
    let trapped = plugin.handle(&event("t")).await;
    assert!(matches!(trapped, Err(CallError::Trap { .. })), "{trapped:?}");
    assert_eq!(payload(&plugin, "x").await, "1");
}

#[tokio::test]
async fn a_cancelled_call_gives_its_permit_back_and_its_instance_away() {
    let mut bench = Bench::with_instances(1);
    bench.spec.isolation = Isolation::Reuse(100);
    let spinning = bench.plugin(&guests::spinning()).await;
    let counter = bench.plugin(&guests::counter()).await;
    for _ in 0..3 {
        let event = event("x");
        let call = spinning.handle(&event);
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
        assert_eq!(spinning.idle(), 0);
    }
    assert_eq!(payload(&counter, "x").await, "1");
    assert_eq!(counter.idle(), 1);
}

#[tokio::test]
async fn a_spinning_guest_lets_its_neighbour_run() {
    let bench = Bench::new();
    let spinning = bench.plugin(&guests::spinning()).await;
    let counter = bench.plugin(&guests::counter()).await;
    let event = event("x");
    tokio::select! {
        biased;
        ended = spinning.handle(&event) => panic!("it ended: {ended:?}"),
        seen = payload(&counter, "x") => assert_eq!(seen, "1"),
    }
}
