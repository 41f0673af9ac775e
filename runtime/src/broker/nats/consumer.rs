//! Durable consumers: one for each plugin, made when missing, compared when
//! present.
//!
//! Nothing is delivered here; see `pull`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::jetstream::consumer::{self, AckPolicy, Config, DeliverPolicy, ReplayPolicy};
use serde_json::json;

use super::{
    Broker,
    api::ApiError,
    connect::Version,
    difference::{self, Difference},
};
use crate::{
    broker::{SetupError, Subscription},
    manifest::Start,
    subject::Pattern,
};

/// The key of a consumer's metadata that says whose it is.
pub(super) const OWNER: &str = "pelton-owner";

/// From it on, a consumer can be paused.
const PAUSE: Version = Version(2, 11, 0);

/// A plugin's durable consumer, as it should be.
#[derive(Debug)]
pub(super) struct Durable {
    /// The stream's name.
    pub(super) stream: Arc<str>,
    /// `<host>-<plugin>`.
    pub(super) name: String,
    /// Host and plugin, told apart: `a-b` of `c` and `a` of `b-c` make one name.
    owner: String,
    /// Which messages of the stream it reads.
    pub(super) subjects: Vec<Pattern>,
    pub(super) ack_wait: Duration,
    max_deliver: i64,
    pub(super) max_ack_pending: i64,
    start: Start,
}

/// What `From::Stream` says.
pub(super) struct Terms<'a> {
    pub(super) stream: &'a str,
    pub(super) ack_wait: Duration,
    pub(super) max_deliver: u32,
    pub(super) start: Start,
}

impl Durable {
    pub(super) fn new(subscription: &Subscription, terms: &Terms<'_>) -> Durable {
        Durable {
            stream: terms.stream.into(),
            name: subscription.name(),
            owner: format!("{}/{}", subscription.host, subscription.plugin),
            subjects: subscription.subjects.clone(),
            ack_wait: terms.ack_wait,
            max_deliver: if terms.max_deliver == u32::MAX { -1 } else { terms.max_deliver.into() },
            max_ack_pending: i64::try_from(subscription.max_in_flight).unwrap_or(i64::MAX),
            start: terms.start,
        }
    }

    /// The plugin's name.
    pub(super) fn plugin(&self) -> &str {
        self.owner.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn what(&self) -> String {
        format!("consumer `{}` of stream `{}`", self.name, self.stream)
    }

    /// Checks that the existing consumer is as it should be, or can be brought to it
    /// if that is `changeable`.
    pub(super) fn compare(
        &self,
        info: &consumer::Info,
        changeable: bool,
    ) -> Result<(), SetupError> {
        let differences = difference::of_consumers(&self.config(None), &info.config);
        let is_safe = differences.iter().all(difference::is_safe_to_change);
        match differences.is_empty() || (changeable && is_safe) {
            true => Ok(()),
            false => Err(refuse(self, &differences, is_safe)),
        }
    }

    /// The configuration to ask for. A consumer that was lost begins again
    /// after `resume_after`, the last sequence up to which all was settled.
    fn config(&self, resume_after: Option<u64>) -> Config {
        let subjects = self.subjects.iter().map(|subject| subject.as_str().to_owned());
        let mut filters = subjects.collect::<Vec<_>>();
        let only = if filters.len() == 1 { filters.pop() } else { None };
        Config {
            durable_name: Some(self.name.clone()),
            name: Some(self.name.clone()),
            deliver_policy: match (resume_after, self.start) {
                (Some(sequence), _) => {
                    DeliverPolicy::ByStartSequence { start_sequence: sequence.saturating_add(1) }
                }
                (None, Start::All) => DeliverPolicy::All,
                (None, Start::New) => DeliverPolicy::New,
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            max_deliver: self.max_deliver,
            max_ack_pending: self.max_ack_pending,
            filter_subject: only.unwrap_or_default(),
            filter_subjects: filters,
            replay_policy: ReplayPolicy::Instant,
            metadata: HashMap::from([(OWNER.to_owned(), self.owner.clone())]),
            ..Config::default()
        }
    }
}

impl Broker {
    /// How many messages of `stream` its consumer `durable` has not been given,
    /// and how many it was given that are not settled.
    ///
    /// # Errors
    /// If the server does not answer or the consumer does not exist.
    pub async fn backlog(&self, stream: &str, durable: &str) -> Result<(u64, u64), SetupError> {
        let info = self
            .consumer_info(stream, durable)
            .await
            .map_err(|error| error.about(format!("consumer `{durable}` of stream `{stream}`")))?;
        Ok((info.num_pending, u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX)))
    }

    /// Makes the consumer or checks that the existing one is as wanted.
    pub(super) async fn ensure_consumer(
        &self,
        durable: &Durable,
        resume_after: Option<u64>,
    ) -> Result<consumer::Info, SetupError> {
        let wanted = durable.config(resume_after);
        let info = match self.consumer_info(&durable.stream, &durable.name).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => self.create(durable, &wanted, "create").await?,
            Err(error) => return Err(error.about(durable.what())),
        };
        match difference::of_consumers(&wanted, &info.config) {
            differences if differences.is_empty() => Ok(info),
            differences => self.change(durable, info, &differences).await,
        }
    }

