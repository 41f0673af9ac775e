use std::time::Duration;

use super::*;
use crate::{
    broker::DecodeError,
    dispatch::Publishing,
    event::{
        Position, Replay,
        letter::{Letter, packed_size, percent_decoded},
    },
    manifest::Retry,
    plugin::CallError,
};

fn plan() -> Plan {
    Plan {
        host: "orders".to_owned(),
        plugin: "price".to_owned(),
        digest: "sha256:abc".to_owned(),
        concurrency: 1,
        max_held_bytes: 1 << 30,
        rate: None,
        breaker: None,
        order: None,
        ack_wait: Duration::from_secs(30),
        retry: Retry { attempts: 5, first: Duration::ZERO, max: Duration::ZERO, budget: 1.0 },
        publishing: Publishing { allowed: Vec::new(), stored: Vec::new(), max_message: 8192 },
        requests: Vec::new(),
        dead_letters: None,
        drain: Duration::ZERO,
        seed: 0,
    }
}

fn event(subject: &str) -> Event {
    let header = |name: &str| Header { name: name.to_owned(), value: "v".to_owned() };
    Event {
        id: "e".to_owned(),
        subject: subject.to_owned(),
        headers: vec![header("Colour"), header("Nats-Msg-Id"), header("pelton-dlq-reason")],
        payload: Bytes::from_static(b"\xff\0"),
        reply_to: None,
        time_ms: 1_700_000_000_123,
        attempt: 5,
        position: Some(Position { stream: "ORDERS".to_owned(), stream_created: 7, sequence: 42 }),
        replay: None,
    }
}

fn trap(reason: &str) -> Failure {
    let backtrace = Some("0: inner\n1: handle".to_owned());
    CallError::Trap { reason: reason.to_owned(), backtrace }.into()
}

fn to(source_keeps: bool) -> DeadLetters {
    let (stream, prefix) = ("DEAD".to_owned(), "dead.orders".to_owned());
    DeadLetters { stream, prefix, source_keeps }
}

fn record(subject: &str, failure: &Failure) -> Message {
    to(true).record(&plan(), &event(subject), failure, (&[], 1_700_000_001_000)).unwrap()
}

fn value<'a>(message: &'a Message, name: &str) -> &'a str {
    let header = message.headers.iter().find(|header| header.name == name);
    header.map_or("(missing)", |header| header.value.as_str())
}

#[test]
fn the_record_has_the_event_and_the_circumstances() {
    let record = record("orders.new", &trap("unreachable"));
    assert_eq!(record.subject, "dead.orders.price.orders.new");
    assert_eq!(&record.payload[..], b"\xff\0");
    for (name, expected) in [
        ("Colour", "v"),
        ("Pelton-Original-Nats-Msg-Id", "v"),
        ("Pelton-Original-pelton-dlq-reason", "v"),
        ("Pelton-Dlq-Reason", "trap"),
        ("Pelton-Dlq-Error", "the handler trapped: unreachable"),
        ("Pelton-Dlq-Backtrace", "0: inner | 1: handle"),
        ("Pelton-Dlq-Published-At", "2023-11-14T22:13:20.123Z"),
        ("Pelton-Dlq-Failed-At", "2023-11-14T22:13:21.000Z"),
        ("Pelton-Dlq-Sequence", "42"),
    ] {
        assert_eq!(value(&record, name), expected, "{name}");
    }
    assert!(!record.headers.iter().any(|header| header.name.starts_with("Nats-")));
}

#[test]
fn the_same_event_makes_the_same_record_id() {
    let (first, second) = (record("a", &trap("x")), record("a", &trap("y")));
    assert_eq!(first.keep, second.keep);
}

#[test]
fn hostile_texts_become_header_values() {
    let record = record("a.*.>.é\u{7}", &trap("a\r\nNats-Msg-Id: x\u{1b}[31m"));
    assert_eq!(record.subject, "dead.orders.price.a._._.__");
    for header in &record.headers {
        assert!(!header.value.chars().any(char::is_control), "{header:?}");
    }
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let record = record("a", &trap(&"ü".repeat(10_000)));
    let error = value(&record, "Pelton-Dlq-Error");
    assert!(error.len() < MAX_ERROR + 8 && error.ends_with('…'), "{} bytes", error.len());
}

#[test]
fn a_long_subject_is_cut_in_the_subject_and_whole_in_the_header() {
    let long = vec!["token"; 600].join(".");
    let record = record(&long, &trap("x"));
    assert!(record.subject.len() < 300 && !record.subject.ends_with('.'), "{}", record.subject);
    assert_eq!(value(&record, "Pelton-Dlq-Subject"), long);
}

