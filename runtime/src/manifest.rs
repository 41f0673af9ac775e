//! The manifest: one TOML file, checked once, complete afterwards.
//!
//! The only module that knows TOML, key names, defaults and the environment.
//! What comes out of [`Manifest::load`] is valid: no later code applies a
//! default or checks a value again.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::subject::{self, Pattern};

mod build;
mod check;
mod defaults;
mod environment;
mod glimpse;
mod grants;
mod load;
mod network;
mod origin;
pub(crate) mod problem;
pub(crate) mod raw;
pub(crate) mod reader;
mod reference;
mod schema;
mod secret;
pub(crate) mod source;
pub(crate) mod suggest;
pub(crate) mod value;

pub use build::{Build, Command, Language, files_with};
pub use check::{CheckComponent, Surroundings, Unusable};
pub use environment::Environment;
pub use glimpse::Glimpse;
pub use grants::{Folder, Grants, Http, Variable};
pub use load::{FILE_NAME, default_path};
pub use network::{Private, is_nameable};
pub use origin::{Origin, Server};
pub use problem::{Look, Problem, Problems};
pub use reference::reference;
pub use schema::schema;
pub use secret::Secret;

/// A valid manifest. Paths are absolute or relative to the working folder.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its own folder, where relative paths in it begin; `.` at least.
    pub folder: PathBuf,
    /// `[host]`
    pub host: Host,
    /// `[nats]`
    pub nats: Nats,
    /// `[admin]`; `None`: no HTTP server.
    pub admin: Option<Admin>,
    /// `[dead-letters]`
    pub dead_letters: DeadLetters,
    /// `[streams.<name>]`
    pub streams: BTreeMap<String, Stream>,
    /// `[plugins.<name>]`
    pub plugins: BTreeMap<String, Plugin>,
    /// `[plugins.<name>.build]`, or what was found by rule; plugins without
    /// sources are not in it.
    pub builds: BTreeMap<String, Build>,
    /// Where each key stands, for problems that are found with the server's help.
    source: source::Source,
}

/// The process as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// First part of the names of durables, queue groups and the dead letters.
    pub name: String,
    /// The most events that run at once, over all plugins: 1 to 2,048. Default 1,024.
    pub max_in_flight: usize,
    /// The most bytes of events that run at once, over all plugins. Default 256 MiB.
    pub max_in_flight_bytes: u64,
    /// How long a stop waits for what is in flight. Default 30 s.
    pub drain: Duration,
    /// The stack of a guest, in bytes. Default 512 KiB.
    pub stack: u64,
    /// Where compiled components are kept; `None`: the user's cache folder.
    pub cache: Option<PathBuf>,
}

/// How to reach the NATS servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Nats {
    /// Servers of one cluster. Default `nats://127.0.0.1:4222`.
    pub urls: Vec<String>,
    /// How we say who we are.
    pub auth: Auth,
    /// TLS.
    pub tls: Tls,
    /// How long one request to the server may take. Default 5 s.
    pub request_timeout: Duration,
    /// How often the connection is probed; three silences end it. Default 10 s.
    pub ping_interval: Duration,
}

/// How the host proves who it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// Not at all.
    None,
    /// A credentials file (JWT and NKey seed).
    Credentials(PathBuf),
    /// An NKey seed.
    NKey(Secret),
    /// A token.
    Token(Secret),
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// TLS settings of the connection to NATS.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tls {
    /// Refuse to talk without TLS. Default, once there is a `[nats.tls]`.
    pub required: bool,
    /// Begin with the handshake, before the server's greeting.
    pub first: bool,
    /// Certificates of authorities, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Address and port of `/metrics`, `/livez`, `/readyz`, `/reload`.
    pub listen: std::net::SocketAddr,
}

/// Where events go that could not be handled.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetters {
    /// The stream. Default `<host>_DEAD_LETTERS`.
    pub stream: String,
    /// The first tokens of its subjects, before `<plugin>.<subject>`.
    /// Default `dead-letters.<host>`.
    pub prefix: String,
    /// How long they are kept. Default 30 days.
    pub max_age: Duration,
    /// The most bytes kept, the oldest go first. Default 1 GiB.
    pub max_bytes: u64,
    /// Copies in a cluster. Default 1.
    pub replicas: usize,
    /// The work queue with requests to run dead letters again:
    /// `<host>_REPLAYS`, with as many copies.
    pub replays: String,
    /// The first tokens of its subjects, before `<plugin>.<subject>`:
    /// `replays.<host>`.
    pub replays_prefix: String,
}

