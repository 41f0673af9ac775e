use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn publishing() -> Publishing {
    let pattern = |text| Pattern::parse(text).unwrap();
    Publishing {
        allowed: vec![
            (pattern("out.>"), Rule::Stored),
            (pattern("maybe.*"), Rule::StoredIfTaken),
            (pattern("live.>"), Rule::Core),
        ],
        stored: vec![
            (pattern("out.a.small"), keeper("SMALL", Some(1024))),
            (pattern("out.a.>"), keeper("OUT", None)),
            (pattern("maybe.kept"), keeper("KEPT", None)),
        ],
        max_message: 64 * 1024,
    }
}

fn keeper(stream: &str, max_message: Option<usize>) -> Keeper {
    Keeper { stream: stream.into(), max_message }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

fn event(headers: &[Header]) -> Event {
    Event {
        id: "e".to_owned(),
        subject: "in.x".to_owned(),
        headers: headers.to_vec(),
        payload: Bytes::new(),
        reply_to: Some("_INBOX.abc.1".to_owned()),
        time_ms: 0,
        attempt: 1,
        position: None,
        replay: None,
    }
}

fn check_with(event: &Event, subject: &str, headers: &[Header]) -> Result<Message, Problem> {
    let output =
        Output { subject: subject.to_owned(), headers: headers.to_vec(), payload: Bytes::new() };
    let run = RunId::new(&event.id, "h", "plugin", "");
    let messages = publishing().messages(event, vec![output], &run, &str::to_owned);
    messages.map(|mut messages| messages.remove(0)).map_err(|error| error.problem)
}

fn check(subject: &str, headers: &[Header]) -> Result<Message, Problem> {
    check_with(&event(&[]), subject, headers)
}

#[test]
fn the_rule_of_the_pattern_decides_what_keeps_an_output() {
    let id = RunId::new("e", "h", "plugin", "").output(0);
    let stored = |stream: &str| Keep::Stored { id: id.clone(), stream: Some(Arc::from(stream)) };
    assert_eq!(check("out.a.b", &[]).unwrap().keep, stored("OUT"));
    assert_eq!(check("maybe.kept", &[]).unwrap().keep, stored("KEPT"));
    assert_eq!(check("maybe.not", &[]).unwrap().keep, Keep::Fleeting);
    assert_eq!(check("live.x", &[]).unwrap().keep, Keep::Fleeting);
    assert_eq!(check("out.b", &[]), Err(Problem::NoStream));
    assert!(matches!(check("other", &[]), Err(Problem::NotAllowed(_))));
}

#[test]
fn a_reply_goes_to_the_inbox_of_the_request_and_no_other() {
    assert_eq!(check("_INBOX.abc.1", &[]).unwrap().keep, Keep::Fleeting);
    assert!(check("_INBOX.abc.2", &[]).is_err());
    let trick = Event { reply_to: Some("$JS.API.STREAM.DELETE.X".to_owned()), ..event(&[]) };
    assert!(check_with(&trick, "$JS.API.STREAM.DELETE.X", &[]).is_err());
}

#[test]
fn headers_that_command_the_server_are_refused_in_any_spelling() {
    for name in [
        "Nats-Msg-Id",
        "nats-msg-id",
        "NATS-ROLLUP",
        "Nats-TTL",
        "Nats-Expected-Stream",
        "Nats-Trace-Dest",
        "Nats-Trace-Only",
        "Nats-Batch-Id",
        "Nats-Schedule-Target",
        "Nats-Incr",
        "Nats-Required-Api-Level",
        "Pelton-Dlq-Reason",
    ] {
        let refused = check("out.a.x", &[header(name, "x")]);
        assert_eq!(refused, Err(Problem::HeaderReserved(name.to_owned())));
    }
}

#[test]
fn a_copy_of_the_events_own_headers_is_left_out_silently() {
    let own = [header("Nats-Msg-Id", "m1"), header("Colour", "blue")];
    let message = check_with(&event(&own), "out.a.x", &own).unwrap();
    assert_eq!(message.headers, [header("Colour", "blue")]);
    let changed = [header("Nats-Msg-Id", "m2")];
    assert!(check_with(&event(&own), "out.a.x", &changed).is_err());
}

#[test]
fn the_trace_of_the_event_goes_on_and_cannot_be_forged() {
    let event = event(&[header("traceparent", "00-a-b-01")]);
    let message = check_with(&event, "out.a.x", &[header("Traceparent", "forged")]).unwrap();
    assert_eq!(message.headers, [header("traceparent", "00-a-b-01")]);
}

#[test]
fn names_and_values_of_headers_have_a_grammar() {
    let long = "x".repeat(MAX_HEADER_VALUE + 1);
    for (name, value) in [
        ("", "x"),
        ("A b", "x"),
        ("A:b", "x"),
        ("A\r\nB", "x"),
        ("É", "x"),
        ("A\0", "x"),
        ("X", "a\r\nNats-Msg-Id: stolen"),
        ("X", "a\0"),
        ("X", "\u{1b}[31m"),
        ("X", &long),
    ] {
        assert!(check("out.a.x", &[header(name, value)]).is_err(), "{name:?}: {value:?}");
    }
    assert!(check("out.a.x", &[header("X-Ok_1.~", "grün ✓"), header("E", "")]).is_ok());
}

#[test]
fn headers_have_limits_in_number_and_together() {
    let many = vec![header("X", "y"); MAX_HEADERS + 1];
    assert_eq!(check("out.a.x", &many), Err(Problem::HeaderCount(MAX_HEADERS + 1)));
    let large = vec![header("X", &"y".repeat(MAX_HEADER_VALUE)); 5];
    assert!(matches!(check("out.a.x", &large), Err(Problem::HeaderBytes(_))));
}

#[test]
fn what_the_server_would_refuse_for_its_size_is_refused_before() {
    let check = |subject: &str, size: usize| {
        let output = Output {
            subject: subject.to_owned(),
            headers: Vec::new(),
            payload: vec![0; size].into(),
        };
        publishing().messages(
            &event(&[]),
            vec![output],
            &RunId::new("e", "h", "p", ""),
            &str::to_owned,
        )
    };
    assert!(check("out.a.x", 64 * 1024 - OUR_HEADERS).is_ok());
    let refused = check("out.a.x", 64 * 1024 - OUR_HEADERS + 1).unwrap_err();
    assert_eq!(refused.problem, Problem::TooLarge(64 * 1024 + 1, 64 * 1024));
    let refused = check("out.a.small", 1024).unwrap_err();
    assert_eq!(refused.problem, Problem::TooLarge(1024 + OUR_HEADERS, 1024));
}

#[test]
fn the_error_names_the_output() {
    let output = |subject: &str| Output {
        subject: subject.to_owned(),
        headers: Vec::new(),
        payload: Bytes::new(),
    };
    let outputs = vec![output("out.a.x"), output("secret.x")];
    let error = publishing()
        .messages(&event(&[]), outputs, &RunId::new("e", "h", "p", ""), &str::to_owned)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "output 1 to \"secret.x\": the plugin may not publish there; \
         the manifest's `publish` allows: out.>, maybe.*, live.>"
    );
}

