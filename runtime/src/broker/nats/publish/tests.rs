use super::*;

fn meaning(result: Result<Published, PublishError>) -> &'static str {
    match result {
        Ok(Published::Stored) => "stored",
        Ok(Published::Duplicate) => "duplicate",
        Ok(Published::Sent) => "sent",
        Err(PublishError::Unknown { .. }) => "unknown",
        Err(PublishError::Unavailable { .. }) => "unavailable",
        Err(PublishError::Refused { .. }) => "refused",
    }
}

#[test]
fn every_answer_has_one_meaning() {
    for (answer, expected) in [
        (r#"{"stream":"S","seq":1}"#, "stored"),
        (r#"{"stream":"S","seq":1,"domain":"d","later":true}"#, "stored"),
        (r#"{"stream":"S","seq":1,"duplicate":true}"#, "duplicate"),
        (
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#,
            "unavailable",
        ),
        (r#"{"error":{"code":409,"err_code":10158,"description":"in process"}}"#, "unavailable"),
        (
            r#"{"error":{"code":429,"err_code":10167,"description":"too many requests"}}"#,
            "unavailable",
        ),
        (
            r#"{"error":{"code":400,"err_code":10002,"description":"resource limits"}}"#,
            "unavailable",
        ),
        (r#"{"error":{"code":500,"err_code":1,"description":"?"}}"#, "unavailable"),
        (r#"{"error":{"code":400,"err_code":10054,"description":"message size"}}"#, "refused"),
        (r#"{"error":{"code":400,"err_code":10060,"description":"expected stream"}}"#, "refused"),
        ("", "refused"),
        ("hello", "refused"),
        ("{}", "refused"),
    ] {
        assert_eq!(
            meaning(read("a", answer.as_bytes()).map(|(published, _)| published)),
            expected,
            "{answer}"
        );
    }
}

#[test]
fn headers_that_would_break_the_protocol_are_refused() {
    let header = |name: &str, value: &str| vec![Header { name: name.into(), value: value.into() }];
    for (name, value) in
        [("a b", "x"), ("a:", "x"), ("a\r\n", "x"), ("é", "x"), ("a", "x\r\ny"), ("a", "\n")]
    {
        assert!(headers(&header(name, value)).is_err(), "{name:?}: {value:?}");
    }
    assert_eq!(headers(&header("X-Any", "ä")).unwrap().len(), 1);
}
