use proptest::prelude::*;

use super::*;

/// A server that keeps what was asked of it, so that the account can be
/// compared with the truth.
#[derive(Debug, Default)]
struct Server {
    open: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Allow(usize),
    Ask,
    Deliver,
    /// The oldest request ends unfilled.
    Expire,
    Reset,
    Break,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..20_usize).prop_map(Step::Allow),
        Just(Step::Ask),
        Just(Step::Deliver),
        Just(Step::Deliver),
        Just(Step::Expire),
        Just(Step::Reset),
        Just(Step::Break),
    ];
    prop::collection::vec(step, 1..200)
}

impl Server {
    fn deliver(&mut self) -> bool {
        let Some(first) = self.open.first_mut() else { return false };
        *first -= 1;
        self.open.retain(|n| *n > 0);
        true
    }
}

proptest! {
    #[test]
    fn never_more_is_delivered_than_was_allowed_and_nothing_is_lost(steps in steps()) {
        let (mut credit, mut server) = (Credit::default(), Server::default());
        let (mut allowed, mut delivered) = (0, 0);
        for step in steps {
            match step {
                Step::Allow(n) => { credit.allow(n); allowed += n; }
                Step::Ask => {
                    let n = credit.wanted();
                    if n > 0 { credit.asked(n); server.open.push(n); }
                }
                Step::Deliver => if server.deliver() { credit.delivered(); delivered += 1; },
                Step::Expire => if !server.open.is_empty() {
                    credit.ended(server.open.remove(0));
                },
                Step::Reset => { credit.void(); server.open.clear(); }
                Step::Break => { credit.broke(); credit.void(); server.open.clear(); }
            }
            prop_assert!(credit.outstanding() <= credit.allowed);
            prop_assert_eq!(credit.outstanding(), server.open.iter().sum::<usize>());
            prop_assert_eq!(credit.allowed, allowed - delivered);
        }
        // Whatever happened, all that is allowed and not open gets asked for in
        // the end.
        while delivered < allowed {
            while server.deliver() { credit.delivered(); delivered += 1; }
            let n = credit.wanted();
            prop_assert_eq!(n > 0, delivered < allowed);
            credit.asked(n);
            server.open.push(n);
        }
    }
}

#[test]
fn asking_waits_while_more_is_on_its_way() {
    let mut credit = Credit::default();
    credit.allow(8);
    assert_eq!(credit.wanted(), 8);
    credit.asked(8);
    credit.allow(1);
    assert_eq!(credit.wanted(), 0);
    for _ in 0..5 {
        credit.delivered();
    }
    assert_eq!((credit.outstanding(), credit.wanted()), (3, 0));
    credit.delivered();
    credit.delivered();
    assert_eq!((credit.outstanding(), credit.wanted()), (1, 1));
}

#[test]
fn after_a_break_it_asks_for_one_then_for_more() {
    let mut credit = Credit::default();
    credit.allow(100);
    credit.broke();
    assert_eq!(credit.wanted(), 100, "nothing was on its way");
    credit.asked(100);
    credit.broke();
    credit.void();
    let mut asked = Vec::new();
    for _ in 0..5 {
        let wanted = credit.wanted();
        asked.push(wanted);
        credit.asked(wanted);
        credit.delivered();
    }
    assert_eq!(asked[0], 1);
    assert!(asked.is_sorted(), "{asked:?}");
    credit.asked(credit.wanted());
    credit.broke();
    credit.void();
    assert_eq!(credit.wanted(), 1);
}

#[test]
fn a_status_that_says_too_much_does_no_harm() {
    let mut credit = Credit::default();
    credit.allow(2);
    credit.asked(2);
    credit.ended(7);
    assert_eq!((credit.outstanding(), credit.wanted()), (0, 2));
}

/// Each reconnect may find the same deliveries unsettled: they were allowed once.
#[test]
fn what_has_to_come_first_is_not_allowed_twice() {
    let mut credit = Credit::default();
    credit.allow(4);
    credit.allow_at_least(3);
    assert_eq!(credit.allowed(), 4);
    credit.allow_at_least(10);
    credit.allow_at_least(10);
    assert_eq!(credit.allowed(), 10);
}

/// What has to come first comes together: a part of it would run out of order.
#[test]
fn what_has_to_come_first_is_no_probe() {
    let mut credit = Credit::default();
    credit.allow(100);
    credit.gathers(10);
    assert!(!credit.pace(Some(3)), "nothing is open");
    assert_eq!(credit.wanted(), 10);
    credit.asked(10);
    assert!(!credit.pace(Some(3)), "they need not be taken back");
    for _ in 0..10 {
        credit.delivered();
    }
    credit.gathers(0);
    assert_eq!(credit.wanted(), 3, "and then the probes");
}
