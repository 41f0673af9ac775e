//! The events that a case begins with, as they are written.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use toml::de::DeValue;

use super::{
    super::case::Given,
    Context, lines,
    settings::{number, time},
};
use crate::{
    event::Header,
    manifest::{
        Problem,
        problem::quoted,
        raw::plugin::json,
        reader::{Node, Report, Table},
        source::{Target, join},
        value,
    },
    subject,
};

/// The most events of a case.
const MAX_EVENTS: usize = 1_000_000;

/// `event` or `events`; one of them has to be there.
pub(super) fn events<'t>(
    table: &mut Table<'t, '_>,
    case: &Node<'t>,
    context: &Context<'_>,
) -> Option<Vec<Given>> {
    let missing = Problem::new("missing-key", "the case has no event")
        .label(Target::Value(case.path.clone()), "`event` is missing here")
        .help(
            "add, for example:\n`event = { subject = \"orders.created\", json = { total = 10 } }`",
        );
    let has_many = case.value.as_table().is_some_and(|keys| keys.contains_key("events"));
    let read_one = |node: &Node<'t>, report: &mut Report| {
        node.table(report, |table| event(table, context))?.map(|event| vec![event])
    };
    let one = match has_many {
        true => table.get("event", read_one),
        false => table.need_or("event", missing, read_one),
    };
    let many = table.get("events", |node, report| several(node, context, report));
    if one.is_some() && has_many {
        let key = |key: &str| Target::Key(join(&case.path, key));
        table.report().add(
            Problem::new("test-case", "a case has either `event` or `events`")
                .label(key("events"), "several")
                .label(key("event"), "one")
                .help("remove one of the two"),
        );
        return None;
    }
    one.or(many)
}

fn several(node: &Node<'_>, context: &Context<'_>, report: &mut Report) -> Option<Vec<Given>> {
    const HELP: &str =
        "write a list of tables, or the name of a file with an event as JSON on each line";
    if let DeValue::String(_) = node.value {
        let file = value::file(node, report)?;
        let bytes = context.data(node, &file.0, report)?;
        return match lines::read(&bytes) {
            Ok(events) if events.is_empty() => {
                let message = format!("there is no event in `{}`", file.0.display());
                report.add(node.problem("empty", message).help("write one as JSON on each line"));
                None
            }
            Ok(events) => Some(events),
            Err((line, problem)) => {
                let message = format!("{}:{line}: {problem}", context.base.join(&file.0).display());
                report.add(node.problem("test-case", message).help(lines::HELP));
                None
            }
        };
    }
    let Some(elements) = node.elements() else {
        report.add(node.wrong_type("a list of events or a file", HELP));
        return None;
    };
    let read = |element: Node<'_>| element.table(report, |table| event(table, context)).flatten();
    let events: Vec<_> = elements.take(MAX_EVENTS).map(read).collect();
    if events.is_empty() {
        report.add(value::empty_list(node, "give at least one event"));
    }
    events.into_iter().collect()
}

fn event<'t>(table: &mut Table<'t, '_>, context: &Context<'_>) -> Option<Given> {
    let payload = payload(table, context);
    Some(Given {
        subject: table.get("subject", plain_subject),
        headers: table.get("headers", headers).unwrap_or_default(),
        payload: payload?.unwrap_or_default(),
        id: table.get("id", value::text),
        time_ms: table.get("time", time),
        attempt: table.get("attempt", value::count(1..=1_000_000)).map_or(1, number),
        position: table.get("position", position),
        reply_to: table.get("reply-to", reply_to),
    })
}

/// The bytes that `json`, `text`, `base64` or `file` give; `None` inside: none
/// of them is there. `None` outside: something is wrong, and it was said.
fn payload<'t>(table: &mut Table<'t, '_>, context: &Context<'_>) -> Option<Option<Bytes>> {
    let file = |node: &Node<'t>, report: &mut Report| {
        let file = value::file(node, report)?;
        context.data(node, &file.0, report).map(Bytes::from)
    };
    let read = [
        ("json", table.get("json", json_bytes)),
        ("text", table.get("text", text_bytes)),
        ("base64", table.get("base64", base64_bytes)),
        ("file", table.get("file", file)),
    ];
    one_of(table, read)
}

