//! Speaks two contracts: ours, and that of wasmCloud, which does not count then.
//! What it publishes meanwhile goes out before what it returns.

mod ours {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "crate::ours",
        export_macro_name: "export",
    });
}

mod theirs {
    wit_bindgen::generate!({
        path: "../../../runtime/wit",
        world: "pelton:adapters/wasmcloud",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "crate::theirs",
        export_macro_name: "export",
    });
}

use ours::exports::pelton::events::handler::{Event, Failure, Output};
use theirs::{
    exports::wasmcloud::messaging::handler::BrokerMessage, wasmcloud::messaging::consumer,
};

struct Both;

impl ours::exports::pelton::events::handler::Guest for Both {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let (subject, body) = ("out.first".to_owned(), event.payload.clone());
        let published = consumer::publish(&BrokerMessage { subject, body, reply_to: None });
        published.map_err(Failure::Reject)?;
        let subject = "out.second".to_owned();
        Ok(vec![Output { subject, headers: Vec::new(), payload: event.payload }])
    }
}

impl theirs::exports::wasmcloud::messaging::handler::Guest for Both {
    fn handle_message(_: BrokerMessage) -> Result<(), String> {
        Err("the wrong contract".to_owned())
    }
}

ours::export!(Both);
theirs::export!(Both);
