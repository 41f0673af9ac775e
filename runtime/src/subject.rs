//! The grammar of NATS subjects: which text is a subject, which a pattern, what
//! matches what.
//!
//! Stricter than the server, which accepts wildcards, control characters and
//! any Unicode in the subject of a publish: what reaches a stream under such a
//! name cannot be filtered or read by most tools.

use std::fmt;

/// The longest subject we accept, in bytes.
pub const MAX_BYTES: usize = 256;
/// The most tokens we accept in a subject.
pub const MAX_TOKENS: usize = 32;

/// Why a text is not a subject or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No characters at all.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_BYTES`].
    #[error("it has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// More tokens than [`MAX_TOKENS`].
    #[error("it has {0} tokens, more than {MAX_TOKENS}")]
    TooManyTokens(usize),
    /// Two dots in a row, or one at either end.
    #[error("it has an empty token: dots must stand between two tokens")]
    EmptyToken,
    /// A character outside printable ASCII, or white space.
    #[error("it contains {0:?}: only printable ASCII without spaces is allowed")]
    Character(char),
    /// `*` or `>` where a plain subject is needed.
    #[error("it contains the wildcard `{0}`")]
    Wildcard(char),
    /// `>` that is not the last token, or a wildcard beside other characters.
    #[error("the wildcard `{0}` must be a whole token, and `>` the last one")]
    MisplacedWildcard(char),
    /// A first token that belongs to the server or to clients.
    #[error("subjects that begin with `{0}` belong to NATS itself")]
    Reserved(String),
}

/// Checks that `text` is a subject one may publish to: no wildcard, nothing
/// that belongs to NATS itself.
pub fn check(text: &str) -> Result<(), Error> {
    check_tokens(text)?;
    if let Some(wildcard) = text.chars().find(|c| matches!(c, '*' | '>')) {
        return Err(Error::Wildcard(wildcard));
    }
    check_not_reserved(text)
}

/// Checks that `text` may be the address of a reply: like [`check`], but
/// inboxes are allowed.
pub fn check_reply(text: &str) -> Result<(), Error> {
    check_tokens(text)?;
    if let Some(wildcard) = text.chars().find(|c| matches!(c, '*' | '>')) {
        return Err(Error::Wildcard(wildcard));
    }
    match text.strip_prefix('$') {
        Some(_) => Err(Error::Reserved(first_token(text).to_owned())),
        None => Ok(()),
    }
}

/// A subject in which `*` stands for one token and `>` for one or more at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// `subject` without what a subject to publish to must not contain, and not
/// longer than that may be: the server lets publishers use wildcards and control
/// characters literally, and lines of 4 KiB.
pub fn plain(subject: &str) -> String {
    let plain = |character: char| match character {
        '*' | '>' => '_',
        character if character.is_ascii_graphic() => character,
        _ => '_',
    };
    let plain: String = subject.chars().map(plain).take(MAX_BYTES).collect();
    plain.trim_end_matches('.').to_owned()
}

impl Pattern {
    /// Checks `text` and makes it a pattern.
    pub fn parse(text: &str) -> Result<Pattern, Error> {
        check_tokens(text)?;
        let n_tokens = text.split('.').count();
        for (index, token) in text.split('.').enumerate() {
            check_wildcard(token, index + 1 == n_tokens)?;
        }
        check_not_reserved(text)?;
        Ok(Pattern(text.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `subject`, which has no wildcards, matches.
    pub fn matches(&self, subject: &str) -> bool {
        covers(&self.0, subject)
    }

    /// Whether everything that matches `other` matches this pattern.
    pub fn contains(&self, other: &Pattern) -> bool {
        covers(&self.0, &other.0)
    }

    /// Whether some subject matches both.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (mut left, mut right) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (left.next(), right.next()) {
                (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether every subject that matches `narrow` matches `wide`. A `narrow`
/// without wildcards is a subject.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

fn check_tokens(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong(text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(Error::Character(bad));
    }
    if text.split('.').any(str::is_empty) {
        return Err(Error::EmptyToken);
    }
    match text.split('.').count() {
        n if n > MAX_TOKENS => Err(Error::TooManyTokens(n)),
        _ => Ok(()),
    }
}

fn check_wildcard(token: &str, is_last: bool) -> Result<(), Error> {
    match token {
        "*" => Ok(()),
        ">" if is_last => Ok(()),
        _ => match token.chars().find(|c| matches!(c, '*' | '>')) {
            Some(wildcard) => Err(Error::MisplacedWildcard(wildcard)),
            None => Ok(()),
        },
    }
}

fn check_not_reserved(text: &str) -> Result<(), Error> {
    let first = first_token(text);
    if first.starts_with('$') || matches!(first, "_INBOX" | "_R_") {
        return Err(Error::Reserved(first.to_owned()));
    }
    Ok(())
}

fn first_token(text: &str) -> &str {
    text.split('.').next().unwrap_or(text)
}

#[cfg(test)]
mod tests;
