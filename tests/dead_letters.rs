//! Dead letters as an operator handles them: `pelton dlq` against the real
//! daemon and server. The tests are in the modules, by what is asked of it.

use serde_json::Value;

use crate::{
    delivery::{RETRY, dead_letters},
    harness::{Finished, Project, Server, Stored, guest, plugin_table, verb},
};

mod archive;
mod content;
mod replay;
mod selection;

const LETTERS: &str = "pelton_DEAD_LETTERS";
const REPLAYS: &str = "pelton_REPLAYS";

/// `pelton dlq …` in the project's folder.
fn dlq(project: &Project, server: &Server, arguments: &[&str]) -> Finished {
    let url = server.url();
    let all: Vec<_> =
        ["dlq"].iter().chain(arguments).chain(&["--nats-url", &url]).copied().collect();
    verb(project.path(), &all)
}

/// The same, and it has to end well.
fn done(project: &Project, server: &Server, arguments: &[&str]) -> Finished {
    let finished = dlq(project, server, arguments);
    assert_eq!(finished.status.code(), Some(0), "{arguments:?}: {finished:?}");
    finished
}

/// The list's JSON lines.
fn list(project: &Project, server: &Server, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["list", "--json"], arguments].concat();
    let lines = done(project, server, &arguments).stdout;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(list: &[Value]) -> Vec<u64> {
    list.iter().map(|line| line["number"].as_u64().unwrap()).collect()
}

fn subjects(stored: &[Stored]) -> Vec<&str> {
    let mut subjects: Vec<_> = stored.iter().map(|stored| stored.subject.as_str()).collect();
    subjects.sort_unstable();
    subjects
}

/// Four letters, two each of a plugin that rejects and of one that traps.
pub async fn four_letters(server: &Server) -> Project {
    let once = "retry = { attempts = 1 }";
    let picky = plugin_table("picky", "reject", "in.a.>", once);
    let fragile = plugin_table("fragile", "trap", "in.b.>", once);
    let project = Project::with_plugins(&format!("{picky}{fragile}")).patient();
    let mut daemon = project.run(server).await;
    for (n, subject) in ["in.a.x", "in.b.x", "in.a.y", "in.b.y"].iter().enumerate() {
        server.publish(subject, if n % 2 == 0 { "reject" } else { "trap" }).await;
        dead_letters(server, n + 1).await;
    }
    server.settled("IN", "pelton-picky").await;
    server.settled("IN", "pelton-fragile").await;
    daemon.stop().await;
    project
}

/// A project whose plugin `subject` can be exchanged for another.
struct Mended {
    server: Server,
    project: Project,
}

impl Mended {
    async fn new(guest_name: &str) -> Mended {
        let server = Server::start().await;
        Mended { project: Project::with_guest(guest_name, RETRY).patient(), server }
    }

    /// Another component under the same name.
    fn exchange(&self, old: &str, new: &str) {
        let path = self.project.path().join("pelton.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (old, new) = (format!("{:?}", guest(old)), format!("{:?}", guest(new)));
        assert!(text.contains(&old), "{text}");
        std::fs::write(&path, text.replace(&old, &new)).unwrap();
    }

    fn replay(&self, arguments: &[&str]) -> Finished {
        dlq(&self.project, &self.server, &[&["replay"], arguments].concat())
    }
}
