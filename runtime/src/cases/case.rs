//! A test case, read and checked: what is given, and what is expected of it.
//!
//! Plain values. How they are written is in `file`, how they are compared with
//! what came out in `compare`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use regex::Regex;
use serde_json::Value;

use crate::{event::Header, manifest, subject::Pattern};

/// One `[[case]]`.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, once in a file.
    pub name: String,
    /// The line in which it begins, counted from 1.
    pub line: usize,
    /// The one plugin that runs; `None`: all of the manifest.
    pub plugin: Option<String>,
    /// Whether it is run.
    pub run: Run,
    /// What comes in, one after the other.
    pub events: Vec<Given>,
    /// What differs from the manifest.
    pub settings: Settings,
    /// What has to come of it.
    pub expected: Expected,
}

/// Whether a case is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// It is.
    Yes,
    /// It is, and those without this are not.
    Only,
    /// It is not, with the reason if there is one.
    Skip(Option<String>),
}

/// An event that a case begins with. What is absent is made up when it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Where it is published; `None`: what the plugin subscribes to.
    pub subject: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
    /// Its bytes.
    pub payload: Bytes,
    /// Its id.
    pub id: Option<String>,
    /// When it was published, in milliseconds since 1970.
    pub time_ms: Option<u64>,
    /// Which attempt the first run is, from 1.
    pub attempt: u32,
    /// The stream and the sequence, counted from 1.
    pub position: Option<(Option<String>, u64)>,
    /// Where the sender waits for a reply.
    pub reply_to: Option<String>,
}

/// What a case sets that the manifest says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How often an event is tried. 1 means that a failed run is the end, and
    /// no dead letter is made of one that would be tried again.
    pub attempts: Option<u32>,
    /// The seed of random numbers.
    pub seed: Option<u64>,
    /// What clocks show, in milliseconds since 1970.
    pub clock_ms: Option<u64>,
    /// Whether clock and random numbers follow from the event; default: they do.
    pub deterministic: Option<bool>,
    /// For every plugin that runs.
    pub all: Overrides,
    /// For one of them.
    pub plugins: BTreeMap<String, Overrides>,
}

/// What differs from the manifest for a plugin.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Added to the plugin's configuration.
    pub config: BTreeMap<String, String>,
    /// In place of the values of variables that the plugin is granted.
    pub env: BTreeMap<String, String>,
    /// See [`manifest::Plugin::timeout`].
    pub timeout: Option<Duration>,
    /// See [`manifest::Plugin::memory`].
    pub memory: Option<u64>,
    /// See [`manifest::Limits`].
    pub cpu: Option<Duration>,
    /// See [`manifest::Limits`].
    pub outputs: Option<usize>,
    /// See [`manifest::Limits`].
    pub output_bytes: Option<u64>,
    /// See [`manifest::Limits`].
    pub log_lines: Option<u32>,
    /// See [`manifest::Limits`].
    pub log_bytes: Option<u64>,
    /// See [`manifest::Limits`].
    pub requests: Option<u32>,
}

/// What has to come of a case.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What has to come out.
    pub outputs: Outputs,
    /// How it has to fail; `None`: it must not.
    pub failure: Option<Failure>,
    /// What has to be in the dead letters; `None`: whatever the failure explains.
    pub dead_letters: Option<DeadLetters>,
    /// What has to be in the log; `None`: anything. No lines: nothing may be.
    pub log: Option<Vec<LogLine>>,
}

/// Which outputs are expected.
#[derive(Debug, Clone)]
pub enum Outputs {
    /// These.
    Listed {
        /// The lines of `expect`.
        list: Vec<Wanted>,
        /// Whether they have to come in this order.
        in_order: bool,
        /// Whether others may come.
        others: bool,
    },
    /// Those in a file that was written by an earlier run.
    Snapshot(PathBuf),
}

/// One line of `expect`.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it is published; `None`: anywhere.
    pub subject: Option<Pattern>,
    /// What its payload has to be.
    pub payload: Content,
    /// What its headers have to be, by name.
    pub headers: BTreeMap<String, HeaderRule>,
    /// How many of these.
    pub times: usize,
    /// Who has to put it out; `None`: any plugin.
    pub plugin: Option<String>,
    /// The line in which it stands, counted from 1.
    pub line: usize,
}

/// What a payload has to be. All of it holds together.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The payload as a whole.
    pub whole: Option<Whole>,
    /// Expressions for its text.
    pub text: Option<Regex>,
    /// Expressions for the values at JSON pointers.
    pub values: BTreeMap<String, Regex>,
}

/// What the whole of a payload has to be.
#[derive(Debug, Clone)]
pub enum Whole {
    /// JSON that has at least this.
    Subset(Value),
    /// JSON that is this.
    Exact(Value),
    /// These bytes.
    Bytes(Bytes),
    /// What is in a file that was written by an earlier run.
    Snapshot(PathBuf),
}

