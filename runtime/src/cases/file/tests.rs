use super::*;
use crate::{cases, manifest::Look};

fn parse(text: &str) -> Result<File, String> {
    File::parse(Path::new("x.test.toml"), text).map_err(|problems| problems.render(Look::Plain))
}

#[test]
fn the_example_with_every_key_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("orders.jsonl"),
        "{\"subject\":\"orders.created\",\"payload\":{\"id\":1}}\n\n",
    )
    .unwrap();
    let path = folder.path().join("orders.test.toml");
    let file = File::parse(&path, cases::EXAMPLE);
    let file = file
        .map_err(|problems| problems.render(Look::Plain))
        .unwrap_or_else(|text| panic!("{text}"));
    assert_eq!(file.cases.len(), 8);
    let full = &file.cases[1];
    let event = &full.events[0];
    assert_eq!(event.payload, r#"{"id": "A-2", "total": 7.5, "note": null}"#);
    assert_eq!(event.time_ms, Some(1_767_225_600_000));
    assert_eq!(event.headers.len(), 3);
    assert_eq!(full.settings.all.config["currency"], "USD");
    assert_eq!(full.settings.all.timeout, Some(std::time::Duration::from_millis(500)));
    assert_eq!(file.cases[0].settings.all.timeout, Some(std::time::Duration::from_secs(1)));
    assert_eq!(file.cases[3].events[0].payload, r#"{"id":1}"#);
    assert_eq!(file.cases[0].settings.all.env["TOKEN"], "for tests");
    assert_eq!(file.cases[7].settings.plugins["price"].env["TOKEN"], "another");
    let lines = cases::EXAMPLE.lines().collect::<Vec<_>>();
    assert_eq!(lines[full.line - 1], "[[case]]");
}

#[test]
fn a_typo_is_shown_with_what_was_meant() {
    let text = "[[case]]\nname = \"a\"\nevents = []\n[[case]]\nname = \"b\"\nevent = { subjcet = \"a\" }\nexpct = []\n";
    let shown = parse(text).unwrap_err();
    for part in
        ["did you mean `subject`?", "did you mean `expect`?", "is an empty list", "x.test.toml:6"]
    {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let wrongs = [
        ("", "no cases"),
        ("[[case]]\nname = \"a\"", "`event` is missing"),
        ("[[case]]\nname = \"a\"\nevent = {}\n[[case]]\nname = \"a\"\nevent = {}", "two cases"),
        ("[[case]]\nname = \"a\"\nevent = { json = 1, text = \"x\" }", "two payloads"),
        ("[[case]]\nname = \"a\"\nevent = { json = \"abc\" }", "not JSON"),
        ("[[case]]\nname = \"a\"\nevent = { file = \"none.bin\" }", "is not there"),
        ("[[case]]\nname = \"a\"\nevent = {}\nevents = [{}]", "either `event` or `events`"),
        ("[[case]]\nname = \"a\"\nevent = {}\nexpect = []\nsnapshot = \"x\"", "either `expect`"),
        ("[[case]]\nname = \"a\"\nevent = {}\nexpect = [{ matches = '(' }]", "regular expression"),
        ("[[case]]\nname = \"a\"\nevent = {}\nexpect = [{ matches = { id = 'x' } }]", "\"/id\""),
        ("[[case]]\nname = \"a\"\nevent = {}\nfailure = \"rejct\"", "did you mean \"reject\""),
        ("[[case]]\nname = \"a\"\nevent = { time = \"tomorrow\" }", "2026-01-31T12:00:00Z"),
    ];
    for (text, part) in wrongs {
        let shown = parse(text).unwrap_err();
        assert!(shown.contains(part), "no {part:?} for {text:?}:\n{shown}");
        assert!(shown.contains("help: "), "no remedy:\n{shown}");
    }
}

#[test]
fn lines_of_events_are_read_in_all_their_forms() {
    let text = r#"
{"subject":"a","headers":{"X":["1","2"]},"payload":"text","id":"i","time":"2026-01-01T00:00:00Z"}
{"event_id":"j","headers":[["A","b"]],"payload_base64":"AAE=","payload_text":null,"stream":"S","sequence":9}
{"payload_text":"{}"}"#;
    let events = lines::read(text.as_bytes()).unwrap();
    assert_eq!(events[0].payload, "\"text\"");
    assert_eq!(events[0].headers.len(), 2);
    assert_eq!(events[1].payload, [0, 1].as_slice());
    assert_eq!(events[1].position, Some((Some("S".to_owned()), 9)));
    assert_eq!(events[2].payload, "{}");
    assert_eq!(lines::read(b"{}\n[]").unwrap_err().0, 2);
    assert_eq!(lines::read(b"{\"subject\":\"a.*\"}").unwrap_err().0, 1);
}
