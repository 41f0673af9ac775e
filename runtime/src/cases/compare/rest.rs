//! Failures, dead letters and log lines beside what was expected of them.

use super::{
    Complaint,
    content::{self, describe},
    differences::{Difference, short},
};
use crate::cases::{
    case::{DeadLetters, Failure, FailureKind, Letter, LogLine, LogText},
    file::write,
    happened::{Buried, Failed, Said},
};

/// The most failures, letters or lines that are told.
const MOST_TOLD: usize = 5;
/// The most frames of a guest's stack that are shown.
const MOST_FRAMES: usize = 8;

/// Compares how runs failed with how they had to.
pub(super) fn failures(expected: Option<&Failure>, came: &[Failed]) -> Vec<Complaint> {
    let Some(expected) = expected else {
        return unwanted(came);
    };
    let (fitting, others): (Vec<&Failed>, Vec<&Failed>) =
        came.iter().partition(|failed| fits(expected, failed));
    if !fitting.is_empty() {
        return unexpected("a run failed in another way than expected", others.into_iter());
    }
    let what = format!("it was to fail: {}", spoken(expected));
    let mut complaint = Complaint::new(what);
    if came.is_empty() {
        complaint = complaint.with(vec![Difference::came("failure", "none: every run succeeded")]);
    }
    complaint.differences.extend(came.iter().take(MOST_TOLD).map(shown));
    vec![complaint]
}

/// Failures of a case that has none; with the line that would expect them.
fn unwanted(came: &[Failed]) -> Vec<Complaint> {
    let mut complaints = unexpected("a run failed that was not to fail", came.iter());
    let line = write::failure(came);
    if let Some((complaint, line)) = complaints.first_mut().zip(line) {
        complaint.hint.get_or_insert_with(|| {
            format!("if it is to fail, write below the `name` of the case: {line}")
        });
    }
    complaints
}

fn unexpected<'a>(what: &str, failed: impl Iterator<Item = &'a Failed>) -> Vec<Complaint> {
    let complaint = |failed: &Failed| {
        let complaint = Complaint::new(what).with(vec![shown(failed)]);
        match failed.kind {
            FailureKind::Timeout => complaint.hint(
                "does it loop? `limits = { timeout = \"…\" }` in the case lets it run longer or ends it sooner",
            ),
            _ => complaint,
        }
    };
    failed.take(MOST_TOLD).map(complaint).collect()
}

fn shown(failed: &Failed) -> Difference {
    let Failed { plugin, subject, attempt, .. } = failed;
    let place = format!("plugin {plugin}, event {subject}, attempt {attempt}");
    let mut text = format!("{}: {}", failed.kind.word(), failed.text);
    for frame in failed.backtrace.iter().flat_map(|trace| trace.lines()).take(MOST_FRAMES) {
        text.push_str("\n  ");
        text.push_str(frame.trim());
    }
    Difference::came(place, &text)
}

fn spoken(failure: &Failure) -> String {
    let text = failure.text.as_ref().map(|it| format!(", with a text that matches {it}"));
    let after = failure.after.map(|it| format!(", after {}", humantime::format_duration(it)));
    let plugin = failure.plugin.as_ref().map(|it| format!(", in plugin {it}"));
    let more = [text, after, plugin].into_iter().flatten().collect::<String>();
    format!("{}{more}", failure.kind.word())
}

fn fits(expected: &Failure, failed: &Failed) -> bool {
    let is_kind = match expected.kind {
        FailureKind::Any => true,
        FailureKind::Retry => matches!(failed.kind, FailureKind::Retry | FailureKind::RetryAfter),
        kind => kind == failed.kind,
    };
    is_kind
        && expected.text.as_ref().is_none_or(|it| it.is_match(&failed.text))
        && expected.after.is_none_or(|after| failed.after == Some(after))
        && expected.plugin.as_ref().is_none_or(|plugin| *plugin == failed.plugin)
}

