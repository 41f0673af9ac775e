use super::*;

fn message<'a>(payload: &'a [u8]) -> Message<'a> {
    Message::new("orders.created.eu", vec![("Shop", "web"), ("Odd", "a.b")], payload)
}

/// The subject that a template makes of a message with this payload.
fn filled(template: &str, payload: &str) -> Result<String, String> {
    match Target::parse(template)? {
        Target::Subject(parts) => fill(&parts, &message(payload.as_bytes())),
        other => panic!("{template} is {other:?}"),
    }
}

#[test]
fn two_words_are_no_subjects() {
    assert_eq!(Target::parse("drop"), Ok(Target::Drop));
    assert_eq!(Target::parse("reject"), Ok(Target::Reject));
}

#[test]
fn references_are_filled_with_what_they_find() {
    let payload = r#"{"country":"PL","items":[{"id":7}]}"#;
    let cases = [
        ("orders.plain", "orders.plain"),
        ("copies.{subject}", "copies.orders.created.eu"),
        ("orders.{json:/country}.{subject.3}", "orders.PL.eu"),
        ("orders.item-{json:/items/0/id}", "orders.item-7"),
        ("shops.{header:shop}", "shops.web"),
    ];
    for (template, expected) in cases {
        assert_eq!(filled(template, payload).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn a_value_cannot_change_the_shape_of_the_subject() {
    for value in ["a.b", "*", ">", "a b", "", "line\nbreak"] {
        let payload = serde_json::json!({ "id": value }).to_string();
        assert!(filled("orders.{json:/id}", &payload).is_err(), "{value:?}");
    }
    assert!(filled("orders.{header:Odd}", "{}").is_err());
}

#[test]
fn what_is_missing_or_no_text_is_named() {
    let error = filled("orders.{json:/id}", "{}").unwrap_err();
    assert!(error.contains("json:/id"), "{error}");
    for payload in [r#"{"id":[1]}"#, r#"{"id":{}}"#, "no JSON"] {
        assert!(filled("orders.{json:/id}", payload).is_err(), "{payload}");
    }
}

#[test]
fn templates_that_make_no_subject_are_refused() {
    for template in ["", "a..b", ".a", "a.", "a b", "a.*", "a.>", "a.{json:/id", "a.}b", "a.{x}"] {
        assert!(Target::parse(template).is_err(), "{template:?}");
    }
}
