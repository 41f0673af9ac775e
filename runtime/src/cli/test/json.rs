//! Results as one JSON object, for programs.

use pelton::cases::{
    compare::{Change, Complaint, Difference},
    suite::{Done, Outcome, Status},
};
use serde_json::{Value, json};

/// Everything.
pub fn all(outcome: &Outcome) -> anyhow::Result<String> {
    let count =
        |word: &str| outcome.cases.iter().filter(|done| status(&done.status) == word).count();
    let object = json!({
        "passed": count("passed") + count("updated"),
        "failed": count("failed"),
        "skipped": count("skipped"),
        "filtered": outcome.filtered,
        "seconds": outcome.took.as_secs_f64(),
        "cases": outcome.cases.iter().map(case).collect::<Vec<_>>(),
    });
    Ok(format!("{object:#}\n"))
}

fn status(status: &Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Updated(_) => "updated",
        Status::Failed(_) => "failed",
        Status::Skipped(_) => "skipped",
    }
}

fn case(done: &Done) -> Value {
    let log = done.log.iter();
    let log =
        log.map(|said| json!({"plugin": said.plugin, "level": said.level, "text": said.text}));
    let mut object = json!({
        "file": done.file.display().to_string(),
        "line": done.line,
        "name": done.name,
        "status": status(&done.status),
        "seconds": done.took.as_secs_f64(),
        "log": log.collect::<Vec<_>>(),
    });
    let (key, value) = match &done.status {
        Status::Passed => return object,
        Status::Updated(files) => {
            ("snapshots", files.iter().map(|file| json!(file.display().to_string())).collect())
        }
        Status::Failed(complaints) => ("complaints", complaints.iter().map(complaint).collect()),
        Status::Skipped(reason) => ("reason", json!(reason)),
    };
    if let Value::Object(fields) = &mut object {
        fields.insert(key.to_owned(), value);
    }
    object
}

fn complaint(complaint: &Complaint) -> Value {
    json!({
        "what": complaint.what,
        "line": complaint.line,
        "hint": complaint.hint,
        "differences": complaint.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

fn difference(difference: &Difference) -> Value {
    let lines = |wanted: Change| -> Vec<&str> {
        let lines = difference.lines.iter().filter(|(change, _)| *change == wanted);
        lines.map(|(_, line)| line.as_str()).collect()
    };
    json!({
        "place": difference.place,
        "expected": lines(Change::Expected),
        "came": lines(Change::Came),
    })
}
