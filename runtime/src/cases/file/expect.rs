//! What a case expects, as it is written.

use std::collections::BTreeMap;

use regex::Regex;
use toml::de::DeValue;

use super::{
    super::case::{
        Content, DeadLetters, Failure, FailureKind, HeaderRule, Letter, LogLine, LogText, Wanted,
        Whole,
    },
    Context,
    event::{base64_bytes, header_values, json_value, one_of, text_bytes},
    plugin_name,
    settings::number,
};
use crate::manifest::{
    problem::quoted,
    raw::{DAY, MILLISECOND},
    reader::{Node, Report, Table},
    value::{self, Time},
};

/// The levels of a log.
const LEVELS: &[(&str, &str)] = &[
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warn", "warn"),
    ("error", "error"),
];

/// `expect`
pub(super) fn outputs(
    node: &Node<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<Wanted>> {
    let help =
        "write a list of tables: [{ subject = \"orders.priced\" }]; [] if nothing may come out";
    list(node, ("a list of outputs", help), report, |element, report| {
        element.table(report, |table| wanted(table, element, context))?
    })
}

fn wanted<'t>(table: &mut Table<'t, '_>, node: &Node<'t>, context: &Context<'_>) -> Option<Wanted> {
    let payload = content(table, context);
    Some(Wanted {
        subject: table.get("subject", value::filter).map(|filter| filter.0),
        headers: table.get("headers", header_rules).unwrap_or_default(),
        times: table.get("times", value::count(1..=1_000_000)).map_or(1, number),
        plugin: table.get("plugin", plugin_name),
        line: context.line(&node.path),
        payload: payload?,
    })
}

/// What a payload has to be; `None` if something is wrong with it.
fn content<'t>(table: &mut Table<'t, '_>, context: &Context<'_>) -> Option<Content> {
    let bytes = |node: &Node<'t>, report: &mut Report| {
        let file = value::file(node, report)?;
        context.data(node, &file.0, report).map(|bytes| Whole::Bytes(bytes.into()))
    };
    let snapshot = |node: &Node<'t>, report: &mut Report| {
        value::file(node, report).map(|file| Whole::Snapshot(context.base.join(file.0)))
    };
    let whole = [
        ("json", table.get("json", json_value).map(Whole::Subset)),
        ("json-exact", table.get("json-exact", json_value).map(Whole::Exact)),
        ("text", table.get("text", text_bytes).map(Whole::Bytes)),
        ("base64", table.get("base64", base64_bytes).map(Whole::Bytes)),
        ("file", table.get("file", bytes)),
        ("snapshot", table.get("snapshot", snapshot)),
    ];
    let whole = one_of(table, whole)?;
    let (text, values) = table.get("matches", matches).unwrap_or_default();
    Some(Content { whole, text, values })
}

/// An expression for the text, or one for each of some JSON pointers.
fn matches(
    node: &Node<'_>,
    report: &mut Report,
) -> Option<(Option<Regex>, BTreeMap<String, Regex>)> {
    if !node.value.is_table() {
        return Some((Some(expression(node, report)?), BTreeMap::new()));
    }
    let values = node.named(report, |pointer, node, report| {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let message = format!("{} is not a JSON pointer", quoted(pointer));
            let help = format!("write \"/{}\"", pointer.replace('.', "/"));
            report.add(node.problem("test-case", message).help(help));
            return None;
        }
        expression(node, report)
    })?;
    Some((None, values))
}

fn expression(node: &Node<'_>, report: &mut Report) -> Option<Regex> {
    let help = "write a regular expression in single quotes: '^[a-z]+$'";
    let text = node.text("a regular expression", help, report)?;
    match Regex::new(text) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message =
                format!("`{}` is {}, not a regular expression: {reason}", node.path, quoted(text));
            report.add(node.problem("test-case", message).help(
                "single quotes keep backslashes: '\\d+'; brackets, dots and the like that stand \
                 for themselves need one: '\\.'",
            ));
            None
        }
    }
}

fn header_rules(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, HeaderRule>> {
    node.named(report, |_, node, report| match node.value {
        DeValue::Boolean(false) => Some(HeaderRule::Absent),
        DeValue::Table(_) => {
            let example = "{ matches = \"^2026-\" }";
            let rule = node.table(report, |table| table.need("matches", example, expression))?;
            rule.map(HeaderRule::Matches)
        }
        DeValue::String(_) | DeValue::Array(_) => {
            header_values(node, report).map(HeaderRule::Values)
        }
        _ => {
            let help = "write its value, a list of its values, { matches = \"…\" }, or `false` if it may not be there";
            report.add(node.wrong_type("a string, a list, a table or false", help));
            None
        }
    })
}

/// `failure`
pub(super) fn failure(node: &Node<'_>, report: &mut Report) -> Option<Failure> {
    let kind = value::choice(FailureKind::WORDS);
    if !node.value.is_table() {
        return Some(Failure { kind: kind(node, report)?, text: None, after: None, plugin: None });
    }
    node.table(report, |table| {
        let kind = table.get("kind", kind);
        let kind = if table.has("kind") { kind } else { Some(FailureKind::Any) };
        let after = table.get("after", value::time(MILLISECOND..=DAY));
        Some(Failure {
            text: table.get("matches", expression),
            after: after.map(|Time(time)| time),
            plugin: table.get("plugin", plugin_name),
            kind: kind?,
        })
    })?
}

/// `dead-letters`
pub(super) fn dead_letters(
    node: &Node<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<DeadLetters> {
    if let DeValue::Integer(_) = node.value {
        let count = value::count(0..=1_000_000)(node, report)?;
        return Some(DeadLetters::Count(number(count)));
    }
    let help = "write how many, or a list of tables: [{ reason = \"reject\" }]";
    let letters =
        list(node, ("a number or a list of dead letters", help), report, |element, report| {
            element.table(report, |table| {
                let payload = content(table, context);
                Some(Letter {
                    plugin: table.get("plugin", plugin_name),
                    subject: table.get("subject", value::filter).map(|filter| filter.0),
                    reason: table.get("reason", value::text),
                    error: table.get("error", expression),
                    payload: payload?,
                })
            })?
        })?;
    Some(DeadLetters::Listed(letters))
}

/// `log`
pub(super) fn log(node: &Node<'_>, report: &mut Report) -> Option<Vec<LogLine>> {
    let help = "write a list of texts or tables: [\"no price list\", { level = \"warn\" }]";
    list(node, ("a list of lines", help), report, |element, report| match element.value {
        DeValue::Table(_) => element.table(report, |table| {
            let contains = table.get("contains", value::text).map(LogText::Contains);
            let matches = table.get("matches", expression).map(LogText::Matches);
            LogLine {
                level: table.get("level", value::choice(LEVELS)),
                text: matches.or(contains).unwrap_or(LogText::Any),
                plugin: table.get("plugin", plugin_name),
            }
        }),
        _ => {
            let text = element.text("a text or a table", help, report)?;
            Some(LogLine { level: None, text: LogText::Contains(text.to_owned()), plugin: None })
        }
    })
}

/// A list whose elements are read with `read`; `expected` is what it should be,
/// and the help.
fn list<'t, T>(
    node: &Node<'t>,
    (expected, help): (&str, &str),
    report: &mut Report,
    mut read: impl FnMut(&Node<'t>, &mut Report) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(elements) = node.elements() else {
        report.add(node.wrong_type(expected, help));
        return None;
    };
    let read: Vec<_> = elements.map(|element| read(&element, report)).collect();
    read.into_iter().collect()
}
