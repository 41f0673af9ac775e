use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;

mod diagnostics;
mod hostile;
mod schema;

const MINIMAL: &str = r#"
[plugins.price]
component = "files/price"
subscribe = ["orders.created"]
publish = ["orders.priced"]
"#;

const FULL: &str = r#"
[host]
name = "orders"
max-in-flight = 256
max-in-flight-bytes = "64MiB"
drain = "1m 30s"
stack = "1MiB"
cache = "cache"

[nats]
url = ["nats://n1:4222", "tls://n2:4223", "n3"]
user = "orders"
password = { from-env = "NATS_PASSWORD" }
request-timeout = "2s"
ping-interval = "30s"

[nats.tls]
required = true
first = true

[admin]
listen = "[::1]:9464"

[dead-letters]
stream = "DEAD"
prefix = "dead.orders"
max-age = "7days"
max-bytes = "10GB"
replicas = 3

[streams.ORDERS]
subjects = ["orders.>"]
retention = "limits"
storage = "memory"
replicas = 3
max-age = "1day"
max-bytes = "10GiB"
max-messages = 1_000_000
max-message-size = "1MiB"
discard = "new"
duplicate-window = "1h"

[plugins.price]
component = "files/price"
stream = "ORDERS"
subscribe = ["orders.created"]
publish = ["orders.priced", "audit.>"]
publish-core = ["ticks.>"]
request = ["rpc.>"]
concurrency = 64
timeout = "2s"
memory = "128MiB"
env = { MODE = "live", PORT = 8080, TOKEN = { from-env = "NATS_PASSWORD" } }
dirs = { "/data" = "files", "/out" = { host = "files", read-only = false } }
http = ["https://api.example.com:443", "http://127.0.0.1:8080", "http://billing"]
isolation = { reuse = 1000 }
rate = "500/s"
ack-wait = "20s"
ack = "confirmed"
start = "new"
allow-loop = true
deterministic = true

[plugins.price.http-options]
private = { billing = ["10.0.0.0/8", "fd12::/16"] }
connect-timeout = "1s"
timeout = "10s"
header-bytes = "16KiB"
request-bytes = "1MiB"
response-bytes = "2MiB"
requests = 4
concurrency = 32
idempotency-key = false

[plugins.price.retry]
attempts = 10
backoff = { first = "1s", max = "2m" }
budget = 0.1

[plugins.price.breaker]
window = 100
minimum-calls = 10
failure-ratio = 0.8
slow = "2s"
slow-ratio = 0.5
open = { first = "10s", max = "5m" }
probes = 1

[plugins.price.limits]
cpu = "500ms"
outputs = 10
output-bytes = "1MiB"
log-lines = 20
requests = 7
log-bytes = "16KiB"

[plugins.price.config]
currency = "EUR"
decimals = 2
hex = 0x10
rate = 1.5
strict = true
since = 2024-01-01
rates = { EUR = 1.0, USD = [1, "x"] }

[plugins.tick]
component = "files/audit"
subscribe = ["ticks.>"]
queue = 10
"#;

/// Where the files of the manifests in these tests are.
fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/manifest")
}

fn environment() -> Environment {
    Environment::fixed([("NATS_PASSWORD", "hunter2"), ("EMPTY", "")])
}

