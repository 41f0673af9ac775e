//! Publishing: one message, one future, one deadline, one meaning for each
//! error.
//!
//! A publish into a stream is a request whose answer is the stream's. Hundreds
//! of them may be awaited together: they cost no task, and leave in the order
//! in which their futures are first polled.

use std::{str::FromStr as _, time::Instant};

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, PublishErrorKind, RequestError, RequestErrorKind, client,
    header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID},
    jetstream,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::{Broker, visible::visible};
use crate::{
    broker::{Keep, Message, PublishError, Published},
    event::Header,
};

impl Broker {
    pub(super) async fn publish_message(
        &self,
        message: &Message,
    ) -> Result<Published, PublishError> {
        self.publish_and_learn(message).await.map(|(published, _)| published)
    }

    /// With the sequence under which a stream has it, 0 if none has.
    pub(super) async fn publish_and_learn(
        &self,
        message: &Message,
    ) -> Result<(Published, u64), PublishError> {
        let mut headers = match headers(&message.headers) {
            Ok(headers) => headers,
            Err(detail) => return Err(refused(&message.subject, detail)),
        };
        match &message.keep {
            Keep::Fleeting => self.send(message, headers).await.map(|sent| (sent, 0)),
            Keep::Stored { id, stream } => {
                let ours =
                    [(NATS_MESSAGE_ID, Some(&**id)), (NATS_EXPECTED_STREAM, stream.as_deref())];
                for (name, value) in ours {
                    let Some(value) = value else { continue };
                    match HeaderValue::from_str(value) {
                        Ok(value) => headers.insert(name, value),
                        Err(error) => return Err(refused(&message.subject, error.to_string())),
                    }
                }
                self.store(message, visible(headers, &NATS_MESSAGE_ID)).await
            }
        }
    }

    async fn send(&self, message: &Message, headers: HeaderMap) -> Result<Published, PublishError> {
        let (subject, payload) = (message.subject.as_str(), message.payload.clone());
        let client = self.inner.client();
        // A lost connection lets 2,048 messages queue and then blocks for ever.
        let sent = timeout(self.inner.request_timeout, async {
            if headers.is_empty() {
                client.publish(message.subject.clone(), payload).await
            } else {
                client.publish_with_headers(message.subject.clone(), headers, payload).await
            }
        });
        match sent.await {
            Ok(Ok(())) => Ok(Published::Sent),
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                    refused(subject, error.to_string())
                }
                PublishErrorKind::Send => unavailable(subject, error.to_string()),
            }),
            Err(_) => {
                Err(unavailable(subject, "the connection is lost and its queue full".to_owned()))
            }
        }
    }

    async fn store(
        &self,
        message: &Message,
        headers: HeaderMap,
    ) -> Result<(Published, u64), PublishError> {
        let (subject, payload) = (message.subject.as_str(), message.payload.clone());
        let since = Instant::now();
        let request = client::Request::new().headers(headers).payload(payload).timeout(None);
        let client = self.inner.client();
        let request = client.send_request(message.subject.clone(), request);
        match timeout(self.inner.request_timeout, request).await {
            Ok(Ok(answer)) => read(subject, &answer.payload),
            Ok(Err(error)) => Err(of_client(subject, &error)),
            Err(_) => Err(self.unanswered(subject, since)),
        }
    }

    fn unanswered(&self, subject: &str, since: Instant) -> PublishError {
        match self.inner.connection.denial(subject, since) {
            Some(detail) => unavailable(subject, detail),
            None => {
                let limit = humantime::format_duration(self.inner.request_timeout);
                PublishError::Unknown {
                    subject: subject.to_owned(),
                    detail: format!("none within {limit}"),
                }
            }
        }
    }
}

/// Headers for the client. Its own conversions panic on bad texts, these don't.
pub(super) fn headers(headers: &[Header]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for Header { name, value } in headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|error| format!("header `{}`: {error}", name.escape_debug()))?;
        let value = HeaderValue::from_str(value)
            .map_err(|error| format!("the value of header `{name}`: {error}"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// A stream's answer to a publish.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    seq: u64,
    stream: Option<String>,
    error: Option<jetstream::Error>,
}

fn read(subject: &str, payload: &[u8]) -> Result<(Published, u64), PublishError> {
    match serde_json::from_slice(payload) {
        Ok(Answer { error: Some(error), .. }) => Err(of_stream(subject, &error)),
        Ok(Answer { stream: Some(_), duplicate: true, seq, .. }) => Ok((Published::Duplicate, seq)),
        Ok(Answer { stream: Some(_), seq, .. }) => Ok((Published::Stored, seq)),
        _ => Err(refused(subject, "the answer is not a stream's: a service listens on this subject, and no stream stores it".to_owned())),
    }
}

/// What passes by itself is told from what is a rule.
fn of_stream(subject: &str, error: &jetstream::Error) -> PublishError {
    const PASSING: [jetstream::ErrorCode; 7] = [
        jetstream::ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        jetstream::ErrorCode::CLUSTER_NOT_AVAILABLE,
        jetstream::ErrorCode::INSUFFICIENT_RESOURCES,
        jetstream::ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        // Full, with `discard = "new"`; or the disk is.
        jetstream::ErrorCode::STREAM_STORE_FAILED,
        // The same id is being stored this moment.
        jetstream::ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT,
        jetstream::ErrorCode::STREAM_NOT_FOUND,
    ];
    let detail = error.to_string();
    let passes = PASSING.contains(&error.error_code()) || matches!(error.code(), 429 | 500..);
    if passes { unavailable(subject, detail) } else { refused(subject, detail) }
}

fn of_client(subject: &str, error: &RequestError) -> PublishError {
    let detail = error.to_string();
    match error.kind() {
        RequestErrorKind::NoResponders => unavailable(subject, "no stream answers".to_owned()),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            refused(subject, detail)
        }
        RequestErrorKind::TimedOut | RequestErrorKind::Other => {
            PublishError::Unknown { subject: subject.to_owned(), detail }
        }
    }
}

fn refused(subject: &str, detail: String) -> PublishError {
    PublishError::Refused { subject: subject.to_owned(), detail }
}

fn unavailable(subject: &str, detail: String) -> PublishError {
    PublishError::Unavailable { subject: subject.to_owned(), detail }
}

#[cfg(test)]
mod tests;
