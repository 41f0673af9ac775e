//! Chaos with exact accounting: two replicas of the real daemon on one real
//! nats-server; hosts and server are killed with SIGKILL at random and started
//! again, while some events fail for a while, some for ever, some are rejected.
//!
//! `make chaos` runs it long, `make test` short. When kills are due: `schedule`.

mod schedule;

use std::{fmt, time::Duration};

use async_nats::jetstream;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use self::schedule::{Kill, Victim};
use crate::harness::{Account, Daemon, PATIENCE, Project, Server};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub events: u64,
    pub host_kills: u64,
    pub server_kills: u64,
    pub seed: u64,
}

/// What came of it.
pub struct Report {
    plan: Plan,
    pub account: Account,
    /// Duplicates that the output stream caught, as far as the hosts lived to
    /// tell: at least so many.
    pub caught: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub ended: u64,
    pub host_kills: u64,
    pub server_kills: u64,
    pub caught: u64,
}

/// Outputs of an event that is handled.
const FAN: u64 = 2;
const REPLICAS: usize = 2;
const DEDUPLICATED: &str = "pelton_outputs_deduplicated_total{plugin=\"subject\"}";
/// Events that are published at once.
const BATCH: u64 = 500;
const LOOK: Duration = Duration::from_millis(20);

/// What an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sound,
    /// Succeeds at the second or third attempt.
    Flaky(u32),
    /// Never succeeds.
    Poison,
    Rejected,
}

impl Kind {
    fn of(number: u64) -> Kind {
        match number % 100 {
            13 => Kind::Poison,
            57 => Kind::Rejected,
            5 | 25 | 45 => Kind::Flaky(2),
            85 => Kind::Flaky(3),
            _ => Kind::Sound,
        }
    }

    fn ends_in_dead_letters(self) -> bool {
        matches!(self, Kind::Poison | Kind::Rejected)
    }
}

