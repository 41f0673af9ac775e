//! What a failure means: its class, and what becomes of the event.
//!
//! Pure: given the failure, the attempt and a source of jitter, one answer.

use std::time::Duration;

use super::breaker::Showing;
use crate::{
    broker::DecodeError, dispatch::outputs::OutputError, manifest::Retry, plugin::CallError,
};

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The message is no event.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The handler did not return outputs.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An output breaks a rule; nothing was published.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The server will never take an output.
    #[error("output to `{subject}` not published: {detail}")]
    Publish {
        /// The output's subject.
        subject: String,
        /// What the server said.
        detail: String,
    },
    /// An output over core NATS could not be sent now.
    #[error("not sent: {detail}")]
    Unsent {
        /// What the client said.
        detail: String,
    },
    /// Delivered again and again, and never answered: it may be what ends the
    /// process, so it is not run once more.
    #[error("delivered {deliveries} times without an answer: it may be what stops the host")]
    CrashLoop {
        /// The number of deliveries.
        deliveries: u32,
    },
    /// A bug of ours.
    #[error("the host panicked over it: please report that, with the host's log")]
    Panic,
    /// The host stops.
    #[error("the host is stopping")]
    Stopped,
    /// There is no JetStream to keep dead letters.
    #[error("there are no dead letters without JetStream")]
    NoDeadLetters,
    /// The event and the record's headers are more than the server takes, and
    /// its stream would not keep it.
    #[error(
        "event and record together are more than the server's max_payload: raise that, and reload pelton"
    )]
    TooLargeToBury,
}

/// What becomes of an event after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Tried again after this time.
    Retry(Duration),
    /// Put into the dead letters.
    DeadLetter,
    /// Left to the server, without an answer.
    Leave,
}

impl Failure {
    /// The class: a label for metrics and dead letters, from a fixed list, and a
    /// code of [`crate::explain`].
    pub fn class(&self) -> &'static str {
        match self {
            Failure::Decode(_) => "decode",
            Failure::Call(CallError::Retry { .. }) => "retry",
            Failure::Call(CallError::Reject { .. }) => "reject",
            Failure::Call(CallError::Trap { .. }) => "trap",
            Failure::Call(CallError::Timeout(_)) => "timeout",
            Failure::Call(CallError::Cpu(_)) => "cpu",
            Failure::Call(CallError::Memory(_)) => "memory",
            Failure::Call(CallError::Stack { .. }) => "stack",
            Failure::Call(CallError::Outputs(_)) | Failure::Output(_) => "output",
            Failure::Call(CallError::Unavailable(_)) => "unavailable",
            Failure::Publish { .. } | Failure::Unsent { .. } => "publish",
            Failure::CrashLoop { .. } => "crash-loop",
            Failure::Panic => "panic",
            Failure::Stopped => "stopped",
            Failure::NoDeadLetters | Failure::TooLargeToBury => "dead-letter",
        }
    }

    /// The block of headers that could not be read, as it was sent.
    pub fn malformed_headers(&self) -> Option<&[u8]> {
        match self {
            Failure::Decode(error) if !error.headers.is_empty() => Some(&error.headers),
            _ => None,
        }
    }

    /// Where the guest was, if that is known.
    pub fn backtrace(&self) -> Option<&str> {
        match self {
            Failure::Call(CallError::Trap { backtrace, .. } | CallError::Stack { backtrace }) => {
                backtrace.as_deref()
            }
            _ => None,
        }
    }

    /// What the failure says about the plugin, for its circuit breaker. A bad
    /// event or a bad output says nothing against it: the handler did run.
    pub fn showing(&self) -> Showing {
        match self {
            Failure::Call(
                CallError::Retry { .. }
                | CallError::Trap { .. }
                | CallError::Timeout(_)
                | CallError::Cpu(_)
                | CallError::Memory(_)
                | CallError::Stack { .. }
                | CallError::Unavailable(_),
            ) => Showing::Fails,
            Failure::Call(CallError::Reject { .. } | CallError::Outputs(_))
            | Failure::Output(_)
            | Failure::Publish { .. } => Showing::Works,
            Failure::Decode(_)
            | Failure::Unsent { .. }
            | Failure::CrashLoop { .. }
            | Failure::Panic
            | Failure::Stopped
            | Failure::NoDeadLetters
            | Failure::TooLargeToBury => Showing::Nothing,
        }
    }

    /// The one place where a failure becomes an answer. `delay` makes the
    /// plugin's own delay after a failed attempt.
    pub fn verdict(
        &self,
        retry: &Retry,
        attempt: u32,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Verdict {
        let after = match self {
            Failure::Stopped => return Verdict::Leave,
            Failure::Decode(_)
            | Failure::Call(CallError::Reject { .. } | CallError::Outputs(_))
            | Failure::Output(_)
            | Failure::Publish { .. }
            | Failure::CrashLoop { .. }
            | Failure::NoDeadLetters
            | Failure::TooLargeToBury => return Verdict::DeadLetter,
            Failure::Call(CallError::Retry { after, .. }) => *after,
            Failure::Call(
                CallError::Trap { .. }
                | CallError::Timeout(_)
                | CallError::Cpu(_)
                | CallError::Memory(_)
                | CallError::Stack { .. }
                | CallError::Unavailable(_),
            )
            | Failure::Unsent { .. }
            | Failure::Panic => None,
        };
        if attempt >= retry.attempts {
            return Verdict::DeadLetter;
        }
        let backoff = delay(attempt);
        Verdict::Retry(after.map_or(backoff, |after| after.min(retry.max).max(backoff)))
    }
}

#[cfg(test)]
mod tests;
