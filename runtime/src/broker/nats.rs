//! NATS: the only module that knows the client.
//!
//! It connects, looks after streams and consumers, delivers, publishes and
//! settles. It decides nothing about an event: `dispatch` does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, Subscriber, jetstream};
use bytes::Bytes;
use tokio::{sync::watch, time::timeout};

use self::{
    bucket::Bucket,
    connection::Connection,
    consumer::{Durable, Terms},
    core::Core,
    lease::Claim,
    pull::Pull,
    readers::Readers,
    replays::Replays,
    revive::Origin,
};
pub use self::{
    connect::WhenUnreachable,
    connection::State,
    delivery::Delivery,
    difference::Difference,
    reading::{Reading, Scope},
    stored::{Listening, StoredMessage, StreamState},
    stream::StreamFacts,
};
use super::{From, Message, PublishError, Published, SetupError, Subscription};
use crate::{
    event::{Reply, Request, RequestError},
    manifest,
};

mod api;
mod bucket;
mod connect;
mod connection;
mod consumer;
mod core;
mod credentials;
mod credit;
mod delivery;
mod difference;
mod exclusive;
mod lease;
mod line;
mod malformed;
mod publish;
mod pull;
mod readers;
mod reading;
mod regain;
mod replays;
mod request;
mod revive;
mod status;
mod stored;
mod stream;
mod survey;
mod suspect;
mod visible;

/// A connection to NATS. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
    updates_consumers: bool,
}

struct Inner {
    /// Another one after the client broke down.
    client: RwLock<Arc<Client>>,
    /// Connections that clients before this one made.
    connects_before: AtomicU64,
    /// Only for its parser of acknowledgement subjects.
    jetstream: jetstream::Context,
    connection: Arc<Connection>,
    request_timeout: Duration,
    /// Events of core NATS that did not fit the queue, by plugin.
    drops: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    /// Who has the plugins that only one replica may have.
    claims: Mutex<BTreeMap<String, Claim>>,
    /// Why sources cannot be opened again, by plugin and stream.
    failing: Mutex<BTreeMap<(String, String), String>>,
    /// Where core NATS is read.
    readers: Readers,
}

impl Broker {
    /// Connects as `nats` says. `name` is what the server's monitoring shows.
    ///
    /// While no server answers and `unreachable` says to wait, it waits, says
    /// so every few seconds, and ends when the future is dropped.
    ///
    /// # Errors
    /// Says what is wrong and what to do: unreachable, credentials, TLS, a file
    /// that cannot be read, a server that is too old.
    pub async fn connect(
        nats: &manifest::Nats,
        name: &str,
        unreachable: WhenUnreachable,
    ) -> Result<Broker, SetupError> {
        let connection = Arc::new(Connection::new());
        let (client, life) = connect::connect(nats, name, unreachable, &connection).await?;
        let inner = Arc::new(Inner {
            jetstream: jetstream::new(client.clone()),
            client: RwLock::new(Arc::new(client)),
            connects_before: AtomicU64::new(0),
            connection,
            request_timeout: nats.request_timeout,
            drops: Mutex::default(),
            claims: Mutex::default(),
            failing: Mutex::default(),
            readers: Readers::default(),
        });
        let (nats, name) = (nats.clone(), name.to_owned());
        let origin = Origin { inner: Arc::downgrade(&inner), nats, name };
        tokio::spawn(origin.keep_alive(life));
        Ok(Broker { inner, updates_consumers: false })
    }

    /// The same connection, that changes existing consumers where that costs
    /// nothing they remember: subjects, ack wait, limits. Without it, a
    /// difference is an error.
    pub fn updating_consumers(self) -> Broker {
        Broker { updates_consumers: true, ..self }
    }

    /// Whether the server can be reached, to be watched. Under a flood of other
    /// events a change may be missed: [`Broker::is_connected`] is exact.
    pub fn state(&self) -> watch::Receiver<State> {
        self.inner.connection.watch()
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        let connected = async_nats::connection::State::Connected;
        !self.inner.connection.is_down() && self.inner.client().connection_state() == connected
    }