/// An event for the guest `split`.
fn payload(number: u64) -> Vec<u8> {
    let more = match Kind::of(number) {
        Kind::Sound => String::new(),
        Kind::Flaky(attempt) => format!(r#","succeed-at":{attempt}"#),
        Kind::Poison => r#","succeed-at":1000"#.to_owned(),
        Kind::Rejected => r#","reject":true"#.to_owned(),
    };
    format!(r#"{{"id":{number},"outputs":{FAN},"sleep-ms":2{more}}}"#).into_bytes()
}

/// Runs `plan`, and says now and then how far it is.
pub async fn run(plan: Plan, mut progress: impl FnMut(Progress)) -> Report {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let kills = schedule::of(plan, &mut random);
    let mut chaos = Chaos::start(plan, random).await;
    for Kill { at, victim } in kills {
        chaos.until_ended(at, &mut progress).await;
        match victim {
            Victim::Host => chaos.kill_host().await,
            Victim::Server => chaos.kill_server().await,
        }
    }
    chaos.finish(&mut progress).await
}

struct Chaos {
    plan: Plan,
    random: StdRng,
    server: Server,
    project: Project,
    hosts: Vec<Host>,
    feeder: JoinHandle<()>,
    jetstream: jetstream::Context,
    host_kills: u64,
    server_kills: u64,
    /// Told by hosts that are gone.
    caught: u64,
    ended: u64,
}

/// One replica, and what it was last heard to have caught.
struct Host {
    daemon: Daemon,
    caught: u64,
}

impl Chaos {
    async fn start(plan: Plan, random: StdRng) -> Chaos {
        let server = Server::start().await;
        let keys = "concurrency = 64\nretry = { attempts = 5, backoff = { first = \"50ms\", max = \"500ms\" } }";
        // A kill takes attempts, and a time-out must not take the last of them.
        let project =
            Project::with_guest("split", keys).edited("timeout = \"1s\"", "timeout = \"2500ms\"");
        server.stream("IN", &["in.>"]).await;
        let mut jetstream = server.jetstream().await;
        // A killed server takes requests with it, which are to be made again soon.
        jetstream.set_timeout(Duration::from_secs(5));
        let feeder = tokio::spawn(feed(jetstream.clone(), plan.events));
        let mut hosts = Vec::new();
        for _ in 0..REPLICAS {
            hosts.push(Host { daemon: project.launch(&server), caught: 0 });
        }
        let (host_kills, server_kills, caught, ended) = (0, 0, 0, 0);
        Chaos {
            plan,
            random,
            server,
            project,
            hosts,
            feeder,
            jetstream,
            host_kills,
            server_kills,
            caught,
            ended,
        }
    }

    /// Waits until so many events have ended, in the dead letters or handled.
    async fn until_ended(&mut self, target: u64, progress: &mut impl FnMut(Progress)) {
        let mut last = (self.ended, Instant::now());
        while self.ended < target {
            assert!(
                last.1.elapsed() < PATIENCE,
                "no progress: {} ended, {target} awaited",
                self.ended
            );
            sleep(LOOK).await;
            self.look_after_hosts();
            self.look(progress).await;
            if self.ended > last.0 {
                last = (self.ended, Instant::now());
            }
        }
    }

    async fn look(&mut self, progress: &mut impl FnMut(Progress)) {
        // Of a server that is busy or just starts: not known, look again later.
        if let (Some(outputs), Some(dead)) =
            tokio::join!(self.count("OUT"), self.count("pelton_DEAD_LETTERS"))
        {
            self.ended = outputs / FAN + dead;
        }
        let living: u64 = self.hosts.iter().map(|host| host.caught).sum();
        progress(Progress {
            ended: self.ended,
            host_kills: self.host_kills,
            server_kills: self.server_kills,
            caught: self.caught + living,
        });
    }

    /// Starts hosts again that ended by themselves, as their supervisor does: a
    /// server that is killed while a host starts may be a reason.
    fn look_after_hosts(&mut self) {
        for host in &mut self.hosts {
            if !host.daemon.is_running() {
                let log = host.daemon.log();
                eprintln!("chaos: a host ended by itself: {}", log.lines().last().unwrap_or(""));
                self.caught += host.caught;
                *host = Host { daemon: self.project.launch(&self.server), caught: 0 };
            }
        }
    }

    async fn count(&self, stream: &str) -> Option<u64> {
        let stream = self.jetstream.get_stream(stream).await.ok()?;
        Some(stream.cached_info().state.messages)
    }

    async fn kill_host(&mut self) {
        let chosen = self.random.random_range(0..self.hosts.len());
        let (project, server) = (&self.project, &self.server);
        let host = &mut self.hosts[chosen];
        host.listen().await;
        host.daemon.kill();
        host.daemon.forget_log();
        self.caught += host.caught;
        *host = Host { daemon: project.launch(server), caught: 0 };
        self.host_kills += 1;
    }

    async fn kill_server(&mut self) {
        self.server.kill();
        let pause = self.random.random_range(0..1_000);
        sleep(Duration::from_millis(pause)).await;
        self.server.restart().await;
        self.server_kills += 1;
    }

    async fn finish(mut self, progress: &mut impl FnMut(Progress)) -> Report {
        self.until_ended(self.plan.events, progress).await;
        (&mut self.feeder).await.unwrap();
        self.server.settled("IN", "pelton-subject").await;
        for host in &mut self.hosts {
            host.listen().await;
            self.caught += host.caught;
        }
        let is_poison = |number| Kind::of(number).ends_in_dead_letters();
        let account = Account::with_poison(&self.server, (self.plan.events, FAN), is_poison).await;
        Report { plan: self.plan, account, caught: self.caught }
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

impl Host {
    /// Asks what it has caught. What it catches after that and before it is
    /// killed is not told.
    async fn listen(&mut self) {
        let Some((_, page)) = self.daemon.get("/metrics").await else { return };
        let line = page.lines().find_map(|line| line.strip_prefix(DEDUPLICATED));
        let caught = line.and_then(|value| value.trim().parse::<f64>().ok());
        self.caught = caught.map_or(self.caught, |caught| caught as u64);
    }
}

/// Publishes all events, each once, whatever happens to the server.
async fn feed(mut jetstream: jetstream::Context, events: u64) {
    jetstream.set_timeout(Duration::from_secs(1));
    let mut next = 0;
    while next < events {
        let batch = next..events.min(next + BATCH);
        let all = batch.clone().map(|number| publish(&jetstream, number));
        futures::future::join_all(all).await;
        next = batch.end;
    }
}

async fn publish(jetstream: &jetstream::Context, number: u64) {
    loop {
        let message = jetstream::message::PublishMessage::build()
            .payload(payload(number).into())
            .message_id(format!("in-{number}"));
        // Again under the same id: a time-out says nothing.
        if let Ok(ack) = jetstream.send_publish("in.x", message).await
            && ack.await.is_ok()
        {
            return;
        }
        sleep(LOOK).await;
    }
}

impl Report {
    /// Whether nothing is lost and nothing twice.
    pub fn is_right(&self) -> bool {
        self.account.is_right()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { events, done, dead, lost, duplicated, unexplained, .. } = &self.account;
        let Plan { host_kills, server_kills, seed, .. } = self.plan;
        let duplicated = duplicated + unexplained;
        write!(f, "chaos: in={events} done={done} dead-lettered={dead} lost={lost} ")?;
        write!(f, "duplicated={duplicated} caught={} ", self.caught)?;
        write!(f, "kills={host_kills}+{server_kills} seed={seed}")
    }
}

/// The short run of `make test`.
#[cfg(test)]
#[tokio::test]
async fn killed_replicas_and_a_killed_server_lose_and_repeat_nothing() {
    let seed = crate::harness::seed();
    let plan = Plan { events: 20_000, host_kills: 50, server_kills: 5, seed };
    let mut last = Progress { ended: 0, host_kills: 0, server_kills: 0, caught: 0 };
    let report = run(plan, |progress| last = progress).await;
    println!("{report}");
    assert_eq!((last.host_kills, last.server_kills), (50, 5));
    assert!(last.ended >= 20_000 && last.caught <= report.caught);
    assert!(report.is_right(), "{report}\n{}", report.account);
    assert!(report.caught >= 500, "too little happened: {report}");
}
