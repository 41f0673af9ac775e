//! How fast a plugin runs, and when it rests: `rate` and `breaker`, as they are
//! written.

use std::{ops::RangeInclusive, time::Duration};

use schemars::JsonSchema;
use toml::de::DeValue;

use super::{HOUR, MILLISECOND};
use crate::manifest::{
    Rate,
    problem::quoted,
    reader::{Node, Report, Table},
    value::{self, Time},
};

/// `[plugins.<name>.breaker]`
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Breaker {
    /// How many of the last runs count. `window = 50`
    #[schemars(range(min = 1, max = 10_000), extend("default" = 50, "examples" = [100]))]
    pub window: Option<u64>,
    /// It stays closed before so many runs have been seen; not more than
    /// `window`. `minimum-calls = 20`
    #[schemars(range(min = 1, max = 10_000), extend("default" = 20, "examples" = [10]))]
    pub minimum_calls: Option<u64>,
    /// It opens when this part of them failed in a way that may pass: retries,
    /// time-outs, traps, limits; not rejections. `failure-ratio = 0.5`
    #[schemars(range(min = 0.01, max = 1.0), extend("default" = 0.5, "examples" = [0.8]))]
    pub failure_ratio: Option<f64>,
    /// A run that takes this long is slow; by default none is. `slow = "2s"`
    #[schemars(extend("examples" = ["2s"]))]
    pub slow: Option<Time>,
    /// It opens when this part of them was slow. `slow-ratio = 1.0`
    #[schemars(range(min = 0.01, max = 1.0), extend("default" = 1.0, "examples" = [0.5]))]
    pub slow_ratio: Option<f64>,
    /// How long it stays open: `first`, doubled each time that the probes fail,
    /// up to `max`. `open = { first = "5s", max = "1m" }`
    pub open: Option<Open>,
    /// How many runs are tried after that, to decide. `probes = 3`
    #[schemars(range(min = 1, max = 1_000), extend("default" = 3, "examples" = [1]))]
    pub probes: Option<u64>,
}

/// How long a breaker stays open.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Open {
    /// The first time; 1 ms to 1 h. `first = "5s"`
    #[schemars(extend("default" = "5s", "examples" = ["10s"]))]
    pub first: Option<Time>,
    /// The longest time; up to 1 h. `max = "1m"`
    #[schemars(extend("default" = "1m", "examples" = ["5m"]))]
    pub max: Option<Time>,
}

/// What is written for `breaker`.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum BreakerOrNot {
    /// `false`: there is none.
    Not(#[expect(dead_code, reason = "describes the value in the JSON Schema")] bool),
    /// Its settings.
    Breaker(Breaker),
}

impl Breaker {
    fn read(table: &mut Table<'_, '_>) -> Breaker {
        Breaker {
            window: table.get("window", value::count(1..=10_000)),
            minimum_calls: table.get("minimum-calls", value::count(1..=10_000)),
            failure_ratio: table.get("failure-ratio", ratio(0.01..=1.0)),
            slow: table.get("slow", value::time(MILLISECOND..=HOUR)),
            slow_ratio: table.get("slow-ratio", ratio(0.01..=1.0)),
            open: table.section("open", |table| Open {
                first: table.get("first", value::time(MILLISECOND..=HOUR)),
                max: table.get("max", value::time(MILLISECOND..=HOUR)),
            }),
            probes: table.get("probes", value::count(1..=1_000)),
        }
    }
}

pub(super) fn breaker(node: &Node<'_>, report: &mut Report) -> Option<BreakerOrNot> {
    const HELP: &str = "write `breaker = false` for none, or a table with its settings: \
        breaker = { failure-ratio = 0.8 }";
    match node.value {
        DeValue::Boolean(false) => Some(BreakerOrNot::Not(false)),
        DeValue::Boolean(true) => Some(BreakerOrNot::Breaker(Breaker::default())),
        DeValue::Table(_) => node.table(report, Breaker::read).map(BreakerOrNot::Breaker),
        _ => {
            report.add(node.wrong_type("a table or `false`", HELP));
            None
        }
    }
}

pub(super) fn rate(node: &Node<'_>, report: &mut Report) -> Option<Rate> {
    const HELP: &str = "write a number of runs and a time, in quotes: \"500/s\", \"30/min\", \"10/h\"; up to 1,000,000";
    let text = node.text("a rate", HELP, report)?;
    let rate = parse_rate(text);
    if rate.is_none() {
        let message = format!("`{}` is {}, not a rate", node.path, quoted(text));
        report.add(node.problem("bad-rate", message).help(HELP));
    }
    rate
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (runs, per) = text.split_once('/')?;
    let seconds = match per.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        _ => return None,
    };
    let runs = runs.trim().parse().ok().filter(|runs| (1..=1_000_000).contains(runs))?;
    Some(Rate { runs, per: Duration::from_secs(seconds) })
}

/// Reads a number within `bounds`.
pub(super) fn ratio(bounds: RangeInclusive<f64>) -> impl Fn(&Node<'_>, &mut Report) -> Option<f64> {
    move |node, report| {
        let number = match node.value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            _ => {
                report.add(node.wrong_type("a number", "write it without quotes: 0.5"));
                return None;
            }
        };
        let found = number.filter(|number| bounds.contains(number));
        if found.is_none() {
            let (low, high) = (bounds.start(), bounds.end());
            let message = format!("`{}` is not between {low} and {high}", node.path);
            report.add(node.problem("out-of-range", message).help("1 is all, 0.5 is a half"));
        }
        found
    }
}
