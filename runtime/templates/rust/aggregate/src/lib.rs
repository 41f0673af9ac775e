//! Makes a summary of a batch of readings.

wit_bindgen::generate!({ path: "wit", world: "plugin" });

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Batch {
    values: Vec<f64>,
}

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let Batch { values } = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(format!("not a batch: {error}")))?;
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // JSON has no infinity: it would become `null`.
        if !mean.is_finite() {
            return Err(Failure::Reject("the values are too large".to_owned()));
        }
        let summary = json!({
            "count": values.len(),
            "min": values.iter().copied().fold(f64::INFINITY, f64::min),
            "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "mean": mean,
        });
        Ok(vec![Output {
            subject: event.subject.replacen(".batch.", ".summary.", 1),
            headers: event.headers,
            payload: summary.to_string().into_bytes(),
        }])
    }
}

export!(Handler);
