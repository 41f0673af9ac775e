//! What is typed into `pelton dev` is published: a subject and a payload a line.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::Context as _;
use pelton::{
    broker::{Broker as _, Keep, Message, nats::Broker},
    host::{self, Unreachable},
    manifest::Manifest,
    subject::{self, Pattern},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, stdin},
    task::spawn_blocking,
};

use crate::cli::{check::Source, report};

/// The longest line, in bytes: as much as a server takes.
const LONGEST: u64 = 1 << 20;

/// How long the end may wait for the server.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

const USAGE: &str = "a line is a subject, a space, and the payload: orders.created {\"id\": 1}";

/// Publishes line after line, until there are no more. `file`: where `manifest` is
/// from, as it is while lines are typed.
pub async fn publish(manifest: Manifest, file: PathBuf) {
    if let Err(error) = try_publish(manifest, file).await {
        report::error(&error.context("publish what is typed"));
    }
}

async fn try_publish(manifest: Manifest, file: PathBuf) -> anyhow::Result<()> {
    let broker = host::connect(&manifest, Unreachable::Wait).await?;
    let typist = Typist { broker, manifest, file };
    let mut lines = BufReader::new(stdin());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut line).await;
        if read.context("read standard input")? == 0 {
            break;
        }
        if let Err(problem) = typist.publish(&line).await {
            report::note(&format!("{problem}\n"));
        }
    }
    // What was typed last is on its way still.
    typist.broker.close(LAST_ANSWERS).await?;
    Ok(())
}

struct Typist {
    broker: Broker,
    /// As it was at the start: it counts while the file cannot be read.
    manifest: Manifest,
    file: PathBuf,
}

impl Typist {
    /// A line that cannot be published, or that no plugin takes, is told, and the next
    /// one is read.
    async fn publish(&self, line: &[u8]) -> Result<(), String> {
        if line.len() as u64 >= LONGEST {
            return Err(format!("a line of more than {LONGEST} bytes is not published as one"));
        }
        let line = std::str::from_utf8(line).map_err(|_| "the line is no text".to_owned())?;
        if line.trim().is_empty() {
            return Ok(());
        }
        let message = message(line)?;
        self.broker.publish(&message).await.map_err(|error| error.to_string())?;
        let file = self.file.clone();
        let now = spawn_blocking(move || Source::read_sources(&file)).await;
        let now = now.ok().and_then(Result::ok);
        check_taken(&message.subject, &subscriptions(now.as_ref().unwrap_or(&self.manifest)))
    }
}

/// All that its plugins subscribe to.
fn subscriptions(manifest: &Manifest) -> BTreeSet<&Pattern> {
    manifest.plugins.values().flat_map(|plugin| &plugin.subscribe).collect()
}

fn check_taken(subject: &str, subjects: &BTreeSet<&Pattern>) -> Result<(), String> {
    if subjects.iter().any(|pattern| pattern.matches(subject)) {
        return Ok(());
    }
    let subjects: Vec<_> = subjects.iter().map(|it| format!("`{}`", it.as_str())).collect();
    Err(format!("no plugin takes `{subject}`; they subscribe to {}", subjects.join(", ")))
}

fn message(line: &str) -> Result<Message, String> {
    let line = line.trim_end_matches(['\r', '\n']).trim_start();
    let (subject, payload) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    subject::check(subject)
        .map_err(|error| format!("`{subject}` is no subject: {error}; {USAGE}"))?;
    Ok(Message {
        subject: subject.to_owned(),
        headers: Vec::new(),
        payload: payload.trim_start().to_owned().into(),
        keep: Keep::Fleeting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_subject_and_a_payload() {
        let typed = message("  orders.created  {\"id\": 1}\r\n").unwrap();
        assert_eq!((&*typed.subject, &typed.payload[..]), ("orders.created", &b"{\"id\": 1}"[..]));
        assert_eq!(message("tick").unwrap().payload.len(), 0);
        assert!(message("orders.* x").unwrap_err().contains("orders.created {"));
    }
}
