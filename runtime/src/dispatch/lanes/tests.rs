use bytes::Bytes;
use futures::FutureExt as _;

use super::*;
use crate::event::{Header, Position};

fn event(sequence: u64, subject: &str, payload: &str) -> Event {
    let position = Position { stream: "S".to_owned(), stream_created: 0, sequence };
    Event {
        id: sequence.to_string(),
        subject: subject.to_owned(),
        headers: vec![Header { name: "Key".to_owned(), value: format!("h{}", sequence % 3) }],
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        reply_to: None,
        time_ms: 0,
        attempt: 1,
        position: Some(position),
        replay: None,
    }
}

fn has_turn(place: &mut Place) -> bool {
    place.turn().now_or_never() == Some(Turn::Run)
}

#[test]
fn events_of_one_key_take_turns_and_others_do_not_wait() {
    let lanes = Lanes::new(OrderBy::Token(2));
    let mut first = lanes.line_up(&event(1, "in.a", ""));
    let mut second = lanes.line_up(&event(2, "in.a", ""));
    let mut other = lanes.line_up(&event(3, "in.b", ""));
    assert!(has_turn(&mut first) && has_turn(&mut other) && !has_turn(&mut second));
    assert_eq!(lanes.len(), 2);
    drop(first);
    assert!(has_turn(&mut second));
    drop((second, other));
    assert_eq!(lanes.len(), 0, "a lane ends with its last event");
}

#[test]
fn a_lower_sequence_that_comes_later_goes_first() {
    let lanes = Lanes::new(OrderBy::Token(2));
    let running = lanes.line_up(&event(5, "in.a", ""));
    let mut late = lanes.line_up(&event(9, "in.a", ""));
    let mut early = lanes.line_up(&event(7, "in.a", ""));
    drop(running);
    assert!(has_turn(&mut early) && !has_turn(&mut late));
}

#[test]
fn another_delivery_of_an_event_that_waits_takes_its_place() {
    let lanes = Lanes::new(OrderBy::Token(2));
    let running = lanes.line_up(&event(1, "in.a", ""));
    let mut stale = lanes.line_up(&event(2, "in.a", ""));
    let mut later = lanes.line_up(&event(3, "in.a", ""));
    let mut fresh = lanes.line_up(&event(2, "in.a", ""));
    assert_eq!(stale.turn().now_or_never(), Some(Turn::Void));
    drop(stale);
    drop(running);
    assert!(has_turn(&mut fresh) && !has_turn(&mut later));
}

#[test]
fn another_delivery_of_the_event_that_runs_waits_for_how_that_ends() {
    for is_settled in [true, false] {
        let lanes = Lanes::new(OrderBy::Token(2));
        let mut running = lanes.line_up(&event(1, "in.a", ""));
        let mut later = lanes.line_up(&event(2, "in.a", ""));
        let mut again = lanes.line_up(&event(1, "in.a", ""));
        assert!(!has_turn(&mut again));
        if is_settled {
            running.settled();
        }
        drop(running);
        let expected = if is_settled { Turn::Void } else { Turn::Run };
        assert_eq!(again.turn().now_or_never(), Some(expected));
        assert_eq!(has_turn(&mut later), is_settled);
    }
}

#[test]
fn one_that_gives_up_waiting_leaves_the_line() {
    let lanes = Lanes::new(OrderBy::Token(2));
    let running = lanes.line_up(&event(1, "in.a", ""));
    let waiting = lanes.line_up(&event(2, "in.a", ""));
    let mut last = lanes.line_up(&event(3, "in.a", ""));
    drop(waiting);
    drop(running);
    assert!(has_turn(&mut last));
}

#[test]
fn a_turn_that_was_given_and_not_taken_passes_on() {
    let lanes = Lanes::new(OrderBy::Token(2));
    let running = lanes.line_up(&event(1, "in.a", ""));
    let given = lanes.line_up(&event(2, "in.a", ""));
    let mut last = lanes.line_up(&event(3, "in.a", ""));
    drop(running);
    drop(given);
    assert!(has_turn(&mut last));
}

#[test]
fn keys_come_from_subject_header_or_payload() {
    let event = event(4, "in.a.b", r#"{"order":{"id":7,"x":"7"},"n":null}"#);
    let key = |by: &OrderBy| key(by, &event).map(|key| String::from_utf8(key).unwrap());
    let json = |pointer: &str| key(&OrderBy::Json(pointer.to_owned()));
    assert_eq!(key(&OrderBy::Token(3)).as_deref(), Some("b"));
    assert_eq!(key(&OrderBy::Token(4)), None);
    assert_eq!(key(&OrderBy::Header("Key".to_owned())).as_deref(), Some("h1"));
    assert_eq!(key(&OrderBy::Header("Other".to_owned())), None);
    assert_eq!(json("/order/id").as_deref(), Some("7"));
    assert_eq!(json("/order/x").as_deref(), Some("\"7\""), "a text is not a number");
    assert_eq!(json("/order/y"), None);
}

#[test]
fn events_without_a_key_share_a_lane() {
    let lanes = Lanes::new(OrderBy::Json("/id".to_owned()));
    let _first = lanes.line_up(&event(1, "in", "no json"));
    let mut second = lanes.line_up(&event(2, "in", r#"{"else":1}"#));
    assert!(!has_turn(&mut second));
}
