use super::*;

fn position() -> Position {
    Position { stream: "ORDERS".to_owned(), stream_created: 1_700_000_000, sequence: 7 }
}

#[test]
fn event_id_is_stable_across_releases() {
    // Ids are compared with those of earlier runs on the server: a change of
    // this value would publish every event in flight twice during an upgrade.
    assert_eq!(position().event_id(), "kQMlbW36NtFzZzvxv4wDay");
    assert_eq!(
        RunId::new(&position().event_id(), "orders", "price", "").output(0),
        "LcmqZVk_-QwO1gfsduHgRS.0"
    );
}

#[test]
fn every_part_of_the_position_makes_another_event() {
    let ids = [
        position(),
        Position { stream: "ORDER".to_owned(), ..position() },
        Position { stream_created: 1_700_000_001, ..position() },
        Position { sequence: 8, ..position() },
    ]
    .map(|position| position.event_id());
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id), "{ids:?}");
    }
}

#[test]
fn host_plugin_and_namespace_make_another_run() {
    let run = RunId::new("e", "orders", "price", "");
    assert_ne!(run, RunId::new("e", "test", "price", ""));
    assert_ne!(run, RunId::new("e", "orders", "audit", ""));
    assert_ne!(run, RunId::new("e", "orders", "price", "replay-1"));
    assert_ne!(run, RunId::new("e", "ordersp", "rice", ""));
    assert_ne!(run.output(1), run.output(11));
    assert_ne!(run.output(0), run.dead_letter(None));
}
