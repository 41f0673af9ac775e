//! The key-value bucket of a host: what it has to remember beyond the life of
//! its processes. Leases of ordered plugins, and notes about events that are
//! not settled.
//!
//! It is made when it is first needed. Entries are forgotten after a day.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    kv::{self, UpdateErrorKind},
    stream::StorageType,
};
use bytes::Bytes;
use futures::future::select_all;
use serde::de::IgnoredAny;
use tokio::time::timeout;

use super::{Broker, stored::StoredMessage};
use crate::{
    broker::{Note, SettleError},
    event::Header,
};

/// How long an entry is kept that nobody writes again.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// A bucket of the server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bucket {
    broker: Broker,
    name: Arc<str>,
    replicas: usize,
}

/// A value and the revision under which it was written.
pub(super) struct Entry {
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

/// Why an entry was not written.
pub(super) enum WriteError {
    /// Somebody else wrote in between.
    Overtaken,
    /// It may or may not be written.
    Unknown(String),
}

impl Bucket {
    pub(super) fn new(broker: Broker, host: &str, replicas: usize) -> Bucket {
        Bucket { broker, name: format!("{host}_STATE").into(), replicas }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The entry at `key`; `None` if there is none.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Entry>, String> {
        let last = self.within(key, self.last(key)).await??;
        let entry = last.filter(|message| !message.headers.iter().any(is_removal));
        Ok(entry.map(|entry| Entry { value: entry.payload, revision: entry.sequence }))
    }

    /// What was written last at `key`, if only that it was removed.
    ///
    /// By the server's JSON API, which no message can harm: the client would give
    /// the connection up over one with malformed headers, each time that it reads
    /// it.
    async fn last(&self, key: &str) -> Result<Option<StoredMessage>, String> {
        let name = &self.name;
        let (stream, subject) = (format!("KV_{name}"), format!("$KV.{name}.{key}"));
        self.broker.last_on(&stream, &subject).await.map_err(|error| error.to_string())
    }

    /// Writes `value` at `key`, if it still has this revision; 0: if it is not
    /// there. The new revision.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, WriteError> {
        let written = self.within(key, async {
            let store = self.store().await.map_err(WriteError::Unknown)?;
            let revision = match revision {
                0 => self.vacancy(key).await?,
                revision => revision,
            };
            store.update(key, value, revision).await.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => WriteError::Overtaken,
                _ => WriteError::Unknown(error.to_string()),
            })
        });
        written.await.map_err(WriteError::Unknown)?
    }

    /// The revision under which `key` has no entry.
    async fn vacancy(&self, key: &str) -> Result<u64, WriteError> {
        match self.last(key).await.map_err(WriteError::Unknown)? {
            None => Ok(0),
            Some(last) if last.headers.iter().any(is_removal) => Ok(last.sequence),
            Some(_) => Err(WriteError::Overtaken),
        }
    }

    /// Writes `note` at `key`, whatever is there.
    pub(super) async fn put_note(&self, key: &str, note: Note) -> Result<(), SettleError> {
        let value = serde_json::json!({ "spared": note.spared, "begun": note.begun });
        let written = self.within(key, async {
            let store = self.store().await?;
            store.put(key, value.to_string().into()).await.map_err(|error| error.to_string())
        });
        let written = written.await.and_then(|written| written);
        written.map(drop).map_err(|detail| SettleError { detail })
    }

    /// The note at `key`; an empty one if there is none that can be read.
    pub(super) async fn note(&self, key: &str) -> Note {
        let entry = match self.read(key).await {
            Ok(entry) => entry,
            Err(error) => {
                tracing::debug!(bucket = self.name(), key, error, "a note cannot be read");
                None
            }
        };
        let value = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let value: serde_json::Value = value.unwrap_or_default();
        let number = |name: &str| {
            let number = value.get(name).and_then(serde_json::Value::as_u64);
            number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
        };
        Note { spared: number("spared"), begun: number("begun") }
    }

    /// Waits for `work`, which asks the server about `key`: no longer than for
    /// any request, and not if the account lacks a right for it.
    async fn within<T>(&self, key: &str, work: impl Future<Output = T>) -> Result<T, String> {
        let (name, since) = (&self.name, std::time::Instant::now());
        let subjects = [
            format!("$JS.API.STREAM.INFO.KV_{name}"),
            format!("$JS.API.STREAM.CREATE.KV_{name}"),
            format!("$JS.API.STREAM.MSG.GET.KV_{name}"),
            format!("$KV.{name}.{key}"),
        ];
        let connection = &self.broker.inner.connection;
        let denied = subjects.iter().map(|it| Box::pin(connection.denied(it, since)));
        let limit = self.broker.inner.request_timeout;
        tokio::select! {
            done = timeout(limit, work) => done.map_err(|_| {
                format!("the server did not answer within {}", humantime::format_duration(limit))
            }),
            (text, ..) = select_all(denied) => Err(text),
        }
    }

    /// The bucket on the server; `None` if there is none.
    async fn existing(&self) -> Result<Option<kv::Store>, String> {
        match self.context().get_key_value(&*self.name).await {
            Ok(store) => Ok(Some(store)),
            // The client's error does not tell a bucket that is missing from
            // one that cannot be seen.
            Err(error) => match self.broker.ask::<IgnoredAny>(&self.info_verb()).await {
                Err(missing) if missing.is_not_found() => Ok(None),
                Err(reason) => Err(reason.to_string()),
                Ok(_) => Err(error.to_string()),
            },
        }
    }

    fn info_verb(&self) -> String {
        format!("STREAM.INFO.KV_{}", self.name)
    }

    /// The bucket on the server, made if it is missing.
    async fn store(&self) -> Result<kv::Store, String> {
        if let Some(store) = self.existing().await? {
            return Ok(store);
        }
        let context = self.context();
        let config = kv::Config {
            bucket: self.name.to_string(),
            description: "leases and notes of a pelton host".to_owned(),
            history: 1,
            max_age: MAX_AGE,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        context.create_key_value(config).await.map_err(|error| {
            format!("the key-value bucket `{}` cannot be made: {error}", self.name)
        })
    }

    /// Of the client in use now: another one comes after a breakdown.
    fn context(&self) -> jetstream::Context {
        jetstream::new(self.broker.inner.client().as_ref().clone())
    }
}

/// Whether `header` says that its message only stands for an entry that was
/// removed, by a client or by the server.
fn is_removal(header: &Header) -> bool {
    match &*header.name {
        "KV-Operation" => header.value != "PUT",
        name => name == "Nats-Marker-Reason",
    }
}
