wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::log::{Level, write};
use serde_json::{Value, json};

struct Hello;

impl Guest for Hello {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let question: Value = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        let Some(name) = question["name"].as_str() else {
            return Err(Failure::Reject("nobody to greet".into()));
        };
        write(Level::Info, &format!("greeting {name}"));
        let payload = json!({ "greeting": format!("Hello, {name}!") }).to_string().into_bytes();
        Ok(vec![Output { subject: "hello.said".into(), headers: event.headers, payload }])
    }
}

export!(Hello);
