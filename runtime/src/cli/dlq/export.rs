//! `pelton dlq export`: dead letters as JSON lines, complete.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use pelton::dead_letters::{DeadLetters, Selection};
use tempfile::NamedTempFile;

use super::{Exit, Place, choice::Filters, letters, look, progress, report, stop_on_signal};

/// Write dead letters as JSON lines, with all that is needed to run them again elsewhere
///
/// Nothing is removed. Each line has the original headers and the payload (`payload_base64`, and
/// `payload_text` if it is UTF-8), fetched from its stream where the letter does not carry it.
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

/// Exports.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, filters, output } = arguments;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let selection = Selection::Filter(filters.into_filter());
    let n = match output {
        Some(path) => to_file(&desk, &selection, &path).await?,
        None => write(&desk, &selection, BufWriter::new(io::stdout().lock())).await?,
    };
    match n {
        Some(n) => {
            report::note(&format!("{} exported\n", letters(n)));
            Ok(Exit::Ok)
        }
        None => {
            report::note("stopped before the end\n");
            Ok(Exit::Failed)
        }
    }
}

async fn to_file(
    desk: &DeadLetters,
    selection: &Selection,
    path: &Path,
) -> anyhow::Result<Option<u64>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let context = || format!("write {}", path.display());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(context)?;
    let n = write(desk, selection, BufWriter::new(file.as_file())).await?;
    if n.is_some() {
        file.as_file().sync_all().with_context(context)?;
        file.persist(path).with_context(context)?;
    }
    Ok(n)
}

/// How many were written; `None` if it was stopped before the end.
async fn write(
    desk: &DeadLetters,
    selection: &Selection,
    mut output: impl Write,
) -> anyhow::Result<Option<u64>> {
    let stop = stop_on_signal()?;
    let bar = progress::bar("exporting", desk.count(selection).await?);
    let mut selected = desk.select(selection, false).await?;
    let mut n = 0;
    while let Some(found) = selected.next().await? {
        if stop.is_cancelled() {
            output.flush()?;
            return Ok(None);
        }
        let Ok(entry) = found else { continue };
        let event = desk.event(&entry).await?;
        writeln!(output, "{}", serde_json::Value::Object(look::whole(&entry, &event)))?;
        n += 1;
        bar.inc(1);
    }
    output.flush()?;
    bar.finish_and_clear();
    Ok(Some(n))
}
