//! Which output is which line of `expect`, and what is to be said of the rest.

use super::{
    Complaint, Pending, Stored, Verdict,
    content::{self, describe},
    differences::{Difference, shown},
    matching::{Fits, match_all},
    snapshot,
};
use crate::cases::{
    case::{Content, Wanted, Whole},
    happened::Put,
};

/// The most complaints of one kind that are made.
const MOST_TOLD: usize = 10;

/// How outputs are compared.
pub(super) struct Rules<'a> {
    /// Whether they have to come in the order of the list.
    pub(super) in_order: bool,
    /// Whether others may come.
    pub(super) others: bool,
    /// Snapshots.
    pub(super) stored: Stored<'a>,
}

/// Compares `came` with `list`.
pub(super) fn compare(list: &[Wanted], came: &[Put], rules: &Rules<'_>, verdict: &mut Verdict) {
    let wanted: Vec<&Wanted> =
        list.iter().flat_map(|wanted| std::iter::repeat_n(wanted, wanted.times)).collect();
    let fit = |wanted: &Wanted, put: &Put| differences(wanted, put).is_empty();
    let mut fits = Fits::new(&wanted, came, &fit);
    let matched = match_all(&mut fits, rules.in_order);
    let mut left: Vec<bool> = vec![true; came.len()];
    for (wanted, at) in wanted.iter().zip(&matched) {
        let Some(at) = at else { continue };
        left.iter_mut().skip(*at).take(1).for_each(|left| *left = false);
        if let Some(put) = came.get(*at) {
            check_snapshot(wanted, put, rules.stored, verdict);
        }
    }
    let missing = wanted.iter().zip(&matched).filter(|(_, at)| at.is_none());
    let missing: Vec<&Wanted> = missing.map(|(wanted, _)| *wanted).collect();
    for wanted in missing.iter().take(MOST_TOLD) {
        let complaint = explain(wanted, came, &mut left, rules);
        verdict.complaints.push(complaint);
    }
    count_more(missing.len(), "outputs that did not come", verdict);
    if !rules.others {
        unexpected(came, &left, verdict);
    }
}

fn unexpected(came: &[Put], left: &[bool], verdict: &mut Verdict) {
    let others = came.iter().zip(left).filter(|(put, left)| **left && !put.taken_up);
    let others: Vec<&Put> = others.map(|(put, _)| put).collect();
    for put in others.iter().take(MOST_TOLD) {
        let what = format!("an output to `{}` came that is not expected", put.subject);
        let came = Difference::came("payload", &describe(&put.payload));
        verdict.complaints.push(Complaint::new(what).with(vec![came]));
    }
    count_more(others.len(), "outputs that are not expected", verdict);
}

fn count_more(n: usize, what: &str, verdict: &mut Verdict) {
    if n > MOST_TOLD {
        verdict.complaints.push(Complaint::new(format!("{} more {what}", n - MOST_TOLD)));
    }
}

/// Why no output is as `wanted` says: the closest that is left, which is then
/// taken for it.
fn explain(wanted: &Wanted, came: &[Put], left: &mut [bool], rules: &Rules<'_>) -> Complaint {
    let is_there = |put: &Put| wanted.subject.as_ref().is_none_or(|it| it.matches(&put.subject));
    let candidates = came.iter().enumerate().zip(left.iter());
    let candidates = candidates.filter(|((_, put), left)| **left && is_there(put));
    let closest = candidates
        .map(|((at, put), _)| (at, put, differences(wanted, put)))
        .min_by_key(|(_, _, differences)| weight(differences));
    let Some((at, put, differences)) = closest else {
        return Complaint::new(format!("no output came to {}", place(wanted)))
            .at(wanted.line)
            .with(described(wanted));
    };
    left.iter_mut().skip(at).take(1).for_each(|left| *left = false);
    if differences.is_empty() && rules.in_order {
        let what =
            format!("the output to `{}` came out of order: as number {}", put.subject, at + 1);
        return Complaint::new(what)
            .at(wanted.line)
            .hint("set `order = \"any\"` if the order does not matter");
    }
    let what = format!("the output to `{}` is not as expected", put.subject);
    Complaint::new(what).at(wanted.line).with(differences)
}

fn weight(differences: &[Difference]) -> usize {
    differences.iter().map(|difference| difference.lines.len()).sum()
}

fn place(wanted: &Wanted) -> String {
    let subject = wanted.subject.as_ref();
    subject.map_or_else(|| "any subject".to_owned(), |subject| format!("`{subject}`"))
}

/// What was expected, for somebody who sees nothing beside it.
fn described(wanted: &Wanted) -> Vec<Difference> {
    let Content { whole, text, values } = &wanted.payload;
    let whole = match whole {
        Some(Whole::Subset(value) | Whole::Exact(value)) => Some(shown(value)),
        Some(Whole::Bytes(bytes)) => Some(describe(bytes)),
        Some(Whole::Snapshot(_)) | None => None,
    };
    let text = text.iter().map(|expression| format!("matches {expression}"));
    let values = values.iter().map(|(pointer, it)| format!("{pointer} matches {it}"));
    let lines: Vec<_> = whole.into_iter().chain(text).chain(values).collect();
    match lines.is_empty() {
        true => Vec::new(),
        false => vec![Difference::expected("payload", &lines.join("\n"))],
    }
}

/// Where `put` is not as `wanted` says, its snapshot apart.
fn differences(wanted: &Wanted, put: &Put) -> Vec<Difference> {
    let mut found = Vec::new();
    if let Some(subject) = wanted.subject.as_ref().filter(|it| !it.matches(&put.subject)) {
        found.push(Difference::of("subject", subject.as_str(), &*put.subject));
        return found;
    }
    if let Some(plugin) = wanted.plugin.as_ref().filter(|plugin| **plugin != put.plugin) {
        found.push(Difference::of("plugin", plugin, &*put.plugin));
    }
    found.extend(content::headers(&wanted.headers, &put.headers));
    found.extend(content::payload(&wanted.payload, &put.payload));
    found
}

fn check_snapshot(wanted: &Wanted, put: &Put, stored: Stored<'_>, verdict: &mut Verdict) {
    let Some(Whole::Snapshot(file)) = &wanted.payload.whole else { return };
    let now = snapshot::payload(&put.payload);
    let what = format!("the output to `{}` is not as in the snapshot", put.subject);
    let complaint = match stored(file) {
        Some(before) => match content::same(&before, &now) {
            differences if differences.is_empty() => return,
            differences => Complaint::new(what).with(differences),
        },
        None => snapshot::missing(file).with(vec![Difference::came("payload", &describe(&now))]),
    };
    let complaint = complaint.at(wanted.line).hint(snapshot::HINT);
    verdict.snapshots.push(Pending { file: file.clone(), bytes: now, complaint });
}
