//! `[plugins.<name>]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use toml::de::DeValue;

use super::{
    Build, DAY, GIB, HOUR, KIB, MIB, MILLISECOND, Secret, TENTH,
    flow::{self, BreakerOrNot},
    grants,
    http::{self, HttpOptions},
};
use crate::manifest::{
    Ack, Isolation, OnFailure, OrderBy, Rate, Start,
    origin::Origin,
    problem::quoted,
    reader::{Node, Report, Table},
    value::{self, Empty, File, Filter, Name, Size, Time},
};

/// `[plugins.<name>]`: a component, what it is given, and what it may do.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plugin {
    /// The component's file. `component = "price.wasm"`
    #[schemars(required, extend("examples" = ["price.wasm"]))]
    pub component: Option<File>,
    /// The stream it reads, through a durable consumer: at least once. Without
    /// it the plugin reads core NATS: at most once. `stream = "ORDERS"`
    #[schemars(extend("examples" = ["ORDERS"]))]
    pub stream: Option<Name>,
    /// Which subjects it is given; they may not overlap.
    /// `subscribe = ["orders.created"]`
    #[schemars(required, length(min = 1), extend("examples" = [["orders.created"]]))]
    pub subscribe: Option<Vec<Filter>>,
    /// What it may publish into streams; anything else fails the run. Replies
    /// are always allowed. `publish = ["orders.priced", "audit.>"]`
    #[schemars(extend("default" = [], "examples" = [["orders.priced", "audit.>"]]))]
    pub publish: Option<Vec<Filter>>,
    /// What it may publish over core NATS, at most once. `publish-core = ["ticks.>"]`
    #[schemars(extend("default" = [], "examples" = [["ticks.>"]]))]
    pub publish_core: Option<Vec<Filter>>,
    /// Components of other contracts only (`pelton inspect` names them): which
    /// subjects it may ask on while it runs, over core NATS. A request leaves at
    /// once, and once more when the event is run again. `request = ["rpc.>"]`
    #[schemars(extend("default" = [], "examples" = [["rpc.>"]]))]
    pub request: Option<Vec<Filter>>,
    /// Plugins with `stream` only: what makes events belong together that have to
    /// be handled in the order of the stream: a token of the subject, a header
    /// or a JSON pointer. Events of one key run one after the other, through
    /// retries and crashes; other keys run beside them. One replica at a time
    /// has the plugin, and another takes over when it ends. Events without a
    /// key count as of one key. `order-by = "subject.2"`
    #[schemars(with = "Option<String>", regex(pattern = r"^(subject\.[1-9][0-9]?|header:[!-9;-~]+|json:/.*)$"), extend("examples" = ["subject.2", "header:Order-Id", "json:/order/id"]))]
    pub order_by: Option<OrderBy>,
    /// Plugins with `order-by` only: whether an event that fails for good goes
    /// to the dead letters, which is a gap in the order, or holds up its key
    /// until it is handled. `on-failure = "dead-letter"`
    #[schemars(extend("default" = "dead-letter", "examples" = ["block"]))]
    pub on_failure: Option<OnFailure>,
    /// The most runs begun in a time, by each replica. `rate = "500/s"`
    #[schemars(with = "Option<String>", regex(pattern = r"^ *[0-9]+ */ *[a-z]+ *$"), extend("examples" = ["500/s", "30/min"]))]
    pub rate: Option<Rate>,
    /// The most runs at once. `concurrency = 16`
    #[schemars(range(min = 1, max = 4_096), extend("default" = 16, "examples" = [64]))]
    pub concurrency: Option<u64>,
    /// Wall clock for one run; 1 ms to 1 h, shorter than `ack-wait`. `timeout = "5s"`
    #[schemars(extend("default" = "5s", "examples" = ["500ms"]))]
    pub timeout: Option<Time>,
    /// All memories of one instance together; 64 KiB to 4 GiB. `memory = "64MiB"`
    #[schemars(extend("default" = "64MiB", "examples" = ["128MiB"]))]
    pub memory: Option<Size>,
    /// `"event"`: a fresh instance for every event; or `{ reuse = 1000 }`: an
    /// instance serves up to that many, one after the other, and what it keeps
    /// in memory is seen by the next. `isolation = "event"`
    #[schemars(with = "Option<Sharing>", extend("default" = "event", "examples" = [{ "reuse": 1000 }]))]
    pub isolation: Option<Isolation>,
    /// Plugins with `stream` only: how long the server waits for an answer;
    /// 100 ms to 1 day. By default 30 s, or twice `timeout` if that is more.
    /// `ack-wait = "30s"`
    #[schemars(extend("examples" = ["30s"]))]
    pub ack_wait: Option<Time>,
    /// Plugins with `stream` only: whether the server confirms acknowledgements.
    /// `ack = "plain"`
    #[schemars(extend("default" = "plain", "examples" = ["confirmed"]))]
    pub ack: Option<Ack>,
    /// Plugins with `stream` only: where a consumer begins that does not exist
    /// yet. `start = "all"`
    #[schemars(extend("default" = "all", "examples" = ["new"]))]
    pub start: Option<Start>,
    /// Plugins without `stream` only: how many events may wait in the host, and
    /// no more than `[host] max-in-flight-bytes` of them; the others are dropped
    /// and counted. `queue = 1024`
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 1024, "examples" = [10_000]))]
    pub queue: Option<u64>,
    /// Whether it may publish what it, or a plugin that it feeds, subscribes to.
    /// `allow-loop = true`
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub allow_loop: Option<bool>,
    /// Whether clocks and random numbers of a run follow from the event alone, so
    /// that a second run makes the same outputs: the clock stands at the event's
    /// time, and random numbers are made from its id. Whoever knows the id can
    /// work them out: not for handlers that make secrets. By default `false`, in
    /// `pelton test` `true`. `deterministic = true`
    #[schemars(extend("examples" = [true]))]
    pub deterministic: Option<bool>,
    /// What happens after a failure that may pass.
    ///
    /// ```toml
    /// [plugins.price.retry]
    /// attempts = 5
    /// ```
    pub retry: Option<Retry>,
    /// When no more events are asked for because runs fail; `false`: never.
    ///
    /// ```toml
    /// [plugins.price.breaker]
    /// failure-ratio = 0.5
    /// ```
    #[schemars(extend("examples" = [false, { "failure-ratio": 0.8 }]))]
    pub breaker: Option<BreakerOrNot>,
    /// Finer limits of one run.
    ///
    /// ```toml
    /// [plugins.price.limits]
    /// outputs = 1000
    /// ```
    pub limits: Option<Limits>,
    /// What the guest reads through `config`: text. Numbers and booleans are
    /// given as text (`"5"`, `"true"`), lists and tables as JSON text.
    ///
    /// ```toml
    /// [plugins.price.config]
    /// currency = "EUR"
    /// rates = { EUR = 1.0, USD = 1.1 }
    /// ```
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>", extend("default" = {}, "examples" = [{ "currency": "EUR" }]))]
    pub config: Option<BTreeMap<String, String>>,
    /// How `pelton build` makes the component; known languages need none of it.
    ///
    /// ```toml
    /// [plugins.price.build]
    /// command = ["make", "price.wasm"]
    /// ```
    pub build: Option<Build>,
    /// The guest's environment variables: these and no others. What comes from
    /// the host's environment or from a file is a secret: it is never shown.
    /// `env = { MODE = "live", TOKEN = { from-env = "API_TOKEN" }, CERT = { from-file = "cert.pem" } }`
    #[schemars(with = "Option<BTreeMap<String, grants::Value>>", extend("default" = {}, "examples" = [{ "MODE": "live" }, { "TOKEN": { "from-env": "API_TOKEN" } }]))]
    pub env: Option<BTreeMap<String, grants::Variable>>,
    /// The folders that the guest sees, by the absolute paths under which it
    /// sees them: these and no others. It may change them only where `read-only`
    /// is `false`. `dirs = { "/data" = { host = "./data", read-only = true } }`
    #[schemars(with = "Option<BTreeMap<String, grants::Folder>>", extend("default" = {}, "examples" = [{ "/data": { "host": "./data", "read-only": true } }, { "/data": "./data" }]))]
    pub dirs: Option<BTreeMap<String, grants::Folder>>,
    /// The servers that it may send HTTP requests to: scheme, host and port,
    /// exactly. A name leads to public addresses; a private one has to be named
    /// itself, or its network in `http-options.private`. `http = ["https://api.example.com", "http://127.0.0.1:8080"]`
    #[schemars(with = "Option<Vec<String>>", extend("default" = [], "examples" = [["https://api.example.com", "http://127.0.0.1:8080"]]))]
    pub http: Option<Vec<Origin>>,
    /// Limits of outbound HTTP.
    ///
    /// ```toml
    /// [plugins.price.http-options]
    /// timeout = "30s"
    /// ```
    pub http_options: Option<HttpOptions>,
}