/// `[streams.<name>]`: created when missing, compared when present.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The subjects it stores.
    pub subjects: Vec<Pattern>,
    /// When messages are removed. Default: by limits only.
    pub retention: Retention,
    /// Default: file.
    pub storage: Storage,
    /// Copies in a cluster. Default 1.
    pub replicas: usize,
    /// `None`: no limit.
    pub max_age: Option<Duration>,
    /// `None`: no limit.
    pub max_bytes: Option<u64>,
    /// `None`: no limit.
    pub max_messages: Option<u64>,
    /// `None`: the server's limit.
    pub max_message_size: Option<u64>,
    /// What happens when it is full. Default: the oldest go.
    pub discard: Discard,
    /// How long the server remembers message ids. Default 10 min.
    pub duplicate_window: Duration,
}

/// When a stream removes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Retention {
    /// By age, size and number only.
    Limits,
    /// When one consumer has acknowledged them.
    WorkQueue,
    /// When all consumers have acknowledged them.
    Interest,
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Storage {
    /// On disk.
    File,
    /// In memory: gone with the server.
    Memory,
}

/// What a full stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Discard {
    /// Removes the oldest messages.
    Old,
    /// Refuses new messages.
    New,
}

/// `[plugins.<name>]`
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// The component's file.
    pub component: PathBuf,
    /// The stream it reads; `None`: core NATS, at most once.
    pub stream: Option<String>,
    /// What it is given.
    pub subscribe: Vec<Pattern>,
    /// What it may publish into streams (for a plugin without `stream`: into a
    /// stream if one stores the subject, else over core NATS).
    pub publish: Vec<Pattern>,
    /// What it may publish over core NATS, at most once.
    pub publish_core: Vec<Pattern>,
    /// What it may ask on while it runs. Default: nothing.
    pub request: Vec<Pattern>,
    /// What makes events belong together that have to be handled in the order
    /// of the stream; `None`: no order.
    pub order_by: Option<OrderBy>,
    /// What becomes of an ordered event that fails for good. Default: the dead letters.
    pub on_failure: OnFailure,
    /// The most runs begun in a time; `None`: as fast as it goes.
    pub rate: Option<Rate>,
    /// When no more events are asked for; `None`: never.
    pub breaker: Option<Breaker>,
    /// The most runs at once. Default 16.
    pub concurrency: usize,
    /// Wall clock for one run. Default 5 s.
    pub timeout: Duration,
    /// All linear memories and tables of one instance together, in bytes. Default 64 MiB.
    pub memory: u64,
    /// How instances are shared. Default: a fresh one for every event.
    pub isolation: Isolation,
    /// What happens after a failure.
    pub retry: Retry,
    /// How long the server waits for an answer. Default 30 s, or twice the time-out if that is more.
    pub ack_wait: Duration,
    /// How deliveries are acknowledged.
    pub ack: Ack,
    /// Where a new consumer begins. Default: with all that is stored.
    pub start: Start,
    /// Core NATS only: how many events may wait in the host. Default 1,024.
    pub queue: usize,
    /// Whether it may publish what it, or a plugin that it feeds, subscribes to.
    pub allow_loop: bool,
    /// Whether clocks and random numbers follow from the event alone; `None`: as
    /// whoever runs it has it, the daemon not.
    pub deterministic: Option<bool>,
    /// Finer limits of one run.
    pub limits: Limits,
    /// What the guest reads through `config`.
    pub config: BTreeMap<String, String>,
    /// What it may reach outside its sandbox.
    pub grants: Grants,
}

/// Where an event carries its key. Events of one key run one after the other,
/// in the order of the stream; events without a key count as of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// A token of the subject, counted from 1.
    Token(usize),
    /// The first value of a header.
    Header(String),
    /// The value at a JSON pointer (RFC 6901) in the payload.
    Json(String),
}

/// What becomes of an event of an ordered plugin when it fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It goes to the dead letters, which is a gap in the order, and the next
    /// event of its key runs.
    DeadLetter,
    /// It is tried again until it is handled, and holds up its key.
    Block,
}

/// How many runs may begin in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many
    pub runs: u32,
    /// in this time.
    pub per: Duration,
}

impl Rate {
    /// The time between two runs.
    pub fn interval(&self) -> Duration {
        self.per / self.runs.max(1)
    }
}

/// When a plugin is given no more events for a while, because its runs fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// How many of the last runs count. Default 50.
    pub window: usize,
    /// It stays closed before so many runs have been seen. Default 20.
    pub minimum: usize,
    /// It opens when this part of them failed, more than 0 to 1. Default 0.5.
    pub failure_ratio: f64,
    /// A run is slow from here on; `None`: none is.
    pub slow: Option<Duration>,
    /// It opens when this part of them was slow, more than 0 to 1. Default 1.
    pub slow_ratio: f64,
    /// How long it stays open, doubled each time that probes fail. Default 5 s.
    pub open: Duration,
    /// How long it stays open at most. Default 1 min.
    pub max_open: Duration,
    /// How many runs decide after that. Default 3.
    pub probes: usize,
}

