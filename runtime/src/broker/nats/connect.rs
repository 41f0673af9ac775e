//! Getting a connection: credentials, TLS, waiting for a server, its version.
//!
//! Only what a remedy needs is told apart: a server that is away may come back
//! and is waited for; wrong credentials and TLS trouble do not mend themselves.

use std::{error::Error as _, future::ready, io, path::Path, sync::Arc, time::Duration};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, rustls};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    connection::Connection,
    credentials::{self, Credentials},
    readers,
};
use crate::{
    broker::SetupError,
    manifest::{Auth, Nats, Tls},
};

/// What to do when no server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// Say so, and try until one does.
    Wait,
    /// Give up.
    Fail,
}

/// The oldest server that does all that we ask for.
const OLDEST_SERVER: Version = Version(2, 10, 0);
/// How often the log repeats that no server answers.
const REMINDER: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long one attempt at one address may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server's version: major, minor, patch. What follows them is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u64, pub(super) u64, pub(super) u64);

impl Version {
    /// Reads the start of `text`. The client's own reading panics on odd texts.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Version(major, minor, numbers.next().flatten().unwrap_or(0)))
    }
}

/// Ends when a client does: in order, or because it broke down.
pub(super) type Life = oneshot::Receiver<()>;

/// Connects as `nats` says, under the client name `name`.
pub(super) async fn connect(
    nats: &Nats,
    name: &str,
    unreachable: WhenUnreachable,
    connection: &Arc<Connection>,
) -> Result<(Client, Life), SetupError> {
    let (mut attempt, mut told) = (0, None::<Instant>);
    loop {
        let (alive, life) = oneshot::channel();
        let options = options(nats, name, connection, alive)?;
        let error = match options.connect(&nats.urls).await {
            Ok(client) => return Ok((check_version(nats, client)?, life)),
            Err(error) => error,
        };
        if let Some((code, remedy)) = remedy(&error, &nats.auth, &nats.tls) {
            return Err(failed(code, nats, format!("{}; {remedy}", chain(&error))));
        }
        if unreachable == WhenUnreachable::Fail {
            let remedy = "start the server, or correct `url` in `[nats]`";
            return Err(failed(
                "nats-unreachable",
                nats,
                format!("not reachable: {}; {remedy}", chain(&error)),
            ));
        }
        if told.is_none_or(|told| told.elapsed() >= REMINDER) {
            told = Some(Instant::now());
            tracing::warn!(code = "nats-unreachable", url = %place(nats), error = %chain(&error), "nats is not reachable; waiting for it");
        }
        attempt += 1;
        sleep(delay(attempt)).await;
    }
}

/// The delay before attempt number `attempt`, from 1: doubled each time, capped,
/// and spread, so that not all hosts come back in the same instant.
pub(super) fn delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    let longest = Duration::from_millis(50).saturating_mul(1 << doublings).min(LONGEST_DELAY);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

fn options(
    nats: &Nats,
    name: &str,
    connection: &Arc<Connection>,
    alive: oneshot::Sender<()>,
) -> Result<ConnectOptions, SetupError> {
    let events = Arc::clone(connection);
    let options = with_auth(nats)?
        .name(name)
        .ping_interval(nats.ping_interval)
        .connection_timeout(ATTEMPT_TIMEOUT)
        .request_timeout(Some(nats.request_timeout))
        .max_reconnects(None)
        .subscription_capacity(readers::CAPACITY)
        .reconnect_delay_callback(delay_of_client)
        .event_callback(move |event| {
            // The client drops this function, and `alive` with it, when it ends.
            let (events, _) = (Arc::clone(&events), &alive);
            async move { events.note(event) }
        });
    with_tls(options, nats)
}

/// The client counts the first attempt, which need not wait.
fn delay_of_client(attempt: usize) -> Duration {
    if attempt <= 1 { delay(1).mul_f64(rand::random_range(0.0..=1.0)) } else { delay(attempt) }
}

