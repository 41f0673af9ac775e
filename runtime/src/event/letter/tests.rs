use super::*;

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

/// A letter as it is stored, with the headers that the server keeps.
fn stored() -> Vec<Header> {
    let own = ["Colour", "Nats-Msg-Id", "Pelton-Original-X", "pelton-dlq-reason"];
    let mut headers: Vec<_> = own.map(|name| original(&header(name, "v"))).to_vec();
    headers.extend([
        fact("Event-Id", "e"),
        fact("Subject", "orders.new"),
        fact("Host", "shop"),
        fact("Plugin", "price"),
        fact("Reason", "trap"),
        fact("Error", "unreachable"),
        fact("Attempts", "2"),
        fact("Published-At", timestamp(1_700_000_000_123)),
        fact("Failed-At", timestamp(1_700_000_001_000)),
        fact("Stream", "ORDERS"),
        fact("Stream-Created", "-7"),
        fact("Sequence", "42"),
        fact("History", "0.1 2023-11-14T22:13:20.500Z timeout no answer within 1s"),
        fact("Backtrace", "0: inner"),
        header("Nats-Msg-Id", "the record's own"),
        header("Nats-Expected-Stream", "DEAD"),
    ]);
    headers
}

#[test]
fn a_letter_has_the_event_as_it_was() {
    let letter = Letter::read(&stored(), Bytes::from_static(b"p")).unwrap();
    let names: Vec<_> = letter.event.headers.iter().map(|header| &*header.name).collect();
    assert_eq!(names, ["Colour", "Nats-Msg-Id", "Pelton-Original-X", "pelton-dlq-reason"]);
    assert!(letter.event.headers.iter().all(|header| header.value == "v"));
    let position = Position { stream: "ORDERS".into(), stream_created: -7, sequence: 42 };
    assert_eq!(letter.event.position, Some(position));
    assert_eq!((letter.event.time_ms, letter.event.attempt), (1_700_000_000_123, 2));
    let failures: Vec<_> = letter.failures().iter().map(Attempt::line).collect();
    assert_eq!(
        failures,
        [
            "0.1 2023-11-14T22:13:20.500Z timeout no answer within 1s",
            "0.2 2023-11-14T22:13:21.000Z trap unreachable"
        ]
    );
}

#[test]
fn what_is_no_letter_is_none() {
    assert_eq!(Letter::read(&[], Bytes::new()), None);
    assert_eq!(Letter::read(&[fact("Event-Id", "e")], Bytes::new()), None);
}

fn request(headers: Vec<Header>) -> Event {
    let letter = Letter::read(&stored(), Bytes::from_static(b"p")).unwrap();
    let payload = Bytes::from_static(b"p");
    Event { id: "r".to_owned(), headers, payload, attempt: 3, ..letter.event }
}

#[test]
fn a_request_asks_for_the_original_event() {
    let wish = Wish { namespace: "n".to_owned(), batch: "b".to_owned() };
    let headers = Letter::request(&stored(), &wish, 0);
    assert!(!headers.iter().any(|header| header.name.starts_with("Nats-")), "{headers:?}");
    let asked = Letter::asked(&request(headers)).unwrap().event;
    let before = Letter::read(&stored(), Bytes::from_static(b"p")).unwrap().event;
    let replay = asked.replay.clone().unwrap();
    assert_eq!(asked, Event { attempt: 3, replay: Some(replay.clone()), ..before });
    assert_eq!((&*replay.id, replay.number, &*replay.namespace), ("r", 1, "n"));
    assert_eq!(replay.past.len(), 2);
}

#[test]
fn a_request_gives_up_only_what_explains() {
    let wish = Wish { namespace: String::new(), batch: "b".to_owned() };
    let headers = Letter::request(&stored(), &wish, Letter::MAX_EFFORT);
    for name in ["Backtrace", "History", "Error"] {
        assert!(!headers.contains(&fact(name, "")) && Facts(&headers).text(name).is_none());
    }
    let (asked, before) = (Letter::asked(&request(headers)), Letter::read(&stored(), Bytes::new()));
    assert_eq!(asked.unwrap().event.headers, before.unwrap().event.headers);
}

/// What is packed into the payload goes with a request as it is.
#[test]
fn a_request_made_of_a_packed_letter_asks_for_the_original_event() {
    let letter = Letter::read(&stored(), Bytes::from_static(b"p")).unwrap();
    let (headers, payload) = letter.packed();
    let wish = Wish { namespace: String::new(), batch: "b".to_owned() };
    let headers = Letter::request(&headers, &wish, Letter::MAX_EFFORT);
    let request = Event { headers, payload, ..letter.event.clone() };
    let asked = Letter::asked(&request).unwrap().event;
    assert_eq!((asked.headers, asked.payload), (letter.event.headers, letter.event.payload));
}

#[test]
fn a_letter_alone_is_no_request() {
    assert!(Letter::asked(&request(stored())).is_err());
}

#[test]
fn a_replay_that_fails_again_counts_on_and_keeps_its_past() {
    let wish = Wish { namespace: "n".to_owned(), batch: "b".to_owned() };
    let asked = Letter::asked(&request(Letter::request(&stored(), &wish, 0))).unwrap().event;
    let replay = asked.replay.unwrap();
    let mut again = stored();
    again.retain(|header| after(&header.name, FACT) != Some("History"));
    again.extend(replayed(&replay));
    again.extend(replay.past.iter().map(|attempt| fact("History", attempt.line())));
    let letter = Letter::read(&again, Bytes::new()).unwrap();
    assert_eq!((letter.replays, &*letter.namespace), (1, "n"));
    assert_eq!(letter.batch.as_deref(), Some("b"));
    let numbers: Vec<_> = letter.failures().iter().map(|a| (a.replay, a.number)).collect();
    assert_eq!(numbers, [(0, 1), (0, 2), (1, 2)]);
}

#[test]
fn all_bytes_survive_as_text() {
    let all: Vec<u8> = (0..=255).collect();
    let text = percent_encoded(&all);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert_eq!(percent_decoded(&text), all);
    assert_eq!(percent_decoded("50% off %zz %"), b"50% off %zz %");
}

#[test]
fn a_time_beyond_the_calendar_is_a_number() {
    assert_eq!(timestamp(u64::MAX), u64::MAX.to_string());
    assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(milliseconds(&timestamp(u64::MAX)), Some(u64::MAX));
    assert_eq!(milliseconds(&timestamp(1_700_000_000_123)), Some(1_700_000_000_123));
}

#[test]
fn a_letter_is_written_as_it_was_read() {
    let mut headers = stored();
    headers.extend([fact("Replays", "2"), fact("Namespace", "n"), malformed(b"bad\r\n")]);
    let letter = Letter::read(&headers, Bytes::from_static(b"p")).unwrap();
    let again = Letter::read(&letter.headers(), Bytes::from_static(b"p")).unwrap();
    assert_eq!(again, letter);
    let (headers, payload) = letter.packed();
    assert!(payload.len() > 1 && !headers.iter().any(|header| header.name == "Colour"));
    assert_eq!(Letter::read(&headers, payload), Some(letter.clone()));
    let left = Letter { left_in_stream: Some(7), ..letter };
    assert_eq!(Letter::read(&left.headers(), left.event.payload.clone()), Some(left));
}
