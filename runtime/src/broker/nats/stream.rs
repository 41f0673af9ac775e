//! Streams: made when missing, compared when present, never overwritten.

use std::collections::BTreeSet;

use async_nats::jetstream::{account::Account, stream};
use serde::Deserialize;
use serde_json::json;

use super::{
    Broker,
    api::ApiError,
    difference::{self, Difference},
};
use crate::{
    broker::SetupError,
    manifest::{self, Discard, Retention, Storage},
    subject::Pattern,
};

/// The server's number for it. Source: nats-server, `JSStreamSubjectOverlapErr`.
const SUBJECTS_OVERLAP: u64 = 10065;

/// What is known of a stream, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// The subjects it stores, as the server writes them.
    pub subjects: Vec<String>,
    /// When it removes messages.
    pub retention: Retention,
    /// How long it remembers message ids.
    pub duplicate_window: std::time::Duration,
    /// How long it keeps messages; `None`: no limit.
    pub max_age: Option<std::time::Duration>,
    /// The largest message it takes, in bytes; `None`: the server's limit.
    pub max_message_size: Option<u64>,
    /// The most bytes it keeps; `None`: no limit.
    pub max_bytes: Option<u64>,
    /// The most messages it keeps; `None`: no limit.
    pub max_messages: Option<u64>,
    /// What happens when it is full.
    pub discard: Discard,
    /// Whether it takes no more messages.
    pub sealed: bool,
    /// Whether it stores without confirming: a publish would never be answered.
    pub no_ack: bool,
    /// How many messages it holds.
    pub messages: u64,
}

impl Broker {
    /// Checks that this account may use JetStream.
    ///
    /// # Errors
    /// Names what has to be enabled, on the server or for the account.
    pub async fn jetstream_ready(&self) -> Result<(), SetupError> {
        let answer = self.ask::<Account>("INFO").await;
        let what = || "JetStream".to_owned();
        answer.map(|_| ()).map_err(|error| match &error {
            ApiError::Server { code: 10039, .. } => SetupError {
                code: "no-jetstream",
                what: what(),
                problem: "it is not enabled for this account: give the account JetStream limits on the server, or connect as another account".to_owned(),
            },
            _ => error.about(what()),
        })
    }

    /// Makes the stream `name` as `wanted` says, or checks that the existing one
    /// is so. An existing stream is never changed.
    ///
    /// # Errors
    /// Lists every field that differs; names the permission that is missing.
    pub async fn ensure_stream(
        &self,
        name: &str,
        wanted: &manifest::Stream,
    ) -> Result<StreamFacts, SetupError> {
        let wanted = config(name, wanted).map_err(|error| error.about(what(name)))?;
        let info = match self.stream_info(name).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => self.create_stream(name, &wanted).await?,
            Err(error) => return Err(error.about(what(name))),
        };
        match difference::of_streams(&wanted, &info.config) {
            differences if differences.is_empty() => Ok(facts(&info)),
            differences => Err(refuse(name, &differences)),
        }
    }

    /// What is known of the stream `name`.
    ///
    /// # Errors
    /// Says whether it is missing or may not be read.
    pub async fn stream_facts(&self, name: &str) -> Result<StreamFacts, SetupError> {
        self.known_stream(name).await.map(|info| facts(&info))
    }

    /// The names of the streams that store subjects which `pattern` matches.
    ///
    /// # Errors
    /// Names the permission that is missing.
    pub async fn streams_storing(&self, pattern: &Pattern) -> Result<Vec<String>, SetupError> {
        let mut names = Vec::new();
        loop {
            let request = json!({ "subject": pattern.as_str(), "offset": names.len() });
            let page: Page = self
                .tell("STREAM.NAMES", &request)
                .await
                .map_err(|error| error.about(format!("streams that store `{pattern}`")))?;
            let streams = page.streams.unwrap_or_default();
            let is_last = streams.is_empty() || names.len() + streams.len() >= page.total;
            names.extend(streams);
            if is_last {
                return Ok(names);
            }
        }
    }

    /// The stream `name`, which has to exist.
    pub(super) async fn known_stream(&self, name: &str) -> Result<stream::Info, SetupError> {
        match self.stream_info(name).await {
            Ok(info) => Ok(info),
            Err(error) if error.is_not_found() => Err(SetupError {
                code: "stream-missing",
                what: what(name),
                problem: format!(
                    "it does not exist; make it, or let pelton make it: `[streams.{name}]`, at the start, by `pelton reload` and after a reconnect"
                ),
            }),
            Err(error) => Err(error.about(what(name))),
        }
    }

    pub(super) async fn stream_info(&self, name: &str) -> Result<stream::Info, ApiError> {
        self.ask(&format!("STREAM.INFO.{name}")).await
    }

    /// Two hosts that start together may both find it missing: the server takes
    /// the same configuration twice.
    async fn create_stream(
        &self,
        name: &str,
        wanted: &stream::Config,
    ) -> Result<stream::Info, SetupError> {
        let info = self.tell(&format!("STREAM.CREATE.{name}"), wanted).await;
        let error = match info {
            Ok(info) => {
                tracing::info!(stream = name, "stream made");
                return Ok(info);
            }
            Err(error) => error,
        };
        let is_overlap = matches!(error, ApiError::Server { code: SUBJECTS_OVERLAP, .. });
        let others = if is_overlap { self.overlapping(&wanted.subjects).await } else { Vec::new() };
        let mut error = error.about(what(name));
        if !others.is_empty() {
            let (others, own) = (others.join("`, `"), wanted.subjects.join("`, `"));
            error.problem = format!(
                "it is to store `{own}`, of which stream `{others}` stores a part already, and no two streams may: change the subjects of one of them, or `prefix` in `[dead-letters]` if it is the host's own"
            );
        }
        Err(error)
    }

    /// The streams that store a part of `subjects`, as far as they can be found.
    async fn overlapping(&self, subjects: &[String]) -> Vec<String> {
        let mut names = BTreeSet::new();
        for pattern in subjects.iter().filter_map(|subject| Pattern::parse(subject).ok()) {
            names.extend(self.streams_storing(&pattern).await.unwrap_or_default());
        }
        names.into_iter().collect()
    }
}

