//! Between bytes and jq's values: strictly JSON in both directions.
//!
//! Free of bindings. The jq library reads and writes more than JSON (comments,
//! `NaN`, byte strings, keys that are no strings) and recurses as deep as its
//! input is nested; nothing of that passes here. Numbers keep their spelling,
//! so that amounts such as `1.10` and long integers stay what they are.

use jaq_json::{Val, read};
use serde::de::IgnoredAny;

#[cfg(test)]
mod tests;

/// As deep as other common parsers go, and far from the end of the stack.
const DEPTH_MAX: usize = 128;

/// The value of a JSON text.
pub fn read(payload: &[u8]) -> Result<Val, String> {
    let text =
        std::str::from_utf8(payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
    if depth(text) > DEPTH_MAX {
        return Err(format!("the payload is nested more than {DEPTH_MAX} deep"));
    }
    check(text).map_err(|error| format!("the payload is no JSON: {error}"))?;
    read::parse_single(payload).map_err(|error| format!("the payload is no JSON: {error}"))
}

/// The JSON text of a value, without blanks.
pub fn write(value: &Val) -> Result<Vec<u8>, String> {
    let text = value.to_string();
    check(&text).map_err(|error| format!("the result cannot be written as JSON: {error}"))?;
    Ok(text.into_bytes())
}

fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// The deepest nesting of arrays and objects; only an estimate if it is no JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
