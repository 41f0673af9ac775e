//! References to parts of a message: `subject`, `subject.2`, `header:Name` and
//! `json:/a/b`, the same in conditions and in targets.
//!
//! Free of bindings.

use std::fmt;

use serde_json::Value;

use crate::message::Message;

#[cfg(test)]
mod tests;

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// The whole subject.
    Subject,
    /// A token of the subject, counted from 1.
    Token(usize),
    /// The first header of this name.
    Header(String),
    /// What a JSON pointer (RFC 6901) finds in the payload.
    Json(String),
}

/// What a reference found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    /// Text, from the subject or a header.
    Text(&'a str),
    /// A JSON value other than null.
    Json(&'a Value),
}

impl Reference {
    pub fn parse(text: &str) -> Result<Reference, String> {
        if text == "subject" {
            return Ok(Reference::Subject);
        }
        if let Some(token) = text.strip_prefix("subject.") {
            let number = token.parse().ok().filter(|number| *number > 0);
            return number.map(Reference::Token).ok_or_else(|| {
                format!("`{text}`: tokens of a subject are counted from 1, as in `subject.2`")
            });
        }
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Reference::Header(name.to_owned())),
            Some(("json", pointer)) if is_pointer(pointer) => {
                Ok(Reference::Json(pointer.to_owned()))
            }
            Some(("json", pointer)) => Err(format!(
                "`{pointer}` is no JSON pointer; one begins with `/`, as in `/order/id`"
            )),
            _ => Err(format!(
                "`{text}` is neither `subject`, `subject.2`, `header:Name` nor `json:/a/b`"
            )),
        }
    }

    /// What it refers to; none where the message has no such part, or null.
    /// An error where it would have to look into a payload that is no JSON.
    pub fn find<'a>(&self, message: &'a Message) -> Result<Option<Found<'a>>, String> {
        Ok(match self {
            Reference::Subject => Some(Found::Text(message.subject)),
            Reference::Token(number) => message.subject.split('.').nth(number - 1).map(Found::Text),
            Reference::Header(name) => message.header(name).map(Found::Text),
            Reference::Json(pointer) => {
                message.json()?.pointer(pointer).filter(|value| !value.is_null()).map(Found::Json)
            }
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Subject => write!(f, "subject"),
            Reference::Token(number) => write!(f, "subject.{number}"),
            Reference::Header(name) => write!(f, "header:{name}"),
            Reference::Json(pointer) => write!(f, "json:{pointer}"),
        }
    }
}

impl Found<'_> {
    /// The text of a string, number or boolean; none for an array or an object.
    pub fn text(&self) -> Option<String> {
        match self {
            Found::Text(text) => Some((*text).to_owned()),
            Found::Json(Value::String(text)) => Some(text.clone()),
            Found::Json(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            Found::Json(_) => None,
        }
    }

    /// The number: a JSON number, or text outside of JSON that reads as one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Found::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Found::Json(value) => value.as_f64(),
        }
    }
}

fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}
