//! A component for wasmCloud as its own kit makes them: the imports come from
//! the crate `wasmcloud-component`, with logging and configuration.

wit_bindgen::generate!({
    path: "../../../runtime/wit",
    world: "pelton:adapters/wasmcloud",
    with: {
        "wasmcloud:messaging/types@0.2.0": wasmcloud_component::wasmcloud::messaging::types,
        "wasmcloud:messaging/consumer@0.2.0": wasmcloud_component::wasmcloud::messaging::consumer,
        "wasmcloud:messaging/handler@0.2.0": generate,
    },
});

use exports::wasmcloud::messaging::handler::Guest;
use wasmcloud_component::{
    info,
    wasi::config::store,
    wasmcloud::messaging::{consumer, types::BrokerMessage},
};

struct Greeter;

impl Guest for Greeter {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        info!("greeting on {}", message.subject);
        let greeting = store::get("greeting").map_err(|error| format!("{error:?}"))?;
        let all = store::get_all().map_err(|error| format!("{error:?}"))?;
        let name = String::from_utf8_lossy(&message.body);
        let body = format!("{}, {name} ({} keys)", greeting.unwrap_or_default(), all.len());
        let subject = message.reply_to.unwrap_or_else(|| "out.greeting".to_owned());
        consumer::publish(&BrokerMessage { subject, body: body.into_bytes(), reply_to: None })
    }
}

export!(Greeter);
