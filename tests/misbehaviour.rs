//! Every kind of misbehaviour ends as promised and leaves a well-behaved
//! neighbour untouched.

use crate::{
    delivery::{RETRY, dead_letters},
    harness::{Daemon, Project, Server, Stored, eventually, patient, plugin_table},
};

/// A misbehaving plugin beside one that behaves.
struct Beside {
    server: Server,
    daemon: Daemon,
    _project: Project,
}

impl Beside {
    /// What it does ends its runs, and not their time.
    async fn start(guest: &str, more: &str) -> Beside {
        let table = plugin_table("bad", guest, "in.bad", &format!("{RETRY}\n{more}"));
        Beside::with(&patient(&table)).await
    }

    /// Its runs have a second.
    async fn brisk(guest: &str, more: &str) -> Beside {
        Beside::with(&plugin_table("bad", guest, "in.bad", &format!("{RETRY}\n{more}"))).await
    }

    async fn with(bad: &str) -> Beside {
        let server = Server::start().await;
        let good = plugin_table("good", "echo", "in.good", "");
        let project = Project::with_plugins(&format!("{bad}{good}"));
        let daemon = project.run(&server).await;
        Beside { server, daemon, _project: project }
    }

    /// Gives the bad plugin `payload`; returns its dead letter, after all
    /// events of the neighbour have come through.
    async fn dead_letter(&self, payload: &str) -> Stored {
        self.server.publish("in.bad", payload).await;
        for n in 0..20 {
            self.server.publish("in.good", n.to_string()).await;
        }
        let dead = dead_letters(&self.server, 1).await.remove(0);
        self.server.settled("IN", "pelton-bad").await;
        self.server.settled("IN", "pelton-good").await;
        let mut out: Vec<_> = self.server.stored("OUT").await.iter().map(Stored::text).collect();
        out.sort_by_key(|text| text.parse::<u32>().ok());
        assert_eq!(
            out,
            (0..20).map(|n| n.to_string()).collect::<Vec<_>>(),
            "{}",
            self.daemon.log()
        );
        assert_eq!(dead.text(), payload);
        assert_eq!(self.daemon.metric("pelton_host_panics_total{plugin=\"bad\"}").await, 0.0);
        dead
    }
}

fn reason(dead: &Stored) -> &str {
    dead.header("Pelton-Dlq-Reason").unwrap()
}

fn error(dead: &Stored) -> &str {
    dead.header("Pelton-Dlq-Error").unwrap()
}

#[tokio::test]
async fn a_trap() {
    let dead = Beside::start("trap", "").await.dead_letter("trap").await;
    assert_eq!(reason(&dead), "trap");
    assert!(error(&dead).contains("unreachable"), "{}", error(&dead));
    assert_eq!(dead.header("Pelton-Dlq-Attempts"), Some("4"));
    assert!(dead.header("Pelton-Dlq-Backtrace").unwrap().contains("handle"), "{dead:?}");
}

#[tokio::test]
async fn a_panic_with_its_message() {
    let dead = Beside::start("panic", "").await.dead_letter("panic").await;
    assert_eq!(reason(&dead), "trap");
    assert!(error(&dead).contains("panicked"), "{}", error(&dead));
}

#[tokio::test]
async fn an_endless_loop() {
    let dead = Beside::brisk("spin", "").await.dead_letter("spin").await;
    assert!(["timeout", "cpu"].contains(&reason(&dead)), "{dead:?}");
}

#[tokio::test]
async fn a_loop_beyond_its_processor_time() {
    let beside = Beside::start("spin", "limits = { cpu = \"100ms\" }").await;
    assert_eq!(reason(&beside.dead_letter("spin").await), "cpu");
}

#[tokio::test]
async fn a_handler_that_sleeps_for_ever() {
    let dead = Beside::brisk("sleep", "").await.dead_letter("sleep").await;
    assert_eq!(reason(&dead), "timeout");
    assert!(error(&dead).contains("1s"), "{}", error(&dead));
}

#[tokio::test]
async fn a_memory_bomb() {
    let dead = Beside::start("hog", "memory = \"32MiB\"").await.dead_letter("hog").await;
    assert_eq!(reason(&dead), "memory");
    assert!(error(&dead).contains("32"), "{}", error(&dead));
}

#[tokio::test]
async fn a_stack_overflow() {
    let dead = Beside::start("deep", "").await.dead_letter("deep").await;
    assert_eq!(reason(&dead), "stack");
}

#[tokio::test]
async fn a_huge_output() {
    let dead = Beside::start("huge", "memory = \"128MiB\"").await.dead_letter("32").await;
    assert_eq!(reason(&dead), "output");
    assert_eq!(dead.header("Pelton-Dlq-Attempts"), Some("1"));
}

#[tokio::test]
async fn a_million_outputs() {
    let dead = Beside::brisk("million", "memory = \"256MiB\"").await.dead_letter("million").await;
    assert!(["output", "timeout", "memory"].contains(&reason(&dead)), "{dead:?}");
}

#[tokio::test]
async fn an_error_text_of_megabytes() {
    let dead = Beside::start("big-error", "").await.dead_letter("big-error").await;
    assert!(error(&dead).len() <= 1100, "{} bytes", error(&dead).len());
}

#[tokio::test]
async fn outputs_to_forbidden_subjects() {
    for subject in FORBIDDEN {
        let beside = Beside::start("forbidden", "").await;
        let dead = beside.dead_letter(subject).await;
        assert_eq!(reason(&dead), "output", "{subject:?}");
    }
}

/// One of each kind; the whole grammar is a table in the unit tests.
const FORBIDDEN: [&str; 4] = ["$JS.API.STREAM.DELETE.OUT", "elsewhere.x", "out.>", "in.good"];

