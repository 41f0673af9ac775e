//! Outbound HTTP: requests of guests by `wasi:http`, as far as the manifest
//! grants them.
//!
//! It decides whether, where to and how much. The protocol itself is hyper's, the
//! interface with the guest wasmtime's.

mod address;
mod body;
mod connect;
mod hooks;
mod outside;
mod refusal;
mod request;

use std::{
    collections::HashMap,
    mem::Discriminant,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Uri;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::Semaphore;

pub(super) use self::hooks::Http;
pub use self::outside::Outside;
use self::{body::Limited, connect::Connector, refusal::Refusal};
use super::redact::Redaction;
use crate::manifest::{self, Origin};

/// A connection that is not used for so long is closed.
const IDLE: Duration = Duration::from_secs(15);

/// The same is said again after this time.
const QUIET: Duration = Duration::from_secs(60);

/// Different things that are said in that time.
const MOST_SAID: usize = 64;

/// The longest name of a server, in bytes: that of the domain name system.
const LONGEST_NAME: usize = 255;

/// What one plugin may send, shared by its instances.
pub(super) struct Outbound {
    plugin: Arc<str>,
    granted: Option<Granted>,
    outside: Outside,
    /// Hosts are in lower case, so secrets are.
    redaction: Redaction,
    said: Mutex<HashMap<(Discriminant<Refusal>, Origin), Instant>>,
}

/// For a plugin that may send requests.
struct Granted {
    settings: manifest::Http,
    connector: Connector,
    client: Client<Connector, Limited>,
    places: Arc<Semaphore>,
}

impl Outbound {
    /// Reads the certificates of this system if there may be TLS.
    pub(super) fn new(
        plugin: Arc<str>,
        granted: Option<&manifest::Http>,
        redaction: &Redaction,
    ) -> Outbound {
        let granted = granted.map(|settings| Granted::new(settings.clone(), connector(settings)));
        Outbound {
            plugin,
            granted,
            outside: Outside::default(),
            redaction: redaction.in_lower_case(),
            said: Mutex::default(),
        }
    }

    /// The same for a host of its own, whose requests count in `outside`. No
    /// connection is shared: those of a host end with the runtime that it is on.
    pub(super) fn apart(&self, outside: Outside) -> Outbound {
        let again =
            |granted: &Granted| Granted::new(granted.settings.clone(), granted.connector.clone());
        Outbound {
            plugin: Arc::clone(&self.plugin),
            granted: self.granted.as_ref().map(again),
            outside,
            redaction: self.redaction.clone(),
            said: Mutex::default(),
        }
    }

    /// Whether requests may go anywhere.
    pub(super) fn is_granted(&self) -> bool {
        self.granted.is_some()
    }

    /// The grant that allows requests to `origin`.
    fn grant(&self, origin: &Origin) -> Option<&Granted> {
        self.granted.as_ref().filter(|granted| granted.settings.origins.contains(origin))
    }

    /// Says why a request came to nothing; the same not again for a minute.
    fn explain(&self, refusal: &Refusal, origin: &Origin, event: &str) {
        if !refusal.is_told() || !self.is_news(refusal.kind(), origin) {
            return;
        }
        let text = refusal.explain(origin);
        tracing::warn!(plugin = &*self.plugin, event, "{}", self.redaction.text(&text));
    }

    fn is_news(&self, kind: Discriminant<Refusal>, origin: &Origin) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        said.retain(|_, at| now.duration_since(*at) < QUIET);
        let key = (kind, origin.clone());
        if said.contains_key(&key) || said.len() >= MOST_SAID {
            return false;
        }
        said.insert(key, now);
        true
    }
}

impl Granted {
    fn new(settings: manifest::Http, connector: Connector) -> Granted {
        Granted {
            client: client(&settings, connector.clone()),
            connector,
            places: Arc::new(Semaphore::new(settings.concurrency)),
            settings,
        }
    }
}

fn connector(settings: &manifest::Http) -> Connector {
    let secure = settings.origins.iter().any(|origin| origin.secure);
    let roots =
        if secure { connect::roots() } else { tokio_rustls::rustls::RootCertStore::empty() };
    Connector::new(connect::system, &settings.private, settings.connect_timeout, roots)
}

fn client(settings: &manifest::Http, connector: Connector) -> Client<Connector, Limited> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(settings.requests)
        .http1_max_buf_size(usize::try_from(settings.header_bytes).unwrap_or(64 << 10))
        .build(connector)
}

/// Where a request to `uri` goes; `None`: nowhere.
fn origin_of(uri: &Uri) -> Option<Origin> {
    let authority = uri.authority()?;
    let (host, port) = (authority.host(), authority.port());
    // What stands beside host and port: a user, or a port that is none.
    let length = host.len() + port.as_ref().map_or(0, |port| port.as_str().len() + 1);
    if host.is_empty() || host.len() > LONGEST_NAME || authority.as_str().len() != length {
        return None;
    }
    let secure = uri.scheme() != Some(&http::uri::Scheme::HTTP);
    Some(Origin::of_request(secure, host, port.map(|port| port.as_u16())))
}

#[cfg(test)]
mod tests;
