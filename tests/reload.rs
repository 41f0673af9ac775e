//! Another manifest, another component: taken by a host in full flow, without
//! loss and without a word to the plugins that did not change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{
    Daemon, Finished, Project, Server, Stored, eventually, guest, patient, plugin_table, verb,
};

/// The plugin `subject` with the guest `tag`, which marks what it publishes. A busy
/// machine takes none of its runs beyond their time.
fn tagged(tag: &str, more: &str) -> String {
    let more = format!("config = {{ tag = {tag:?} }}\n{more}");
    in_time(&plugin_table("subject", "tag", "in.>", &more))
}

/// With an ack wait that leaves room for all attempts in the memory of the stream.
fn in_time(table: &str) -> String {
    patient(table).replace("\"55s\"", "\"30s\"").replace("\"50s\"", "\"29s\"")
}

/// A plugin beside it, with one instance that counts its events.
fn neighbour() -> String {
    let keys = "isolation = { reuse = 1000000 }\nconcurrency = 1";
    in_time(&plugin_table("neighbour", "state", "in.next.>", keys))
}

fn event(n: usize, more: &str) -> Vec<u8> {
    format!(r#"{{"n":{n}{more}}}"#).into_bytes()
}

#[track_caller]
fn assert_reloaded(answer: &Finished, says: &str) {
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(answer.stdout.trim(), format!("reloaded: {says}"), "{answer:?}");
}

#[track_caller]
fn assert_refused(answer: &Finished, words: &[&str]) {
    assert_eq!(answer.status.code(), Some(2), "{answer:?}");
    let flat = answer.stderr.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>();
    let flat = flat.join(" ");
    for word in words {
        assert!(flat.contains(word), "no {word:?} in: {}", answer.stderr);
    }
}

/// Publishes one event and waits until it is handled; the tag of its output.
async fn tag_of(server: &Server, subject: &str, payload: &[u8]) -> String {
    let before = server.count("OUT").await;
    server.publish(subject, payload).await;
    let out = eventually("the event is handled", async || {
        server.stored("OUT").await.into_iter().nth(before as usize)
    })
    .await;
    out.header("Tag").unwrap_or("none").to_owned()
}

async fn reloads(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("pelton_reloads_total{{outcome=\"{outcome}\"}}")).await
}

const DONE: &str = "pelton_events_done_total{plugin=\"subject\"}";

