use super::*;

fn event(line: &str) -> Input {
    read(line.as_bytes(), 7, &Defaults::default()).unwrap().unwrap()
}

fn problem_of(line: impl AsRef<[u8]>) -> Coded {
    read(line.as_ref(), 7, &Defaults::default()).unwrap_err()
}

fn problem(line: impl AsRef<[u8]>) -> String {
    problem_of(line).text
}

#[test]
fn a_payload_is_sent_as_its_compact_text_and_keeps_its_numbers() {
    let sent = |json: &str| event(&format!(r#"{{"subject":"a","payload":{json}}}"#)).payload;
    assert_eq!(
        sent(r#" { "a" : [ 1.0 , 1e400 ], "b c" : "d \" \\" } "#),
        r#"{"a":[1.0,1e400],"b c":"d \" \\"}"#
    );
    assert_eq!(sent("12345678901234567890123"), "12345678901234567890123");
    assert_eq!(sent("null"), "null");
    assert_eq!(sent(r#""ü""#), r#""ü""#);
    assert_eq!(event(r#"{"subject":"a","payload-text":"x\ny"}"#).payload, "x\ny");
    assert_eq!(event(r#"{"subject":"a","payload-base64":"AP8="}"#).payload, &b"\0\xff"[..]);
    assert_eq!(event(r#"{"subject":"a"}"#).payload, "");
    assert_eq!(event(r#"{"subject":"a","json":[1, 2]}"#).payload, "[1,2]");
    assert_eq!(event(r#"{"subject":"a","payload_text":"x"}"#).payload, "x");
}

#[test]
fn all_that_an_event_has_can_be_given() {
    let input = event(
        r#"{"subject":"a.b","headers":{"B":["2","3"],"A":"1"},"time":"1970-01-01T00:00:01Z","id":"x","attempt":3,"reply-to":"r"}"#,
    );
    let headers: Vec<_> = input.headers.iter().map(|it| (&*it.name, &*it.value)).collect();
    assert_eq!(headers, [("A", "1"), ("B", "2"), ("B", "3")]);
    assert_eq!((input.time_ms, input.attempt), (Some(1_000), 3));
    assert_eq!((input.id.as_deref(), input.reply_to.as_deref()), (Some("x"), Some("r")));
    assert_eq!(event(r#"{"subject":"a","time":5}"#).time_ms, Some(5));
    assert_eq!(event(r#"{"subject":"a"}"#).id.as_deref(), Some("line-7"));
}

#[test]
fn blank_lines_are_none_and_a_byte_order_mark_is_no_part_of_the_first() {
    let read = |line: &[u8], n| read(line, n, &Defaults::default());
    assert_eq!(read(b" \t", 1), Ok(None));
    assert!(read(b"\xef\xbb\xbf{\"subject\":\"a\"}", 1).unwrap().is_some());
    assert!(read(b"\xef\xbb\xbf{\"subject\":\"a\"}", 2).is_err());
}

#[test]
fn with_a_subject_a_line_is_a_payload_whatever_it_is() {
    let defaults = Defaults { subject: Some("s".to_owned()), time_ms: Some(9) };
    for line in [&b""[..], b"{", b"\xff\r"] {
        let input = read(line, 3, &defaults).unwrap().unwrap();
        assert_eq!((&*input.payload, &*input.subject), (line, "s"));
        assert_eq!((input.id.as_deref(), input.time_ms), (Some("line-3"), Some(9)));
    }
}

#[test]
fn what_is_wrong_with_a_line_is_said() {
    let expected = [
        (
            "{\"payload\":1}",
            "no `subject`: {\"subject\": \"orders.created\", \"payload\": …}; with --subject each line is a payload as it is",
        ),
        ("hello", "not JSON: expected value, at column 1"),
        ("{\"subject\":\"a\"", "not JSON: EOF while parsing an object, at column 14"),
        ("{\"subject\":\"a\"} x", "not JSON: trailing characters, at column 17"),
        ("{\"subject\":\"a.*\"}", "`a.*` is no subject to publish to: "),
        (
            "{\"subject\":\"a\",\"payload\":1,\"payload-text\":\"\"}",
            "more than one of `payload`, `payload-text`, `payload-base64`",
        ),
        ("{\"subject\":\"a\",\"payload-base64\":\"?\"}", "`payload-base64`: "),
        (
            "{\"subject\":\"a\",\"headers\":{\"a\":1}}",
            "the value of a header has to be a text, or a list of texts",
        ),
        ("{\"subject\":\"a\",\"headers\":{\"a:\":\"\"}}", "\"a:\" is no name of a header"),
        (
            "{\"subject\":\"a\",\"headers\":{\"a\":\"\\n\"}}",
            "the value of header `a` has control characters",
        ),
        ("{\"subject\":\"a\",\"time\":\"noon\"}", "`time` is \"noon\", not RFC 3339"),
        ("{\"subject\":\"a\",\"time\":[]}", "`time` has to be RFC 3339"),
        ("{\"subject\":\"a\",\"attempt\":0}", "`attempt` is counted from 1"),
        ("{\"subjct\":\"a\"}", "unknown field `subjct`, expected one of `subject`, "),
    ];
    for (line, start) in expected {
        let problem = problem(line);
        assert!(problem.starts_with(start), "{line}: {problem}");
        assert!(!problem.contains(" at line "), "{problem}");
    }
    assert!(
        problem(b"{\"subject\":\"\xff\"}").contains("invalid unicode"),
        "{}",
        problem(b"{\"subject\":\"\xff\"}")
    );
}

#[test]
fn each_kind_of_mistake_has_its_code() {
    for (line, code) in [
        ("hello", "bad-line"),
        ("[]", "bad-line"),
        ("{\"subjct\":\"a\"}", "bad-line"),
        ("{\"subject\":\"a\",\"attempt\":0}", "bad-line"),
        ("{\"payload\":1}", "no-subject"),
        ("{\"subject\":\"a.*\"}", "bad-subject"),
        ("{\"subject\":\"a\",\"payload\":1,\"payload-text\":\"\"}", "two-ways"),
        ("{\"subject\":\"a\",\"payload-base64\":\"?\"}", "bad-base64"),
        ("{\"subject\":\"a\",\"headers\":{\"a:\":\"\"}}", "bad-header"),
        ("{\"subject\":\"a\",\"time\":\"noon\"}", "bad-time"),
    ] {
        assert_eq!(problem_of(line).code, code, "{line}");
        assert!(pelton::explain::page(code).is_some());
    }
}

#[test]
fn messages_repeat_no_more_than_a_line_of_what_they_are_about() {
    let long = "x".repeat(1 << 20);
    for line in [
        format!("{{\"{long}\":1}}"),
        format!("{{\"subject\":\"{long} y\"}}"),
        format!("{{\"subject\":\"a\",\"time\":\"{long}\"}}"),
        format!("{{\"subject\":\"a\",\"headers\":{{\"{long}:\":\"\"}}}}"),
    ] {
        let problem = problem(line);
        assert!(problem.len() < 1_000 && problem.contains("…"), "{problem}");
    }
    let escape = problem("{\"\\u001b[2J\":1}");
    assert!(!escape.contains('\u{1b}'), "{escape:?}");
}

#[test]
fn what_is_written_can_be_read() {
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    for payload in [&b"{\"a\": [1.0, \"x y\"]}"[..], b"text\n\"", b"\0\xff", b"", b"5"] {
        let emitted = Emitted {
            plugin: "p".to_owned(),
            event: "line-1".to_owned(),
            subject: "a.b".to_owned(),
            headers: vec![header("A", "1"), header("A", "2"), header("B", "\"")],
            payload: Bytes::copy_from_slice(payload),
            id: "line-1/p.0".to_owned(),
            streams: Vec::new(),
        };
        let line = output(&emitted, true);
        assert_eq!(line.matches('\n').count(), 1);
        let input = event(&line);
        assert_eq!((&input.subject, &input.headers), (&emitted.subject, &emitted.headers));
        assert_eq!((input.payload, input.id), (emitted.payload.clone(), Some(emitted.id.clone())));
        // As JSON it is the same, with less white space.
        let friendly = event(&output(&emitted, false)).payload;
        assert_eq!(friendly, compact_if_json(payload));
    }
    assert!(output(&emitted_json(), false).contains(r#""payload":{"a":[1.0,"x y"]},"#));
}

fn compact_if_json(payload: &[u8]) -> Vec<u8> {
    match payload {
        b"{\"a\": [1.0, \"x y\"]}" => b"{\"a\":[1.0,\"x y\"]}".to_vec(),
        other => other.to_vec(),
    }
}

fn emitted_json() -> Emitted {
    Emitted {
        plugin: "p".to_owned(),
        event: "e".to_owned(),
        subject: "a".to_owned(),
        headers: Vec::new(),
        payload: Bytes::from_static(b"{\n  \"a\": [1.0, \"x y\"]\n}"),
        id: "e/p.0".to_owned(),
        streams: Vec::new(),
    }
}
