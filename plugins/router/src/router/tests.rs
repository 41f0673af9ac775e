use std::collections::HashMap;

use super::*;

fn router(config: &[(&str, &str)]) -> Result<Router, String> {
    let config: HashMap<_, _> = config.iter().copied().collect();
    Router::parse(|key| config.get(key).map(|value| (*value).to_owned()))
}

fn route(config: &[(&str, &str)], payload: &str) -> Result<Route, String> {
    router(config).unwrap().route(&Message::new("orders.priced", Vec::new(), payload.as_bytes()))
}

fn to(subjects: &[&str]) -> Result<Route, String> {
    Ok(Route::Publish(subjects.iter().map(|subject| (*subject).to_owned()).collect()))
}

const RULES: &str = r#"[
    { "name": "large", "when": [{ "value": "json:/total", "at-least": 1000 }], "to": "orders.review" },
    { "name": "copy", "when": [{ "value": "json:/total", "at-least": 500 }], "to": "orders.{json:/country}" },
    { "name": "test", "when": [{ "value": "json:/test", "exists": true }], "to": "drop" },
    { "name": "again", "when": [{ "value": "json:/total", "at-least": 2000 }], "to": "orders.review" }
]"#;

#[test]
fn the_first_rule_that_holds_decides() {
    assert_eq!(route(&[("rules", RULES)], r#"{"total": 3000}"#), to(&["orders.review"]));
    assert_eq!(
        route(&[("rules", RULES)], r#"{"total": 600, "country": "DE"}"#),
        to(&["orders.DE"])
    );
    assert_eq!(route(&[("rules", RULES)], r#"{"total": 1, "test": 1}"#), Ok(Route::Drop));
}

#[test]
fn all_rules_that_hold_give_each_subject_once() {
    let all = [("rules", RULES), ("match", "all")];
    assert_eq!(
        route(&all, r#"{"total": 3000, "country": "DE"}"#),
        to(&["orders.review", "orders.DE"])
    );
}

#[test]
fn the_default_takes_what_no_rule_wants() {
    assert!(route(&[("rules", RULES)], "{}").unwrap_err().starts_with("no rule matches: "));
    assert_eq!(route(&[("rules", RULES), ("default", "drop")], "{}"), Ok(Route::Drop));
    assert_eq!(
        route(&[("rules", RULES), ("default", "rest.{subject.1}")], "{}"),
        to(&["rest.orders"])
    );
}

#[test]
fn a_rule_that_matched_but_dropped_is_no_case_for_the_default() {
    let config = [("rules", RULES), ("default", "orders.rest")];
    assert_eq!(route(&config, r#"{"test": 1}"#), Ok(Route::Drop));
}

#[test]
fn an_event_that_cannot_be_routed_names_the_rule() {
    let error = route(&[("rules", RULES)], r#"{"total": 600}"#).unwrap_err();
    assert_eq!(error, "rule `copy`: the event has no json:/country");
    let error = route(&[("rules", RULES)], "not json").unwrap_err();
    assert!(error.starts_with("rule `large`: the payload is no JSON: "), "{error}");
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    for (config, expected) in [
        (vec![], "`rules` is missing"),
        (vec![("rules", "x")], "`rules` is no list of rules"),
        (vec![("rules", "{}")], "`rules` is no list of rules"),
        (vec![("rules", r#"[{"to": "a"}, {"too": "b"}]"#)], "rule `2`: unknown field `too`"),
        (vec![("rules", r#"[{"name": "n", "to": "a.*"}]"#)], "rule `n`: `a.*` makes no subject"),
        (
            vec![("rules", r#"[{"name": "n", "when": [{"value": "x"}], "to": "a"}]"#)],
            "rule `n`: `x` is neither",
        ),
        (vec![("rules", "[]"), ("match", "every")], "`match` is `every`"),
        (vec![("rules", "[]"), ("default", "a..b")], "`default`: "),
    ] {
        let error = router(&config).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
