//! Outputs that a guest must not publish: the list, through the real daemon.
//! Nothing of them may reach the server.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Project, Server, plugin_table};

/// What the guest `emit` publishes.
const MARK: &[u8] = b"emitted";

fn to(subject: &str) -> Value {
    json!({ "subject": subject, "headers": [] })
}

fn with(headers: &[(&str, &str)]) -> Value {
    json!({ "subject": "out.x", "headers": headers })
}

fn subjects() -> Vec<Value> {
    let (deep, long) =
        (format!("out{}", ".a".repeat(9_999)), format!("out.{}", "a".repeat(65_536)));
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.",
        "out..x",
        ".out",
        "out.",
        "*",
        ">",
        "out.*",
        "out.>",
        "out.>.b",
        "a.*",
        "out.a b",
        " out.x",
        "out.x ",
        "out.\tx",
        "out.x\r\nPUB out.y 0\r\n\r\n",
        "out.x\n",
        "out.x\r",
        "out.\0",
        "out.\u{7f}",
        "out.\u{a0}x",
        "é",
        "🦀",
        "$JS.API.STREAM.DELETE.OUT",
        "$JS.API.STREAM.PURGE.OUT",
        "$JS.ACK.IN.pelton-subject.1.1.1.1.0",
        "$SYS.REQ.SERVER.PING",
        "$SYS.>",
        "$KV.b.k",
        "$O.b.C.x",
        "$G",
        "$",
        "_INBOX.x",
        "_INBOX.x.y",
        "_R_.x",
        "in.loop",
        "in.x",
        "dead-letters.pelton.subject.in.x",
        "replays.pelton.subject.in.x",
        "OUT.x",
        "Out.x",
        "out",
        "outx",
        "elsewhere",
        &deep,
        &long,
    ]
    .into_iter()
    .map(to)
    .collect()
}

fn headers() -> Vec<Value> {
    let long = "v".repeat(65_536);
    let mut all: Vec<_> = [
        ("X", "a\rb"),
        ("X", "a\nb"),
        ("X", "a\r\nNats-Msg-Id: stolen"),
        ("X", "a\r\n\r\nPUB out.y 0\r\n"),
        ("X", "a\0b"),
        ("X", "\u{1b}[31m"),
        ("X", "\u{85}"),
        ("", "x"),
        ("A b", "x"),
        ("A:b", "x"),
        (":", "x"),
        ("A\r\nB", "x"),
        ("A\tb", "x"),
        ("A\0", "x"),
        ("Ünder", "x"),
        ("名", "x"),
        ("NATS/1.0 503", ""),
        ("NATS/1.0", "x"),
        ("Nats-Msg-Id", "x"),
        ("nats-msg-id", "x"),
        ("NATS-MSG-ID", "x"),
        ("nAtS-mSg-Id", "x"),
        ("Nats-Expected-Stream", "NONE"),
        ("Nats-Expected-Last-Msg-Id", "x"),
        ("Nats-Expected-Last-Sequence", "9"),
        ("Nats-Expected-Last-Subject-Sequence", "9"),
        ("Nats-Rollup", "all"),
        ("Nats-Rollup", "sub"),
        ("Nats-TTL", "1s"),
        ("Nats-Marker-Reason", "Purge"),
        ("Nats-Batch-Id", "b"),
        ("Nats-Batch-Commit", "1"),
        ("Nats-Schedule", "@every 1s"),
        ("Nats-Schedule-Target", "in.x"),
        ("Nats-Incr", "+1"),
        ("Nats-Trace-Dest", "in.x"),
        ("Nats-Trace-Only", "true"),
        ("Nats-Required-Api-Level", "99"),
        ("Nats-Stream", "X"),
        ("Nats-Sequence", "1"),
        ("Nats-Service-Error-Code", "1"),
        ("Nats-Anything", "x"),
        ("Pelton-Dlq-Reason", "x"),
        ("pelton-anything", "x"),
        ("X", &long),
        (&long, "x"),
    ]
    .iter()
    .map(|header| with(&[*header]))
    .collect();
    all.push(with(&vec![("X", "y"); 1_000]));
    all.push(with(&vec![("X", "y".repeat(4_000).as_str()); 60]));
    all
}

#[tokio::test]
async fn nothing_hostile_reaches_the_server() {
    let server = Server::start().await;
    // Attempts are not worth a try: what breaks a rule does so again.
    let table = plugin_table("subject", "emit", "in.>", "retry = { attempts = 3 }");
    // What is not answered in time would be published again, and seen twice.
    let nats = "[nats]\nrequest-timeout = \"60s\"\n";
    let project = Project::with_plugins(&format!("{nats}{table}")).patient();
    let daemon = project.run(&server).await;
    let witness = server.client().await;
    let mut everything = witness.subscribe(">").await.unwrap();
    // It is there before anything is published.
    witness.flush().await.unwrap();
    let wishes: Vec<_> = subjects().into_iter().chain(headers()).collect();
    let expected: BTreeSet<_> = wishes.iter().map(Value::to_string).collect();
    assert_eq!(expected.len(), wishes.len(), "one is there twice");

    let hostile = wishes.iter().map(|wish| ("in.x".to_owned(), wish.to_string().into_bytes()));
    server.publish_all(hostile).await;
    // A proper one after them: it has to be seen by both who look.
    server.publish("in.x", with(&[("Colour", "blue")]).to_string()).await;
    server.settled("IN", "pelton-subject").await;
    // Before the stream is read: what is read is seen by the subscriber, too.
    let end = server.client().await;
    end.publish("the.end", "".into()).await.unwrap();
    let mut emitted = Vec::new();
    loop {
        let message = everything.next().await.unwrap();
        if message.subject.as_str() == "the.end" {
            break;
        }
        if message.payload[..] == *MARK {
            emitted.push(message.subject.to_string());
        }
    }
    assert_eq!(emitted, ["out.x"]);

    let dead = crate::delivery::dead_letters(&server, wishes.len()).await;
    let out = server.stored("OUT").await;
    assert_eq!(out.len(), 1, "{out:?}");
    assert_eq!(out[0].header("Colour"), Some("blue"));
    let of: BTreeSet<_> = dead.iter().map(|dead| dead.text()).collect();
    assert_eq!((dead.len(), of), (wishes.len(), expected));
    for dead in &dead {
        let facts = ["Pelton-Dlq-Reason", "Pelton-Dlq-Attempts"].map(|name| dead.header(name));
        assert_eq!(facts, [Some("output"), Some("1")], "{}", dead.text());
    }
    assert_eq!(
        daemon.metric("pelton_outputs_refused_total{plugin=\"subject\"}").await,
        wishes.len() as f64
    );
    assert_eq!(daemon.metric("pelton_nats_reconnects_total").await, 0.0);
}
