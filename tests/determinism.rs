//! With `deterministic = true` clocks and random numbers follow from the event alone.

use pelton::{
    host::local::{Input, Loaded, Options},
    manifest::Isolation,
    plugin::{CompilationListener, Determinism},
};
use serde_json::Value;

use crate::{
    harness::{Project, Server, eventually},
    local::{STREAMS, manifest, plugin},
};

const TIME_MS: u64 = 1_234_567_890_123;

/// Two plugins that say what they see, one of them deterministic in any case.
async fn loaded() -> Loaded {
    let stream = "stream = \"IN\"";
    let always = "stream = \"IN\"\ndeterministic = true";
    let text = [
        STREAMS.to_owned(),
        plugin("a", "chance", ("in.>", "out.>"), stream),
        plugin("b", "chance", ("in.>", "out.>"), always),
    ];
    Loaded::load(&manifest(&text.concat()), CompilationListener::default()).await.unwrap()
}

/// What plugin `by` says to these payloads, in events `0`, `1` and so on.
async fn seen(loaded: &Loaded, options: Options, payloads: &[&str], by: &str) -> Vec<Value> {
    let local = loaded.start(options).await.unwrap();
    for (n, payload) in payloads.iter().enumerate() {
        let (id, time_ms) = (Some(n.to_string()), Some(TIME_MS + n as u64));
        let input = Input { id, time_ms, ..Input::new("in.x", payload.to_string()) };
        local.publish(&input).unwrap();
        local.idle().await;
    }
    let outputs = local.outputs().into_iter().filter(|it| it.plugin == by);
    outputs.map(|it| serde_json::from_slice(&it.payload).unwrap()).collect()
}

fn deterministic() -> Options {
    Options { deterministic: true, ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn a_second_run_sees_the_same_and_another_event_or_plugin_does_not() {
    let loaded = loaded().await;
    let first = seen(&loaded, deterministic(), &["", ""], "a").await;
    assert_eq!(first, seen(&loaded, deterministic(), &["", ""], "a").await);
    let by_default = seen(&loaded, Options::default(), &["", ""], "b").await;
    assert_eq!(by_default, seen(&loaded, deterministic(), &["", ""], "b").await);
    for key in ["secure", "secure-bytes", "insecure", "insecure-bytes", "seed", "hash"] {
        assert_ne!(first[0][key], first[1][key], "another event: {key}");
        assert_ne!(first[0][key], by_default[0][key], "another plugin: {key}");
    }
    assert_ne!(first[0]["secure"][0], first[0]["secure"][1]);
    assert_ne!(first[0]["secure"][0], first[0]["insecure"]);
    assert_eq!(first[0]["secure-bytes"].as_array().unwrap().len(), 70);
    assert_eq!(first[0]["wall-ms"], TIME_MS);
    assert_eq!(first[1]["wall-ms"], TIME_MS + 1);

    let real = seen(&loaded, Options::default(), &["", ""], "a").await;
    assert_ne!(real[0]["wall-ms"], TIME_MS);
    assert_ne!(real[0]["secure"], first[0]["secure"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_reused_begins_each_run_anew() {
    let loaded = loaded().await;
    let fresh = seen(&loaded, deterministic(), &["", "", "nap", ""], "a").await;
    let mut manifest = loaded.manifest().clone();
    manifest.plugins.get_mut("a").unwrap().isolation = Isolation::Reuse(100);
    let options = Options { manifest: Some(manifest), ..deterministic() };
    let mut reused = seen(&loaded, options, &["", "", "nap", ""], "a").await;
    // What the guest's own library draws once and keeps is its state.
    for (fresh, reused) in fresh.iter().zip(&mut reused) {
        reused["hash"] = fresh["hash"].clone();
    }
    assert_eq!((fresh.len(), &fresh), (4, &reused));
}

#[tokio::test(start_paused = true)]
async fn clocks_go_on_by_sleeps_and_looks_alone() {
    let loaded = loaded().await;
    let seen = seen(&loaded, deterministic(), &["", "nap", "wait"], "a").await;
    let passed = |n: usize| seen[n]["passed-us"].as_u64().unwrap();
    assert!(passed(0) < 100, "{seen:?}");
    assert_eq!(seen[0]["later-ms"], seen[0]["wall-ms"]);
    assert_eq!(seen[1]["later-ms"].as_u64(), Some(TIME_MS + 1 + 3_000));
    assert!((3_000_000..3_000_100).contains(&passed(1)), "{seen:?}");
    assert!((1_000..1_100).contains(&passed(2)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn clock_and_seed_can_be_set() {
    let loaded = loaded().await;
    let with =
        |clock_ms, seed| Options { determinism: Determinism { clock_ms, seed }, ..deterministic() };
    let plain = seen(&loaded, deterministic(), &[""], "a").await;
    let clock = seen(&loaded, with(Some(5_000), None), &[""], "a").await;
    assert_eq!((&clock[0]["wall-ms"], &clock[0]["time"]), (&5_000.into(), &TIME_MS.into()));
    assert_eq!(clock[0]["secure"], plain[0]["secure"]);
    let seeds = [Some(1), Some(2), Some(1)];
    let mut draws = Vec::new();
    for seed in seeds {
        draws.push(seen(&loaded, with(None, seed), &[""], "a").await[0]["secure"].clone());
    }
    assert_eq!(draws[0], draws[2]);
    assert!(draws[0] != draws[1] && draws[0] != plain[0]["secure"]);
}

#[tokio::test]
async fn the_daemon_runs_a_deterministic_plugin_at_the_time_of_its_event() {
    let server = Server::start().await;
    let project = Project::with_guest("chance", "deterministic = true");
    let _daemon = project.run(&server).await;
    server.publish("in.x", "").await;
    let stored = eventually("an output", async || server.stored("OUT").await.pop()).await;
    let seen: Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(seen["wall-ms"], seen["time"]);
}
