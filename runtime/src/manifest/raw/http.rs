//! Outbound HTTP as it is written: which servers, and the limits.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use toml::de::DeValue;

use super::{GIB, HOUR, KIB, MIB};
use crate::manifest::{
    network::{self, Private},
    origin::Origin,
    problem::quoted,
    reader::{Node, Report, Table},
    value::{self, Size, Time},
};

/// The most servers of one plugin.
const MOST_ORIGINS: usize = 100;

/// The most networks of one name.
const MOST_NETWORKS: usize = 100;

/// The networks of one name.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes `Private` in the JSON Schema")]
pub enum Networks {
    /// `billing = "10.0.0.0/8"`
    One(String),
    /// `billing = ["10.1.0.0/16", "fd12:3456::/32"]`
    Several(Vec<String>),
}

/// `[plugins.<name>.http-options]`: limits of outbound HTTP.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpOptions {
    /// Names among the servers of `http` that lead into private networks: each
    /// with the networks, or addresses, that it may lead to. It then leads
    /// nowhere else. `private = { billing = "10.0.0.0/8" }`
    #[schemars(with = "Option<BTreeMap<String, Networks>>", extend("default" = {}, "examples" = [{ "billing": "10.0.0.0/8" }, { "db.internal": ["10.1.0.0/16", "fd12:3456::/32"] }]))]
    pub private: Option<Private>,
    /// How long a connection may take, with the look-up of the name, the TLS
    /// handshake, and the wait for a free place (`requests`, `concurrency`);
    /// 10 ms to 1 min. `connect-timeout = "3s"`
    #[schemars(extend("default" = "3s", "examples" = ["500ms"]))]
    pub connect_timeout: Option<Time>,
    /// How long one request may take, to the end of the response; 10 ms to 1 h.
    /// It ends with the run in any case. `timeout = "30s"`
    #[schemars(extend("default" = "30s", "examples" = ["1s"]))]
    pub timeout: Option<Time>,
    /// Bytes of the response before its body; 8 KiB to 1 MiB. `header-bytes = "64KiB"`
    #[schemars(extend("default" = "64KiB", "examples" = ["16KiB"]))]
    pub header_bytes: Option<Size>,
    /// Bytes of a request's body; up to 1 GiB. `request-bytes = "8MiB"`
    #[schemars(extend("default" = "8MiB", "examples" = ["1MiB"]))]
    pub request_bytes: Option<Size>,
    /// Bytes of a response's body; up to 1 GiB. `response-bytes = "8MiB"`
    #[schemars(extend("default" = "8MiB", "examples" = ["1MiB"]))]
    pub response_bytes: Option<Size>,
    /// Requests of one run at a time; what is more waits. `requests = 16`
    #[schemars(range(min = 1, max = 256), extend("default" = 16, "examples" = [4]))]
    pub requests: Option<u64>,
    /// Requests of all runs of the plugin at a time, in each replica; what is more
    /// waits. `concurrency = 256`
    #[schemars(range(min = 1, max = 10_000), extend("default" = 256, "examples" = [32]))]
    pub concurrency: Option<u64>,
    /// Whether the host adds the header `Idempotency-Key`, made of the event's id,
    /// to POST and PATCH requests that have none. `idempotency-key = true`
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub idempotency_key: Option<bool>,
}

impl HttpOptions {
    pub(super) fn read(table: &mut Table<'_, '_>) -> HttpOptions {
        let least = Duration::from_millis(10);
        HttpOptions {
            private: table.get("private", private),
            connect_timeout: table
                .get("connect-timeout", value::time(least..=Duration::from_secs(60))),
            timeout: table.get("timeout", value::time(least..=HOUR)),
            header_bytes: table.get("header-bytes", value::size(8 * KIB..=MIB)),
            request_bytes: table.get("request-bytes", value::size(0..=GIB)),
            response_bytes: table.get("response-bytes", value::size(0..=GIB)),
            requests: table.get("requests", value::count(1..=256)),
            concurrency: table.get("concurrency", value::count(1..=10_000)),
            idempotency_key: table.get("idempotency-key", value::flag),
        }
    }
}

