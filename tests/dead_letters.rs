//! Dead letters as an operator handles them: `pelton dlq` against the real
//! daemon and server.

use std::collections::BTreeSet;

use async_nats::jetstream::{consumer::pull, stream};
use serde_json::Value;

use crate::{
    delivery::{RETRY, dead_letters},
    harness::{Finished, Project, Server, Stored, eventually, guest, plugin_table, verb},
};

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
    let project = Project::with_plugins(&format!("{picky}{fragile}"));
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

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let server = Server::start().await;
    let project = four_letters(&server).await;

    for (arguments, expected) in [
        (&[] as &[&str], &[4_u64, 3, 2, 1] as &[u64]),
        (&["--oldest"], &[1, 2, 3, 4]),
        (&["--plugin", "picky"], &[3, 1]),
        (&["--reason", "trap"], &[4, 2]),
        (&["--subject", "in.*.y"], &[4, 3]),
        (&["--error", "ON PURPOSE"], &[3, 1]),
        (&["--plugin", "picky", "--subject", "in.a.x"], &[1]),
        (&["--newer-than", "1h"], &[4, 3, 2, 1]),
        (&["--older-than", "1h"], &[]),
        (&["--plugin", "nobody"], &[]),
        (&["--limit", "2"], &[4, 3]),
        (&["--limit", "2", "--before", "3"], &[2, 1]),
        (&["--limit", "1", "--after", "1", "--oldest"], &[2]),
        (&["--limit", "1", "--plugin", "picky"], &[3]),
        (&["--limit", "1", "--reason", "reject", "--before", "3"], &[1]),
        (&["--limit", "1", "--reason", "reject", "--oldest"], &[1]),
        (&["--after", "3"], &[4]),
        (&["--after", "4"], &[]),
    ] {
        assert_eq!(numbers(&list(&project, &server, arguments)), expected, "{arguments:?}");
    }
    let first = &list(&project, &server, &["--oldest"])[0];
    for (name, expected) in [
        ("plugin", "picky"),
        ("reason", "reject"),
        ("subject", "in.a.x"),
        ("error", "the handler rejected the event: rejected on purpose"),
        ("host", "pelton"),
        ("stream", "IN"),
    ] {
        assert_eq!(first[name], expected, "{first}");
    }
    assert_eq!((&first["attempts"], &first["size"]), (&1.into(), &6.into()), "{first}");

    let page = done(&project, &server, &["list", "--limit", "3"]);
    let columns: Vec<_> = page.stdout.lines().next().unwrap().split('\t').collect();
    assert_eq!((columns.len(), columns[0], columns[2]), (7, "4", "fragile"), "{page:?}");
    let remark = "3 of 4 dead letters; go on with --before 2";
    assert!(page.stderr.contains(remark), "{page:?}");
    let none = done(&project, &server, &["list", "--plugin", "nobody"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("no dead letters match"), "{none:?}");
}

#[tokio::test]
async fn where_there_is_nothing_it_says_so() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    // Not even a stream.
    let listed = done(&project, &server, &["list"]);
    assert!(listed.stderr.contains("no dead letters in `pelton_DEAD_LETTERS`"), "{listed:?}");
    for arguments in [&["drop", "--all", "--yes"] as &[&str], &["replay", "--all", "--yes"]] {
        let finished = done(&project, &server, arguments);
        assert!(finished.stderr.contains("no dead letters match"), "{finished:?}");
    }
    for arguments in [&["show", "1"], &["replay", "1"], &["drop", "1"]] {
        let finished = dlq(&project, &server, arguments);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains("there is n"), "{finished:?}");
    }
    assert_eq!(done(&project, &server, &["export"]).stdout, "");
}

#[tokio::test]
async fn what_would_act_on_many_has_to_be_meant() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    for (arguments, says) in [
        (&["drop"] as &[&str], "say which"),
        (&["replay"], "say which"),
        (&["drop", "--plugin", "picky"], "this would drop 2 dead letters: say --yes"),
        (&["replay", "--all"], "this would replay 4 dead letters: say --yes"),
        (&["drop", "1", "--plugin", "picky"], "cannot be used with"),
        (&["drop", "--plugin", "a.b", "--yes"], "no plugin can have this name"),
        (&["replay", "1", "--to", "a.>"], "invalid value"),
        (&["list", "--older-than", "soon"], "write it like"),
    ] {
        let finished = dlq(&project, &server, arguments);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(says), "{arguments:?}: {finished:?}");
    }
    let rehearsed = done(&project, &server, &["drop", "--plugin", "picky", "--dry-run"]);
    assert_eq!(rehearsed.stdout.lines().count(), 2, "{rehearsed:?}");
    let rehearsed = done(&project, &server, &["replay", "--all", "--dry-run"]);
    assert!(rehearsed.stderr.contains("4 dead letters would be replayed"), "{rehearsed:?}");
    assert_eq!((server.count(LETTERS).await, server.count(REPLAYS).await), (4, 0));
}

