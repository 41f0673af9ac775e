//! The model of JetStream against real servers: the same scripts, the same traces.
//!
//! Through the traits that the dispatcher uses, so the adapter is tested, too.

#[cfg(not(test))]
pub use report::Comparison;
pub use report::{Suite, compare};

mod known;
mod random;
mod report;
mod rules;
mod run;
mod script;
mod world;

/// A part of `make conformance`: the rules, on the server that the tests use.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn model_and_server_do_the_same() {
    let suite = Suite { seeds: 12, first_seed: rand::random_range(0..1 << 32) };
    let comparison = compare(crate::harness::Server::usual_binary(), suite).await;
    println!(
        "{comparison}, {} repeated, {} skipped, {} known, seeds from {}",
        comparison.repeated,
        comparison.skipped,
        comparison.known.len(),
        suite.first_seed
    );
    let differences: String = comparison.differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{differences}");
}

#[cfg(test)]
#[tokio::test]
async fn no_rule_depends_on_which_of_two_things_comes_first() {
    for script in rules::scripts() {
        let script = std::sync::Arc::new(script);
        assert!(report::is_sure(&script).await, "{}", script.name);
    }
}
