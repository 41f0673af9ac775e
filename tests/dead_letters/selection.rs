//! Which letters a command acts on: filters, pages and numbers, and that one which
//! acts on many is meant.

use super::{LETTERS, REPLAYS, dlq, done, four_letters, list, numbers};
use crate::harness::{Project, Server};

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
