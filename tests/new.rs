//! From nothing to a handled event: `pelton new`, `pelton build`, `pelton run`,
//! and what they say when something is missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    harness::{Daemon, Finished, Server, eventually, language_path, pelton, root, verb},
    templates,
};

/// `pelton build` with the toolchains of all languages, and one target folder
/// for all that cargo builds.
pub fn build(folder: &Path, arguments: &[&str]) -> Finished {
    build_with(folder, arguments, &format!("{}:{}", language_path(), path()))
}

fn build_with(folder: &Path, arguments: &[&str], path: &str) -> Finished {
    let mut command = pelton();
    command
        .arg("build")
        .args(arguments)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", root().join("target/new"))
        .env("GOCACHE", root().join("target/go"))
        .env("ZIG_GLOBAL_CACHE_DIR", root().join("target/zig"))
        .current_dir(folder)
        .stdin(Stdio::null());
    finished(command)
}

fn finished(mut command: Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// Makes a project and builds it.
fn project(folder: &Path, name: &str, language: &str, template: &str) -> PathBuf {
    let project = unbuilt(folder, name, language, template);
    is_built(&project);
    project
}

/// The same, kept as long as a new one would not differ, so that it is built only
/// when its template has changed.
pub fn kept_project(name: &str, language: &str, template: &str) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    let made = unbuilt(folder.path(), name, language, template);
    let kept = root().join("target/projects").join(name);
    if !is_part_of(&made, &kept) {
        _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-R").args([&made, &kept]).status();
        assert!(copied.unwrap().success());
    }
    is_built(&kept);
    kept
}

fn unbuilt(folder: &Path, name: &str, language: &str, template: &str) -> PathBuf {
    let made = verb(folder, &["new", name, "--lang", language, "--template", template]);
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    assert!(made.stdout.contains("pelton build"), "{}", made.stdout);
    let project = folder.join(name);
    let sample = format!("\n  {}\n", templates::sample(&project));
    assert!(made.stdout.contains(&sample), "{}", made.stdout);
    project
}

/// Builds it; without network if it has been built before.
fn is_built(project: &Path) {
    let mut built = build(project, &["--offline"]);
    if built.status.code() != Some(0) {
        built = build(project, &[]);
    }
    assert_eq!(built.status.code(), Some(0), "{}\n{}", built.stdout, built.stderr);
}

/// Whether all files of one folder are the same in the other.
fn is_part_of(folder: &Path, other: &Path) -> bool {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    files.filter(|entry| entry.file_type().is_file()).all(|entry| {
        let twin = other.join(entry.path().strip_prefix(folder).unwrap());
        fs::read(twin).is_ok_and(|twin| twin == fs::read(entry.path()).unwrap())
    })
}