#[test]
fn what_does_not_fit_loses_its_details_first_and_its_payload_last() {
    let sized = |payload: usize, source_keeps: bool| {
        let event = Event { payload: vec![0; payload].into(), ..event("a") };
        to(source_keeps).record(&plan(), &event, &trap(&"x".repeat(1000)), (&[], 0))
    };
    let (whole, lean) = (sized(100, false).unwrap(), sized(7000, false).unwrap());
    assert_eq!(value(&whole, "Pelton-Dlq-Backtrace"), "0: inner | 1: handle");
    assert_eq!(value(&lean, "Pelton-Dlq-Backtrace"), "(missing)");
    assert_eq!((lean.payload.len(), value(&lean, "Colour")), (7000, "v"));
    assert!(value(&lean, "Pelton-Dlq-Error").len() < 200);

    let reference = sized(8192, true).unwrap();
    assert!(reference.payload.is_empty());
    assert_eq!(value(&reference, "Pelton-Dlq-Payload-Left-In-Stream"), "8192");
    assert_eq!(value(&reference, "Pelton-Dlq-Sequence"), "42");
    assert_eq!(sized(8192, false), None, "the payload would be lost");
}

#[test]
fn headers_that_could_not_be_read_are_kept_whole_and_can_be_decoded() {
    let unreadable = |block: Vec<u8>| {
        let event = Box::new(event("a"));
        Failure::from(DecodeError { detail: "odd".to_owned(), event, headers: block.into() })
    };
    let all_bytes: Vec<u8> = (0..=255).collect();
    let whole = record("a", &unreadable(all_bytes.clone()));
    assert_eq!(value(&whole, "Pelton-Dlq-Reason"), "decode");
    assert_eq!(value(&whole, "Colour"), "v");
    let text = value(&whole, "Pelton-Malformed-Headers");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert_eq!(percent_decoded(text), all_bytes);

    let sized = |payload: usize| {
        let event = Event { payload: vec![0; payload].into(), ..event("a") };
        let record = to(false).record(&plan(), &event, &unreadable(all_bytes.clone()), (&[], 0))?;
        let letter = Letter::read(&record.headers, record.payload).unwrap();
        assert_eq!(
            (letter.event.payload.len(), letter.malformed.as_deref()),
            (payload, Some(&*all_bytes))
        );
        Some(letter)
    };
    // Where the whole record is just too large, what is in the block goes first.
    let lean = (6000..8192).filter_map(sized).find(|letter| letter.event.headers.is_empty());
    assert!(lean.is_some(), "the block is all there is of the headers");
}

/// A stream stores 64 KiB of headers; the facts of a record come on top.
#[test]
fn headers_without_room_for_the_facts_go_before_the_payload() {
    let header = |name: &str, n: usize| Header { name: name.to_owned(), value: "v".repeat(n) };
    let big = vec![header("Big", 65_000), header("Nats-Msg-Id", 1), header("Empty", 0)];
    let roomy =
        Plan { publishing: Publishing { max_message: 1 << 20, ..plan().publishing }, ..plan() };
    let block = vec![0xff; 60_000];
    let unreadable = DecodeError {
        detail: "odd".to_owned(),
        event: Box::new(event("a")),
        headers: block.clone().into(),
    };
    for (failure, malformed) in [(trap("x"), None), (unreadable.into(), Some(&*block))] {
        let event = Event { headers: big.clone(), ..event("a") };
        let record = to(false).record(&roomy, &event, &failure, (&[], 0)).unwrap();
        let letter = Letter::read(&record.headers, record.payload.clone()).unwrap();
        assert_eq!((&letter.event.headers, &letter.event.payload), (&big, &event.payload));
        assert_eq!(letter.malformed.as_deref(), malformed);
        assert_eq!(
            packed_size(&record.headers),
            (record.payload.len() - event.payload.len()) as u64
        );
        let only_headers = Letter::read(&record.headers, Bytes::new()).unwrap();
        assert_eq!(only_headers.event.headers, Vec::new());
        assert_eq!(only_headers.malformed.is_some(), malformed.is_some());
    }
}

#[test]
fn a_replay_that_fails_again_makes_another_record() {
    let past = Attempt {
        replay: 0,
        number: 5,
        at_ms: 0,
        class: "trap".to_owned(),
        error: "é\r\nx".repeat(100),
    };
    let replay = |id: &str| Replay {
        id: id.to_owned(),
        number: 2,
        namespace: "n".to_owned(),
        batch: "b".to_owned(),
        past: Vec::new(),
    };
    let record = |id: Option<&str>| {
        let replay = id.map(|id| Box::new(replay(id)));
        let event = Event { replay, ..event("a") };
        to(true).record(&plan(), &event, &trap("x"), (std::slice::from_ref(&past), 0)).unwrap()
    };
    let (first, again, third) = (record(None), record(Some("r")), record(Some("s")));
    assert!(first.keep != again.keep && again.keep != third.keep);
    assert_eq!(again.keep, record(Some("r")).keep, "of one replay there is one record");
    assert_eq!(value(&again, "Pelton-Dlq-Replays"), "2");
    assert_eq!(value(&again, "Pelton-Dlq-Namespace"), "n");
    let history = value(&again, "Pelton-Dlq-History");
    assert!(history.starts_with("0.5 1970-01-01T00:00:00.000Z trap é\\r | x"), "{history}");
    assert!(history.len() < 300, "{history}");
}
