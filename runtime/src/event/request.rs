//! What a run asks of others while it is under way, and what comes back.
//!
//! Plain data. A request is not an output: it leaves at once, and leaves again
//! when the event is run again.

use std::time::Duration;

use bytes::Bytes;

use super::Header;

/// The most answers that one request may wait for.
pub const MAX_REPLIES: usize = 256;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The subject to ask on.
    pub subject: String,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The bytes to send.
    pub payload: Bytes,
    /// How long answers are waited for.
    pub timeout: Duration,
    /// How many answers are waited for, 1 to [`MAX_REPLIES`].
    pub replies: usize,
    /// The most bytes of all answers together.
    pub reply_bytes: usize,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The subject it came on.
    pub subject: String,
    /// Its headers; the values of one name in their order.
    pub headers: Vec<Header>,
    /// The bytes.
    pub payload: Bytes,
    /// Where its sender waits for an answer in turn.
    pub reply_to: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The manifest does not allow it. The text names the remedy.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// It breaks a rule: its subject, its headers, its size, the server's permissions.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody listens on the subject.
    #[error("no responders: nobody listens on the subject")]
    NoResponders,
    /// No answer came in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The connection is lost.
    #[error("the connection is lost: {0}")]
    Connection(String),
}

impl RequestError {
    /// A word for what went wrong, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            RequestError::NotGranted(_) => "not-granted",
            RequestError::Refused(_) => "refused",
            RequestError::NoResponders => "no-responders",
            RequestError::TimedOut(_) => "timeout",
            RequestError::Connection(_) => "connection",
        }
    }
}

impl Reply {
    /// What it costs to hold, in bytes.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter().map(|h| h.name.len() + h.value.len());
        self.subject.len() + self.payload.len() + headers.sum::<usize>()
    }
}