/// Compares the dead letters with those that have to be there.
pub(super) fn dead_letters(expected: &DeadLetters, came: &[Buried]) -> Vec<Complaint> {
    match expected {
        DeadLetters::Count(count) if *count == came.len() => Vec::new(),
        DeadLetters::Count(count) => {
            let what = format!("{} dead letters instead of {count}", came.len());
            vec![Complaint::new(what).with(came.iter().take(MOST_TOLD).map(letter).collect())]
        }
        DeadLetters::Listed(letters) => listed(letters, came),
    }
}

fn listed(expected: &[Letter], came: &[Buried]) -> Vec<Complaint> {
    let mut left: Vec<&Buried> = came.iter().collect();
    let mut complaints = Vec::new();
    for wanted in expected {
        match left.iter().position(|buried| letter_differences(wanted, buried).is_empty()) {
            Some(at) => _ = left.remove(at),
            None => {
                let closest = left.iter().map(|buried| letter_differences(wanted, buried));
                let differences = closest.min_by_key(Vec::len).unwrap_or_else(|| {
                    vec![Difference::came("dead letters", "none other is there")]
                });
                complaints.push(
                    Complaint::new("a dead letter that was expected is not there")
                        .with(differences),
                );
            }
        }
    }
    if complaints.is_empty() {
        complaints.extend(left.iter().take(MOST_TOLD).map(|buried| {
            Complaint::new("a dead letter is there that is not expected").with(vec![letter(buried)])
        }));
    }
    complaints
}

fn letter(buried: &Buried) -> Difference {
    let Buried { plugin, subject, reason, error, payload } = buried;
    let place = format!("dead letter of plugin {plugin}, event {subject}");
    Difference::came(place, &format!("{reason}: {error}\n{}", describe(payload)))
}

fn letter_differences(wanted: &Letter, buried: &Buried) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut text = |place: &str, wanted: Option<&String>, came: &str| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != came) {
            found.push(Difference::of(place, wanted, came));
        }
    };
    text("plugin", wanted.plugin.as_ref(), &buried.plugin);
    text("reason", wanted.reason.as_ref(), &buried.reason);
    if let Some(subject) = wanted.subject.as_ref().filter(|it| !it.matches(&buried.subject)) {
        found.push(Difference::of("subject", subject.as_str(), &*buried.subject));
    }
    if let Some(error) = wanted.error.as_ref().filter(|it| !it.is_match(&buried.error)) {
        found.push(content::unmatched("error", error, &short(&buried.error)));
    }
    found.extend(content::payload(&wanted.payload, &buried.payload));
    found
}

/// Compares the log with the lines that have to be there.
pub(super) fn log(expected: &[LogLine], came: &[Said]) -> Vec<Complaint> {
    if expected.is_empty() && !came.is_empty() {
        let complaint = Complaint::new("the log was to be empty");
        return vec![complaint.with(came.iter().take(MOST_TOLD).map(said).collect())];
    }
    let missing = expected.iter().filter(|line| !came.iter().any(|said| is_line(line, said)));
    let complaint = |line: &LogLine| {
        let wanted = match &line.text {
            LogText::Contains(text) => format!("contains {text:?}"),
            LogText::Matches(expression) => format!("matches {expression}"),
            LogText::Any => "any text".to_owned(),
        };
        let level = line.level.map(|level| format!(" at level {level}")).unwrap_or_default();
        let mut differences = vec![Difference::expected("log", &format!("{wanted}{level}"))];
        differences.extend(came.iter().take(MOST_TOLD).map(said));
        Complaint::new("a line of the log is not there").with(differences)
    };
    missing.map(complaint).collect()
}

fn said(said: &Said) -> Difference {
    Difference::came(
        format!("log of {}", said.plugin),
        &format!("{} {}", said.level, short(&said.text)),
    )
}

fn is_line(line: &LogLine, said: &Said) -> bool {
    let is_text = match &line.text {
        LogText::Contains(text) => said.text.contains(text),
        LogText::Matches(expression) => expression.is_match(&said.text),
        LogText::Any => true,
    };
    is_text
        && line.level.is_none_or(|level| level == said.level)
        && line.plugin.as_ref().is_none_or(|plugin| *plugin == said.plugin)
}
