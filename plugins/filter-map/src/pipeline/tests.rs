use std::collections::HashMap;

use super::*;

fn pipeline(config: &[(&str, &str)]) -> Result<Pipeline, String> {
    let config: HashMap<_, _> = config.iter().copied().collect();
    Pipeline::parse(|key| config.get(key).map(|value| (*value).to_owned()))
}

fn run(config: &[(&str, &str)], payload: &str) -> Result<Vec<Publication>, String> {
    let message = Message {
        id: "abc",
        subject: "orders.accepted",
        headers: vec![("Trace-Id", "t1"), ("trace-id", "t2")],
        time: 1_700_000_000_123,
        attempt: 2,
        payload: payload.as_bytes(),
    };
    pipeline(config).unwrap().run(&message)
}

fn published(subject: &str, payload: Option<&str>) -> Result<Vec<Publication>, String> {
    Ok(vec![Publication {
        subject: subject.to_owned(),
        payload: payload.map(|text| text.as_bytes().to_vec()),
    }])
}

#[test]
fn a_filter_alone_passes_the_payload_on() {
    let config = [("filter", ".total > 10"), ("subject", "large")];
    assert_eq!(run(&config, r#"{ "total": 11 }"#), published("large", None));
    assert_eq!(run(&config, r#"{ "total": 9 }"#), Ok(Vec::new()));
}

#[test]
fn a_map_makes_a_payload() {
    let config = [("map", "{id, sum: (.a + .b)}"), ("subject", r"sums.\(.id)")];
    assert_eq!(
        run(&config, r#"{"id": "x", "a": 1, "b": 2}"#),
        published("sums.x", Some(r#"{"id":"x","sum":3}"#))
    );
}

#[test]
fn the_event_is_at_hand() {
    let config = [
        ("map", r#"$event | {id, subject, attempt, time, trace: .headers["trace-id"]}"#),
        ("subject", "s"),
    ];
    let expected =
        r#"{"id":"abc","subject":"orders.accepted","attempt":2,"time":1700000000123,"trace":"t1"}"#;
    assert_eq!(run(&config, "{}"), published("s", Some(expected)));
}

#[test]
fn an_error_rejects_or_drops_as_configured() {
    let config = [("map", ".a.b"), ("subject", "s")];
    assert!(run(&config, r#"{"a": 1}"#).unwrap_err().starts_with("`map`: "));
    assert!(run(&config, "no json").unwrap_err().starts_with("the payload is no JSON: "));
    let config = [("map", ".a.b"), ("subject", "s"), ("on-error", "drop")];
    assert_eq!(run(&config, r#"{"a": 1}"#), Ok(Vec::new()));
    assert_eq!(run(&config, "no json"), Ok(Vec::new()));
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    for (config, expected) in [
        (vec![("map", ".")], "`subject` is missing"),
        (vec![("subject", "s")], "`filter` and `map` are both missing"),
        (vec![("subject", "s"), ("map", "."), ("on-error", "ignore")], "`on-error` is `ignore`"),
        (vec![("subject", "s"), ("map", "]")], "`map`: "),
    ] {
        let error = pipeline(&config).err().unwrap();
        assert!(error.starts_with(expected), "{error}");
    }
}