/// How instances are shared between events.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "describes `Isolation` in the JSON Schema")]
pub enum Sharing {
    /// A fresh instance for every event.
    Event,
    /// An instance serves this many events, then it is dropped.
    Reuse(#[schemars(range(min = 1, max = 1_000_000))] u32),
}

/// `[plugins.<name>.retry]`
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// How often an event is tried in all; then it goes to the dead letters.
    /// `attempts = 5`
    #[schemars(range(min = 1, max = 100), extend("default" = 5, "examples" = [10]))]
    pub attempts: Option<u64>,
    /// The pause between attempts: a random time up to `first`, doubled at each
    /// attempt, up to `max`. `backoff = { first = "500ms", max = "60s" }`
    pub backoff: Option<Backoff>,
    /// What part of a quick retry each handled event earns. While more runs
    /// fail than that pays for, retries wait up to `backoff.max`. `budget = 0.25`
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.25, "examples" = [0.1]))]
    pub budget: Option<f64>,
}

/// The pauses between attempts.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Backoff {
    /// The longest first pause; 1 ms to 1 h. `first = "500ms"`
    #[schemars(extend("default" = "500ms", "examples" = ["1s"]))]
    pub first: Option<Time>,
    /// The longest pause; up to 1 day. `max = "60s"`
    #[schemars(extend("default" = "60s", "examples" = ["10m"]))]
    pub max: Option<Time>,
}