#[tokio::test]
async fn twenty_reloads_in_full_flow_lose_and_repeat_nothing() {
    const BATCH: usize = 2_000;
    const RELOADS: usize = 20;
    const BAD: usize = 11;
    let server = Server::start().await;
    let project = Project::with_plugins(&format!("{}{}", variant(0), neighbour()));
    let daemon = project.run(&server).await;
    // A backlog, so that something is in flight at every swap.
    let flow = |n| ("in.flow".to_owned(), event(n, r#","sleep-ms":10"#));
    let (mut published, mut swaps, mut next) = (0, 0, 0);
    for reload in 1..=RELOADS {
        // However fast the host is beside this test.
        if server.backlog("IN", "pelton-subject").await.unwrap() < BATCH as u64 {
            server.publish_all((published..published + BATCH).map(flow)).await;
            published += BATCH;
        }
        let before = daemon.metric(DONE).await;
        // In flow: some events are handled between two reloads, never all.
        eventually("events flow", async || {
            next += 1;
            server.publish("in.next.x", next.to_string()).await;
            (daemon.metric(DONE).await > before + 40.0).then_some(())
        })
        .await;
        project.rewrite_plugins(&format!("{}{}", variant(reload), neighbour()));
        if reload == BAD {
            let bad = variant(reload).replace("concurrency = ", "concurency = ");
            project.rewrite_plugins(&format!("{bad}{}", neighbour()));
            assert_refused(&daemon.reload(project.path()).await, &["concurency", "concurrency"]);
        } else {
            let says = "swapped subject; untouched neighbour";
            assert_reloaded(&daemon.reload(project.path()).await, says);
            swaps += 1;
        }
    }
    server.settled("IN", "pelton-subject").await;
    server.settled("IN", "pelton-neighbour").await;

    let out = server.stored("OUT").await;
    let (lost, duplicated, tags) = account(&out, published);
    let metrics = daemon.metrics().await;
    let of_subject = |name: &str| {
        metrics.get(&format!("pelton_{name}{{plugin=\"subject\"}}")).copied().unwrap_or(0.0)
    };
    let (redelivered, caught) =
        (of_subject("events_redelivered_total"), of_subject("outputs_deduplicated_total"));
    println!(
        "reload: in={published} reloads={RELOADS} swapped={swaps} refused=1 lost={lost} \
         duplicated={duplicated} redelivered={redelivered} caught={caught} generations={}",
        tags.len()
    );
    assert_eq!((lost, duplicated), (0, 0));
    // Drained, each time: nothing had to come again.
    assert_eq!((redelivered, caught), (0.0, 0.0));
    assert_eq!(tags.len(), swaps + 1, "not every generation handled events: {tags:?}");
    assert_eq!(of_subject("events_done_total"), published as f64);
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);
    assert_eq!(reloads(&daemon, "reloaded").await, swaps as f64);
    assert_eq!(reloads(&daemon, "refused").await, 1.0);
    // One instance, from the first event to the last.
    let counted: Vec<_> = out.iter().filter(|out| out.subject == "out.next.x").collect();
    let counted: Vec<_> = counted.iter().map(|out| out.text().parse::<usize>().unwrap()).collect();
    assert_eq!(counted, (1..=next).collect::<Vec<_>>());
}

/// Another tag each time, and by turns other settings of every kind.
fn variant(n: usize) -> String {
    let keys = match n % 5 {
        0 => "concurrency = 16",
        1 => "concurrency = 3\nmemory = \"32MiB\"",
        2 => "concurrency = 16\nisolation = { reuse = 50 }",
        3 => "concurrency = 8\nretry = { attempts = 7 }",
        _ => "concurrency = 24\nack = \"confirmed\"",
    };
    // Only what has a tag of its own: the neighbour reads the rest.
    tagged(&format!("g{n}"), keys).replace("\"in.>\"", "\"in.flow\"")
}

/// Lost and duplicated events, and the tags of those that handled them.
fn account(out: &[Stored], n_events: usize) -> (usize, usize, BTreeMap<String, usize>) {
    let (mut counts, mut tags) = (BTreeMap::<String, usize>::new(), BTreeMap::new());
    for out in out.iter().filter(|out| out.subject == "out.flow") {
        *counts.entry(out.text()).or_default() += 1;
        *tags.entry(out.header("Tag").unwrap().to_owned()).or_default() += 1;
    }
    // What a crash between publish and settlement would need.
    let ids: BTreeSet<_> = out.iter().filter_map(|out| out.header("Nats-Msg-Id")).collect();
    assert_eq!(ids.len(), out.len(), "outputs without an id of their own");
    let lost = (0..n_events).filter(|n| !counts.contains_key(&n.to_string())).count();
    let duplicated = counts.values().map(|n| n - 1).sum();
    (lost, duplicated, tags)
}

#[tokio::test]
async fn a_change_holds_from_one_event_to_the_next() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "a");

    // Configuration.
    project.rewrite_plugins(&tagged("b", ""));
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    assert_eq!(tag_of(&server, "in.x", &event(2, "")).await, "b");

    // The component.
    project.rewrite_plugins(&in_time(&plugin_table("subject", "echo", "in.>", "")));
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    assert_eq!(tag_of(&server, "in.x", b"echo").await, "none");

    // Nothing.
    assert_reloaded(&daemon.reload(project.path()).await, "untouched subject");
    assert_eq!(reloads(&daemon, "reloaded").await, 3.0);
}

