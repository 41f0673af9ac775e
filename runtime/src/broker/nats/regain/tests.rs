use super::*;

const PATIENCE: Duration = Duration::from_secs(3);

fn regain(missing: usize) -> (Regain<u64>, Instant) {
    (Regain::new(missing, 10, PATIENCE), Instant::now())
}

fn gathered(regain: Regain<u64>) -> Vec<u64> {
    regain.into_deliveries().collect()
}

#[test]
fn all_that_is_missing_comes_in_the_order_of_the_stream() {
    let (mut regain, now) = regain(3);
    for sequence in [7, 3, 9] {
        assert!(!regain.is_done(now));
        regain.came(sequence, sequence, now);
    }
    assert!(regain.is_done(now));
    assert_eq!(gathered(regain), [3, 7, 9]);
}

#[test]
fn something_new_shows_that_nothing_old_is_left() {
    let (mut regain, now) = regain(3);
    regain.came(7, 7, now);
    regain.came(11, 11, now);
    assert!(regain.is_done(now));
    assert_eq!(gathered(regain), [7, 11]);
}

#[test]
fn what_was_settled_meanwhile_is_not_waited_for() {
    let (mut regain, now) = regain(3);
    regain.came(7, 7, now);
    regain.unsettled(2);
    assert!(!regain.is_done(now));
    regain.unsettled(1);
    assert!(regain.is_done(now));
}

#[test]
fn nothing_is_kept_waiting_for_ever() {
    let (mut regain, now) = regain(3);
    assert!(!regain.is_done(now + 10 * PATIENCE), "nothing came, so nothing waits");
    regain.came(7, 7, now);
    assert!(!regain.is_done(now) && regain.is_done(now + PATIENCE));
}

#[test]
fn nothing_missing_is_done_at_once() {
    let (regain, now) = regain(0);
    assert!(regain.is_done(now));
}

#[test]
fn the_later_delivery_of_a_message_takes_the_place_of_the_earlier_one() {
    let (mut regain, now) = regain(2);
    assert_eq!(regain.came(7, 70, now), None);
    assert_eq!(regain.came(7, 71, now), Some(70));
    assert!(!regain.is_done(now), "one is still missing");
    assert_eq!(regain.came(3, 30, now), None);
    assert_eq!(gathered(regain), [30, 71]);
}

#[test]
fn nothing_is_given_up_while_nothing_can_come() {
    let (mut regain, now) = regain(3);
    regain.came(7, 7, now);
    let later = now + 10 * PATIENCE;
    regain.held_up(later);
    assert!(!regain.is_done(later) && regain.is_done(later + PATIENCE));
}
