//! What plugins are granted: they reach it, they reach nothing else, and what is
//! secret of it stays so.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use crate::{
    delivery::dead_letters,
    harness::{Daemon, Finished, Project, Server, eventually, verb},
};

const SECRET: &str = "tr0ub4dor-and-3";

struct Reach {
    server: Server,
    daemon: Daemon,
    project: Project,
}

impl Reach {
    /// A plugin with these grants, and files in its folder.
    async fn start(grants: &str, files: &[(&str, &str)]) -> Reach {
        let project =
            Project::with_guest("reach", &format!("isolation = {{ reuse = 100 }}\n{grants}"))
                .patient();
        for (name, text) in files {
            let path = project.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let server = Server::start().await;
        let daemon = project.run(&server).await;
        Reach { server, daemon, project }
    }

    /// What the guest answers to its commands.
    async fn asked(&self, commands: Value) -> Value {
        let before = self.server.count("OUT").await;
        self.server.publish("in.x", commands.to_string()).await;
        let answer = eventually("an answer", async || {
            let stored = self.server.stored("OUT").await;
            stored.get(usize::try_from(before).unwrap()).map(|stored| stored.text())
        });
        serde_json::from_str(&answer.await).unwrap()
    }

    /// The dead letter of an event with these commands, as text with all headers.
    async fn buried(&self, commands: Value, n: usize) -> String {
        self.server.publish("in.x", commands.to_string()).await;
        format!("{:?}", dead_letters(&self.server, n).await[n - 1])
    }
}

fn secret_file() -> [(&'static str, &'static str); 1] {
    [("token.txt", SECRET)]
}

const TOKEN: &str = "env = { MODE = \"live\", TOKEN = { from-file = \"token.txt\" } }\n\
                     [plugins.subject.retry]\nattempts = 1";

#[tokio::test]
async fn a_guest_has_the_variables_that_it_is_granted_and_no_others() {
    let reach = Reach::start(TOKEN, &secret_file()).await;
    let answer = reach.asked(json!([["env"]])).await;
    assert_eq!(answer, json!([[["MODE", "live"], ["TOKEN", SECRET]]]));
}

#[tokio::test]
async fn a_secret_is_in_no_log_no_dead_letter_and_no_answer_of_the_admin_server() {
    let reach = Reach::start(TOKEN, &secret_file()).await;
    assert_eq!(reach.asked(json!([["print", "TOKEN"]])).await, json!(["printed"]));
    for (n, command) in ["reject", "retry", "panic", "publish"].into_iter().enumerate() {
        let letter = reach.buried(json!([[command, "TOKEN"]]), n + 1).await;
        assert!(letter.contains("(secret)"), "{command}: {letter}");
        assert!(!letter.contains(SECRET), "{command}: {letter}");
    }
    let log = reach.daemon.log();
    for line in ["logged (secret)", "printed (secret)", "x(secret)", "warned (secret)"] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    assert!(!log.contains(SECRET), "{log}");
    // Nor a part of it, where a long line was cut.
    assert!(!log.contains(&SECRET[..8]), "{log}");
    for page in ["/plugins", "/metrics", "/readyz"] {
        let (_, text) = reach.daemon.get(page).await.unwrap();
        assert!(!text.contains(SECRET), "{page}: {text}");
    }
    let Finished { stdout, stderr, .. } = verb(reach.project.path(), &["check"]);
    assert!(!format!("{stdout}{stderr}").contains(SECRET));
}

#[tokio::test]
async fn a_reload_notices_another_value() {
    let reach = Reach::start(TOKEN, &secret_file()).await;
    fs::write(reach.project.path().join("token.txt"), "another value").unwrap();
    let finished = reach.daemon.reload(reach.project.path()).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    let answer = reach.asked(json!([["env"]])).await;
    assert_eq!(answer, json!([[["MODE", "live"], ["TOKEN", "another value"]]]));
}

#[tokio::test]
async fn folders_are_read_only_unless_said_otherwise() {
    let dirs = "dirs = { \"/data\" = { host = \"data\" }, \"/out/of/here\" = { host = \"out\", read-only = false }, \"/short\" = \"data\" }";
    let files = [("data/a.txt", "a"), ("data/b/c.txt", "c"), ("out/x", "x"), ("beside.txt", "no")];
    let reach = Reach::start(dirs, &files).await;
    symlink("../beside.txt", reach.project.path().join("data/link.txt")).unwrap();
    symlink("/etc/passwd", reach.project.path().join("out/link.txt")).unwrap();
    symlink("..", reach.project.path().join("out/up")).unwrap();

    let allowed = json!([
        ["read", "/data/a.txt"],
        ["read", "/data/b/../a.txt"],
        ["list", "/data"],
        ["read", "/short/b/c.txt"],
        ["write", "/out/of/here/y", "new"],
        ["read", "/out/of/here/y"],
        ["remove", "/out/of/here/x"],
    ]);
    let expected = json!(["a", "a", "a.txt b link.txt", "c", "written", "new", "removed"]);
    assert_eq!(reach.asked(allowed).await, expected);
    assert_eq!(fs::read_to_string(reach.project.path().join("out/y")).unwrap(), "new");

    let denied = [
        json!(["write", "/data/a.txt", "changed"]),
        json!(["write", "/data/new.txt", "new"]),
        json!(["remove", "/data/a.txt"]),
        json!(["read", "/data/../beside.txt"]),
        json!(["read", "/data/link.txt"]),
        json!(["read", "/out/of/here/link.txt"]),
        json!(["write", "/out/of/here/link.txt", "changed"]),
        json!(["read", "/out/of/here/up/beside.txt"]),
        json!(["list", "/out/of/here/up"]),
        json!(["read", "/beside.txt"]),
        json!(["read", "/etc/passwd"]),
        json!(["list", "/"]),
    ];
    let n = denied.len();
    assert_eq!(reach.asked(json!(denied)).await, json!(vec![Value::Null; n]));
    assert_eq!(fs::read_to_string(reach.project.path().join("data/a.txt")).unwrap(), "a");
}

#[tokio::test]
async fn a_reload_notices_another_folder_in_the_same_place() {
    let reach =
        Reach::start("dirs = { \"/data\" = \"data\" }", &[("data/a", "old"), ("next/a", "new")])
            .await;
    let path = reach.project.path();
    fs::rename(path.join("data"), path.join("before")).unwrap();
    fs::rename(path.join("next"), path.join("data")).unwrap();
    let finished = reach.daemon.reload(path).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(reach.asked(json!([["read", "/data/a"]])).await, json!(["new"]));
}

/// A project whose secrets, server and folder are all elsewhere.
fn elsewhere() -> Project {
    let away = "env = { TOKEN = { from-env = \"PELTON_TEST_UNSET\" }, KEY = { from-file = \"not/here\" } }";
    let project = Project::with_guest("reach", away);
    let manifest = fs::read_to_string(project.path().join("pelton.toml")).unwrap();
    project.rewrite(&format!(
        "[nats]\ntoken = {{ from-env = \"PELTON_TEST_UNSET\" }}\n{manifest}\n\
         [plugins.subject.build]\ncommand = \"true\"\n"
    ));
    project
}

#[test]
fn a_build_needs_no_secrets_and_a_check_does() {
    let project = elsewhere().edited("env = {", "dirs = { \"/data\" = \"not/here\" }\nenv = {");
    let built = verb(project.path(), &["build"]);
    assert_eq!(built.status.code(), Some(0), "{}", built.stderr);
    let checked = verb(project.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(2));
    for words in ["`nats.token`", "`plugins.subject.env.TOKEN`", "no file `not/here`", "no folder"]
    {
        assert!(checked.stderr.contains(words), "no {words} in {}", checked.stderr);
    }
}

#[test]
fn a_test_names_the_secrets_that_it_lacks_or_brings_its_own() {
    let project = elsewhere();
    let file = project.path().join("a.test.toml");
    let case = "[[case]]\nname = \"a\"\nevent = { subject = \"in.x\", json = [[\"env\"]] }\n\
        expect = [{ json-exact = [[[\"KEY\", \"k\"], [\"TOKEN\", \"for tests\"]]] }]\n";
    let skipped = "[[case]]\nname = \"b\"\nskip = true\nevent = { subject = \"in.x\" }\n";
    let tested = |text: &str| {
        fs::write(&file, text).unwrap();
        verb(project.path(), &["test"])
    };
    let lacking = tested(&format!("{case}{skipped}"));
    assert_eq!(lacking.status.code(), Some(2), "{}", lacking.stdout);
    for words in ["PELTON_TEST_UNSET", "pelton.toml:", "env = { TOKEN = \"…\" }", "env = { KEY ="]
    {
        assert!(lacking.stderr.contains(words), "no {words} in {}", lacking.stderr);
    }
    assert!(!lacking.stderr.contains("nats.token"), "no server is needed: {}", lacking.stderr);

    let given = "env = { KEY = \"k\" }\nplugins.subject.env = { TOKEN = \"for tests\" }\n";
    let passed = tested(&format!("[defaults]\n{given}{case}"));
    assert_eq!(passed.status.code(), Some(0), "{}{}", passed.stdout, passed.stderr);
    let passed = tested(&format!("{case}{given}{case}{given}").replacen("\"a\"", "\"first\"", 1));
    assert_eq!(passed.status.code(), Some(0), "{}{}", passed.stdout, passed.stderr);
    assert_eq!(tested(skipped).status.code(), Some(0));

    let typo = tested(&format!("[defaults]\nenv = {{ TOKN = \"x\" }}\n{case}"));
    assert_eq!(typo.status.code(), Some(2));
    assert!(typo.stderr.contains("did you mean `TOKEN`?"), "{}", typo.stderr);
}
