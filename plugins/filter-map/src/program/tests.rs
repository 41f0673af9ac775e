use super::*;

fn run(
    filter: Option<&str>,
    map: Option<&str>,
    subject: &str,
    input: &str,
) -> Result<Vec<String>, String> {
    let text = |text: &str| text.to_owned();
    let expressions =
        Expressions { filter: filter.map(text), map: map.map(text), subject: text(subject) };
    let input = crate::json::read(input.as_bytes())?;
    let event = crate::json::read(br#"{"subject": "in.a"}"#)?;
    let results = Program::compile(&expressions)?.run(input, event)?;
    Ok(results.iter().map(ToString::to_string).collect())
}

fn results(results: &[&str]) -> Result<Vec<String>, String> {
    Ok(results.iter().map(|result| (*result).to_owned()).collect())
}

#[test]
fn each_result_of_map_comes_with_its_subject() {
    let input = r#"{"items": [{"sku": "a"}, {"sku": "b"}], "country": "DE"}"#;
    let mapped = run(None, Some(".items[]"), r"out.\($input.country).\(.sku)", input);
    assert_eq!(mapped, results(&[r#"[{"sku":"a"},"out.DE.a"]"#, r#"[{"sku":"b"},"out.DE.b"]"#]));
}

#[test]
fn the_filter_decides() {
    for (filter, kept) in [
        (".n > 1", true),
        (".n > 9", false),
        (".list[] == 2", true),
        (".missing", false),
        ("empty", false),
        ("true # always", true),
        (r#"$event.subject == "in.a""#, true),
        (r#"def big: . > 2; .n | big"#, true),
        (r#".name | test("^é")"#, true),
    ] {
        let outcome = run(Some(filter), None, "out", r#"{"n": 3, "list": [1, 2], "name": "été"}"#);
        assert_eq!(outcome.map(|results| results.len()), Ok(usize::from(kept)), "{filter}");
    }
}

#[test]
fn mistakes_are_reported_for_their_key() {
    for (filter, map, subject, expected) in [
        (".a >", ".", "out", "`filter`: expected"),
        (".a) | (.b", ".", "out", "`filter`: expected"),
        ("true", "{", "out", "`map`: expected"),
        ("true", ".", r"out.\(", "`subject`: expected"),
        ("true", "nothing(1)", "out", "there is no function `nothing` with 1 arguments"),
        ("$nothing", ".", "out", "there is no variable `$nothing`"),
    ] {
        let error = run(Some(filter), Some(map), subject, "{}").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn errors_at_run_time_name_their_key() {
    let error = run(Some(".a.b"), None, "out", r#"{"a": 1}"#).unwrap_err();
    assert_eq!(error, "`filter`: cannot index 1 with \"b\"");
    let error = run(None, Some(r#".a, error("no more")"#), "out", r#"{"a": 1}"#).unwrap_err();
    assert_eq!(error, "`map`: no more");
    assert!(run(None, Some("halt"), "out", "1").unwrap_err().contains("halt"));
}