    /// How often the connection was lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.inner.connects().saturating_sub(1)
    }

    /// How often the client itself dropped a message because it was not read.
    /// A lower bound: under a flood the client loses these notes too.
    pub fn slow_consumers(&self) -> u64 {
        self.inner.connection.slow_consumers()
    }

    /// Events of core NATS that were dropped because a plugin's queue was full,
    /// by plugin. Exact.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        let drops = self.inner.drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.iter().map(|(plugin, n)| (plugin.clone(), n.load(Ordering::Relaxed))).collect()
    }

    /// Whether this replica handles `plugin`: not while another one has it.
    pub fn has_plugin(&self, plugin: &str) -> bool {
        let claims = self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.get(plugin).is_none_or(Claim::is_held)
    }

    /// Why neither this replica handles `plugin` nor another is known to.
    pub fn claim_problem(&self, plugin: &str) -> Option<String> {
        let claims = self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.get(plugin).and_then(Claim::problem)
    }

    /// The plugins that get no events of a stream though the server is there, each
    /// with the stream and why.
    pub fn failing_sources(&self) -> Vec<(String, String, String)> {
        let failing = self.inner.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = failing.iter();
        problems
            .map(|((plugin, stream), why)| (plugin.clone(), stream.clone(), why.clone()))
            .collect()
    }

    /// Notes why a source cannot be opened again; `None`: it is open, or gone.
    fn source_fails(&self, durable: &Durable, why: Option<String>) {
        let mut failing = self.inner.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let source = (durable.plugin().to_owned(), durable.stream.to_string());
        match why {
            Some(why) => _ = failing.insert(source, why),
            None => _ = failing.remove(&source),
        }
    }

    fn watch_claim(&self, plugin: &str, claim: Option<Claim>) {
        let mut claims = self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
        match claim {
            Some(claim) => _ = claims.insert(plugin.to_owned(), claim),
            None => _ = claims.remove(plugin),
        }
    }

    /// The server's version, as it says it.
    pub fn server_version(&self) -> String {
        self.inner.client().server_info().version
    }

    /// The largest message the server takes, headers included, in bytes.
    pub fn max_payload(&self) -> usize {
        self.inner.client().max_payload()
    }

    /// Waits until all that was published and settled is with the server, at
    /// most for `limit`, and closes the connection.
    ///
    /// # Errors
    /// If that cannot be known, because the connection is lost or slow.
    pub async fn close(&self, limit: Duration) -> Result<(), SetupError> {
        self.inner.connection.close();
        let flushed = timeout(limit, async {
            self.inner.client().flush().await.map_err(|error| error.to_string())?;
            self.inner.client().drain().await.map_err(|error| error.to_string())
        });
        let problem = match flushed.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => problem,
            Err(_) => format!("not done within {}", humantime::format_duration(limit)),
        };
        let what = "closing the connection to nats".to_owned();
        Err(SetupError { code: "nats-api", what, problem })
    }

    /// Subscribes, as a member of `group` if one is given.
    async fn listen(
        &self,
        subject: String,
        group: Option<String>,
    ) -> Result<Subscriber, SetupError> {
        let what = format!("subscription to `{subject}`");
        let client = self.inner.client();
        let subscribed = timeout(self.inner.request_timeout, async {
            match group {
                Some(group) => client.queue_subscribe(subject, group).await,
                None => client.subscribe(subject).await,
            }
        });
        let problem = match subscribed.await {
            Ok(Ok(subscriber)) => return Ok(subscriber),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the connection is lost and its queue full".to_owned(),
        };
        Err(SetupError { code: "nats-api", what, problem })
    }

    /// Waits until the server has handled all that was sent before, or has been
    /// silent for the time-out.
    async fn round_trip(&self) {
        // Nobody listens there, so the server itself answers at once.
        let client = self.inner.client();
        let nowhere = client.new_inbox();
        let answer = client.request(nowhere.clone(), Bytes::new());
        let answer = timeout(self.inner.request_timeout, answer);
        tokio::select! {
            answer = answer => drop(answer),
            // An account that may not publish there is answered too.
            text = self.inner.connection.denied(&nowhere, Instant::now()) => drop(text),
        }
    }

    /// A text that occurs once.
    fn unique_id(&self) -> String {
        let inbox = self.inner.client().new_inbox();
        inbox.rsplit('.').next().unwrap_or(&inbox).to_owned()
    }

    fn drop_counter(&self, plugin: &str) -> Arc<AtomicU64> {
        let mut drops = self.inner.drops.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(drops.entry(plugin.to_owned()).or_default())
    }
}