#[tokio::test]
async fn injected_headers() {
    for payload in [
        r#"{"name":"X","value":"a\r\nNats-Msg-Id: stolen"}"#,
        r#"{"name":"A b","value":"x"}"#,
        r#"{"name":"nats-rollup","value":"all"}"#,
        r#"{"name":"Nats-Expected-Stream","value":"NONE"}"#,
    ] {
        let beside = Beside::start("inject", "").await;
        let dead = beside.dead_letter(payload).await;
        assert_eq!(reason(&dead), "output", "{payload}");
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_with_escapes() {
    let server = Server::start().await;
    let limits = "limits = { log-lines = 10, log-bytes = \"2KiB\" }";
    let project = Project::with_guest("loud", limits);
    let daemon = project.run(&server).await;

    server.publish("in.x", "loud").await;

    server.settled("IN", "pelton-subject").await;
    daemon.says("dropped").await;
    let log = daemon.log();
    assert!(!log.contains('\u{1b}'), "an escape came through");
    let lines = log.lines().filter(|line| line.contains("\"target\":\"pelton::guest\"")).count();
    // The limit is for one run; on a busy machine the first may reach its time-out.
    let runs = daemon.metric("pelton_events_received_total{plugin=\"subject\"}").await as usize;
    assert!((1..=12 * runs).contains(&lines), "{lines} lines in {runs} runs");
}

#[tokio::test]
async fn nothing_of_the_machine_is_in_reach() {
    let server = Server::start().await;
    let project = Project::with_guest("peek", "");
    let _daemon = project.run(&server).await;

    server.publish("in.x", "peek").await;

    server.settled("IN", "pelton-subject").await;
    let out = server.stored("OUT").await;
    assert_eq!(out.len(), 1);
    let reached: serde_json::Value = serde_json::from_slice(&out[0].payload).unwrap();
    for list in ["environment", "arguments", "files", "sockets"] {
        assert_eq!(reached[list], serde_json::json!([]), "{reached}");
    }
    assert_eq!((&reached["clock"], &reached["random"]), (&true.into(), &true.into()));
}

#[tokio::test]
async fn loops_on_every_slot_do_not_starve_the_neighbour() {
    // They go on for longer than the neighbour's events take.
    let beside = Beside::start("spin", "concurrency = 8").await;
    for _ in 0..8 {
        beside.server.publish("in.bad", "spin").await;
    }
    eventually("the loops run", async || {
        let running = beside.daemon.metric("pelton_inflight_events{plugin=\"bad\"}").await;
        (running >= 8.0).then_some(())
    })
    .await;
    for n in 0..100 {
        beside.server.publish("in.good", n.to_string()).await;
    }
    beside.server.settled("IN", "pelton-good").await;
    assert_eq!(beside.server.count("OUT").await, 100);
}

#[tokio::test]
async fn an_event_with_the_longest_subject_is_buried() {
    let server = Server::start().await;
    let table = plugin_table("subject", "reject", "in.>", RETRY);
    let project = Project::with_plugins(&table);
    let daemon = project.run(&server).await;
    let subject = format!("in.{}", vec!["token"; 600].join("."));

    server.publish(&subject, "reject").await;

    let dead = dead_letters(&server, 1).await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(dead[0].header("Pelton-Dlq-Subject"), Some(subject.as_str()));
    assert_eq!(daemon.metric("pelton_nats_reconnects_total").await, 0.0);
}

#[tokio::test]
async fn a_payload_at_the_servers_limit_is_buried_with_its_bytes() {
    let server = Server::start().await;
    let project = Project::with_guest("reject", RETRY);
    let _daemon = project.run(&server).await;
    let jetstream = server.jetstream().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Reject", "yes");
    // As large as the server takes with these headers; the record has more.
    let payload = vec![b'r'; 1024 * 1024 - 64];
    let stored = jetstream.publish_with_headers("in.big", headers, payload.into());
    stored.await.unwrap().await.unwrap();

    // The guest echoes what is not `reject`, and the echo is over the limit too.
    let dead = dead_letters(&server, 1).await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(dead[0].header("Pelton-Dlq-Sequence"), Some("1"));
    let left = dead[0].header("Pelton-Dlq-Payload-Left-In-Stream");
    assert_eq!(left, Some((1024 * 1024 - 64).to_string().as_str()));
    assert_eq!(server.count("IN").await, 1, "the payload has to be in the stream");
}

#[tokio::test]
async fn outputs_are_published_all_or_none() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        plugin_table("subject", "forbidden", "in.>", RETRY)
    ));
    let _daemon = project.run(&server).await;

    // A proper output first, then one that is not allowed.
    server.publish("in.x", "elsewhere").await;

    dead_letters(&server, 1).await;
    server.settled("IN", "pelton-subject").await;
    assert_eq!(server.count("OUT").await, 0);
}

#[tokio::test]
async fn events_that_wait_for_their_next_attempt_do_not_hold_up_others() {
    let server = Server::start().await;
    let retry =
        "concurrency = 2\nretry = { attempts = 3, backoff = { first = \"1h\", max = \"1h\" } }";
    let project = Project::with_guest("retry-after", retry).patient();
    let _daemon = project.run(&server).await;

    let wish =
        |id: usize| format!(r#"{{"succeed-at":2,"wait-ms":3600000,"id":{id}}}"#).into_bytes();
    server.publish_all((0..20).map(|id| ("in.late".to_owned(), wish(id)))).await;
    server.publish("in.good", "good").await;

    eventually("the good one passes those that wait", async || {
        server.stored("OUT").await.iter().any(|out| out.text() == "good").then_some(())
    })
    .await;
    assert_eq!(server.count("OUT").await, 1);
}
