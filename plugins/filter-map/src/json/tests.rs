use super::*;

#[test]
fn numbers_and_text_stay_as_they_are() {
    for text in
        [r#"{"a":1.10,"b":12345678901234567890123,"c":"\u00e9ü"}"#, "[1e400,0.1]", "null", "\"x\""]
    {
        let written = String::from_utf8(write(&read(text.as_bytes()).unwrap()).unwrap()).unwrap();
        assert_eq!(written, text.replace("\\u00e9", "é"), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "{",
        "NaN",
        "{1:2}",
        "# a comment\n1",
        "b\"x\"",
        "+1",
        "01",
        "1 2",
        "'a'",
        "[1,]",
        "\"\n\"",
    ] {
        assert!(
            read(text.as_bytes()).unwrap_err().starts_with("the payload is no JSON: "),
            "{text}"
        );
    }
    assert!(read(b"\"\xff\"").is_err());
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert!(read(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("nested"));
    assert!(read("[".repeat(1_000_000).as_bytes()).is_err());
    let brackets_in_text = format!("[\"\\\"{}\"]", "[".repeat(1000));
    assert!(read(brackets_in_text.as_bytes()).is_ok());
}

#[test]
fn values_beyond_json_are_not_written() {
    let infinite = Val::from(f64::INFINITY);
    assert!(write(&infinite).unwrap_err().starts_with("the result cannot be written as JSON"));
}
