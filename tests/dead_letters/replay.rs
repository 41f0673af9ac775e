//! Events that are handled again: by their plugin, once, as they were; or sent
//! elsewhere.

use std::collections::BTreeSet;

use async_nats::jetstream::stream;

use super::{LETTERS, Mended, REPLAYS, dlq, done, four_letters, list, numbers, subjects};
use crate::{
    delivery::dead_letters,
    harness::{Server, Stored, eventually, verb},
};

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
