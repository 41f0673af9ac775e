//! What a script says, and what its trace looks like.
//!
//! Time goes in ticks. Actions happen at whole ticks; whatever the server does by
//! itself (ack wait, delay of a retry, duplicate window) is set up to happen at
//! fractions of a tick far from that, so that a trace names the tick in which
//! something came and no milliseconds.

use std::{fmt, time::Duration};

use pelton::{
    broker::{From, Subscription},
    manifest::{self, Ack, Discard, Retention, Start, Storage},
    subject::Pattern,
};

/// One tick. Long against a round trip on a busy machine.
pub const TICK: Duration = Duration::from_millis(400);

/// `n` quarters of a tick.
pub fn quarters(n: u32) -> Duration {
    TICK * n / 4
}

/// What happens, in groups: one a tick.
#[derive(Debug, Clone)]
pub struct Script {
    pub name: String,
    /// The oldest server that can do it.
    pub since: (u32, u32),
    pub groups: Vec<Vec<Step>>,
}

/// One action.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Makes the stream; again: as another of the same name.
    Stream(StreamTerms),
    DeleteStream,
    Purge,
    DeleteMessage(u64),
    /// Opens a source under this name, with a consumer of the same name. One
    /// that is open is dropped first. With a `'` behind it, it is a source of
    /// another client, with the consumer that has the name without it.
    Open(&'static str, Terms),
    /// Drops a source.
    Close(&'static str),
    DeleteConsumer(&'static str),
    /// For so many quarters of a tick; 0: goes on.
    Pause(&'static str, u32),
    /// Allows so many more deliveries.
    Allow(&'static str, usize),
    /// Publishes with this id and so many bytes, on `<stream>.<token>`.
    Publish {
        id: &'static str,
        token: &'static str,
        bytes: usize,
    },
    /// Publishes so many, with ids of their own.
    Fill(u32),
    /// Answers a delivery, named by sequence and attempt.
    Answer(&'static str, (u64, u32), Answer),
    /// Acknowledges a sequence that was never delivered.
    AckUnseen(&'static str, u64),
    Backlog(&'static str),
    Stored,
    /// Kills the server and starts it again; goes on when all is connected.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Ack,
    /// After so many quarters of a tick.
    Retry(u32),
    Progress,
    Reject,
}

/// What makes a stream other than plain.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamTerms {
    pub retention: Retention,
    pub discard: Discard,
    pub storage: Storage,
    pub max_messages: Option<u64>,
    pub max_bytes: Option<u64>,
    pub max_message_size: Option<u64>,
    /// In quarters of a tick.
    pub max_age: Option<u32>,
    /// In quarters of a tick.
    pub window: u32,
}

/// What makes a consumer other than plain.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub max_in_flight: usize,
    pub max_deliver: u32,
    /// In quarters of a tick.
    pub ack_wait: u32,
    pub start: Start,
    pub ack: Ack,
    /// Tokens; none: all.
    pub tokens: &'static [&'static str],
}

/// Minutes: it does not end within a script.
const LONG: u32 = 2_000;

/// A stream kept by limits, with none.
pub fn plain() -> StreamTerms {
    StreamTerms {
        retention: Retention::Limits,
        discard: Discard::Old,
        storage: Storage::File,
        max_messages: None,
        max_bytes: None,
        max_message_size: None,
        max_age: None,
        window: LONG,
    }
}

/// A consumer with room, three deliveries, from the beginning.
pub fn usual() -> Terms {
    Terms {
        max_in_flight: 100,
        max_deliver: 3,
        // Two ticks and a quarter: three in a row still end at a fraction.
        ack_wait: 9,
        start: Start::All,
        ack: Ack::Plain,
        tokens: &[],
    }
}

impl StreamTerms {
    /// As the stream `name`, whose subjects begin with its name.
    pub fn settings(&self, name: &str) -> manifest::Stream {
        manifest::Stream {
            subjects: vec![Pattern::parse(&format!("{name}.>")).unwrap()],
            retention: self.retention,
            storage: self.storage,
            replicas: 1,
            max_age: self.max_age.map(quarters),
            max_bytes: self.max_bytes,
            max_messages: self.max_messages,
            max_message_size: self.max_message_size,
            discard: self.discard,
            duplicate_window: quarters(self.window),
        }
    }
}

impl Terms {
    /// As a subscription called `plugin` to the stream `name`.
    pub fn subscription(&self, name: &str, plugin: &str) -> Subscription {
        let subject = |token: &str| Pattern::parse(&format!("{name}.{token}")).unwrap();
        let mut subjects: Vec<_> = self.tokens.iter().map(|token| subject(token)).collect();
        if subjects.is_empty() {
            subjects.push(subject(">"));
        }
        Subscription {
            host: "h".to_owned(),
            plugin: plugin.to_owned(),
            subjects,
            from: From::Stream {
                stream: name.to_owned(),
                ack_wait: quarters(self.ack_wait),
                max_deliver: self.max_deliver,
                start: self.start,
                ack: self.ack,
            },
            max_in_flight: self.max_in_flight,
            exclusive: false,
            replicas: 1,
        }
    }
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub tick: u32,
    /// What was done comes before what came of it; then by source.
    pub order: (u8, String, usize),
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}  {}", self.tick, self.text)
    }
}
