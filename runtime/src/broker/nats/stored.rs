//! What streams store, one message at a time: fetched, removed, counted.
//!
//! By the server's JSON API, which no message can harm; many messages are read
//! by `reading`. Nothing is delivered or settled here.

use async_nats::jetstream::stream::RawMessage;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{Broker, api::ApiError, malformed, stream};
use crate::{
    broker::{Message, PublishError, Published, SetupError},
    event::{Header, Position},
};

/// A message as a stream stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Counted from 1.
    pub sequence: u64,
    /// When it was stored, in milliseconds since 1970.
    pub time_ms: u64,
    /// With U+FFFD for bytes that are no text.
    pub subject: String,
    /// Those that can be read.
    pub headers: Vec<Header>,
    /// Empty, if only headers were asked for.
    pub payload: Bytes,
}

/// What a stream holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// The sequence of the oldest.
    pub first: u64,
    /// The sequence of the newest, whether it is still there or not.
    pub last: u64,
    /// When the oldest was stored, in milliseconds since 1970.
    pub first_ms: u64,
    /// The most bytes it keeps; `None`: no limit.
    pub max_bytes: Option<u64>,
    /// How long it keeps messages; `None`: for ever.
    pub max_age: Option<std::time::Duration>,
}

/// Who asks for the messages of a durable consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Requests for messages that are open.
    pub open: u64,
    /// Messages that were handed over and are not settled.
    pub unsettled: u64,
    /// Messages that were not handed over yet.
    pub waiting: u64,
}

#[derive(Debug, Deserialize)]
struct Found {
    message: RawMessage,
}

#[derive(Debug, Deserialize)]
struct Purged {
    purged: u64,
}

#[derive(Debug, Deserialize)]
struct Deleted {
    success: bool,
}

impl Broker {
    /// What the stream `name` holds; `None` if there is no such stream.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn stream_state(&self, name: &str) -> Result<Option<StreamState>, SetupError> {
        let info = match self.stream_info(name).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.about(stream::what(name))),
        };
        let facts = stream::facts(&info);
        let state = &info.state;
        Ok(Some(StreamState {
            created: facts.created,
            messages: state.messages,
            bytes: state.bytes,
            first: state.first_sequence,
            last: state.last_sequence,
            first_ms: milliseconds(state.first_timestamp.unix_timestamp_nanos()),
            max_bytes: facts.max_bytes,
            max_age: facts.max_age,
        }))
    }

    /// The message of `stream` at `sequence`, if it is still there.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn stored(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, SetupError> {
        self.find(stream, &json!({ "seq": sequence })).await
    }

    /// The first message of `stream` from `sequence` on that is on `subject`.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn stored_from(
        &self,
        stream: &str,
        sequence: u64,
        subject: &str,
    ) -> Result<Option<StoredMessage>, SetupError> {
        self.find(stream, &json!({ "seq": sequence, "next_by_subj": subject })).await
    }

    /// The message at `position`; or why it is not there any more.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn stored_at(
        &self,
        position: &Position,
    ) -> Result<Result<StoredMessage, String>, SetupError> {
        let Position { stream, stream_created, sequence } = position;
        let gone = |why: &str| format!("it was left in the stream `{stream}`, {why}");
        let Some(state) = self.stream_state(stream).await? else {
            return Ok(Err(gone("which does not exist any more")));
        };
        if state.created != *stream_created {
            return Ok(Err(gone("which was deleted and made anew")));
        }
        let found = self.stored(stream, *sequence).await?;
        Ok(found.ok_or_else(|| gone(&format!("where number {sequence} has been removed"))))
    }

    /// Removes the message of `stream` at `sequence`; `false`: it was not there.
    ///
    /// # Errors
    /// If the server does not confirm: it may be removed all the same.
    pub async fn remove_stored(&self, stream: &str, sequence: u64) -> Result<bool, SetupError> {
        let verb = format!("STREAM.MSG.DELETE.{stream}");
        // Not overwritten on the disk, which takes the server ten times as long.
        let request = json!({ "seq": sequence, "no_erase": true });
        match self.tell::<Deleted>(&verb, &request).await {
            Ok(deleted) => Ok(deleted.success),
            Err(error) if is_missing(&error) => Ok(false),
            // What another call has removed since has no number of its own here.
            Err(error) => match self.find(stream, &json!({ "seq": sequence })).await {
                Ok(None) => Ok(false),
                _ => Err(error.about(format!("message {sequence} of stream `{stream}`"))),
            },
        }
    }

    /// Removes the messages of `stream` on `subject` before `sequence`, and says
    /// how many.
    ///
    /// # Errors
    /// If the server does not confirm: they may be removed all the same.
    pub async fn purge_stored(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<u64, SetupError> {
        let verb = format!("STREAM.PURGE.{stream}");
        let request = json!({ "filter": subject, "seq": sequence });
        let purged = self.tell::<Purged>(&verb, &request).await;
        purged.map(|purged| purged.purged).map_err(|error| error.about(stream::what(stream)))
    }

    /// Who asks for the messages of the consumer `durable` of `stream`; `None`
    /// if there is no such consumer.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn listening(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<Option<Listening>, SetupError> {
        match self.consumer_info(stream, durable).await {
            Ok(info) => Ok(Some(Listening {
                open: u64::try_from(info.num_waiting).unwrap_or(u64::MAX),
                unsettled: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
                waiting: info.num_pending,
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.about(format!("consumer `{durable}` of stream `{stream}`"))),
        }
    }

    /// Publishes `message` as [`crate::broker::Broker::publish`] does; with the
    /// sequence under which a stream has it, 0 if none has.
    ///
    /// # Errors
    /// The same.
    pub async fn publish_numbered(
        &self,
        message: &Message,
    ) -> Result<(Published, u64), PublishError> {
        self.publish_and_learn(message).await
    }

    /// The last message of `stream` on `subject`; `None` if there is none, or no
    /// such stream.
    pub(super) async fn last_on(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StoredMessage>, ApiError> {
        let request = json!({ "last_by_subj": subject });
        match self.tell::<Found>(&format!("STREAM.MSG.GET.{stream}"), &request).await {
            Ok(Found { message }) => Ok(Some(read(message))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn find(
        &self,
        stream: &str,
        request: &serde_json::Value,
    ) -> Result<Option<StoredMessage>, SetupError> {
        match self.tell::<Found>(&format!("STREAM.MSG.GET.{stream}"), request).await {
            Ok(Found { message }) => Ok(Some(read(message))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.about(stream::what(stream))),
        }
    }
}

/// Whether a message is not there. The server has two numbers for it.
fn is_missing(error: &ApiError) -> bool {
    const SEQUENCE_NOT_FOUND: u64 = 10043;
    let is_sequence = matches!(error, ApiError::Server { code, .. } if *code == SEQUENCE_NOT_FOUND);
    // The stream itself must be there.
    let is_stream = matches!(error, ApiError::Server { code: 10059, .. });
    is_sequence || (error.is_not_found() && !is_stream)
}

fn read(raw: RawMessage) -> StoredMessage {
    let decode = |text: &str| Bytes::from(BASE64_STANDARD.decode(text).unwrap_or_default());
    let block = decode(raw.headers.as_deref().unwrap_or_default());
    StoredMessage {
        sequence: raw.sequence,
        time_ms: milliseconds(raw.time.unix_timestamp_nanos()),
        headers: malformed::salvage(&block),
        payload: decode(&raw.payload),
        subject: raw.subject,
    }
}

pub(super) fn milliseconds(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}
