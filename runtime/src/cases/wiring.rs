//! What a test file says beside what its manifest says: plugins that are not
//! there, events that nobody would get.

use super::{
    case::{Case, DeadLetters, Outputs},
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
    let mut problems = Vec::new();
    for (index, case) in file.cases.iter_mut().enumerate() {
        let path = format!("case[{index}]");
        for (key, name) in named_plugins(case) {
            if !manifest.plugins.contains_key(&name) {
                problems.push(unknown(&format!("{path}.{key}"), &name, manifest));
            }
        }
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
    Problem::new("test-case", format!("the manifest has no plugin {}", quoted(name)))
        .label(Target::Value(path.to_owned()), "not known there")
        .help(help)
}

fn no_subject(path: &str, index: usize) -> Problem {
    Problem::new("test-case", format!("event {} of the case has no subject", index + 1))
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
