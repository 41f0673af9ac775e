//! Why a request of a guest came to nothing: what the guest is told (an error
//! code of `wasi:http`), and what the log says, with the remedy.

use std::{fmt, io, net::IpAddr, sync::Arc, time::Duration};

use humantime::format_duration;
use wasmtime_wasi_http::Error;

use crate::manifest::{Origin, Server, is_nameable};

/// Why there is no response, or no whole one.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// The plugin may not send requests there.
    NotGranted,
    /// The authority has a user in it, or is none.
    Authority,
    /// A method that would open a tunnel.
    Tunnel,
    /// The name leads to this address, which has to be named itself.
    Private(IpAddr),
    /// The name leads to this address, and not into the networks named for it.
    Elsewhere(IpAddr),
    /// As many requests are under way as may be.
    Busy {
        /// The key that limits them.
        key: &'static str,
        /// How many may be.
        most: usize,
    },
    /// The name cannot be looked up.
    Lookup(Arc<io::Error>),
    /// No connection in time.
    ConnectTimeout(Duration),
    /// No connection.
    Unreachable(Arc<io::Error>),
    /// No agreement on TLS, or a certificate that is not good.
    Tls(Arc<io::Error>),
    /// The request's body is larger than this.
    RequestBody(u64),
    /// What comes before the response's body is larger than this.
    Head(u64),
    /// The response's body is larger than this.
    ResponseBody(u64),
    /// Not done in time.
    Timeout(Duration),
    /// The guest's own limit: no response, or no more of it, in time.
    GuestTimeout,
    /// The run is over.
    Ended,
    /// The server does not speak HTTP as it should, or went away.
    Protocol(String),
}

impl Refusal {
    /// Whether it is worth a line in the log: the guest knows what it asked for.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Refusal::Ended | Refusal::GuestTimeout)
    }

    /// A word for what it is: one line in the log for each, for a while.
    pub(super) fn kind(&self) -> std::mem::Discriminant<Refusal> {
        std::mem::discriminant(self)
    }

    /// What the guest is told.
    pub(super) fn code(&self) -> Error {
        match self {
            Refusal::NotGranted => Error::HttpRequestDenied,
            Refusal::Authority => Error::HttpRequestUriInvalid,
            Refusal::Tunnel => Error::HttpRequestMethodInvalid,
            Refusal::Private(_) | Refusal::Elsewhere(_) => Error::DestinationIpProhibited,
            Refusal::Busy { .. } => Error::ConnectionLimitReached,
            Refusal::Lookup(error) => {
                Error::DnsError { rcode: Some(error.to_string()), info_code: None }
            }
            Refusal::ConnectTimeout(_) => Error::ConnectionTimeout,
            Refusal::Unreachable(error) => unreachable(error),
            Refusal::Tls(error) => tls(error),
            Refusal::RequestBody(most) => Error::HttpRequestBodySize(Some(*most)),
            Refusal::Head(most) => {
                Error::HttpResponseHeaderSectionSize(Some(u32::try_from(*most).unwrap_or(u32::MAX)))
            }
            Refusal::ResponseBody(most) => Error::HttpResponseBodySize(Some(*most)),
            Refusal::Timeout(_) => Error::HttpResponseTimeout,
            Refusal::GuestTimeout => Error::ConnectionReadTimeout,
            Refusal::Ended => Error::ConnectionTerminated,
            Refusal::Protocol(_) => Error::HttpProtocolError,
        }
    }

    /// What the log says of a request to `origin`.
    pub(super) fn explain(&self, origin: &Origin) -> String {
        format!("a request to {origin} {}", Explained(self, origin))
    }
}

fn private(address: IpAddr, origin: &Origin, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let granted = Origin { host: Server::Address(address), ..origin.clone() };
    write!(
        f,
        "was refused: the name leads to {address}, which is not public; if the plugin may go there, grant the address itself, `http = [\"{granted}\"]`"
    )?;
    match &origin.host {
        Server::Name(name) if is_nameable(address) => write!(
            f,
            ", or say where the name leads, `http-options.private = {{ \"{name}\" = \"{address}\" }}`"
        ),
        _ => Ok(()),
    }
}

fn unreachable(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            Error::ConnectionTerminated
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Error::DestinationIpUnroutable
        }
        _ => Error::DestinationUnavailable,
    }
}

fn tls(error: &io::Error) -> Error {
    use tokio_rustls::rustls::Error as Tls;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Tls>());
    match cause {
        Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(Tls::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    }
}

struct Explained<'a>(&'a Refusal, &'a Origin);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained(refusal, origin) = self;
        match refusal {
            Refusal::NotGranted => write!(
                f,
                "was refused: the plugin is not granted it; if it may go there, grant it with `http = [\"{origin}\"]`"
            ),
            Refusal::Authority => {
                f.write_str("was refused: its URL has no host, a bad port or a user in it")
            }
            Refusal::Tunnel => f.write_str("was refused: the method CONNECT is not served"),
            Refusal::Private(address) => private(*address, origin, f),
            Refusal::Elsewhere(address) => write!(
                f,
                "was refused: the name leads to {address}, and `http-options.private` says that it leads elsewhere; add the network to it if the plugin may go there"
            ),
            Refusal::Busy { key, most } => write!(
                f,
                "found no free place in time: {most} are under way; read or drop their responses, or raise `http-options.{key}`"
            ),
            Refusal::Lookup(error) => write!(f, "failed: the name cannot be looked up: {error}"),
            Refusal::ConnectTimeout(most) => write!(
                f,
                "failed: no connection within {} (`http-options.connect-timeout`)",
                format_duration(*most)
            ),
            Refusal::Unreachable(error) => write!(f, "failed: no connection: {error}"),
            Refusal::Tls(error) => write!(
                f,
                "failed: {error}; authorities are those of this system (or SSL_CERT_FILE)"
            ),
            Refusal::RequestBody(most) => write!(
                f,
                "was given up: its body is over {} (`http-options.request-bytes`)",
                bytesize::ByteSize(*most)
            ),
            Refusal::Head(most) => write!(
                f,
                "was given up: the response's headers are over {} (`http-options.header-bytes`) or 100",
                bytesize::ByteSize(*most)
            ),
            Refusal::ResponseBody(most) => write!(
                f,
                "was given up: the response's body is over {} (`http-options.response-bytes`)",
                bytesize::ByteSize(*most)
            ),
            Refusal::Timeout(most) => write!(
                f,
                "was given up: not done within {} (`http-options.timeout`)",
                format_duration(*most)
            ),
            Refusal::GuestTimeout => f.write_str("was given up: the guest's own time-out"),
            Refusal::Ended => f.write_str("ended with its run"),
            Refusal::Protocol(error) => write!(f, "failed: {error}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())
    }
}

impl std::error::Error for Refusal {}
