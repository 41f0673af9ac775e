//! Lets good orders pass, unchanged, and rejects bad ones with the reason.
//!
//! Rejected orders go to the dead letters at once: trying again would not make
//! them better.

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use serde::Deserialize;

wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

#[derive(Deserialize)]
struct Order {
    id: String,
    country: String,
    currency: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    sku: String,
    quantity: u32,
}

struct Validate;

impl Guest for Validate {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let order = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(format!("this is no order: {error}")))?;
        check(&order).map_err(Failure::Reject)?;
        let subject = "orders.valid".to_owned();
        Ok(vec![Output { subject, headers: event.headers, payload: event.payload }])
    }
}

fn check(order: &Order) -> Result<(), String> {
    let Order { id, country, currency, items } = order;
    if !is_code(country, 2) || !is_code(currency, 3) {
        return Err(format!("order {id}: `{country}`, `{currency}` are no country and currency"));
    }
    if items.is_empty() {
        return Err(format!("order {id} has no items"));
    }
    match items.iter().find(|item| !(1..=1000).contains(&item.quantity)) {
        Some(Item { sku, quantity }) => Err(format!("order {id}: {quantity} pieces of {sku}")),
        None => Ok(()),
    }
}

fn is_code(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

export!(Validate);
