//! A whole manifest in this process, without a server: the real guests in the real
//! sandbox, the real dispatcher, and the broker in memory.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use pelton::{
    event::Header,
    host::local::{Input, Loaded, Local, Options, Recording, Told},
    manifest::{Environment, Manifest},
    plugin::{CallError, CompilationListener},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::harness::{guest, root};

/// Compiled components, shared by these tests.
static CACHE: LazyLock<PathBuf> = LazyLock::new(|| root().join("target/components/cache"));

pub fn manifest(text: &str) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pelton.toml");
    std::fs::write(&path, format!("[host]\ncache = {:?}\n{text}", &*CACHE)).unwrap();
    Manifest::load(&path, &Environment::fixed([]), |_| Ok(())).unwrap()
}

/// A plugin that reads `subscribe` from the stream IN, and may publish `publish`.
pub fn plugin(name: &str, of: &str, (subscribe, publish): (&str, &str), more: &str) -> String {
    format!(
        "[plugins.{name}]\ncomponent = {:?}\nsubscribe = [\"{subscribe}\"]\npublish = [\"{publish}\"]\n{more}\n",
        guest(of)
    )
}

pub const STREAMS: &str =
    "[streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n";

async fn started(text: &str) -> Local {
    let loaded = Loaded::load(&manifest(text), CompilationListener::default()).await.unwrap();
    loaded.start(Options::default()).await.unwrap()
}

async fn one(guest: &str, more: &str) -> Local {
    let more = format!("stream = \"IN\"\n{more}");
    started(&format!("{STREAMS}{}", plugin("p", guest, ("in.>", "out.>"), &more))).await
}

