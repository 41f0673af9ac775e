//! `pelton dlq list`: which dead letters there are.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, stdout},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use clap::Args;
use pelton::{
    broker::nats::StreamState,
    dead_letters::{Entry, Page, Paging},
};

use super::{Exit, Place, choice::Filters, letters, look, report};

/// The share of the stream's bytes, in percent, from which it is said to be nearly full.
const NEARLY_FULL: u64 = 80;
/// The share of the time they are kept, in percent, from which the oldest are said to go soon.
const NEARLY_OLD: u32 = 90;

/// List dead letters, the newest first
///
/// On a terminal as a table; otherwise one line each with columns separated by tabs: number, time,
/// plugin, reason, attempts, subject, error. What is beside them goes to standard error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq list\n  \
    pelton dlq list --plugin price --reason timeout --newer-than 1h\n  \
    pelton dlq list --before 1200                  the page after the one that ended at 1200\n  \
    pelton dlq list --json --limit 1000 | jq -r .error | sort | uniq -c")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filters: Filters,
    /// Begin with the oldest
    #[arg(long)]
    oldest: bool,
    /// Only those with lower numbers
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Only those with higher numbers
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// The most that are listed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Print JSON, one line each
    #[arg(long)]
    json: bool,
}

/// Lists.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, filters, oldest, before, after, limit, json } = arguments;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let filter = filters.into_filter();
    let is_all = filter.is_empty();
    let paging = Paging { newest_first: !oldest, before, after, limit: limit.into() };
    let page = desk.page(&filter, paging).await?;
    let text = match (json, stdout().is_terminal()) {
        (true, _) => page.entries.iter().map(as_json).collect(),
        (false, true) => table(&page.entries, width()),
        (false, false) => page.entries.iter().map(plain).collect::<String>(),
    };
    report::text(&text)?;
    report::note(&remark(&page, oldest, is_all, desk.stream()));
    if let Some(state) = desk.state().await? {
        report::note(&limits(&state, SystemTime::now()));
    }
    Ok(Exit::Ok)
}

fn as_json(entry: &Entry) -> String {
    format!("{}\n", serde_json::Value::Object(look::summary(entry)))
}

fn plain(entry: &Entry) -> String {
    look::row(entry, None).join("\t") + "\n"
}

fn remark(page: &Page, oldest: bool, is_all: bool, stream: &str) -> String {
    let matching = if is_all { "" } else { " match" };
    if page.total == 0 {
        return format!("no dead letters{matching} in `{stream}`\n");
    }
    let n = page.entries.len();
    let mut text = match n as u64 == page.total {
        true => format!("{}{matching}", letters(page.total)),
        false => {
            format!("{n} of {}{}", letters(page.total), matching.replace(" match", " that match"))
        }
    };
    if let (true, Some(last)) = (page.has_more, page.entries.last()) {
        let flag = if oldest { "after" } else { "before" };
        text += &format!("; go on with --{flag} {}", last.number);
    }
    text + "\n"
}

/// What will be lost soon, and the remedy.
fn limits(state: &StreamState, now: SystemTime) -> String {
    let mut text = String::new();
    let full = state.max_bytes.map(|max| (max, state.bytes.saturating_mul(100) / max.max(1)));
    if let Some((max, percent)) = full.filter(|(_, percent)| *percent >= NEARLY_FULL) {
        let max = ByteSize(max);
        text += &format!(
            "the stream is {percent} % full: beyond {max} the oldest letters are removed for new ones; raise `[dead-letters] max-bytes`, or drop some\n"
        );
    }
    let oldest = UNIX_EPOCH + Duration::from_millis(state.first_ms);
    let age = now.duration_since(oldest).unwrap_or_default();
    let limit =
        state.max_age.filter(|limit| state.messages > 0 && age >= *limit * NEARLY_OLD / 100);
    if let Some(limit) = limit {
        let left = Duration::from_secs(limit.saturating_sub(age).as_secs());
        let left = humantime::format_duration(left);
        text += &format!(
            "the oldest letter is removed in {left}; raise `[dead-letters] max-age`, or export it\n"
        );
    }
    text
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(120, |(width, _)| width.0.into())
}

/// Columns as wide as their widest cell; subject and error share what is left.
fn table(entries: &[Entry], width: usize) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let now = Some(SystemTime::now());
    let heading = look::COLUMNS.map(str::to_owned);
    let rows: Vec<_> =
        std::iter::once(heading).chain(entries.iter().map(|entry| look::row(entry, now))).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(cell.chars().count());
        }
    }
    let [number, failed, plugin, reason, attempts, subject, error] = widths;
    let fixed = number + failed + plugin + reason + attempts + 2 * 6;
    let left = width.saturating_sub(fixed).max(24);
    let subject = subject.min(left / 2).max(left.saturating_sub(error).min(subject));
    let widths = [number, failed, plugin, reason, attempts, subject, left.saturating_sub(subject)];
    rows.iter().map(|row| line(row, widths)).collect()
}

fn line(row: &[String; 7], widths: [usize; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        // Writing to a text cannot fail.
        write!(line, "{:<width$}  ", cut(cell, width)).unwrap_or_default();
    }
    line.trim_end().to_owned() + "\n"
}

fn cut(cell: &str, width: usize) -> String {
    match cell.chars().count() > width {
        true => cell.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => cell.to_owned(),
    }
}
