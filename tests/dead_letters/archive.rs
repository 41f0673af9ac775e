//! Letters in files: what is exported is whole, and comes back once.

use serde_json::Value;

use super::{LETTERS, dlq, done, four_letters, numbers, subjects};
use crate::harness::Server;

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
