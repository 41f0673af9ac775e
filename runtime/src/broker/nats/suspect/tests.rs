use super::*;

const ACK_WAIT: Duration = Duration::from_secs(30);

fn looks(suspicion: &Suspicion) -> Option<usize> {
    suspicion.search(10).map(|search| search.looks)
}

#[test]
fn only_a_break_is_looked_into_and_only_once() {
    let mut suspicion = Suspicion::default();
    assert_eq!(looks(&suspicion), None);
    suspicion.broke(Instant::now(), ACK_WAIT);
    assert_eq!(looks(&suspicion), Some(1));
    assert_eq!(looks(&suspicion), Some(1), "a search that was not made is made later");
    suspicion.searched(&Findings::default());
    assert_eq!(looks(&suspicion), None);
}

#[test]
fn breaks_in_a_row_cost_more_up_to_a_limit_and_less_after_a_while() {
    let (mut suspicion, mut now) = (Suspicion::default(), Instant::now());
    let mut costs = Vec::new();
    for _ in 0..6 {
        suspicion.broke(now, ACK_WAIT);
        costs.extend(looks(&suspicion));
        now += ACK_WAIT * 2;
    }
    assert_eq!(costs, [1, 8, 64, 256, 256, 256]);
    suspicion.broke(now + QUIET + ACK_WAIT * 3, ACK_WAIT);
    assert_eq!(looks(&suspicion), Some(1));
}

#[test]
fn what_was_found_explains_the_breaks_and_counts_as_received() {
    let mut suspicion = Suspicion::default();
    suspicion.received(3);
    for _ in 0..3 {
        suspicion.broke(Instant::now(), ACK_WAIT);
    }
    let found = |sequence| Unreadable {
        sequence,
        reply: String::new(),
        subject: String::new(),
        block: Bytes::new(),
        payload: Bytes::new(),
        refusal: String::new(),
    };
    suspicion.searched(&Findings { unreadable: vec![found(4), found(6)], cleared: 2 });
    suspicion.broke(Instant::now(), ACK_WAIT);
    let search = suspicion.search(10).unwrap();
    assert_eq!((search.looks, search.received, search.cleared, search.room), (1, 6, 2, 10));
}
