//! `pelton dlq show`: everything about one dead letter.

use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
    time::SystemTime,
};

use clap::Args;
use pelton::{
    dead_letters::{DeadLetters, Entry},
    event::{
        Event, Header,
        letter::{Letter, timestamp},
    },
};

use super::{
    Exit, Place, history,
    look::{self, clean},
    payload, report,
};

/// Show payload, headers, history, error and backtrace of dead letters
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq show 42\n  \
    pelton dlq show 42 --raw > payload.bin\n  \
    pelton dlq show 42 43 --json")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Their numbers, as `pelton dlq list` shows them
    #[arg(value_name = "NUMBER", required = true, value_parser = clap::value_parser!(u64).range(1..))]
    numbers: Vec<u64>,
    /// Write the payload's bytes, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print JSON, one line each, as `pelton dlq export` does
    #[arg(long)]
    json: bool,
}

/// Shows.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, numbers, raw, json } = arguments;
    if raw && numbers.len() > 1 {
        report::error(&anyhow::anyhow!("--raw writes one payload: give one number"));
        return Ok(Exit::Usage);
    }
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let mut exit = Exit::Ok;
    for number in numbers {
        let Some(entry) = desk.entry(number).await? else {
            let stream = desk.stream();
            report::error(&anyhow::anyhow!("there is no dead letter {number} in `{stream}`"));
            exit = Exit::Failed;
            continue;
        };
        let event = desk.event(&entry).await?;
        if raw {
            exit = write_payload(&entry, event)?;
        } else if json {
            let line = serde_json::Value::Object(look::whole(&entry, &event));
            report::text(&format!("{line}\n"))?;
        } else {
            report::text(&text(&desk, &entry, &event)?)?;
        }
    }
    Ok(exit)
}

fn write_payload(entry: &Entry, event: Result<Event, String>) -> anyhow::Result<Exit> {
    let payload = match (event, &entry.letter) {
        (Ok(event), _) => event.payload,
        (Err(_), None) => entry.payload.clone(),
        (Err(problem), Some(_)) => {
            report::error(&anyhow::anyhow!("dead letter {}: {problem}", entry.number));
            return Ok(Exit::Failed);
        }
    };
    let mut stdout = stdout().lock();
    stdout.write_all(&payload)?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

fn text(
    desk: &DeadLetters,
    entry: &Entry,
    event: &Result<Event, String>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "dead letter {} of `{}`", entry.number, desk.stream())?;
    let mut headers = &entry.headers;
    if let Some(letter) = &entry.letter {
        facts(&mut text, letter)?;
        writeln!(text, "\nhistory\n{}", history::lines(letter).trim_end_matches('\n'))?;
        if let Some(backtrace) = &letter.backtrace {
            let lines = payload::indent(&backtrace.replace(" | ", "\n"));
            writeln!(text, "\nbacktrace\n{}", lines.trim_end_matches('\n'))?;
        }
        headers = event.as_ref().map_or(&letter.event.headers, |event| &event.headers);
    } else {
        writeln!(text, "  not written by pelton; on `{}`", clean(&entry.subject))?;
    }
    writeln!(text, "\nheaders")?;
    write_headers(&mut text, headers)?;
    if let Some(block) = entry.letter.as_ref().and_then(|letter| letter.malformed.as_ref()) {
        let block = payload::indent(&String::from_utf8_lossy(block));
        writeln!(text, "\nheaders as they were sent, which cannot be read\n{block}")?;
    }
    match (event, &entry.letter) {
        (Err(problem), Some(_)) => writeln!(text, "\npayload\n  {problem}")?,
        (Ok(event), _) => write_payload_text(&mut text, &event.payload)?,
        (Err(_), None) => write_payload_text(&mut text, &entry.payload)?,
    }
    Ok(text + "\n")
}

fn write_payload_text(text: &mut String, bytes: &[u8]) -> std::fmt::Result {
    let (heading, lines) = payload::lines(bytes);
    write!(text, "\n{heading}\n{lines}")
}

fn facts(text: &mut String, letter: &Letter) -> std::fmt::Result {
    let Letter { event, .. } = letter;
    let (now, failed) = (SystemTime::now(), letter.failed_at_ms);
    let failed = format!("{} ({} ago)", timestamp(failed), look::age(now, failed));
    let stored = match &event.position {
        Some(position) => format!("number {} of `{}`", position.sequence, position.stream),
        None => "nowhere: it came over core NATS".to_owned(),
    };
    let mut lines = vec![
        ("plugin", format!("{} of host {}", letter.plugin, letter.host)),
        ("reason", letter.reason.clone()),
        ("error", letter.error.clone()),
        ("subject", event.subject.clone()),
        ("event", event.id.clone()),
        ("stored", stored),
        ("published", timestamp(event.time_ms)),
        ("failed", failed),
        ("attempts", event.attempt.to_string()),
        ("component", letter.digest.clone()),
    ];
    if letter.replays > 0 {
        lines.push(("replays", letter.replays.to_string()));
    }
    if !letter.namespace.is_empty() {
        lines.push(("run", format!("anew, as {}", letter.namespace)));
    }
    lines.iter().try_for_each(|(name, value)| writeln!(text, "  {name:<10} {}", clean(value)))
}

fn write_headers(text: &mut String, headers: &[Header]) -> std::fmt::Result {
    if headers.is_empty() {
        writeln!(text, "  none")?;
    }
    let line = |header: &Header| format!("{}: {}", clean(&header.name), clean(&header.value));
    headers.iter().try_for_each(|header| writeln!(text, "  {}", line(header)))
}
