//! What became of the orders, counted from the streams and not from the host's
//! own counters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Server, Stored};

/// Everything that the streams hold, counted.
pub struct Account {
    created: BTreeSet<String>,
    dead: BTreeSet<String>,
    alerts: u64,
    /// Orders by subject, with how often each is there.
    stages: BTreeMap<String, BTreeMap<String, usize>>,
    retried: usize,
    /// From the first order in to the last decision out.
    span: Duration,
}

/// The subjects of the pipeline, in its order.
const STAGES: [&str; 5] =
    ["orders.created", "orders.valid", "orders.priced", "orders.accepted", "orders.review"];

impl Account {
    /// Counts what `server` has stored.
    pub async fn of(server: &Server) -> Account {
        let orders = server.stored("ORDERS").await;
        let dead = server.stored("orders_DEAD_LETTERS").await;
        let mut stages: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for stored in &orders {
            let ids = stages.entry(stored.subject.clone()).or_default();
            *ids.entry(id(stored)).or_default() += 1;
        }
        let created = stages.get(STAGES[0]).into_iter().flatten().map(|(id, _)| id.clone());
        Account {
            created: created.collect(),
            dead: dead.iter().map(id).collect(),
            alerts: server.count("ALERTS").await,
            retried: orders.iter().filter(|stored| was_retried(stored)).count(),
            span: span(&orders),
            stages,
        }
    }

    /// Whether all is as it should be: nothing lost, nothing twice, the poison
    /// order and the late price list seen.
    pub fn is_right(&self) -> bool {
        self.lost() == 0 && self.duplicated() == 0 && self.dead.len() == 1 && self.retried == 1
    }

    fn count(&self, subject: &str) -> usize {
        self.stages.get(subject).map_or(0, |ids| ids.values().sum())
    }

    fn out(&self) -> usize {
        self.count("orders.accepted") + self.count("orders.review")
    }

    /// Orders that are neither decided nor in the dead letters.
    fn lost(&self) -> usize {
        let decided = |id: &String| {
            ["orders.accepted", "orders.review"]
                .iter()
                .any(|subject| self.stages.get(*subject).is_some_and(|ids| ids.contains_key(id)))
        };
        self.created.iter().filter(|id| !decided(id) && !self.dead.contains(*id)).count()
    }

    /// Messages beyond the first for one order and stage; an order both
    /// accepted and up for review counts, too.
    fn duplicated(&self) -> usize {
        let twice = self.stages.values().flat_map(|ids| ids.values().map(|n| n - 1)).sum::<usize>();
        let accepted = self.stages.get("orders.accepted");
        let review = self.stages.get("orders.review").into_iter().flatten();
        twice + review.filter(|(id, _)| accepted.is_some_and(|ids| ids.contains_key(*id))).count()
    }

    /// The table for people.
    pub fn table(&self, latencies: &[Duration]) -> String {
        let mut rows = vec![("orders in", self.created.len().to_string())];
        rows.push(("orders decided", self.out().to_string()));
        rows.push(("  accepted", self.count("orders.accepted").to_string()));
        rows.push(("  for review", self.count("orders.review").to_string()));
        rows.push(("alerts", self.alerts.to_string()));
        rows.push(("retried", self.retried.to_string()));
        rows.push(("dead-lettered", self.dead.len().to_string()));
        let rate = self.out() as f64 / self.span.as_secs_f64().max(f64::EPSILON);
        rows.push(("orders/s", format!("{rate:.0}")));
        rows.push(("p50, publish to decision", quantile(latencies, 0.50)));
        rows.push(("p99, publish to decision", quantile(latencies, 0.99)));
        let mut table = String::new();
        for (name, value) in rows {
            writeln!(table, "  {name:<26} {value:>10}").unwrap();
        }
        table
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "demo: in={} out={} retried={} dead-lettered={} lost={} duplicated={}",
            self.created.len(),
            self.out(),
            self.retried,
            self.dead.len(),
            self.lost(),
            self.duplicated()
        )
    }
}

fn order(stored: &Stored) -> Value {
    serde_json::from_slice(&stored.payload).expect("an order is JSON")
}

fn id(stored: &Stored) -> String {
    order(stored)["id"].as_str().expect("an order has an id").to_owned()
}

/// The handler `price` writes down at which attempt it succeeded.
fn was_retried(stored: &Stored) -> bool {
    let attempt = &order(stored)["priced-at-attempt"];
    stored.subject == "orders.priced" && attempt.as_u64().is_some_and(|attempt| attempt > 1)
}

fn span(orders: &[Stored]) -> Duration {
    let decided = orders
        .iter()
        .filter(|stored| matches!(stored.subject.as_str(), "orders.accepted" | "orders.review"));
    let first = orders.first().map(|stored| stored.time);
    let last = decided.map(|stored| stored.time).max();
    first.zip(last).and_then(|(first, last)| last.duration_since(first).ok()).unwrap_or_default()
}

fn quantile(sorted: &[Duration], quantile: f64) -> String {
    let index = (sorted.len() as f64 * quantile) as usize;
    match sorted.get(index.min(sorted.len().saturating_sub(1))) {
        Some(taken) => format!("{:.1} ms", taken.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    }
}
