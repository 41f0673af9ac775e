//! `pelton pipe`, as a process: events in, outputs out, no server.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{Finished, Project, build_example, guest, pelton, root, shell};

/// Runs `pelton pipe` in the project's folder with this on standard input.
fn pipe(project: &Project, arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = spawn(project, arguments);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Whoever stops early reads no more.
    let writer = thread::spawn(move || stdin.write_all(&input).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn spawn(project: &Project, arguments: &[&str]) -> Child {
    let mut command: Command = pelton();
    command.arg("pipe").args(arguments).current_dir(project.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap_or_else(|| panic!("no exit code: {finished:?}"))
}

fn outputs(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `in.x` to `out.x` by plugin `first`, `out.a` to `out.out.a` by plugin `second`.
fn two_stages(first: &str, second: &str) -> Project {
    let plugin = |name, of, subscribe, publish| {
        format!(
            "[plugins.{name}]\ncomponent = {:?}\nstream = \"ALL\"\nsubscribe = [\"{subscribe}\"]\npublish = [\"{publish}\"]\n",
            guest(of)
        )
    };
    Project::new(&format!(
        "[streams.ALL]\nsubjects = [\"in.>\", \"out.>\"]\n{}{}",
        plugin("first", first, "in.>", "out.>"),
        plugin("second", second, "out.a", "out.out.>"),
    ))
}

#[test]
fn events_go_through_all_plugins_and_outputs_come_out_in_the_same_form() {
    let project = two_stages("echo", "echo");
    let input = concat!(
        r#"{"subject": "in.a", "payload": {"n": 1.0, "s": "x y"}, "headers": {"K": ["v", "w"]}}"#,
        "\n\n",
        r#"{"subject": "in.b", "payload-text": "no json\n"}"#,
        "\n",
        r#"{"subject": "in.c", "payload-base64": "AP8=", "id": "mine"}"#,
    );
    let finished = pipe(&project, &[], input.as_bytes());
    assert_eq!(code(&finished), 0, "{finished:?}");
    let outputs = outputs(&finished);
    let of = |id: &str| {
        outputs.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{id}: {outputs:?}"))
    };
    assert_eq!(outputs.len(), 4);
    assert_eq!(
        *of("line-1/first.0"),
        json!({
            "subject": "out.a", "payload": {"n": 1.0, "s": "x y"}, "headers": {"K": ["v", "w"]},
            "plugin": "first", "event": "line-1", "id": "line-1/first.0",
        })
    );
    assert!(finished.stdout.contains(r#""payload":{"n":1.0,"s":"x y"}"#));
    assert_eq!(of("line-1/first.0/second.0")["subject"], "out.out.a");
    assert_eq!(of("line-3/first.0")["payload-text"], "no json\n");
    assert_eq!(of("mine/first.0")["payload-base64"], "AP8=");
    assert!(finished.stderr.contains("3 events handed to plugins in "), "{}", finished.stderr);
    assert!(finished.stderr.contains("  second: 1 run, 1 output\n"), "{}", finished.stderr);

    let again = pipe(&project, &["--quiet"], finished.stdout.replace("out.", "in.").as_bytes());
    assert_eq!((code(&again), &*again.stderr), (0, ""), "{again:?}");
}

#[test]
fn a_bad_line_is_named_and_costs_no_other() {
    let project = two_stages("echo", "echo");
    let mut input = b"{\"subject\": \"in.x\"}\nhello\n{\"subject\": \"in.*\"}\n{\"subject\": \"in.x\", \"payload\": \"".to_vec();
    input.extend(
        b"\xff\"}\n{\"subject\": \"nobody.hears\"}\n{\"subject\": \"in.x\", \"payload\": 6}",
    );
    let finished = pipe(&project, &[], &input);
    assert_eq!(code(&finished), 3, "{finished:?}");
    assert_eq!(outputs(&finished).len(), 2);
    for told in [
        "error[bad-line]: line 2: not JSON: expected value, at column 1\n\
         more about it: pelton explain bad-line\n",
        "error[bad-subject]: line 3: `in.*`",
        "error[bad-line]: line 4: not JSON: ",
        "line 5: no plugin subscribes to `nobody.hears`",
    ] {
        assert!(finished.stderr.contains(told), "{told}: {}", finished.stderr);
    }
    assert_eq!(finished.stderr.matches("explain bad-line").count(), 1, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("3 bad lines, 1 that no plugin subscribes to"),
        "{}",
        finished.stderr
    );

    let strict = pipe(&project, &["--strict"], &input);
    assert_eq!(code(&strict), 3);
    assert_eq!(outputs(&strict).len(), 1, "what came before is finished");
    assert!(!strict.stderr.contains("line 3"), "{}", strict.stderr);
    let unheard = b"{\"subject\": \"nobody.hears\"}\n{\"subject\": \"in.x\"}";
    let strict = pipe(&project, &["--strict"], unheard);
    assert_eq!((code(&strict), &*strict.stdout), (3, ""));
}

#[test]
fn an_event_that_no_plugin_takes_was_not_handled() {
    let project = two_stages("echo", "echo");
    // Nobody stores the one; a stream stores the other, and nobody reads it.
    for unheard in ["nobody.hears", "out.b"] {
        let input = format!("{{\"subject\":\"{unheard}\"}}\n{{\"subject\":\"in.x\"}}");
        let finished = pipe(&project, &[], input.as_bytes());
        assert_eq!(code(&finished), 3, "{finished:?}");
        assert_eq!(outputs(&finished).len(), 1, "what is taken is handled");
        for told in [
            &*format!("line 1: no plugin subscribes to `{unheard}`"),
            "1 event handed to plugins in ",
            ": 1 output, 1 that no plugin subscribes to",
        ] {
            assert!(finished.stderr.contains(told), "{told}: {}", finished.stderr);
        }
    }
}

#[test]
fn a_compilation_is_told_when_it_begins_and_only_then() {
    let manifest = |cache: &str| {
        let of = guest("echo");
        format!(
            "[host]\ncache = {cache:?}\n[plugins.subject]\ncomponent = {of:?}\n\
             subscribe = [\"in.>\"]\npublish = [\"out.>\"]\n"
        )
    };
    let project = Project::new(&manifest("cache"));
    let compiling = |arguments: &[&str]| {
        let finished = pipe(&project, arguments, b"{\"subject\":\"in.x\"}");
        assert_eq!((code(&finished), outputs(&finished).len()), (0, 1), "{finished:?}");
        finished.stderr.lines().find(|line| line.contains("compiling")).map(str::to_owned)
    };
    let told = compiling(&[]).expect("it is told");
    assert!(told.starts_with("compiling /") && told.contains("echo.wasm ("), "{told}");
    assert!(told.ends_with("B), once: it is kept in the cache"), "{told}");
    assert_eq!(compiling(&[]), None);
    project.rewrite(&manifest("another"));
    assert_eq!(compiling(&["--quiet"]), None);
}

#[test]
fn dead_letters_are_told_and_can_be_piped_in_again() {
    let project = two_stages("reject", "echo");
    let input = "{\"subject\":\"in.x\",\"payload-text\":\"reject\",\"time\":1000,\"headers\":{\"A\":\"b\"}}\n{\"subject\":\"in.x\",\"payload\":2}\n";
    let finished = pipe(&project, &["--dead-letters", "dead.jsonl"], input.as_bytes());
    assert_eq!(code(&finished), 3, "{finished:?}");
    assert_eq!(outputs(&finished).len(), 1);
    assert!(finished.stderr.contains("rejected on purpose"), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("first: 2 runs (1 failed), 1 output, 1 dead letter (reject 1)"),
        "{}",
        finished.stderr
    );
    let dead = std::fs::read_to_string(project.path().join("dead.jsonl")).unwrap();
    let letter: Value = serde_json::from_str(&dead).unwrap();
    assert_eq!(letter["dead-letter"]["reason"], "reject");
    assert_eq!(letter["dead-letter"]["plugin"], "first");
    assert_eq!(letter["time"], "1970-01-01T00:00:01.000Z");
    assert_eq!((&letter["id"], &letter["headers"]["A"]), (&json!("line-1"), &json!("b")));

    let mended = two_stages("echo", "echo");
    let file = project.path().join("dead.jsonl");
    let again = pipe(&mended, &["pelton.toml", file.to_str().unwrap()], b"");
    assert_eq!(code(&again), 0, "{again:?}");
    assert_eq!(outputs(&again)[0]["event"], "line-1");

    let mixed = pipe(&project, &["--dead-letters", "-"], input.as_bytes());
    assert_eq!(outputs(&mixed).iter().filter(|it| it["dead-letter"].is_object()).count(), 1);
}

#[test]
fn retries_take_their_pauses_unless_told_otherwise() {
    let project = Project::with_guest(
        "flaky",
        "[plugins.subject.retry]\nbackoff = { first = \"1h\", max = \"1h\" }",
    );
    let project = project
        .edited("timeout = \"1s\"", "timeout = \"50s\"\nrate = \"3/h\"")
        .edited("ack-wait = \"3s\"", "ack-wait = \"55s\"")
        .edited("[\"out.>\"]\n\n", "[\"out.>\"]\nduplicate-window = \"1day\"\n\n");
    let input = "{\"subject\":\"in.x\",\"payload\":{\"succeed-at\":5}}\n".repeat(2);
    let finished = pipe(&project, &["--no-backoff"], input.as_bytes());
    assert_eq!(code(&finished), 0, "{finished:?}");
    assert!(finished.stderr.contains("10 runs (8 failed), 2 outputs"), "{}", finished.stderr);
}

#[test]
fn with_a_subject_each_line_is_a_payload() {
    let project = two_stages("echo", "echo");
    let finished = pipe(&project, &["--subject", "in.x"], b"{\"a\": 1}\r\n\nplain\n\xff\xfe");
    assert_eq!(code(&finished), 0, "{finished:?}");
    let mut outputs = outputs(&finished);
    outputs.sort_by_key(|it| it["event"].to_string());
    assert_eq!(outputs[0]["payload"], json!({"a": 1}));
    assert_eq!(outputs[1]["payload-text"], "");
    assert_eq!(outputs[2]["payload-text"], "plain");
    assert_eq!(outputs[3]["payload-base64"], "//4=");
    let exact = pipe(&project, &["--subject", "in.x", "--exact"], b"{\"a\": 1}");
    assert!(exact.stdout.contains(r#""payload-text":"{\"a\": 1}""#), "{}", exact.stdout);
}

#[test]
fn what_cannot_begin_says_so_and_nothing_is_a_success() {
    let project = two_stages("echo", "echo");
    let empty = pipe(&project, &[], b"");
    assert_eq!((code(&empty), &*empty.stdout), (0, ""), "{empty:?}");
    assert!(empty.stderr.contains("0 events handed to plugins"), "{}", empty.stderr);
    for (arguments, told) in [
        (
            &["pelton.toml", "missing.jsonl"][..],
            "error[input]: cannot read events from `missing.jsonl`",
        ),
        (&["pelton.toml", "."], "error[input]: cannot read events from `.`: it is a folder"),
        (&["missing.toml"], "missing.toml"),
        (&["--subject", "in.>"], "error[bad-subject]: --subject: `in.>`"),
        (&["--time", "noon"], "--time"),
        (&["--dead-letters", "no/such/folder"], "no/such/folder"),
    ] {
        let finished = pipe(&project, arguments, b"");
        assert_ne!(code(&finished), 0, "{arguments:?}");
        assert!(finished.stderr.contains(told), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "");
    }
}

#[test]
fn what_the_manifest_says_of_a_server_is_not_needed() {
    let project = two_stages("echo", "echo");
    let manifest = std::fs::read_to_string(project.path().join("pelton.toml")).unwrap();
    let nats = "[nats]\ncredentials = \"not/here.creds\"\n[nats.tls]\nca = \"not/here.pem\"\n";
    project.rewrite(&format!("{nats}{manifest}"));
    let finished = pipe(&project, &[], b"{\"subject\":\"in.x\"}");
    assert_eq!(code(&finished), 0, "{finished:?}");
    let checked = crate::harness::verb(project.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(2));
}

#[test]
fn a_line_of_megabytes_goes_through() {
    let project = two_stages("echo", "echo");
    let line = format!("{{\"subject\":\"in.x\",\"payload\":\"{}\"}}\n", "x".repeat(5 << 20));
    let finished = pipe(&project, &["--quiet"], line.as_bytes());
    assert_eq!(code(&finished), 0, "{}", finished.stderr);
    assert_eq!(outputs(&finished)[0]["payload"].as_str().unwrap().len(), 5 << 20);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let project = two_stages("echo", "echo");
    let mut child = spawn(&project, &[]);
    let mut stdin = child.stdin.take().unwrap();
    // Until nobody reads any more.
    let writer =
        thread::spawn(move || while stdin.write_all(b"{\"subject\":\"in.x\"}\n").is_ok() {});
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    writer.join().unwrap();
    assert!(first.contains("out.x"));
    assert!(stderr.lines().all(|line| line.starts_with("compiling ")), "{stderr}");
}

#[test]
fn head_takes_what_it_wants_of_a_file() {
    let project = two_stages("echo", "echo");
    let events = "{\"subject\":\"in.x\"}\n".repeat(50_000);
    std::fs::write(project.path().join("events.jsonl"), events).unwrap();
    let command = "pelton pipe --quiet pelton.toml events.jsonl | head -1; exit ${PIPESTATUS[0]}";
    let finished = shell(project.path(), command);
    assert_eq!((code(&finished), outputs(&finished).len()), (0, 1), "{finished:?}");
    assert_eq!(finished.stderr, "");
}

#[test]
fn nothing_is_read_that_cannot_be_written() {
    const MOST: usize = 300 << 20;
    let project = two_stages("echo", "echo");
    let mut child = spawn(&project, &["--subject", "in.x"]);
    let mut stdin = child.stdin.take().unwrap();
    let (sender, taken) = std::sync::mpsc::channel();
    let line = [vec![b'x'; 64 << 10], b"\n".to_vec()].concat();
    thread::spawn(move || {
        let mut written = 0;
        while written < MOST && stdin.write_all(&line).is_ok() {
            written += line.len();
            sender.send(written).ok();
        }
    });
    // Nobody reads the outputs; it holds so much, and then no more for a while.
    let mut written = 0;
    while let Ok(more) = taken.recv_timeout(std::time::Duration::from_secs(5)) {
        written = more;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(written < MOST, "all was read, and nothing written");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 400 << 10, "{peak} KiB for {} KiB of events in hand", written >> 10);
}

/// Sends a signal to a process, such as `INT`.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn the_first_signal_finishes_what_was_read_and_the_second_stops() {
    let project = two_stages("echo", "echo");
    let mut child = spawn(&project, &[]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"subject\":\"in.x\"}\n").unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    signal(&child, "INT");
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{stderr}");
    assert!(stderr.contains("1 event handed to plugins"), "{stderr}");

    let project = Project::with_guest("sleep", "[plugins.subject.retry]\nattempts = 1")
        .edited("timeout = \"1s\"", "timeout = \"60s\"")
        .edited("ack-wait = \"3s\"", "ack-wait = \"70s\"");
    let mut child = spawn(&project, &["--subject", "in.x"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"sleep\nwake up\n").unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    // The second output says that the first line was read, too.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    signal_until(&child, &mut stderr, "reading no more");
    signal_until(&child, &mut stderr, "stopped at once");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Sends SIGINT, and waits for a line on standard error.
fn signal_until(
    child: &Child,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    told: &str,
) {
    signal(child, "INT");
    let told_so = lines.any(|line| line.unwrap().contains(told));
    assert!(told_so, "nothing said {told:?}");
}

#[test]
fn a_second_run_makes_the_same_when_it_is_deterministic() {
    let project = two_stages("chance", "chance");
    let mut input = String::new();
    for n in 0..50 {
        writeln!(input, "{{\"subject\":\"in.a\",\"payload\":{n}}}").unwrap();
    }
    let sorted = |arguments: &[&str]| {
        let finished = pipe(&project, arguments, input.as_bytes());
        assert_eq!(code(&finished), 0, "{finished:?}");
        let mut lines: Vec<_> = finished.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let first = sorted(&["--deterministic"]);
    assert_eq!(first.len(), 100);
    assert!(first[0].contains("\"wall-ms\":946684800000"), "{}", first[0]);
    assert_eq!(first, sorted(&["--deterministic"]));
    let later = sorted(&["--deterministic", "--time", "2020-01-01T00:00:00Z"]);
    assert!(later[0].contains("\"wall-ms\":1577836800000"), "{}", later[0]);
    assert_ne!(sorted(&[]), first);
}

#[test]
fn plugins_of_core_nats_and_ordered_ones_are_served() {
    let project = Project::with_plugins(&format!(
        "[plugins.core]\ncomponent = {:?}\nsubscribe = [\"core.>\"]\npublish = [\"in.>\", \"out.>\"]\nqueue = 1\n\
         [plugins.line]\ncomponent = {:?}\nstream = \"IN\"\nsubscribe = [\"in.>\"]\npublish = [\"out.>\"]\norder-by = \"subject.2\"\n\
         [plugins.line.retry]\nbackoff = {{ first = \"1ms\", max = \"2ms\" }}\n",
        guest("echo"),
        guest("flaky"),
    ));
    let mut input = String::new();
    for n in 0..100 {
        writeln!(input, "{{\"subject\":\"core.x\",\"payload\":{n}}}").unwrap();
        let succeed_at = 1 + n % 3;
        writeln!(
            input,
            "{{\"subject\":\"in.k{}\",\"payload\":{{\"n\":{n},\"succeed-at\":{succeed_at}}}}}",
            n % 4
        )
        .unwrap();
    }
    let finished = pipe(&project, &[], input.as_bytes());
    assert_eq!(code(&finished), 0, "{}", finished.stderr);
    let outputs = outputs(&finished);
    assert_eq!(outputs.len(), 200);
    for key in 0..4 {
        let subject = format!("out.k{key}");
        let of_key = outputs.iter().filter(|it| it["subject"] == *subject);
        let numbers: Vec<_> = of_key.map(|it| it["payload"]["n"].as_u64().unwrap()).collect();
        assert!(numbers.len() == 25 && numbers.is_sorted(), "{key}: {numbers:?}");
    }
}

#[test]
fn the_help_s_example_works_on_the_example_in_the_repository() {
    let folder = root().join("examples/orders");
    build_example(&folder);
    let events = Command::new("python3")
        .arg(folder.join("make-events.py"))
        .args(["--count", "40"])
        .output()
        .unwrap();
    let project = two_stages("echo", "echo");
    let finished = pipe(&project, &[folder.to_str().unwrap()], &events.stdout);
    assert_eq!(code(&finished), 3, "one of them is poison: {}", finished.stderr);
    let outputs = outputs(&finished);
    let of = |plugin: &str| outputs.iter().filter(|it| it["plugin"] == plugin).count();
    assert_eq!((of("validate"), of("price"), of("branch")), (39, 39, 39));
    assert!(
        finished
            .stderr
            .contains("validate: 40 runs (1 failed), 39 outputs, 1 dead letter (reject 1)"),
        "{}",
        finished.stderr
    );
}
