//! The kinds of single values a manifest is made of: how each is written, read
//! and described in the JSON Schema.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use schemars::JsonSchema;
use toml::de::DeValue;

use super::{
    problem::{Problem, quoted},
    reader::{Node, Report},
    source::Target,
    suggest,
};
use crate::subject::{self, Pattern};

/// A name that becomes a part of NATS names: 1 to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct Name(#[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))] pub String);

/// A length of time with its unit: `"500ms"`, `"2s"`, `"1h 30m"`, `"30days"`.
#[derive(Debug, Clone, Copy, JsonSchema)]
pub struct Time(#[schemars(with = "String", regex(pattern = r"[0-9]"))] pub Duration);

/// A number of bytes with its unit: `"64MiB"` (1,048,576 each), `"64MB"` (1,000,000 each), `"512B"`.
#[derive(Debug, Clone, Copy, JsonSchema)]
pub struct Size(#[schemars(with = "String", regex(pattern = r"[A-Za-z]"))] pub u64);

/// A subject in which `*` stands for one token and `>` for one or more at the
/// end: `"orders.created"`, `"orders.*.paid"`, `"orders.>"`.
#[derive(Debug, Clone, JsonSchema)]
pub struct Filter(
    #[schemars(with = "String", length(min = 1, max = subject::MAX_BYTES))] pub Pattern,
);

/// A path; a relative one begins at the manifest's folder.
#[derive(Debug, Clone, JsonSchema)]
pub struct File(#[schemars(length(min = 1))] pub PathBuf);

/// Reads a name; `what` says of what, such as `a plugin's name`.
pub fn name(what: &str) -> impl Fn(&Node<'_>, &mut Report) -> Option<Name> {
    move |node, report| {
        let text = node.text("a string", "write it in quotes", report)?;
        match check_name(text, what) {
            Ok(name) => Some(name),
            Err(message) => {
                report.add(node.problem("bad-name", message).help(NAME_HELP));
                None
            }
        }
    }
}

/// What to do about a bad name.
pub const NAME_HELP: &str = "use 1 to 64 letters, digits, `-` and `_`: \
    it becomes a part of names and subjects in NATS";

/// Checks that `text` can be a part of NATS names.
pub fn check_name(text: &str, what: &str) -> Result<Name, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match text.chars().find(|c| !is_allowed(*c)) {
        _ if text.is_empty() => Err(format!("{what} is empty")),
        Some(bad) => Err(format!("{what} is {}, with the character {bad:?}", quoted(text))),
        None if text.len() > 64 => Err(format!("{what} has {} characters", text.len())),
        None => Ok(Name(text.to_owned())),
    }
}

/// Reads a length of time within `bounds`.
pub fn time(bounds: RangeInclusive<Duration>) -> impl Fn(&Node<'_>, &mut Report) -> Option<Time> {
    const HELP: &str = "write a number with its unit, in quotes: \"500ms\", \"2s\", \"1h 30m\"";
    move |node, report| {
        let text = node.text("a length of time", HELP, report)?;
        let problem = match humantime::parse_duration(text) {
            Ok(time) if bounds.contains(&time) => return Some(Time(time)),
            Ok(time) => {
                let range = [bounds.start(), bounds.end()].map(|bound| spoken(*bound));
                out_of_range(node, text, time < *bounds.start(), &range)
            }
            Err(error) => {
                let (path, reason) = (&node.path, no_time(&error));
                let message =
                    format!("`{path}` is {}, not a length of time: {reason}", quoted(text));
                node.problem("bad-duration", message).help(HELP)
            }
        };
        report.add(problem);
        None
    }
}

/// Why a text is no length of time.
fn no_time(error: &humantime::DurationError) -> String {
    use humantime::DurationError as Error;
    match error {
        Error::Empty => "there is nothing in it".to_owned(),
        Error::NumberExpected(0) => "it does not begin with a number".to_owned(),
        Error::UnknownUnit { unit, .. } if unit.is_empty() => "it has no unit".to_owned(),
        Error::UnknownUnit { unit, .. } => format!("{} is no unit of time", quoted(unit)),
        Error::NumberOverflow => "it is too long".to_owned(),
        _ => "numbers and units have to alternate".to_owned(),
    }
}

/// Reads a number of bytes within `bounds`.
pub fn size(bounds: RangeInclusive<u64>) -> impl Fn(&Node<'_>, &mut Report) -> Option<Size> {
    const HELP: &str = "write a number with its unit, in quotes: \"64MiB\", \"512KiB\", \"2GB\"";
    move |node, report| {
        let text = node.text("a size", HELP, report)?;
        let problem = match parse_size(text) {
            Ok(size) if bounds.contains(&size) => return Some(Size(size)),
            Ok(size) => {
                let range = [bounds.start(), bounds.end()].map(|bound| spoken_size(*bound));
                out_of_range(node, text, size < *bounds.start(), &range)
            }
            Err(reason) => {
                let message = format!("`{}` is {}, not a size: {reason}", node.path, quoted(text));
                node.problem("bad-size", message).help(HELP)
            }
        };
        report.add(problem);
        None
    }
}

fn parse_size(text: &str) -> Result<u64, &'static str> {
    match text.trim() {
        "" => Err("there is nothing in it"),
        text if !text.starts_with(|c: char| c.is_ascii_digit()) => {
            Err("it does not begin with a number")
        }
        text if !text.chars().any(char::is_alphabetic) => Err("it has no unit"),
        text => {
            let size: Result<ByteSize, _> = text.parse();
            size.map(|size| size.as_u64()).map_err(|_| "one number and one unit are needed")
        }
    }
}

/// Reads a whole number within `bounds`.
pub fn count(bounds: RangeInclusive<u64>) -> impl Fn(&Node<'_>, &mut Report) -> Option<u64> {
    move |node, report| {
        let DeValue::Integer(integer) = node.value else {
            report.add(node.wrong_type("a whole number", "write it without quotes and unit"));
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX);
        let count = u64::try_from(number).ok().filter(|count| bounds.contains(count));
        if count.is_none() {
            let range = [bounds.start(), bounds.end()].map(u64::to_string);
            let is_low = number < i128::from(*bounds.start());
            report.add(out_of_range(node, &integer.to_string(), is_low, &range));
        }
        count
    }
}

/// Reads `true` or `false`.
pub fn flag(node: &Node<'_>, report: &mut Report) -> Option<bool> {
    let flag = node.value.as_bool();
    if flag.is_none() {
        report.add(node.wrong_type("true or false", "write `true` or `false`, without quotes"));
    }
    flag
}

/// Reads one of a few words.
pub fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Node<'_>, &mut Report) -> Option<T> {
    move |node, report| {
        let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>();
        let help = format!("write one of {}", all.join(", "));
        let text = node.text("a string", &help, report)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let message = format!("`{}` cannot be {}", node.path, quoted(text));
        let meant = suggest::nearest(text, words.iter().map(|(word, _)| *word));
        let help = meant.map_or(help, |word| format!("did you mean \"{word}\"?"));
        report.add(node.problem("bad-choice", message).help(help));
        None
    }
}

