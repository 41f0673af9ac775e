//! A component for wasmCloud (`wasmcloud:messaging@0.2.0`), by wit-bindgen alone.

wit_bindgen::generate!({
    path: "../../../runtime/wit",
    world: "pelton:adapters/wasmcloud",
    generate_all,
});

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use porting::Port;
use wasmcloud::messaging::consumer;

struct Cloud;

/// The sender's subject for the answer, if it waits for one.
struct Sender(Option<String>);

impl Guest for Cloud {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        porting::run(&message.body, &mut Sender(message.reply_to))
    }
}

impl Port for Sender {
    fn publish(&mut self, subject: &str, body: &[u8]) -> Result<(), String> {
        let (subject, body) = (subject.to_owned(), body.to_vec());
        consumer::publish(&BrokerMessage { subject, body, reply_to: None })
    }

    fn reply(&mut self, body: &[u8]) -> Result<(), String> {
        let subject = self.0.clone().ok_or("nobody waits for a reply")?;
        self.publish(&subject, body)
    }

    fn request(&mut self, subject: &str, millis: u32, body: &[u8]) -> Result<String, String> {
        let answer = consumer::request(subject, body, millis)?;
        String::from_utf8(answer.body).map_err(|error| error.to_string())
    }

    fn own(&mut self, command: &str, rest: &str) -> Option<Result<(), String>> {
        let publish = |reply_to| {
            let (subject, body) = (rest.to_owned(), Vec::new());
            consumer::publish(&BrokerMessage { subject, body, reply_to })
        };
        (command == "publish-with-reply-to").then(|| publish(Some("elsewhere".to_owned())))
    }
}

export!(Cloud);
