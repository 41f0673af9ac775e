use std::collections::BTreeMap;

use super::*;
use crate::{
    cases::{
        case::{Case, FailureKind},
        file::File,
        happened::{Buried, Failed, Put, Said},
    },
    event::Header,
    manifest::Look,
};

/// The first case of a file whose text, below name and event, is this.
fn case(text: &str) -> Case {
    let text = format!("[[case]]\nname = \"a\"\nplugin = \"p\"\nevent = {{}}\n{text}");
    let file = File::parse(Path::new("x.test.toml"), &text);
    let file = file.unwrap_or_else(|problems| panic!("{}", problems.render(Look::Plain)));
    file.cases.into_iter().next().unwrap()
}

fn put(subject: &str, payload: &str) -> Put {
    Put {
        plugin: "p".to_owned(),
        subject: subject.to_owned(),
        headers: vec![Header { name: "Trace".to_owned(), value: "abc".to_owned() }],
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        taken_up: false,
    }
}

fn outputs(outputs: &[(&str, &str)]) -> Happened {
    let outputs = outputs.iter().map(|(subject, payload)| put(subject, payload)).collect();
    Happened { outputs, ..Happened::default() }
}

/// What is complained about, as text.
fn told(case: &Case, happened: &Happened) -> String {
    let snapshots: BTreeMap<PathBuf, Bytes> = BTreeMap::new();
    let verdict = compare(case, happened, &|file| snapshots.get(file).cloned());
    let pending = verdict.snapshots.into_iter().map(|pending| pending.complaint);
    verdict.complaints.into_iter().chain(pending).map(|complaint| text(&complaint)).collect()
}

fn text(complaint: &Complaint) -> String {
    let mut text = format!("{}\n", complaint.what);
    for Difference { place, lines } in &complaint.differences {
        text += &format!("  {place}\n");
        for (change, line) in lines {
            let sign = match change {
                Change::Expected => '-',
                Change::Came => '+',
                Change::Same => ' ',
            };
            text += &format!("  {sign} {line}\n");
        }
    }
    text
}

