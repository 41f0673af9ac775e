//! Results for people: what failed, with the differences, and the counts.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anstyle::{AnsiColor, Style};
use pelton::cases::{
    compare::{Change, Complaint, Difference},
    happened::Said,
    suite::{Done, Outcome, Status},
};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const EXPECTED: Style = AnsiColor::Red.on_default();
const CAME: Style = AnsiColor::Green.on_default();
const QUIET: Style = Style::new().dimmed();

/// The most lines of a handler's log that are shown.
const MOST_LINES: usize = 20;

/// Everything: a line for each file, what failed, the counts.
pub fn all(outcome: &Outcome) -> String {
    let mut by_file: BTreeMap<&Path, Vec<&Done>> = BTreeMap::new();
    for done in &outcome.cases {
        by_file.entry(&done.file).or_default().push(done);
    }
    let files: String = by_file.iter().map(|(path, cases)| file(path, cases)).collect();
    format!("{files}{}", summary(outcome))
}

fn file(path: &Path, cases: &[&Done]) -> String {
    let failed = cases.iter().filter(|done| matches!(done.status, Status::Failed(_))).count();
    let (style, word) = if failed > 0 { (BAD, "FAIL") } else { (GOOD, "ok") };
    let of = if failed > 0 { format!("{failed} of ") } else { String::new() };
    let plural = if cases.len() == 1 { "case" } else { "cases" };
    let head =
        format!("{style}{word:<4}{style:#} {}: {of}{} {plural}\n", path.display(), cases.len());
    let cases: String = cases.iter().map(|done| case(done)).collect();
    format!("{head}{cases}")
}

/// What there is to say of a case beside that it passed.
fn case(done: &Done) -> String {
    match &done.status {
        Status::Passed => String::new(),
        Status::Skipped(reason) => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{QUIET}     skipped {}{reason}{QUIET:#}\n", done.name)
        }
        Status::Updated(files) => files
            .iter()
            .map(|file| format!("     {GOOD}written{GOOD:#} {} ({})\n", file.display(), done.name))
            .collect(),
        Status::Failed(complaints) => {
            let head = format!(
                "\n{BAD}FAIL{BAD:#} {}:{}: {}\n",
                done.file.display(),
                done.line,
                done.name
            );
            let told: String =
                complaints.iter().map(|complaint| complaint_text(&done.file, complaint)).collect();
            format!("{head}{told}{}\n", log(&done.log))
        }
    }
}

/// A complaint with its differences, moved in.
pub fn complaint_text(file: &Path, complaint: &Complaint) -> String {
    let place = complaint.line.map(|line| format!(" ({}:{line})", file.display()));
    let mut text = format!("  {}{}\n", complaint.what, place.unwrap_or_default());
    for Difference { place, lines } in &complaint.differences {
        text += &format!("    {place}\n");
        for (change, line) in lines {
            let (sign, style) = match change {
                Change::Expected => ('-', EXPECTED),
                Change::Came => ('+', CAME),
                Change::Same => (' ', QUIET),
            };
            text += &format!("    {style}{sign} {}{style:#}\n", harmless(line));
        }
    }
    if let Some(hint) = &complaint.hint {
        text += &format!("    hint: {hint}\n");
    }
    text
}

fn log(lines: &[Said]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = "  log of the handlers\n".to_owned();
    for said in lines.iter().take(MOST_LINES) {
        text += &format!(
            "    {QUIET}{} {}: {}{QUIET:#}\n",
            said.level,
            said.plugin,
            harmless(&said.text)
        );
    }
    if lines.len() > MOST_LINES {
        text += &format!("    {QUIET}… {} more{QUIET:#}\n", lines.len() - MOST_LINES);
    }
    text
}

/// What came from a handler, without what a terminal would act on.
fn harmless(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' => vec!['\t'],
        c if c.is_control() => c.escape_default().collect(),
        c => vec![c],
    };
    text.chars().flat_map(harmless).collect()
}

fn summary(outcome: &Outcome) -> String {
    let count =
        |is: fn(&Status) -> bool| outcome.cases.iter().filter(|done| is(&done.status)).count();
    let failed = count(|status| matches!(status, Status::Failed(_)));
    let skipped = count(|status| matches!(status, Status::Skipped(_)));
    let updated = count(|status| matches!(status, Status::Updated(_)));
    let passed = outcome.cases.len() - failed - skipped;
    let mut parts = vec![format!("{passed} passed")];
    let mut add = |n: usize, what: &str| {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    };
    add(failed, "failed");
    add(skipped, "skipped");
    add(updated, "with a snapshot written");
    add(outcome.filtered, "filtered out");
    let style = if failed > 0 { BAD } else { GOOD };
    format!("{style}{}{style:#} in {}\n", parts.join(", "), time(outcome.took))
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
