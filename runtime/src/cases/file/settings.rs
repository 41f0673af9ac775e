//! What a case sets that the manifest says otherwise, and `[defaults]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::super::case::{Overrides, Settings};
use crate::{
    event::letter,
    manifest::{
        raw::{self, GIB, HOUR, KIB, MILLISECOND},
        reader::{Node, Report, Table},
        value::{self, Time},
    },
};

/// The keys that a case and `[defaults]` have in common.
pub(super) fn read(table: &mut Table<'_, '_>) -> Settings {
    let config = table.get("config", raw::plugin::config).unwrap_or_default();
    let env = table.get("env", env).unwrap_or_default();
    let limits = table.section("limits", limits);
    Settings {
        attempts: table.get("attempts", value::count(1..=100)).map(number),
        seed: table.get("seed", value::count(0..=u64::MAX)),
        clock_ms: table.get("clock", time),
        deterministic: table.get("deterministic", value::flag),
        all: Overrides { config, env, ..limits.unwrap_or_default() },
        plugins: table.get("plugins", plugins).unwrap_or_default(),
    }
}

/// What holds for a case with these settings of its own.
pub(super) fn over(own: Settings, defaults: &Settings) -> Settings {
    let mut plugins = defaults.plugins.clone();
    for (name, overrides) in own.plugins {
        let general = plugins.remove(&name).unwrap_or_default();
        plugins.insert(name, overrides.over(&general));
    }
    Settings {
        attempts: own.attempts.or(defaults.attempts),
        seed: own.seed.or(defaults.seed),
        clock_ms: own.clock_ms.or(defaults.clock_ms),
        deterministic: own.deterministic.or(defaults.deterministic),
        all: own.all.over(&defaults.all),
        plugins,
    }
}

fn plugins(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, Overrides>> {
    node.named(report, |_, node, report| {
        node.table(report, |table| {
            let config = table.get("config", raw::plugin::config).unwrap_or_default();
            let env = table.get("env", env).unwrap_or_default();
            Overrides { config, env, ..table.section("limits", limits).unwrap_or_default() }
        })
    })
}

/// Variables with their values: whatever is written in a test is no secret.
fn env(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, String>> {
    node.named(report, |name, node, report| {
        let help = format!("write `{name} = \"value\"`: a test has values of its own, no secrets");
        node.text("a text", &help, report).map(str::to_owned)
    })
}

fn limits(table: &mut Table<'_, '_>) -> Overrides {
    let timeout = table.get("timeout", value::time(MILLISECOND..=HOUR));
    let memory = table.get("memory", value::size(64 * KIB..=4 * GIB));
    let limits = raw::Limits::read(table);
    Overrides {
        config: BTreeMap::new(),
        env: BTreeMap::new(),
        timeout: timeout.map(|Time(time)| time),
        memory: memory.map(|size| size.0),
        cpu: limits.cpu.map(|Time(time)| time),
        outputs: limits.outputs.map(number),
        output_bytes: limits.output_bytes.map(|size| size.0),
        log_lines: limits.log_lines.map(number),
        log_bytes: limits.log_bytes.map(|size| size.0),
        requests: limits.requests.map(number),
    }
}

/// A number whose bounds were checked when it was read.
pub(super) fn number<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// A point in time: a date and time of TOML or the text of one, in UTC; or
/// milliseconds since 1970.
pub(super) fn time(node: &Node<'_>, report: &mut Report) -> Option<u64> {
    const HELP: &str = "write it in UTC, as in 2026-01-31T12:00:00Z, or in milliseconds since 1970";
    let text = match node.value {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(_) => return value::count(0..=letter::MAX_MS)(node, report),
        _ => {
            report.add(node.wrong_type("a date and time", HELP));
            return None;
        }
    };
    let ms = letter::milliseconds(&text);
    if ms.is_none() {
        let message = format!("`{}` is `{text}`, not a date and time in UTC", node.path);
        report.add(node.problem("bad-time", message).help(HELP));
    }
    ms
}
