//! What a test file says beside what its manifest says: plugins that are not
//! there, events that nobody would get.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    case::{Case, DeadLetters, Outputs, Overrides, Settings},
    file::File,
};
use crate::manifest::{
    Manifest, Plugin, Problem, Problems, problem::quoted, source::Target, suggest,
};

/// Finds what in `file` does not go with `manifest`, and fills in the subjects
/// that follow from it.
///
/// # Errors
/// Everything that does not go together.
pub fn fit(file: &mut File, manifest: &Manifest) -> Result<(), Problems> {
    let (mut problems, mut told) = (Vec::new(), BTreeSet::new());
    for (index, case) in file.cases.iter_mut().enumerate() {
        let path = format!("case[{index}]");
        for (key, name) in named_plugins(case) {
            if !manifest.plugins.contains_key(&name) {
                problems.push(unknown(&format!("{path}.{key}"), &name, manifest));
            }
        }
        problems.extend(idle_variables(case, &path, manifest, &mut told));
        let default = default_subject(case, manifest);
        for (index, event) in case.events.iter_mut().enumerate() {
            if event.subject.is_none() {
                match &default {
                    Some(subject) => event.subject = Some(subject.clone()),
                    None => problems.push(no_subject(&path, index)),
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(file.problems(problems)) }
}

/// Every plugin that the case names, with the key that names it.
fn named_plugins(case: &Case) -> Vec<(String, String)> {
    let mut named: Vec<(String, String)> = Vec::new();
    let mut add = |key: String, name: Option<&String>| {
        named.extend(name.map(|name| (key, name.clone())));
    };
    add("plugin".to_owned(), case.plugin.as_ref());
    for name in case.settings.plugins.keys() {
        add(format!("plugins.{name}"), Some(name));
    }
    let expected = &case.expected;
    add("failure.plugin".to_owned(), expected.failure.as_ref().and_then(|it| it.plugin.as_ref()));
    if let Outputs::Listed { list, .. } = &expected.outputs {
        for (index, wanted) in list.iter().enumerate() {
            add(format!("expect[{index}].plugin"), wanted.plugin.as_ref());
        }
    }
    if let Some(DeadLetters::Listed(letters)) = &expected.dead_letters {
        for (index, letter) in letters.iter().enumerate() {
            add(format!("dead-letters[{index}].plugin"), letter.plugin.as_ref());
        }
    }
    for (index, line) in expected.log.iter().flatten().enumerate() {
        add(format!("log[{index}].plugin"), line.plugin.as_ref());
    }
    named
}

fn unknown(path: &str, name: &str, manifest: &Manifest) -> Problem {
    let names: Vec<&str> = manifest.plugins.keys().map(String::as_str).collect();
    let help = match suggest::nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("its plugins are: {}", names.join(", ")),
    };
    Problem::new("unknown-plugin", format!("the manifest has no plugin {}", quoted(name)))
        .label(Target::Value(path.to_owned()), "not known there")
        .help(help)
}

/// Variables that a case gives to nobody, each once: `[defaults]` are in every case.
fn idle_variables(
    case: &Case,
    path: &str,
    manifest: &Manifest,
    told: &mut BTreeSet<String>,
) -> Vec<Problem> {
    let Settings { all, plugins, .. } = &case.settings;
    let mut given: Vec<(String, &String, Vec<&Plugin>)> = Vec::new();
    for name in all.env.keys() {
        given.push((format!("env.{name}"), name, manifest.plugins.values().collect()));
    }
    for (plugin, overrides) in plugins {
        for name in overrides.env.keys() {
            let of = manifest.plugins.get(plugin).into_iter().collect();
            given.push((format!("plugins.{plugin}.env.{name}"), name, of));
        }
    }
    let is_idle = |(_, name, plugins): &(String, &String, Vec<&Plugin>)| {
        !plugins.iter().any(|plugin| plugin.grants.has_variable(name))
    };
    let idle = given.into_iter().filter(is_idle).filter(|(key, ..)| told.insert(key.clone()));
    idle.map(|(key, name, plugins)| idle_variable(path, &key, name, &plugins)).collect()
}

fn idle_variable(path: &str, key: &str, name: &str, plugins: &[&Plugin]) -> Problem {
    let grants = plugins.iter().map(|plugin| &plugin.grants);
    let known: BTreeSet<&str> = grants
        .flat_map(|grants| grants.env.keys().chain(grants.missing.keys()))
        .map(String::as_str)
        .collect();
    let help = match suggest::nearest(name, known.into_iter()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!(
            "a test gives values to variables that the manifest grants: add `{name}` to `env` there, or remove it here"
        ),
    };
    Problem::new(
        "no-effect",
        format!("`{key}` has no effect: the manifest grants no such variable"),
    )
    .label(Target::Key(format!("{path}.{key}")), "")
    .label(Target::Key(format!("defaults.{key}")), "")
    .help(help)
}

/// The secrets that the plugins of `case` are granted, and that neither this
/// machine has nor the case gives: the variable's key, and what is wrong.
pub(super) fn missing_secrets(case: &Case, manifest: &Manifest) -> BTreeMap<String, Problem> {
    let mut missing = BTreeMap::new();
    for (plugin, spec) in running(case, manifest) {
        let own = case.settings.plugins.get(plugin);
        let is_given = |name: &String| {
            let has = |overrides: &Overrides| overrides.env.contains_key(name);
            has(&case.settings.all) || own.is_some_and(has)
        };
        for (name, problem) in spec.grants.missing.iter().filter(|(name, _)| !is_given(name)) {
            let help = format!(
                "{}; or give the tests a value of their own: `env = {{ {name} = \"…\" }}` in the case or in `[defaults]`",
                problem.remedy().unwrap_or("let it be there")
            );
            missing.insert(format!("{plugin}.{name}"), problem.clone().help(help));
        }
    }
    missing
}

fn no_subject(path: &str, index: usize) -> Problem {
    Problem::new("no-subject", format!("event {} of the case has no subject", index + 1))
        .label(Target::Key(format!("{path}.event")), "")
        .label(Target::Key(format!("{path}.events[{index}]")), "")
        .help(
            "add one, such as `subject = \"orders.created\"`; it can be left out where one plugin \
             runs and subscribes to one subject without wildcards",
        )
}

/// What the one plugin that runs subscribes to, if that is one plain subject.
fn default_subject(case: &Case, manifest: &Manifest) -> Option<String> {
    let mut running = running(case, manifest);
    let (Some((_, plugin)), None) = (running.next(), running.next()) else { return None };
    let [pattern] = plugin.subscribe.as_slice() else { return None };
    let subject = pattern.as_str();
    crate::subject::check(subject).is_ok().then(|| subject.to_owned())
}

/// The plugins that run in `case`, by name.
pub(super) fn running<'m>(
    case: &Case,
    manifest: &'m Manifest,
) -> impl Iterator<Item = (&'m String, &'m Plugin)> {
    let only = case.plugin.clone();
    let runs = move |name: &String| only.as_ref().is_none_or(|only| only == name);
    manifest.plugins.iter().filter(move |(name, _)| runs(name))
}