/// Reads a text that is not empty.
pub fn text(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = node.text("a string", "write it in quotes", report)?;
    if text.is_empty() {
        let message = format!("`{}` is empty", node.path);
        report.add(node.problem("empty", message).help("give it a value, or remove the key"));
        return None;
    }
    Some(text.to_owned())
}

/// Reads a path.
pub fn file(node: &Node<'_>, report: &mut Report) -> Option<File> {
    let path = text(node, report)?;
    if path.contains('\0') {
        report.add(node.problem("bad-path", format!("`{}` contains a NUL character", node.path)));
        return None;
    }
    Some(File(PathBuf::from(path)))
}

/// Reads a subject pattern.
pub fn filter(node: &Node<'_>, report: &mut Report) -> Option<Filter> {
    let text = node.text("a subject", "write it in quotes: \"orders.created\"", report)?;
    match Pattern::parse(text) {
        Ok(pattern) => Some(Filter(pattern)),
        Err(error) => {
            report.add(bad_subject(node, text, &error));
            None
        }
    }
}

/// The problem of a text that is no subject.
pub fn bad_subject(node: &Node<'_>, text: &str, error: &subject::Error) -> Problem {
    let message = format!("{} is not a subject: {error}", quoted(text));
    let help = match error {
        subject::Error::Reserved(_) => "choose a name of your own as the first token",
        subject::Error::MisplacedWildcard(_) => {
            "`*` stands for one whole token (`orders.*.paid`), `>` for all that follow (`orders.>`)"
        }
        subject::Error::Wildcard(_) => "name one subject: wildcards are not allowed here",
        _ => "tokens of printable ASCII, separated by dots: \"orders.created\"",
    };
    node.problem("bad-subject", message).help(help)
}

