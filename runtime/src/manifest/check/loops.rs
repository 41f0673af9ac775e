//! Plugins that feed themselves or each other: one event would become many,
//! without an end.
//!
//! What a plugin may cause is what it may publish and ask, and its own dead letters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    manifest::{
        Manifest, Plugin,
        problem::Problem,
        reader::Report,
        source::{Target, join},
    },
    subject::Pattern,
};

/// How one plugin feeds another.
#[derive(Debug, Clone)]
struct Feed<'m> {
    from: &'m str,
    to: &'m str,
    /// The list in `from`; `None`: its dead letters.
    list: Option<&'static str>,
    published: Pattern,
    subscribed: &'m Pattern,
}

/// Reports every loop of plugins none of which says `allow-loop = true`.
pub fn check(manifest: &Manifest, report: &mut Report) {
    let feeds = feeds(manifest);
    let mut reported = BTreeSet::new();
    for name in manifest.plugins.keys() {
        let Some(cycle) = shortest_cycle(name, &feeds) else { continue };
        let members: BTreeSet<&str> = cycle.iter().map(|feed| feed.from).collect();
        // The same loop is found once from each of its plugins.
        if reported.insert(members) {
            report.add(problem(manifest, &cycle));
        }
    }
    for (name, plugin) in &manifest.plugins {
        report_self_request(manifest, name, plugin, report);
    }
}

/// A plugin that runs one event at a time and asks itself waits for its own end.
/// Without `allow-loop` it is in a loop and said already.
fn report_self_request(manifest: &Manifest, name: &str, plugin: &Plugin, report: &mut Report) {
    // A stream takes the request, and the server answers that it has it.
    if !plugin.allow_loop || plugin.concurrency > 1 || plugin.stream.is_some() {
        return;
    }
    let feeds = |asked: &Pattern| plugin.subscribe.iter().find(|filter| filter.overlaps(asked));
    let both = plugin.request.iter().find_map(|asked| Some((asked, feeds(asked)?)));
    let Some((asked, subscribed)) = both else { return };
    let path = join("plugins", name);
    let at = |key: &str, pattern: &Pattern| {
        Target::Value(manifest.source.element(&format!("{path}.{key}"), pattern.as_str()))
    };
    let message = format!("`{path}` may ask itself, and runs one event at a time");
    let problem = Problem::new("self-request", message)
        .label(at("request", asked), "waits for the run that it comes from")
        .label(at("subscribe", subscribed), "comes in here")
        .help("narrow `request`, or raise `concurrency`: it would wait until its time-out");
    report.add(problem);
}

type Feeds<'m> = BTreeMap<&'m str, Vec<Feed<'m>>>;

fn feeds(manifest: &Manifest) -> Feeds<'_> {
    let guarded: Vec<_> =
        manifest.plugins.iter().filter(|(_, plugin)| !plugin.allow_loop).collect();
    let mut feeds = Feeds::new();
    for (from, plugin) in &guarded {
        let causes = causes(manifest, from, plugin);
        for (to, target) in &guarded {
            let feed = causes.iter().find_map(|(list, published)| {
                let subscribed =
                    target.subscribe.iter().find(|filter| filter.overlaps(published))?;
                let (list, published) = (*list, published.clone());
                Some(Feed { from, to, list, published, subscribed })
            });
            feeds.entry(from.as_str()).or_default().extend(feed);
        }
    }
    feeds
}

/// What a plugin may cause to be published, and by which key.
fn causes(
    manifest: &Manifest,
    name: &str,
    plugin: &Plugin,
) -> Vec<(Option<&'static str>, Pattern)> {
    let listed = |list: &'static str, patterns: &[Pattern]| {
        patterns.iter().map(|pattern| (Some(list), pattern.clone())).collect::<Vec<_>>()
    };
    let mut causes = listed("publish", &plugin.publish);
    causes.extend(listed("publish-core", &plugin.publish_core));
    causes.extend(listed("request", &plugin.request));
    let dead_letters = Pattern::parse(&format!("{}.{name}.>", manifest.dead_letters.prefix));
    causes.extend(dead_letters.ok().map(|pattern| (None, pattern)));
    causes
}

/// The shortest way from `start` back to it, breadth first.
fn shortest_cycle<'m>(start: &'m str, feeds: &Feeds<'m>) -> Option<Vec<Feed<'m>>> {
    let mut reached_by: BTreeMap<&str, &Feed<'m>> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(name) = queue.pop_front() {
        for feed in feeds.get(name).into_iter().flatten() {
            if feed.to == start {
                return Some(way_back(feed, start, &reached_by));
            }
            if !reached_by.contains_key(feed.to) {
                reached_by.insert(feed.to, feed);
                queue.push_back(feed.to);
            }
        }
    }
    None
}

fn way_back<'m>(
    last: &Feed<'m>,
    start: &str,
    reached_by: &BTreeMap<&str, &Feed<'m>>,
) -> Vec<Feed<'m>> {
    let mut way = vec![last.clone()];
    let mut name = last.from;
    while name != start {
        let Some(feed) = reached_by.get(name) else { break };
        way.push((*feed).clone());
        name = feed.from;
    }
    way.reverse();
    way
}

fn problem(manifest: &Manifest, cycle: &[Feed<'_>]) -> Problem {
    let message = match cycle {
        [only] if only.list.is_none() => {
            format!("the plugin `{}` reads its own dead letters", only.from)
        }
        [only] if only.list == Some("request") => {
            format!("the plugin `{}` may ask itself", only.from)
        }
        [only] => format!("the plugin `{}` may publish what it subscribes to", only.from),
        _ => {
            let names = cycle.iter().map(|feed| format!("`{}`", feed.from));
            let first = cycle.first().map(|feed| format!("`{}`", feed.from));
            let round = names.chain(first).collect::<Vec<_>>().join(" -> ");
            format!("plugins feed each other in a loop: {round}")
        }
    };
    let mut problem = Problem::new("loop", message);
    for feed in cycle {
        problem = label(manifest, problem, feed, cycle.len());
    }
    problem.help(
        "one event could become more and more, without an end: narrow what is published or \
         subscribed to; if the handlers see to it that it ends, set `allow-loop = true` in one of them",
    )
}

fn label(manifest: &Manifest, problem: Problem, feed: &Feed<'_>, length: usize) -> Problem {
    let (from, to) = (join("plugins", feed.from), join("plugins", feed.to));
    let at = |list: String, pattern: &Pattern| {
        Target::Value(manifest.source.element(&list, pattern.as_str()))
    };
    let subscribed = at(format!("{to}.subscribe"), feed.subscribed);
    match feed.list {
        None => problem.label(subscribed, format!("takes in the dead letters of `{}`", feed.from)),
        Some(list) => {
            let problem = problem.label(
                at(format!("{from}.{list}"), &feed.published),
                format!("goes to `{}`", feed.to),
            );
            // In a longer loop the other end of each feed has a label of its own.
            if length == 1 { problem.label(subscribed, "comes in here") } else { problem }
        }
    }
}
