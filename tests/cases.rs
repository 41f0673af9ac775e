//! `pelton test` and `pelton capture` as people use them: the real binary, real
//! guests, files in a folder.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use crate::harness::{
    Finished, Project, Server, build_example, eventually, pelton, plugin_table, root, verb,
};

/// A project with the plugins `echo` (`in.echo` to `out.echo`) and so on: each
/// guest reads the subject with its name.
fn project(guests: &[&str], tests: &str) -> Project {
    let plugins = guests.iter().map(|name| plugin_table(name, name, &format!("in.{name}"), ""));
    let project = Project::with_plugins(&plugins.collect::<String>());
    fs::write(project.path().join("a.test.toml"), tests).unwrap();
    project
}

fn test(project: &Project, flags: &[&str]) -> Finished {
    verb(project.path(), &[&["test"], flags].concat())
}

/// What was printed, without how long it took.
fn shown(finished: &Finished) -> String {
    let lines = finished.stdout.lines().map(|line| match line.rsplit_once(" in ") {
        Some((counts, time)) if time.ends_with('s') => format!("{counts} in …"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

const PASSING: &str = r#"
[[case]]
name = "an event comes out as it came in"
plugin = "echo"
event = { json = { n = 1 }, headers = { Trace = "abc" } }
expect = [{ subject = "out.echo", json-exact = { n = 1 }, headers = { Trace = "abc" } }]

[[case]]
name = "the third attempt succeeds at once"
plugin = "flaky"
event = { json = { succeed-at = 3 }, attempt = 3 }
expect = [{ subject = "out.flaky" }]

[[case]]
name = "after two retries"
plugin = "flaky"
attempts = 3
event = { json = { succeed-at = 3 } }
failure = { kind = "retry", matches = "attempt [12] of 3" }
expect = [{ subject = "out.flaky" }]

[[case]]
name = "never"
plugin = "flaky"
attempts = 3
event = { json = { succeed-at = 9 } }
failure = "retry"
dead-letters = [{ plugin = "flaky", reason = "retry", error = "attempt 3 of 9" }]

[[case]]
name = "a wait of half a minute takes none"
plugin = "retry-after"
attempts = 2
event = { json = { succeed-at = 2, wait-ms = 30000 } }
failure = { kind = "retry-after", after = "30s" }
expect = [{ subject = "out.retry-after" }]

[[case]]
name = "an output that is not allowed"
plugin = "emit"
event = { json = { subject = "elsewhere.x" } }
failure = { kind = "output", matches = "elsewhere" }
dead-letters = [{ reason = "output" }]

[[case]]
name = "a loop is ended by its limit"
plugin = "spin"
limits = { cpu = "100ms" }
event = { text = "spin" }
failure = "timeout"

[[case]]
name = "settings of the case"
plugin = "tag"
config = { tag = "blue" }
event = { json = { n = 7 } }
expect = [{ text = "7", headers = { Tag = "blue" } }]

[[case]]
name = "later"
skip = "not written yet"
event = { subject = "in.nobody" }
"#;

#[test]
fn what_is_as_expected_passes() {
    let guests = ["echo", "flaky", "retry-after", "emit", "spin", "tag"];
    let project = project(&guests, PASSING);
    let finished = test(&project, &[]);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    insta::assert_snapshot!(shown(&finished), @r"
    ok   a.test.toml: 9 cases
         skipped later: not written yet
    8 passed, 1 skipped in …
    ");
    let again = test(&project, &["--filter", "half a minute", "--jobs", "1"]);
    insta::assert_snapshot!(shown(&again), @r"
    ok   a.test.toml: 1 case
    1 passed, 8 filtered out in …
    ");
    let nothing = test(&project, &["--filter", "nothing like this"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(nothing.stderr.contains("no case has `nothing like this` in its name; there are 9"));
}

const FAILING: &str = r#"
[[case]]
name = "differs"
plugin = "echo"
event = { json = '{"a":1,"b":{"c":[1,2,3]}}' }
expect = [
    { subject = "out.echo", json = { a = 2, b = { c = [1, 2] }, e = true }, headers = { Trace = "x" } },
    { subject = "out.more" },
]

[[case]]
name = "text differs"
plugin = "echo"
event = { text = "one\ntwo\nthree" }
expect = [{ text = "one\n2\nthree" }]

[[case]]
name = "loops"
plugin = "spin"
limits = { cpu = "100ms" }
event = { text = "spin" }

[[case]]
name = "nobody listens"
event = { subject = "in.nobody" }
"#;

#[test]
fn what_is_not_as_expected_is_shown_with_its_place() {
    let project = project(&["echo", "spin"], FAILING);
    let finished = test(&project, &[]);
    assert_eq!(finished.status.code(), Some(1));
    insta::assert_snapshot!(shown(&finished), @r#"
    FAIL a.test.toml: 4 of 4 cases

    FAIL a.test.toml:2: differs
      the output to `out.echo` is not as expected (a.test.toml:7)
        header Trace
        - "x"
        + (not there)
        payload /a
        - 2
        + 1
        payload /b/c/2
        - (not there)
        + 3
        payload /e
        - true
        + (not there)
      no output came to `out.more` (a.test.toml:8)


    FAIL a.test.toml:11: text differs
      the output to `out.echo` is not as expected (a.test.toml:15)
        payload
          one
        - 2
        + two
          three


    FAIL a.test.toml:17: loops
      a run failed that was not to fail
        plugin spin, event in.spin, attempt 1
        + timeout: the handler used more than its 100ms of processor time
        hint: does it loop? `limits = { timeout = "…" }` in the case lets it run longer or ends it sooner


    FAIL a.test.toml:23: nobody listens
      no plugin that runs takes event 1, to `in.nobody`

    0 passed, 4 failed in …
    "#);
}

#[test]
fn mistakes_in_the_files_are_told_from_failures() {
    let text = "[[case]]\nname = \"a\"\nplugin = \"ecko\"\nevent = { jsn = 1 }\nexpct = []\n";
    let project = project(&["echo"], text);
    let finished = test(&project, &[]);
    assert_eq!(finished.status.code(), Some(2));
    for part in ["did you mean `json`?", "did you mean `expect`?", "a.test.toml:4:"] {
        assert!(finished.stderr.contains(part), "no {part:?} in\n{}", finished.stderr);
    }
    fs::write(
        project.path().join("a.test.toml"),
        text.replace("jsn", "json").replace("expct", "expect"),
    )
    .unwrap();
    let finished = test(&project, &[]);
    assert!(finished.stderr.contains("did you mean `echo`?"), "{}", finished.stderr);
    fs::remove_file(project.path().join("a.test.toml")).unwrap();
    let nothing = test(&project, &[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        nothing.stderr.contains("there are no `*.test.toml` files in `.`"),
        "{}",
        nothing.stderr
    );
    let unbuilt = project.edited("echo.wasm", "none.wasm");
    fs::write(unbuilt.path().join("a.test.toml"), PASSING.split("\n\n").next().unwrap()).unwrap();
    let finished = test(&unbuilt, &[]);
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("`pelton build`"), "{}", finished.stderr);
}

#[test]
fn snapshots_are_written_when_asked_for() {
    let text = "[[case]]\nname = \"all\"\nplugin = \"echo\"\nevent = { json = { n = 1 } }\nsnapshot = \"snaps/all.json\"\n\
        [[case]]\nname = \"one\"\nplugin = \"echo\"\nevent = { json = { n = 1 } }\nexpect = [{ snapshot = \"one.json\" }]\n";
    let project = project(&["echo"], text);
    let missing = test(&project, &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.contains("there is no snapshot") && missing.stdout.contains("--update"));
    assert!(!project.path().join("one.json").exists());
    assert!(test(&project, &["--update"]).status.success());
    assert!(test(&project, &[]).status.success());
    let all: Value =
        serde_json::from_slice(&fs::read(project.path().join("snaps/all.json")).unwrap()).unwrap();
    assert_eq!(all, serde_json::json!([{ "subject": "out.echo", "payload": { "n": 1 } }]));
    fs::write(project.path().join("one.json"), "{\"n\": 2}").unwrap();
    let differs = test(&project, &[]);
    assert!(differs.stdout.contains("    payload /n\n    - 2\n    + 1\n"), "{}", differs.stdout);
}

#[test]
fn a_pipeline_feeds_its_plugins() {
    let second = plugin_table("second", "enrich", "out.first", "");
    let second = second.replace("\"IN\"", "\"OUT\"").replace("[\"out.>\"]", "[\"out.out.>\"]");
    let first = plugin_table("first", "enrich", "in.first", "");
    let project = Project::with_plugins(&format!("{first}{second}"));
    let text = r#"
[[case]]
name = "to its end"
event = { subject = "in.first", json = { n = 1 } }
expect = [{ subject = "out.out.first", plugin = "second", json = { n = 1, enriched = true } }]
[[case]]
name = "anywhere"
events = [{ subject = "in.first", json = { n = 1 } }, { subject = "in.first", text = "{" }]
expect = [{ subject = "out.first", plugin = "first" }, { plugin = "second" }]
failure = { kind = "reject", plugin = "first" }
dead-letters = 1
[[case]]
name = "one alone"
plugin = "first"
event = { json = {} }
expect = [{ subject = "out.first" }]
[[case]]
name = "the end may not be left out"
event = { subject = "in.first", json = { n = 1 } }
expect = [{ subject = "out.first" }]
"#;
    fs::write(project.path().join("a.test.toml"), text).unwrap();
    let finished = test(&project, &[]);
    insta::assert_snapshot!(shown(&finished), @r#"
    FAIL a.test.toml: 1 of 4 cases

    FAIL a.test.toml:17: the end may not be left out
      an output to `out.out.first` came that is not expected
        payload
        + {"enriched":true,"n":1}

    3 passed, 1 failed in …
    "#);
}

#[test]
fn reports_for_programs_hold_the_same() {
    let project = project(&["echo", "spin"], FAILING);
    let finished =
        test(&project, &["--format", "junit", "--output", "report.xml", "--filter", "differs"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stdout.contains("0 passed, 2 failed, 2 filtered out"), "{}", finished.stdout);
    let xml = fs::read_to_string(project.path().join("report.xml")).unwrap();
    for part in [
        "<testsuite name=\"a.test.toml\" tests=\"2\" failures=\"2\"",
        "<testcase name=\"text differs\" classname=\"a.test.toml\"",
        "<failure message=\"the output to `out.echo` is not as expected\">a.test.toml:2",
    ] {
        assert!(xml.contains(part), "no {part:?} in\n{xml}");
    }
    let finished = test(&project, &["--format", "json", "--filter", "differs"]);
    let json: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&json["failed"], &json["filtered"]), (&2.into(), &2.into()));
    assert_eq!(json["cases"][0]["complaints"][0]["differences"][1]["place"], "payload /a");
}

#[test]
fn the_example_is_tested() {
    let folder = root().join("examples/orders");
    build_example(&folder);
    let finished = verb(&folder, &["test"]);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
}

fn runs(folder: &Path, file: &str) -> Finished {
    verb(folder, &["test", file])
}

#[tokio::test]
async fn events_of_a_stream_become_test_cases() {
    let server = Server::start().await;
    let project = project(&["echo", "flaky"], "");
    let mut daemon = project.run(&server).await;
    for payload in [b"{\"n\":1}".as_slice(), b"plain", b"\xff\x00"] {
        server.publish("in.echo", payload).await;
    }
    server.publish("in.flaky", "{\"succeed-at\": 9}").await;
    let (folder, url) = (project.path(), server.url());
    let capture =
        |flags: &[&str]| verb(folder, &[&["capture", "--nats-url", &url], flags].concat());
    let range = ["--stream", "IN", "--from", "2", "--count", "2", "--expect"];
    let made = capture(&range);
    assert!(made.status.success(), "{}{}", made.stdout, made.stderr);
    let text = fs::read_to_string(folder.join("IN-2.test.toml")).unwrap();
    assert!(text.contains("position = { stream = \"IN\", sequence = 2 }"), "{text}");
    assert!(text.contains("text = \"plain\"") && text.contains("file = \"IN-2.2.bin\""), "{text}");
    let tested = runs(folder, "IN-2.test.toml");
    assert!(tested.status.success(), "{}{}", tested.stdout, tested.stderr);

    let again = capture(&range);
    assert_eq!(again.status.code(), Some(2));
    assert!(again.stderr.contains("is there already") && again.stderr.contains("--force"));
    assert!(capture(&[range.as_slice(), &["--force"]].concat()).status.success());

    let together = capture(&[
        "--stream",
        "IN",
        "--subject",
        "in.echo",
        "-n",
        "9",
        "--together",
        "-o",
        "all.test.toml",
    ]);
    assert!(together.status.success(), "{}", together.stderr);
    assert_eq!(fs::read_to_string(folder.join("all.jsonl")).unwrap().lines().count(), 3);
    assert_eq!(runs(folder, "all.test.toml").status.code(), Some(1));
    assert!(verb(folder, &["test", "--update", "all.test.toml"]).status.success());
    assert!(runs(folder, "all.test.toml").status.success());

    let nothing = capture(&["--stream", "NONE"]);
    assert!(nothing.stderr.contains("there is no stream `NONE`"), "{}", nothing.stderr);
    daemon.stop().await;
}

#[tokio::test]
async fn a_dead_letter_and_live_events_become_test_cases() {
    let server = Server::start().await;
    let project = project(&["echo", "reject"], "");
    let mut daemon = project.run(&server).await;
    server.publish("in.reject", "reject").await;
    server.settled("IN", "pelton-reject").await;
    let (folder, url) = (project.path().to_owned(), server.url());
    let made = verb(&folder, &["capture", "--nats-url", &url, "--dead-letter", "1", "--expect"]);
    assert!(made.status.success(), "{}{}", made.stdout, made.stderr);
    let text = fs::read_to_string(folder.join("dead-letter-1.test.toml")).unwrap();
    assert!(text.contains("plugin = \"reject\"") && text.contains("kind = \"reject\""), "{text}");
    assert!(runs(&folder, "dead-letter-1.test.toml").status.success());
    becomes_a_case_by_hand(&folder, &url);

    let waiting = {
        let (folder, url) = (folder.clone(), url.clone());
        tokio::task::spawn_blocking(move || {
            verb(&folder, &["capture", "--nats-url", &url, "--subject", "in.echo", "--wait", "60s"])
        })
    };
    eventually("an event is captured", async || {
        server.publish("in.echo", "live").await;
        waiting.is_finished().then_some(())
    })
    .await;
    let made = waiting.await.unwrap();
    assert!(made.status.success(), "{}", made.stderr);
    let text = fs::read_to_string(folder.join("in.echo.test.toml")).unwrap();
    assert!(text.contains("text = \"live\""), "{text}");
    daemon.stop().await;
}

/// Without `--expect`: what `pelton test --update` says leads to a case that passes.
fn becomes_a_case_by_hand(folder: &Path, url: &str) {
    let words = ["capture", "--nats-url", url, "--dead-letter", "1", "-o", "bare.test.toml"];
    assert!(verb(folder, &words).status.success());
    let update = || verb(folder, &["test", "--update", "bare.test.toml"]);
    let said = update().stdout;
    assert!(said.contains("once the rest of the case is as it should be"), "{said}");
    let (_, line) = said.split_once("write below the `name` of the case: ").unwrap();
    let line = line.lines().next().unwrap();
    let file = folder.join("bare.test.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\nplugin", &format!("\n{line}\nplugin"), 1)).unwrap();
    assert!(update().status.success(), "{}", update().stdout);
    assert!(runs(folder, "bare.test.toml").status.success());
}

/// Ends what still runs when a test fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn watching_runs_again_after_a_change() {
    let one = PASSING.split("\n\n").next().unwrap();
    let project = project(&["echo"], one);
    let (log, file) = (project.path().join("log"), project.path().join("a.test.toml"));
    let output = fs::File::create(&log).unwrap();
    let command = pelton()
        .args(["test", "--watch"])
        .current_dir(project.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let mut running = Running(command.unwrap());
    let says = async |text: &str| {
        eventually(text, async || fs::read_to_string(&log).unwrap().contains(text).then_some(()))
            .await;
    };
    says("1 passed").await;
    says("waiting for changes").await;
    fs::write(&file, one.replacen("n = 1", "n = 2", 1)).unwrap();
    says("1 failed").await;
    fs::write(project.path().join("b.test.toml"), "[[case]]\n").unwrap();
    says("`case[0]` has no `name`").await;
    assert!(running.0.try_wait().unwrap().is_none(), "it ended");
}

#[tokio::test]
async fn watching_begins_with_what_is_broken_and_follows_manifest_and_component() {
    let one = PASSING.split("\n\n").next().unwrap();
    let project = project(&["echo"], one);
    let component = project.path().join("build/own.wasm");
    let project =
        project.edited(&format!("{:?}", crate::harness::guest("echo")), "\"build/own.wasm\"");
    fs::create_dir(project.path().join("build")).unwrap();
    let manifest = fs::read_to_string(project.path().join("pelton.toml")).unwrap();
    // In place, so that no folder changes.
    let save = |text: &str| fs::write(project.path().join("pelton.toml"), text).unwrap();
    save(&manifest.replace("subscribe", "subscrbe"));
    let (log, output) = (project.path().join("build/log"), project.path().join("build/log"));
    let output = fs::File::create(output).unwrap();
    let command = pelton()
        .args(["test", "--watch"])
        .current_dir(project.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let _running = Running(command.unwrap());
    let says = async |text: &str, times: usize| {
        eventually(text, async || {
            (fs::read_to_string(&log).unwrap().matches(text).count() >= times).then_some(())
        })
        .await;
    };
    says("did you mean `subscribe`", 1).await;
    says("waiting for changes", 1).await;
    save(&manifest);
    says("waiting for changes", 2).await;
    says("`pelton build`", 1).await;
    fs::copy(crate::harness::guest("echo"), &component).unwrap();
    says("1 passed", 1).await;
    says("waiting for changes", 3).await;
    fs::copy(crate::harness::guest("reject"), &component).unwrap();
    says("waiting for changes", 4).await;
    save(&manifest.replace("out.>", "other.>"));
    says("1 failed", 1).await;
}

#[test]
fn a_compilation_is_told_beside_the_results() {
    let project = project(
        &["echo"],
        "[[case]]\nname = \"a\"\nplugin = \"echo\"\nevent = { text = \"x\" }\n\
         expect = [{ text = \"x\" }]\n",
    )
    .edited("[streams.IN]", "[host]\ncache = \"cache\"\n[streams.IN]");
    let first = test(&project, &["--format", "json"]);
    assert!(first.status.success(), "{first:?}");
    assert!(serde_json::from_str::<Value>(&first.stdout).is_ok(), "{}", first.stdout);
    let once = "echo.wasm (";
    assert!(first.stderr.contains("compiling ") && first.stderr.contains(once), "{}", first.stderr);
    let second = test(&project, &[]);
    assert!(second.status.success() && !second.stderr.contains("compiling"), "{second:?}");
}
