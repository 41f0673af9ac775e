//! The manifest as it is written: every key, its type, its documentation.
//!
//! Only the shape: what is absent stays absent (defaults are in `check`), and
//! no value is compared with another. The JSON Schema is made from here.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use schemars::JsonSchema;
use toml::de::{DeTable, DeValue};

use super::{
    problem::{Problem, quoted},
    reader::{Node, Report, Table},
    source::Target,
    value::{self, File, Name, Size, Time},
};

pub mod build;
pub mod flow;
pub mod plugin;
pub mod stream;

pub use build::Build;
pub use flow::{Breaker, BreakerOrNot};
pub use plugin::{Limits, Plugin, Retry};
pub use stream::{DeadLetters, Stream};

/// One millisecond.
pub const MILLISECOND: Duration = Duration::from_millis(1);
/// The least time that the server accepts for ages and windows.
pub const TENTH: Duration = Duration::from_millis(100);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3_600);
/// One day.
pub const DAY: Duration = Duration::from_secs(86_400);
/// One year, leap days included.
pub const YEAR: Duration = Duration::from_secs(31_557_600);
/// 1,024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1,024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1,024 MiB.
pub const GIB: u64 = 1 << 30;
/// More than any disk: still within the server's 63 bits.
pub const MOST_BYTES: u64 = 1 << 60;

/// A manifest of Pelton: which handlers run on which events from NATS.
///
/// ```toml
/// [plugins.price]
/// component = "price.wasm"
/// subscribe = ["orders.created"]
/// publish = ["orders.priced"]
/// ```
#[derive(Debug, Default, JsonSchema)]
#[schemars(title = "Pelton manifest", rename_all = "kebab-case", deny_unknown_fields)]
pub struct Document {
    /// The process as a whole.
    ///
    /// ```toml
    /// [host]
    /// name = "orders"
    /// ```
    pub host: Option<Host>,
    /// How to reach the NATS servers.
    ///
    /// ```toml
    /// [nats]
    /// url = "nats://127.0.0.1:4222"
    /// ```
    pub nats: Option<Nats>,
    /// The HTTP server for metrics and health; without this table there is none.
    ///
    /// ```toml
    /// [admin]
    /// listen = "127.0.0.1:9464"
    /// ```
    pub admin: Option<Admin>,
    /// Where events go that could not be handled.
    ///
    /// ```toml
    /// [dead-letters]
    /// max-age = "30days"
    /// ```
    pub dead_letters: Option<DeadLetters>,
    /// Streams, by name: created when missing, compared when present.
    ///
    /// ```toml
    /// [streams.ORDERS]
    /// subjects = ["orders.>"]
    /// ```
    pub streams: Option<BTreeMap<Name, Stream>>,
    /// Plugins, by name; at least one.
    ///
    /// ```toml
    /// [plugins.price]
    /// component = "price.wasm"
    /// subscribe = ["orders.created"]
    /// ```
    #[schemars(required, extend("minProperties" = 1))]
    pub plugins: Option<BTreeMap<Name, Plugin>>,
}

/// `[host]`
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Host {
    /// First part of the names of consumers, queue groups and the dead letters:
    /// hosts with different names share a NATS without disturbing each other,
    /// hosts with the same name share the work. `name = "orders"`
    #[schemars(extend("default" = "pelton", "examples" = ["orders"]))]
    pub name: Option<Name>,
    /// The most events in flight, over all plugins. `max-in-flight = 1024`
    #[schemars(range(min = 1, max = 2_048), extend("default" = 1024, "examples" = [256]))]
    pub max_in_flight: Option<u64>,
    /// The most bytes of events in flight, over all plugins; 1 MiB to 1 TiB.
    /// `max-in-flight-bytes = "256MiB"`
    #[schemars(extend("default" = "256MiB", "examples" = ["64MiB"]))]
    pub max_in_flight_bytes: Option<Size>,
    /// How long a stop waits for what is in flight; up to 1 h. `drain = "30s"`
    #[schemars(extend("default" = "30s", "examples" = ["10s"]))]
    pub drain: Option<Time>,
    /// The stack of a guest; 64 KiB to 16 MiB. `stack = "512KiB"`
    #[schemars(extend("default" = "512KiB", "examples" = ["1MiB"]))]
    pub stack: Option<Size>,
    /// The folder for compiled components; by default the user's cache folder.
    /// `cache = "/var/cache/pelton"`
    #[schemars(extend("examples" = ["/var/cache/pelton"]))]
    pub cache: Option<File>,
}

