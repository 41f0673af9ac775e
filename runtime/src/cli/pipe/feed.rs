//! From lines to events in the hands of the plugins, no faster than they take them.

use pelton::host::local::{Input, Local};

use super::{
    line::{self, Defaults},
    reading::{Line, MAX_LINE, Origin},
    report,
};

/// Events that are read and not handled yet, and their bytes.
const AHEAD: (usize, u64) = (1_024, 64 << 20);

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
}

impl Feed {
    pub fn new(defaults: Defaults, is_strict: bool) -> Feed {
        Feed { defaults, is_strict, events: 0, bad: 0, unheard: 0 }
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
            None => Err(format!("longer than {} MiB", MAX_LINE >> 20)),
        };
        let input = match read {
            Ok(None) => return true,
            Ok(Some(input)) => input,
            Err(problem) => return self.is_bad(number, &problem),
        };
        local.room(&input.subject, AHEAD).await;
        match local.publish(&input) {
            Ok(taken) if taken.listeners == 0 => self.is_unheard(number, &input),
            Ok(_) => {
                self.events += 1;
                true
            }
            Err(error) => self.is_bad(number, &error.to_string()),
        }
    }

    fn is_bad(&mut self, number: u64, problem: &str) -> bool {
        self.bad += 1;
        report::note(&report::line(&anyhow::anyhow!("line {number}: {problem}")));
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