/// Sends one event through a new project of `language`.
async fn handles(language: &str, template: &str, event: [&str; 2], output: [&str; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("new-{language}-{template}");
    let (base, language, template) =
        (folder.path().to_owned(), language.to_owned(), template.to_owned());
    let make = move || {
        let project = project(&base, &name, &language, &template);
        templates::judge(&project, &language, &template);
        templates::try_sample(&project);
        project
    };
    let project = tokio::task::spawn_blocking(make).await.unwrap();
    let server = Server::start().await;
    let url = server.url();
    let mut daemon = Daemon::launch(&project, &["--nats-url", &url]);
    daemon.ready().await;

    let [subject, payload] = event;
    server.publish(subject, payload).await;

    let [subject, part] = output;
    let stream = subject.split('.').next().unwrap().to_uppercase();
    let stored = eventually("the handler's output is stored", async || {
        let stored = server.stored(&stream).await;
        stored.into_iter().find(|stored| stored.subject == subject)
    })
    .await;
    assert!(stored.text().contains(part), "{}", stored.text());
}

const ORDER: [&str; 2] = ["orders.created", r#"{"id":"Zoë-1","quantity":3,"price":4.5}"#];
const PRICED: [&str; 2] = ["orders.priced", "13.5"];
const PAID: [&str; 2] = ["orders.paid", r#"{"id":"A-1","country":"DE"}"#];
const SHIPPED: [&str; 2] = ["shipping.europe", r#"{"id":"A-1","country":"DE"}"#];
const BATCH: [&str; 2] = ["readings.batch.boiler", r#"{"values":[20,22,27]}"#];
const SUMMARY: [&str; 2] = ["readings.summary.boiler", r#""mean":23"#];

#[tokio::test]
async fn a_new_project_in_rust_handles_an_event() {
    handles("rust", "transform", ORDER, PRICED).await;
    handles("rust", "router", PAID, SHIPPED).await;
    handles("rust", "aggregate", BATCH, SUMMARY).await;
}

#[tokio::test]
async fn a_new_project_in_go_handles_an_event() {
    handles("go", "transform", ORDER, PRICED).await;
    handles("go", "router", PAID, SHIPPED).await;
    handles("go", "aggregate", BATCH, SUMMARY).await;
}

#[tokio::test]
async fn a_new_project_in_c_handles_an_event() {
    let (raw, parsed) = (["readings.raw", "boiler;21.5"], ["readings.parsed", r#""value":21.5"#]);
    handles("c", "transform", raw, parsed).await;
    let (raw, routed) =
        (["readings.raw", "cellar/boiler;21"], ["rooms.cellar", "cellar/boiler;21"]);
    handles("c", "router", raw, routed).await;
    handles("c", "aggregate", ["readings.batch.boiler", "20;22;27"], SUMMARY).await;
}

#[test]
fn what_has_not_changed_is_not_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "again", "c", "router");
    let again = build(&project, &[]);
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    assert!(!again.stderr.contains("-mexec-model"), "it was compiled:\n{}", again.stderr);

    let handler = project.join("handler.c");
    let text = fs::read_to_string(&handler).unwrap().replace("rooms.other", "rooms.rest");
    fs::write(&handler, text).unwrap();
    let changed = build(&project, &[]);
    assert!(changed.stdout.contains("built in"), "{}", changed.stdout);
}

#[test]
fn who_forgets_to_build_is_told_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "stale", "c", "router");
    let said = |folder: &Path, arguments: &[&str]| {
        let stderr = verb(folder, arguments).stderr;
        // Whether it is compiled depends on earlier tests.
        let lines = stderr.split_inclusive('\n').filter(|line| !line.starts_with("compiling "));
        lines.collect::<String>()
    };
    let (handler, component) = (project.join("handler.c"), project.join("build/stale.wasm"));
    let (text, bytes) = (fs::read_to_string(&handler).unwrap(), fs::read(&component).unwrap());
    // Saved unchanged; and what no component is made of.
    fs::write(&handler, &text).unwrap();
    fs::write(project.join("README.md"), "# Another\n").unwrap();
    fs::write(project.join("notes.c.txt"), "new").unwrap();
    for arguments in [&["test"][..], &["check"]] {
        assert_eq!(said(&project, arguments), "", "{arguments:?}");
    }

    fs::write(&handler, text.replace("rooms.other", "rooms.rest")).unwrap();
    let warning = "warning: plugin `stale`: `handler.c` has changed since the component was built: run `pelton build";
    for arguments in [&["test"][..], &["check"], &["pipe"]] {
        let said = said(&project, arguments);
        assert!(said.contains(&format!("{warning}`\n")), "{arguments:?}: {said}");
    }
    let said_above = said(folder.path(), &["test", "stale"]);
    assert!(said_above.contains(&format!("{warning} stale`\n")), "{said_above}");

    assert_eq!(build(&project, &["--offline"]).status.code(), Some(0));
    assert_eq!(said(&project, &["test"]), "");
    // A component of somebody else's: nothing is known of it.
    fs::write(&handler, &text).unwrap();
    fs::write(&component, bytes).unwrap();
    assert_eq!(said(&project, &["check"]), "");
}

#[test]
fn the_compilers_own_words_come_through_and_the_old_component_stays() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "broken", "c", "router");
    let before = fs::read(project.join("build/broken.wasm")).unwrap();
    fs::write(project.join("handler.c"), "int f(void) { return nonsense; }\n").unwrap();

    let failed = build(&project, &[]);

    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stderr.contains("handler.c:1:22: error:"), "{}", failed.stderr);
    assert!(failed.stderr.contains("plugin `broken`"), "{}", failed.stderr);
    assert_eq!(fs::read(project.join("build/broken.wasm")).unwrap(), before);
    let files = fs::read_dir(project.join("build")).unwrap().count();
    assert_eq!(files, 1, "something was left beside the component");
}

#[test]
fn a_syntax_error_in_javascript_is_shown_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let made = verb(folder.path(), &["new", "typo", "--lang", "javascript"]);
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let project = folder.path().join("typo");
    let handler = project.join("handler.js");
    let text =
        fs::read_to_string(&handler).unwrap().replacen("const total =", "const total = =", 1);
    fs::write(&handler, &text).unwrap();
    let line = text.lines().position(|line| line.contains("= =")).unwrap() + 1;

    let mut failed = build(&project, &["--offline"]);
    if failed.stderr.contains("build once without --offline") {
        failed = build(&project, &[]);
    }

    assert_eq!(failed.status.code(), Some(1));
    for words in [&format!("handler.js:{line}"), "const total = =", "SyntaxError: Unexpected token"]
    {
        assert!(failed.stderr.contains(words), "no {words} in {}", failed.stderr);
    }
}

