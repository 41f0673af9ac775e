use serde_json::json;

use super::*;

const PAYLOAD: &str = r#"{"total": 1200.5, "n": 5, "long": 9007199254740993, "country": "DE", "vip": true, "note": null}"#;

fn condition(condition: Value) -> Result<bool, String> {
    let written = json!({ "name": "r", "when": [condition], "to": "out" });
    let rule = Rule::check(serde_json::from_value(written).map_err(|error| error.to_string())?, 1)?;
    rule.holds(&Message::new(
        "orders.created",
        vec![("Weight", "12.5"), ("Test", "true")],
        PAYLOAD.as_bytes(),
    ))
}

#[test]
fn conditions_that_hold() {
    for holds in [
        json!({ "value": "json:/total", "at-least": 1200.5 }),
        json!({ "value": "json:/total", "at-most": 1200.5, "more-than": 1200 }),
        json!({ "value": "json:/n", "equals": 5.0 }),
        json!({ "value": "json:/n", "one-of": [4, 5] }),
        json!({ "value": "json:/long", "equals": 9_007_199_254_740_993_i64 }),
        json!({ "value": "json:/country", "one-of": ["FR", "DE"] }),
        json!({ "value": "json:/country", "none-of": ["FR"] }),
        json!({ "value": "json:/country", "matches": "^[A-Z]{2}$" }),
        json!({ "value": "json:/vip", "equals": true }),
        json!({ "value": "json:/note", "exists": false }),
        json!({ "value": "json:", "exists": true }),
        json!({ "value": "header:weight", "less-than": 13, "exists": true }),
        json!({ "value": "header:weight", "equals": 12.5 }),
        json!({ "value": "header:test", "equals": true }),
        json!({ "value": "subject", "prefix": "orders." }),
        json!({ "value": "subject.2", "equals": "created" }),
    ] {
        assert_eq!(condition(holds.clone()), Ok(true), "{holds}");
    }
}

#[test]
fn conditions_that_do_not_hold() {
    for fails in [
        json!({ "value": "json:/total", "more-than": 1200.5 }),
        json!({ "value": "json:/total", "at-least": 1, "less-than": 1200 }),
        json!({ "value": "json:/long", "equals": 9_007_199_254_740_992_i64 }),
        json!({ "value": "json:/country", "at-least": 0 }),
        json!({ "value": "json:/country", "equals": "de" }),
        json!({ "value": "json:/missing", "none-of": ["x"] }),
        json!({ "value": "json:/note", "exists": true }),
        json!({ "value": "header:missing", "prefix": "" }),
        json!({ "value": "subject.2", "matches": "^reate" }),
    ] {
        assert_eq!(condition(fails.clone()), Ok(false), "{fails}");
    }
}

#[test]
fn malformed_conditions_are_refused() {
    for malformed in [
        json!({ "value": "json:/a" }),
        json!({ "equals": 1 }),
        json!({ "value": "json:/a", "matches": "(" }),
        json!({ "value": "json:/a", "at-least": "1" }),
        json!({ "value": "json:/a", "eq": 1 }),
    ] {
        assert!(condition(malformed.clone()).is_err(), "{malformed}");
    }
}
