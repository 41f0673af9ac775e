//! `pelton dlq export`: dead letters as JSON lines, complete.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use pelton::dead_letters::{DeadLetters, Selection};
use tempfile::NamedTempFile;

use super::{
    Exit, Place, choice::Filters, complaints::Complaints, letters, look, progress, report,
    stop_on_signal,
};

/// Write dead letters as JSON lines, with all that is needed to run them again elsewhere
///
/// Nothing is removed. Each line has the original headers and the payload (`payload_base64`, and
/// `payload_text` if it is UTF-8), fetched from its stream where the letter does not carry it. Where
/// it has gone from there, the line says so (`incomplete`), it is told, and the exit code is 1: such
/// a letter cannot be run again, here or elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq export --output letters.jsonl\n  \
    pelton dlq export --plugin price --newer-than 1d | jq -r .payload_text")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filters: Filters,
    /// Write to this file, whole or not at all, instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What became of an export.
#[derive(Default)]
struct Written {
    /// How many letters were written.
    n: u64,
    /// How many of them without their event, because it is gone.
    incomplete: u64,
    was_stopped: bool,
}

/// Exports.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, filters, output } = arguments;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let selection = Selection::Filter(filters.into_filter());
    let written = match output {
        Some(path) => to_file(&desk, &selection, &path).await?,
        None => write(&desk, &selection, BufWriter::new(io::stdout().lock())).await?,
    };
    Ok(written.tell())
}

impl Written {
    fn tell(&self) -> Exit {
        let Written { n, incomplete, was_stopped } = *self;
        if was_stopped {
            report::note("stopped before the end\n");
            return Exit::Failed;
        }
        let without = match incomplete {
            0 => String::new(),
            n => format!(", {n} of them without the event"),
        };
        report::note(&format!("{} exported{without}\n", letters(n)));
        if incomplete == 0 { Exit::Ok } else { Exit::Failed }
    }
}

async fn to_file(
    desk: &DeadLetters,
    selection: &Selection,
    path: &Path,
) -> anyhow::Result<Written> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let context = || format!("write {}", path.display());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(context)?;
    let written = write(desk, selection, BufWriter::new(file.as_file())).await?;
    if !written.was_stopped {
        file.as_file().sync_all().with_context(context)?;
        file.persist(path).with_context(context)?;
    }
    Ok(written)
}

async fn write(
    desk: &DeadLetters,
    selection: &Selection,
    mut output: impl Write,
) -> anyhow::Result<Written> {
    let stop = stop_on_signal()?;
    let bar = progress::bar("exporting", desk.count(selection).await?);
    let mut selected = desk.select(selection, false).await?;
    let (mut written, mut complaints) = (Written::default(), Complaints::default());
    while let Some(found) = selected.next().await? {
        if stop.is_cancelled() {
            written.was_stopped = true;
            break;
        }
        let Ok(entry) = found else { continue };
        let event = desk.event(&entry).await?;
        writeln!(output, "{}", serde_json::Value::Object(look::whole(&entry, &event)))?;
        written.n += 1;
        if let Err(problem) = &event {
            written.incomplete += 1;
            complaints.tell(&bar, entry.number, problem);
        }
        bar.inc(1);
    }
    output.flush()?;
    bar.finish_and_clear();
    complaints.summarise();
    Ok(written)
}
