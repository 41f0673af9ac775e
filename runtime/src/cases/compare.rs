//! What came, beside what was expected: the complaints.
//!
//! Pure, but for the snapshots, which it is handed as a function. It does not
//! print: a complaint is a sentence and the differences.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    case::{Case, Outputs},
    happened::Happened,
};
pub use differences::{Change, Difference};

mod content;
mod differences;
mod matching;
mod outputs;
mod rest;
pub mod snapshot;

/// One thing that is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// In a sentence.
    pub what: String,
    /// The line of the test file that asks for it, counted from 1.
    pub line: Option<usize>,
    /// Where the two differ.
    pub differences: Vec<Difference>,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What is wrong; nothing: the case passed.
    pub complaints: Vec<Complaint>,
    /// Snapshots that are not as they would have to be.
    pub snapshots: Vec<Pending>,
}

/// A snapshot that is not there, or not what came.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its file.
    pub file: PathBuf,
    /// What came.
    pub bytes: Bytes,
    /// What is wrong, unless it is written now.
    pub complaint: Complaint,
}

/// The bytes of a snapshot; `None`: there is none.
pub type Stored<'a> = &'a dyn Fn(&Path) -> Option<Bytes>;

/// Compares what came of `case` with what it expects.
pub fn compare(case: &Case, happened: &Happened, stored: Stored<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(stuck) = &happened.stuck {
        verdict.complaints.push(Complaint::new(stuck));
    }
    let expected = &case.expected;
    verdict.complaints.extend(rest::failures(expected.failure.as_ref(), &happened.failures));
    match &expected.outputs {
        Outputs::Snapshot(file) => snapshot::outputs(file, &happened.outputs, stored, &mut verdict),
        Outputs::Listed { list, in_order, others } => {
            let rules = outputs::Rules { in_order: *in_order, others: *others, stored };
            outputs::compare(list, &happened.outputs, &rules, &mut verdict);
        }
    }
    if let Some(letters) = &expected.dead_letters {
        verdict.complaints.extend(rest::dead_letters(letters, &happened.dead_letters));
    }
    if let Some(lines) = &expected.log {
        verdict.complaints.extend(rest::log(lines, &happened.log));
    }
    if !verdict.complaints.is_empty() {
        for pending in &mut verdict.snapshots {
            pending.complaint.hint = Some(snapshot::LATER.to_owned());
        }
    }
    verdict
}

impl Complaint {
    fn new(what: impl Into<String>) -> Complaint {
        Complaint { what: what.into(), ..Complaint::default() }
    }

    fn at(mut self, line: usize) -> Complaint {
        self.line = Some(line);
        self
    }

    fn with(mut self, differences: Vec<Difference>) -> Complaint {
        self.differences = differences;
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests;
