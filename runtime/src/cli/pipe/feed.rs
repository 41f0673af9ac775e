//! From lines to events in the hands of the plugins, no faster than they take them.

use std::collections::BTreeSet;

use pelton::{
    explain::Coded,
    host::local::{Input, Local},
};

use super::{
    line::{self, Defaults},
    reading::{Line, MAX_LINE, Origin},
    report,
};

/// Events that are read and not handled yet, and their bytes.
const AHEAD: (usize, u64) = (1_024, 64 << 20);

/// Bad lines which are told of one by one; of each kind the first is in any case.
const TOLD_BAD: u64 = 100;

/// Lines with events that no plugin wants which are told of one by one.
const TOLD_UNHEARD: u64 = 10;

/// Why no more lines are read.
pub enum Ended {
    /// There are no more.
    All,
    /// One was not as it should be, and that is the end.
    Strict,
    /// A signal asked for it.
    Interrupted,
    /// The input cannot be read any further.
    Unreadable(anyhow::Error),
}

/// What was made of the lines so far.
pub struct Feed {
    defaults: Defaults,
    is_strict: bool,
    /// Events that were taken.
    pub events: u64,
    /// Lines that are no events.
    pub bad: u64,
    /// Events that no plugin subscribes to.
    pub unheard: u64,
    /// Kinds of mistakes that there were.
    told: BTreeSet<&'static str>,
}

impl Feed {
    pub fn new(defaults: Defaults, is_strict: bool) -> Feed {
        Feed { defaults, is_strict, events: 0, bad: 0, unheard: 0, told: BTreeSet::new() }
    }

    /// Hands every line over. It may be cancelled between two of them.
    pub async fn run(&mut self, local: &Local, origin: Origin) -> Ended {
        let mut batches = origin.lines();
        while let Some(batch) = batches.recv().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    return Ended::Unreadable(anyhow::anyhow!(error).context("read events"));
                }
            };
            for line in batch {
                if !self.take(local, line).await && self.is_strict {
                    return Ended::Strict;
                }
            }
        }
        Ended::All
    }

    /// Whether the line was an event that somebody handles, or blank.
    async fn take(&mut self, local: &Local, line: Line) -> bool {
        let number = line.number;
        let read = match &line.bytes {
            Some(bytes) => line::read(bytes, number, &self.defaults),
            None => {
                let text = format!("longer than {} MiB", MAX_LINE >> 20);
                Err(Coded { code: "too-large", text })
            }
        };
        let input = match read {
            Ok(None) => return true,
            Ok(Some(input)) => input,
            Err(problem) => return self.is_bad(number, problem),
        };
        local.room(&input.subject, AHEAD).await;
        match local.publish(&input) {
            Ok(taken) if taken.listeners == 0 => self.is_unheard(number, &input),
            Ok(_) => {
                self.events += 1;
                true
            }
            Err(error) => self.is_bad(number, Coded { code: "too-large", text: error.to_string() }),
        }
    }

    /// Tells of it; how to read more about its kind is said once.
    fn is_bad(&mut self, number: u64, problem: Coded) -> bool {
        self.bad += 1;
        let Coded { code, text } = problem;
        let problem = anyhow::Error::new(Coded { code, text: format!("line {number}: {text}") });
        match (self.told.insert(code), self.bad) {
            (true, _) => report::error(&problem),
            (false, n) if n < TOLD_BAD || self.is_strict => {
                report::note(&report::short(&problem));
            }
            (false, TOLD_BAD) => {
                report::note(&report::short(&problem));
                report::note("further bad lines are only counted\n");
            }
            (false, _) => {}
        }
        false
    }

    fn is_unheard(&mut self, number: u64, input: &Input) -> bool {
        self.unheard += 1;
        let subject = &input.subject;
        match self.unheard {
            n if n < TOLD_UNHEARD || self.is_strict => {
                report::note(&format!("line {number}: no plugin subscribes to `{subject}`\n"));
            }
            TOLD_UNHEARD => report::note(&format!(
                "line {number}: no plugin subscribes to `{subject}`; further such lines are only counted\n"
            )),
            _ => {}
        }
        false
    }
}
