//! What could not be done with some of many dead letters: so many told one by
//! one, the rest by reason.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use pelton::dead_letters::Outcome;

use super::{look, report};

/// The most that are printed one by one.
const MAX_TOLD: u64 = 20;

/// Complaints about dead letters.
#[derive(Default)]
pub struct Complaints {
    n_told: u64,
    untold: BTreeMap<String, u64>,
}

impl Complaints {
    /// Tells of `outcome` if it is a refusal.
    pub fn take(&mut self, bar: &ProgressBar, number: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Asked(_) | Outcome::Done => {}
            Outcome::Missing => self.tell(bar, number, "there is none of this number"),
            Outcome::Refused(refusal) => self.tell(bar, number, &refusal.to_string()),
        }
    }

    /// Tells what is the matter with the letter `number`.
    pub fn tell(&mut self, bar: &ProgressBar, number: u64, problem: &str) {
        if self.n_told < MAX_TOLD {
            self.n_told += 1;
            let problem = look::clean(problem);
            bar.suspend(|| report::note(&format!("dead letter {number}: {problem}\n")));
        } else {
            *self.untold.entry(problem.to_owned()).or_default() += 1;
        }
    }

    /// Tells of the rest.
    pub fn summarise(&self) {
        for (problem, n) in &self.untold {
            report::note(&format!("{n} more: {}\n", look::clean(problem)));
        }
    }
}