fn check_component(file: &Path) -> Result<(), Unusable> {
    let unusable = |reason| Err(Unusable { code: "no-handler", reason });
    match fs::read_to_string(file) {
        Ok(text) if text.starts_with("broken") => {
            unusable("it exports `wasi:cli/run`, and not `pelton:events/handler`".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => unusable(error.to_string()),
    }
}

fn parse_bytes(bytes: &[u8]) -> Result<Manifest, Problems> {
    let surroundings = Surroundings {
        base: &base(),
        environment: &environment(),
        check_component: &check_component,
        needs_components: true,
    };
    Manifest::parse(bytes, "pelton.toml", &surroundings)
}

#[track_caller]
fn parse(text: &str) -> Manifest {
    parse_bytes(text.as_bytes())
        .unwrap_or_else(|problems| panic!("{}", problems.render(Look::Plain)))
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// The kinds of problems in `text`, in order.
fn kinds(text: &str) -> Vec<&'static str> {
    match parse_bytes(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::kind).collect(),
    }
}

#[test]
fn a_minimal_manifest_gets_every_default() {
    let manifest = parse(MINIMAL);

    let host = Host {
        name: "pelton".to_owned(),
        max_in_flight: 1_024,
        max_in_flight_bytes: 256 << 20,
        drain: Duration::from_secs(30),
        stack: 512 << 10,
        cache: None,
    };
    assert_eq!(manifest.host, host);
    assert_eq!(manifest.nats.urls, ["nats://127.0.0.1:4222"]);
    assert_eq!(manifest.nats.auth, Auth::None);
    assert_eq!(manifest.nats.tls, Tls::default());
    assert_eq!(manifest.nats.request_timeout, Duration::from_secs(5));
    assert_eq!(manifest.nats.ping_interval, Duration::from_secs(10));
    assert_eq!(manifest.admin, None);
    let dead_letters = DeadLetters {
        stream: "pelton_DEAD_LETTERS".to_owned(),
        prefix: "dead-letters.pelton".to_owned(),
        max_age: Duration::from_secs(30 * 86_400),
        max_bytes: 1 << 30,
        replicas: 1,
        replays: "pelton_REPLAYS".to_owned(),
        replays_prefix: "replays.pelton".to_owned(),
    };
    assert_eq!(manifest.dead_letters, dead_letters);
    assert_eq!(manifest.streams, BTreeMap::new());
    assert_eq!(manifest.plugins, BTreeMap::from([("price".to_owned(), minimal_plugin())]));
}

fn breaker() -> Breaker {
    Breaker {
        window: 50,
        minimum: 20,
        failure_ratio: 0.5,
        slow: None,
        slow_ratio: 1.0,
        open: Duration::from_secs(5),
        max_open: Duration::from_secs(60),
        probes: 3,
    }
}

fn minimal_plugin() -> Plugin {
    Plugin {
        component: base().join("files/price"),
        stream: None,
        subscribe: vec![pattern("orders.created")],
        publish: vec![pattern("orders.priced")],
        publish_core: Vec::new(),
        request: Vec::new(),
        order_by: None,
        on_failure: OnFailure::DeadLetter,
        rate: None,
        breaker: Some(breaker()),
        concurrency: 16,
        timeout: Duration::from_secs(5),
        memory: 64 << 20,
        isolation: Isolation::Event,
        retry: Retry {
            attempts: 5,
            first: Duration::from_millis(500),
            max: Duration::from_secs(60),
            budget: 0.25,
        },
        ack_wait: Duration::from_secs(30),
        ack: Ack::Plain,
        start: Start::All,
        queue: 1_024,
        allow_loop: false,
        deterministic: None,
        limits: Limits {
            cpu: Duration::from_secs(5),
            outputs: 1_000,
            output_bytes: 8 << 20,
            log_lines: 100,
            requests: 100,
            log_bytes: 64 << 10,
        },
        config: BTreeMap::new(),
        grants: Grants::default(),
    }
}

#[test]
fn a_stream_gets_every_default() {
    let manifest = parse(&format!("[streams.ORDERS]\nsubjects = [\"orders.>\"]\n{MINIMAL}"));

    let stream = Stream {
        subjects: vec![pattern("orders.>")],
        retention: Retention::Limits,
        storage: Storage::File,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        duplicate_window: Duration::from_secs(600),
    };
    assert_eq!(manifest.streams, BTreeMap::from([("ORDERS".to_owned(), stream)]));
}

#[test]
fn the_ack_wait_follows_a_long_time_out() {
    let manifest = parse(&format!("{MINIMAL}timeout = \"1m\"\n"));
    assert_eq!(manifest.plugins["price"].ack_wait, Duration::from_secs(120));
    assert_eq!(manifest.plugins["price"].limits.cpu, Duration::from_secs(60));
}

#[test]
fn a_full_manifest_sets_everything_around_the_plugins() {
    let manifest = parse(FULL);

    let host = Host {
        name: "orders".to_owned(),
        max_in_flight: 256,
        max_in_flight_bytes: 64 << 20,
        drain: Duration::from_secs(90),
        stack: 1 << 20,
        cache: Some(base().join("cache")),
    };
    assert_eq!(manifest.host, host);
    assert_eq!(manifest.nats.urls, ["nats://n1:4222", "tls://n2:4223", "nats://n3"]);
    let password = Secret::new("hunter2".to_owned());
    assert_eq!(manifest.nats.auth, Auth::Password { user: "orders".to_owned(), password });
    let tls = Tls { required: true, first: true, ca: None, identity: None };
    assert_eq!(manifest.nats.tls, tls);
    assert_eq!(manifest.nats.request_timeout, Duration::from_secs(2));
    assert_eq!(manifest.nats.ping_interval, Duration::from_secs(30));
    let listen: SocketAddr = "[::1]:9464".parse().unwrap();
    assert_eq!(manifest.admin, Some(Admin { listen }));
    let dead_letters = DeadLetters {
        stream: "DEAD".to_owned(),
        prefix: "dead.orders".to_owned(),
        max_age: Duration::from_secs(7 * 86_400),
        max_bytes: 10_000_000_000,
        replicas: 3,
        replays: "orders_REPLAYS".to_owned(),
        replays_prefix: "replays.orders".to_owned(),
    };
    assert_eq!(manifest.dead_letters, dead_letters);
    let stream = Stream {
        subjects: vec![pattern("orders.>")],
        retention: Retention::Limits,
        storage: Storage::Memory,
        replicas: 3,
        max_age: Some(Duration::from_secs(86_400)),
        max_bytes: Some(10 << 30),
        max_messages: Some(1_000_000),
        max_message_size: Some(1 << 20),
        discard: Discard::New,
        duplicate_window: Duration::from_secs(3_600),
    };
    assert_eq!(manifest.streams, BTreeMap::from([("ORDERS".to_owned(), stream)]));
}

#[test]
fn a_full_manifest_sets_everything_of_a_plugin() {
    let manifest = parse(FULL);

    let config = [
        ("currency", "EUR"),
        ("decimals", "2"),
        ("hex", "16"),
        ("rate", "1.5"),
        ("strict", "true"),
        ("since", "2024-01-01"),
        ("rates", r#"{"EUR":1.0,"USD":[1,"x"]}"#),
    ];
    let price = Plugin {
        component: base().join("files/price"),
        stream: Some("ORDERS".to_owned()),
        subscribe: vec![pattern("orders.created")],
        publish: vec![pattern("orders.priced"), pattern("audit.>")],
        publish_core: vec![pattern("ticks.>")],
        request: vec![pattern("rpc.>")],
        order_by: None,
        on_failure: OnFailure::DeadLetter,
        rate: Some(Rate { runs: 500, per: Duration::from_secs(1) }),
        breaker: Some(Breaker {
            window: 100,
            minimum: 10,
            failure_ratio: 0.8,
            slow: Some(Duration::from_secs(2)),
            slow_ratio: 0.5,
            open: Duration::from_secs(10),
            max_open: Duration::from_secs(300),
            probes: 1,
        }),
        concurrency: 64,
        timeout: Duration::from_secs(2),
        memory: 128 << 20,
        isolation: Isolation::Reuse(1_000),
        retry: Retry {
            attempts: 10,
            first: Duration::from_secs(1),
            max: Duration::from_secs(120),
            budget: 0.1,
        },
        ack_wait: Duration::from_secs(20),
        ack: Ack::Confirmed,
        start: Start::New,
        queue: 1_024,
        allow_loop: true,
        deterministic: Some(true),
        limits: Limits {
            cpu: Duration::from_millis(500),
            outputs: 10,
            output_bytes: 1 << 20,
            log_lines: 20,
            requests: 7,
            log_bytes: 16 << 10,
        },
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        grants: full_grants(),
    };
    assert_eq!(manifest.plugins["price"], price);
    assert_eq!(manifest.plugins["tick"].queue, 10);
}

/// What the full manifest grants.
fn full_grants() -> Grants {
    let env = [
        ("MODE", Variable::Plain("live".to_owned())),
        ("PORT", Variable::Plain("8080".to_owned())),
        ("TOKEN", Variable::Secret(Secret::new("hunter2".to_owned()))),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    let about = fs::metadata(base().join("files")).unwrap();
    let folder = |guest: &str, read_only| Folder {
        guest: guest.to_owned(),
        host: base().join("files"),
        read_only,
        identity: (about.dev(), about.ino()),
    };
    let origin = |secure, host: &str, port| Origin { secure, host: Server::of(host), port };
    let http = Http {
        origins: vec![
            origin(true, "api.example.com", 443),
            origin(false, "127.0.0.1", 8080),
            origin(false, "billing", 80),
        ],
        private: BTreeMap::from([(
            "billing".to_owned(),
            ["10.0.0.0/8", "fd12::/16"].map(|network| network.parse().unwrap()).into(),
        )]),
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(10),
        header_bytes: 16 << 10,
        request_bytes: 1 << 20,
        response_bytes: 2 << 20,
        requests: 4,
        concurrency: 32,
        idempotency_key: false,
    };
    let dirs = vec![folder("/data", true), folder("/out", false)];
    Grants { env, missing: BTreeMap::new(), dirs, http: Some(http) }
}

#[test]
fn order_by_names_where_the_key_is() {
    let plugin = |key: &str| {
        let text = format!("{MINIMAL}stream = \"S\"\nconcurrency = 16\norder-by = \"{key}\"\n");
        parse(&text).plugins["price"].clone()
    };
    let cases = [
        ("subject.2", OrderBy::Token(2)),
        ("header:Order-Id", OrderBy::Header("Order-Id".to_owned())),
        ("json:/order/id", OrderBy::Json("/order/id".to_owned())),
    ];
    for (key, expected) in cases {
        let plugin = plugin(key);
        assert_eq!((plugin.order_by, plugin.concurrency), (Some(expected), 16), "{key}");
        // Short, since a replica that takes over waits for it.
        assert_eq!((plugin.ack, plugin.ack_wait), (Ack::Confirmed, Duration::from_secs(7)));
    }
    for key in [
        "",
        "subject",
        "subject.0",
        "subject.x",
        "subject:1",
        "header:",
        "header:A B",
        "json:id",
        "json.1",
    ] {
        let text = format!("{MINIMAL}stream = \"S\"\norder-by = \"{key}\"\n");
        assert_eq!(kinds(&text), ["bad-choice"], "{key:?}");
    }
}

#[test]
fn what_looks_odd_but_is_right_is_accepted() {
    let stream = "[streams.ORDERS_1]\nsubjects = [\"orders.*\", \"payments.new\"]\n";
    let cases = [
        // Not declared: it may exist on the server.
        format!("{MINIMAL}stream = \"ELSEWHERE\"\n"),
        // Names that differ in a digit are two names.
        format!("{stream}{MINIMAL}stream = \"ORDERS_2\"\n"),
        // A wildcard filter may be wider than the stream's subjects.
        format!(
            "{stream}[plugins.all]\ncomponent = \"files/price\"\nstream = \"ORDERS_1\"\nsubscribe = [\"payments.>\"]\n"
        ),
        // The right to publish nothing.
        MINIMAL.replace("[\"orders.priced\"]", "[]"),
        // A loop that was meant.
        MINIMAL.replace("orders.priced", "orders.created") + "allow-loop = true\n",
        // A stop that waits for nothing.
        format!("[host]\ndrain = \"0s\"\n{MINIMAL}"),
        // Shutting a plugin up.
        format!("{MINIMAL}limits = {{ log-lines = 0 }}\n"),
    ];
    for text in cases {
        parse(&text);
    }
}

#[test]
fn one_plugin_that_allows_loops_is_enough_for_a_loop() {
    let two = |allow: &str| {
        format!(
            "[plugins.a]\ncomponent = \"files/price\"\nsubscribe = [\"a\"]\npublish = [\"b\"]\n\
             [plugins.b]\ncomponent = \"files/price\"\nsubscribe = [\"b\"]\npublish = [\"a\"]\n{allow}"
        )
    };
    assert_eq!(kinds(&two("")), ["loop"]);
    assert_eq!(kinds(&two("allow-loop = true")), [""; 0]);
}

#[test]
fn two_loops_are_two_problems() {
    let text = "[plugins.a]\ncomponent = \"files/price\"\nsubscribe = [\"a\"]\npublish = [\"b\", \"c\"]\n\
                [plugins.b]\ncomponent = \"files/price\"\nsubscribe = [\"b\"]\npublish = [\"a\"]\n\
                [plugins.c]\ncomponent = \"files/price\"\nsubscribe = [\"c\"]\npublish = [\"c\"]\n";
    assert_eq!(kinds(text), ["loop", "loop"]);
}

#[test]
fn a_component_is_looked_at_once() {
    let seen = std::cell::RefCell::new(Vec::new());
    let look = |file: &Path| {
        seen.borrow_mut().push(file.to_owned());
        Ok(())
    };
    let text =
        format!("{MINIMAL}[plugins.other]\ncomponent = \"files/price\"\nsubscribe = [\"x\"]\n");
    let surroundings = Surroundings {
        base: &base(),
        environment: &environment(),
        check_component: &look,
        needs_components: true,
    };

    Manifest::parse(text.as_bytes(), "pelton.toml", &surroundings).unwrap();

    assert_eq!(seen.into_inner(), [base().join("files/price")]);
}

#[test]
fn a_byte_order_mark_and_dos_line_ends_are_accepted() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    assert_eq!(parse(&text).plugins["price"], minimal_plugin());
}

#[test]
fn a_manifest_is_found_in_a_folder_and_its_paths_begin_there() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("price.wasm");
    fs::write(&component, "ok").unwrap();
    let file = folder.path().join("pelton.toml");
    fs::write(&file, MINIMAL.replace("files/price", "price.wasm")).unwrap();

    for path in [folder.path(), &file] {
        let manifest = Manifest::load(path, &environment(), check_component).unwrap();
        assert_eq!(manifest.plugins["price"].component, component);
    }
}

#[test]
fn secrets_come_from_files_without_their_line_break() {
    let nats = "[nats]\ntoken = { from-file = \"files/password.txt\" }\n";
    let manifest = parse(&format!("{nats}{MINIMAL}"));
    assert_eq!(manifest.nats.auth, Auth::Token(Secret::new("hunter2".to_owned())));
    assert!(!format!("{manifest:?}").contains("hunter2"));
}

#[test]
fn servers_can_be_replaced_by_good_ones_only() {
    let mut manifest = parse(MINIMAL);

    manifest.override_url("127.0.0.1:5000, tls://n2/").unwrap();
    assert_eq!(manifest.nats.urls, ["nats://127.0.0.1:5000", "tls://n2"]);

    for url in ["", "n1,", "http://n1", "nats://user:hunter2@n1", "user:hunter2@n1"] {
        let error = manifest.override_url(url).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert_eq!(manifest.nats.urls, ["nats://127.0.0.1:5000", "tls://n2"]);
}
