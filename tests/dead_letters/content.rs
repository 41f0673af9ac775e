//! What a letter holds of an event that is large, or that cannot be read: nothing
//! of it is lost.

use async_nats::jetstream::{consumer::pull, stream};

use super::{LETTERS, Mended, dlq, done, four_letters, list, numbers};
use crate::{
    delivery::{RETRY, dead_letters},
    harness::{Project, Server, eventually},
};

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

/// A stream stores 64 KiB of headers; the facts of a letter come on top, and a
/// work queue keeps nothing for it.
#[tokio::test]
async fn headers_that_leave_no_room_for_facts_are_kept_and_come_back_as_they_were() {
    let server = Server::start().await;
    let of_queue = "subjects = [\"in.>\"]\nretention = \"work-queue\"";
    let project =
        Project::with_guest("reject", RETRY).patient().edited("subjects = [\"in.>\"]", of_queue);
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
