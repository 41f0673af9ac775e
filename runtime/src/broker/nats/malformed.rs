//! Which stored messages the client cannot read: its parser's rules, as pure
//! functions, and what can be saved of such a message.
//!
//! The server takes any bytes for headers, and almost any for a subject. The
//! client (async-nats 0.51, `Connection::try_read_op`) gives the connection up
//! over what is refused here; over a carriage return within a value it panics.
//! Nothing is asked of the server here: `suspect` does.

use std::{iter, str::FromStr as _};

use async_nats::{HeaderName, HeaderValue, StatusCode};

use crate::event::Header;

/// How much of a sender's text an error repeats, in characters.
const SHOWN: usize = 64;
/// What takes the place of bytes that are no text, here and in the server's JSON.
const LOST: char = char::REPLACEMENT_CHARACTER;

/// Why the client cannot read a message with this subject, as the server's JSON
/// shows it, and this block of headers, empty if it has none; `None`: it can.
///
/// A subject that contains [`LOST`] literally is refused too: in JSON it looks
/// the same as bytes that are no text.
pub(super) fn refusal(subject: &str, block: &[u8]) -> Option<String> {
    check_subject(subject, block).and_then(|()| check_block(block)).err()
}

/// The headers of `block` that the client would have read.
pub(super) fn salvage(block: &[u8]) -> Vec<Header> {
    let text = String::from_utf8_lossy(block);
    let is_whole = |header: &Header| !header.name.contains(LOST) && !header.value.contains(LOST);
    fields(&text).filter_map(Result::ok).filter(is_whole).collect()
}

fn check_subject(subject: &str, block: &[u8]) -> Result<(), String> {
    let shown = || shown(subject);
    if subject.contains(LOST) {
        return Err(format!("its subject `{}` is not UTF-8", shown()));
    }
    // Only the line before a message with headers is split at any white space.
    if !block.is_empty() && subject.split_whitespace().count() != 1 {
        return Err(format!("its subject `{}` contains white space", shown()));
    }
    Ok(())
}

fn check_block(block: &[u8]) -> Result<(), String> {
    if block.is_empty() {
        return Ok(());
    }
    let text = str::from_utf8(block).map_err(|error| format!("its headers: {error}"))?;
    check_version(text.lines().next().unwrap_or_default())?;
    fields(text).try_for_each(|field| field.map(drop))
}

fn check_version(line: &str) -> Result<(), String> {
    let refused = || format!("its headers begin with `{}`", shown(line));
    let rest = line.strip_prefix("NATS/1.0").ok_or_else(refused)?.trim();
    let status = rest.split_once(' ').map_or(rest, |(status, _)| status.trim());
    let is_read = status.is_empty() || StatusCode::from_str(status).is_ok();
    if is_read { Ok(()) } else { Err(refused()) }
}

/// The headers after the first line. A line that begins with white space
/// continues the one before it.
fn fields(text: &str) -> impl Iterator<Item = Result<Header, String>> {
    let mut lines = text.lines().skip(1).peekable();
    iter::from_fn(move || {
        let line = lines.find(|line| !line.is_empty())?;
        let mut more = String::new();
        while let Some(next) = lines.next_if(|next| next.starts_with(char::is_whitespace)) {
            more.push_str(next);
        }
        Some(field(line, &more))
    })
}

fn field(line: &str, more: &str) -> Result<Header, String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("its header line `{}` has no colon", shown(line)))?;
    let name = HeaderName::from_str(name).map_err(|_| {
        format!("its header name `{}` is not printable ASCII without spaces", shown(name))
    })?;
    // Trimmed when and where the client does.
    let value = format!("{}{more}", value.trim_start());
    let value = HeaderValue::from_str(value.trim_end()).map_err(|_| {
        format!("the value of its header `{}` contains a carriage return", shown(name.as_ref()))
    })?;
    Ok(Header { name: name.to_string(), value: value.as_str().to_owned() })
}

/// `text` without characters that could harm a log, and not too long.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
