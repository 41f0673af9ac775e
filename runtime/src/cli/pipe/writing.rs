//! What the plugins do, as lines to standard output; and the account of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use pelton::host::local::{DeadLetter, Told};
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::line;

/// What all plugins came to, or why nothing can be written any more.
pub type Written = anyhow::Result<Tally>;

/// By plugin.
pub type Tally = BTreeMap<String, Count>;

/// What one plugin did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Runs of its handler.
    pub runs: u64,
    /// Those that returned no outputs, but an error.
    pub failed: u64,
    /// What it published.
    pub outputs: u64,
    /// Events of it that went to the dead letters, by reason.
    pub dead: BTreeMap<String, u64>,
}

/// Where lines go.
pub struct Paths {
    /// The file for dead letters; `-`: to the outputs; `None`: nowhere.
    pub dead_letters: Option<PathBuf>,
    /// Whether payloads are written byte for byte.
    pub is_exact: bool,
}

/// Where lines go, opened.
pub struct Opened {
    dead_letters: DeadLetters,
    is_exact: bool,
}

enum DeadLetters {
    Nowhere,
    WithOutputs,
    File(BufWriter<File>, PathBuf),
}

impl Paths {
    /// Makes the file for dead letters, empty.
    pub fn open(self) -> anyhow::Result<Opened> {
        let dead_letters = match self.dead_letters {
            None => DeadLetters::Nowhere,
            Some(path) if path == Path::new("-") => DeadLetters::WithOutputs,
            Some(path) => {
                let file = File::create(&path).with_context(|| format!("write {}", path.display()));
                DeadLetters::File(BufWriter::new(file?), path)
            }
        };
        Ok(Opened { dead_letters, is_exact: self.is_exact })
    }
}

/// Writes until everybody who tells has gone. What is written stands there at once
/// when nothing else is to be written.
pub fn write(mut told: mpsc::Receiver<Told>, mut opened: Opened) -> Written {
    let mut outputs = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut tally = Tally::new();
    loop {
        let next = match told.try_recv() {
            Err(TryRecvError::Empty) => {
                outputs.flush()?;
                opened.flush()?;
                told.blocking_recv()
            }
            next => next.ok(),
        };
        let Some(told) = next else { break };
        count(&mut tally, &told);
        match told {
            Told::Run(_) => {}
            Told::Output(output) => {
                outputs.write_all(line::output(&output, opened.is_exact).as_bytes())?;
            }
            Told::DeadLetter(letter) => opened.dead_letter(&letter, &mut outputs)?,
        }
    }
    outputs.flush()?;
    opened.flush()?;
    Ok(tally)
}

impl Opened {
    fn dead_letter(&mut self, letter: &DeadLetter, outputs: &mut impl Write) -> anyhow::Result<()> {
        let line = || line::dead_letter(letter, self.is_exact);
        match &mut self.dead_letters {
            DeadLetters::Nowhere => {}
            DeadLetters::WithOutputs => outputs.write_all(line().as_bytes())?,
            DeadLetters::File(file, path) => {
                let written = file.write_all(line().as_bytes());
                written.with_context(|| format!("write {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.dead_letters {
            DeadLetters::File(file, path) => {
                file.flush().with_context(|| format!("write {}", path.display()))
            }
            DeadLetters::Nowhere | DeadLetters::WithOutputs => Ok(()),
        }
    }
}

fn count(tally: &mut Tally, told: &Told) {
    let plugin = match told {
        Told::Run(run) => &run.plugin,
        Told::Output(output) => &output.plugin,
        Told::DeadLetter(letter) => &letter.plugin,
    };
    if !tally.contains_key(plugin) {
        tally.insert(plugin.clone(), Count::default());
    }
    let Some(count) = tally.get_mut(plugin) else { return };
    match told {
        Told::Run(run) => {
            count.runs += 1;
            count.failed += u64::from(run.outcome.is_err());
        }
        Told::Output(_) => count.outputs += 1,
        Told::DeadLetter(letter) => *count.dead.entry(letter.reason.clone()).or_default() += 1,
    }
}