/// How instances of a plugin are shared between events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A fresh instance for every event.
    Event,
    /// An instance serves this many events, one after the other, then it is
    /// dropped; earlier after a trap or a time-out.
    Reuse(u32),
}

/// What happens to an event after a failure that may pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// How often an event is tried in all. Default 5.
    pub attempts: u32,
    /// The upper bound of the first delay, doubled at each attempt. Default 500 ms.
    pub first: Duration,
    /// The longest delay. Default 60 s.
    pub max: Duration,
    /// What part of a quick retry each handled event earns, 0 to 1. While more
    /// runs fail than that pays for, retries wait up to the longest delay.
    /// Default 0.25.
    pub budget: f64,
}

/// `[plugins.<name>.limits]`: what one run may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Time on a processor. Default: the time-out.
    pub cpu: Duration,
    /// Number of outputs. Default 1,000.
    pub outputs: usize,
    /// Bytes of all outputs together: subjects, headers, payloads. Default 8 MiB.
    pub output_bytes: u64,
    /// Number of requests. Default 100.
    pub requests: u32,
    /// Lines to the log. Default 100.
    pub log_lines: u32,
    /// Bytes to the log. Default 64 KiB.
    pub log_bytes: u64,
}

/// How a delivery is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Ack {
    /// Sent; if it gets lost the event comes again, and its outputs are stored once.
    Plain,
    /// Sent as a request, and repeated until the server confirms.
    Confirmed,
}

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Start {
    /// With the oldest message that is stored.
    All,
    /// With what comes after the consumer was made.
    New,
}

impl DeadLetters {
    /// The stream of the dead letters. They are kept by limits only: somebody has
    /// to be able to read one twice.
    pub fn letters_settings(&self) -> Stream {
        Stream {
            subjects: Pattern::parse(&format!("{}.>", self.prefix)).into_iter().collect(),
            retention: Retention::Limits,
            storage: Storage::File,
            replicas: self.replicas,
            max_age: Some(self.max_age),
            max_bytes: Some(self.max_bytes),
            max_messages: None,
            max_message_size: None,
            discard: Discard::Old,
            duplicate_window: defaults::DEAD_LETTER_WINDOW.min(self.max_age),
        }
    }

    /// The work queue of requests to run dead letters again. Nothing is ever
    /// removed from it but what was handled.
    pub fn replays_settings(&self) -> Stream {
        let subjects = Pattern::parse(&format!("{}.>", self.replays_prefix));
        Stream {
            subjects: subjects.into_iter().collect(),
            retention: Retention::WorkQueue,
            storage: Storage::File,
            replicas: self.replicas,
            max_age: None,
            max_bytes: None,
            max_messages: None,
            max_message_size: None,
            discard: Discard::New,
            duplicate_window: defaults::DUPLICATE_WINDOW,
        }
    }
}

impl OrderBy {
    /// Reads `subject.2`, `header:Order-Id` or `json:/order/id`.
    fn parse(text: &str) -> Option<OrderBy> {
        match text.split_once([':', '.'])? {
            ("subject", token) if text.starts_with("subject.") => {
                let token = token.parse().ok()?;
                (1..=subject::MAX_TOKENS).contains(&token).then_some(OrderBy::Token(token))
            }
            ("header", name) if text.starts_with("header:") => {
                let is_name =
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != ':');
                is_name.then(|| OrderBy::Header(name.to_owned()))
            }
            ("json", pointer) if text.starts_with("json:/") => {
                Some(OrderBy::Json(pointer.to_owned()))
            }
            _ => None,
        }
    }
}

impl Plugin {
    /// The longest time between the first and the last attempt at one event,
    /// when every attempt fails as late as it can: by a crash, which the server
    /// notices after the ack wait; and while the breaker is open for its longest
    /// time once.
    pub fn retry_budget(&self) -> Duration {
        let retry = &self.retry;
        let delays = (1..retry.attempts).map(|attempt| retry.longest_delay(attempt));
        // A plugin that reads core NATS is retried inside the host, where an
        // attempt ends with the time-out.
        let wait = if self.stream.is_some() { self.ack_wait } else { self.timeout };
        let pause = self.breaker.map_or(Duration::ZERO, |breaker| breaker.max_open);
        delays.sum::<Duration>() + wait * retry.crash_limit() + pause
    }
}

impl Retry {
    /// Deliveries beyond the attempts that are put down to crashes and lost
    /// connections, and not to the event.
    pub const CRASH_ALLOWANCE: u32 = 5;

    /// The delivery after which an event is not run again, whatever happened.
    pub fn crash_limit(&self) -> u32 {
        self.attempts.saturating_add(Retry::CRASH_ALLOWANCE)
    }

    /// The upper bound of the delay after failed attempt number `attempt` (from 1).
    pub fn longest_delay(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests;