#[tokio::test]
async fn another_file_under_the_same_name_is_another_component() {
    let server = Server::start().await;
    let project = Project::with_plugins("");
    let component = project.path().join("handler.wasm");
    fs::copy(guest("echo"), &component).unwrap();
    let table = plugin_table("subject", "echo", "in.>", "config = { tag = \"new\" }");
    let echo = format!("{:?}", guest("echo"));
    project.rewrite_plugins(&table.replace(&echo, "\"handler.wasm\""));
    let daemon = project.run(&server).await;
    assert_eq!(tag_of(&server, "in.x", b"echo").await, "none");

    fs::copy(guest("tag"), &component).unwrap();
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");

    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "new");
}

#[tokio::test]
async fn subjects_limits_and_grants_change_in_place() {
    let server = Server::start().await;
    let keys = "retry = { attempts = 2, backoff = { first = \"10ms\", max = \"20ms\" } }";
    let project = Project::with_plugins(&tagged("a", keys).replace("in.>", "in.a"));
    let daemon = project.run(&server).await;
    assert_eq!(tag_of(&server, "in.a", &event(1, "")).await, "a");

    // Other subjects: the same durable consumer goes on where it was.
    let keys = "memory = \"32MiB\"\nconcurrency = 3\n\
                retry = { attempts = 9, backoff = { first = \"10ms\", max = \"20ms\" } }";
    project.rewrite_plugins(&tagged("b", keys).replace("in.>", "in.b"));
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    server.publish("in.a", "not for anybody").await;
    assert_eq!(tag_of(&server, "in.b", &event(2, "")).await, "b");
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    let mut consumer = stream
        .get_consumer::<async_nats::jetstream::consumer::pull::Config>("pelton-subject")
        .await
        .unwrap();
    let info = consumer.info().await.unwrap();
    assert_eq!(info.config.filter_subject, "in.b");

    // More attempts: seven failures are not the end of it any more.
    let flaky = in_time(&plugin_table("subject", "flaky", "in.b", keys));
    project.rewrite_plugins(&flaky);
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    tag_of(&server, "in.b", br#"{"succeed-at":8}"#).await;
    assert_eq!(server.count("pelton_DEAD_LETTERS").await, 0);

    // Nothing may be published any more.
    project.rewrite_plugins(&flaky.replace("publish = [\"out.>\"]", "publish = [\"out.else\"]"));
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    server.publish("in.b", r#"{"succeed-at":1}"#).await;
    let dead = crate::delivery::dead_letters(&server, 1).await;
    assert_eq!(dead[0].header("Pelton-Dlq-Reason"), Some("output"), "{dead:?}");
}

#[tokio::test]
async fn plugins_come_and_go() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;

    let both = format!("{}{}", tagged("a", ""), neighbour());
    project.rewrite(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n\
         [streams.MORE]\nsubjects = [\"more.>\"]\n{both}"
    ));
    assert_reloaded(&daemon.reload(project.path()).await, "added neighbour; untouched subject");
    assert!(server.jetstream().await.get_stream("MORE").await.is_ok(), "no new stream");
    server.publish("in.next.x", "x").await;
    server.settled("IN", "pelton-neighbour").await;

    project.rewrite_plugins(&neighbour());
    assert_reloaded(&daemon.reload(project.path()).await, "removed subject; untouched neighbour");
    daemon.says("nats consumer rm IN pelton-subject").await;
    server.publish("in.next.x", "x").await;
    server.settled("IN", "pelton-neighbour").await;
    // Its consumer stays, and so does what waits for it.
    eventually("one waits for the plugin that is gone", async || {
        (server.backlog("IN", "pelton-subject").await == Some(1)).then_some(())
    })
    .await;

    project.rewrite_plugins(&both);
    assert_reloaded(&daemon.reload(project.path()).await, "added subject; untouched neighbour");
    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 4);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_old_goes_on() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    let refused = async |words: &[&str]| {
        assert_refused(&daemon.reload(project.path()).await, words);
    };

    project.rewrite("[plugins.subject]\ncomponent = ");
    refused(&["pelton.toml:2", "not TOML", "the host runs as before"]).await;
    fs::remove_file(project.path().join("pelton.toml")).unwrap();
    refused(&["there is no manifest at"]).await;
    project.rewrite_plugins(&tagged("b", "").replace("tag.wasm", "gone.wasm"));
    refused(&["gone.wasm"]).await;
    // All at once: a component that is none, and what only a restart can change.
    fs::write(project.path().join("bad.wasm"), "not wasm").unwrap();
    let component = format!("{:?}", guest("tag"));
    project.rewrite_plugins(&tagged("b", "").replace(&component, "\"bad.wasm\""));
    refused(&["bad.wasm"]).await;
    project.rewrite(&format!(
        "[host]\nname = \"other\"\nstack = \"1MiB\"\n[nats]\nping-interval = \"3s\"\n\
         [streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        tagged("b", "")
    ));
    refused(&["host.name", "host.stack", "nats.ping-interval", "restart the host"]).await;
    // A guest that cannot be started is found before anything is touched.
    let start = in_time(&plugin_table("subject", "tag", "in.>", "memory = \"64KiB\""));
    project.rewrite_plugins(&start);
    refused(&["memory"]).await;
    // Streams that differ; none is made before all is known to be right.
    project.rewrite(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\nmax-messages = 7\n[streams.AAA]\nsubjects = [\"a\"]\n\
         [streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        tagged("b", "")
    ));
    refused(&["max-messages", "7"]).await;
    assert!(server.jetstream().await.get_stream("AAA").await.is_err(), "a stream was made");

    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "a");
    assert_eq!(reloads(&daemon, "refused").await, 7.0);
    assert_eq!(reloads(&daemon, "reloaded").await, 0.0);
    assert_eq!(daemon.metric("pelton_last_reload_successful").await, 0.0);
    daemon.says("everything runs as before").await;
    assert_eq!(daemon.get("/readyz").await.unwrap().0, 200);
}

