//! Posts each event to an HTTP endpoint.

wit_bindgen::generate!({ path: "wit", world: "plugin" });

mod endpoint;

use std::{error::Error, str};

use endpoint::{Answer, Endpoint};
use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::config;
use serde::de::IgnoredAny;
use serde_json::json;
use wasip2::http::types::ErrorCode;

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        // The endpoint is told that it is JSON.
        check(&event.payload).map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        let url = config::get("url").unwrap_or_default();
        let endpoint = Endpoint::parse(&url).ok_or_else(|| bad_url(&url))?;
        let answer =
            endpoint.post(&event.subject, &event.payload).map_err(|error| match error {
                ErrorCode::HttpRequestUriInvalid => bad_url(&url),
                error => Failure::Retry(format!("no answer from {url}: {error:?}")),
            })?;
        match answer.status {
            200..=299 => Ok(vec![delivered(event, answer.status)]),
            408 | 425 | 429 | 500..=599 => Err(later(answer)),
            status => Err(Failure::Reject(format!("refused with {status}: {}", answer.text))),
        }
    }
}

/// Not from the bytes at once: what is skipped there may be no UTF-8.
fn check(payload: &[u8]) -> Result<(), Box<dyn Error>> {
    serde_json::from_str::<IgnoredAny>(str::from_utf8(payload)?)?;
    Ok(())
}

fn bad_url(url: &str) -> Failure {
    Failure::Reject(format!(
        "`config.url` is {url:?}; it has to be a URL such as https://example.com/orders: \
         http or https, a host, no user"
    ))
}

fn delivered(event: Event, status: u16) -> Output {
    let receipt = json!({ "event": event.id, "subject": event.subject, "status": status });
    Output {
        subject: "deliveries.done".to_owned(),
        headers: event.headers,
        payload: receipt.to_string().into_bytes(),
    }
}

fn later(answer: Answer) -> Failure {
    let reason = format!("put off with {}: {}", answer.status, answer.text);
    match answer.retry_after {
        Some(seconds) => Failure::RetryAfter((seconds.saturating_mul(1000), reason)),
        None => Failure::Retry(reason),
    }
}

export!(Handler);
