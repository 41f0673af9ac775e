//! A component of `wasi:messaging@0.2.0-draft`, by wit-bindgen.

wit_bindgen::generate!({
    path: "../../../runtime/wit",
    world: "pelton:adapters/wasi-messaging",
    generate_all,
});

use exports::wasi::messaging::incoming_handler::{Error, Guest, Message};
use porting::Port;
use wasi::messaging::{
    producer,
    request_reply::{self, RequestOptions},
    types::Client,
};

struct Handler;

struct Received(Message);

impl Guest for Handler {
    fn handle(message: Message) -> Result<(), Error> {
        let payload = message.data();
        porting::run(&payload, &mut Received(message)).map_err(Error::Other)
    }
}

fn client() -> Result<Client, String> {
    Client::connect("").map_err(text)
}

fn text(error: Error) -> String {
    match error {
        Error::Timeout => "timeout".to_owned(),
        Error::Connection(text) => format!("connection, {text}"),
        Error::PermissionDenied(text) => format!("permission denied, {text}"),
        Error::Other(text) => text,
    }
}

impl Port for Received {
    fn publish(&mut self, subject: &str, body: &[u8]) -> Result<(), String> {
        producer::send(&client()?, &subject.to_owned(), Message::new(body)).map_err(text)
    }

    fn reply(&mut self, body: &[u8]) -> Result<(), String> {
        request_reply::reply(&self.0, Message::new(body)).map_err(text)
    }

    fn request(&mut self, subject: &str, millis: u32, body: &[u8]) -> Result<String, String> {
        let options = RequestOptions::new();
        options.set_timeout_ms(millis);
        let (client, message) = (client()?, Message::new(body));
        let answers = request_reply::request(&client, subject, &message, Some(options));
        let first = answers.map_err(text)?.into_iter().next().ok_or("an empty list")?;
        String::from_utf8(first.data()).map_err(|error| error.to_string())
    }

    fn own(&mut self, command: &str, rest: &str) -> Option<Result<(), String>> {
        match command {
            "annotate" => Some(self.annotate(rest)),
            "gather" => Some(self.gather(rest)),
            "disconnect" => Some(disconnected()),
            "hoard" => Some(hoard(rest.parse().unwrap_or(0))),
            _ => None,
        }
    }
}

impl Received {
    /// What it came with, and a message with changed metadata, to `subject`.
    fn annotate(&self, subject: &str) -> Result<(), String> {
        let Received(message) = self;
        let metadata = message.metadata().unwrap_or_default();
        let reply = Message::new(
            format!("{:?} {:?} {metadata:?}", message.topic(), message.content_type()).as_bytes(),
        );
        reply.set_metadata(&metadata);
        reply.add_metadata("Colour", "green");
        reply.add_metadata("Gone", "1");
        reply.remove_metadata("Gone");
        reply.set_content_type("text/plain");
        producer::send(&client()?, &subject.to_owned(), reply).map_err(text)
    }

    /// All answers to a request within ten seconds, three at most.
    fn gather(&mut self, subject: &str) -> Result<(), String> {
        let options = RequestOptions::new();
        options.set_timeout_ms(10_000);
        options.set_expected_replies(3);
        let answers =
            request_reply::request(&client()?, subject, &Message::new(b"?"), Some(options));
        let answers = answers.map_err(text)?;
        let mut texts: Vec<_> =
            answers.iter().map(|it| String::from_utf8_lossy(&it.data()).into_owned()).collect();
        texts.sort();
        self.publish("out.answer", texts.join(" ").as_bytes())
    }
}

fn disconnected() -> Result<(), String> {
    let client = client()?;
    client.disconnect().map_err(text)?;
    producer::send(&client, &"out.x".to_owned(), Message::new(b"late")).map_err(text)
}

/// Holds so many messages of 1 MiB.
fn hoard(n: usize) -> Result<(), String> {
    let bytes = vec![0; 1 << 20];
    let held: Vec<_> = (0..n).map(|_| Message::new(&bytes)).collect();
    Err(format!("held {}", held.len()))
}

export!(Handler);