/// The only one of `values` whose key is there; see [`payload`].
pub(super) fn one_of<T, const N: usize>(
    table: &mut Table<'_, '_>,
    values: [(&'static str, Option<T>); N],
) -> Option<Option<T>> {
    let mut there: Vec<_> = values.into_iter().filter(|(key, _)| table.has(key)).collect();
    if let [(first, _), (second, _), ..] = there.as_slice() {
        let path = table.path().to_owned();
        let problem =
            Problem::new("test-case", format!("`{first}` and `{second}` are two payloads"))
                .label(Target::Key(join(&path, second)), "a second one")
                .label(Target::Key(join(&path, first)), "the first")
                .help("remove one of the two");
        table.report().add(problem);
        return None;
    }
    match there.pop() {
        Some((_, value)) => value.map(Some),
        None => Some(None),
    }
}

/// JSON as it is sent: a text of JSON as it was written.
fn json_bytes(node: &Node<'_>, report: &mut Report) -> Option<Bytes> {
    let value = json_value(node, report)?;
    match node.value.as_str() {
        Some(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        None => Some(Bytes::from(value.to_string())),
    }
}

/// A value of TOML, or JSON as text.
pub(super) fn json_value(node: &Node<'_>, report: &mut Report) -> Option<serde_json::Value> {
    if let Some(text) = node.value.as_str() {
        let value = serde_json::from_str(text);
        if let Err(error) = &value {
            let message =
                format!("`{}` is {}, which is not JSON: {error}", node.path, quoted(text));
            report.add(node.problem("test-case", message).help(
                "a text here is JSON as one writes it: '{\"id\": null}', '\"a text\"'; \
                 `text` takes any text as it is",
            ));
        }
        return value.ok();
    }
    let value = json(node.value);
    if value.is_none() {
        let message = format!("`{}` contains a number that JSON cannot express", node.path);
        let help = "no `inf`, no `nan`, integers of 64 bits; or write the JSON as text";
        report.add(node.problem("test-case", message).help(help));
    }
    value
}

pub(super) fn text_bytes(node: &Node<'_>, report: &mut Report) -> Option<Bytes> {
    let text = node.text("a string", "write it in quotes", report)?;
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn base64_bytes(node: &Node<'_>, report: &mut Report) -> Option<Bytes> {
    let text = node.text("a string", "write it in quotes", report)?;
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    match BASE64_STANDARD.decode(compact) {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            let message = format!("`{}` is not Base64: {error}", node.path);
            report.add(node.problem("test-case", message).help("write it with padding: \"AAEC\""));
            None
        }
    }
}

fn plain_subject(node: &Node<'_>, report: &mut Report) -> Option<String> {
    checked_subject(node, subject::check, report)
}

fn reply_to(node: &Node<'_>, report: &mut Report) -> Option<String> {
    checked_subject(node, subject::check_reply, report)
}

fn checked_subject(
    node: &Node<'_>,
    check: impl Fn(&str) -> Result<(), subject::Error>,
    report: &mut Report,
) -> Option<String> {
    let text = node.text("a subject", "write it in quotes: \"orders.created\"", report)?;
    match check(text) {
        Ok(()) => Some(text.to_owned()),
        Err(error) => {
            report.add(value::bad_subject(node, text, &error));
            None
        }
    }
}

fn headers(node: &Node<'_>, report: &mut Report) -> Option<Vec<Header>> {
    let named = node.named(report, |_, node, report| header_values(node, report))?;
    let pairs = named.into_iter().flat_map(|(name, values)| {
        values.into_iter().map(move |value| Header { name: name.clone(), value })
    });
    Some(pairs.collect())
}

/// One value, or a list of them.
pub(super) fn header_values(node: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    const HELP: &str = "write a text, or a list of texts for several values";
    let Some(elements) = node.elements() else {
        return node
            .text("a string or a list of strings", HELP, report)
            .map(|it| vec![it.to_owned()]);
    };
    elements.map(|element| Some(element.text("a string", HELP, report)?.to_owned())).collect()
}

fn position(node: &Node<'_>, report: &mut Report) -> Option<(Option<String>, u64)> {
    let sequence = value::count(1..=u64::MAX >> 1);
    if !node.value.is_table() {
        return Some((None, sequence(node, report)?));
    }
    node.table(report, |table| {
        let stream = table.get("stream", value::name("the name of a stream"));
        let sequence =
            table.need("sequence", "position = { stream = \"ORDERS\", sequence = 7 }", sequence);
        Some((stream.map(|name| name.0), sequence?))
    })?
}
