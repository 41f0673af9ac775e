//! Values as they are written in a test file. Nothing here reads one.

use super::super::{case::FailureKind, happened::Failed};

/// How long a failure's text is repeated, in characters.
const LONGEST_REASON: usize = 80;

/// `text` as a string of TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The key of a case that expects all of these failures; `None`: there are none.
pub fn failure(came: &[Failed]) -> Option<String> {
    let first = came.first()?;
    if came.iter().any(|failed| failed.kind != first.kind) {
        return Some(format!("failure = {}", quoted(FailureKind::Any.word())));
    }
    let kind = quoted(first.kind.word());
    let short: String = first.text.chars().take(LONGEST_REASON).collect();
    match came.iter().all(|failed| failed.text.starts_with(&short)) {
        true => {
            let matches = quoted(&regex::escape(&short));
            Some(format!("failure = {{ kind = {kind}, matches = {matches} }}"))
        }
        // Each attempt says something else.
        false => Some(format!("failure = {kind}")),
    }
}
