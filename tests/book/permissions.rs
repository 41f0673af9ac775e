//! The permissions that the book names are enough: a user with these and no
//! others reads and makes streams, keeps an order, buries and replays.

use std::path::Path;

use crate::harness::{Project, Server, eventually, plugin_table, root, verb};

/// The subjects in the table of the page, for a host `pelton` that reads `IN`
/// and publishes into `OUT`.
fn permitted() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/src/operating.md")).unwrap();
    let (_, section) = page.split_once("## Permissions on NATS").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| the subjects"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let subjects = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let streams = ["IN", "OUT", "pelton_DEAD_LETTERS", "pelton_REPLAYS", "KV_pelton_STATE"];
    let mut permitted: Vec<String> = subjects
        .filter(|subject| !["publish", "publish-core"].contains(subject))
        .flat_map(|subject| {
            let subject = subject.replace("<host>", "pelton");
            streams.map(|stream| subject.replace("<stream>", stream))
        })
        .collect();
    permitted.push("out.>".to_owned());
    permitted.dedup();
    permitted
}

#[tokio::test]
async fn the_permissions_in_the_book_are_enough() {
    let permitted = permitted();
    assert!(permitted.len() >= 30, "{permitted:?}");
    let server = Server::with_config(&format!(
        "jetstream {{}}\nno_auth_user: \"all\"\nauthorization {{ users: [ \
         {{ user: all, password: p }}, \
         {{ user: u, password: p, permissions: {{ publish: {{ allow: {permitted:?} }}, \
         subscribe: {{ allow: [\"_INBOX.>\"] }} }} }} ] }}"
    ))
    .await;
    let tables = [
        plugin_table("line", "echo", "in.ordered", "order-by = \"subject.1\""),
        plugin_table("never", "reject", "in.bad", ""),
    ];
    let project = Project::new(&format!(
        "[nats]\nuser = \"u\"\npassword = {{ from-file = \"password\" }}\nrequest-timeout = \"5s\"\n\
         [streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        tables.concat()
    ));
    std::fs::write(project.path().join("password"), "p").unwrap();
    let daemon = project.run(&server).await;
    server.publish("in.ordered", "one").await;
    server.publish("in.bad", "reject").await;
    eventually("both events are done", async || {
        let done = server.count("OUT").await == 1 && server.count("pelton_DEAD_LETTERS").await == 1;
        done.then_some(())
    })
    .await;
    replay_and_drop(project.path(), &server.url());

    let log = daemon.log();
    assert!(!log.to_lowercase().contains("permission"), "{log}");
}

/// The letter is run again, comes back, and is removed.
fn replay_and_drop(folder: &Path, url: &str) {
    for arguments in [["dlq", "replay", "--all", "--yes"], ["dlq", "drop", "--all", "--yes"]] {
        let finished = verb(folder, &[&arguments[..], &["--nats-url", url]].concat());
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!said.to_lowercase().contains("permission"), "{arguments:?}: {said}");
    }
}
