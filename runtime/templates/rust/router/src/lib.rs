//! Sends an order on to the warehouse for its country.

wit_bindgen::generate!({ path: "wit", world: "plugin" });

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use serde::Deserialize;

#[derive(Deserialize)]
struct Order {
    country: String,
}

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let order: Order = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(format!("not an order: {error}")))?;
        let subject = match order.country.as_str() {
            "AT" | "DE" | "FR" | "IT" => "shipping.europe",
            "CA" | "MX" | "US" => "shipping.america",
            _ => "shipping.world",
        };
        // The event goes on as it came.
        Ok(vec![Output {
            subject: subject.to_owned(),
            headers: event.headers,
            payload: event.payload,
        }])
    }
}

export!(Handler);