/// `[nats]`; at most one of `credentials`, `nkey`, `token`, `user` with `password`.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Nats {
    /// The server, or a list of servers of one cluster; without user and password.
    /// `url = "nats://127.0.0.1:4222"`
    #[schemars(extend("default" = "nats://127.0.0.1:4222", "examples" = [["nats://n1:4222", "nats://n2:4222"]]))]
    pub url: Option<Urls>,
    /// A credentials file (JWT and NKey seed). `credentials = "orders.creds"`
    #[schemars(extend("examples" = ["orders.creds"]))]
    pub credentials: Option<File>,
    /// An NKey seed. `nkey = { from-file = "orders.nk" }`
    #[schemars(extend("examples" = [{ "from-file": "orders.nk" }]))]
    pub nkey: Option<Secret>,
    /// The user, together with `password`. `user = "orders"`
    #[schemars(extend("examples" = ["orders"]))]
    pub user: Option<String>,
    /// The user's password. `password = { from-env = "NATS_PASSWORD" }`
    #[schemars(extend("examples" = [{ "from-env": "NATS_PASSWORD" }]))]
    pub password: Option<Secret>,
    /// A token. `token = { from-env = "NATS_TOKEN" }`
    #[schemars(extend("examples" = [{ "from-env": "NATS_TOKEN" }]))]
    pub token: Option<Secret>,
    /// How long one request to the server may take; 10 ms to 5 min. `request-timeout = "5s"`
    #[schemars(extend("default" = "5s", "examples" = ["2s"]))]
    pub request_timeout: Option<Time>,
    /// How often the connection is probed; three silences end it; 100 ms to 10 min.
    /// `ping-interval = "10s"`
    #[schemars(extend("default" = "10s", "examples" = ["30s"]))]
    pub ping_interval: Option<Time>,
    /// TLS.
    ///
    /// ```toml
    /// [nats.tls]
    /// ca = "ca.pem"
    /// ```
    pub tls: Option<Tls>,
}

/// `[nats.tls]`
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tls {
    /// Refuse to talk without TLS; `false` takes what the server offers, which
    /// whoever sits between can turn off. `required = false`
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub required: Option<bool>,
    /// Begin with the handshake, before the server's greeting; the server must
    /// have `handshake_first`. `first = true`
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub first: Option<bool>,
    /// Certificates of authorities (PEM), in place of the system's. `ca = "ca.pem"`
    #[schemars(extend("examples" = ["ca.pem"]))]
    pub ca: Option<File>,
    /// The client's certificate (PEM), together with `key`. `cert = "client.pem"`
    #[schemars(extend("examples" = ["client.pem"]))]
    pub cert: Option<File>,
    /// The client's private key (PEM), together with `cert`. `key = "client.key"`
    #[schemars(extend("examples" = ["client.key"]))]
    pub key: Option<File>,
}

/// `[admin]`
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Admin {
    /// Address and port of `/metrics`, `/livez` and `/readyz`. `listen = "127.0.0.1:9464"`
    #[schemars(required, with = "Option<String>", extend("examples" = ["127.0.0.1:9464", "[::1]:9464"]))]
    pub listen: Option<SocketAddr>,
}

/// One server or several.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Urls {
    /// `"nats://127.0.0.1:4222"`
    One(String),
    /// `["nats://n1:4222", "nats://n2:4222"]`
    Several(#[schemars(length(min = 1))] Vec<String>),
}

/// Where a secret is kept: never in the manifest itself.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Secret {
    /// In an environment variable: `{ from-env = "NATS_PASSWORD" }`
    FromEnv(String),
    /// In a file, without the line break at its end: `{ from-file = "password.txt" }`
    FromFile(File),
}

impl Document {
    /// Reads the whole document; what is wrong goes into `report`.
    pub fn read(entries: &DeTable<'_>, report: &mut Report) -> Document {
        Table::read("", entries, report, |table| Document {
            host: table.section("host", Host::read),
            nats: table.section("nats", Nats::read),
            admin: table.section("admin", Admin::read),
            dead_letters: table.section("dead-letters", DeadLetters::read),
            streams: table
                .get("streams", |node, report| named(node, report, "stream", Stream::read)),
            plugins: table.need_or("plugins", no_plugins(), |node, report| {
                if node.value.as_table().is_some_and(|plugins| plugins.is_empty()) {
                    let at = Target::Key(node.path.clone());
                    report.add(no_plugins().label(at, "there is none in here"));
                }
                named(node, report, "plugin", Plugin::read)
            }),
        })
    }
}

fn no_plugins() -> Problem {
    Problem::new("no-plugins", "the manifest has no plugins: there is nothing to run").help(
        "add one, for example:\n\
         [plugins.price]\n\
         component = \"price.wasm\"\n\
         subscribe = [\"orders.created\"]\n\
         publish = [\"orders.priced\"]",
    )
}

/// Reads tables whose names, which are names of `what`, become parts of NATS names.
fn named<'t, T>(
    node: &Node<'t>,
    report: &mut Report,
    what: &str,
    read: impl Fn(&mut Table<'t, '_>) -> T,
) -> Option<BTreeMap<Name, T>> {
    let named = node.named(report, |name, node, report| {
        if let Err(message) = value::check_name(name, &format!("the name of a {what}")) {
            let problem = Problem::new("bad-name", message)
                .label(Target::Key(node.path.clone()), "")
                .help(value::NAME_HELP);
            report.add(problem);
        }
        if !node.value.is_table() {
            let help = format!(
                "`{what}s` has one table for each {what}: write `[{}]` on a line of its own",
                node.path.replacen(name, "NAME", 1)
            );
            report.add(node.wrong_type("a table", &help));
            return None;
        }
        node.table(report, &read)
    })?;
    Some(named.into_iter().map(|(name, value)| (Name(name), value)).collect())
}