/// Reads the servers that requests may go to.
pub fn origins(node: &Node<'_>, report: &mut Report) -> Option<Vec<Origin>> {
    let help = "write a list: [\"https://api.example.com\", \"http://127.0.0.1:8080\"]";
    let Some(elements) = node.elements() else {
        report.add(node.wrong_type("a list of servers", help));
        return None;
    };
    let mut found: Vec<(String, Origin)> = Vec::new();
    for element in elements {
        let Some(origin) = origin(&element, help, report) else { continue };
        match found.iter().find(|(_, other)| *other == origin) {
            Some((first, _)) => {
                report.add(value::listed_twice(&element, first, &origin.to_string()));
            }
            None => found.push((element.path, origin)),
        }
    }
    if found.len() > MOST_ORIGINS {
        let message = format!("`{}` names more than {MOST_ORIGINS} servers", node.path);
        report
            .add(node.problem("too-many", message).help("divide the work between several plugins"));
    }
    Some(found.into_iter().map(|(_, origin)| origin).collect())
}

fn origin(node: &Node<'_>, help: &str, report: &mut Report) -> Option<Origin> {
    let text = node.text("a server", help, report)?;
    let (what, help) = match Origin::parse(text) {
        Ok(origin) => return Some(origin),
        Err(mistake) => mistake,
    };
    // A user's password must not be repeated.
    let shown = if text.contains('@') { "a URL" } else { &quoted(text) };
    let message = format!("`{}` is {shown}, which cannot be granted: {what}", node.path);
    report.add(node.problem("bad-origin", message).help(help));
    None
}

/// Reads the names that lead into private networks.
fn private(node: &Node<'_>, report: &mut Report) -> Option<Private> {
    if !node.value.is_table() {
        let help = "write `private = { billing = \"10.0.0.0/8\" }`";
        report.add(node.wrong_type("a table of names", help));
        return None;
    }
    node.named(report, |name, node, report| networks(name, node, report))
}

fn networks(name: &str, node: &Node<'_>, report: &mut Report) -> Option<Vec<IpNet>> {
    const EXAMPLE: &str = "write \"10.0.0.0/8\", or [\"10.1.0.0/16\", \"fd12:3456::/32\"]";
    let elements = match (node.value, node.elements()) {
        (DeValue::String(_), _) => return network(node, EXAMPLE, report).map(|one| vec![one]),
        (_, Some(elements)) => elements,
        (DeValue::Table(_), _) => {
            let help = format!("put a name with dots in quotes: `\"{name}.…\" = \"10.0.0.0/8\"`");
            report.add(node.wrong_type("a network, or a list of them", &help));
            return None;
        }
        _ => {
            report.add(node.wrong_type("a network, or a list of them", EXAMPLE));
            return None;
        }
    };
    let mut found: Vec<(String, IpNet)> = Vec::new();
    for element in elements {
        let Some(network) = network(&element, EXAMPLE, report) else { continue };
        match found.iter().find(|(_, other)| *other == network) {
            Some((first, _)) => {
                report.add(value::listed_twice(&element, first, &network.to_string()));
            }
            None => found.push((element.path, network)),
        }
    }
    match node.value.as_array().map_or(0, |items| items.len()) {
        0 => report.add(value::empty_list(node, EXAMPLE)),
        n if n > MOST_NETWORKS => {
            let message = format!("`{}` names more than {MOST_NETWORKS} networks", node.path);
            report.add(node.problem("too-many", message).help("name wider networks"));
        }
        _ => {}
    }
    Some(found.into_iter().map(|(_, network)| network).collect())
}

fn network(node: &Node<'_>, help: &str, report: &mut Report) -> Option<IpNet> {
    let text = node.text("a network", help, report)?;
    match network::parse(text) {
        Ok(network) => Some(network),
        Err((what, help)) => {
            let message = format!("`{}` is {}: {what}", node.path, quoted(text));
            report.add(node.problem("bad-network", message).help(help));
            None
        }
    }
}
