//! Requests to the server's JetStream API: one time-out, one kind of error,
//! and the permission that is missing.
//!
//! The server answers a denied request with silence and an event elsewhere;
//! here it becomes an error of that request.

use std::time::Instant;

use async_nats::{
    RequestErrorKind, client,
    jetstream::{ErrorCode, response::Response},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::Broker;
use crate::broker::SetupError;

/// Why the API gave no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The server refused.
    #[error("{text}")]
    Server {
        /// The server's number for it.
        code: u64,
        /// The server's words.
        text: String,
    },
    /// Nobody answers for JetStream.
    #[error(
        "JetStream does not answer: enable it (`jetstream {{}}` in the server's configuration), or wait until its cluster has a leader"
    )]
    NoJetStream,
    /// The account may not do this.
    #[error("{0}")]
    Denied(String),
    /// No answer in time, or none that can be read.
    #[error("{0}")]
    Other(String),
}

impl ApiError {
    /// Whether the object that was asked for does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        const MISSING: [ErrorCode; 3] = [
            ErrorCode::STREAM_NOT_FOUND,
            ErrorCode::CONSUMER_NOT_FOUND,
            ErrorCode::NO_MESSAGE_FOUND,
        ];
        matches!(self, ApiError::Server { code, .. } if MISSING.iter().any(|missing| missing.0 == *code))
    }

    /// The error as one about `what`.
    pub(super) fn about(self, what: String) -> SetupError {
        SetupError { code: self.code(), what, problem: self.to_string() }
    }

    fn code(&self) -> &'static str {
        match self {
            ApiError::NoJetStream => "no-jetstream",
            ApiError::Denied(_) => "nats-permission",
            ApiError::Server { .. } | ApiError::Other(_) => "nats-api",
        }
    }
}

impl Broker {
    /// Sends an empty request to `$JS.API.<verb>` and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, verb: &str) -> Result<T, ApiError> {
        self.send_api(verb, Bytes::new()).await
    }

    /// Sends `body` to `$JS.API.<verb>` and reads the answer.
    pub(super) async fn tell<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Other(error.to_string()))?;
        self.send_api(verb, body.into()).await
    }

    async fn send_api<T: DeserializeOwned>(&self, verb: &str, body: Bytes) -> Result<T, ApiError> {
        let subject = format!("$JS.API.{verb}");
        let since = Instant::now();
        let answer = tokio::select! {
            answer = self.request(subject.clone(), body) => answer?,
            text = self.inner.connection.denied(&subject, since) => return Err(ApiError::Denied(text)),
        };
        read(&answer)
    }

    async fn request(&self, subject: String, body: Bytes) -> Result<Bytes, ApiError> {
        let request = client::Request::new().payload(body).timeout(None);
        let limit = self.inner.request_timeout;
        match timeout(limit, self.inner.client().send_request(subject, request)).await {
            Ok(Ok(message)) => Ok(message.payload),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(ApiError::NoJetStream)
            }
            Ok(Err(error)) => Err(ApiError::Other(error.to_string())),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Err(ApiError::Other(format!("the server did not answer within {limit}")))
            }
        }
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ApiError> {
    match serde_json::from_slice::<Response<T>>(answer) {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Err { error }) => {
            Err(ApiError::Server { code: error.error_code().0, text: error.to_string() })
        }
        Err(error) => Err(ApiError::Other(format!("the server's answer cannot be read: {error}"))),
    }
}
