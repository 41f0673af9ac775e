//! A payload and headers beside what they have to be.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::differences::{self, Difference, short, shown};
use crate::{
    cases::case::{Content, HeaderRule, Whole},
    event::Header,
};

/// Where `payload` is not as `content` says.
/// A snapshot is not looked at: see `outputs`.
pub(super) fn payload(content: &Content, payload: &[u8]) -> Vec<Difference> {
    let mut found = content.whole.as_ref().map_or(Vec::new(), |it| whole(it, payload));
    if let Some(expression) = &content.text {
        let text = String::from_utf8_lossy(payload);
        if !expression.is_match(&text) {
            found.push(unmatched("payload", expression, &short(&text)));
        }
    }
    if !content.values.is_empty() {
        found.extend(values(&content.values, payload));
    }
    found
}

fn whole(whole: &Whole, payload: &[u8]) -> Vec<Difference> {
    match whole {
        Whole::Subset(expected) => as_json(expected, payload, false),
        Whole::Exact(expected) => as_json(expected, payload, true),
        Whole::Bytes(expected) => bytes(expected, payload),
        Whole::Snapshot(_) => Vec::new(),
    }
}

fn as_json(expected: &Value, payload: &[u8], exact: bool) -> Vec<Difference> {
    match serde_json::from_slice(payload) {
        Ok(came) => differences::json(expected, &came, exact),
        Err(error) => {
            let came = format!("{} (not JSON: {error})", describe(payload));
            vec![Difference::of("payload", shown(expected), came)]
        }
    }
}

/// Field by field if both are JSON, else as bytes.
pub(super) fn same(expected: &[u8], came: &[u8]) -> Vec<Difference> {
    if expected == came {
        return Vec::new();
    }
    match (serde_json::from_slice(expected), serde_json::from_slice::<Value>(came)) {
        (Ok(expected), Ok(came)) => differences::json(&expected, &came, true),
        _ => bytes(expected, came),
    }
}

fn bytes(expected: &[u8], came: &[u8]) -> Vec<Difference> {
    if expected == came {
        return Vec::new();
    }
    match (str::from_utf8(expected), str::from_utf8(came)) {
        (Ok(expected), Ok(came)) => vec![differences::text("payload", expected, came)],
        _ => vec![Difference::of("payload", describe(expected), describe(came))],
    }
}

/// A payload in a line: as text if it is text.
pub(super) fn describe(payload: &[u8]) -> String {
    match str::from_utf8(payload) {
        Ok("") => "(empty)".to_owned(),
        Ok(text) if !text.contains(|c: char| c.is_control()) => short(text),
        Ok(text) => short(&format!("{text:?}")),
        Err(_) => {
            let first: String =
                payload.iter().take(24).map(|byte| format!("{byte:02x} ")).collect();
            format!("{} bytes: {}", payload.len(), first.trim_end())
        }
    }
}

fn values(values: &BTreeMap<String, Regex>, payload: &[u8]) -> Vec<Difference> {
    let came: Value = match serde_json::from_slice(payload) {
        Ok(came) => came,
        Err(error) => {
            let came = format!("{} (not JSON: {error})", describe(payload));
            return vec![Difference::of("payload", "JSON", came)];
        }
    };
    let differs = |(pointer, expression): (&String, &Regex)| {
        let text = match came.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => {
                return Some(unmatched(&format!("payload {pointer}"), expression, "(not there)"));
            }
        };
        let is_match = expression.is_match(&text);
        (!is_match).then(|| unmatched(&format!("payload {pointer}"), expression, &short(&text)))
    };
    values.iter().filter_map(differs).collect()
}

/// What came does not match an expression.
pub(super) fn unmatched(place: &str, expression: &Regex, came: &str) -> Difference {
    Difference::of(place, format!("matches {expression}"), came)
}

/// Where `headers` are not as `rules` say.
pub(super) fn headers(rules: &BTreeMap<String, HeaderRule>, headers: &[Header]) -> Vec<Difference> {
    let differs = |(name, rule): (&String, &HeaderRule)| {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let came: Vec<&str> = named.map(|header| header.value.as_str()).collect();
        let shown = if came.is_empty() { "(not there)".to_owned() } else { quoted(&came) };
        let place = format!("header {name}");
        match rule {
            HeaderRule::Values(values) if *values == came => None,
            HeaderRule::Values(values) => {
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                Some(Difference::of(place, quoted(&values), shown))
            }
            HeaderRule::Absent if came.is_empty() => None,
            HeaderRule::Absent => Some(Difference::of(place, "(not there)", shown)),
            HeaderRule::Matches(expression) => {
                let matches = !came.is_empty() && came.iter().all(|it| expression.is_match(it));
                (!matches).then(|| unmatched(&place, expression, &shown))
            }
        }
    };
    rules.iter().filter_map(differs).collect()
}

fn quoted(values: &[&str]) -> String {
    let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    short(&quoted.join(", "))
}
