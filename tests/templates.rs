//! What the handlers of `pelton new` make of numbers: only what is one counts, and
//! what they put out is JSON; and what of them is compiled again after a save. How a
//! new project is built is in `new.rs`.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::{
    harness::{shell, verb},
    new,
};

/// A payload, and what has to come of it.
struct Trial {
    payload: &'static str,
    outcome: Outcome,
}

enum Outcome {
    /// Exactly this payload.
    Text(&'static str),
    /// At least this, in a payload of JSON.
    Json(&'static str),
    /// A payload with this in it, by a regular expression.
    Matches(&'static str),
    Failure(&'static str),
}

const fn rejects(payload: &'static str) -> Trial {
    Trial { payload, outcome: Outcome::Failure("reject") }
}

const ORDERS: &[Trial] = &[
    Trial { payload: r#"{"quantity":3,"price":null}"#, outcome: Outcome::Failure("retry") },
    Trial {
        payload: r#"{"quantity":2,"price":10.561728394}"#,
        outcome: Outcome::Json(r#"{"total":21.123456788}"#),
    },
    rejects(r#"{"price":null}"#),
    rejects(r#"{"quantity":null,"price":1}"#),
    rejects(r#"{"quantity":"3","price":4.5}"#),
    rejects(r#"{"quantity":3,"price":"4.5"}"#),
    rejects(r#"{"quantity":true,"price":4.5}"#),
    rejects(r#"{"quantity":NaN,"price":4.5}"#),
    rejects(r#"{"quantity":1e200,"price":1e200}"#),
    rejects("null"),
];

/// Whole numbers that are no longer told apart by a number of 64 bits with a point,
/// and so neither in JavaScript: they are passed on as they came.
const LARGE_ORDERS: &[Trial] = &[
    Trial {
        payload: r#"{"id":9007199254740993,"quantity":2,"price":3}"#,
        outcome: Outcome::Matches(r#""id": ?9007199254740993[,}]"#),
    },
    Trial {
        payload: r#"{"of":{"ids":[18446744073709551615]},"quantity":2,"price":3}"#,
        outcome: Outcome::Matches(r"\[18446744073709551615\]"),
    },
];

const BATCHES: &[Trial] = &[
    Trial {
        payload: r#"{"values":[1234567,21.123456789]}"#,
        outcome: Outcome::Json(r#"{"min":21.123456789,"max":1234567}"#),
    },
    rejects(r#"{"values":[20,null]}"#),
    rejects(r#"{"values":[20,"22"]}"#),
    rejects(r#"{"values":[20,NaN]}"#),
    rejects(r#"{"values":[1e308,1e308]}"#),
];

const LINES: &[Trial] = &[
    Trial {
        payload: "boiler;21.123456789",
        outcome: Outcome::Text(r#"{"sensor":"boiler","value":21.123456789,"unit":"celsius"}"#),
    },
    Trial {
        payload: "boiler;-1234567",
        outcome: Outcome::Text(r#"{"sensor":"boiler","value":-1234567,"unit":"celsius"}"#),
    },
    rejects("boiler;nan"),
    rejects("boiler;inf"),
    rejects("boiler;0x10"),
    rejects("boiler;1e999"),
    rejects("boiler;007"),
    rejects("boiler;5."),
    rejects("boiler;.5"),
    rejects("boiler; 5"),
    rejects("boiler;-"),
];

const LISTS: &[Trial] = &[
    Trial {
        payload: "1234567;21.123456789",
        outcome: Outcome::Json(r#"{"min":21.123456789,"max":1234567}"#),
    },
    rejects("20;nan"),
    rejects("20;inf"),
    rejects("20;0x10"),
    rejects("20;1e999"),
    rejects("1e308;1e308"),
];

/// Runs the project's own test cases, and those of its template here.
pub fn judge(project: &Path, language: &str, template: &str) {
    let (subject, trials): (_, &[&[Trial]]) = match (language, template) {
        ("c", "transform") => ("readings.raw", &[LINES]),
        ("c", "aggregate") => ("readings.batch.boiler", &[LISTS]),
        ("javascript" | "typescript", "transform") => ("orders.created", &[ORDERS]),
        (_, "transform") => ("orders.created", &[ORDERS, LARGE_ORDERS]),
        (_, "aggregate") => ("readings.batch.boiler", &[BATCHES]),
        _ => return,
    };
    let mut text = String::new();
    for Trial { payload, outcome } in trials.iter().copied().flatten() {
        let expected = match outcome {
            Outcome::Text(text) => format!("expect = [{{ text = '{text}' }}]"),
            Outcome::Json(json) => format!("expect = [{{ json = '{json}' }}]"),
            Outcome::Matches(regex) => format!("expect = [{{ matches = '{regex}' }}]"),
            Outcome::Failure(kind) => format!("failure = \"{kind}\""),
        };
        let event = format!("event = {{ subject = \"{subject}\", text = '{payload}' }}");
        writeln!(text, "[[case]]\nname = '{payload}'\n{event}\n{expected}").unwrap();
    }
    fs::write(project.join("numbers.test.toml"), text).unwrap();
    let tested = verb(project, &["test"]);
    assert!(tested.status.success(), "{language}: {}{}", tested.stdout, tested.stderr);
}

/// The line that shows a new handler at work.
pub fn sample(project: &Path) -> String {
    let readme = fs::read_to_string(project.join("README.md")).unwrap();
    readme.lines().find(|line| line.starts_with("echo ")).unwrap().to_owned()
}

/// Runs that line: an output comes of it.
pub fn try_sample(project: &Path) {
    let line = sample(project);
    let tried = shell(project, &line);
    assert_eq!(tried.status.code(), Some(0), "{line}: {}", tried.stderr);
    let outputs: Vec<_> = tried.stdout.lines().collect();
    assert!(matches!(*outputs, [output] if output.starts_with('{')), "{line}: {}", tried.stdout);
}

/// Tests what a save makes of a project: a component that the cache does not have,
/// with an interpreter that it has.
fn try_saved(project: &Path) {
    let saved = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-R").arg(project.join(".")).arg(saved.path()).status();
    assert!(copied.unwrap().success());
    let component = project.file_name().unwrap().to_str().unwrap();
    let component = saved.path().join(format!("build/{component}.wasm"));
    let mut bytes = fs::read(&component).unwrap();
    // A custom section without meaning, that no other run has.
    let drawn = saved.path().file_name().unwrap().as_encoded_bytes();
    bytes.extend([0, u8::try_from(drawn.len() + 1).unwrap(), 0]);
    bytes.extend(drawn);
    fs::write(component, bytes).unwrap();
    let tested = verb(saved.path(), &["test"]);
    assert!(tested.status.success(), "{}{}", tested.stdout, tested.stderr);
    assert!(!tested.stderr.contains("compiling"), "{}", tested.stderr);
}

fn judge_new(language: &str) {
    for template in ["transform", "aggregate"] {
        let project = new::kept_project(&format!("{language}-{template}"), language, template);
        judge(&project, language, template);
        try_sample(&project);
        try_saved(&project);
    }
}

#[test]
fn handlers_in_python_take_nothing_else_for_a_number() {
    judge_new("python");
}

#[test]
fn handlers_in_javascript_take_nothing_else_for_a_number() {
    judge_new("javascript");
}

#[test]
fn handlers_in_typescript_take_nothing_else_for_a_number() {
    judge_new("typescript");
}
