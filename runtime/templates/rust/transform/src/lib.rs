//! Adds the total to an order.

wit_bindgen::generate!({ path: "wit", world: "plugin" });

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::{config, log};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Order {
    quantity: f64,
    /// Not there before the price list has come.
    price: Option<f64>,
}

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        // All fields are kept, also those that this handler does not know.
        let mut document: Map<String, Value> =
            serde_json::from_slice(&event.payload).map_err(reject)?;
        let order = Order::deserialize(&document).map_err(reject)?;
        let Some(price) = order.price else {
            return Err(Failure::Retry("the order has no price yet".to_owned()));
        };
        let total = order.quantity * price;
        // JSON has no infinity: it would become `null`.
        if !total.is_finite() {
            return Err(reject("the total is too large"));
        }
        let currency = config::get("currency").unwrap_or("EUR".to_owned());
        document.insert("total".to_owned(), json!(total));
        document.insert("currency".to_owned(), json!(currency));
        log::write(log::Level::Info, &format!("priced {}", event.id));
        Ok(vec![Output {
            subject: "orders.priced".to_owned(),
            headers: event.headers,
            payload: Value::Object(document).to_string().into_bytes(),
        }])
    }
}

fn reject(error: impl std::fmt::Display) -> Failure {
    Failure::Reject(format!("not an order: {error}"))
}

export!(Handler);
