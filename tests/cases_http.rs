//! `pelton test` and `pelton pipe` with handlers that talk to a real server: time
//! stands still in a test case, and a server has time of its own.

use std::fs;

use crate::harness::{Finished, Project, Web, verb};

/// A project whose plugin may send requests to `web`, with these cases.
fn project(web: &Web, options: &str, cases: &str) -> Project {
    let grants = format!(
        "http = [\"http://{}\"]\nhttp-options = {{ {options} }}\n\
         retry = {{ backoff = {{ first = \"1h\", max = \"1h\" }} }}\n",
        web.authority()
    );
    let project = Project::with_guest("fetch", &grants)
        .edited("timeout = \"1s\"", "timeout = \"20s\"")
        .edited("ack-wait = \"3s\"", "ack-wait = \"60s\"")
        .edited("subjects = [\"out.>\"]", "subjects = [\"out.>\"]\nduplicate-window = \"30h\"");
    fs::write(project.path().join("a.test.toml"), cases).unwrap();
    project
}

/// A case whose handler sends `n` requests for `path`, one after the other, and
/// fails `retries` times after that.
fn case(web: &Web, (name, path): (&str, &str), n: usize, retries: u32, expected: &str) -> String {
    let request = format!("{{ url = [\"http\", \"{}\", \"{path}\"] }}", web.authority());
    let requests = vec![request; n].join(", ");
    let attempts = retries + 1;
    let failure = if retries > 0 { "failure = \"retry\"" } else { "" };
    format!(
        "[[case]]\nname = \"{name}\"\nattempts = {attempts}\n{failure}\n\
         event = {{ subject = \"in.x\", json = {{ requests = [{requests}], retries = {retries} }} }}\n\
         expect = [{{ subject = \"out.*\", matches = {{ \"/0/{expected}\" = \".\" }} }}]\n\n"
    )
}

async fn test(project: &Project, flags: &'static [&str]) -> Finished {
    let path = project.path().to_owned();
    tokio::task::spawn_blocking(move || verb(&path, flags)).await.unwrap()
}

#[tokio::test]
async fn a_handler_that_is_tested_gets_its_answer() {
    let web = Web::start().await;
    let cases = [
        // A server that takes its time, and more than one place in the pool.
        case(&web, ("one", "/slow"), 1, 0, "status"),
        case(&web, ("three in a row", "/slow"), 3, 0, "body"),
        // Between two attempts an hour passes, and takes no time.
        case(&web, ("in the third attempt", "/slow"), 2, 2, "status"),
        case(&web, ("at once", "/echo"), 2, 0, "status"),
    ];
    let project = project(&web, "", &cases.concat());
    for flags in [&["test"][..], &["test", "--jobs", "1"], &["test", "--jobs", "4"]] {
        let finished = test(&project, flags).await;
        assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("4 passed"), "{}", finished.stdout);
    }
    assert_eq!(web.requests().len(), 3 * (1 + 3 + 6 + 2));
}

#[tokio::test]
async fn the_limits_of_a_request_hold_in_a_test() {
    let web = Web::start().await;
    let cases = [
        case(&web, ("silent", "/silent"), 1, 0, "error"),
        case(&web, ("stalled", "/stalled"), 1, 0, "error"),
        case(&web, ("endless", "/endless"), 1, 0, "error"),
    ];
    let project = project(&web, "timeout = \"200ms\"", &cases.concat());
    let finished = test(&project, &["test"]).await;
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
}

#[tokio::test]
async fn what_is_piped_gets_its_answer() {
    let web = Web::start().await;
    let project = project(&web, "", "");
    let event = serde_json::json!({
        "subject": "in.x",
        "payload": { "requests": [{ "url": ["http", web.authority(), "/slow"] }] },
    });
    let events = format!("{event}\n").repeat(3);
    fs::write(project.path().join("events.jsonl"), events).unwrap();
    let finished = test(&project, &["pipe", ".", "events.jsonl"]).await;
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.stdout.matches("\"status\":200").count(), 3, "{}", finished.stdout);
}
