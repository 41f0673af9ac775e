//! The benchmark's job: `in.x` becomes `out.x` with the same headers and one
//! field more in its JSON object. `tests/drivers/bench/native.rs` does the same.

use guest::{Event, Failure, Guest, Handled, Output, out};
use serde_json::{Map, Value};

struct Enrich;

impl Guest for Enrich {
    fn handle(event: Event) -> Handled {
        let rejected = |error: serde_json::Error| Failure::Reject(error.to_string());
        let mut fields: Map<String, Value> =
            serde_json::from_slice(&event.payload).map_err(rejected)?;
        fields.insert("enriched".to_owned(), Value::Bool(true));
        let payload = serde_json::to_vec(&fields).map_err(rejected)?;
        let subject = out(&event.subject);
        Ok(vec![Output { subject, headers: event.headers, payload }])
    }
}

guest::export!(Enrich);
