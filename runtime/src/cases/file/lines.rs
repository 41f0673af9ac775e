//! Events as JSON lines, one event a line: as `pelton capture` writes them,
//! `pelton pipe` reads them, and `pelton dlq export` writes dead letters.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::case::Given;
use crate::{
    event::{Header, letter},
    subject,
};

/// What such a line looks like.
pub(super) const HELP: &str = "each line is an event: \
    {\"subject\": \"orders.created\", \"headers\": {\"Trace\": \"abc\"}, \"payload\": {\"total\": 10}}; \
    for `payload_text` and `payload_base64` the bytes are as given";

/// The events of all lines; or the line, counted from 1, and what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Given>, (usize, String)> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(at, line)| event(line).map_err(|problem| (at + 1, problem))).collect()
}

fn event(line: &[u8]) -> Result<Given, String> {
    let value: Value =
        serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(fields) = value else {
        return Err("not an object with the fields of an event".to_owned());
    };
    let subject = text(&fields, &["subject"])?;
    if let Some(Err(error)) = subject.as_deref().map(subject::check) {
        return Err(format!("`subject` is not a subject: {error}"));
    }
    let time = text(&fields, &["time", "published_at"])?;
    let time_ms = time.map(|text| {
        letter::milliseconds(&text).ok_or_else(|| format!("`{text}` is not a time in UTC"))
    });
    let sequence = number(&fields, "sequence")?.filter(|sequence| *sequence > 0);
    let stream = text(&fields, &["stream"])?;
    let attempt = number(&fields, "attempt")?.unwrap_or(1).clamp(1, u64::from(u32::MAX));
    Ok(Given {
        subject,
        headers: headers(fields.get("headers"))?,
        payload: payload(&fields)?,
        id: text(&fields, &["id", "event_id"])?,
        time_ms: time_ms.transpose()?,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        position: sequence.map(|sequence| (stream, sequence)),
        reply_to: text(&fields, &["reply_to"])?,
    })
}

/// The first of these fields that is there, as text: a number is taken as one.
fn text(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, String> {
    let found = names.iter().find_map(|name| Some((name, fields.get(*name)?)));
    match found {
        None | Some((_, Value::Null)) => Ok(None),
        Some((_, Value::String(text))) => Ok(Some(text.clone())),
        Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
        Some((name, _)) => Err(format!("`{name}` is not a text")),
    }
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("`{name}` is not a whole number")),
        },
    }
}

fn payload(fields: &Map<String, Value>) -> Result<Bytes, String> {
    let base64 = text(fields, &["payload_base64"])?;
    if let Some(base64) = base64 {
        let bytes = BASE64_STANDARD.decode(base64);
        return bytes.map(Bytes::from).map_err(|error| format!("`payload_base64`: {error}"));
    }
    if let Some(text) = text(fields, &["payload_text"])? {
        return Ok(text.into());
    }
    Ok(fields.get("payload").map(|value| Bytes::from(value.to_string())).unwrap_or_default())
}

/// An object, its values texts or lists of texts, or a list of pairs.
fn headers(value: Option<&Value>) -> Result<Vec<Header>, String> {
    let wrong = || "`headers` is neither an object of texts nor a list of pairs".to_owned();
    let header = |name: &str, value: &Value| match value {
        Value::String(value) => Ok(Header { name: name.to_owned(), value: value.clone() }),
        _ => Err(wrong()),
    };
    let mut headers = Vec::new();
    match value {
        None | Some(Value::Null) => {}
        Some(Value::Object(named)) => {
            for (name, value) in named {
                let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                for value in values {
                    headers.push(header(name, value)?);
                }
            }
        }
        Some(Value::Array(pairs)) => {
            for pair in pairs {
                let Some([Value::String(name), value]) = pair.as_array().map(Vec::as_slice) else {
                    return Err(wrong());
                };
                headers.push(header(name, value)?);
            }
        }
        Some(_) => return Err(wrong()),
    }
    Ok(headers)
}
