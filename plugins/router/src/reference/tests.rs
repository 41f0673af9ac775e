use serde_json::json;

use super::*;

fn text(reference: &str, message: &Message) -> Option<String> {
    let reference = Reference::parse(reference).unwrap();
    reference.find(message).unwrap().and_then(|found| found.text())
}

#[test]
fn each_kind_finds_its_part() {
    let payload =
        json!({ "id": 7, "to": { "city": "Kraków" }, "tags": ["a", "b"], "a/b": true }).to_string();
    let message = Message::new(
        "orders.created.eu",
        vec![("Trace-Id", "t1"), ("trace-id", "t2")],
        payload.as_bytes(),
    );
    let cases = [
        ("subject", "orders.created.eu"),
        ("subject.1", "orders"),
        ("subject.3", "eu"),
        ("header:trace-ID", "t1"),
        ("json:/id", "7"),
        ("json:/to/city", "Kraków"),
        ("json:/tags/1", "b"),
        ("json:/a~1b", "true"),
    ];
    for (reference, expected) in cases {
        assert_eq!(text(reference, &message).as_deref(), Some(expected), "{reference}");
    }
}

#[test]
fn absent_parts_and_null_are_missing() {
    let message = Message::new("orders", Vec::new(), br#"{"a": null}"#);
    for reference in ["subject.2", "header:X", "json:/a", "json:/b/c"] {
        assert_eq!(text(reference, &message), None, "{reference}");
    }
}

#[test]
fn a_payload_without_json_is_an_error_only_where_json_is_asked_for() {
    let message = Message::new("orders", Vec::new(), b"\xff");
    let error = Reference::parse("json:/a").unwrap().find(&message).unwrap_err();
    assert!(error.starts_with("the payload is no JSON: "), "{error}");
    assert_eq!(text("subject", &message).as_deref(), Some("orders"));
}

#[test]
fn malformed_references_are_refused() {
    for reference in ["", "subjects", "subject.0", "subject.x", "header:", "json:a", "query:/a"] {
        assert!(Reference::parse(reference).is_err(), "{reference}");
    }
}

#[test]
fn a_reference_is_shown_as_it_is_written() {
    for reference in ["subject", "subject.2", "header:Name", "json:/a/b"] {
        assert_eq!(Reference::parse(reference).unwrap().to_string(), reference);
    }
}
