//! Components that were built for other hosts run unchanged, with our
//! guarantees: what they publish while they run leaves after they have returned.

use std::path::Path;

use futures::StreamExt as _;

use crate::{
    delivery::{RETRY, dead_letters},
    harness::{
        Account, Daemon, Finished, PATIENCE, Project, Server, Stored, events, eventually, guest,
        plugin_table, verb,
    },
};

mod typescript;

/// One guest for each contract; both do what a script in the payload says.
const GUESTS: [&str; 2] = ["cloud", "wasi-events"];

/// A daemon with one plugin that reads the stream IN and may publish `out.>`.
struct Adapted {
    server: Server,
    daemon: Daemon,
    project: Project,
}

impl Adapted {
    async fn start(guest: &str, more: &str) -> Adapted {
        let project = Project::with_guest(guest, &format!("{RETRY}\n{more}"));
        Adapted::of(project.patient()).await
    }

    async fn of(project: Project) -> Adapted {
        let server = Server::start().await;
        let daemon = project.run(&server).await;
        Adapted { server, daemon, project }
    }

    /// What comes of an event that is handled.
    async fn outputs(&self, script: &str) -> Vec<Stored> {
        self.server.publish("in.x", script).await;
        self.server.settled("IN", "pelton-subject").await;
        assert_eq!(self.server.count("pelton_DEAD_LETTERS").await, 0, "{}", self.daemon.log());
        self.server.stored("OUT").await
    }

    /// The dead letter of an event that is not; nothing came of it.
    async fn dead_letter(&self, script: &str) -> Stored {
        self.server.publish("in.x", script).await;
        let dead = dead_letters(&self.server, 1).await.remove(0);
        assert_eq!(self.server.count("OUT").await, 0, "{}", self.daemon.log());
        assert_eq!(dead.text(), script);
        dead
    }
}

fn texts(stored: &[Stored]) -> Vec<(String, String)> {
    stored.iter().map(|it| (it.subject.clone(), it.text())).collect()
}

fn pair(subject: &str, text: &str) -> (String, String) {
    (subject.to_owned(), text.to_owned())
}

fn reason(dead: &Stored) -> (&str, &str) {
    let header = |name| dead.header(name).unwrap();
    (header("Pelton-Dlq-Reason"), header("Pelton-Dlq-Error"))
}

#[tokio::test]
async fn what_it_publishes_is_stored_in_order_under_ids_of_the_run() {
    for name in GUESTS {
        let adapted = Adapted::start(name, "").await;
        let out =
            adapted.outputs("publish out.a one\npublish out.b two\npublish out.a three").await;
        assert_eq!(
            texts(&out),
            [pair("out.a", "one"), pair("out.b", "two"), pair("out.a", "three")]
        );
        let ids: Vec<_> = out.iter().map(|it| it.header("Nats-Msg-Id").unwrap()).collect();
        let (run, _) = ids[0].rsplit_once('.').unwrap();
        assert_eq!(ids, [format!("{run}.0"), format!("{run}.1"), format!("{run}.2")]);
    }
}

#[tokio::test]
async fn nothing_leaves_when_it_fails_and_the_retries_are_those_of_the_plugin() {
    for name in GUESTS {
        for (end, class, says) in [
            ("trap", "trap", "trapped"),
            ("fail no stock", "retry", "no stock"),
            ("spin", "timeout", "time-out"),
        ] {
            let project = Project::with_guest(name, RETRY).patient();
            // Only where a time-out is to end the runs is it a short one.
            let timeout = if end == "spin" { "timeout = \"1s\"" } else { "timeout = \"50s\"" };
            let adapted = Adapted::of(project.edited("timeout = \"50s\"", timeout)).await;
            let script = format!("publish out.a one\npublish out.a two\n{end}");
            let dead = adapted.dead_letter(&script).await;
            let (reason, error) = reason(&dead);
            assert_eq!(reason, class, "{name}: {error}");
            assert!(error.contains(says), "{name}: {error}");
            assert_eq!(dead.header("Pelton-Dlq-Attempts"), Some("4"), "{name}: {end}");
        }
    }
}

