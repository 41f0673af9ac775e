//! `pelton new --template webhook` in each language that has it: what the endpoint
//! answers decides what becomes of the event.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    delivery::dead_letters,
    harness::{Project, Server, Web, eventually, verb},
    new,
};

/// A plugin for each answer: its name, the endpoint, why the event is in the dead
/// letters, and what is said there; no reason: it is not.
fn plugins(web: &Web, stranger: &Web) -> [(&'static str, String, &'static str, &'static str); 7] {
    let at = |path: &str| format!("http://{}{path}", web.authority());
    [
        ("done", at("/echo?a=b"), "", ""),
        ("busy", at("/busy"), "retry", "put off with 503"),
        ("limited", at("/limited"), "", ""),
        ("gone", at("/gone"), "reject", "refused with 410: moved out"),
        ("moved", at("/redirect"), "reject", "refused with 302"),
        ("away", "http://127.0.0.1:9".to_owned(), "retry", "no answer from http://127.0.0.1:9"),
        ("strange", format!("http://{}/", stranger.authority()), "retry", "no answer from http"),
    ]
}

fn manifest(component: &Path, web: &Web, stranger: &Web) -> String {
    let mut text = "[streams.ORDERS]\nsubjects = [\"orders.>\"]\n\
        [streams.DELIVERIES]\nsubjects = [\"deliveries.>\"]\n"
        .to_owned();
    for (name, url, ..) in plugins(web, stranger) {
        let attempts = if name == "limited" { 2 } else { 1 };
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

/// The component of a new project, whose own test cases pass.
fn component(language: &str) -> PathBuf {
    let name = format!("hook-{language}");
    let kept = new::kept_project(&name, language, "webhook");
    let tested = verb(&kept, &["test"]);
    assert_eq!(tested.status.code(), Some(0), "{}\n{}", tested.stdout, tested.stderr);
    kept.join("build").join(name).with_extension("wasm")
}

async fn answers_decide(language: &'static str) {
    let component = tokio::task::spawn_blocking(move || component(language)).await.unwrap();
    let (web, stranger) = (Web::start().await, Web::start().await);
    let project = Project::new(&manifest(&component, &web, &stranger));
    let server = Server::start().await;
    let mut daemon = project.launch(&server);
    daemon.compiled().await;

    // More than a stream of `wasi:http` takes at once.
    let order = format!(r#"{{"id":"Zoë-1","note":"{}"}}"#, "x".repeat(10_000));
    server.publish("orders.created", order.clone()).await;

    assert_delivered(&server, &web, order.len()).await;
    assert_buried(&server, &plugins(&web, &stranger)).await;
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
async fn assert_buried(server: &Server, plugins: &[(&str, String, &str, &str)]) {
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