/// What an empty list means where a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Nothing, and that is fine.
    Allowed,
    /// A mistake.
    Refused,
}

/// Reads a list of subjects, each of them once.
pub fn filters(empty: Empty) -> impl Fn(&Node<'_>, &mut Report) -> Option<Vec<Filter>> {
    move |node, report| {
        let Some(elements) = node.elements() else {
            let help = "write it in brackets: [\"orders.created\", \"orders.paid.*\"]";
            report.add(node.wrong_type("a list of subjects", help));
            return None;
        };
        if !report.admit_subjects(node.value.as_array().map_or(0, |items| items.len())) {
            let message =
                format!("`{}` brings the subjects of the manifest above 4,096", node.path);
            let help = "use wildcards (`orders.>`), or divide the plugins between several hosts";
            report.add(node.problem("too-many", message).help(help));
            return None;
        }
        let mut found: Vec<(String, Filter)> = Vec::new();
        for element in elements {
            let Some(filter) = filter(&element, report) else { continue };
            match found.iter().find(|(_, other)| other.0 == filter.0) {
                Some((first, _)) => report.add(listed_twice(&element, first, filter.0.as_str())),
                None => found.push((element.path, filter)),
            }
        }
        if empty == Empty::Refused && node.value.as_array().is_some_and(|items| items.is_empty()) {
            report.add(empty_list(node, "name at least one subject: [\"orders.>\"]"));
        }
        Some(found.into_iter().map(|(_, filter)| filter).collect())
    }
}

/// The problem of a list without elements.
pub fn empty_list(node: &Node<'_>, help: &str) -> Problem {
    node.problem("empty", format!("`{}` is an empty list", node.path)).help(help)
}

/// The problem of an element that the list has already, at `first`.
pub fn listed_twice(node: &Node<'_>, first: &str, text: &str) -> Problem {
    let list = node.path.rsplit_once('[').map_or(node.path.as_str(), |(list, _)| list);
    Problem::new("duplicate", format!("{} is listed twice in `{list}`", quoted(text)))
        .label(Target::Value(node.path.clone()), "again here")
        .label(Target::Value(first.to_owned()), "first here")
        .help("remove one of the two")
}

fn out_of_range(node: &Node<'_>, text: &str, is_low: bool, [least, most]: &[String; 2]) -> Problem {
    let limit = if is_low { format!("less than {least}") } else { format!("more than {most}") };
    node.problem("out-of-range", format!("`{}` is {}, {limit}", node.path, quoted(text)))
        .help(format!("it may be anything from {least} to {most}"))
}

/// A length of time as people write it.
pub fn spoken(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A number of bytes as people write it: in the largest unit that divides it.
fn spoken_size(bytes: u64) -> String {
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &(u32, &str)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift);
    match units.into_iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}
