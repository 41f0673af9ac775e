//! Adds the header that the payload asks for, `{"name": "X", "value": "y"}`, to
//! an echo; echoes a payload that asks for none.

use guest::{Event, Guest, Handled, Header, echo};
use serde_json::Value;

struct Inject;

impl Guest for Inject {
    fn handle(mut event: Event) -> Handled {
        let wish: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        if let (Some(name), Some(value)) = (wish["name"].as_str(), wish["value"].as_str()) {
            event.headers.push(Header { name: name.to_owned(), value: value.to_owned() });
        }
        echo(event)
    }
}

guest::export!(Inject);
