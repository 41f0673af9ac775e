//! Components in TypeScript for the contracts of others, as `tsc` and
//! `componentize-js` make them of those contracts' WIT.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{pair, reason, services, texts};
use crate::{
    delivery::dead_letters,
    harness::{Daemon, Project, Server, eventually, root, verb},
    outbound_languages::run,
};

/// The component of a world of `runtime/wit/adapters.wit`, which is also the name of
/// its source; built when its sources are newer.
fn component(world: &str) -> PathBuf {
    let sources = root().join("tests/adapters");
    let component = root().join(format!("target/components/tests/adapters/{world}.wasm"));
    let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let names = [format!("{world}.ts"), format!("{world}.d.ts"), "script.ts".to_owned()];
    let newest = names.iter().map(|name| modified(&sources.join(name))).max().flatten();
    if modified(&component) < newest {
        fs::create_dir_all(component.parent().unwrap()).unwrap();
        build(&sources, world, &component);
    }
    component
}

fn build(sources: &Path, world: &str, component: &Path) {
    let out = tempfile::tempdir().unwrap();
    let [source, types] = ["ts", "d.ts"].map(|kind| sources.join(format!("{world}.{kind}")));
    let options = "--target es2022 --module es2022 --moduleResolution bundler --strict --outDir";
    let options: Vec<_> = options.split(' ').map(Path::new).collect();
    run("tsc", &[&options[..], &[out.path(), &source, &types]].concat());
    let (script, wit) = (out.path().join(world).with_extension("js"), root().join("runtime/wit"));
    let [w, n, d, http, fetch, o] = ["-w", "-n", "-d", "http", "fetch-event", "-o"].map(Path::new);
    let arguments = [&script, w, &wit, n, Path::new(world), d, http, d, fetch, o, component];
    run("componentize-js", &arguments);
}

fn project(component: &Path) -> Project {
    Project::with_plugins(&format!(
        "[plugins.subject]\ncomponent = {component:?}\nstream = \"IN\"\nsubscribe = [\"in.>\"]\n\
         publish = [\"out.>\"]\nretry = {{ attempts = 1 }}\ntimeout = \"20s\"\nrequest = [\"rpc.echo\"]\n"
    ))
}

async fn keeps_the_promises(world: &'static str, contract: &str) {
    let component = tokio::task::spawn_blocking(move || component(world)).await.unwrap();
    let inspected = verb(Path::new("."), &["inspect", component.to_str().unwrap()]);
    assert!(inspected.stdout.contains(&format!("contract  {contract}\n")), "{inspected:?}");
    assert!(!inspected.stdout.contains("unknown"), "{inspected:?}");

    let project = project(&component);
    let server = Server::start().await;
    let mut daemon = project.launch(&server);
    daemon.compiled().await;
    let client = server.client().await;
    let _services = services(&client).await;

    in_order_under_ids_of_the_run(&server).await;
    refused_requests_can_be_caught(&server, &daemon).await;
    nothing_leaves_when_it_fails(&server).await;
    assert_eq!(server.count("OUT").await, 4, "{}", daemon.log());
}

/// And a request is answered while it runs.
async fn in_order_under_ids_of_the_run(server: &Server) {
    server
        .publish("in.x", "publish out.a one\nrequest rpc.echo 5000 hello\npublish out.b two")
        .await;
    let out = eventually("three outputs", async || {
        let out = server.stored("OUT").await;
        (out.len() == 3).then_some(out)
    })
    .await;
    let expected = [pair("out.a", "one"), pair("out.answer", "hello"), pair("out.b", "two")];
    assert_eq!(texts(&out), expected);
    let ids: Vec<_> = out.iter().map(|it| it.header("Nats-Msg-Id").unwrap()).collect();
    let (run, _) = ids[0].rsplit_once('.').unwrap();
    assert_eq!(ids, [format!("{run}.0"), format!("{run}.1"), format!("{run}.2")]);
}

async fn refused_requests_can_be_caught(server: &Server, daemon: &Daemon) {
    server.publish("in.x", "request rpc.other 5000 hello").await;
    daemon.says("request to `rpc.other` not granted").await;
    let refused = eventually("an answer", async || server.stored("OUT").await.get(3).cloned());
    let refused = refused.await.text();
    assert!(refused.starts_with("error: ") && refused.contains("not granted"), "{refused}");
}

async fn nothing_leaves_when_it_fails(server: &Server) {
    for (at, (end, class, says)) in [
        ("fail no stock", "retry", "no stock"),
        ("trap", "trap", "trapped"),
        ("publish secret.x y", "output", "output 1 to"),
        ("spin", "timeout", "time-out"),
    ]
    .into_iter()
    .enumerate()
    {
        server.publish("in.x", format!("publish out.a lost\n{end}")).await;
        let dead = dead_letters(server, at + 1).await.remove(at);
        let (found, error) = reason(&dead);
        assert_eq!(found, class, "{end}: {error}");
        assert!(error.contains(says), "{end}: {error}");
    }
}

#[tokio::test]
async fn for_wasmcloud_it_keeps_the_promises() {
    keeps_the_promises("wasmcloud", "wasmcloud:messaging@0.2.0").await;
}

#[tokio::test]
async fn of_wasi_messaging_it_keeps_the_promises() {
    keeps_the_promises("wasi-messaging", "wasi:messaging@0.2.0-draft").await;
}