#[test]
fn a_tool_that_is_missing_is_named_with_what_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    for (language, tool, remedy) in [
        ("go", "Go 1.25", "https://go.dev/dl"),
        ("c", "C compiler", "pip install ziglang"),
        ("rust", "Rust", "https://rustup.rs"),
        ("python", "Python 3.10", "https://python.org"),
        ("javascript", "Node 20", "https://nodejs.org"),
        ("typescript", "Node 20", "https://nodejs.org"),
    ] {
        let name = format!("no-{language}");
        let nothing = folder.path().join("nothing");
        let mut command = pelton();
        command.args(["new", &name, "--lang", language]).env("PATH", &nothing);
        let made = finished(in_folder(command, folder.path()));
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        assert!(made.stdout.contains(tool) && made.stdout.contains(remedy), "{}", made.stdout);
        // Typed one after the other, `.venv` is made where `pelton build` looks for it.
        let place = |words: &str| made.stdout.find(words).unwrap();
        assert!(place(&format!("cd {name}\n")) < place(remedy), "{}", made.stdout);
        assert!(place(remedy) < place("pelton build"), "{}", made.stdout);
        let built = build_with(&folder.path().join(&name), &[], nothing.to_str().unwrap());
        assert_eq!(built.status.code(), Some(1));
        assert!(built.stderr.contains(tool) && built.stderr.contains(remedy), "{}", built.stderr);
    }
}

fn in_folder(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder).stdin(Stdio::null());
    command
}

#[test]
fn a_tool_of_the_wrong_version_is_named_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for (tool, line) in [
        ("go", "echo go version go1.19.8 linux/amd64"),
        ("node", "echo v16.20.0"),
        ("npm", "echo 8.0.0"),
        ("python3", "echo Python 3.8.1"),
        ("rustc", "echo 'rustc 1.70.0 (90c541806 2023-05-31)'"),
        ("cargo", "exit 101"),
    ] {
        script(&tools.join(tool), line);
    }
    for (language, words) in [
        ("go", ["Go 1.25", "Go 1.19.8", "https://go.dev"]),
        ("javascript", ["Node 20", "Node 16.20.0", "https://nodejs.org"]),
        ("typescript", ["Node 20", "Node 16.20.0", "https://nodejs.org"]),
        ("python", ["Python 3.10", "Python 3.8.1", "https://python.org"]),
        ("rust", ["Rust 1.85", "Rust 1.70.0", "rustup update"]),
    ] {
        let name = format!("old-{language}");
        let made = verb(folder.path(), &["new", &name, "--lang", language]);
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        let project = folder.path().join(name);
        let built = build_with(&project, &[], tools.to_str().unwrap());
        assert_eq!(built.status.code(), Some(1));
        for words in words {
            assert!(built.stderr.contains(words), "no {words} in {}", built.stderr);
        }
        assert!(!project.join("build").exists() && !project.join(".venv").exists());
    }
}

