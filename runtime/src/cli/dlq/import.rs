//! `pelton dlq import`: what `pelton dlq export` wrote, as dead letters again.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use futures::{Stream, StreamExt as _, stream};
use pelton::{
    dead_letters::{Import, Imported},
    event::{
        Event, Header, Position,
        letter::{Attempt, Letter, milliseconds},
    },
};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Exit, Place, letters, progress, report, stop_on_signal};

/// How many are in hand at once: enough to hide the way to the server.
const AT_ONCE: usize = 64;

/// Bring back dead letters that `pelton dlq export` wrote
///
/// They can then be shown and replayed like any other. To import the same file twice does no harm:
/// what is there already is left alone. A line that cannot be read is told of and left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq import letters.jsonl\n  \
    grep timeout letters.jsonl | pelton dlq import -")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The file, one letter a line; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A line of an export.
#[derive(Deserialize)]
struct Line {
    host: String,
    plugin: String,
    reason: String,
    #[serde(default)]
    error: String,
    failed_at: String,
    attempts: u32,
    #[serde(default)]
    replays: u32,
    event_id: String,
    subject: String,
    published_at: String,
    stream: Option<String>,
    sequence: Option<u64>,
    stream_created_ns: Option<i64>,
    digest: Option<String>,
    namespace: Option<String>,
    backtrace: Option<String>,
    #[serde(default)]
    history: Vec<Failure>,
    malformed_headers_base64: Option<String>,
    headers: Vec<(String, String)>,
    payload_base64: String,
    /// Why the event was not there: headers and payload are those of the record.
    incomplete: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    replay: u32,
    attempt: u32,
    at: String,
    reason: String,
    error: String,
}

#[derive(Default)]
struct Tally {
    stored: u64,
    present: u64,
    refused: u64,
}

/// Imports.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, file } = arguments;
    let name = match is_stdin(&file) {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let n_lines = count(&file).with_context(|| format!("read {name}"))?;
    let lines = open(&file).with_context(|| format!("read {name}"))?;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let import = desk.importing().await?;
    let stop = stop_on_signal()?;
    let bar = progress::bar("importing", n_lines);
    let lines = lines.take_until(stop.cancelled()).enumerate();
    let done = lines.map(async |(n, line)| {
        let line = line.with_context(|| format!("read {name}"))?;
        let stored = take(&import, &line).await?;
        anyhow::Ok((n + 1, stored))
    });
    let (mut done, mut tally) = (std::pin::pin!(done.buffer_unordered(AT_ONCE)), Tally::default());
    while let Some(outcome) = done.next().await {
        let (n, outcome) = outcome?;
        bar.inc(1);
        if let Some(problem) = tally.count(outcome) {
            bar.suspend(|| report::note(&format!("{name}:{n}: {problem}\n")));
        }
    }
    bar.finish_and_clear();
    Ok(tally.tell(stop.is_cancelled()))
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The lines of `file`, read on a thread of their own: standard input may let
/// one wait for ever, and a signal has to be heard meanwhile.
fn open(file: &Path) -> io::Result<impl Stream<Item = io::Result<String>> + use<>> {
    let lines: Box<dyn Iterator<Item = io::Result<String>> + Send> = match is_stdin(file) {
        true => Box::new(BufReader::new(io::stdin()).lines()),
        false => Box::new(BufReader::new(File::open(file)?).lines()),
    };
    let (sender, mut receiver) = mpsc::channel(AT_ONCE);
    std::thread::spawn(move || {
        for line in lines {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    Ok(stream::poll_fn(move |context| receiver.poll_recv(context)))
}

/// For the progress bar; 0: not known.
fn count(file: &Path) -> io::Result<u64> {
    if is_stdin(file) {
        return Ok(0);
    }
    let mut n = 0;
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        line?;
        n += 1;
    }
    Ok(n)
}

/// What became of a line; its problem if it is none.
async fn take(import: &Import<'_>, line: &str) -> anyhow::Result<Result<Imported, String>> {
    let letter = match read(line) {
        Ok(letter) => letter,
        Err(problem) => {
            let remedy = "only what `pelton dlq export` wrote can be imported";
            return Ok(Err(format!("{problem}; {remedy}")));
        }
    };
    Ok(import.store(&letter).await?.map_err(|refusal| refusal.to_string()))
}

fn read(line: &str) -> Result<Letter, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let payload = decoded("payload_base64", &line.payload_base64)?;
    let headers = line
        .headers
        .iter()
        .map(|(name, value)| Header { name: name.clone(), value: value.clone() });
    let headers: Vec<_> = headers.collect();
    match line.incomplete {
        Some(_) => Letter::read(&headers, payload.into())
            .ok_or_else(|| "it has no event, and no facts of one".to_owned()),
        None => line.into_letter(headers, payload),
    }
}

impl Line {
    fn into_letter(self, headers: Vec<Header>, payload: Vec<u8>) -> Result<Letter, String> {
        let block = self.malformed_headers_base64.as_deref();
        let block = block.map(|block| decoded("malformed_headers_base64", block)).transpose()?;
        let position = self.position();
        let event = Event {
            time_ms: time("published_at", &self.published_at)?,
            id: self.event_id,
            subject: self.subject,
            headers,
            payload: payload.into(),
            reply_to: None,
            attempt: self.attempts,
            position,
            replay: None,
        };
        Ok(Letter {
            event,
            host: self.host,
            plugin: self.plugin,
            digest: self.digest.unwrap_or_default(),
            reason: self.reason,
            error: self.error,
            backtrace: self.backtrace,
            failed_at_ms: time("failed_at", &self.failed_at)?,
            history: self
                .history
                .into_iter()
                .map(Failure::into_attempt)
                .collect::<Result<_, _>>()?,
            malformed: block.map(Into::into),
            left_in_stream: None,
            replays: self.replays,
            namespace: self.namespace.unwrap_or_default(),
            batch: None,
        })
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            stream: self.stream.clone()?,
            stream_created: self.stream_created_ns?,
            sequence: self.sequence?,
        })
    }
}

impl Failure {
    fn into_attempt(self) -> Result<Attempt, String> {
        let at_ms = time("history", &self.at)?;
        let Failure { replay, attempt, reason, error, .. } = self;
        Ok(Attempt { replay, number: attempt, at_ms, class: reason, error })
    }
}

fn decoded(field: &str, text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| format!("`{field}` is not base64: {error}"))
}

fn time(field: &str, text: &str) -> Result<u64, String> {
    milliseconds(text).ok_or_else(|| format!("`{field}` is no time: {text:?}"))
}

impl Tally {
    /// Counts an outcome; its problem, if it is one.
    fn count(&mut self, outcome: Result<Imported, String>) -> Option<String> {
        match outcome {
            Ok(Imported::Stored) => self.stored += 1,
            Ok(Imported::Present) => self.present += 1,
            Err(problem) => {
                self.refused += 1;
                return Some(problem);
            }
        }
        None
    }

    fn tell(&self, was_stopped: bool) -> Exit {
        let Tally { stored, present, refused } = *self;
        let mut text = format!("{} imported", letters(stored));
        if present > 0 {
            text += &format!(", {present} there already");
        }
        if refused > 0 {
            text += &format!(", {refused} left out");
        }
        let end = if was_stopped { "; stopped before the end\n" } else { "\n" };
        report::note(&(text + end));
        if refused > 0 || was_stopped { Exit::Failed } else { Exit::Ok }
    }
}