#[test]
fn a_subset_of_json_is_enough_and_numbers_are_compared_as_numbers() {
    let case = case("expect = [{ subject = \"a.*\", json = { total = 12, lines = [{ n = 1 }] } }]");
    assert_eq!(
        told(&case, &outputs(&[("a.b", r#"{"total":12.0,"x":1,"lines":[{"n":1,"m":2}]}"#)])),
        ""
    );
    let wrong = told(&case, &outputs(&[("a.b", r#"{"lines":[{"n":1},{}]}"#)]));
    assert_eq!(
        wrong,
        "the output to `a.b` is not as expected\n  payload /lines/1\n  - (not there)\n  + {}\n  \
         payload /total\n  - 12\n  + (not there)\n"
    );
}

#[test]
fn exact_json_refuses_what_is_more() {
    let case = case("expect = [{ json-exact = { a = 1 } }]");
    assert_eq!(told(&case, &outputs(&[("x", "{\"a\":1}")])), "");
    assert!(
        told(&case, &outputs(&[("x", "{\"a\":1,\"b\":2}")]))
            .contains("payload /b\n  - (not there)\n  + 2")
    );
    assert!(told(&case, &outputs(&[("x", "nonsense")])).contains("not JSON"));
}

#[test]
fn text_is_shown_as_a_patch() {
    let case = case("expect = [{ text = \"a\\nb\\nc\\n\" }]");
    let wrong = told(&case, &outputs(&[("x", "a\nB\nc\n")]));
    assert!(wrong.ends_with("  payload\n    a\n  - b\n  + B\n    c\n"), "{wrong}");
}

#[test]
fn headers_and_patterns_are_looked_at() {
    let case = case(
        "expect = [{ headers = { trace = \"abc\", Other = false }, matches = { \"/id\" = \"^A-\" } }]",
    );
    assert_eq!(told(&case, &outputs(&[("x", "{\"id\":\"A-1\"}")])), "");
    let wrong = told(&case, &outputs(&[("x", "{\"id\":\"B-1\"}")]));
    assert!(wrong.contains("payload /id\n  - matches ^A-\n  + B-1"), "{wrong}");
    let case =
        self::case("expect = [{ headers = { Trace = \"x\", Lacks = { matches = \"y\" } } }]");
    let wrong = told(&case, &outputs(&[("x", "")]));
    assert!(wrong.contains("header Trace\n  - \"x\"\n  + \"abc\""), "{wrong}");
    assert!(wrong.contains("header Lacks\n  - matches y\n  + (not there)"), "{wrong}");
}

#[test]
fn what_is_missing_and_what_is_more_is_told() {
    let case = case("expect = [{ subject = \"a\" }, { subject = \"b\", json = { x = 1 } }]");
    assert_eq!(told(&case, &outputs(&[("a", "1"), ("b", "{\"x\":1}")])), "");
    let wrong = told(&case, &outputs(&[("a", "1"), ("c", "2")]));
    assert!(wrong.contains("no output came to `b`\n  payload\n  - {\"x\":1}"), "{wrong}");
    assert!(
        wrong.contains("an output to `c` came that is not expected\n  payload\n  + 2"),
        "{wrong}"
    );
    assert!(told(&case, &outputs(&[])).contains("no output came to `a`"));
}

#[test]
fn order_counts_unless_it_does_not() {
    let list = "expect = [{ subject = \"a\" }, { subject = \"b\" }, { subject = \"c\" }]";
    let came = outputs(&[("b", ""), ("a", ""), ("c", "")]);
    let wrong = told(&case(list), &came);
    assert!(wrong.contains("out of order"), "{wrong}");
    assert_eq!(wrong.matches("out of order").count(), 1, "{wrong}");
    assert_eq!(told(&case(&format!("{list}\norder = \"any\"")), &came), "");
}

#[test]
fn the_best_choice_is_found_in_any_order() {
    // The first line fits both outputs, the second only the first of them.
    let case = case("order = \"any\"\nexpect = [{}, { subject = \"a\" }, { times = 2 }]");
    assert_eq!(told(&case, &outputs(&[("a", ""), ("b", ""), ("c", ""), ("d", "")])), "");
}

#[test]
fn what_another_plugin_takes_up_may_be_left_out() {
    let mut happened = outputs(&[("middle", "1"), ("end", "2")]);
    happened.outputs[0].taken_up = true;
    assert_eq!(told(&case("expect = [{ subject = \"end\" }]"), &happened), "");
    assert_eq!(
        told(&case("expect = [{ subject = \"middle\" }, { subject = \"end\" }]"), &happened),
        ""
    );
    assert_eq!(told(&case("others = \"allow\""), &outputs(&[("x", "")])), "");
}

fn failed(kind: FailureKind, text: &str) -> Failed {
    Failed {
        plugin: "p".to_owned(),
        subject: "in".to_owned(),
        attempt: 1,
        kind,
        text: text.to_owned(),
        after: None,
        backtrace: None,
    }
}

#[test]
fn failures_have_to_be_those_expected() {
    let with = |failures: Vec<Failed>| Happened { failures, ..Happened::default() };
    let reject = with(vec![failed(FailureKind::Reject, "not JSON")]);
    assert!(told(&case(""), &reject).contains("a run failed that was not to fail"));
    assert_eq!(told(&case("failure = \"reject\""), &reject), "");
    assert_eq!(told(&case("failure = \"any\""), &reject), "");
    let wrong = told(&case("failure = { kind = \"retry\", matches = \"later\" }"), &reject);
    assert!(wrong.contains("it was to fail: retry, with a text that matches later"), "{wrong}");
    assert!(wrong.contains("+ reject: not JSON"), "{wrong}");
    assert!(told(&case("failure = \"trap\""), &with(vec![])).contains("every run succeeded"));
    let both = with(vec![failed(FailureKind::RetryAfter, ""), failed(FailureKind::Trap, "")]);
    assert!(told(&case("failure = \"retry\""), &both).contains("in another way"));
}

#[test]
fn dead_letters_and_log_lines_are_compared() {
    let happened = Happened {
        dead_letters: vec![Buried {
            plugin: "p".to_owned(),
            subject: "in".to_owned(),
            reason: "reject".to_owned(),
            error: "the handler rejected the event: bad".to_owned(),
            payload: "{}".into(),
        }],
        log: vec![Said { plugin: "p".to_owned(), level: "warn", text: "no list".to_owned() }],
        ..Happened::default()
    };
    let fine = "dead-letters = [{ reason = \"reject\", error = \"bad\", json = {} }]\nlog = [\"list\", { level = \"warn\" }]";
    assert_eq!(told(&case(fine), &happened), "");
    assert_eq!(told(&case("dead-letters = 1"), &happened), "");
    assert!(told(&case("dead-letters = 0"), &happened).contains("1 dead letters instead of 0"));
    assert!(
        told(&case("dead-letters = [{ reason = \"trap\" }]"), &happened)
            .contains("- trap\n  + reject")
    );
    assert!(told(&case("dead-letters = []"), &happened).contains("not expected"));
    assert!(told(&case("log = []"), &happened).contains("was to be empty"));
    assert!(told(&case("log = [{ level = \"error\" }]"), &happened).contains("is not there"));
}

#[test]
fn a_snapshot_that_is_missing_is_offered() {
    let case = case("snapshot = \"x.json\"");
    let happened = outputs(&[("a", "{\"b\":1}"), ("c", "text"), ("d", "1")]);
    let verdict = compare(&case, &happened, &|_| None);
    let [pending] = verdict.snapshots.as_slice() else { panic!("{verdict:?}") };
    let again = compare(&case, &happened, &|_| Some(pending.bytes.clone()));
    assert!(again.snapshots.is_empty() && again.complaints.is_empty());
    let other = compare(&case, &outputs(&[("a", "{\"b\":2}")]), &|_| Some(pending.bytes.clone()));
    let wrong = text(&other.snapshots[0].complaint);
    assert!(wrong.contains("/0/payload/b\n  - 1\n  + 2"), "{wrong}");
}
