use super::*;
use crate::event::Replay;

fn event(id: &str, attempt: u32) -> Event {
    Event {
        id: id.to_owned(),
        subject: "a".to_owned(),
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
        reply_to: None,
        time_ms: 0,
        attempt,
        position: None,
        replay: None,
    }
}

fn numbers(history: &History, event: &Event) -> Vec<u32> {
    history.of(event).iter().map(|attempt| attempt.number).collect()
}

#[test]
fn failures_are_told_in_order_until_the_event_is_done() {
    let history = History::default();
    for attempt in 1..=3 {
        history.note(&event("e", attempt), &Failure::Stopped, 7);
    }
    history.note(&event("other", 9), &Failure::Stopped, 7);
    assert_eq!(numbers(&history, &event("e", 4)), [1, 2, 3]);
    history.forget(&event("e", 4));
    assert_eq!(numbers(&history, &event("e", 4)), [] as [u32; 0]);
    assert_eq!(numbers(&history, &event("other", 1)), [9]);
}

#[test]
fn a_replay_begins_with_what_its_letter_told() {
    let history = History::default();
    history.note(&event("e", 1), &Failure::Stopped, 7);
    let past = history.of(&event("e", 2));
    let replay = Replay {
        id: "r".to_owned(),
        number: 1,
        namespace: String::new(),
        batch: String::new(),
        past,
    };
    let replayed = Event { replay: Some(Box::new(replay)), ..event("e", 5) };
    history.note(&replayed, &Failure::Stopped, 8);
    assert_eq!(numbers(&history, &replayed), [1, 5]);
}

#[test]
fn memory_is_bounded() {
    let history = History::default();
    for n in 0..5 * MAX_EVENTS {
        let event = event(&n.to_string(), 1);
        history.note(&event, &Failure::Stopped, 7);
        if n % 3 == 0 {
            history.forget(&Event { attempt: 2, ..event });
        }
    }
    for attempt in 0..2 * u32::try_from(MAX_HISTORY).unwrap() {
        history.note(&event("e", attempt), &Failure::Stopped, 7);
    }
    assert_eq!(history.of(&event("e", 0)).len(), MAX_HISTORY);
    let known = history.lock();
    assert!(known.failures.len() <= MAX_EVENTS && known.order.len() <= 2 * MAX_EVENTS);
    let newest = ((5 * MAX_EVENTS - 1).to_string(), 0);
    assert!(known.failures.contains_key(&newest), "what failed last is remembered");
}