/// One page of `STREAM.NAMES`.
#[derive(Debug, Deserialize)]
struct Page {
    total: usize,
    streams: Option<Vec<String>>,
}

/// When the stream was made, in nanoseconds since 1970.
pub(super) fn created(info: &stream::Info) -> i64 {
    // Saturates in the year 2262.
    i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn what(name: &str) -> String {
    format!("stream `{name}`")
}

pub(super) fn refuse(name: &str, differences: &[Difference]) -> SetupError {
    let remedy = format!(
        "change `[streams.{name}]` (of the host's own streams: `[dead-letters]`), or the stream (`nats stream edit {name}`), so that both say the same; if it was made just now, the server is too old for what differs"
    );
    difference::refuse("stream-differs", what(name), differences, &remedy)
}

pub(super) fn config(name: &str, wanted: &manifest::Stream) -> Result<stream::Config, ApiError> {
    Ok(stream::Config {
        name: name.to_owned(),
        subjects: wanted.subjects.iter().map(|subject| subject.as_str().to_owned()).collect(),
        retention: match wanted.retention {
            Retention::Limits => stream::RetentionPolicy::Limits,
            Retention::WorkQueue => stream::RetentionPolicy::WorkQueue,
            Retention::Interest => stream::RetentionPolicy::Interest,
        },
        storage: match wanted.storage {
            Storage::File => stream::StorageType::File,
            Storage::Memory => stream::StorageType::Memory,
        },
        discard: match wanted.discard {
            Discard::Old => stream::DiscardPolicy::Old,
            Discard::New => stream::DiscardPolicy::New,
        },
        num_replicas: wanted.replicas,
        max_age: wanted.max_age.unwrap_or_default(),
        max_bytes: limit("max-bytes", wanted.max_bytes)?,
        max_messages: limit("max-messages", wanted.max_messages)?,
        max_message_size: limit("max-message-size", wanted.max_message_size)?,
        duplicate_window: wanted.duplicate_window,
        max_messages_per_subject: -1,
        max_consumers: -1,
        allow_direct: true,
        ..stream::Config::default()
    })
}

/// The server's spelling of a limit: -1 for none.
fn limit<T: TryFrom<u64> + From<i8>>(field: &str, value: Option<u64>) -> Result<T, ApiError> {
    let Some(value) = value else { return Ok(T::from(-1)) };
    T::try_from(value)
        .map_err(|_| ApiError::Other(format!("{field}: {value} is more than the server can take")))
}

pub(super) fn facts(info: &stream::Info) -> StreamFacts {
    let config = &info.config;
    StreamFacts {
        created: created(info),
        subjects: config.subjects.clone(),
        retention: match config.retention {
            stream::RetentionPolicy::Limits => Retention::Limits,
            stream::RetentionPolicy::WorkQueue => Retention::WorkQueue,
            stream::RetentionPolicy::Interest => Retention::Interest,
        },
        duplicate_window: config.duplicate_window,
        max_age: Some(config.max_age).filter(|age| !age.is_zero()),
        max_message_size: positive(config.max_message_size.into()),
        max_bytes: positive(config.max_bytes),
        max_messages: positive(config.max_messages),
        discard: match config.discard {
            stream::DiscardPolicy::Old => Discard::Old,
            stream::DiscardPolicy::New => Discard::New,
        },
        sealed: config.sealed,
        no_ack: config.no_ack,
        messages: info.state.messages,
    }
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}
