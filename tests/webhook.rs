//! `pelton new --template webhook` in each language: what the endpoint
//! answers decides what becomes of the event.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    delivery::dead_letters,
    harness::{Project, Server, Web, eventually, shell, verb},
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
    ]
}

fn manifest(component: &Path, web: &Web, plugins: &[Plugin]) -> String {
    let mut text = "[streams.ORDERS]\nsubjects = [\"orders.>\"]\n\
        [streams.DELIVERIES]\nsubjects = [\"deliveries.>\"]\n"
        .to_owned();
    for (name, url, ..) in plugins {
        let attempts = if *name == "limited" { 2 } else { 1 };
        write!(
            text,
            "[plugins.{name}]\ncomponent = {component:?}\nstream = \"ORDERS\"\n\
             subscribe = [\"orders.created\"]\npublish = [\"deliveries.done\"]\n\
             http = [\"http://{}\", \"http://127.0.0.1:9\"]\ntimeout = \"20s\"\n\
             config = {{ url = {url:?} }}\nretry = {{ attempts = {attempts} }}\n",
            web.authority()
        )
        .unwrap();
    }
    text
}

/// The component of a new project, whose own test cases pass. What `pelton new` ends
/// with works, once something listens at the endpoint.
fn component(language: &str, web: &Web) -> PathBuf {
    let name = format!("hook-{language}");
    let kept = new::kept_project(&name, language, "webhook");
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
    let making = tokio::task::spawn_blocking(move || component(language, &at));
    let component = making.await.unwrap();
    let plugins = plugins(&web, &stranger);
    let project = Project::new(&manifest(&component, &web, &plugins));
    let server = Server::start().await;
    let mut daemon = project.launch(&server);
    daemon.compiled().await;

    // More than a stream of `wasi:http` takes at once.
    let order = format!(r#"{{"id":"Zoë-1","note":"{}"}}"#, "x".repeat(10_000));
    server.publish("orders.created", order.clone()).await;

    assert_delivered(&server, &web, order.len()).await;
    assert_buried(&server, &plugins).await;
    daemon.says(r#"put off with 429: slow down","delay":"40s""#).await;
    assert_eq!(server.stored("DELIVERIES").await.len(), 1);
    assert_eq!(stranger.connections(), 0);
}

/// What the endpoint was sent, and the receipt.
async fn assert_delivered(server: &Server, web: &Web, length: usize) {
    let done = eventually("a receipt", async || server.stored("DELIVERIES").await.pop()).await;
    let receipt: serde_json::Value = serde_json::from_str(&done.text()).unwrap();
    assert_eq!((&receipt["subject"], &receipt["status"]), (&"orders.created".into(), &200.into()));
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
    let dead = dead_letters(server, expected.len()).await;
    for (name, _, why, words) in expected {
        let letter = dead.iter().find(|it| it.header("Pelton-Dlq-Plugin") == Some(*name));
        let letter = letter.unwrap_or_else(|| panic!("{name} is not there"));
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
    let component = tokio::task::spawn_blocking(move || component("c", &at)).await.unwrap();
    let more = "concurrency = 1\nmemory = \"2MiB\"\nisolation = { reuse = 100000 }\n";
    let mut plugins = plugins(&web, &web);
    plugins.retain(|(name, ..)| ["done", "latin", "away"].contains(name));
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
    ] {
        assert!(piped.stderr.contains(told), "no {told} in {}", piped.stderr);
    }
}
