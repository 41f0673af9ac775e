//! `pelton new --template webhook` in each language: what the endpoint
//! answers decides what becomes of the event.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    harness::{Project, Server, Stored, Web, eventually, shell, verb},
    new, templates,
};

/// A plugin: its name, the endpoint, why the event is in the dead letters, and what is
/// said there; no reason: it is not.
type Plugin = (&'static str, String, &'static str, &'static str);

/// A plugin for each answer.
fn plugins(web: &Web, stranger: &Web) -> Vec<Plugin> {
    let at = |path: &str| format!("http://{}{path}", web.authority());
    vec![
        ("done", at("/echo?a=b"), "", ""),
        ("busy", at("/busy"), "retry", "put off with 503"),
        ("limited", at("/limited"), "", ""),
        ("gone", at("/gone"), "reject", "refused with 410: moved out"),
        ("latin", at("/latin"), "reject", "refused with 400: zu gro"),
        ("moved", at("/redirect"), "reject", "refused with 302"),
        ("away", "http://127.0.0.1:9".to_owned(), "retry", "no answer from http://127.0.0.1:9"),
        ("strange", format!("http://{}/", stranger.authority()), "retry", "no answer from http"),
        ("capital", format!("HTTP://{}/gone#part", web.authority()), "reject", "refused with 410"),
        ("rootless", format!("http://{}?c=d", web.authority()), "", ""),
        ("user", "http://user@127.0.0.1:9/".to_owned(), "reject", "`config.url` is \"http://user@"),
        ("spaced", "http://exa mple/".to_owned(), "reject", "`config.url` is \"http://exa mple"),
    ]
}

fn manifest(component: &Path, web: &Web, plugins: &[Plugin]) -> String {
    let mut text = "[streams.ORDERS]\nsubjects = [\"orders.>\"]\n\
        [streams.DELIVERIES]\nsubjects = [\"deliveries.>\"]\nduplicate-window = \"1h\"\n"
        .to_owned();
    for (name, url, ..) in plugins {
        let attempts = if *name == "limited" { 2 } else { 1 };
        write!(
            text,
            "[plugins.{name}]\ncomponent = {component:?}\nstream = \"ORDERS\"\n\
             subscribe = [\"orders.created\"]\npublish = [\"deliveries.done\"]\n\
             http = [\"http://{}\", \"http://127.0.0.1:9\"]\ntimeout = \"60s\"\n\
             config = {{ url = {url:?} }}\nretry = {{ attempts = {attempts} }}\n",
            web.authority()
        )
        .unwrap();
    }
    text
}

/// What can never be asked.
const BAD_URLS: [&str; 11] = [
    "",
    "nowhere",
    "ftp://127.0.0.1/x",
    "http://",
    "http://:80/",
    "http://?x",
    "http://user:word@127.0.0.1/x",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:port/",
    "https://exa mple/",
    "http://[::1",
];

/// What is asked, if nobody answers: a scheme may be in capitals.
const GOOD_URLS: [&str; 3] = ["HTTP://127.0.0.1:9/x", "Https://127.0.0.1:9/x", "hTTp://[::1]:9?x"];

/// What is no UTF-8, and so no JSON: a character that is longer than it need be (of
/// two, three and four bytes), half of a pair, one beyond the last, one that breaks off
/// within the text and at its end, a byte that begins none; in a name; and what only
/// some readers take.
const BAD_JSON: [&[u8]; 12] = [
    b"\"\xc0\xaf\"",
    b"\"\xe0\x9f\xbf\"",
    b"\"\xf0\x8f\xbf\xbf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xed\xbf\xbf\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xe2\x82\"",
    b"\"\xf0\x9f\x98",
    b"\"\x80\"",
    b"[\"\xff\"]",
    b"{\"\xc3\x28\":1}",
    b"NaN",
];

/// The first and the last characters of each length, and those beside the pairs.
const GOOD_JSON: &str =
    "{\"\u{7f}\u{80}\u{7ff}\":[\"\u{800}\u{d7ff}\u{e000}\u{ffff}\",\"\u{10000}\u{10ffff}\"]}";

/// Test cases for what comes to nothing before anything is sent, or answered.
fn trials() -> String {
    let order = BASE64_STANDARD.encode(r#"{"id":"A-1"}"#);
    let bad_url = "{ kind = 'reject', matches = ': `config.url` is .* such as https://' }";
    let no_answer = "{ kind = 'retry', matches = ': no answer from' }";
    let bad_json = "{ kind = 'reject', matches = ': not JSON' }";
    let good_json = [(GOOD_JSON.as_bytes(), no_answer)];
    let urls = BAD_URLS.map(|url| (url, bad_url)).into_iter();
    let urls = urls.chain(GOOD_URLS.map(|url| (url, no_answer)));
    let urls = urls.map(|(url, failure)| (format!("at `{url}`"), url, order.clone(), failure));
    let payloads = BAD_JSON.map(|payload| (payload, bad_json)).into_iter().chain(good_json);
    let payloads = payloads.map(|(payload, failure)| {
        (payload.escape_ascii().to_string(), GOOD_URLS[0], BASE64_STANDARD.encode(payload), failure)
    });
    urls.chain(payloads).fold(String::new(), |mut text, (name, url, payload, failure)| {
        writeln!(
            text,
            "[[case]]\nname = {name:?}\nconfig = {{ url = {url:?} }}\n\
             event = {{ subject = 'orders.created', base64 = '{payload}' }}\nfailure = {failure}"
        )
        .unwrap();
        text
    })
}

/// The component of a new project, whose own test cases pass. What `pelton new` ends
/// with works, once something listens at the endpoint.
fn component(name: &str, language: &str, web: &Web) -> PathBuf {
    let kept = new::kept_project(name, language, "webhook");
    std::fs::write(kept.join("trials.test.toml"), trials()).unwrap();
    let tested = verb(&kept, &["test"]);
    assert_eq!(tested.status.code(), Some(0), "{}\n{}", tested.stdout, tested.stderr);
    let component = kept.join("build").join(name).with_extension("wasm");
    let manifest = std::fs::read_to_string(kept.join("pelton.toml")).unwrap();
    let there = Project::new(&manifest.replace("127.0.0.1:8088", &web.authority()));
    std::fs::create_dir(there.path().join("build")).unwrap();
    std::fs::copy(&component, there.path().join("build").join(component.file_name().unwrap()))
        .unwrap();
    let tried = shell(there.path(), &templates::sample(&kept));
    assert_eq!(tried.status.code(), Some(0), "{}", tried.stderr);
    assert!(tried.stdout.contains(r#""status":200"#), "{}", tried.stdout);
    component
}

async fn answers_decide(language: &'static str) {
    let (web, stranger) = (Arc::new(Web::start().await), Web::start().await);
    let at = Arc::clone(&web);
    let name = format!("hook-{language}");
    let making = tokio::task::spawn_blocking(move || component(&name, language, &at));
    let component = making.await.unwrap();
    let plugins = plugins(&web, &stranger);
    let project = Project::new(&manifest(&component, &web, &plugins));
    let server = Server::start().await;
    let mut daemon = project.launch(&server);
    daemon.compiled().await;

    // More than a stream of `wasi:http` takes at once.
    let order = format!(r#"{{"id":"Zoë-1","note":"{}"}}"#, "x".repeat(10_000));
    server.publish("orders.created", order.clone()).await;

    let receipts = eventually("two receipts", async || {
        let receipts = server.stored("DELIVERIES").await;
        (receipts.len() == 2).then_some(receipts)
    })
    .await;
    assert_delivered(&receipts, &web, order.len());
    assert_buried(&server, &plugins).await;
    daemon.says(r#"put off with 429: slow down","delay":"40s""#).await;
    assert!(web.requests().iter().any(|it| it["path"] == "/?c=d"));
    assert_eq!(stranger.connections(), 0);
}

/// What the endpoint was sent, and the receipts, which are of one event.
fn assert_delivered(receipts: &[Stored], web: &Web, length: usize) {
    let read = |it: &Stored| serde_json::from_str::<serde_json::Value>(&it.text()).unwrap();
    let receipt = read(&receipts[0]);
    assert_eq!((&receipt["subject"], &receipt["status"]), (&"orders.created".into(), &200.into()));
    assert_eq!(read(&receipts[1]), receipt);
    let requests = web.requests();
    let sent = requests.iter().find(|it| it["path"] == "/echo?a=b").unwrap();
    assert_eq!((&sent["method"], &sent["length"]), (&"POST".into(), &length.into()));
    let headers = &sent["headers"];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["event-subject"], "orders.created");
    let key = format!("{}-0", receipt["event"].as_str().unwrap());
    assert_eq!(headers["idempotency-key"], key);
}

/// Why the event is in the dead letters of some plugins.
async fn assert_buried(server: &Server, plugins: &[Plugin]) {
    let expected: Vec<_> = plugins.iter().filter(|(_, _, why, _)| !why.is_empty()).collect();
    for (name, _, why, words) in expected {
        // Some time that of `limited` is there, too, maybe before this one.
        let letter = eventually(&format!("a dead letter of {name}"), async || {
            let mut dead = server.stored("pelton_DEAD_LETTERS").await.into_iter();
            dead.find(|it| it.header("Pelton-Dlq-Plugin") == Some(*name))
        })
        .await;
        let error = letter.header("Pelton-Dlq-Error").unwrap();
        assert_eq!(letter.header("Pelton-Dlq-Reason"), Some(*why), "{name}: {error}");
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn in_rust_the_answer_decides() {
    answers_decide("rust").await;
}

#[tokio::test]
async fn in_python_the_answer_decides() {
    answers_decide("python").await;
}

#[tokio::test]
async fn in_typescript_the_answer_decides() {
    answers_decide("typescript").await;
}

#[tokio::test]
async fn in_javascript_the_answer_decides() {
    answers_decide("javascript").await;
}

#[tokio::test]
async fn in_go_the_answer_decides() {
    answers_decide("go").await;
}

#[tokio::test]
async fn in_c_the_answer_decides() {
    answers_decide("c").await;
}

/// In C nothing is freed by itself. What is left of each of these events would
/// exceed a limit: of memory (2 MiB), or of handles (1,000).
#[tokio::test]
async fn in_c_nothing_is_left_of_an_event() {
    const EVENTS: usize = 1_200;
    let web = Arc::new(Web::start().await);
    let at = Arc::clone(&web);
    let component =
        tokio::task::spawn_blocking(move || component("left-c", "c", &at)).await.unwrap();
    let more = "concurrency = 1\nmemory = \"2MiB\"\nisolation = { reuse = 100000 }\n";
    let mut plugins = plugins(&web, &web);
    plugins.retain(|(name, ..)| ["done", "latin", "away", "user", "spaced"].contains(name));
    let manifest = manifest(&component, &web, &plugins);
    let project = Project::new(&manifest.replace("timeout =", &format!("{more}timeout =")));
    let event =
        format!("{{\"subject\":\"orders.created\",\"payload\":\"{}\"}}\n", "x".repeat(5_000));
    std::fs::write(project.path().join("events.jsonl"), event.repeat(EVENTS)).unwrap();
    let line = "pelton pipe --no-backoff pelton.toml events.jsonl >outputs.jsonl";
    let piping = move || shell(project.path(), line);
    let piped = tokio::task::spawn_blocking(piping).await.unwrap();
    assert_eq!(piped.status.code(), Some(3), "there are dead letters: {}", piped.stderr);
    for told in [
        "  done: 1200 runs, 1200 outputs\n",
        "  latin: 1200 runs (1200 failed), 0 outputs, 1200 dead letters (reject 1200)\n",
        "  away: 1200 runs (1200 failed), 0 outputs, 1200 dead letters (retry 1200)\n",
        "  user: 1200 runs (1200 failed), 0 outputs, 1200 dead letters (reject 1200)\n",
        "  spaced: 1200 runs (1200 failed), 0 outputs, 1200 dead letters (reject 1200)\n",
    ] {
        assert!(piped.stderr.contains(told), "no {told} in {}", piped.stderr);
    }
}
