//! What a plugin may publish: checks every output before anything leaves.
//!
//! Guests are hostile. The server and its client accept wildcards, control
//! characters and system subjects in a publish, and headers that command the
//! server; so the rules are ours.

use std::sync::Arc;

use crate::{
    broker::{Keep, MAX_STORED_HEADERS, Message, size_of_headers},
    event::{Event, Header, Output, RunId},
    subject::{self, Pattern},
};

/// The most headers of one output.
pub const MAX_HEADERS: usize = 64;
/// The longest name of a header, in bytes.
pub const MAX_HEADER_NAME: usize = 128;
/// The longest value of a header, in bytes.
pub const MAX_HEADER_VALUE: usize = 4096;
/// The most bytes of all headers of one output.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Room for what the host adds to a message: the version line, the id and the
/// expected stream, with long names.
const OUR_HEADERS: usize = 256;

/// Headers that carry a trace; the host passes them on from event to output.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// What one plugin may publish, and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Publishing {
    /// The allow-list; the first pattern that matches decides.
    pub allowed: Vec<(Pattern, Rule)>,
    /// Which subjects streams store.
    pub stored: Vec<(Pattern, Keeper)>,
    /// The most bytes of headers and payload that the server takes in one
    /// message, ours included.
    pub max_message: usize,
}

/// A stream that stores outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// Its name.
    pub stream: Arc<str>,
    /// The most bytes of headers and payload that it takes in one message;
    /// `None`: as many as the server.
    pub max_message: Option<usize>,
}

/// How outputs that match a pattern are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A stream has to store them.
    Stored,
    /// A stream stores them if one takes the subject, else they are sent over core NATS.
    StoredIfTaken,
    /// They are sent over core NATS.
    Core,
}