fn with_tls(options: ConnectOptions, nats: &Nats) -> Result<ConnectOptions, SetupError> {
    let Tls { required, first, ca, identity } = &nats.tls;
    let mut options = options.require_tls(*required);
    if *first {
        options = options.tls_first();
    }
    if let Some(ca) = ca {
        readable(nats, ca)?;
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = identity {
        readable(nats, certificate)?;
        readable(nats, key)?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

fn with_auth(nats: &Nats) -> Result<ConnectOptions, SetupError> {
    let options = ConnectOptions::new();
    match &nats.auth {
        Auth::None => Ok(options),
        Auth::Credentials(path) => with_credentials(nats, path),
        Auth::NKey(seed) => Ok(options.nkey(seed.expose().to_owned())),
        Auth::Token(token) => Ok(options.token(token.expose().to_owned())),
        Auth::Password { user, password } => {
            Ok(options.user_and_password(user.clone(), password.expose().to_owned()))
        }
    }
}

fn with_credentials(nats: &Nats, path: &Path) -> Result<ConnectOptions, SetupError> {
    Credentials::read(path).map_err(|problem| {
        let path = path.display();
        failed(
            "nats-auth",
            nats,
            format!("credentials file `{path}`: {problem}; correct its path or content"),
        )
    })?;
    let path = Arc::<Path>::from(path);
    Ok(ConnectOptions::with_auth_callback(move |nonce| ready(credentials::answer(&path, &nonce))))
}

/// The client would take a missing file for trouble with the network.
fn readable(nats: &Nats, path: &Path) -> Result<(), SetupError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let path = path.display();
            Err(failed(
                "nats-tls",
                nats,
                format!("`{path}`: {error}; correct the path in `[nats.tls]`"),
            ))
        }
    }
}

fn check_version(nats: &Nats, client: Client) -> Result<Client, SetupError> {
    let text = client.server_info().version;
    match Version::parse(&text) {
        Some(version) if version >= OLDEST_SERVER => Ok(client),
        _ => {
            let Version(major, minor, patch) = OLDEST_SERVER;
            let needed = format!("{major}.{minor}.{patch}");
            Err(failed(
                "nats-version",
                nats,
                format!(
                    "the server has version `{text}`; upgrade it to {needed} or newer, older ones ignore settings that delivery depends on"
                ),
            ))
        }
    }
}

/// The code of an error that waiting does not mend, and what to do about it;
/// `None`: it may pass.
fn remedy(error: &ConnectError, auth: &Auth, tls: &Tls) -> Option<(&'static str, String)> {
    let texts = chain(error).to_ascii_lowercase();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Some(("nats-auth", remedy_for_auth(auth)))
        }
        ConnectErrorKind::ServerParse => Some(("bad-url", "correct `url` in `[nats]`".to_owned())),
        ConnectErrorKind::Tls => Some(("nats-tls", remedy_for_tls(tls))),
        _ if is_tls(error) => Some(("nats-tls", remedy_for_tls(tls))),
        // "User Authentication Expired", "Account Authentication Expired".
        _ if texts.contains("authentication") => Some(("nats-auth", remedy_for_auth(auth))),
        _ => None,
    }
}

fn remedy_for_auth(auth: &Auth) -> String {
    let how = match auth {
        Auth::None => return "the server wants credentials: set one of `credentials`, `nkey`, `token`, `user` in `[nats]`".to_owned(),
        Auth::Credentials(path) => format!("the credentials of `{}`", path.display()),
        Auth::NKey(_) => "this NKey".to_owned(),
        Auth::Token(_) => "this token".to_owned(),
        Auth::Password { user, .. } => format!("user `{user}` with this password"),
    };
    format!("the server does not accept {how}: correct `[nats]`, or let them in on the server")
}

fn remedy_for_tls(tls: &Tls) -> String {
    match tls.ca {
        None => "if its certificate is signed by a private authority, set `ca` in `[nats.tls]`; if the server does not speak TLS, do not require it",
        Some(_) => "check that `ca` in `[nats.tls]` signed the server's certificate, that the certificate names this host, and that the server speaks TLS the same way (`required`, `first`)",
    }
    .to_owned()
}

/// The client hides an error of the handshake in an input/output error.
fn is_tls(error: &ConnectError) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        let io = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is::<rustls::Error>() || io.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The error and its causes in one line. The client's errors print their direct
/// cause themselves.
fn chain(error: &ConnectError) -> String {
    error.to_string()
}

fn failed(code: &'static str, nats: &Nats, problem: String) -> SetupError {
    SetupError { code, what: format!("nats `{}`", place(nats)), problem }
}

/// The servers' addresses, without what may be a secret in them.
fn place(nats: &Nats) -> String {
    let urls = nats.urls.iter().map(|url| match url.split_once("://") {
        Some((scheme, rest)) => {
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
        }
        None => url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).to_owned(),
    });
    urls.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
