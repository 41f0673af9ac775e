//! The pipeline in five languages: every report ends where it should, once, and
//! those of one vehicle stay in order.

use std::{collections::BTreeMap, process::Command};

use crate::harness::{Daemon, Server, Stored, build_example, root};

const REPORTS: usize = 400;
const DAMAGED: [&str; 5] = ["checksum", "cut", "fields", "letters", "frame"];
const IMPOSSIBLE: [&str; 5] = ["position", "no-fix", "speed", "tank", "ahead"];
const ALERTS: [&str; 5] = ["panic", "towing", "fuel", "harsh", "speeding"];
/// Each after those whose outputs it reads.
const PLUGINS: [&str; 5] = ["parse", "validate", "enrich", "score", "alert"];

/// A report as `make-events.py` prints it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    subject: String,
    headers: BTreeMap<String, String>,
    payload_text: String,
}

impl Report {
    /// No two have the same.
    fn id(&self) -> String {
        self.headers["Gateway-Time"].clone()
    }

    /// Where it has to end, by what the generator made it.
    fn ends(&self) -> Vec<String> {
        match self.headers["Made-As"].as_str() {
            kind if DAMAGED.contains(&kind) => vec!["dead by parse".to_owned()],
            kind if IMPOSSIBLE.contains(&kind) => vec!["dead by validate".to_owned()],
            kind if ALERTS.contains(&kind) => vec![format!("alert of {kind}"), "scored".to_owned()],
            "unknown" => vec!["dead by enrich".to_owned()],
            "late" => vec!["late".to_owned()],
            kind => {
                assert_eq!(kind, "ordinary");
                vec!["scored".to_owned()]
            }
        }
    }
}

/// What `make-events.py` prints.
fn printed() -> String {
    let script = root().join("examples/fleet/make-events.py");
    let printed =
        Command::new("python3").arg(script).args(["--count", &REPORTS.to_string()]).output();
    String::from_utf8(printed.unwrap().stdout).unwrap()
}

fn reports(printed: &str) -> Vec<Report> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// By report: where it has ended. There is nowhere else, and nothing twice.
#[derive(Debug, Default, PartialEq)]
struct Ends(BTreeMap<String, Vec<String>>);

impl Ends {
    fn expected(reports: &[Report]) -> Ends {
        let ends = Ends(reports.iter().map(|report| (report.id(), report.ends())).collect());
        assert_eq!(ends.0.len(), REPORTS);
        ends
    }

    /// Notes an event on a subject, unless a plugin takes that up.
    fn note(&mut self, id: &str, subject: &str) {
        let end = match subject.split('.').collect::<Vec<_>>()[..] {
            ["alerts", "fleet", kind] => format!("alert of {kind}"),
            ["fleet", end @ ("late" | "scored"), _] => end.to_owned(),
            _ => return,
        };
        self.0.entry(id.to_owned()).or_default().push(end);
    }

    fn note_dead(&mut self, id: &str, plugin: &str) {
        self.0.entry(id.to_owned()).or_default().push(format!("dead by {plugin}"));
    }

    fn sorted(mut self) -> Ends {
        self.0.values_mut().for_each(|ends| ends.sort());
        self
    }
}

async fn publish(server: &Server, reports: &[Report]) {
    let jetstream = server.jetstream().await;
    let mut acks = Vec::new();
    for report in reports {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in &report.headers {
            headers.append(name.as_str(), value.as_str());
        }
        let (subject, payload) = (report.subject.clone(), report.payload_text.clone());
        let ack = jetstream.publish_with_headers(subject, headers, payload.into()).await;
        acks.push(ack.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// By tracker: the reports that have been scored, in the order of the stream.
fn scored(stored: &[Stored]) -> BTreeMap<&str, Vec<&str>> {
    let mut scored = BTreeMap::<_, Vec<_>>::new();
    for stored in stored {
        if let Some(tracker) = stored.subject.strip_prefix("fleet.scored.") {
            scored.entry(tracker).or_default().push(stored.header("Gateway-Time").unwrap());
        }
    }
    scored
}

#[tokio::test]
async fn the_fleet_pipeline_accounts_for_every_report() {
    let folder = root().join("examples/fleet");
    build_example(&folder);
    let server = Server::start().await;
    let logs = tempfile::tempdir().unwrap();
    let manifest = folder.join("pelton.toml");
    let mut daemon =
        Daemon::launch(logs.path(), &[manifest.to_str().unwrap(), "--nats-url", &server.url()]);
    daemon.compiled().await;

    let reports = reports(&printed());
    publish(&server, &reports).await;
    for plugin in PLUGINS {
        server.settled("FLEET", &format!("fleet-{plugin}")).await;
    }

    let stored = server.stored("FLEET").await;
    let dead = server.stored("fleet_DEAD_LETTERS").await;
    let mut ends = Ends::default();
    for stored in stored.iter().chain(&server.stored("ALERTS").await) {
        ends.note(stored.header("Gateway-Time").unwrap(), &stored.subject);
    }
    for letter in &dead {
        let plugin = letter.header("Pelton-Dlq-Plugin").unwrap();
        ends.note_dead(letter.header("Gateway-Time").unwrap(), plugin);
    }
    assert_eq!(ends.sorted(), Ends::expected(&reports));
    for (tracker, times) in scored(&stored) {
        assert!(times.is_sorted(), "out of order: {tracker} {times:?}");
    }
    let unknown = dead.iter().find(|letter| letter.header("Made-As") == Some("unknown")).unwrap();
    assert_eq!(unknown.header("Pelton-Dlq-Attempts"), Some("4"));
}
