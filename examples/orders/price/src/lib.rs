//! Adds the total to an order: net, tax by country, gross.
//!
//! An order may come before its price list has arrived: then it is tried again.

use std::collections::BTreeMap;

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::config;
use serde::Deserialize;
use serde_json::{Map, Value, json};

wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Order {
    country: String,
    items: Vec<Item>,
    /// Stands for a look-up: the attempt at which the price list is there.
    price_list_at_attempt: Option<u32>,
}

/// The price in the smallest unit of the currency, such as cents.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Item {
    quantity: u64,
    unit_price: u64,
}

struct Price;

impl Guest for Price {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let mut document: Map<String, Value> =
            serde_json::from_slice(&event.payload).map_err(reject)?;
        let order = Order::deserialize(&document).map_err(reject)?;
        if order.price_list_at_attempt.is_some_and(|attempt| event.attempt < attempt) {
            return Err(Failure::Retry("the price list is not there yet".to_owned()));
        }
        document.insert("total".to_owned(), total(&order)?);
        document.insert("priced-at-attempt".to_owned(), event.attempt.into());
        let payload = serde_json::to_vec(&document).map_err(reject)?;
        Ok(vec![Output { subject: "orders.priced".to_owned(), headers: event.headers, payload }])
    }
}

fn total(order: &Order) -> Result<Value, Failure> {
    let rates = config::get("tax-per-mille").ok_or_else(|| reject("no tax rates"))?;
    let rates: BTreeMap<&str, u64> = serde_json::from_str(&rates).map_err(reject)?;
    let rate = rates.get(&*order.country).ok_or_else(|| reject("no tax rate for its country"))?;
    let net: u64 = order.items.iter().map(|item| item.quantity * item.unit_price).sum();
    let tax = (net * rate + 500) / 1000;
    Ok(json!({ "net": net, "tax": tax, "gross": net + tax }))
}

fn reject(reason: impl ToString) -> Failure {
    Failure::Reject(reason.to_string())
}

export!(Price);
