//! What the book says of keys, verbs and metrics is written by the program.

use std::{fmt::Write as _, path::Path};

use pelton::{manifest, telemetry::Metrics};

use super::{after_mark, agree};
use crate::harness::verb;

const MARK: &str = "<!-- generated: PELTON_UPDATE=1 cargo test book -->";

fn is_current(path: &str, generated: &str) {
    agree(path, &after_mark(path, MARK, generated));
}

#[test]
fn the_reference_of_the_manifest_is_current() {
    let reference = manifest::reference();
    for key in
        ["[plugins.NAME.retry.backoff]", "| `subscribe` | needed |", "| `drain` | `\"30s\"` |"]
    {
        assert!(reference.contains(key), "no {key} in\n{reference}");
    }
    is_current("docs/src/reference/manifest.md", &reference);
    let finished = verb(Path::new("/"), &["schema", "--markdown"]);
    assert_eq!(finished.stdout, reference.trim_start());
}

#[test]
fn the_reference_of_the_commands_is_current() {
    let mut text = String::new();
    describe(&[], &mut text);
    is_current("docs/src/reference/commands.md", &text);
}

/// The help of a verb and of all verbs below it.
fn describe(verbs: &[&str], text: &mut String) {
    let help = verb(Path::new("/"), &[verbs, &["--help"]].concat()).stdout;
    let name = ["pelton"].iter().chain(verbs).copied().collect::<Vec<_>>().join(" ");
    // What all verbs have in common is said once.
    let own = if verbs.is_empty() { help.clone() } else { without_common(&help) };
    write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", own.trim_end()).unwrap();
    let Some((_, listed)) = help.split_once("\nCommands:\n") else { return };
    let listed = listed.split("\n\n").next().unwrap();
    for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            describe(&[verbs, &[name]].concat(), text);
        }
    }
}

/// Help without the flags that every verb takes.
fn without_common(help: &str) -> String {
    let common = ["--log <", "--log-format <", "-h, --help"];
    let (mut kept, mut skips) = (String::new(), false);
    for line in help.lines() {
        let begins_flag = line.trim_start().starts_with('-') && line.starts_with("  ");
        if begins_flag || !line.starts_with(' ') && !line.is_empty() {
            skips = begins_flag && common.iter().any(|flag| line.trim_start().starts_with(flag));
        }
        if !skips {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn the_table_of_metrics_is_current() {
    let metrics = everything();
    let mut rows: Vec<String> = Vec::new();
    for line in metrics.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = metrics.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let labels = labels(name, &metrics);
        rows.push(format!("| `{name}` | {} | {labels} | {help} |\n", kind.unwrap()));
    }
    rows.sort();
    assert!(rows.len() >= 30, "{metrics}");
    let head = "\n| metric | | labels | |\n|---|---|---|---|\n";
    is_current("docs/src/reference/metrics.md", &format!("{head}{}", rows.concat()));
}

/// All metrics that there are, with a sample of each.
fn everything() -> String {
    let metrics = Metrics::new();
    let plugin = metrics.plugin("x");
    plugin.failed("timeout");
    plugin.dead_lettered("timeout");
    plugin.dropped("stopped");
    plugin.handler_seconds.record(1.0);
    plugin.age_seconds.record(1.0);
    plugin.request_failed("timeout");
    plugin.request_seconds.record(1.0);
    metrics.nats().connected.set(1.0);
    metrics.manifest(&["ok"]).last_reload_ok.set(1.0);
    metrics.render()
}

fn labels(name: &str, metrics: &str) -> String {
    let own =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
    let sample = metrics.lines().find(own).unwrap_or_default();
    let inside = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let names =
        inside.map(|(inside, _)| inside.split(',').filter_map(|label| label.split('=').next()));
    let names = names.into_iter().flatten().filter(|name| *name != "le");
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
