//! The smallest handlers, one in each language: short, and alike in what they do.

use crate::harness::{Daemon, Server, build_example, eventually, root};

/// By language: where the handler is.
const HANDLERS: [(&str, &str); 6] = [
    ("c", "handler.c"),
    ("go", "handler.go"),
    ("javascript", "handler.js"),
    ("python", "app.py"),
    ("rust", "src/lib.rs"),
    ("typescript", "handler.ts"),
];
const MOST_LINES: usize = 25;
/// What a reader of code is used to.
const MOST_COLUMNS: usize = 120;

#[test]
fn the_smallest_handlers_are_small() {
    let folder = root().join("examples/hello");
    for (language, file) in HANDLERS {
        let handler = std::fs::read_to_string(folder.join(language).join(file)).unwrap();
        let n_lines = handler.lines().count();
        assert!(n_lines <= MOST_LINES, "{language}: {n_lines} lines, more than {MOST_LINES}");
        let widest = handler.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= MOST_COLUMNS, "{language}: a line of {widest} columns");
        let readme = std::fs::read_to_string(folder.join(language).join("README.md")).unwrap();
        assert!(
            readme.contains(&format!("{n_lines} lines")),
            "{language}: README.md counts others"
        );
    }
}

#[test]
fn the_smallest_handlers_have_one_manifest_and_the_same_tests() {
    let folder = root().join("examples/hello");
    for file in ["pelton.toml", "hello.test.toml"] {
        let read = |language: &str| std::fs::read_to_string(folder.join(language).join(file));
        let first = read(HANDLERS[0].0).unwrap();
        for (language, _) in HANDLERS {
            assert_eq!(read(language).unwrap(), first, "{language}/{file}");
        }
    }
}

/// Builds the handler in a language and has the real daemon run it.
async fn greets(language: &str) {
    let folder = root().join("examples/hello").join(language);
    build_example(&folder);
    let server = Server::start().await;
    let logs = tempfile::tempdir().unwrap();
    let manifest = folder.join("pelton.toml");
    let mut daemon =
        Daemon::launch(logs.path(), &[manifest.to_str().unwrap(), "--nats-url", &server.url()]);
    daemon.compiled().await;

    server.publish("hello.asked", r#"{"name":"Zoë"}"#).await;
    server.publish("hello.asked", "Zoë").await;
    server.publish("hello.asked", r#"{"nome":"Zoë"}"#).await;

    server.settled("HELLO", "pelton-hello").await;
    let stored = server.stored("HELLO").await;
    let said: Vec<serde_json::Value> = stored
        .iter()
        .filter(|stored| stored.subject == "hello.said")
        .map(|stored| serde_json::from_slice(&stored.payload).unwrap())
        .collect();
    assert_eq!(said, [serde_json::json!({ "greeting": "Hello, Zoë!" })]);
    eventually("both are dead letters", async || {
        (server.count("pelton_DEAD_LETTERS").await == 2).then_some(())
    })
    .await;
    for letter in server.stored("pelton_DEAD_LETTERS").await {
        assert_eq!(letter.header("Pelton-Dlq-Reason"), Some("reject"), "{letter:?}");
    }
    daemon.says("greeting Zoë").await;
}

#[tokio::test]
async fn a_handler_in_c_greets() {
    greets("c").await;
}

#[tokio::test]
async fn a_handler_in_go_greets() {
    greets("go").await;
}

#[tokio::test]
async fn a_handler_in_javascript_greets() {
    greets("javascript").await;
}

#[tokio::test]
async fn a_handler_in_python_greets() {
    greets("python").await;
}

#[tokio::test]
async fn a_handler_in_rust_greets() {
    greets("rust").await;
}

#[tokio::test]
async fn a_handler_in_typescript_greets() {
    greets("typescript").await;
}
