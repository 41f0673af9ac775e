//! Verbs as a user at a terminal sees them: tables, questions, bars, Ctrl-C.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use crate::{
    dead_letters::four_letters,
    harness::{Project, Server, eventually, guest, on_terminal},
};

const LETTERS: &str = "pelton_DEAD_LETTERS";

/// A verb that runs on a terminal.
struct Session {
    process: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Session {
    fn start(project: &Project, server: &Server, arguments: &[&str]) -> Session {
        let url = server.url();
        Session::of(project, &[&["dlq"], arguments, &["--nats-url", &url]].concat())
    }

    fn of(project: &Project, arguments: &[&str]) -> Session {
        let mut process = on_terminal(project.path(), arguments);
        let keyboard = process.stdin.take().unwrap();
        let mut output = process.stdout.take().unwrap();
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&screen);
        let reading = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n) = output.read(&mut some)
                && n > 0
            {
                seen.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        Session { process, keyboard, screen, reading: Some(reading) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    async fn shows(&self, text: &str) {
        eventually(&format!("the terminal shows {text:?}"), async || {
            self.text().contains(text).then_some(())
        })
        .await;
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Exit code and all that was shown.
    async fn ends(mut self) -> (Option<i32>, String) {
        let process = &mut self.process;
        let status = eventually("the verb ends", async || process.try_wait().unwrap()).await;
        self.reading.take().unwrap().join().unwrap();
        let text = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        (status.code(), text)
    }
}

/// A failing test ends without [`Session::ends`]: the verb loses its terminal, which
/// ends it.
impl Drop for Session {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn a_terminal_gets_a_table_a_bar_and_a_question() {
    let server = Server::start().await;
    let project = four_letters(&server).await;

    let (code, table) = Session::start(&project, &server, &["list"]).ends().await;
    assert_eq!(code, Some(0), "{table}");
    for word in ["NUMBER", "PLUGIN", "SUBJECT", "picky", "fragile", "in.a.x"] {
        assert!(table.contains(word), "no {word} in {table}");
    }
    let widest = table.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
    // Colours take room that is not seen.
    assert!(widest <= 130, "wider than the terminal: {table}");

    let export = ["export", "--output", "letters.jsonl"];
    let (code, exported) = Session::start(&project, &server, &export).ends().await;
    assert_eq!(code, Some(0), "{exported}");
    assert!(exported.contains("exporting ["), "no bar: {exported:?}");
    assert!(exported.contains("4 dead letters exported"), "{exported:?}");

    let mut no = Session::start(&project, &server, &["drop", "--all"]);
    no.shows("drop 4 dead letters? [y/N] ").await;
    no.types("n\n");
    let (code, text) = no.ends().await;
    assert!(code == Some(1) && text.contains("nothing was done"), "{code:?} {text}");
    assert_eq!(server.count(LETTERS).await, 4);

    let mut yes = Session::start(&project, &server, &["drop", "--plugin", "picky"]);
    yes.shows("drop 2 dead letters? [y/N] ").await;
    yes.types("y\n");
    let (code, text) = yes.ends().await;
    assert!(code == Some(0) && text.contains("2 dead letters dropped"), "{code:?} {text}");
    assert_eq!(server.count(LETTERS).await, 2);
}

#[tokio::test]
async fn ctrl_c_at_the_question_does_nothing_and_in_a_wait_says_what_is_left() {
    let server = Server::start().await;
    let project = four_letters(&server).await;

    let mut asked = Session::start(&project, &server, &["drop", "--all"]);
    asked.shows("[y/N] ").await;
    asked.types("\u{3}");
    let (code, text) = asked.ends().await;
    assert_ne!(code, Some(0), "{text}");
    assert_eq!(server.count(LETTERS).await, 4);

    // Standard input is what is imported: it has no end until Ctrl-C.
    let mut import = Session::start(&project, &server, &["import", "-"]);
    import.types("nonsense\n");
    import.shows("standard input:1: ").await;
    import.types("\u{3}");
    let (code, text) = import.ends().await;
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("stopped"), "{text}");
}

#[tokio::test]
async fn ctrl_c_ends_tests_whose_handler_loops() {
    let project = Project::with_guest("spin", "");
    let case = "[[case]]\nname = \"a\"\nevent = { subject = \"in.x\", text = \"spin\" }\n\
        limits = { timeout = \"1h\", cpu = \"1h\" }\nsnapshot = \"s.json\"\n";
    std::fs::write(project.path().join("a.test.toml"), case).unwrap();
    for flags in [&["--update", "--output", "r.txt"][..], &["--watch"]] {
        let mut session = Session::of(&project, &[&["test"], flags].concat());
        session.shows("running cases").await;
        session.types("\u{3}");
        let (code, text) = session.ends().await;
        assert_ne!(code, Some(0), "{text}");
    }
    let mut left: Vec<_> = std::fs::read_dir(project.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["a.test.toml", "pelton.toml"]);
}

#[tokio::test]
async fn ctrl_c_ends_pelton_dev_while_it_builds_and_while_somebody_types() {
    let server = Server::start().await;
    let project = Project::with_plugins(
        "[plugins.subject]\ncomponent = \"out.wasm\"\nstream = \"IN\"\nsubscribe = [\"in.>\"]\n\
         publish = [\"out.>\"]\n[plugins.subject.build]\nwatch = [\"given.bin\", \"go\"]\n\
         command = \"echo half > out.wasm; while [ ! -e go ]; do sleep 0.1; done; cp given.bin out.wasm\"\n",
    );
    let path = |name: &str| project.path().join(name);
    std::fs::copy(guest("echo"), path("given.bin")).unwrap();
    let url = server.url();
    let mut session = Session::of(&project, &["dev", "--nats-url", &url]);
    eventually("it builds", async || path("out.wasm").exists().then_some(())).await;
    session.types("\u{3}");
    let (code, text) = session.ends().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(!path("out.wasm").exists(), "half of a component was left");

    std::fs::write(path("go"), "").unwrap();
    let mut session = Session::of(&project, &["dev", "--nats-url", &url]);
    session.shows("running").await;
    session.types("in.x hel");
    session.types("\u{3}");
    let (code, text) = session.ends().await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(server.count("IN").await, 0, "half of a line was published");
}
