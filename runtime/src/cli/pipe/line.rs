//! An event as a line of JSON, read and written. What is written can be read.

use std::{borrow::Cow, collections::BTreeMap, time::UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use pelton::{
    event::{Header, letter::timestamp},
    explain::Coded,
    host::local::{DeadLetter, Emitted, Input},
    subject,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{json, value::RawValue};

/// The most characters of a value that a message repeats.
const MOST_SHOWN: usize = 60;
/// The most characters of what the parser says; the longest of its own is shorter.
const MOST_SAID: usize = 400;

/// What an event has whose line does not say.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// The subject of all: then each line is a payload, whatever it looks like.
    pub subject: Option<String>,
    /// When it was published, in milliseconds since 1970; `None`: now.
    pub time_ms: Option<u64>,
}

/// A line as it is written. The other names are those of `pelton dlq export` and of
/// test cases.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "json", deserialize_with = "some")]
    payload: Option<&'a RawValue>,
    #[serde(alias = "payload_text", alias = "text")]
    payload_text: Option<String>,
    #[serde(alias = "payload_base64", alias = "base64")]
    payload_base64: Option<String>,
    headers: Option<BTreeMap<String, Values>>,
    time: Option<Time>,
    id: Option<String>,
    attempt: Option<u32>,
    reply_to: Option<String>,
    /// Of a line that this command has written.
    #[serde(rename = "plugin")]
    _plugin: Option<IgnoredAny>,
    #[serde(rename = "event")]
    _event: Option<IgnoredAny>,
    #[serde(rename = "dead-letter")]
    _dead_letter: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the value of a header has to be a text, or a list of texts")]
enum Values {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`time` has to be RFC 3339 (\"2026-08-30T12:00:00Z\") or milliseconds since 1970"
)]
enum Time {
    Ms(u64),
    Text(String),
}

/// `null` is a payload, too.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The event in line `number`; `None`: the line is blank.
///
/// # Errors
/// What is wrong with the line, with a code of [`pelton::explain`].
pub fn read(bytes: &[u8], number: u64, defaults: &Defaults) -> Result<Option<Input>, Coded> {
    let id = format!("line-{number}");
    if let Some(subject) = &defaults.subject {
        let mut input = Input::new(subject, Bytes::copy_from_slice(bytes));
        (input.id, input.time_ms) = (Some(id), defaults.time_ms);
        return Ok(Some(input));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let written: Written<'_> = serde_json::from_slice(bytes).map_err(|error| explained(&error))?;
    let mut input = written.input()?;
    input.id.get_or_insert(id);
    input.time_ms = input.time_ms.or(defaults.time_ms);
    Ok(Some(input))
}

/// What is wrong with a subject to publish to.
pub fn subject_problem(subject: &str) -> Option<Coded> {
    let problem = subject::check(subject).err()?;
    let text = format!("`{}` is no subject to publish to: {problem}", shown(subject));
    Some(Coded { code: "bad-subject", text })
}

/// A mistake of the kind `code`.
fn refuse<T>(code: &'static str, text: impl Into<String>) -> Result<T, Coded> {
    Err(Coded { code, text: text.into() })
}

/// What a message repeats of a value: no more than fits on a line.
fn shown(value: &str) -> String {
    let start: String = value.chars().take(MOST_SHOWN).collect();
    let dots = if start.len() < value.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_debug())
}

impl Written<'_> {
    fn input(self) -> Result<Input, Coded> {
        let payload = self.payload()?;
        let Some(subject) = self.subject else {
            return refuse(
                "no-subject",
                "no `subject`: {\"subject\": \"orders.created\", \"payload\": …}; with --subject each line is a payload as it is",
            );
        };
        if let Some(problem) = subject_problem(&subject) {
            return Err(problem);
        }
        let time_ms = self.time.map(Time::milliseconds).transpose()?;
        if self.attempt == Some(0) {
            return refuse("bad-line", "`attempt` is counted from 1");
        }
        Ok(Input {
            subject: subject.into_owned(),
            headers: headers(self.headers.unwrap_or_default())?,
            payload,
            id: self.id.filter(|id| !id.is_empty()),
            time_ms,
            attempt: self.attempt.unwrap_or(1),
            reply_to: self.reply_to,
        })
    }

    fn payload(&self) -> Result<Bytes, Coded> {
        match (self.payload, &self.payload_text, &self.payload_base64) {
            (None, None, None) => Ok(Bytes::new()),
            (Some(json), None, None) => Ok(compact(json.get()).into()),
            (None, Some(text), None) => Ok(text.clone().into()),
            (None, None, Some(text)) => {
                let bytes = BASE64_STANDARD.decode(text).map(Bytes::from);
                bytes.or_else(|error| refuse("bad-base64", format!("`payload-base64`: {error}")))
            }
            _ => refuse(
                "two-ways",
                "more than one of `payload`, `payload-text`, `payload-base64`: keep one",
            ),
        }
    }
}

