use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> manifest::Breaker {
    manifest::Breaker {
        window: 10,
        minimum: 4,
        failure_ratio: 0.5,
        slow: Some(SECOND),
        slow_ratio: 1.0,
        open: 5 * SECOND,
        max_open: 15 * SECOND,
        probes: 2,
    }
}

/// Runs that show `showing`, one after the other, as far as they may begin.
fn run(breaker: &mut Breaker, now: Instant, showings: &[Showing]) -> usize {
    let begun = showings.iter().filter_map(|showing| {
        let permit = breaker.permit(now)?;
        breaker.shown(permit, trial(*showing, Duration::ZERO), now);
        Some(())
    });
    begun.count()
}

fn trial(showing: Showing, time: Duration) -> Trial {
    Trial { showing, again: false, time }
}

use Showing::{Fails, Nothing, Works};

/// After a restart what failed before comes first: it must not speak for all.
#[test]
fn events_that_fail_again_open_nothing_unless_new_ones_fail_too() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    let again = |breaker: &mut Breaker, showing| {
        let permit = breaker.permit(now).unwrap();
        breaker.shown(permit, Trial { showing, again: true, time: Duration::ZERO }, now);
    };
    (0..50).for_each(|_| again(&mut breaker, Fails));
    assert_eq!(run(&mut breaker, now, &[Works, Works]), 2);
    (0..5).for_each(|_| again(&mut breaker, Fails));
    assert_eq!(breaker.position(now), Position::Closed);
    run(&mut breaker, now, &[Fails, Fails]);
    assert_eq!(breaker.position(now), Position::Open(now + 5 * SECOND));
}

#[test]
fn it_opens_when_enough_of_enough_runs_fail() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    assert_eq!(run(&mut breaker, now, &[Fails, Fails, Works]), 3);
    assert_eq!(breaker.position(now), Position::Closed, "three runs are too few");
    assert_eq!(run(&mut breaker, now, &[Works, Fails]), 1);
    assert_eq!(breaker.position(now), Position::Open(now + 5 * SECOND));
}

#[test]
fn what_shows_nothing_does_not_count() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    run(&mut breaker, now, &[Nothing; 50]);
    run(&mut breaker, now, &[Fails; 3]);
    assert_eq!(breaker.position(now), Position::Closed);
}

#[test]
fn old_runs_leave_the_window() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    run(&mut breaker, now, &[Works; 10]);
    run(&mut breaker, now, &[Fails; 4]);
    assert_eq!(breaker.position(now), Position::Closed);
    run(&mut breaker, now, &[Works; 10]);
    run(&mut breaker, now, &[Fails; 4]);
    assert_eq!(breaker.position(now), Position::Closed, "the first four are forgotten");
    run(&mut breaker, now, &[Fails]);
    assert!(matches!(breaker.position(now), Position::Open(_)));
}

#[test]
fn slow_runs_open_it_too() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    for _ in 0..4 {
        let permit = breaker.permit(now).unwrap();
        breaker.shown(permit, trial(Works, SECOND), now);
    }
    assert!(matches!(breaker.position(now), Position::Open(_)));
}

#[test]
fn probes_that_work_close_it_and_probes_that_fail_open_it_for_twice_as_long() {
    let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
    run(&mut breaker, now, &[Fails; 4]);
    for seconds in [10, 15, 15] {
        let Position::Open(until) = breaker.position(now) else { panic!("not open") };
        now = until;
        assert_eq!(breaker.position(now), Position::HalfOpen(2));
        assert_eq!(run(&mut breaker, now, &[Works, Fails, Works]), 2, "two probes, no more");
        assert_eq!(breaker.position(now), Position::Open(now + seconds * SECOND));
    }
    now += 15 * SECOND;
    assert_eq!(run(&mut breaker, now, &[Works, Works, Fails]), 3);
    assert_eq!(breaker.position(now), Position::Closed);
    run(&mut breaker, now, &[Fails; 3]);
    assert_eq!(breaker.position(now), Position::Open(now + 5 * SECOND), "as at the beginning");
}

#[test]
fn a_probe_that_shows_nothing_makes_room_for_another() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    run(&mut breaker, now, &[Fails; 4]);
    let now = now + 5 * SECOND;
    assert_eq!(run(&mut breaker, now, &[Nothing, Nothing, Works, Works]), 4);
    assert_eq!(breaker.position(now), Position::Closed);
}

#[test]
fn a_run_from_before_it_opened_says_nothing_about_now() {
    let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
    let late = breaker.permit(now).unwrap();
    run(&mut breaker, now, &[Fails; 4]);
    let now = now + 5 * SECOND;
    breaker.permit(now).unwrap();
    assert!(!breaker.shown(late, trial(Fails, Duration::ZERO), now));
    assert_eq!(breaker.position(now), Position::HalfOpen(1));
}