#[tokio::test]
async fn letters_are_dropped_by_number_and_by_filter() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    done(&project, &server, &["drop", "2"]);
    assert_eq!(numbers(&list(&project, &server, &[])), [4, 3, 1]);
    done(&project, &server, &["drop", "--reason", "trap", "--yes"]);
    assert_eq!(numbers(&list(&project, &server, &[])), [3, 1]);
    let again = dlq(&project, &server, &["drop", "2", "3"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stderr.contains("dead letter 2: there is none"), "{again:?}");
    assert!(again.stderr.contains("1 dead letter dropped"), "{again:?}");
    done(&project, &server, &["drop", "--plugin", "picky", "--yes"]);
    assert_eq!(server.count(LETTERS).await, 0);
}

#[tokio::test]
async fn an_export_is_complete_and_whole() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    let file = project.path().join("letters.jsonl");
    done(&project, &server, &["export", "--output", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(numbers(&lines), [1, 2, 3, 4]);
    let first = &lines[0];
    assert_eq!(
        (&first["payload_text"], &first["payload_base64"]),
        (&"reject".into(), &"cmVqZWN0".into())
    );
    for name in ["stream_created_ns", "digest", "headers", "event_id", "published_at", "sequence"] {
        assert!(!first[name].is_null(), "{name} in {first}");
    }
    let shown = done(&project, &server, &["show", "1", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), *first);
    assert_eq!(server.count(LETTERS).await, 4);
    let nowhere = dlq(&project, &server, &["export", "--output", "no/such/folder/x"]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
}

/// What was exported comes back as it was, once, and can be run again.
#[tokio::test]
async fn an_export_can_be_imported_again_and_again() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    let file = project.path().join("letters.jsonl");
    let file = file.to_str().unwrap();
    let exported = || {
        done(&project, &server, &["export", "--output", file]);
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lines: Vec<_> = lines.collect();
        for line in &mut lines {
            for own in ["number", "stored_at"] {
                line.as_object_mut().unwrap().remove(own);
            }
        }
        lines.sort_by_key(ToString::to_string);
        lines
    };
    let before = exported();
    let there = done(&project, &server, &["import", file]);
    assert_eq!(there.stderr, "0 dead letters imported, 4 there already\n");

    done(&project, &server, &["drop", "--plugin", "picky", "--yes"]);
    let back = done(&project, &server, &["import", file]);
    assert_eq!(back.stderr, "2 dead letters imported, 2 there already\n");
    done(&project, &server, &["import", file]);

    assert_eq!(exported(), before);
    // To a server that has never seen a host.
    let other = Server::start().await;
    let first = done(&project, &other, &["import", file]);
    assert_eq!(first.stderr, "4 dead letters imported\n");
    assert_eq!(subjects(&other.stored(LETTERS).await), subjects(&server.stored(LETTERS).await));
}

#[tokio::test]
async fn what_is_no_export_is_told_of_and_left_out() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    let file = project.path().join("letters.jsonl");
    done(&project, &server, &["export", "--output", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(&file).unwrap();
    let good: Vec<_> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let with = |name: &str, value: &str| {
        let mut line = good[0].clone();
        line[name] = value.into();
        line.to_string()
    };
    let mut split = good[0].clone();
    split["event_id"] = "of a third event".into();
    split["headers"] = serde_json::json!([["Colour", "blue\r\nPelton-Dlq-Host: x"]]);
    let lines = [
        "nonsense".to_owned(),
        "{}".to_owned(),
        with("payload_base64", "!"),
        with("failed_at", "yesterday"),
        with("host", "another"),
        with("plugin", "a.b"),
        with("event_id", "of another event"),
        split.to_string(),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();

    let imported = dlq(&project, &server, &["import", "letters.jsonl"]);

    assert_eq!(imported.status.code(), Some(1), "{imported:?}");
    for (n, word) in [
        (1, "expected"),
        (2, "`host`"),
        (3, "base64"),
        (4, "yesterday"),
        (5, "another"),
        (6, "plugin"),
        (8, "no event can have"),
    ] {
        let line = imported.stderr.lines().find(|line| line.contains(&format!(".jsonl:{n}: ")));
        assert!(line.is_some_and(|line| line.contains(word)), "{n} {word}: {}", imported.stderr);
    }
    assert!(
        imported.stderr.ends_with("1 dead letter imported, 7 left out\n"),
        "{}",
        imported.stderr
    );
    assert_eq!(server.count(LETTERS).await, 5);
    let missing = dlq(&project, &server, &["import", "no-such-file"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("no-such-file"), "{missing:?}");
}

/// A project whose plugin `subject` can be exchanged for another.
struct Mended {
    server: Server,
    project: Project,
}

impl Mended {
    async fn new(guest_name: &str) -> Mended {
        let server = Server::start().await;
        Mended { project: Project::with_guest(guest_name, RETRY), server }
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

#[tokio::test]
async fn poison_ends_in_the_dead_letters_and_is_done_after_the_fix() {
    const EVENTS: usize = 10_000;
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    let is_poison = |n: usize| n % 100 == 37;
    let event = |n: usize| {
        let payload = if is_poison(n) { "reject" } else { "good" };
        (format!("in.{n}"), payload.as_bytes().to_vec())
    };
    // The client has 5,000 publishes at once under way, and no more.
    for thousand in 0..EVENTS / 1000 {
        server.publish_all((thousand * 1000..(thousand + 1) * 1000).map(event)).await;
    }
    server.settled("IN", "pelton-subject").await;
    let letters = list(project, server, &["--limit", "1000"]);
    let dead: BTreeSet<_> =
        letters.iter().map(|line| line["subject"].as_str().unwrap().to_owned()).collect();
    let poison: BTreeSet<_> =
        (0..EVENTS).filter(|n| is_poison(*n)).map(|n| format!("in.{n}")).collect();
    assert_eq!((letters.len(), &dead), (100, &poison), "all and only those");
    assert_eq!(server.count("OUT").await, 9_900);
    daemon.stop().await;

    mended.exchange("reject", "echo");
    let daemon = project.run(server).await;
    let replayed = done(project, server, &["replay", "--plugin", "subject", "--yes"]);
    assert!(replayed.stderr.contains("100 dead letters replayed, all done"), "{replayed:?}");
    assert_eq!((server.count(LETTERS).await, server.count(REPLAYS).await), (0, 0));
    let out = server.stored("OUT").await;
    let distinct: BTreeSet<_> = out.iter().map(|out| &out.subject).collect();
    assert_eq!((out.len(), distinct.len()), (EVENTS, EVENTS), "0 lost, 0 duplicated");
    assert_eq!(daemon.metric("pelton_events_done_total{plugin=\"subject\"}").await, 100.0);
}

#[tokio::test]
async fn a_replay_publishes_nothing_twice_unless_it_is_as_new() {
    // The first ten outputs of eleven are stored, the last is one byte too long.
    let mended = Mended::new("split").await;
    let Mended { server, project } = &mended;
    let _daemon = project.run(server).await;
    let limit = |limit| async move {
        let jetstream = server.jetstream().await;
        let out = jetstream.get_stream("OUT").await.unwrap();
        let config = stream::Config { max_message_size: limit, ..out.cached_info().config.clone() };
        jetstream.update_stream(config).await.unwrap();
    };
    let id = "x".repeat(22);
    let headers =
        format!("NATS/1.0\r\nNats-Msg-Id: {id}.9\r\nNats-Expected-Stream: OUT\r\n\r\n").len();
    limit(i32::try_from(headers + "7.9".len()).unwrap()).await;
    server.publish("in.x", r#"{"id":7,"outputs":11}"#).await;
    let letter = dead_letters(server, 1).await;
    assert_eq!(letter[0].header("Pelton-Dlq-Reason"), Some("publish"), "{letter:?}");
    assert_eq!(server.count("OUT").await, 10, "what an earlier run published");
    limit(-1).await;

    done(project, server, &["replay", "1"]);
    let out = server.stored("OUT").await;
    let mut texts: Vec<_> = out.iter().map(Stored::text).collect();
    texts.sort_by_key(|text| text.split_once('.').unwrap().1.parse::<u32>().unwrap());
    assert_eq!(texts, (0..11).map(|n| format!("7.{n}")).collect::<Vec<_>>());

    // The same letter by hand, since the event is done.
    let jetstream = server.jetstream().await;
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in letter[0].headers.iter().filter(|(name, _)| !name.starts_with("Nats-")) {
        headers.insert(name.as_str(), values[0].as_str());
    }
    let again = || async {
        let payload = letter[0].payload.clone().into();
        let sent =
            jetstream.publish_with_headers(letter[0].subject.clone(), headers.clone(), payload);
        sent.await.unwrap().await.unwrap().sequence.to_string()
    };
    done(project, server, &["replay", &again().await]);
    assert_eq!(server.count("OUT").await, 11);
    done(project, server, &["replay", &again().await, "--as-new"]);
    assert_eq!(server.count("OUT").await, 22);
}

#[tokio::test]
async fn a_replay_that_fails_again_comes_back_with_its_history() {
    let mended = Mended::new("flaky").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    server.publish("in.x", r#"{"succeed-at":9}"#).await;
    dead_letters(server, 1).await;

    let failed = mended.replay(&["1"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(failed.stderr.contains("0 done, 1 failed again"), "{failed:?}");
    let letters = list(project, server, &[]);
    assert_eq!(numbers(&letters), [2]);
    assert_eq!((&letters[0]["replays"], &letters[0]["subject"]), (&1.into(), &"in.x".into()));
    let shown = done(project, server, &["show", "2"]).stdout;
    for line in
        ["  attempt 1  ", "  attempt 4  ", "  replay 1, attempt 1  ", "  replay 1, attempt 4  "]
    {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    assert!(!shown.contains("not known"), "{shown}");

    // And again: under an id of its own each time, well within the duplicate window.
    assert!(mended.replay(&["2"]).stderr.contains("1 failed again"));
    assert_eq!(numbers(&list(project, server, &[])), [3]);
    daemon.stop().await;
    mended.exchange("flaky", "echo");
    let _daemon = project.run(server).await;
    done(project, server, &["replay", "3"]);
    assert_eq!((server.count("OUT").await, server.count(LETTERS).await), (1, 0));
}

#[tokio::test]
async fn the_handler_is_given_the_original_event() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.append("Colour", "blue");
    headers.append("Colour", "grün");
    headers.insert("Pelton-Dlq-Plugin", "forged");
    let jetstream = server.jetstream().await;
    let stored = jetstream.publish_with_headers("in.greeting", headers, "reject".into());
    stored.await.unwrap().await.unwrap();
    dead_letters(server, 1).await;
    daemon.stop().await;
    mended.exchange("reject", "echo");
    let _daemon = project.run(server).await;

    done(project, server, &["replay", "1"]);
    let out = server.stored("OUT").await;
    assert_eq!((subjects(&out), out[0].text()), (vec!["out.greeting"], "reject".to_owned()));
    assert_eq!(out[0].headers["Colour"], ["blue", "grün"]);
}

#[tokio::test]
async fn without_a_host_replays_wait_for_one() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    for n in 0..3 {
        server.publish(&format!("in.{n}"), "reject").await;
    }
    dead_letters(server, 3).await;
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;
    mended.exchange("reject", "echo");

    let asked = mended.replay(&["1", "--no-wait"]);
    assert!(asked.status.success() && asked.stderr.contains("asked for 1 replay"), "{asked:?}");
    let waiting = mended.replay(&["2", "3"]);
    assert_eq!(waiting.status.code(), Some(1), "{waiting:?}");
    assert!(waiting.stderr.contains("no host takes replays of `subject` now"), "{waiting:?}");
    assert!(waiting.stderr.contains("start `pelton run`"), "{waiting:?}");
    assert_eq!((server.count(LETTERS).await, server.count(REPLAYS).await), (0, 3));

    let _daemon = project.run(server).await;
    server.settled(REPLAYS, "pelton-subject-replays").await;
    assert_eq!(subjects(&server.stored("OUT").await), ["out.0", "out.1", "out.2"]);
}

#[tokio::test]
async fn a_break_between_asking_and_removing_asks_once() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    // Letters of this stream cannot be removed one by one: as if each replay broke there.
    let config = stream::Config {
        name: LETTERS.to_owned(),
        subjects: vec!["dead-letters.pelton.>".to_owned()],
        max_age: std::time::Duration::from_secs(30 * 86_400),
        max_bytes: 1 << 30,
        duplicate_window: std::time::Duration::from_secs(600),
        deny_delete: true,
        allow_direct: true,
        ..Default::default()
    };
    server.jetstream().await.create_stream(config).await.unwrap();
    let mut daemon = project.run(server).await;
    server.publish("in.x", "reject").await;
    dead_letters(server, 1).await;
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;

    for _ in 0..2 {
        let broken = mended.replay(&["1", "--no-wait"]);
        assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    }
    assert_eq!((server.count(LETTERS).await, server.count(REPLAYS).await), (1, 1));
    mended.exchange("reject", "echo");
    let _daemon = project.run(server).await;
    server.settled(REPLAYS, "pelton-subject-replays").await;
    assert_eq!(server.count("OUT").await, 1);
}

#[tokio::test]
async fn events_can_be_sent_elsewhere() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let _daemon = project.run(server).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    headers.insert("Nats-Msg-Id", "the producer's own");
    let jetstream = server.jetstream().await;
    let stored = jetstream.publish_with_headers("in.x", headers, "reject".into());
    stored.await.unwrap().await.unwrap();
    dead_letters(server, 1).await;

    let nowhere = mended.replay(&["1", "--to", "manual.x"]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("no stream answers"), "{nowhere:?}");
    assert_eq!(server.count(LETTERS).await, 1, "nothing is lost");
    server.stream("MANUAL", &["manual.>"]).await;
    done(project, server, &["replay", "1", "--to", "manual.x"]);
    let sent = server.stored("MANUAL").await;
    assert_eq!(
        (sent.len(), sent[0].text(), server.count(LETTERS).await),
        (1, "reject".to_owned(), 0)
    );
    assert_eq!(sent[0].header("Colour"), Some("blue"));
    assert!(sent[0].header("Pelton-Dlq-Reason").is_none(), "{sent:?}");
    assert_ne!(sent[0].header("Nats-Msg-Id"), Some("the producer's own"));
}

#[tokio::test]
async fn a_plugin_that_is_gone_loses_nothing() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    let path = project.path().join("pelton.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("plugins.fragile", "plugins.sturdy");
    std::fs::write(&path, text).unwrap();

    let replayed = dlq(&project, &server, &["replay", "--all", "--yes", "--no-wait"]);
    assert_eq!(replayed.status.code(), Some(1), "{replayed:?}");
    assert!(replayed.stderr.contains("the manifest has no plugin `fragile`"), "{replayed:?}");
    assert!(replayed.stderr.contains("asked for 2 replays"), "the others go on: {replayed:?}");
    assert_eq!(numbers(&list(&project, &server, &[])), [4, 2]);
}

#[tokio::test]
async fn a_payload_that_was_left_in_its_stream_is_fetched_from_there() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    let payload = "r".repeat(1024 * 1024 - 64);
    // One after the other: their letters are numbered as they come.
    for number in 1..=2 {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Colour", "blue");
        let jetstream = server.jetstream().await;
        let sent = jetstream.publish_with_headers("in.big", headers, payload.clone().into());
        sent.await.unwrap().await.unwrap();
        dead_letters(server, number).await;
    }
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;
    assert_eq!(done(project, server, &["show", "1", "--raw"]).stdout, payload);
    let shown = done(project, server, &["show", "1"]).stdout;
    assert!(shown.contains("Colour: blue") && shown.contains("--raw writes all"), "{shown}");

    let stream = server.jetstream().await.get_stream("IN").await.unwrap();
    stream.delete_message(2).await.unwrap();
    let shown = done(project, server, &["show", "2"]).stdout;
    assert!(shown.contains("its payload is gone"), "{shown}");
    let exported = dlq(project, server, &["export"]);
    assert_eq!((exported.status.code(), exported.stdout.lines().count()), (Some(1), 2));
    assert!(exported.stderr.contains("dead letter 2: its payload is gone"), "{}", exported.stderr);
    let last = exported.stderr.lines().last();
    assert_eq!(last, Some("2 dead letters exported, 1 of them without the event"));
    mended.exchange("reject", "noop");
    let _daemon = project.run(server).await;
    let replayed = mended.replay(&["--all", "--yes"]);
    assert_eq!(replayed.status.code(), Some(1), "{replayed:?}");
    assert!(replayed.stderr.contains("dead letter 2: its payload is gone"), "{replayed:?}");
    assert!(replayed.stderr.contains("1 dead letter replayed, all done"), "{replayed:?}");
    assert_eq!(numbers(&list(project, server, &[])), [2]);
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_shown_and_not_replayed() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let daemon = project.run(server).await;
    server.publish_raw("in.bad", b"NATS/1.0\r\nGood: yes\r\nno colon\r\n\r\n", "odd").await;
    server.publish("in.x", "reject").await;
    dead_letters(server, 2).await;
    server.settled("IN", "pelton-subject").await;
    let bad = list(project, server, &["--reason", "decode"])[0]["number"].to_string();

    let shown = done(project, server, &["show", &bad]).stdout;
    assert!(shown.contains("  no colon\n") && shown.contains("  Good: yes\n"), "{shown}");
    let replayed = mended.replay(&["--all", "--yes"]);
    assert!(replayed.stderr.contains("headers could not be read"), "{replayed:?}");
    assert!(replayed.stderr.contains("1 failed again"), "the other went on: {replayed:?}");
    assert_eq!(replayed.status.code(), Some(1));
    assert_eq!(list(project, server, &["--reason", "decode"]).len(), 1);
    drop(daemon);
}

/// However often the server refuses the letter, the event stays.
#[tokio::test]
async fn an_event_whose_letter_is_refused_comes_again_until_it_is_taken() {
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let daemon = project.run(server).await;
    let jetstream = server.jetstream().await;
    let letters = jetstream.get_stream(LETTERS).await.unwrap();
    let plain = letters.cached_info().config.clone();
    let small = stream::Config { max_message_size: 300, ..plain.clone() };
    jetstream.update_stream(small).await.unwrap();
    server.publish("in.x", "reject").await;
    eventually("its letter is refused some times", async || {
        let received = daemon.metric("pelton_events_received_total{plugin=\"subject\"}").await;
        (received >= 12.0).then_some(())
    })
    .await;
    let source = jetstream.get_stream("IN").await.unwrap();
    let consumer = source.get_consumer::<pull::Config>("pelton-subject").await.unwrap();
    assert_eq!(consumer.cached_info().config.max_deliver, -1, "the server gives it up");

    jetstream.update_stream(plain).await.unwrap();
    let dead = dead_letters(server, 1).await;
    assert_eq!(dead[0].header("Pelton-Dlq-Reason"), Some("reject"), "not put down to a crash");
    server.settled("IN", "pelton-subject").await;
}

/// Each letter is replayed once, by whichever call comes first.
#[tokio::test]
async fn two_replays_at_once_share_the_work() {
    const LETTERS_N: usize = 400;
    let mended = Mended::new("reject").await;
    let Mended { server, project } = &mended;
    let mut daemon = project.run(server).await;
    let event = |n: usize| (format!("in.{n}"), b"reject".to_vec());
    server.publish_all((0..LETTERS_N).map(event)).await;
    server.settled("IN", "pelton-subject").await;
    daemon.stop().await;
    mended.exchange("reject", "echo");
    let _daemon = project.run(server).await;

    let calls = ["--all", "--all"].map(|all| {
        let (folder, url) = (project.path().to_owned(), server.url());
        std::thread::spawn(move || {
            verb(&folder, &["dlq", "replay", all, "--yes", "--nats-url", &url])
        })
    });
    for call in calls {
        let replayed = call.join().unwrap();
        assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    }
    assert_eq!(server.count(LETTERS).await, 0);
    assert_eq!(server.count("OUT").await, LETTERS_N as u64, "0 lost, 0 duplicated");
}

/// A stream stores 64 KiB of headers; the facts of a letter come on top, and a
/// work queue keeps nothing for it.
#[tokio::test]
async fn headers_that_leave_no_room_for_facts_are_kept_and_come_back_as_they_were() {
    let server = Server::start().await;
    let of_queue = "subjects = [\"in.>\"]\nretention = \"work-queue\"";
    let project = Project::with_guest("reject", RETRY).edited("subjects = [\"in.>\"]", of_queue);
    let mended = Mended { server, project };
    let Mended { server, project } = &mended;
    let unreadable = [b"NATS/1.0\r\nBad name: ".as_slice(), &[0xff; 25_000], b"\r\n\r\n"].concat();
    let readable = format!("NATS/1.0\r\nBig: {}\r\n\r\n", "b".repeat(64_800));
    let daemon = project.run(server).await;
    server.publish_raw("in.bad", &unreadable, "odd").await;
    server.publish_raw("in.big", readable.as_bytes(), "reject").await;
    dead_letters(server, 2).await;
    server.settled("IN", "pelton-subject").await;
    let number =
        |reason: &str| list(project, server, &["--reason", reason])[0]["number"].to_string();
    let (bad, big) = (number("decode"), number("reject"));

    let shown = done(project, server, &["show", &bad]).stdout;
    assert!(shown.contains("  Bad name: ") && shown.contains("odd"), "{shown}");
    let shown = done(project, server, &["show", &big]).stdout;
    assert!(shown.contains("Big: bbb") && shown.contains("payload (6 bytes, text)"), "{shown}");
    assert_eq!(list(project, server, &["--reason", "reject"])[0]["size"], 6);
    drop(daemon);

    done(project, server, &["export", "--output", &project.path().join("all").to_string_lossy()]);
    done(project, server, &["drop", "--all", "--yes"]);
    done(project, server, &["import", &project.path().join("all").to_string_lossy()]);
    let (bad, big) = (number("decode"), number("reject"));
    assert!(done(project, server, &["show", &bad]).stdout.contains("  Bad name: "));
    mended.exchange("reject", "noop");
    let _daemon = project.run(server).await;
    let replayed = mended.replay(&[&bad, &big]);
    assert!(replayed.stderr.contains("headers could not be read"), "{replayed:?}");
    assert!(replayed.stderr.contains("1 dead letter replayed, all done"), "{replayed:?}");
    assert_eq!(list(project, server, &[])[0]["number"].to_string(), bad);
}

/// With its headers among the letter's it would be more than a server takes.
#[tokio::test]
async fn a_letter_of_nearly_max_payload_comes_back() {
    let server = Server::start().await;
    let project = Project::with_guest("reject", RETRY);
    let unreadable = [b"NATS/1.0\r\nBad name: ".as_slice(), &[0xff; 15_000], b"\r\n\r\n"].concat();
    let _daemon = project.run(&server).await;
    server.publish_raw("in.bad", &unreadable, &"x".repeat(1024 * 1024 - 30_000)).await;
    dead_letters(&server, 1).await;
    let file = project.path().join("all").to_string_lossy().into_owned();
    done(&project, &server, &["export", "--output", &file]);
    done(&project, &server, &["drop", "--all", "--yes"]);
    let back = done(&project, &server, &["import", &file]);
    assert_eq!(back.stderr, "1 dead letter imported\n");
    assert_eq!(list(&project, &server, &[])[0]["size"], 1024 * 1024 - 30_000);
}

#[tokio::test]
async fn a_message_that_breaks_the_client_does_not_end_the_list() {
    let server = Server::start().await;
    let project = four_letters(&server).await;
    let subject = "dead-letters.pelton.picky.forged";
    server.publish_raw(subject, b"NATS/1.0\r\nno colon\r\n\r\n", "x").await;
    server.publish(subject, "not a letter").await;

    assert_eq!(numbers(&list(&project, &server, &[])), [6, 5, 4, 3, 2, 1]);
    let listed = done(&project, &server, &["list"]);
    assert!(listed.stdout.contains("not written by pelton"), "{listed:?}");
    let replayed = dlq(&project, &server, &["replay", "5", "6"]);
    assert!(replayed.stderr.contains("dead letter 6: it is no dead letter"), "{replayed:?}");
    let shown = done(&project, &server, &["show", "6"]).stdout;
    assert!(shown.contains("not a letter"), "{shown}");
}

#[tokio::test]
async fn a_request_that_nobody_could_have_made_is_buried() {
    let mended = Mended::new("echo").await;
    let Mended { server, project } = &mended;
    let _daemon = project.run(server).await;
    server.publish("replays.pelton.subject.x", "forged").await;
    let dead = dead_letters(server, 1).await;
    assert_eq!(dead[0].header("Pelton-Dlq-Reason"), Some("decode"));
    eventually("the queue is empty again", async || {
        (server.count(REPLAYS).await == 0).then_some(())
    })
    .await;
    assert_eq!(server.count("OUT").await, 0);
}