impl Time {
    fn milliseconds(self) -> Result<u64, Coded> {
        let text = match self {
            Time::Ms(ms) => return Ok(ms),
            Time::Text(text) => text,
        };
        let time = humantime::parse_rfc3339_weak(&text).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        let problem =
            || format!("`time` is \"{}\", not RFC 3339 (2026-08-30T12:00:00Z)", shown(&text));
        ms.map_or_else(|| refuse("bad-time", problem()), Ok)
    }
}

fn headers(written: BTreeMap<String, Values>) -> Result<Vec<Header>, Coded> {
    let mut headers = Vec::new();
    for (name, values) in written {
        let values = match values {
            Values::One(value) => vec![value],
            Values::Many(values) => values,
        };
        let is_bad = |text: &str| text.chars().any(char::is_control);
        if name.is_empty() || name.contains(':') || is_bad(&name) {
            let text = format!(
                "\"{}\" is no name of a header: it has at least one character, no `:` and no control characters",
                shown(&name)
            );
            return refuse("bad-header", text);
        }
        if values.iter().any(|value| is_bad(value)) {
            let text = format!("the value of header `{}` has control characters", shown(&name));
            return refuse("bad-header", text);
        }
        headers.extend(values.into_iter().map(|value| Header { name: name.clone(), value }));
    }
    Ok(headers)
}

/// The error without its line, which is always the first. Names in it are the
/// input's: they may be long, or have control characters.
fn explained(error: &serde_json::Error) -> Coded {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let long = text.chars().count() > MOST_SAID;
    let dots = if long { "…" } else { "" };
    let text: String = text.chars().filter(|c| !c.is_control()).take(MOST_SAID).collect();
    let what = if error.is_data() { "" } else { "not JSON: " };
    let place = match error.column() {
        0 => String::new(),
        column => format!(", at column {column}"),
    };
    Coded { code: "bad-line", text: format!("{what}{text}{dots}{place}") }
}

/// An output, as a line. `is_exact`: its payload byte for byte.
pub fn output(output: &Emitted, is_exact: bool) -> String {
    let mut line = event(&output.subject, &output.payload, &output.headers, is_exact);
    line += &format!(
        ",\"plugin\":{},\"event\":{},\"id\":{}}}\n",
        json!(output.plugin),
        json!(output.event),
        json!(output.id)
    );
    line
}

/// A dead letter, as a line: the event, to be read again, and what became of it.
pub fn dead_letter(letter: &DeadLetter, is_exact: bool) -> String {
    let DeadLetter { event: it, plugin, reason, error, backtrace, .. } = letter;
    let mut line = event(&it.subject, &it.payload, &it.headers, is_exact);
    let mut told = json!({
        "plugin": plugin, "reason": reason, "error": error, "attempts": it.attempt,
    });
    if let (Some(backtrace), Some(told)) = (backtrace, told.as_object_mut()) {
        told.insert("backtrace".to_owned(), json!(backtrace));
    }
    let time = json!(timestamp(it.time_ms));
    line += &format!(",\"time\":{time},\"id\":{},\"dead-letter\":{told}}}\n", json!(it.id));
    line
}

/// The beginning of an object: subject, payload, headers.
fn event(subject: &str, payload: &[u8], headers: &[Header], is_exact: bool) -> String {
    let mut line = format!("{{\"subject\":{},{}", json!(subject), field(payload, is_exact));
    if !headers.is_empty() {
        let mut values = BTreeMap::<&str, Vec<&str>>::new();
        for header in headers {
            values.entry(&header.name).or_default().push(&header.value);
        }
        let one_or_many = |values: &Vec<&str>| match values.as_slice() {
            [value] => json!(value),
            values => json!(values),
        };
        let object: BTreeMap<_, _> =
            values.iter().map(|(name, values)| (name, one_or_many(values))).collect();
        line += &format!(",\"headers\":{}", json!(object));
    }
    line
}

/// The payload, in the friendliest form that loses nothing.
fn field(payload: &[u8], is_exact: bool) -> String {
    let Ok(text) = str::from_utf8(payload) else {
        return format!("\"payload-base64\":\"{}\"", BASE64_STANDARD.encode(payload));
    };
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        let compact = compact(text);
        if !is_exact || compact == text {
            return format!("\"payload\":{compact}");
        }
    }
    format!("\"payload-text\":{}", json!(text))
}

/// JSON text without white space between its parts; all else as it was written.
fn compact(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        let kept = in_text || !matches!(c, ' ' | '\t' | '\r' | '\n');
        match c {
            '"' if !is_escaped => in_text = !in_text,
            _ => {}
        }
        is_escaped = in_text && *c == '\\' && !is_escaped;
        kept
    };
    json.chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests;