fn said(local: &Local) -> Vec<(String, String, String)> {
    let outputs = local.outputs().into_iter();
    outputs
        .map(|it| (it.plugin, it.subject, String::from_utf8_lossy(&it.payload).into_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn backoffs_take_no_time_where_time_is_paused() {
    let local = one("flaky", "").await;
    let (real, begun) = (std::time::Instant::now(), Instant::now());
    for payload in [r#"{"succeed-at": 3}"#, r#"{"succeed-at": 99}"#] {
        let taken = local.publish(&Input::new("in.x", payload)).unwrap();
        assert_eq!((&*taken.streams, taken.listeners), (&["IN".to_owned()][..], 1));
    }
    local.idle().await;
    assert!(begun.elapsed() > Duration::from_millis(100), "no backoff at all");
    assert!(real.elapsed() < Duration::from_secs(30));

    assert_eq!(said(&local).len(), 1);
    let output = &local.outputs()[0];
    assert_eq!((&*output.plugin, &*output.subject), ("p", "out.x"));
    assert_eq!(output.streams, ["OUT"]);
    let dead = &local.dead_letters()[..];
    assert_eq!(dead.len(), 1);
    assert_eq!((&*dead[0].reason, dead[0].event.attempt), ("retry", 5));
    assert!(dead[0].error.contains("attempt 5 of 99"), "{}", dead[0].error);
    assert_eq!(dead[0].history.len(), 4);
    let runs = local.runs();
    assert_eq!(runs.len(), 3 + 5);
    let good: Vec<_> = runs.iter().filter(|run| run.outcome.is_ok()).collect();
    assert_eq!((good.len(), good[0].attempt), (1, 3));
    assert_eq!(good[0].event, output.event);
    assert_eq!(local.stop().await.unwrap().unfinished, 0);
}

#[tokio::test(start_paused = true)]
async fn plugins_feed_each_other_through_streams_and_core_nats() {
    let stream = "stream = \"IN\"";
    let manifest = [
        STREAMS.to_owned(),
        plugin("a", "echo", ("in.>", "out.>"), stream),
        plugin("b", "fan", ("out.>", "out.>"), "stream = \"OUT\"\nallow-loop = true"),
        // Stored by no stream that the manifest describes, then heard over core NATS.
        plugin("c", "echo", ("out.out.out.two", "out.>"), "allow-loop = true"),
        plugin("d", "echo", ("in.two", "elsewhere.>"), stream),
    ];
    let text = manifest
        .concat()
        .replace("\"out.>\"]\nstream = \"OUT\"", "\"out.out.>\"]\nstream = \"OUT\"");
    let local =
        started(&text.replace("subscribe = [\"out.>\"]", "subscribe = [\"out.two\"]")).await;
    local.publish(&Input { id: Some("first".to_owned()), ..Input::new("in.two", "2") }).unwrap();
    local.idle().await;
    let ids: Vec<_> = local.outputs().into_iter().map(|it| it.id).collect();
    assert!(ids.contains(&"first/a.0/b.1".to_owned()), "{ids:?}");
    let said = said(&local);
    let of = |plugin: &str| said.iter().filter(|it| it.0 == plugin).collect::<Vec<_>>();
    assert_eq!(of("a"), [&("a".to_owned(), "out.two".to_owned(), "2".to_owned())]);
    assert_eq!(of("b").iter().map(|it| &*it.2).collect::<Vec<_>>(), ["0", "1"]);
    let dead = local.dead_letters();
    assert_eq!(dead.len(), 1, "d may not publish that: {dead:?}");
    assert_eq!((&*dead[0].plugin, &*dead[0].reason), ("d", "output"));
    assert!(local.dropped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn plugins_of_core_nats_are_served_too_and_answer_requests() {
    let local =
        started(&plugin("p", "echo", ("in.>", "out.>"), "[plugins.p.config]\nreply = \"true\""))
            .await;
    let request = Input { reply_to: Some("_INBOX.7".to_owned()), ..Input::new("in.x", "hello") };
    let taken = local.publish(&request).unwrap();
    assert_eq!((taken.listeners, taken.streams.len()), (1, 0));
    assert_eq!(local.publish(&Input::new("nobody.hears", "")).unwrap().listeners, 0);
    local.idle().await;
    assert_eq!(said(&local), [("p".to_owned(), "_INBOX.7".to_owned(), "hello".to_owned())]);
    assert!(local.outputs()[0].streams.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_has_the_id_the_time_and_the_attempt_that_it_was_given() {
    let loops = "stream = \"IN\"\n[plugins.p.config]\ntag = \"b\"";
    for more in [loops.to_owned(), loops.replace("[plu", "order-by = \"subject.2\"\n[plu")] {
        let local =
            started(&format!("{STREAMS}{}", plugin("p", "flaky", ("in.>", "out.>"), &more))).await;
        let input = Input {
            id: Some("mine".to_owned()),
            time_ms: Some(1_000),
            attempt: 4,
            headers: vec![Header { name: "A".to_owned(), value: "b".to_owned() }],
            ..Input::new("in.x", r#"{"succeed-at": 99}"#)
        };
        local.publish(&input).unwrap();
        assert!(local.publish(&input).unwrap().is_duplicate);
        local.idle().await;
        let runs = local.runs();
        assert_eq!(runs.iter().map(|run| run.attempt).collect::<Vec<_>>(), [4, 5], "{more}");
        let dead = local.dead_letters();
        assert_eq!((&*dead[0].event.id, dead[0].event.time_ms), ("mine", 1_000));
        assert_eq!(dead[0].event.headers, input.headers);
    }
    let local = started(&plugin("p", "flaky", ("in.>", "out.>"), "")).await;
    let input = Input { attempt: 4, ..Input::new("in.x", r#"{"succeed-at": 99}"#) };
    local.publish(&input).unwrap();
    local.idle().await;
    assert_eq!(local.runs().iter().map(|run| run.attempt).collect::<Vec<_>>(), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn an_endless_loop_ends_where_time_is_paused_and_a_sleep_by_its_time_out() {
    let local =
        one("spin", "[plugins.p.limits]\ncpu = \"50ms\"\n[plugins.p.retry]\nattempts = 1").await;
    local.publish(&Input::new("in.x", "spin")).unwrap();
    local.idle().await;
    assert!(matches!(local.runs()[0].outcome, Err(CallError::Cpu(_))));
    assert_eq!(local.dead_letters()[0].reason, "cpu");

    let local = one("sleep", "timeout = \"20s\"\n[plugins.p.retry]\nattempts = 1").await;
    local.publish(&Input::new("in.x", "sleep")).unwrap();
    local.idle().await;
    assert_eq!(local.runs()[0].took, Duration::from_secs(20));
    assert_eq!(local.dead_letters()[0].reason, "timeout");
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_once_runs_under_other_settings_too() {
    let more = "stream = \"IN\"\n[plugins.p.config]\ntag = \"first\"";
    let text = format!("{STREAMS}{}", plugin("p", "tag", ("in.>", "out.>"), more));
    let loaded = Loaded::load(&manifest(&text), CompilationListener::default()).await.unwrap();
    let mut other = loaded.manifest().clone();
    other.plugins.get_mut("p").unwrap().config.insert("tag".to_owned(), "second".to_owned());
    for (manifest, expected) in [(None, "first"), (Some(other), "second")] {
        let local = loaded.start(Options { manifest, ..Options::default() }).await.unwrap();
        local.publish(&Input::new("in.x", r#"{"n": 1}"#)).unwrap();
        local.idle().await;
        assert_eq!(local.outputs()[0].headers[0].value, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_guests_log_is_kept_with_plugin_and_event() {
    let local = one("loud", "[plugins.p.limits]\nlog-lines = 3").await;
    local.publish(&Input { id: Some("e".to_owned()), ..Input::new("in.x", "loud") }).unwrap();
    local.idle().await;
    let logs = local.logs();
    assert_eq!(logs.len(), 4, "three, and how many were dropped: {logs:?}");
    assert!(logs.iter().all(|line| &*line.plugin == "p" && line.event == "e"));
    assert!(logs[0].text.contains("log 0") && !logs[0].text.contains('\u{1b}'));
}

#[tokio::test]
async fn what_is_handed_on_holds_the_plugins_back_and_nothing_is_kept() {
    let text = format!("{STREAMS}{}", plugin("p", "fan", ("in.>", "out.>"), "stream = \"IN\""));
    let loaded = Loaded::load(&manifest(&text), CompilationListener::default()).await.unwrap();
    let (sender, mut told) = mpsc::channel(4);
    let recording = Recording::Handed(sender);
    let options = Options { recording, forget_handled: true, ..Options::default() };
    let local = loaded.start(options).await.unwrap();
    let outputs = async {
        let mut outputs = 0;
        while outputs < 100 * 50 {
            if let Told::Output(_) = told.recv().await.unwrap() {
                outputs += 1;
            }
        }
    };
    let inputs = async {
        for _ in 0..100 {
            local.room("in.x", (8, 1 << 20)).await;
            local.publish(&Input::new("in.x", "50")).unwrap();
        }
    };
    timeout(crate::harness::PATIENCE, async { tokio::join!(outputs, inputs) }).await.unwrap();
    local.idle().await;
    assert!(local.outputs().is_empty() && local.runs().is_empty());
    local.stop().await.unwrap();
}

/// Runs one host after the other, on a runtime of its own.
fn run_twenty(loaded: &Loaded) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for n in 0..20 {
            let local = loaded.start(Options::default()).await.unwrap();
            local.publish(&Input::new("in.x", n.to_string())).unwrap();
            local.idle().await;
            assert_eq!(said(&local)[0].2, n.to_string());
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_manifest_run_beside_each_other() {
    let text = format!("{STREAMS}{}", plugin("p", "echo", ("in.>", "out.>"), "stream = \"IN\""));
    let loaded = Loaded::load(&manifest(&text), CompilationListener::default()).await.unwrap();
    let start = |loaded: Loaded| std::thread::spawn(move || run_twenty(&loaded));
    let threads: Vec<_> = (0..4).map(|_| start(loaded.clone())).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
