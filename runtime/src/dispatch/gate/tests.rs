use futures::FutureExt as _;
use tokio::time::{advance, timeout};

use super::*;

fn breaker() -> manifest::Breaker {
    manifest::Breaker {
        window: 4,
        minimum: 2,
        failure_ratio: 0.5,
        slow: None,
        slow_ratio: 1.0,
        open: Duration::from_secs(5),
        max_open: Duration::from_secs(60),
        probes: 1,
    }
}

async fn fail(gate: &Gate) {
    gate.enter().await.tell(Showing::Fails, false);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_than_there_are_slots() {
    let gate = Gate::new(2, None, None);
    let first = gate.enter().await;
    let _second = gate.enter().await;
    assert!(gate.enter().now_or_never().is_none());
    drop(first);
    assert!(gate.enter().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn runs_keep_to_the_rate() {
    let rate = manifest::Rate { runs: 100, per: Duration::from_secs(1) };
    let gate = Gate::new(1_000, Some(rate), None);
    let begun = Instant::now();
    let mut n = 0;
    while timeout(Duration::from_secs(10) - begun.elapsed(), gate.enter()).await.is_ok() {
        n += 1;
    }
    assert!((1_000..=1_011).contains(&n), "{n} runs in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_few_runs_lets_the_first_begin_at_once() {
    let rate = manifest::Rate { runs: 1, per: Duration::from_secs(3_600) };
    let gate = Gate::new(1, Some(rate), None);
    assert!(gate.enter().now_or_never().is_some());
    assert!(timeout(Duration::from_secs(3_599), gate.enter()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_while_the_breaker_is_open() {
    let gate = Gate::new(8, None, Some(breaker()));
    let mut moves = gate.moves();
    fail(&gate).await;
    assert!(moves.next().now_or_never().is_none());
    fail(&gate).await;
    assert!(matches!(moves.next().await, Position::Open(_)));
    let waiting = timeout(Duration::from_secs(4), gate.enter()).await;
    assert!(waiting.is_err(), "a run began while it was open");
    assert_eq!(moves.next().await, Position::HalfOpen(1));
    let mut probe = gate.enter().await;
    assert!(timeout(Duration::from_secs(60), gate.enter()).await.is_err(), "a second probe");
    probe.tell(Showing::Works, false);
    assert!(gate.enter().now_or_never().is_some());
    assert_eq!(moves.next().await, Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_off_does_not_hold_up_the_next() {
    let gate = Gate::new(8, None, Some(breaker()));
    fail(&gate).await;
    fail(&gate).await;
    advance(Duration::from_secs(5)).await;
    let probe = gate.enter().await;
    let next = gate.enter();
    tokio::pin!(next);
    assert!(next.as_mut().now_or_never().is_none());
    drop(probe);
    drop(timeout(Duration::from_secs(1), next).await.expect("the next probe begins"));
}