/// Subjects that did harm elsewhere, or look as if they could.
const SUBJECTS: [&str; 44] = [
    "",
    ".",
    "a..b",
    ".a",
    "a.",
    "out..a",
    ".out.a",
    "out.a.",
    "*",
    ">",
    "out.*",
    "out.>",
    "a.>.b",
    "out.>.b",
    "out.a*",
    "out.a b",
    " out.a",
    "out.a ",
    "out.\ta",
    "out.a\r\nPUB x 0\r\n\r\n",
    "out.a\n",
    "out.a\r",
    "out.\0",
    "out.\u{7f}",
    "out.\u{a0}",
    "out.\u{2028}",
    "é",
    "out.é",
    "out.🦀",
    "$JS.API.STREAM.DELETE.X",
    "$JS.ACK.IN.c.1.1.1.1.0",
    "$SYS.>",
    "$SYS.REQ.SERVER.PING",
    "$KV.b.k",
    "$O.b.C.x",
    "$",
    "_INBOX.x",
    "_INBOX.abc.2",
    "_R_.x",
    "in.x",
    "dead-letters.h.plugin.in.x",
    "OUT.a",
    "out",
    "other",
];

/// Names of headers, likewise.
const NAMES: [&str; 24] = [
    "",
    " ",
    "A b",
    "A:b",
    ":",
    "A\r\nB",
    "A\n",
    "A\t",
    "A\0",
    "É",
    "名",
    "NATS/1.0 503",
    "NATS/1.0",
    "Nats-Msg-Id",
    "nats-msg-id",
    "nAtS-mSg-Id",
    "NATS-ROLLUP",
    "Nats-TTL",
    "Nats-Trace-Dest",
    "Nats-Schedule-Target",
    "Nats-Batch-Id",
    "Pelton-Dlq-Reason",
    "pELTON-x",
    "traceparent",
];

