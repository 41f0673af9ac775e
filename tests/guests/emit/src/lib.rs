//! Publishes what the payload says, word for word: `{"subject": "out.x",
//! "headers": [["Name", "value"]]}` with the payload `emitted`.

use guest::{Event, Failure, Guest, Handled, Header, Output};
use serde_json::Value;

struct Emit;

impl Guest for Emit {
    fn handle(event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(error.to_string()))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let header = |pair: &Value| Header { name: text(&pair[0]), value: text(&pair[1]) };
        let headers = wish["headers"].as_array().into_iter().flatten().map(header).collect();
        let payload = b"emitted".to_vec();
        Ok(vec![Output { subject: text(&wish["subject"]), headers, payload }])
    }
}

guest::export!(Emit);