fn script(path: &Path, line: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_command_of_ones_own_makes_the_component() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(crate::harness::guest("echo"), folder.path().join("given.bin")).unwrap();
    let manifest = "[plugins.own]\ncomponent = \"out.wasm\"\nsubscribe = [\"in\"]\n\
        [plugins.own.build]\ncommand = \"cp given.bin out.wasm\"\nwatch = [\"given.*\"]\n";
    fs::write(folder.path().join("pelton.toml"), manifest).unwrap();
    let check = verb(folder.path(), &["check"]);
    assert!(check.stderr.contains("run `pelton build`"), "{}", check.stderr);

    let built = build_with(folder.path(), &[], &path());
    assert_eq!(built.status.code(), Some(0), "{}", built.stderr);
    assert!(built.stdout.contains("own"), "{}", built.stdout);
    let again = build_with(folder.path(), &[], &path());
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);

    // What is no handler does not take the place of one that is.
    fs::write(folder.path().join("given.bin"), "no component").unwrap();
    let failed = build_with(folder.path(), &[], &path());
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stdout);
    assert_eq!(verb(folder.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn a_component_without_sources_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(crate::harness::guest("echo"), folder.path().join("echo.wasm")).unwrap();
    let manifest = "[plugins.echo]\ncomponent = \"echo.wasm\"\nsubscribe = [\"in\"]\n";
    fs::write(folder.path().join("pelton.toml"), manifest).unwrap();
    let built = build_with(folder.path(), &[], &path());
    assert_eq!(built.status.code(), Some(0), "{}", built.stderr);
    assert!(built.stdout.contains("prebuilt"), "{}", built.stdout);
    assert!(!folder.path().join(".pelton").exists());
    let unknown = build_with(folder.path(), &["--plugin", "eco"], &path());
    assert_eq!(unknown.status.code(), Some(2));
    assert!(unknown.stderr.contains("echo"), "{}", unknown.stderr);
}

#[tokio::test]
async fn ctrl_c_stops_the_compilers_and_leaves_the_old_component() {
    is_stopped("echo half > slow.wasm; sh -c 'echo $$ > inner; sleep 600'; true", 1).await;
}

#[tokio::test]
async fn a_second_ctrl_c_does_not_wait_for_a_compiler_that_will_not_stop() {
    let deaf =
        "trap '' TERM INT; echo half > slow.wasm; echo $$ > inner; while :; do sleep 1; done";
    is_stopped(deaf, 2).await;
}

/// Stops a build with so many signals while its command runs.
async fn is_stopped(command: &str, signals: usize) {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("slow.wasm");
    fs::copy(crate::harness::guest("echo"), &component).unwrap();
    let before = fs::read(&component).unwrap();
    let manifest = "[plugins.slow]\ncomponent = \"slow.wasm\"\nsubscribe = [\"in\"]\n";
    let manifest = format!("{manifest}[plugins.slow.build]\ncommand = {command:?}\n");
    fs::write(folder.path().join("pelton.toml"), manifest).unwrap();
    let mut child = building(folder.path());
    let inner = eventually("the command runs", async || {
        let text = fs::read_to_string(folder.path().join("inner")).ok()?;
        text.trim().parse::<u32>().ok()
    })
    .await;

    for _ in 0..signals {
        let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(signalled.unwrap().success());
    }

    let status = eventually("the build ends", async || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    assert_eq!(fs::read(&component).unwrap(), before);
    eventually("what the command had started ends", async || {
        let state = fs::read_to_string(format!("/proc/{inner}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
}

/// A `pelton build` that goes on, with what it says in the file `said`.
fn building(folder: &Path) -> std::process::Child {
    let said = fs::File::create(folder.join("said")).unwrap();
    let mut command = in_folder(pelton(), folder);
    command.arg("build").stderr(said).stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn two_builds_at_once_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(crate::harness::guest("echo"), path("given.bin")).unwrap();
    let manifest = "[plugins.own]\ncomponent = \"out.wasm\"\nsubscribe = [\"in\"]\n\
        [plugins.own.build]\nwatch = [\"given.bin\"]\n\
        command = \"echo once >> runs; while [ ! -e go ]; do sleep 0.1; done; cp given.bin out.wasm\"\n";
    fs::write(path("pelton.toml"), manifest).unwrap();
    let mut first = building(folder.path());
    eventually("the first one compiles", async || path("runs").exists().then_some(())).await;
    let mut second = building(folder.path());
    eventually("the second one waits", async || {
        fs::read_to_string(path("said"))
            .unwrap()
            .contains("waiting for another build")
            .then_some(())
    })
    .await;
    fs::write(path("go"), "").unwrap();
    for child in [&mut first, &mut second] {
        let status = eventually("it ends", async || child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0));
    }
    assert_eq!(fs::read_to_string(path("runs")).unwrap(), "once\n", "it was built twice");
    assert_eq!(verb(folder.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn a_project_that_cannot_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("full")).unwrap();
    fs::write(folder.path().join("full/mine"), "mine").unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();
    for (arguments, words) in [
        (&["new", "full", "--lang", "c"][..], "no empty folder"),
        (&["new", "file", "--lang", "c"], "no empty folder"),
        (&["new", "x", "--lang", "c", "--path", "file/x"], "not a directory"),
        (&["new", "../x", "--lang", "c"], "lower-case"),
        (&["new", "", "--lang", "c"], "lower-case"),
        (&["new", "2x", "--lang", "c"], "begin it with a letter"),
        (&["new", "fn", "--lang", "rust"], "fn-handler"),
        (&["new", "Bad Name", "--lang", "go"], "lower-case"),
        (&["new", "x", "--lang", "cobol"], "python"),
        (&["new", "x"], "--lang"),
        (&["new", "x", "--lang", "c", "--template", "nothing"], "router"),
        (&["new"], "pelton new"),
    ] {
        let finished = verb(folder.path(), arguments);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{arguments:?}: {}", finished.stderr);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let list = verb(folder.path(), &["new", "--list"]);
    assert!(list.stdout.contains("rust") && list.stdout.contains("router"), "{}", list.stdout);
}
