//! What came of a case, before it is compared with what was expected.

use std::time::Duration;

use bytes::Bytes;

use super::case::FailureKind;
use crate::event::Header;

/// Everything that a run of a case showed.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// What was put out, in order.
    pub outputs: Vec<Put>,
    /// Runs that failed, in order.
    pub failures: Vec<Failed>,
    /// What went to the dead letters, in order.
    pub dead_letters: Vec<Buried>,
    /// What the handlers logged, in order.
    pub log: Vec<Said>,
    /// Why the case could not be run to its end.
    pub stuck: Option<String>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Whose.
    pub plugin: String,
    /// Where.
    pub subject: String,
    /// All headers.
    pub headers: Vec<Header>,
    /// The bytes.
    pub payload: Bytes,
    /// Whether a plugin that runs takes it up.
    pub taken_up: bool,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Whose.
    pub plugin: String,
    /// Over an event with this subject.
    pub subject: String,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// In which way.
    pub kind: FailureKind,
    /// What is said of it.
    pub text: String,
    /// The time that the handler asked for.
    pub after: Option<Duration>,
    /// Where the guest was, one frame a line.
    pub backtrace: Option<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// Who gave it up.
    pub plugin: String,
    /// The subject of the event.
    pub subject: String,
    /// The class of the failure.
    pub reason: String,
    /// The text of the failure.
    pub error: String,
    /// The event's bytes.
    pub payload: Bytes,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who said it.
    pub plugin: String,
    /// Its level, in small letters.
    pub level: &'static str,
    /// The line.
    pub text: String,
}
