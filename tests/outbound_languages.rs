//! Outbound HTTP from guests that no Rust compiler has made. What they send and
//! get is the same; what differs is who brings the interface: StarlingMonkey has
//! it built in (`fetch`), Python needs its WIT, and so does Go, where `pelton build`
//! makes bindings of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::{
    harness::{PATIENCE, Project, Server, Web, eventually, language_path, root},
    new,
};

/// The handler of a language, built when its source is newer.
fn built(language: &str, source: &str, build: impl FnOnce(&Path, &Path)) -> PathBuf {
    let source = root().join("tests/outbound").join(language).join(source);
    let component = root().join("target/components/tests/outbound").join(language);
    let component = component.with_extension("wasm");
    let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    if modified(&component) < modified(&source) {
        fs::create_dir_all(component.parent().unwrap()).unwrap();
        build(&source, &component);
    }
    component
}

/// Runs a tool of `scripts/setup-languages`.
pub fn run(program: &str, arguments: &[&Path]) {
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(language_path()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).unwrap();
    // By `env`: a program is looked for on our own PATH.
    let mut command = Command::new("env");
    command.arg("--").arg(program).args(arguments).env("PATH", path);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed:\n{said}");
}

/// A folder with the contract, `wasi:http` and all that it needs, as projects get
/// them, and a world `fetch` of both.
fn wit() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let wasi = fs::read_dir(root().join("runtime/templates/wasi")).unwrap();
    let mut version = String::new();
    for file in wasi.map(|entry| entry.unwrap().path()).chain([root().join("wit/events.wit")]) {
        let to = folder.path().join("deps").join(file.file_stem().unwrap());
        fs::create_dir_all(&to).unwrap();
        fs::copy(&file, to.join("package.wit")).unwrap();
        let text = fs::read_to_string(file).unwrap();
        if let Some((_, rest)) = text.split_once("package wasi:http@") {
            version = rest.split(';').next().unwrap().to_owned();
        }
    }
    let world = format!(
        "package test:fetch;\nworld fetch {{\n  include pelton:events/plugin@0.1.0;\n  \
         import wasi:http/outgoing-handler@{version};\n}}\n"
    );
    fs::write(folder.path().join("world.wit"), world).unwrap();
    folder
}

fn python() -> PathBuf {
    built("python", "fetch.py", |source, component| {
        let wit = wit();
        let words = ["-d", "-w", "fetch", "componentize", "-p", "fetch", "-o"].map(Path::new);
        let [d, w, world, verb, p, module, o] = words;
        let arguments =
            [d, wit.path(), w, world, verb, p, source.parent().unwrap(), module, o, component];
        run("componentize-py", &arguments);
    })
}

fn typescript() -> PathBuf {
    built("typescript", "fetch.ts", |source, component| {
        let out = tempfile::tempdir().unwrap();
        let words =
            ["--target", "es2022", "--module", "es2022", "--strict", "--outDir"].map(Path::new);
        run("tsc", &[&words[..], &[out.path(), source]].concat());
        let (script, wit) = (out.path().join("fetch.js"), root().join("wit"));
        let words = ["-w", "-n", "plugin", "-d", "fetch-event", "-o"].map(Path::new);
        let [w, n, world, d, event, o] = words;
        run("componentize-js", &[&script, w, &wit, n, world, d, event, o, component]);
    })
}

/// As a project of its own; the compiler's package `wasihttp` is for `wasi:http`
/// of any version, here that of the host.
fn go() -> PathBuf {
    built("go", "handler.go", |source, component| {
        let (project, wit) = (tempfile::tempdir().unwrap(), wit());
        let write = |name: &str, text: &str| fs::write(project.path().join(name), text).unwrap();
        fs::copy(source, project.path().join("handler.go")).unwrap();
        write("go.mod", "module fetch\n\ngo 1.25\n");
        write("pelton.toml", "[plugins.fetch]\ncomponent = \"fetch.wasm\"\nsubscribe = [\"in\"]\n");
        fs::rename(wit.path(), project.path().join("wit")).unwrap();
        let finished = new::build(project.path(), &[]);
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        fs::copy(project.path().join("fetch.wasm"), component).unwrap();
    })
}

/// Grants the component one server, and asks that one and another, where it is
/// refused: the handler sees an error, and rejects the event.
async fn speaks_http(component: &Path, language: &str) {
    let (web, other) = (Web::start().await, Web::start().await);
    let project = Project::with_plugins(&format!(
        "[plugins.subject]\ncomponent = {component:?}\nstream = \"IN\"\nsubscribe = [\"in.>\"]\n\
         publish = [\"out.>\"]\ntimeout = \"20s\"\nmemory = \"128MiB\"\nhttp = [\"http://{}\"]\n",
        web.authority()
    ));
    let server = Server::start().await;
    let mut daemon = project.launch(&server);
    // These are large: to compile one takes its time, the first time.
    let compiled = async {
        while daemon.get("/readyz").await.is_none_or(|(status, _)| status != 200) {
            assert!(daemon.is_running(), "the daemon ended by itself");
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(5 * PATIENCE, compiled).await.expect("the daemon is ready");
    server.publish("in.x", format!("http://{}/echo", web.authority())).await;
    server.publish("in.x", format!("http://{}/echo", other.authority())).await;

    let out = eventually("an answer", async || server.stored("OUT").await.pop()).await;
    let text = out.text();
    let (status, body) = text.split_once(' ').unwrap();
    assert_eq!(status, "200", "{text}");
    let seen: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&seen["method"], &seen["path"]), (&"POST".into(), &"/echo".into()), "{seen}");
    assert_eq!(seen["headers"]["x-language"], language);
    assert_eq!(seen["length"], format!("from {language}").len());
    assert!(seen["headers"]["idempotency-key"].as_str().unwrap().ends_with("-0"), "{seen}");

    let dead = crate::delivery::dead_letters(&server, 1).await.remove(0);
    assert_eq!(dead.header("Pelton-Dlq-Reason"), Some("reject"), "{}", daemon.log());
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn python_speaks_http() {
    speaks_http(&python(), "python").await;
}

#[tokio::test]
async fn go_speaks_http() {
    let component = tokio::task::spawn_blocking(go).await.unwrap();
    speaks_http(&component, "go").await;
}

#[tokio::test]
async fn typescript_speaks_http() {
    speaks_http(&typescript(), "typescript").await;
}