/// What the values of a header have to be.
#[derive(Debug, Clone)]
pub enum HeaderRule {
    /// These, in this order.
    Values(Vec<String>),
    /// There is one, and all match.
    Matches(Regex),
    /// There is none.
    Absent,
}

/// How a run has to fail.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In which way.
    pub kind: FailureKind,
    /// An expression for what is said of it.
    pub text: Option<Regex>,
    /// The time that the handler asked for.
    pub after: Option<Duration>,
    /// Whose run; `None`: anybody's.
    pub plugin: Option<String>,
}

/// The ways in which a run fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The handler asked for a retry, at whatever time.
    Retry,
    /// The handler asked for a retry not before some time.
    RetryAfter,
    /// The handler said that it will never succeed.
    Reject,
    /// The guest broke.
    Trap,
    /// It did not end in time, on the wall's clock or the processor's.
    Timeout,
    /// It needed more memory than it may have.
    Memory,
    /// Its stack was used up.
    Stack,
    /// An output was refused.
    Output,
    /// Any of these.
    Any,
}

/// What has to be in the dead letters.
#[derive(Debug, Clone)]
pub enum DeadLetters {
    /// So many.
    Count(usize),
    /// These, in any order, and no others.
    Listed(Vec<Letter>),
}

/// One dead letter that has to be there.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Who gave it up.
    pub plugin: Option<String>,
    /// The subject of the event.
    pub subject: Option<Pattern>,
    /// The class of the failure.
    pub reason: Option<String>,
    /// An expression for the text of the failure.
    pub error: Option<Regex>,
    /// What its payload has to be.
    pub payload: Content,
}

/// One line of the log that has to be there.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Its level, in small letters.
    pub level: Option<&'static str>,
    /// What it contains.
    pub text: LogText,
    /// Whose it is.
    pub plugin: Option<String>,
}

/// What a line of the log contains.
#[derive(Debug, Clone)]
pub enum LogText {
    /// This text.
    Contains(String),
    /// A match of this expression.
    Matches(Regex),
    /// Anything.
    Any,
}

impl FailureKind {
    /// Every kind with its word.
    pub const WORDS: &'static [(&'static str, FailureKind)] = &[
        ("retry", FailureKind::Retry),
        ("retry-after", FailureKind::RetryAfter),
        ("reject", FailureKind::Reject),
        ("trap", FailureKind::Trap),
        ("timeout", FailureKind::Timeout),
        ("memory", FailureKind::Memory),
        ("stack", FailureKind::Stack),
        ("output", FailureKind::Output),
        ("any", FailureKind::Any),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        FailureKind::WORDS.iter().find(|(_, kind)| *kind == self).map_or("any", |(word, _)| word)
    }
}

impl Overrides {
    /// Changes what the manifest says of a plugin.
    pub fn apply(&self, spec: &mut manifest::Plugin) {
        spec.config.extend(self.config.clone());
        self.env.iter().for_each(|(name, text)| spec.grants.give(name, text));
        if let Some(timeout) = self.timeout {
            spec.timeout = timeout;
            spec.limits.cpu = spec.limits.cpu.min(timeout);
        }
        set(&mut spec.memory, self.memory);
        set(&mut spec.limits.cpu, self.cpu);
        set(&mut spec.limits.outputs, self.outputs);
        set(&mut spec.limits.output_bytes, self.output_bytes);
        set(&mut spec.limits.log_lines, self.log_lines);
        set(&mut spec.limits.log_bytes, self.log_bytes);
        set(&mut spec.limits.requests, self.requests);
    }

    /// What holds if `self` is added to, and overrides, `general`.
    #[must_use]
    pub fn over(&self, general: &Overrides) -> Overrides {
        let mut config = general.config.clone();
        config.extend(self.config.clone());
        let mut env = general.env.clone();
        env.extend(self.env.clone());
        Overrides {
            config,
            env,
            timeout: self.timeout.or(general.timeout),
            memory: self.memory.or(general.memory),
            cpu: self.cpu.or(general.cpu),
            outputs: self.outputs.or(general.outputs),
            output_bytes: self.output_bytes.or(general.output_bytes),
            log_lines: self.log_lines.or(general.log_lines),
            log_bytes: self.log_bytes.or(general.log_bytes),
            requests: self.requests.or(general.requests),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty()
            && self.env.is_empty()
            && self.timeout.is_none()
            && self.memory.is_none()
            && self.cpu.is_none()
            && self.outputs.is_none()
            && self.output_bytes.is_none()
            && self.log_lines.is_none()
            && self.log_bytes.is_none()
            && self.requests.is_none()
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}
