//! Every example works as its README says.

mod contract;
mod fleet;
mod hello;

use std::{collections::BTreeSet, process::Command};

use crate::harness::{Daemon, Server, build_example, eventually, root};

/// The orders that `make-events.py` prints.
fn orders(count: usize) -> Vec<serde_json::Value> {
    let script = root().join("examples/orders/make-events.py");
    let printed =
        Command::new("python3").arg(script).args(["--count", &count.to_string()]).output();
    let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(subject: &str, stored: &[crate::harness::Stored]) -> Vec<String> {
    let of_subject = stored.iter().filter(|stored| stored.subject == subject);
    of_subject
        .map(|stored| serde_json::from_slice::<serde_json::Value>(&stored.payload).unwrap())
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_order_pipeline_accounts_for_every_order() {
    const ORDERS: usize = 200;
    let folder = root().join("examples/orders");
    build_example(&folder);
    let server = Server::start().await;
    let logs = tempfile::tempdir().unwrap();
    let manifest = folder.join("pelton.toml");
    let arguments = [manifest.to_str().unwrap(), "--nats-url", &server.url()];
    let mut daemon = Daemon::launch(logs.path(), &arguments);
    daemon.ready().await;

    let orders = orders(ORDERS);
    let messages = orders.iter().map(|order| {
        let subject = order["subject"].as_str().unwrap().to_owned();
        (subject, order["payload"].to_string().into_bytes())
    });
    server.publish_all(messages).await;

    let (accepted, review) = eventually("every order but the poison one is decided", async || {
        let stored = server.stored("ORDERS").await;
        let (accepted, review) = (ids("orders.accepted", &stored), ids("orders.review", &stored));
        (accepted.len() + review.len() + 1 >= ORDERS).then_some((accepted, review))
    })
    .await;
    let decided: BTreeSet<_> = accepted.iter().chain(&review).collect();
    assert_eq!(decided.len(), ORDERS - 1, "an order was decided twice");
    assert!(!review.is_empty() && accepted.len() > review.len());
    // The poison one may be the last of all.
    server.settled("ORDERS", "orders-validate").await;
    let dead = server.stored("orders_DEAD_LETTERS").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("Pelton-Dlq-Plugin"), Some("validate"));
    assert!(daemon.metric("pelton_events_retried_total{plugin=\"price\"}").await >= 1.0);
    server.settled("ORDERS", "orders-alert").await;
    assert!(server.count("ALERTS").await > 0);
}

/// The first fenced block of `language` in the README.
fn readme_block(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_readmes_handler_and_manifest_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let orders = root().join("examples/orders");
    let read = |path: &str| std::fs::read_to_string(orders.join(path)).unwrap();
    write("Cargo.toml", &read("Cargo.toml").replace("\"validate\"", ""));
    write("Cargo.lock", &read("Cargo.lock"));
    // Guests share a target folder, and there an example has a handler of this name.
    let package = read("price/Cargo.toml").replace("name = \"price\"", "name = \"readme-price\"");
    write("price/Cargo.toml", &package);
    let wit = root().join("wit");
    let handler = readme_block("rust handler").replace("path: \"wit\"", &format!("path: {wit:?}"));
    write("price/src/lib.rs", &handler);
    crate::harness::build(folder.path(), folder.path());
    std::fs::rename(folder.path().join("readme-price.wasm"), folder.path().join("price.wasm"))
        .unwrap();

    write("pelton.toml", &readme_block("toml manifest"));
    let finished = crate::harness::verb(folder.path(), &["check"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}

/// Every example with its test file.
fn test_files() -> Vec<std::path::PathBuf> {
    let examples = root().join("examples");
    let subfolders = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let top = subfolders(&examples);
    let below = top.iter().flat_map(|folder| subfolders(folder));
    let projects = top.iter().cloned().chain(below).filter(|it| it.join("pelton.toml").exists());
    let test_file = |project: std::path::PathBuf| {
        let files = std::fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.to_str().unwrap().ends_with(".test.toml"));
        files.next().unwrap_or_else(|| panic!("{} has no test cases", project.display()))
    };
    projects.map(test_file).collect()
}

#[test]
fn every_example_has_test_cases_that_can_be_read() {
    let files = test_files();
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let file = pelton::cases::file::File::load(&path);
        let file = file.unwrap_or_else(|problems| panic!("{}: {problems:?}", path.display()));
        assert!(!file.cases.is_empty(), "{}", path.display());
    }
}
