//! Connections: a name is looked up, what it leads to is checked, and the
//! connection goes to the very address that was checked. Nothing is looked up a
//! second time.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::{address::may_reach, origin_of, refusal::Refusal};
use crate::manifest::{Origin, Private, Server};

/// Look-ups of one plugin at a time. One that takes too long is not waited for,
/// but the system goes on with it.
const MOST_LOOKUPS: usize = 16;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Looks a name up. Tests have others.
pub(super) type Lookup = fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// Asks the system.
pub(super) fn system(name: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
}

/// Makes connections for one plugin.
#[derive(Clone)]
pub(super) struct Connector {
    lookup: Lookup,
    lookups: Arc<Semaphore>,
    private: Arc<Private>,
    limit: Duration,
    /// An error if there is no TLS in this build.
    tls: Result<TlsConnector, Arc<io::Error>>,
}

/// A stream of bytes, encrypted or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Connection for Box<dyn Wire> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Connector {
    /// `limit`: how long a connection may take, from the look-up to the end of the
    /// TLS handshake. `private`: the names that lead into private networks.
    pub(super) fn new(
        lookup: Lookup,
        private: &Private,
        limit: Duration,
        roots: RootCertStore,
    ) -> Connector {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|config| config.with_root_certificates(roots).with_no_client_auth());
        Connector {
            lookup,
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
            private: Arc::new(private.clone()),
            limit,
            tls: config.map(speaking_http1).map_err(|error| Arc::new(io::Error::other(error))),
        }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Box<dyn Wire>>, Refusal> {
        let origin = origin_of(&uri).ok_or(Refusal::Authority)?;
        let deadline = Instant::now() + self.limit;
        let late = |_| Refusal::ConnectTimeout(self.limit);
        let addresses = timeout_at(deadline, self.addresses(&origin)).await.map_err(late)??;
        let stream = self.reach(&addresses, deadline).await?;
        if !origin.secure {
            return Ok(TokioIo::new(Box::new(stream)));
        }
        let server = server_name(&origin.host)?;
        let tls = self.tls.clone().map_err(Refusal::Tls)?;
        let handshake = timeout_at(deadline, tls.connect(server, stream)).await;
        let stream = handshake.map_err(late)?.map_err(|error| Refusal::Tls(Arc::new(error)))?;
        Ok(TokioIo::new(Box::new(stream)))
    }

    /// The addresses that the connection may go to.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, Refusal> {
        let name = match &origin.host {
            Server::Address(address) => return Ok(vec![SocketAddr::new(*address, origin.port)]),
            Server::Name(name) => name,
        };
        let unknown = |error| Refusal::Lookup(Arc::new(error));
        let found = self.look_up(name.clone(), origin.port).await.map_err(unknown)?;
        let nothing = || unknown(io::Error::other("it has no address"));
        let first = found.first().ok_or_else(nothing)?.ip();
        let mut allowed = found;
        allowed.retain(|address| may_reach(origin, &self.private, address.ip()));
        allowed.truncate(MOST_ADDRESSES);
        match allowed.is_empty() {
            false => Ok(allowed),
            true if self.private.contains_key(name) => Err(Refusal::Elsewhere(first)),
            true => Err(Refusal::Private(first)),
        }
    }

    async fn look_up(&self, name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let lookup = (self.lookup)(name, port);
        // Its place is taken for as long as the system is at it.
        let task = tokio::spawn(async move {
            let found = lookup.await;
            drop(permit);
            found
        });
        task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Tries one address after the other, each with its share of the time.
    async fn reach(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, Refusal> {
        let mut last = Refusal::ConnectTimeout(self.limit);
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let untried = u32::try_from(addresses.len() - tried).unwrap_or(1);
            match timeout(left / untried.max(1), TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it small requests are slower, and that is all.
                    _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Refusal::Unreachable(Arc::new(error)),
                Err(_) => last = Refusal::ConnectTimeout(self.limit),
            }
        }
        Err(last)
    }
}

fn speaking_http1(mut config: ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn server_name(host: &Server) -> Result<ServerName<'static>, Refusal> {
    match host {
        Server::Address(address) => Ok(ServerName::from(*address)),
        Server::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Refusal::Authority),
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// The authorities that this system trusts.
pub(super) fn roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            errors = ?found.errors,
            "this system has no certificates of authorities: https requests of plugins will fail; install ca-certificates, or set SSL_CERT_FILE"
        );
    }
    roots
}
