//! Guests that take too much: each ends as its own kind of failure.

use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter as _;

use super::{Bench, event, guests};
use crate::{
    manifest::Isolation,
    plugin::{CallError, Handler as _, LoadError, Plugin, state::MemoryBudget},
};

async fn failure(plugin: &Plugin) -> CallError {
    plugin.handle(&event("x")).await.expect_err("it should fail")
}

#[tokio::test]
async fn a_spinning_guest_ends_at_its_time_out() {
    let mut bench = Bench::new();
    bench.spec.timeout = Duration::from_millis(30);
    let plugin = bench.plugin(&guests::spinning()).await;
    assert_eq!(failure(&plugin).await, CallError::Timeout(Duration::from_millis(30)));
}

#[tokio::test]
async fn a_guest_that_waits_in_the_host_ends_at_its_time_out() {
    let mut bench = Bench::new();
    bench.spec.timeout = Duration::from_millis(30);
    let plugin = bench.plugin(&guests::sleeping()).await;
    let begin = Instant::now();
    assert_eq!(failure(&plugin).await, CallError::Timeout(Duration::from_millis(30)));
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_spinning_guest_ends_when_its_processor_time_is_used_up() {
    let mut bench = Bench::new();
    bench.spec.limits.cpu = Duration::from_millis(20);
    bench.spec.isolation = Isolation::Reuse(100);
    let plugin = bench.plugin(&guests::spinning()).await;
    for _ in 0..2 {
        assert_eq!(failure(&plugin).await, CallError::Cpu(Duration::from_millis(20)));
        assert_eq!(plugin.idle(), 0);
    }
}

#[tokio::test]
async fn the_clock_sleeps_without_calls_and_wakes_for_one() {
    let mut bench = Bench::new();
    bench.spec.limits.cpu = Duration::from_millis(4);
    let plugin = bench.plugin(&guests::spinning()).await;
    let asleep = async {
        while !bench.engine.shared.ticker.asleep() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asleep).await.expect("it should fall asleep");
    assert_eq!(failure(&plugin).await, CallError::Cpu(Duration::from_millis(4)));
}

#[tokio::test]
async fn processor_time_is_for_one_run() {
    let mut bench = Bench::new();
    bench.spec.limits.cpu = Duration::from_millis(4);
    bench.spec.isolation = Isolation::Reuse(u32::MAX);
    let plugin = bench.plugin(&guests::echo()).await;
    let begin = Instant::now();
    // Long enough that the epoch advances many times more than one run may use.
    while begin.elapsed() < Duration::from_millis(50) {
        plugin.handle(&event("x")).await.expect("a short run");
    }
}

#[test]
fn memory_and_tables_are_one_budget() {
    let mut budget = MemoryBudget::new(1_000);
    let mut memory = |from, to| budget.memory_growing(from, to, None).expect("no trap");
    assert!(memory(0, 300));
    assert!(memory(300, 600));
    assert!(budget.table_growing(0, 50, None).expect("no trap"));
    assert!(!budget.refused);
    assert!(!budget.table_growing(0, 1, None).expect("no trap"));
    assert!(budget.refused);
    // What the system did not grant after all is free again.
    budget.table_grow_failed(wasmtime::Error::msg("no")).expect("no trap");
    assert!(budget.memory_growing(0, 400, None).expect("no trap"));
    assert!(!budget.memory_growing(0, 1, None).expect("no trap"));
}

#[tokio::test]
async fn a_guest_that_takes_all_memory_ends_at_its_limit() {
    let bench = Bench::new();
    for guest in [guests::greedy(), guests::greedy_table()] {
        let plugin = bench.plugin(&guest).await;
        assert_eq!(failure(&plugin).await, CallError::Memory(4 << 20));
    }
}

#[tokio::test]
async fn a_component_that_needs_more_memory_than_it_may_have_is_found_at_load() {
    let mut bench = Bench::new();
    bench.spec.memory = 64 << 10;
    bench.write(&super::component(&guests::echo()));
    let error = bench.load().await.err().expect("it needs two pages");
    assert!(matches!(error, LoadError::Start { source: CallError::Memory(65_536), .. }), "{error}");
}

#[tokio::test]
async fn endless_recursion_ends_at_the_stack() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::recursive()).await;
    let CallError::Stack { backtrace: Some(backtrace) } = failure(&plugin).await else {
        panic!("not the stack");
    };
    assert!(backtrace.contains("deeper"), "{backtrace}");
    assert!(backtrace.lines().count() <= 20, "{backtrace}");
}

#[tokio::test]
async fn a_trap_has_a_name_and_a_backtrace() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::trapping()).await;
    let CallError::Trap { reason, backtrace: Some(backtrace) } = failure(&plugin).await else {
        panic!("not a trap");
    };
    assert!(reason.contains("unreachable"), "{reason}");
    let [inner, outer, ..] = backtrace.lines().collect::<Vec<_>>()[..] else {
        panic!("{backtrace}");
    };
    assert!(inner.contains("inner") && outer.contains("outer"), "{backtrace}");
}

#[tokio::test]
async fn outputs_are_counted() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::many_outputs(100)).await;
    assert_eq!(plugin.handle(&event("x")).await.map(|outputs| outputs.len()), Ok(100));
    let plugin = bench.plugin(&guests::many_outputs(101)).await;
    assert_eq!(
        failure(&plugin).await,
        CallError::Outputs("101 outputs, 100 are allowed".to_owned())
    );
}

#[tokio::test]
async fn a_million_outputs_are_refused_before_they_are_made() {
    let mut bench = Bench::new();
    bench.spec.memory = 64 << 20;
    let plugin = bench.plugin(&guests::many_outputs(1_000_000)).await;
    assert!(matches!(failure(&plugin).await, CallError::Outputs(_)));
}

#[tokio::test]
async fn output_bytes_are_added_up() {
    let bench = Bench::new();
    // 14 bytes of subject and 10 of a header come with the payload.
    let plugin = bench.plugin(&guests::large_output((64 << 10) - 24)).await;
    assert_eq!(plugin.handle(&event("x")).await.map(|outputs| outputs.len()), Ok(1));
    let plugin = bench.plugin(&guests::large_output((64 << 10) - 23)).await;
    assert!(matches!(failure(&plugin).await, CallError::Outputs(_)));
}

#[tokio::test]
async fn a_huge_output_is_refused_before_it_is_copied() {
    let mut bench = Bench::new();
    bench.spec.memory = 64 << 20;
    let plugin = bench.plugin(&guests::large_output(32 << 20)).await;
    assert!(matches!(failure(&plugin).await, CallError::Outputs(_)));
}

#[tokio::test]
async fn a_value_that_breaks_the_rules_is_a_trap() {
    let bench = Bench::new();
    let plugin = bench.plugin(&guests::not_utf8()).await;
    let CallError::Trap { reason, .. } = failure(&plugin).await else {
        panic!("not a trap");
    };
    assert!(reason.contains("utf-8"), "{reason}");
}