/// `[plugins.<name>.limits]`: what one run may use.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Time on a processor; by default as much as `timeout`, never more.
    /// `cpu = "500ms"`
    #[schemars(extend("examples" = ["500ms"]))]
    pub cpu: Option<Time>,
    /// Number of outputs. `outputs = 1000`
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 1000, "examples" = [10]))]
    pub outputs: Option<u64>,
    /// Bytes of all outputs together: subjects, headers, payloads; up to 1 GiB.
    /// `output-bytes = "8MiB"`
    #[schemars(extend("default" = "8MiB", "examples" = ["1MiB"]))]
    pub output_bytes: Option<Size>,
    /// Number of requests; see `request`. `requests = 100`
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 100, "examples" = [1]))]
    pub requests: Option<u64>,
    /// Lines to the log. `log-lines = 100`
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 100, "examples" = [20]))]
    pub log_lines: Option<u64>,
    /// Bytes to the log; up to 64 MiB. `log-bytes = "64KiB"`
    #[schemars(extend("default" = "64KiB", "examples" = ["16KiB"]))]
    pub log_bytes: Option<Size>,
}

const ACKS: &[(&str, Ack)] = &[("plain", Ack::Plain), ("confirmed", Ack::Confirmed)];
const ON_FAILURES: &[(&str, OnFailure)] =
    &[("dead-letter", OnFailure::DeadLetter), ("block", OnFailure::Block)];
const STARTS: &[(&str, Start)] = &[("all", Start::All), ("new", Start::New)];

impl Plugin {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Plugin {
        let example = "component = \"price.wasm\"";
        let subjects = "subscribe = [\"orders.created\"]";
        Plugin {
            component: table.need("component", example, component),
            stream: table.get("stream", value::name("the name of a stream")),
            subscribe: table.need("subscribe", subjects, value::filters(Empty::Refused)),
            publish: table.get("publish", value::filters(Empty::Allowed)),
            publish_core: table.get("publish-core", value::filters(Empty::Allowed)),
            request: table.get("request", value::filters(Empty::Allowed)),
            order_by: table.get("order-by", order_by),
            on_failure: table.get("on-failure", value::choice(ON_FAILURES)),
            rate: table.get("rate", flow::rate),
            concurrency: table.get("concurrency", value::count(1..=4_096)),
            timeout: table.get("timeout", value::time(MILLISECOND..=HOUR)),
            memory: table.get("memory", value::size(64 * KIB..=4 * GIB)),
            isolation: table.get("isolation", isolation),
            ack_wait: table.get("ack-wait", value::time(TENTH..=DAY)),
            ack: table.get("ack", value::choice(ACKS)),
            start: table.get("start", value::choice(STARTS)),
            queue: table.get("queue", value::count(1..=1_000_000)),
            allow_loop: table.get("allow-loop", value::flag),
            deterministic: table.get("deterministic", value::flag),
            retry: table.section("retry", Retry::read),
            breaker: table.get("breaker", flow::breaker),
            limits: table.section("limits", Limits::read),
            config: table.get("config", config),
            build: table.section("build", Build::read),
            env: table.get("env", grants::env),
            dirs: table.get("dirs", grants::dirs),
            http: table.get("http", http::origins),
            http_options: table.section("http-options", HttpOptions::read),
        }
    }
}

impl Plugin {
    /// The files that its secrets are in.
    pub fn secret_files(&self) -> impl Iterator<Item = &File> {
        self.env.iter().flat_map(BTreeMap::values).filter_map(|variable| match variable {
            grants::Variable::Secret(Secret::FromFile(file)) => Some(file),
            _ => None,
        })
    }
}