/// Values of headers, likewise.
const VALUES: [&str; 12] = [
    "a\rb",
    "a\nb",
    "a\r\nNats-Msg-Id: stolen",
    "a\r\n\r\nPUB x 0\r\n",
    "\0",
    "\u{1b}[31m",
    "\u{85}",
    "\u{7f}",
    "%C0%A0",
    "NATS/1.0 503\r\n",
    "APPLICATION/CLOUDEVENTS",
    "",
];

/// One of a list, one with a bit of another in it, or anything.
fn hostile(list: &'static [&'static str]) -> impl Strategy<Value = String> {
    let one = || prop::sample::select(list);
    prop_oneof![
        3 => one().prop_map(str::to_owned),
        3 => (one(), one(), 0..8_usize).prop_map(|(left, right, at)| {
            let at = left.char_indices().nth(at).map_or(left.len(), |(at, _)| at);
            [&left[..at], right, &left[at..]].concat()
        }),
        2 => (one(), any::<String>()).prop_map(|(one, more)| format!("{one}{more}")),
        2 => (1..5_000_usize, one()).prop_map(|(n, one)| one.repeat(n.min(70_000 / one.len().max(1)))),
        2 => any::<String>(),
        1 => "(out|live|maybe)(\\.[a-z]{1,4}){1,3}",
        1 => "X-[A-Za-z]{1,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever mixture of bad things a guest returns: what passes is plain.
    #[test]
    fn of_ten_thousand_hostile_outputs_what_passes_is_harmless(
        subject in prop_oneof![3 => Just("out.a.b".to_owned()), 5 => hostile(&SUBJECTS)],
        headers in prop::collection::vec((hostile(&NAMES), hostile(&VALUES)), 0..4),
    ) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| header(name, value)).collect();
        if let Ok(message) = check(&subject, &headers) {
            prop_assert!(message.subject == "_INBOX.abc.1" || ["out.a.", "maybe.", "live."]
                .iter().any(|start| message.subject.starts_with(start)), "{:?}", message.subject);
            prop_assert!(message.subject.split('.').all(|token| !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')));
            for Header { name, value } in &message.headers {
                let lower = name.to_lowercase();
                prop_assert!(["nats-", "pelton-"].iter().all(|own| !lower.starts_with(own)));
                prop_assert!(lower != "traceparent" && lower != "tracestate");
                prop_assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()
                    && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)), "{name:?}");
                prop_assert!(!value.chars().any(char::is_control), "{value:?}");
            }
            prop_assert!(message.headers.len() <= MAX_HEADERS);
        }
    }
}

#[test]
fn all_of_the_list_is_refused() {
    for subject in SUBJECTS {
        assert!(check(subject, &[]).is_err(), "{subject:?}");
    }
    for name in NAMES.iter().filter(|name| **name != "traceparent") {
        assert!(check("out.a.b", &[header(name, "x")]).is_err(), "{name:?}");
    }
    for value in &VALUES[..8] {
        assert!(check("out.a.b", &[header("X", value)]).is_err(), "{value:?}");
    }
}

proptest! {
    /// Whatever a guest writes, what passes is harmless on the wire.
    #[test]
    fn nothing_hostile_passes(
        subject in prop_oneof!["(out|live|maybe|\\$JS|_INBOX)(\\.[a-z*> \r\n\\.]{0,6}){0,3}", any::<String>()],
        name in prop_oneof!["(?i:nats|pelton|x)-[a-z]{1,4}", any::<String>()],
        value in any::<String>(),
    ) {
        if let Ok(message) = check(&subject, &[header(&name, &value)]) {
            prop_assert!(publishing().allowed.iter().any(|(pattern, _)| pattern.matches(&message.subject)));
            prop_assert!(!message.subject.contains(['*', '>', ' ', '\r', '\n', '\0']));
            for Header { name, value } in &message.headers {
                prop_assert!(!name.to_lowercase().starts_with("nats-"));
                prop_assert!(!name.is_empty() && !name.contains([':', ' ', '\r', '\n']));
                prop_assert!(!value.contains(['\r', '\n', '\0']));
            }
        }
    }
}
