//! Lines from a file or standard input, read no further ahead than they are taken.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use pelton::explain::Coded;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::report;

/// The longest line, in bytes: the largest message of any server, in base64, with
/// room for the rest.
pub const MAX_LINE: usize = 96 << 20;

/// So many bytes of lines are handed over at once, if so many are there.
const BATCH: usize = 64 << 10;
/// Batches that are read and not taken yet.
const BATCHES: usize = 2;

/// A line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// Without its end; `None`: it is longer than [`MAX_LINE`].
    pub bytes: Option<Vec<u8>>,
}

/// Lines that were there at the same time, or the reason why there are no more.
pub type Batch = io::Result<Vec<Line>>;

/// Where lines come from.
pub enum Origin {
    /// Standard input.
    Stdin,
    /// A file.
    File(File),
}

impl Origin {
    /// Opens `file`; `-` and none are standard input.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Origin> {
        match file {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path).with_context(|| cannot(path))?;
                // Else it would show at the first read, when plugins run already.
                if file.metadata().is_ok_and(|about| about.is_dir()) {
                    return Err(anyhow!("it is a folder").context(cannot(path)));
                }
                Ok(Origin::File(file))
            }
            _ => Ok(Origin::Stdin),
        }
    }

    /// Begins to read. The channel is closed after the last line.
    pub fn lines(self) -> mpsc::Receiver<Batch> {
        let (sender, receiver) = mpsc::channel(BATCHES);
        if matches!(self, Origin::Stdin) && io::stdin().is_terminal() {
            report::note("reading events from the terminal, a line of JSON each; Ctrl-D ends\n");
        }
        spawn_blocking(move || match self {
            Origin::Stdin => send(io::stdin(), &sender),
            Origin::File(file) => send(file, &sender),
        });
        receiver
    }
}

fn cannot(path: &Path) -> Coded {
    let text = format!("cannot read events from `{}`", path.display());
    Coded { code: "input", text }
}

fn send(input: impl Read, sender: &mpsc::Sender<Batch>) {
    let mut input = BufReader::with_capacity(BATCH, input);
    let mut number = 0;
    loop {
        let batch = match batch(&mut input, &mut number) {
            Ok(lines) if lines.is_empty() => return,
            batch => batch,
        };
        let is_last = batch.is_err();
        // Nobody takes them any more.
        if sender.blocking_send(batch).is_err() || is_last {
            return;
        }
    }
}

/// What can be had without waiting, one line at least; empty at the end.
fn batch(input: &mut BufReader<impl Read>, number: &mut u64) -> Batch {
    let (mut lines, mut size) = (Vec::new(), 0);
    while let Some(bytes) = line(input)? {
        *number += 1;
        size += bytes.as_ref().map_or(0, Vec::len);
        lines.push(Line { number: *number, bytes });
        if size >= BATCH || !input.buffer().contains(&b'\n') {
            break;
        }
    }
    Ok(lines)
}

/// The next line; the inner `None`: it was too long.
fn line(input: &mut impl BufRead) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut bytes = Vec::new();
    let most = MAX_LINE as u64 + 1;
    if input.take(most).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let is_whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
    if !is_whole && bytes.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Some(None));
    }
    bytes.pop_if(|byte| *byte == b'\r');
    Ok(Some(Some(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut input = input;
        std::iter::from_fn(|| line(&mut input).unwrap()).collect()
    }

    #[test]
    fn lines_end_with_or_without_a_return_and_the_last_one_with_the_input() {
        let expected = ["a", "", "b\rc", "d"].map(|line| Some(line.as_bytes().to_vec()));
        assert_eq!(lines(b"a\n\r\nb\rc\r\nd"), expected);
        assert_eq!(lines(b"a\n\nb\rc\nd\n"), expected);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let mut input = vec![b'x'; MAX_LINE];
        input.extend(b"\n");
        input.extend(vec![b'y'; MAX_LINE + 1]);
        input.extend(b"\nz");
        let lines = lines(&input);
        assert_eq!(lines[0].as_ref().map(Vec::len), Some(MAX_LINE));
        assert_eq!(lines[1..], [None, Some(b"z".to_vec())]);
    }
}
