//! `pelton dev`: builds, starts a server, runs, shows, and follows a save.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::harness::{Project, Server, eventually, free_port, guest, pelton};

/// A running `pelton dev`, with all that it prints.
struct Dev {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<String>>,
}

fn dev_command(project: &Project) -> Command {
    let mut command = pelton();
    command
        .arg("dev")
        .env("PELTON_NATS_SERVER", Server::usual_binary())
        .current_dir(project.path())
        .stdin(Stdio::piped());
    command
}

impl Dev {
    fn start(project: &Project, flags: &[&str]) -> Dev {
        let mut child = dev_command(project)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::<Mutex<String>>::default();
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        let stdin = child.stdin.take().unwrap();
        Dev { child, stdin, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has printed `text` so many times.
    async fn says(&mut self, text: &str, times: usize) {
        eventually(&format!("{times} times {text:?}"), async || {
            (self.said().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    async fn stops(&mut self) -> Option<i32> {
        self.ends_by("-TERM").await
    }

    async fn ends_by(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        let status = eventually("it ends", async || self.child.try_wait().unwrap()).await;
        status.code()
    }
}

/// A failing test ends without [`Dev::stops`].
impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            eprintln!("{}", self.said());
            let pid = self.child.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status().ok();
            self.child.wait().ok();
        }
    }
}

fn listen(from: impl std::io::Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push_str(&format!("{line}\n"));
        }
    });
}

/// A project whose compiler copies `handler.txt`, and complains if that is empty.
fn project(port: u16) -> Project {
    let manifest = format!(
        "[nats]\nurl = \"nats://127.0.0.1:{port}\"\n\
         [streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n\
         [plugins.subject]\ncomponent = \"out/subject.wasm\"\nstream = \"IN\"\n\
         subscribe = [\"in.>\"]\npublish = [\"out.>\"]\n\
         [plugins.subject.build]\nsource = \"src\"\nwatch = [\"*.txt\"]\n\
         command = \"test -s handler.txt || {{ echo 'handler.txt: nothing in it' >&2; exit 1; }}; cp handler.txt ../out/subject.wasm\"\n"
    );
    let project = Project::new(&manifest);
    fs::create_dir(project.path().join("src")).unwrap();
    fs::create_dir(project.path().join("out")).unwrap();
    save(&project, Some("echo"));
    project
}

/// Saves this guest as the source, or an empty file.
fn save(project: &Project, guest_name: Option<&str>) {
    let source = project.path().join("src/handler.txt");
    let beside: PathBuf = project.path().join("handler.new");
    let bytes = guest_name.map(|name| fs::read(guest(name)).unwrap()).unwrap_or_default();
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, source).unwrap();
}

#[tokio::test]
async fn one_command_builds_runs_and_follows_saves() {
    let port = free_port();
    let project = project(port);
    let mut dev = Dev::start(&project, &[]);
    dev.says("nats-server started at 127.0.0.1:", 1).await;
    dev.says("\"running\"", 1).await;

    dev.types("in.x hello");
    dev.says("in.x → subject", 1).await;
    dev.says("  in   hello", 1).await;
    dev.says("  out  out.x hello", 1).await;

    // What does not build is shown, and the old goes on.
    save(&project, None);
    dev.says("handler.txt: nothing in it", 1).await;
    dev.types("in.x again");
    dev.says("  out  out.x again", 1).await;

    save(&project, Some("reject"));
    dev.says("\"reloaded\"", 1).await;
    dev.types("in.x reject");
    dev.says("  fail the handler rejected the event", 1).await;
    dev.types("in.* x");
    dev.says("`in.*` is no subject", 1).await;
    dev.types("\nhello.asked");
    dev.says("no plugin takes `hello.asked`; they subscribe to `in.>`", 1).await;
    assert_eq!(dev.said().matches("no plugin takes").count(), 1, "{}", dev.said());

    assert_eq!(dev.stops().await, Some(0));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "its server goes with it");
    let ignored = fs::read_to_string(project.path().join(".pelton/.gitignore")).unwrap();
    assert_eq!(ignored, "*\n");
}