/// Why an output is refused. None of its run is published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output {index} to {subject:?}: {problem}")]
pub struct OutputError {
    /// Which output, counted from 0.
    pub index: usize,
    /// Its subject, as the guest wrote it, shortened.
    pub subject: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not a subject.
    #[error("the subject is not allowed: {0}")]
    Subject(#[from] subject::Error),
    /// Not on the allow-list.
    #[error("the plugin may not publish there; the manifest's `publish` allows: {0}")]
    NotAllowed(String),
    /// A stream has to store it, and none takes the subject.
    #[error("no stream stores this subject")]
    NoStream,
    /// More than the server takes.
    #[error("{0} bytes of headers and payload: server and stream take {1} in one message")]
    TooLarge(usize, usize),
    /// Too many headers.
    #[error("{0} headers, more than {MAX_HEADERS}")]
    HeaderCount(usize),
    /// Headers too large together.
    #[error("{0} bytes of headers, more than {MAX_HEADER_BYTES}")]
    HeaderBytes(usize),
    /// A header's name is no name.
    #[error("the header name {0:?} is not allowed")]
    HeaderName(String),
    /// A header's value has control characters or is too long.
    #[error("the value of header {0:?} is not allowed: {1}")]
    HeaderValue(String, &'static str),
    /// A header that belongs to the server or the host.
    #[error("the header {0:?} belongs to the host: handlers cannot set it")]
    HeaderReserved(String),
}

impl Problem {
    fn redacted(self, redact: &dyn Fn(&str) -> String) -> Problem {
        match self {
            Problem::HeaderName(name) => Problem::HeaderName(redact(&name)),
            Problem::HeaderValue(name, what) => Problem::HeaderValue(redact(&name), what),
            Problem::HeaderReserved(name) => Problem::HeaderReserved(redact(&name)),
            other => other,
        }
    }
}

impl Publishing {
    /// The messages for the outputs of one run, in order; or what is wrong with
    /// the first bad one, in words of the guest that `redact` has gone over.
    pub fn messages(
        &self,
        event: &Event,
        outputs: Vec<Output>,
        run: &RunId,
        redact: &dyn Fn(&str) -> String,
    ) -> Result<Vec<Message>, OutputError> {
        let message = |(index, output): (usize, Output)| {
            let subject = output.subject.clone();
            self.message(event, output, || run.output(index)).map_err(|problem| OutputError {
                index,
                subject: redact(&subject).chars().take(100).collect(),
                problem: problem.redacted(redact),
            })
        };
        outputs.into_iter().enumerate().map(message).collect()
    }

    fn message(
        &self,
        event: &Event,
        output: Output,
        id: impl FnOnce() -> String,
    ) -> Result<Message, Problem> {
        let keep = self.keep(event, &output.subject, id)?;
        let headers = checked_headers(&event.headers, output.headers)?;
        let message = Message { subject: output.subject, headers, payload: output.payload, keep };
        // Refused by the server, its siblings may have been stored already.
        match (size(&message), self.limit(&message)) {
            (size, limit) if size > limit => Err(Problem::TooLarge(size, limit)),
            _ => Ok(message),
        }
    }

    /// Whether server and stream take a record of this size, and of what a request
    /// to run its event again adds.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let headers = size_of_headers(&message.headers) + 2 * OUR_HEADERS;
        size(message) <= self.limit(message) && headers <= MAX_STORED_HEADERS
    }

    fn limit(&self, message: &Message) -> usize {
        let keeper = match &message.keep {
            Keep::Stored { .. } => self.keeper(&message.subject),
            Keep::Fleeting => None,
        };
        let stream = keeper.and_then(|keeper| keeper.max_message).unwrap_or(usize::MAX);
        self.max_message.min(stream)
    }

    /// Whether the subject may be published to, and what stores it.
    fn keep(
        &self,
        event: &Event,
        subject: &str,
        id: impl FnOnce() -> String,
    ) -> Result<Keep, Problem> {
        if event.reply_to.as_deref() == Some(subject) {
            subject::check_reply(subject)?;
            return Ok(Keep::Fleeting);
        }
        subject::check(subject)?;
        let rule = self.allowed.iter().find(|(pattern, _)| pattern.matches(subject));
        let Some((_, rule)) = rule else { return Err(self.not_allowed()) };
        let stream = self.keeper(subject).map(|keeper| Arc::clone(&keeper.stream));
        match (rule, stream) {
            (Rule::Core, _) | (Rule::StoredIfTaken, None) => Ok(Keep::Fleeting),
            (Rule::Stored, None) => Err(Problem::NoStream),
            (Rule::Stored | Rule::StoredIfTaken, Some(stream)) => {
                Ok(Keep::Stored { id: id(), stream: Some(stream) })
            }
        }
    }

    fn keeper(&self, subject: &str) -> Option<&Keeper> {
        let stored = self.stored.iter().find(|(pattern, _)| pattern.matches(subject));
        stored.map(|(_, keeper)| keeper)
    }

    fn not_allowed(&self) -> Problem {
        let patterns: Vec<_> = self.allowed.iter().map(|(pattern, _)| pattern.as_str()).collect();
        match patterns.as_slice() {
            [] => Problem::NotAllowed("nothing".to_owned()),
            patterns => Problem::NotAllowed(patterns.join(", ")),
        }
    }
}

/// The guest's headers without those that it only copied from the event and
/// that are not its own to send, with the event's trace.
pub(super) fn checked_headers(
    of_event: &[Header],
    headers: Vec<Header>,
) -> Result<Vec<Header>, Problem> {
    let mut kept = Vec::with_capacity(headers.len() + TRACE.len());
    kept.extend(of_event.iter().filter(|header| is_trace(&header.name)).cloned());
    for header in headers {
        check_header(&header)?;
        if is_trace(&header.name) {
            continue;
        }
        match is_reserved(&header.name) {
            false => kept.push(header),
            true if of_event.contains(&header) => {}
            true => return Err(Problem::HeaderReserved(header.name)),
        }
    }
    check_together(&kept)?;
    Ok(kept)
}

fn check_header(header: &Header) -> Result<(), Problem> {
    let Header { name, value } = header;
    let shown = || name.chars().take(MAX_HEADER_NAME).collect::<String>();
    if name.is_empty() || name.len() > MAX_HEADER_NAME || !name.bytes().all(is_token) {
        return Err(Problem::HeaderName(shown()));
    }
    if value.len() > MAX_HEADER_VALUE {
        return Err(Problem::HeaderValue(shown(), "it is longer than 4096 bytes"));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::HeaderValue(shown(), "it contains a control character"));
    }
    Ok(())
}

fn check_together(headers: &[Header]) -> Result<(), Problem> {
    if headers.len() > MAX_HEADERS {
        return Err(Problem::HeaderCount(headers.len()));
    }
    match size_of_headers(headers) {
        bytes if bytes > MAX_HEADER_BYTES => Err(Problem::HeaderBytes(bytes)),
        _ => Ok(()),
    }
}

/// What a message takes of the server's limit, with the headers that we add.
fn size(message: &Message) -> usize {
    size_of(&message.headers, &message.payload)
}

pub(super) fn size_of(headers: &[Header], payload: &[u8]) -> usize {
    size_of_headers(headers) + payload.len() + OUR_HEADERS
}

/// A character of a header's name: a `token` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The server looks `Nats-*` up by exact spelling, except some: any spelling is ours.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("nats-") || name.starts_with("pelton-")
}

fn is_trace(name: &str) -> bool {
    TRACE.iter().any(|trace| name.eq_ignore_ascii_case(trace))
}

#[cfg(test)]
mod tests;