#[tokio::test]
async fn a_run_that_is_repeated_publishes_the_same_ids() {
    for name in GUESTS {
        let adapted = Adapted::start(name, "isolation = { reuse = 100 }").await;
        let Adapted { server, mut daemon, project } = adapted;
        server.publish_all(events(0..100, 3)).await;
        server.settled("IN", "pelton-subject").await;
        Account::of(&server, 100, 3).await.assert_all_done();
        daemon.stop().await;

        // A consumer that begins anew is given every event once more.
        let stream = server.jetstream().await.get_stream("IN").await.unwrap();
        stream.delete_consumer("pelton-subject").await.unwrap();
        let daemon = project.run(&server).await;
        eventually("all run again", async || {
            let done = daemon.metric("pelton_events_done_total{plugin=\"subject\"}").await;
            (done == 100.0).then_some(())
        })
        .await;
        assert_eq!(server.count("OUT").await, 300, "{name}");
        let repeated = "pelton_outputs_deduplicated_total{plugin=\"subject\"}";
        assert_eq!(daemon.metric(repeated).await, 300.0, "{name}");
    }
}

/// The host is killed again and again while events of such a plugin run.
#[tokio::test]
async fn kills_lose_nothing_and_repeat_nothing() {
    let server = Server::start().await;
    let project = Project::with_guest("cloud", "concurrency = 32");
    let mut daemon = project.run(&server).await;
    server.publish_all(events(0..3_000, 3)).await;
    for step in 1..=3_u64 {
        eventually("some more is done", async || {
            (server.count("OUT").await >= step * 1_500).then_some(())
        })
        .await;
        daemon.kill();
        daemon = project.run(&server).await;
    }
    server.settled("IN", "pelton-subject").await;
    Account::of(&server, 3_000, 3).await.assert_all_done();
}

