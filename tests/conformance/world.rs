//! Where a script runs: the model, or a real server. What a broker's trait does
//! not say (deleting, pausing, killing) is done past it.

use std::time::Duration;

use async_nats::jetstream;
use pelton::{
    broker::{
        Broker as _, Message, PublishError, Published, SetupError, Subscription, model, nats,
    },
    manifest,
};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use crate::harness::Server;

/// Who subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    First,
    /// Over a connection of its own.
    Second,
}

/// Past the trait.
pub trait World {
    type Broker: pelton::broker::Broker;

    fn broker(&self) -> &Self::Broker;
    /// The one of another client of the same server.
    async fn another(&self) -> &Self::Broker;
    async fn make_stream(&self, name: &str, settings: &manifest::Stream) -> Result<(), SetupError>;
    async fn delete_stream(&self, name: &str);
    async fn purge(&self, name: &str);
    async fn delete_message(&self, name: &str, sequence: u64) -> bool;
    async fn delete_consumer(&self, name: &str, durable: &str);
    async fn pause(&self, name: &str, durable: &str, pause: Duration);
    async fn ack_unseen(&self, name: &str, durable: &str, sequence: u64);
    async fn backlog(&self, name: &str, durable: &str) -> Option<(u64, u64)>;
    async fn stored(&self, name: &str) -> u64;
    async fn restart(&self);

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        self.broker().publish(message).await
    }

    async fn subscribe(
        &self,
        subscription: Subscription,
        client: Client,
    ) -> Result<<Self::Broker as pelton::broker::Broker>::Source, SetupError> {
        match client {
            Client::First => self.broker().subscribe(subscription).await,
            Client::Second => self.another().await.subscribe(subscription).await,
        }
    }
}

/// The model of JetStream.
pub struct Modelled(model::Broker, model::Broker);

impl Modelled {
    pub fn new() -> Modelled {
        let broker = model::Broker::new().updating_consumers();
        Modelled(broker.clone(), broker)
    }
}

impl World for Modelled {
    type Broker = model::Broker;

    fn broker(&self) -> &model::Broker {
        &self.0
    }

    async fn another(&self) -> &model::Broker {
        &self.1
    }

    async fn make_stream(&self, name: &str, settings: &manifest::Stream) -> Result<(), SetupError> {
        self.0.make_stream(name, settings);
        Ok(())
    }

    async fn delete_stream(&self, name: &str) {
        self.0.delete_stream(name);
    }

    async fn purge(&self, name: &str) {
        self.0.purge_stream(name);
    }

    async fn delete_message(&self, name: &str, sequence: u64) -> bool {
        self.0.delete_message(name, sequence)
    }

    async fn delete_consumer(&self, name: &str, durable: &str) {
        self.0.delete_consumer(name, durable);
    }

    async fn pause(&self, name: &str, durable: &str, pause: Duration) {
        self.0.pause_consumer(name, durable, pause);
    }

    async fn ack_unseen(&self, name: &str, durable: &str, sequence: u64) {
        self.0.ack_by_sequence(name, durable, sequence);
    }

    async fn backlog(&self, name: &str, durable: &str) -> Option<(u64, u64)> {
        self.0.backlog(name, durable)
    }

    async fn stored(&self, name: &str) -> u64 {
        self.0.stored(name).len() as u64
    }

    async fn restart(&self) {
        self.0.restart(Duration::ZERO);
    }
}

/// A real server, through the adapter that the daemon uses.
pub struct Real {
    url: String,
    broker: nats::Broker,
    second: OnceCell<nats::Broker>,
    jetstream: jetstream::Context,
    /// If it is this script's own.
    server: Option<tokio::sync::Mutex<Server>>,
}

impl Real {
    pub async fn connect(url: &str) -> Real {
        let jetstream = jetstream::new(async_nats::connect(url).await.unwrap());
        let (broker, second) = (client(url).await, OnceCell::new());
        Real { url: url.to_owned(), broker, second, jetstream, server: None }
    }

    /// With a server that it may kill.
    pub async fn own(server: Server) -> Real {
        let real = Real::connect(&server.url()).await;
        Real { server: Some(server.into()), ..real }
    }

    async fn stream(&self, name: &str) -> Option<jetstream::stream::Stream> {
        self.jetstream.get_stream(name).await.ok()
    }
}

async fn client(url: &str) -> nats::Broker {
    let settings = manifest::Nats {
        urls: vec![url.to_owned()],
        auth: manifest::Auth::None,
        tls: manifest::Tls::default(),
        request_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(10),
    };
    let broker = nats::Broker::connect(&settings, "conformance", nats::WhenUnreachable::Fail);
    broker.await.unwrap().updating_consumers()
}

impl World for Real {
    type Broker = nats::Broker;

    fn broker(&self) -> &nats::Broker {
        &self.broker
    }

    async fn another(&self) -> &nats::Broker {
        self.second.get_or_init(|| client(&self.url)).await
    }

    async fn make_stream(&self, name: &str, settings: &manifest::Stream) -> Result<(), SetupError> {
        self.delete_stream(name).await;
        self.broker.ensure_stream(name, settings).await.map(|_| ())
    }

    async fn delete_stream(&self, name: &str) {
        // There may be none.
        self.jetstream.delete_stream(name).await.ok();
    }

    async fn purge(&self, name: &str) {
        self.stream(name).await.unwrap().purge().await.unwrap();
    }

    async fn delete_message(&self, name: &str, sequence: u64) -> bool {
        self.stream(name).await.unwrap().delete_message(sequence).await.is_ok()
    }

    async fn delete_consumer(&self, name: &str, durable: &str) {
        self.jetstream.delete_consumer_from_stream(durable, name).await.ok();
    }

    async fn pause(&self, name: &str, durable: &str, pause: Duration) {
        let stream = self.stream(name).await.unwrap();
        if pause.is_zero() {
            stream.resume_consumer(durable).await.unwrap();
        } else {
            let until = std::time::SystemTime::now() + pause;
            stream.pause_consumer(durable, until.into()).await.unwrap();
        }
    }

    async fn ack_unseen(&self, name: &str, durable: &str, sequence: u64) {
        let subject = format!("$JS.ACK.{name}.{durable}.1.{sequence}.{sequence}.0.0");
        let client = self.jetstream.client();
        client.publish(subject, "+ACK".into()).await.unwrap();
        client.flush().await.unwrap();
    }

    async fn backlog(&self, name: &str, durable: &str) -> Option<(u64, u64)> {
        self.broker.backlog(name, durable).await.ok()
    }

    async fn stored(&self, name: &str) -> u64 {
        self.stream(name).await.map_or(0, |stream| stream.cached_info().state.messages)
    }

    async fn restart(&self) {
        let server = self.server.as_ref().expect("a server of its own");
        server.lock().await.restart().await;
        let deadline = Instant::now() + crate::harness::PATIENCE;
        while !self.broker.is_connected() || self.jetstream.query_account().await.is_err() {
            assert!(Instant::now() < deadline, "connected again");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
