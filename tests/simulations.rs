//! Some seeds of the simulation; `make sim` runs many.

use crate::simulation::{Outcome, Scenario, run};

fn seed(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run(Scenario::of(seed)))
}

#[test]
fn no_seed_violates_a_promise() {
    let (mut caught, mut crashes, mut dead) = (0, 0, 0);
    for number in 0..200 {
        let outcome = seed(number);
        assert!(outcome.violations.is_empty(), "seed {number}: {:#?}", outcome.violations);
        caught += outcome.caught;
        crashes += outcome.crashes;
        dead += outcome.dead;
    }
    println!("sim: seeds=200 crashes={crashes} caught={caught} dead-lettered={dead}");
    // Else nothing went wrong, and nothing was shown.
    assert!(caught > 200 && crashes > 200 && dead > 200);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for number in (0..400).step_by(20).chain([159]) {
        assert_eq!(seed(number), seed(number), "seed {number}");
    }
}
