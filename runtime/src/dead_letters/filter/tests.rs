use super::*;
use crate::{
    broker::nats::StoredMessage,
    event::{Header, letter::fact},
};

fn entry(facts: &[(&str, &str)]) -> Entry {
    let headers = facts.iter().map(|(name, value)| fact(name, *value)).collect::<Vec<Header>>();
    Entry::new(StoredMessage {
        sequence: 1,
        time_ms: 100_000,
        subject: "dead-letters.h.p.orders.new".to_owned(),
        headers,
        payload: bytes::Bytes::new(),
    })
}

fn letter() -> Entry {
    entry(&[
        ("Event-Id", "e"),
        ("Subject", "orders.new"),
        ("Host", "h"),
        ("Plugin", "p"),
        ("Reason", "trap"),
        ("Error", "Index out of bounds"),
    ])
}

fn takes(filter: &Filter) -> bool {
    filter.takes(&letter(), 160_000)
}

#[test]
fn every_condition_has_to_hold() {
    let text = |text: &str| Some(text.to_owned());
    let minute = |n: u64| Some(Duration::from_secs(60 * n));
    let pattern = |text| Pattern::parse(text).ok();
    let all = Filter::default;
    for (filter, expected) in [
        (all(), true),
        (Filter { plugin: text("p"), ..all() }, true),
        (Filter { plugin: text("P"), ..all() }, false),
        (Filter { reason: text("trap"), ..all() }, true),
        (Filter { reason: text("timeout"), ..all() }, false),
        (Filter { subject: pattern("orders.*"), ..all() }, true),
        (Filter { subject: pattern("orders"), ..all() }, false),
        (Filter { error: text("OUT OF"), ..all() }, true),
        (Filter { error: text("none"), ..all() }, false),
        (Filter { newer_than: minute(1), ..all() }, true),
        (Filter { older_than: minute(1), ..all() }, false),
        (Filter { older_than: Some(Duration::from_secs(59)), ..all() }, true),
        (Filter { newer_than: Some(Duration::from_secs(59)), ..all() }, false),
        (Filter { plugin: text("p"), reason: text("timeout"), ..all() }, false),
    ] {
        assert_eq!(takes(&filter), expected, "{filter:?}");
    }
}

#[test]
fn what_is_no_letter_is_only_taken_by_what_it_has() {
    let foreign = entry(&[]);
    assert!(foreign.letter.is_none());
    assert!(Filter::default().takes(&foreign, 160_000));
    let plugin = Filter { plugin: Some("p".to_owned()), ..Filter::default() };
    assert!(!plugin.takes(&foreign, 160_000));
}
