//! Where an event goes: `drop`, `reject`, or a subject with references in braces.
//!
//! Free of bindings. What a reference finds stands for a part of one token: a
//! value out of an event cannot add tokens or wildcards to the subject.

use crate::{message::Message, reference::Reference};

#[cfg(test)]
mod tests;

/// What to do with an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Nothing.
    Drop,
    /// To the dead letters.
    Reject,
    /// To the subject that this makes.
    Subject(Vec<Part>),
}

/// A part of a subject.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Literal(String),
    Reference(Reference),
}

impl Target {
    pub fn parse(text: &str) -> Result<Target, String> {
        match text {
            "drop" => Ok(Target::Drop),
            "reject" => Ok(Target::Reject),
            _ => Ok(Target::Subject(parts(text)?)),
        }
    }
}

/// The subject for a message; an error where a value is missing or would change
/// the shape of the subject.
pub fn fill(parts: &[Part], message: &Message) -> Result<String, String> {
    parts.iter().map(|part| part.fill(message)).collect()
}

impl Part {
    fn fill(&self, message: &Message) -> Result<String, String> {
        let reference = match self {
            Part::Literal(text) => return Ok(text.clone()),
            Part::Reference(Reference::Subject) => return Ok(message.subject.to_owned()),
            Part::Reference(reference) => reference,
        };
        let found =
            reference.find(message)?.ok_or_else(|| format!("the event has no {reference}"))?;
        let text =
            found.text().ok_or_else(|| format!("{reference} is neither text nor a number"))?;
        if is_token(&text) {
            return Ok(text);
        }
        Err(format!(
            "{reference} is `{}`, which cannot be a part of a subject",
            text.escape_debug()
        ))
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && !text
            .contains(|c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control())
}

fn parts(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (inside, tail) =
            tail.split_once('}').ok_or_else(|| format!("`{template}`: a brace is not closed"))?;
        parts.push(Part::Literal(literal.to_owned()));
        parts.push(Part::Reference(Reference::parse(inside)?));
        rest = tail;
    }
    parts.push(Part::Literal(rest.to_owned()));
    parts.retain(|part| *part != Part::Literal(String::new()));
    check_shape(template, &parts)?;
    Ok(parts)
}

/// With one token in the place of each reference, it has to be a subject.
fn check_shape(template: &str, parts: &[Part]) -> Result<(), String> {
    let sample = |part: &Part| match part {
        Part::Literal(text) => text.clone(),
        Part::Reference(_) => "x".to_owned(),
    };
    let subject: String = parts.iter().map(sample).collect();
    if subject.split('.').all(is_token) && !subject.contains('}') {
        return Ok(());
    }
    Err(format!(
        "`{template}` makes no subject: tokens between dots may not be empty and have no blanks, `*` or `>`"
    ))
}
