//! What the server says on a source's inbox beside messages: a pure reading of
//! statuses.
//!
//! It does nothing about them: `pull` does. The server's words are part of its
//! protocol (ADR-9, ADR-37): a 409 alone says nothing.

/// What a status means for the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    /// The server is there; the requests stand.
    Alive,
    /// A request ended as it should; this many deliveries may be asked for anew.
    Expired {
        /// What the request did not bring.
        pending: usize,
    },
    /// A request ended for a reason that will be the same at once.
    Refused {
        /// What the request did not bring.
        pending: usize,
        /// The server's words.
        reason: String,
    },
    /// The consumer is gone, or moves, or its requests are void.
    Lost {
        /// The server's words.
        reason: String,
    },
}

/// Reads a status with `code` and `text`, sent for a request of `batch`
/// deliveries, with the server's count of what is missing where it gave one.
pub(super) fn read(code: u16, text: &str, batch: usize, missing: Option<usize>) -> Status {
    let pending = missing.unwrap_or(batch);
    let reason = || format!("{code} {text}").trim_end().to_owned();
    match code {
        100 => Status::Alive,
        408 if is_expiry(text) => Status::Expired { pending },
        409 if text.eq_ignore_ascii_case("Batch Completed") => Status::Expired { pending },
        409 if is_loss(text) => Status::Lost { reason: reason() },
        503 => Status::Lost { reason: reason() },
        _ => Status::Refused { pending, reason: reason() },
    }
}

fn is_expiry(text: &str) -> bool {
    text.is_empty() || text.eq_ignore_ascii_case("Request Timeout")
}

/// The server sends these to every open request and gives no counts.
fn is_loss(text: &str) -> bool {
    const LOSSES: [&str; 4] =
        ["consumer deleted", "consumer is push based", "leadership change", "server shutdown"];
    let text = text.to_ascii_lowercase();
    LOSSES.iter().any(|loss| text.starts_with(loss))
}

#[cfg(test)]
mod tests;
