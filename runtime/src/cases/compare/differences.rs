//! Where two values differ: JSON field by field, text line by line.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Lines that are the same, shown around those that differ.
const CONTEXT: usize = 3;
/// The most differences between two values that are told.
pub(super) const MOST: usize = 20;
/// The longest value in a line, in characters.
const LONGEST: usize = 200;

/// One place where two values differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part: `subject`, `header Trace`, `payload /total`.
    pub place: String,
    /// What differs there.
    pub lines: Vec<(Change, String)>,
}

/// What a line of a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Was expected.
    Expected,
    /// Came.
    Came,
    /// Is the same in both, or a word about it.
    Same,
}

impl Difference {
    /// A place where one text was expected and another came.
    pub(super) fn of(
        place: impl Into<String>,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Difference {
        let lines = vec![(Change::Expected, expected.into()), (Change::Came, came.into())];
        Difference { place: place.into(), lines }
    }

    /// A place and what came there.
    pub(super) fn came(place: impl Into<String>, text: &str) -> Difference {
        let lines = text.lines().map(|line| (Change::Came, line.to_owned())).collect();
        Difference { place: place.into(), lines }
    }

    /// A place and what was expected there.
    pub(super) fn expected(place: impl Into<String>, text: &str) -> Difference {
        let lines = text.lines().map(|line| (Change::Expected, line.to_owned())).collect();
        Difference { place: place.into(), lines }
    }
}

/// Where `came` differs from `expected`; with `exact` also by what it has more.
pub(super) fn json(expected: &Value, came: &Value, exact: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    fields("", (expected, came), exact, &mut found);
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        let lines = vec![(Change::Same, format!("{more} more differences"))];
        found.push(Difference { place: "payload".to_owned(), lines });
    }
    found
}

fn fields(
    pointer: &str,
    (expected, came): (&Value, &Value),
    exact: bool,
    found: &mut Vec<Difference>,
) {
    match (expected, came) {
        (Value::Object(expected), Value::Object(came)) => {
            for (key, value) in expected {
                let pointer = step(pointer, key);
                match came.get(key) {
                    Some(there) => fields(&pointer, (value, there), exact, found),
                    None => found.push(differs(&pointer, &shown(value), "(not there)")),
                }
            }
            for (key, value) in came.iter().filter(|(key, _)| exact && !expected.contains_key(*key))
            {
                found.push(differs(&step(pointer, key), "(not there)", &shown(value)));
            }
        }
        (Value::Array(expected), Value::Array(came)) => {
            for (index, pair) in expected.iter().zip(came).enumerate() {
                fields(&step(pointer, &index.to_string()), pair, exact, found);
            }
            for (index, value) in expected.iter().enumerate().skip(came.len()) {
                found.push(differs(
                    &step(pointer, &index.to_string()),
                    &shown(value),
                    "(not there)",
                ));
            }
            for (index, value) in came.iter().enumerate().skip(expected.len()) {
                found.push(differs(
                    &step(pointer, &index.to_string()),
                    "(not there)",
                    &shown(value),
                ));
            }
        }
        (expected, came) if !is_same(expected, came) => {
            found.push(differs(pointer, &shown(expected), &shown(came)));
        }
        _ => {}
    }
}

fn differs(pointer: &str, expected: &str, came: &str) -> Difference {
    let place =
        if pointer.is_empty() { "payload".to_owned() } else { format!("payload {pointer}") };
    Difference::of(place, expected, came)
}

/// `12` and `12.0` are the same number.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.is_f64() || right.is_f64()) && left.as_f64() == right.as_f64()
        }
        _ => left == right,
    }
}

fn step(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A value of JSON on one line.
pub(super) fn shown(value: &Value) -> String {
    short(&value.to_string())
}

/// A text that is not too long to be read.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Where two texts differ, as a patch shows it.
pub(super) fn text(place: &str, expected: &str, came: &str) -> Difference {
    if expected.lines().count() <= 1 && came.lines().count() <= 1 {
        return Difference::of(place, format!("{expected:?}"), format!("{came:?}"));
    }
    let diff = TextDiff::from_lines(expected, came);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            lines.push((Change::Same, "…".to_owned()));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let kind = match change.tag() {
                ChangeTag::Delete => Change::Expected,
                ChangeTag::Insert => Change::Came,
                ChangeTag::Equal => Change::Same,
            };
            let line = change.to_string_lossy();
            lines.push((kind, short(line.trim_end_matches(['\r', '\n']))));
        }
    }
    Difference { place: place.to_owned(), lines }
}