/// What it prints into the watched folder calls for no build, which would print more.
#[tokio::test]
async fn its_own_log_is_no_source() {
    let project = project(free_port());
    let into = |name| fs::File::create(project.path().join("src").join(name)).unwrap();
    let mut child =
        dev_command(&project).stdout(into("shown.txt")).stderr(into("log.txt")).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut dev = Dev { child, stdin, said: Arc::default() };
    let has = async |name: &str, text: &str| {
        eventually(&format!("{text:?} in {name}"), async || {
            let printed = fs::read_to_string(project.path().join("src").join(name)).unwrap();
            printed.contains(text).then_some(printed)
        })
        .await
    };
    has("log.txt", "\"running\"").await;
    for n in 0..10 {
        dev.types(&format!("in.x hello-{n}"));
        has("shown.txt", &format!("  out  out.x hello-{n}")).await;
    }
    save(&project, Some("reject"));
    let log = has("log.txt", "\"reloaded\"").await;
    assert_eq!(dev.stops().await, Some(0));
    assert_eq!(log.matches("subject: sh -c").count(), 2, "{log}");
}

#[tokio::test]
async fn its_server_goes_with_it_however_it_ends() {
    for (signal, code) in [("-HUP", Some(0)), ("-KILL", None)] {
        let port = free_port();
        let project = project(port);
        let mut dev = Dev::start(&project, &[]);
        dev.says("\"running\"", 1).await;
        assert_eq!(dev.ends_by(signal).await, code, "{}", dev.said());
        eventually("nothing answers where its server was", async || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn streams_last_until_fresh() {
    let port = free_port();
    let project = project(port);
    let mut stored = Vec::new();
    for flags in [&[][..], &[], &["--fresh"]] {
        let mut dev = Dev::start(&project, flags);
        dev.says("\"running\"", 1).await;
        dev.types("in.x hello");
        dev.says("  out  out.x hello", 1).await;
        let client = async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        let count = eventually("the output is stored", async || {
            let info = jetstream.get_stream("OUT").await.ok()?.cached_info().state.messages;
            (info > stored.last().copied().unwrap_or(0) || flags == ["--fresh"]).then_some(info)
        });
        stored.push(count.await);
        assert_eq!(dev.stops().await, Some(0));
    }
    assert_eq!(stored[..2], [1, 2]);
    assert!(stored[2] <= 1, "{stored:?}");
}

#[tokio::test]
async fn mistakes_are_waited_out() {
    let project = project(free_port());
    let manifest = project.path().join("pelton.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("subscribe", "subscrbe")).unwrap();
    let mut dev = Dev::start(&project, &[]);
    dev.says("did you mean `subscribe`", 1).await;
    dev.says("waiting for a change", 1).await;

    save(&project, None);
    fs::write(&manifest, text).unwrap();
    dev.says("handler.txt: nothing in it", 1).await;
    dev.says("waiting for a change", 2).await;

    save(&project, Some("echo"));
    dev.says("\"running\"", 1).await;
    dev.types("in.x hello");
    dev.says("  out  out.x hello", 1).await;
    assert_eq!(dev.stops().await, Some(0));
}

#[tokio::test]
async fn outputs_that_are_refused_are_not_shown_as_published() {
    let project = project(free_port())
        .edited("[\"out.>\"]\n[plugins.subject.build", "[\"out.y\"]\n[plugins.subject.build");
    let mut dev = Dev::start(&project, &[]);
    dev.says("\"running\"", 1).await;
    dev.types("in.x hello");
    dev.says("  fail refused: out.x hello", 1).await;
    dev.says("       the plugin may not publish there; the manifest's `publish` allows: out.y", 1)
        .await;
    dev.types("in.y hello");
    dev.says("  out  out.y hello", 1).await;
    assert!(!dev.said().contains("  out  out.x"), "{}", dev.said());

    // What is typed is held against the manifest as it is now.
    let now = fs::read_to_string(project.path().join("pelton.toml")).unwrap();
    project.rewrite(&now.replace("subscribe = [\"in.>\"]", "subscribe = [\"in.y\"]"));
    dev.types("in.x hello");
    dev.says("no plugin takes `in.x`; they subscribe to `in.y`", 1).await;
    assert_eq!(dev.stops().await, Some(0));
}

#[tokio::test]
async fn a_folder_without_a_manifest_is_not_waited_for() {
    let project = Project::new("");
    fs::remove_file(project.path().join("pelton.toml")).unwrap();
    let mut dev = Dev::start(&project, &[]);
    let status = eventually("it ends", async || dev.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(2));
    dev.says("there is no manifest at `pelton.toml`", 1).await;
    dev.says("`pelton new` makes", 1).await;
    assert!(!dev.said().contains("waiting for a change"), "{}", dev.said());
}

#[tokio::test]
async fn a_stop_before_anything_runs_does_not_speak_of_draining() {
    let project = Project::new("[plugins.x]\nnonsense = true\n");
    let mut dev = Dev::start(&project, &[]);
    dev.says("waiting for a change", 1).await;
    assert_eq!(dev.stops().await, Some(0));
    dev.says("stopping; no handler takes events yet", 1).await;
    assert!(!dev.said().contains("draining"), "{}", dev.said());
}

#[tokio::test]
async fn a_server_that_is_there_is_used() {
    let server = Server::start().await;
    let project = project(server.port());
    let mut dev = Dev::start(&project, &[]);
    dev.says("\"running\"", 1).await;
    dev.types("in.x hello");
    dev.says("  out  out.x hello", 1).await;
    // It is shown when the run ends, and stored after that.
    let stored = async || (server.count("OUT").await == 1).then_some(());
    eventually("the output is stored", stored).await;
    assert!(!dev.said().contains("nats-server started"), "{}", dev.said());
    assert_eq!(dev.stops().await, Some(0));
    assert_eq!(server.count("OUT").await, 1, "and left alone");
}

#[tokio::test]
async fn without_a_server_it_says_how_to_get_one() {
    let project = project(free_port());
    let missing = |path: &str, program: &str, url: &str| {
        let output = pelton()
            .args(["dev", "--nats-server", program, "--nats-url", url])
            .env("PATH", path)
            .current_dir(project.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let here = format!("nats://127.0.0.1:{}", free_port());
    let said = missing("/nonexistent", "/nonexistent/nats-server", &here);
    assert!(said.contains("cannot be run") && said.contains("install nats-server"), "{said}");
    let said = missing("/nonexistent", "nats-server", "nats://nats.invalid:4222");
    assert!(said.contains("only for an address of this machine"), "{said}");
}

#[tokio::test]
async fn without_a_shell_it_says_what_the_server_needs_one_for() {
    let project = project(free_port());
    let output = pelton()
        .arg("dev")
        .env("PELTON_NATS_SERVER", Server::usual_binary())
        .env("PATH", "/nonexistent")
        .current_dir(project.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no `sh` on PATH"), "{said}");
    assert!(said.contains("or start a server with JetStream yourself"), "{said}");
}

#[tokio::test]
async fn a_server_that_ends_by_itself_ends_it() {
    let project = project(free_port());
    let mut dev = Dev::start(&project, &[]);
    dev.says("\"running\"", 1).await;
    // Each line of its log begins with its process: `[4711] …`.
    let log = fs::read_to_string(project.path().join(".pelton/nats-server.log")).unwrap();
    let pid = log.trim_start_matches('[').split(']').next().unwrap().to_owned();
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success(), "{log}");
    let status = eventually("it ends", async || dev.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1), "{}", dev.said());
    dev.says("nats-server ended (signal: 9", 1).await;
}