impl Retry {
    fn read(table: &mut Table<'_, '_>) -> Retry {
        Retry {
            attempts: table.get("attempts", value::count(1..=100)),
            backoff: table.section("backoff", |table| Backoff {
                first: table.get("first", value::time(MILLISECOND..=HOUR)),
                max: table.get("max", value::time(MILLISECOND..=DAY)),
            }),
            budget: table.get("budget", flow::ratio(0.0..=1.0)),
        }
    }
}

impl Limits {
    /// Reads the keys of the table.
    pub fn read(table: &mut Table<'_, '_>) -> Limits {
        Limits {
            cpu: table.get("cpu", value::time(MILLISECOND..=HOUR)),
            outputs: table.get("outputs", value::count(0..=1_000_000)),
            output_bytes: table.get("output-bytes", value::size(0..=GIB)),
            requests: table.get("requests", value::count(0..=1_000_000)),
            log_lines: table.get("log-lines", value::count(0..=1_000_000)),
            log_bytes: table.get("log-bytes", value::size(0..=64 * MIB)),
        }
    }
}

fn component(node: &Node<'_>, report: &mut Report) -> Option<File> {
    let file = value::file(node, report)?;
    let text = file.0.to_string_lossy();
    match text.split_once("://") {
        Some((scheme, _)) => {
            let message = format!(
                "`{}` is {}, but components are read from files only",
                node.path,
                quoted(&text)
            );
            let help = format!(
                "`{scheme}:` is not in this version: fetch the component, and write the path of the file"
            );
            report.add(node.problem("unsupported", message).help(help));
            None
        }
        None => Some(file),
    }
}

fn order_by(node: &Node<'_>, report: &mut Report) -> Option<OrderBy> {
    let help = "name a token of the subject (\"subject.2\", counted from 1), a header (\"header:Order-Id\") or a JSON pointer (\"json:/order/id\")";
    let text = node.text("a string", help, report)?;
    let order_by = OrderBy::parse(text);
    if order_by.is_none() {
        let message = format!("`{}` cannot be {}", node.path, quoted(text));
        report.add(node.problem("bad-choice", message).help(help));
    }
    order_by
}

fn isolation(node: &Node<'_>, report: &mut Report) -> Option<Isolation> {
    const HELP: &str = "write isolation = \"event\" for a fresh instance for every event, \
        or isolation = { reuse = 1000 }";
    match node.value {
        DeValue::String(word) if word == "event" => Some(Isolation::Event),
        DeValue::String(word) => {
            let message = format!("`{}` cannot be {}", node.path, quoted(word));
            report.add(node.problem("bad-choice", message).help(HELP));
            None
        }
        DeValue::Table(_) => {
            let reuse = node.table(report, |table| {
                table.need("reuse", "isolation = { reuse = 1000 }", value::count(1..=1_000_000))
            })??;
            u32::try_from(reuse).ok().map(Isolation::Reuse)
        }
        _ => {
            report.add(node.wrong_type("\"event\" or { reuse = N }", HELP));
            None
        }
    }
}

/// Reads what a guest reads through `config`: values as text.
pub fn config(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, String>> {
    let help = format!("write `[{}]` on a line of its own, and keys with values below", node.path);
    if !node.value.is_table() {
        report.add(node.wrong_type("a table", &help));
        return None;
    }
    node.named(report, |_, node, report| config_text(node, report))
}

fn config_text(node: &Node<'_>, report: &mut Report) -> Option<String> {
    match node.value {
        DeValue::Array(_) | DeValue::Table(_) => {
            let json = json(node.value);
            if json.is_none() {
                let message = format!("`{}` contains a number that JSON cannot express", node.path);
                let help = "lists and tables are given to the guest as JSON text: \
                    no `inf`, no `nan`, integers of 64 bits; or write the text yourself";
                report.add(node.problem("bad-config", message).help(help));
            }
            json.map(|json| json.to_string())
        }
        scalar => scalar_text(scalar),
    }
}

/// The text of what is neither a list nor a table.
pub(super) fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Some(number.to_string()),
                Err(_) => Some(integer.to_string()),
            }
        }
        DeValue::Float(float) => Some(float.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The same value in JSON; `None` if a number in it has no place there.
pub fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    match value {
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(number.into())
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok()?;
            serde_json::Number::from_f64(number).map(serde_json::Value::Number)
        }
        DeValue::Boolean(flag) => Some((*flag).into()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(entries) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), json(value.get_ref())?))
            };
            entries.iter().map(entry).collect::<Option<serde_json::Map<_, _>>>().map(Into::into)
        }
        scalar => scalar_text(scalar).map(Into::into),
    }
}