impl Host {
    fn read(table: &mut Table<'_, '_>) -> Host {
        Host {
            name: table.get("name", value::name("the name of the host")),
            max_in_flight: table.get("max-in-flight", value::count(1..=2_048)),
            max_in_flight_bytes: table.get("max-in-flight-bytes", value::size(MIB..=GIB << 10)),
            drain: table.get("drain", value::time(Duration::ZERO..=HOUR)),
            stack: table.get("stack", value::size(64 * KIB..=16 * MIB)),
            cache: table.get("cache", value::file),
        }
    }
}

impl Nats {
    fn read(table: &mut Table<'_, '_>) -> Nats {
        let request_bounds = Duration::from_millis(10)..=Duration::from_secs(300);
        Nats {
            url: table.get("url", urls),
            credentials: table.get("credentials", value::file),
            nkey: table.get("nkey", secret),
            user: table.get("user", value::text),
            password: table.get("password", secret),
            token: table.get("token", secret),
            request_timeout: table.get("request-timeout", value::time(request_bounds)),
            ping_interval: table
                .get("ping-interval", value::time(TENTH..=Duration::from_secs(600))),
            tls: table.section("tls", Tls::read),
        }
    }
}

impl Tls {
    fn read(table: &mut Table<'_, '_>) -> Tls {
        Tls {
            required: table.get("required", value::flag),
            first: table.get("first", value::flag),
            ca: table.get("ca", value::file),
            cert: table.get("cert", value::file),
            key: table.get("key", value::file),
        }
    }
}

impl Admin {
    fn read(table: &mut Table<'_, '_>) -> Admin {
        Admin { listen: table.need("listen", "listen = \"127.0.0.1:9464\"", address) }
    }
}

impl Urls {
    /// The URLs, each with its path below `nats.url`.
    pub fn with_paths(&self) -> Vec<(String, &str)> {
        match self {
            Urls::One(url) => vec![("nats.url".to_owned(), url)],
            Urls::Several(urls) => urls
                .iter()
                .enumerate()
                .map(|(index, url)| (format!("nats.url[{index}]"), url.as_str()))
                .collect(),
        }
    }
}

fn urls(node: &Node<'_>, report: &mut Report) -> Option<Urls> {
    let Some(elements) = node.elements() else {
        let help = "write a URL, \"nats://127.0.0.1:4222\", or a list of them";
        return node
            .text("a URL or a list of URLs", help, report)
            .map(|url| Urls::One(url.to_owned()));
    };
    let read = |element: Node<'_>| {
        let url = element.text("a URL", "write it in quotes: \"nats://127.0.0.1:4222\"", report);
        url.unwrap_or_default().to_owned()
    };
    let urls: Vec<String> = elements.map(read).collect();
    if urls.is_empty() {
        report
            .add(value::empty_list(node, "name at least one server: [\"nats://127.0.0.1:4222\"]"));
    }
    Some(Urls::Several(urls))
}

fn address(node: &Node<'_>, report: &mut Report) -> Option<SocketAddr> {
    const HELP: &str = "write an IP address and a port: \"127.0.0.1:9464\", or \"0.0.0.0:9464\" for all interfaces";
    let text = node.text("an address", HELP, report)?;
    let address = text.parse();
    if address.is_err() {
        let message =
            format!("`{}` is {}, which is not an IP address with a port", node.path, quoted(text));
        report.add(node.problem("bad-address", message).help(HELP));
    }
    address.ok()
}

fn secret(node: &Node<'_>, report: &mut Report) -> Option<Secret> {
    let key = node.path.rsplit('.').next().unwrap_or_default();
    let help = format!(
        "write `{key} = {{ from-env = \"NATS_{}\" }}` or `{key} = {{ from-file = \"{key}.txt\" }}`",
        key.to_uppercase()
    );
    if let DeValue::String(_) = node.value {
        let message = format!("`{}` is a secret and must not be in the manifest itself", node.path);
        report.add(node.problem("inline-secret", message).help(help));
        return None;
    }
    if !node.value.is_table() {
        report.add(node.wrong_type("a table that says where the secret is", &help));
        return None;
    }
    let (from_env, from_file) = node.table(report, |table| {
        (table.get("from-env", value::text), table.get("from-file", value::file))
    })?;
    match (from_env, from_file) {
        (Some(variable), None) => Some(Secret::FromEnv(variable)),
        (None, Some(file)) => Some(Secret::FromFile(file)),
        (both, _) => {
            let wrong = if both.is_some() { "two places" } else { "no place" };
            let message = format!("`{}` names {wrong} to take the secret from", node.path);
            if report.is_sound(&[&node.path]) {
                report.add(node.problem("secret", message).help(help));
            }
            None
        }
    }
}