#[tokio::test]
async fn sighup_reloads_and_never_ends_the_host() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let mut daemon = project.run(&server).await;

    project.rewrite_plugins(&tagged("b", ""));
    daemon.signal("HUP");
    eventually("it reloads", async || (reloads(&daemon, "reloaded").await == 1.0).then_some(()))
        .await;
    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "b");

    project.rewrite_plugins("nonsense");
    daemon.signal("HUP");
    eventually("it refuses", async || (reloads(&daemon, "refused").await == 1.0).then_some(()))
        .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn watched_files_reload_by_themselves() {
    let server = Server::start().await;
    let project = Project::with_plugins("");
    let component = project.path().join("handler.wasm");
    fs::copy(guest("tag"), &component).unwrap();
    let path = format!("{:?}", guest("tag"));
    let table = |tag| tagged(tag, "").replace(&path, "\"handler.wasm\"");
    project.rewrite_plugins(&table("a"));
    let mut daemon = project.launch_with(&server, &["--watch"]);
    daemon.ready().await;
    let reloaded = async |n: f64| {
        eventually("it reloads", async || (reloads(&daemon, "reloaded").await == n).then_some(()))
            .await
    };

    // Renamed over, as editors do.
    project.rewrite_plugins(&table("b"));
    reloaded(1.0).await;
    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "b");

    // Gone for a moment, as in a build.
    fs::remove_file(&component).unwrap();
    fs::copy(guest("echo"), &component).unwrap();
    reloaded(2.0).await;
    assert_eq!(tag_of(&server, "in.x", b"echo").await, "none");
    assert_eq!(reloads(&daemon, "refused").await, 0.0);

    // Wrong at first; when it is mended nobody has to say so.
    project.rewrite_plugins(&table("c").replace("handler.wasm", "later.wasm"));
    eventually("it refuses", async || (reloads(&daemon, "refused").await == 1.0).then_some(()))
        .await;
    fs::copy(guest("tag"), project.path().join("later.wasm")).unwrap();
    reloaded(3.0).await;
    assert_eq!(tag_of(&server, "in.x", &event(3, "")).await, "c");
}