#[tokio::test]
async fn a_publish_that_is_not_allowed_takes_all_others_with_it() {
    for name in GUESTS {
        for subject in ["secret.x", "$JS.API.STREAM.DELETE.IN", "out.*", "out.>", "out..x", ""] {
            let adapted = Adapted::start(name, "").await;
            let dead = adapted.dead_letter(&format!("publish out.a ok\npublish {subject} x")).await;
            let (reason, error) = reason(&dead);
            assert_eq!(reason, "output", "{name}: {error}");
            assert!(error.starts_with("output 1 to"), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn a_flood_ends_at_the_limit_and_not_after_it() {
    for name in GUESTS {
        let adapted = Adapted::start(name, "limits = { outputs = 1000 }").await;
        let dead = adapted.dead_letter("flood 1000000 out.a x").await;
        let (class, error) = reason(&dead);
        assert_eq!(class, "output", "{name}: {error}");
        assert!(error.contains("more than the 1000 outputs"), "{name}: {error}");

        let adapted = Adapted::start(name, "limits = { output-bytes = \"64KiB\" }").await;
        let large = "x".repeat(10_000);
        let dead = adapted.dead_letter(&format!("flood 100 out.a {large}")).await;
        let (class, error) = reason(&dead);
        assert_eq!(class, "output", "{name}: {error}");
        assert!(error.contains("64.0 KiB of outputs"), "{name}: {error}");
    }
}

#[tokio::test]
async fn messages_that_it_holds_count_as_its_memory() {
    let adapted = Adapted::start("wasi-events", "memory = \"16MiB\"").await;
    let dead = adapted.dead_letter("hoard 900").await;
    let (class, error) = reason(&dead);
    assert_eq!(class, "memory", "{error}");
}

#[tokio::test]
async fn instances_are_reused_and_what_failed_is_forgotten() {
    for name in GUESTS {
        let more = "isolation = { reuse = 100 }\nconcurrency = 1";
        let adapted = Adapted::start(name, more).await;
        for _ in 0..3 {
            adapted.server.publish("in.x", "count").await;
        }
        adapted.server.publish("in.x", "publish out.a lost\nfail once").await;
        dead_letters(&adapted.server, 1).await;
        adapted.server.publish("in.x", "publish out.a kept").await;
        adapted.server.settled("IN", "pelton-subject").await;
        let out = texts(&adapted.server.stored("OUT").await);
        let counts: Vec<_> = (1..=3).map(|n: u32| pair("out.count", &n.to_string())).collect();
        assert_eq!(out[..3], counts, "{name}");
        assert_eq!(out[3..], [pair("out.a", "kept")], "{name}");
    }
}

#[tokio::test]
async fn a_disconnected_client_sends_nothing() {
    let adapted = Adapted::start("wasi-events", "").await;
    let dead = adapted.dead_letter("disconnect").await;
    let (class, error) = reason(&dead);
    assert_eq!(class, "retry");
    assert!(error.contains("connection, the client was disconnected"), "{error}");
}

#[tokio::test]
async fn metadata_are_headers() {
    let adapted = Adapted::start("wasi-events", "").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    headers.insert("Content-Type", "application/x-script");
    headers.insert("Nats-Msg-Id", "the producer's own");
    headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let jetstream = adapted.server.jetstream().await;
    let script = "annotate out.x".into();
    let stored = jetstream.publish_with_headers("in.x", headers, script);
    stored.await.unwrap().await.unwrap();
    adapted.server.settled("IN", "pelton-subject").await;

    let out = adapted.server.stored("OUT").await;
    assert_eq!(out.len(), 1, "{}", adapted.daemon.log());
    let text = out[0].text();
    assert!(
        text.starts_with(r#"Some("in.x") Some("application/x-script") [("Colour", "blue")"#),
        "{text}"
    );
    let header = |name| out[0].header(name);
    assert_eq!((header("Colour"), header("Content-Type")), (Some("green"), Some("text/plain")));
    assert_eq!(header("Gone"), None);
    assert!(header("traceparent").is_some());
    assert!(header("Nats-Msg-Id").unwrap().ends_with(".0"));
}

#[tokio::test]
async fn a_reply_goes_to_who_asked() {
    for name in GUESTS {
        let server = Server::with_config("").await;
        let project = Project::new(&core_table(name, ""));
        let _daemon = project.run(&server).await;
        let client = server.client().await;
        let reply = client.request("in.x", "reply pong".into()).await.unwrap();
        assert_eq!(&reply.payload[..], b"pong", "{name}");
    }
}

/// A component with the imports of wasmCloud's own kit.
#[tokio::test]
async fn configuration_and_log_have_other_names() {
    let config = "config = { greeting = \"hello\", other = \"1\" }";
    let adapted = Adapted::start("cloud-sdk", config).await;
    let out = adapted.outputs("world").await;
    assert_eq!(texts(&out), [pair("out.greeting", "hello, world (2 keys)")]);
    adapted.daemon.says("greeting on in.x").await;
}

#[tokio::test]
async fn what_an_output_has_no_place_for_is_said() {
    let adapted = Adapted::start("cloud", "").await;
    let out = adapted.outputs("publish-with-reply-to out.x").await;
    assert_eq!(texts(&out), [pair("out.x", "")]);
    adapted.daemon.says("without its reply-to").await;
}

fn core_table(guest_name: &str, more: &str) -> String {
    format!(
        "[plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in.>\"]\npublish-core = [\"out.>\"]\n\
         timeout = \"50s\"\n{more}\n",
        guest(guest_name)
    )
}

/// What the script publishes to `out.answer`, on a server where services answer
/// on `rpc.>`: `rpc.echo` with what it is sent, `rpc.silent` never, `rpc.many`
/// three of them.
async fn answer_to(name: &str, more: &str, script: &str) -> (String, String) {
    let server = Server::with_config("").await;
    let project = Project::new(&core_table(name, more));
    let daemon = project.run(&server).await;
    let client = server.client().await;
    let _services = services(&client).await;
    let mut out = client.subscribe("out.answer").await.unwrap();
    client.flush().await.unwrap();
    client.publish("in.x", script.to_owned().into()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, out.next()).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer; log:\n{}", daemon.log())).unwrap();
    (String::from_utf8(answer.payload.to_vec()).unwrap(), daemon.log())
}

async fn services(client: &async_nats::Client) -> tokio::task::JoinSet<()> {
    let mut services = tokio::task::JoinSet::new();
    for (subject, word) in [
        ("rpc.echo", Some("")),
        ("rpc.silent", None),
        ("rpc.many", Some("1")),
        ("rpc.many", Some("2")),
        ("rpc.many", Some("3")),
        ("rpc.two", Some("1")),
        ("rpc.two", Some("2")),
    ] {
        let mut requests = client.subscribe(subject).await.unwrap();
        let client = client.clone();
        services.spawn(async move {
            while let (Some(request), Some(word)) = (requests.next().await, word) {
                let answer = [word.as_bytes(), &request.payload].concat();
                client.publish(request.reply.unwrap(), answer.into()).await.unwrap();
            }
            // It still listens, and is silent.
            std::future::pending::<()>().await;
        });
    }
    client.flush().await.unwrap();
    services
}

#[tokio::test]
async fn a_request_that_is_granted_is_answered_while_it_runs() {
    for name in GUESTS {
        let (answer, _) =
            answer_to(name, "request = [\"rpc.>\"]", "request rpc.echo 5000 hello").await;
        assert_eq!(answer, "hello", "{name}");
    }
}

#[tokio::test]
async fn a_request_without_grant_is_refused_with_the_remedy() {
    for name in GUESTS {
        let (answer, log) = answer_to(name, "", "request rpc.echo 5000 hello").await;
        assert!(
            answer.starts_with("error: ") && answer.contains("not granted"),
            "{name}: {answer}"
        );
        assert!(log.contains("request to `rpc.echo` not granted"), "{log}");
        assert!(log.contains("add `request ="), "{log}");

        let more = "request = [\"rpc.other\"]";
        let (answer, log) = answer_to(name, more, "request rpc.echo 5000 hello").await;
        assert!(answer.contains("not granted"), "{name}: {answer}");
        assert!(log.contains("allows: rpc.other"), "{log}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_answers_ends() {
    let more = "request = [\"rpc.>\"]";
    for (name, timeout) in [("cloud", "no answer within 100ms"), ("wasi-events", "timeout")] {
        let (answer, _) = answer_to(name, more, "request rpc.silent 100 x").await;
        assert_eq!(answer, format!("error: {timeout}"));
        let (answer, _) = answer_to(name, more, "request rpc.nobody 5000 x").await;
        assert!(answer.contains("no responders"), "{name}: {answer}");
    }
}

#[tokio::test]
async fn requests_are_counted_with_what_came_of_them() {
    let server = Server::with_config("").await;
    let project = Project::new(&core_table("cloud", "request = [\"rpc.>\"]"));
    let daemon = project.run(&server).await;
    let client = server.client().await;
    let _services = services(&client).await;
    for subject in ["rpc.echo", "rpc.nobody", "elsewhere.x", "rpc.*"] {
        client.publish("in.x", format!("request {subject} 5000 x").into()).await.unwrap();
    }
    let requests = "pelton_requests_total{plugin=\"subject\"}";
    let seconds = "pelton_request_duration_seconds_count{plugin=\"subject\"}";
    let failed = ["no-responders", "not-granted", "refused"];
    let failed = failed.map(|reason| {
        format!("pelton_requests_failed_total{{plugin=\"subject\",reason=\"{reason}\"}}")
    });
    let names = [requests, seconds, &failed[0], &failed[1], &failed[2]];
    eventually("all are counted", async || {
        let metrics = daemon.metrics().await;
        let counted = names.map(|name| metrics.get(name).copied().unwrap_or(0.0));
        // What is refused was not sent: it takes no time.
        (counted == [4.0, 2.0, 1.0, 1.0, 1.0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hostile_requests_are_refused() {
    let more = "request = [\"rpc.>\"]\n[plugins.subject.limits]\nrequests = 2";
    for name in GUESTS {
        for subject in ["rpc.*", "rpc.>", "$JS.API.INFO", "rpc..x", "_INBOX.x"] {
            let (answer, _) = answer_to(name, more, &format!("request {subject} 5000 x")).await;
            assert!(answer.contains("refused"), "{name}: {subject}: {answer}");
        }
        let script = "request rpc.echo 5000 1\n".repeat(3);
        let server = Server::with_config("").await;
        let project = Project::new(&core_table(name, more));
        let daemon = project.run(&server).await;
        let client = server.client().await;
        let _services = services(&client).await;
        client.publish("in.x", script.into()).await.unwrap();
        daemon.says("a run may ask 2 times").await;
    }
}

#[tokio::test]
async fn several_answers_are_gathered_until_there_are_enough_or_time_is_up() {
    let more = "request = [\"rpc.>\"]";
    let (answer, _) = answer_to("wasi-events", more, "gather rpc.many").await;
    assert_eq!(answer, "1? 2? 3?");
    let (answer, _) = answer_to("wasi-events", more, "gather rpc.two").await;
    assert_eq!(answer, "1? 2?");
}

#[test]
fn inspect_and_check_say_which_contract_it_is() {
    for (name, contract) in [
        ("cloud", "wasmcloud:messaging@0.2.0"),
        ("cloud-sdk", "wasmcloud:messaging@0.2.0"),
        ("wasi-events", "wasi:messaging@0.2.0-draft"),
    ] {
        let component = guest(name);
        let Finished { status, stdout, stderr } =
            verb(Path::new("."), &["inspect", component.to_str().unwrap()]);
        assert!(status.success(), "{stderr}");
        assert!(stdout.contains(&format!("contract  {contract}\n")), "{stdout}");
        assert!(!stdout.contains("unknown"), "{stdout}");
        let (_, grants) = stdout.split_once("in the manifest\n").unwrap();
        assert!(grants.contains("  publish = [") && grants.contains("  request = ["), "{grants}");
        let project = Project::new(&core_table(name, ""));
        let Finished { status, stdout, stderr } = verb(project.path(), &["check"]);
        assert!(status.success(), "{stderr}");
        assert!(stdout.contains(&format!("subject speaks {contract}")), "{stdout}");
    }
}

#[tokio::test]
async fn of_two_contracts_ours_counts() {
    let component = guest("two-contracts");
    let Finished { stdout, .. } = verb(Path::new("."), &["inspect", component.to_str().unwrap()]);
    assert!(stdout.contains("contract  pelton:events@0.1.0\n"), "{stdout}");
    assert!(stdout.contains("wasmcloud:messaging@0.2.0, too, which does not count"), "{stdout}");

    let adapted = Adapted::start("two-contracts", "").await;
    let out = adapted.outputs("x").await;
    assert_eq!(texts(&out), [pair("out.first", "x"), pair("out.second", "x")]);
}

#[tokio::test]
async fn a_plugin_for_another_version_is_told_what_is_served() {
    let project = Project::with_plugins(&plugin_table("subject", "cloud", "in.>", ""));
    let bytes = std::fs::read(guest("cloud")).unwrap();
    // The same length, so that nothing else has to change.
    let other =
        replace(&bytes, b"wasmcloud:messaging/handler@0.2.0", b"wasmcloud:messaging/handler@0.3.0");
    std::fs::write(project.path().join("other.wasm"), other).unwrap();
    let component = guest("cloud").display().to_string();
    let project = project.edited(&component, "other.wasm");
    let Finished { status, stderr, .. } = verb(project.path(), &["check"]);
    assert_eq!(status.code(), Some(2), "{stderr}");
    let flat = stderr
        .split_whitespace()
        .filter(|word| !matches!(*word, "│" | "|"))
        .collect::<Vec<_>>()
        .join(" ");
    assert!(flat.contains("exports wasmcloud:messaging/handler@0.3.0"), "{flat}");
    assert!(flat.contains("speaks wasmcloud:messaging/handler@0.2.0"), "{flat}");
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}
