//! One failed attempt at an event, as one line.

use super::{milliseconds, one_line, timestamp};

/// The longest error text of a line, in bytes.
const MAX_ERROR: usize = 200;

/// One failed attempt at an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 0: an attempt at the event itself; above: at its replay of this number.
    pub replay: u32,
    /// Counted from 1 within the replay.
    pub number: u32,
    /// When it failed, in milliseconds since 1970.
    pub at_ms: u64,
    /// The class of the failure.
    pub class: String,
    /// What the failure said, shortened.
    pub error: String,
}

impl Attempt {
    /// `0.2 2026-11-23T10:00:00.000Z timeout no answer within 1s`
    pub fn line(&self) -> String {
        let Attempt { replay, number, at_ms, class, error } = self;
        let error = one_line(error, MAX_ERROR);
        format!("{replay}.{number} {} {class} {error}", timestamp(*at_ms)).trim_end().to_owned()
    }

    /// Reads [`Attempt::line`].
    pub fn parse(line: &str) -> Option<Attempt> {
        let mut parts = line.splitn(4, ' ');
        let (replay, number) = parts.next()?.split_once('.')?;
        Some(Attempt {
            replay: replay.parse().ok()?,
            number: number.parse().ok()?,
            at_ms: milliseconds(parts.next()?)?,
            class: parts.next()?.to_owned(),
            error: parts.next().unwrap_or_default().to_owned(),
        })
    }
}