#[tokio::test]
async fn core_nats_in_full_flow_drops_nothing_uncounted() {
    const SWAPS: usize = 6;
    let server = Server::start().await;
    server.stream("OUT", &["out.>"]).await;
    let table = |n: usize| {
        // By turns wider and narrower: both are one queue group for the server.
        let subject = if n.is_multiple_of(2) { "in.>" } else { "in.flow" };
        format!(
            "[plugins.subject]\ncomponent = {:?}\nsubscribe = [{subject:?}]\npublish = [\"out.>\"]\n\
             queue = 100000\nconfig = {{ tag = \"g{n}\" }}\n",
            guest("tag")
        )
    };
    let project = Project::new(&table(0));
    let daemon = project.run(&server).await;
    let client = server.client().await;
    // No more at once than the old one settles within a moment.
    let mut handled = client.subscribe("out.flow").await.unwrap();
    // For as long as there are swaps to come.
    let (end, ended) = tokio::sync::watch::channel(false);
    let feeding = tokio::spawn(async move {
        let mut n = 0;
        while !*ended.borrow() {
            client.publish("in.flow", event(n, r#","sleep-ms":1"#).into()).await.unwrap();
            n += 1;
            if n > 100 {
                handled.next().await.unwrap();
            }
        }
        client.flush().await.unwrap();
        n
    });

    for swap in 1..=SWAPS {
        let before = server.count("OUT").await;
        eventually("events flow", async || (server.count("OUT").await > before + 20).then_some(()))
            .await;
        project.rewrite(&table(swap));
        assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    }
    end.send_replace(true);
    let events = feeding.await.unwrap();
    let done = eventually("sent = handled + dropped", async || {
        let metrics = daemon.metrics().await;
        let sum = |name: &str| {
            let of_name = metrics.iter().filter(|(sample, _)| sample.starts_with(name));
            of_name.map(|(_, value)| value).sum::<f64>()
        };
        let (done, dropped) = (sum("pelton_events_done_total"), sum("pelton_events_dropped_total"));
        let dropped = dropped + sum("pelton_core_dropped_total");
        assert!(done + dropped <= events as f64, "{done} + {dropped}");
        (done + dropped == events as f64).then_some(done)
    })
    .await;
    let (lost, duplicated, tags) = account(&server.stored("OUT").await, events);
    println!(
        "reload of core NATS: sent={events} swaps={SWAPS} handled={done} lost={lost} \
         duplicated={duplicated} generations={}",
        tags.len()
    );
    assert_eq!((lost, duplicated), (events - done as usize, 0));
    assert_eq!(done as usize, events, "the queue holds all: nothing had to be dropped");
    assert!(tags.len() >= 4, "{tags:?}");
}

#[tokio::test]
async fn a_retry_that_waits_is_taken_over_by_the_new_settings() {
    let server = Server::start().await;
    // The attempts last for longer than a reload takes on a busy machine.
    let retry =
        "breaker = false\nretry = { attempts = 30, backoff = { first = \"50ms\", max = \"3s\" } }";
    let table =
        |tag| tagged(tag, retry).replace("\"30s\"", "\"12s\"").replace("\"29s\"", "\"11s\"");
    let project = Project::with_plugins(&table("a"));
    let daemon = project.run(&server).await;
    server.publish_all((0..20).map(|n| ("in.flow".to_owned(), event(n, r#","until":"b""#)))).await;
    eventually("all fail", async || {
        let retried = daemon.metric("pelton_events_retried_total{plugin=\"subject\"}").await;
        (retried >= 20.0).then_some(())
    })
    .await;

    project.rewrite_plugins(&table("b"));
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    server.settled("IN", "pelton-subject").await;

    let (lost, duplicated, tags) = account(&server.stored("OUT").await, 20);
    assert_eq!((lost, duplicated), (0, 0));
    assert_eq!(tags.into_keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn two_reloads_at_once_are_done_one_after_the_other() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    // Something in flight, so that the first takes its time.
    server.publish("in.x", event(0, r#","sleep-ms":800"#)).await;
    eventually("it runs", async || {
        let running = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (running == 1.0).then_some(())
    })
    .await;

    project.rewrite_plugins(&tagged("b", ""));
    let admin = daemon.admin().unwrap();
    let folder = project.path().to_owned();
    let first = tokio::task::spawn_blocking(move || verb(&folder, &["reload", "--admin", &admin]));
    daemon.says("\"reloading\"").await;
    project.rewrite_plugins(&tagged("c", ""));
    let second = daemon.reload(project.path()).await;

    assert_reloaded(&first.await.unwrap(), "swapped subject");
    assert_reloaded(&second, "swapped subject");
    assert_eq!(tag_of(&server, "in.x", &event(2, "")).await, "c");
    assert_eq!(server.count("OUT").await, 2);
}

#[tokio::test]
async fn a_stop_during_a_reload_drains_all_the_same() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let mut daemon = project.run(&server).await;
    server.publish("in.x", event(0, r#","sleep-ms":800"#)).await;
    eventually("it runs", async || {
        let running = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (running == 1.0).then_some(())
    })
    .await;
    project.rewrite_plugins(&tagged("b", ""));
    daemon.signal("HUP");
    daemon.says("\"reloading\"").await;

    let status = daemon.stop().await;

    assert!(status.success(), "{}", daemon.log());
    assert_eq!(server.count("OUT").await, 1);
    server.settled("IN", "pelton-subject").await;
}

#[tokio::test]
async fn a_reload_while_the_server_is_away_changes_nothing() {
    let mut server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    server.kill();
    eventually("the host notices", async || {
        daemon.get("/readyz").await.filter(|(status, _)| *status == 503)
    })
    .await;

    project.rewrite_plugins(&tagged("b", ""));
    let answer = daemon.reload(project.path()).await;
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(answer.stderr.contains("not connected to NATS"), "{answer:?}");

    server.restart().await;
    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "a");
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    assert_eq!(tag_of(&server, "in.x", &event(2, "")).await, "b");
}

#[tokio::test]
async fn a_server_that_goes_away_at_the_swap_leaves_no_plugin_dead() {
    let mut server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    // The swap waits for this event; meanwhile the server goes away.
    server.publish("in.x", event(0, r#","sleep-ms":10000"#)).await;
    eventually("it runs", async || {
        let running = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (running == 1.0).then_some(())
    })
    .await;
    project.rewrite_plugins(&tagged("b", "concurrency = 3"));
    daemon.signal("HUP");
    // The checks are done: the last one looks at the consumer.
    daemon.says("swapping").await;
    server.kill();
    eventually("it is missed", async || {
        daemon.get("/readyz").await.filter(|(_, body)| body.contains("plugin subject"))
    })
    .await;

    server.restart().await;
    eventually("the plugin has its source", async || {
        daemon.get("/readyz").await.filter(|(status, _)| *status == 200)
    })
    .await;
    server.publish("in.x", event(1, "")).await;
    server.settled("IN", "pelton-subject").await;

    let out = server.stored("OUT").await;
    let tags: BTreeMap<_, _> = out.iter().map(|out| (out.text(), out.header("Tag"))).collect();
    assert_eq!((out.len(), tags["0"], tags["1"]), (2, Some("a"), Some("b")), "{out:?}");
}

#[tokio::test]
async fn a_web_page_cannot_ask_for_a_reload() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let daemon = project.run(&server).await;
    let status = async |method: &str, headers: &str| {
        let mut stream = tokio::net::TcpStream::connect(daemon.admin().unwrap()).await.unwrap();
        let request = format!(
            "{method} /reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(status("POST", "").await, 403);
    assert_eq!(status("POST", "Pelton-Reload: yes\r\nOrigin: http://evil\r\n").await, 403);
    assert_eq!(status("OPTIONS", "Origin: http://evil\r\n").await, 405);
    assert_eq!(status("GET", "Pelton-Reload: yes\r\n").await, 405);
    assert_eq!(reloads(&daemon, "reloaded").await, 0.0);
    assert_eq!(status("POST", "Pelton-Reload: yes\r\n").await, 200);
    assert_eq!(reloads(&daemon, "reloaded").await, 1.0);
}

#[test]
fn a_host_that_is_not_reached_is_told_with_the_remedy() {
    let project = Project::with_plugins("");
    let reload = |arguments: &[&str]| verb(project.path(), &[&["reload"], arguments].concat());
    // Nobody listens on port 1.
    let answer = reload(&["--admin", "127.0.0.1:1"]);
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(
        answer.stderr.contains("127.0.0.1:1") && answer.stderr.contains("kill -HUP"),
        "{answer:?}"
    );

    let answer = reload(&[]);
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(answer.stderr.contains("[admin] listen"), "{answer:?}");

    fs::write(project.path().join("pelton.toml"), "[admin]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let answer = reload(&["pelton.toml"]);
    assert!(answer.stderr.contains("no host answers at 127.0.0.1:1"), "{answer:?}");
}

#[tokio::test]
async fn a_consumer_that_differs_is_updated_on_request() {
    let server = Server::start().await;
    let project = Project::with_plugins(&tagged("a", ""));
    let mut daemon = project.run(&server).await;
    assert_eq!(tag_of(&server, "in.x", &event(1, "")).await, "a");
    daemon.stop().await;
    project.rewrite_plugins(&tagged("b", "").replace("\"30s\"", "\"31s\"").replace("in.>", "in.x"));

    let mut daemon = project.launch(&server);
    assert_eq!(daemon.end().await.code(), Some(2));
    let log = daemon.log();
    assert!(log.contains("--update-consumers") && log.contains("ack-wait"), "{log}");

    let mut daemon = project.launch_with(&server, &["--update-consumers"]);
    daemon.ready().await;
    assert_eq!(tag_of(&server, "in.x", &event(2, "")).await, "b");
    // It kept its place.
    assert_eq!(server.count("OUT").await, 2);
}

#[tokio::test]
async fn what_the_server_refuses_at_the_swap_leaves_the_old_settings() {
    let server = Server::start().await;
    let queue = |table: &str| {
        format!(
            "[streams.IN]\nsubjects = [\"in.>\"]\nretention = \"work-queue\"\n\
             [streams.OUT]\nsubjects = [\"out.>\"]\n{table}"
        )
    };
    let project = Project::new(&queue(&tagged("a", "").replace("in.>", "in.a")));
    let daemon = project.run(&server).await;
    // The swap waits for this event; meanwhile somebody else takes the subject.
    server.publish("in.a", event(0, r#","sleep-ms":10000"#)).await;
    eventually("it runs", async || {
        let running = daemon.metric("pelton_inflight_events{plugin=\"subject\"}").await;
        (running == 1.0).then_some(())
    })
    .await;
    project.rewrite(&queue(&tagged("b", "").replace("in.>", "in.b")));
    daemon.signal("HUP");
    daemon.says("swapping").await;
    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    let thief = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("thief".to_owned()),
        filter_subject: "in.b".to_owned(),
        ..Default::default()
    };
    stream.create_consumer(thief).await.unwrap();

    daemon.says("it runs with its old settings again").await;
    // Counted when all of it is done, a little after that was said.
    eventually("it is counted", async || {
        (reloads(&daemon, "unfinished").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(tag_of(&server, "in.a", &event(1, "")).await, "a");
    assert_eq!(daemon.get("/readyz").await.unwrap().0, 200);

    // The next reload tries again.
    stream.delete_consumer("thief").await.unwrap();
    assert_reloaded(&daemon.reload(project.path()).await, "swapped subject");
    assert_eq!(tag_of(&server, "in.b", &event(2, "")).await, "b");
}