impl Inner {
    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many connections were made.
    fn connects(&self) -> u64 {
        let now = self.client().statistics().connects.load(Ordering::Relaxed);
        self.connects_before.load(Ordering::Relaxed) + now
    }
}

impl super::Broker for Broker {
    type Source = Source;

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        self.publish_message(message).await
    }

    async fn request(&self, request: &Request) -> Result<Vec<Reply>, RequestError> {
        self.await_answers(request).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Source, SetupError> {
        match &subscription.from {
            From::Stream { stream, ack_wait, max_deliver, start, ack } => {
                let (ack_wait, max_deliver, start) = (*ack_wait, *max_deliver, *start);
                let terms = Terms { stream, ack_wait, max_deliver, start };
                let durable = Durable::new(&subscription, &terms);
                let bucket = Bucket::new(self.clone(), &subscription.host, subscription.replicas);
                let pull =
                    Pull::open(self.clone(), durable, bucket, *ack, subscription.exclusive).await?;
                self.watch_claim(&subscription.plugin, pull.claim());
                Ok(Source(Kind::Pull(Box::new(pull))))
            }
            From::Replays { .. } => {
                let replays = Replays::open(self.clone(), &subscription).await?;
                Ok(Source(Kind::Replays(Box::new(replays))))
            }
            From::Core { capacity } => {
                let core = Core::open(self, &subscription, *capacity).await?;
                Ok(Source(Kind::Core(core)))
            }
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("state", &*self.state().borrow()).finish_non_exhaustive()
    }
}

/// One plugin's deliveries.
pub struct Source(Kind);

enum Kind {
    Pull(Box<Pull>),
    Replays(Box<Replays>),
    Core(Core),
}

impl super::Source for Source {
    type Delivery = Delivery;

    fn allow(&mut self, n: usize) {
        match &mut self.0 {
            Kind::Pull(pull) => pull.allow(n),
            Kind::Replays(replays) => replays.allow(n),
            Kind::Core(core) => core.allow(n),
        }
    }

    fn pace(&mut self, most: Option<usize>) {
        match &mut self.0 {
            Kind::Pull(pull) => pull.pace(most),
            Kind::Replays(replays) => replays.pace(most),
            Kind::Core(core) => core.pace(most),
        }
    }

    fn pause(&mut self, time: Duration) {
        match &mut self.0 {
            Kind::Pull(pull) => pull.pause_consumer(time),
            // Each member of a queue group is on its own; and who asks for a
            // replay shall see what comes of it.
            Kind::Core(_) | Kind::Replays(_) => {}
        }
    }

    async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Kind::Pull(pull) => pull.next().await,
            Kind::Replays(replays) => replays.next().await,
            Kind::Core(core) => core.next().await,
        }
    }

    async fn stop(&mut self) {
        match &mut self.0 {
            Kind::Pull(pull) => pull.stop(),
            Kind::Replays(replays) => replays.stop(),
            Kind::Core(core) => core.stop(),
        }
    }

    async fn close(self) {
        match self.0 {
            Kind::Pull(pull) => pull.close().await,
            Kind::Core(_) | Kind::Replays(_) => {}
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Pull(_) => "Source(stream)",
            Kind::Replays(_) => "Source(replays)",
            Kind::Core(_) => "Source(core)",
        })
    }
}

#[cfg(test)]
mod tests;