    /// Brings an existing consumer to what is wanted, if that was asked for and
    /// costs it nothing that it remembers.
    async fn change(
        &self,
        durable: &Durable,
        info: consumer::Info,
        differences: &[Difference],
    ) -> Result<consumer::Info, SetupError> {
        let is_safe = differences.iter().all(difference::is_safe_to_change);
        if !(self.updates_consumers && is_safe) {
            return Err(refuse(durable, differences, is_safe));
        }
        let wanted = durable.config(None);
        let changed = Config {
            filter_subject: wanted.filter_subject.clone(),
            filter_subjects: wanted.filter_subjects.clone(),
            ack_wait: wanted.ack_wait,
            max_deliver: wanted.max_deliver,
            max_ack_pending: wanted.max_ack_pending,
            ..info.config
        };
        let info = self.create(durable, &changed, "update").await?;
        match difference::of_consumers(&wanted, &info.config) {
            differences if differences.is_empty() => Ok(info),
            differences => Err(refuse(durable, &differences, false)),
        }
    }

    async fn create(
        &self,
        durable: &Durable,
        config: &Config,
        action: &str,
    ) -> Result<consumer::Info, SetupError> {
        let Durable { stream, name, .. } = durable;
        // The server wants a single filter repeated in the subject, so that
        // permissions can be given by filter.
        let verb = match config.filter_subject.as_str() {
            "" => format!("CONSUMER.CREATE.{stream}.{name}"),
            filter => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
        };
        let request = json!({ "stream_name": &**stream, "config": config, "action": action });
        let info = self.tell(&verb, &request).await;
        info.inspect(|_| tracing::info!(%stream, consumer = name, action, "consumer written"))
            .map_err(|error| error.about(durable.what()))
    }

    /// Asks the server to deliver nothing of `durable` to any replica for
    /// `time`. From 2.11 on; an older server is not asked.
    pub(super) async fn pause_consumer(&self, durable: &Durable, time: Duration) {
        let version = Version::parse(&self.server_version());
        let until = SystemTime::now().checked_add(time);
        let (Some(until), true) = (until, version >= Some(PAUSE)) else { return };
        let until = humantime::format_rfc3339_nanos(until).to_string();
        let verb = format!("CONSUMER.PAUSE.{}.{}", durable.stream, durable.name);
        let paused = self.tell::<serde_json::Value>(&verb, &json!({ "pause_until": until })).await;
        if let Err(error) = paused {
            tracing::warn!(
                consumer = durable.name,
                %error,
                "not paused for other replicas: each has its own circuit breaker"
            );
        }
    }

    pub(super) async fn consumer_info(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<consumer::Info, ApiError> {
        self.ask(&format!("CONSUMER.INFO.{stream}.{name}")).await
    }
}

fn refuse(durable: &Durable, differences: &[Difference], is_safe: bool) -> SetupError {
    let Durable { stream, name, .. } = durable;
    let remedy = if is_safe {
        format!(
            "change the manifest, or start with `--update-consumers`, which brings the consumer to what the manifest says (`nats consumer edit {stream} {name}` does it by hand); it keeps its place in the stream"
        )
    } else {
        format!(
            "give the plugin another name, or remove the consumer (`nats consumer rm {stream} {name}`: what it has handled is forgotten); if it was made just now, the server is too old for what differs"
        )
    };
    difference::refuse("consumer-differs", durable.what(), differences, &remedy)
}
