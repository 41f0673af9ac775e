//! What is typed into `pelton dev` is published: a subject and a payload a line.

use std::time::Duration;

use anyhow::Context as _;
use pelton::{
    broker::{Broker as _, Keep, Message, nats::Broker},
    host::{self, Unreachable},
    manifest::Manifest,
    subject,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, stdin};

use crate::cli::report;

/// The longest line, in bytes: as much as a server takes.
const LONGEST: u64 = 1 << 20;

/// How long the end may wait for the server.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

const USAGE: &str = "a line is a subject, a space, and the payload: orders.created {\"id\": 1}";

/// Publishes line after line, until there are no more.
pub async fn publish(manifest: Manifest) {
    if let Err(error) = try_publish(&manifest).await {
        report::error(&error.context("publish what is typed"));
    }
}

async fn try_publish(manifest: &Manifest) -> anyhow::Result<()> {
    let broker = host::connect(manifest, Unreachable::Wait).await?;
    let mut lines = BufReader::new(stdin());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut line).await;
        if read.context("read standard input")? == 0 {
            break;
        }
        if let Err(problem) = publish_line(&broker, &line).await {
            report::note(&format!("{problem}\n"));
        }
    }
    // What was typed last is on its way still.
    broker.close(LAST_ANSWERS).await?;
    Ok(())
}

/// A line that cannot be published is told, and the next one is read.
async fn publish_line(broker: &Broker, line: &[u8]) -> Result<(), String> {
    if line.len() as u64 >= LONGEST {
        return Err(format!("a line of more than {LONGEST} bytes is not published as one"));
    }
    let line = std::str::from_utf8(line).map_err(|_| "the line is no text".to_owned())?;
    if line.trim().is_empty() {
        return Ok(());
    }
    let message = message(line)?;
    broker.publish(&message).await.map(drop).map_err(|error| error.to_string())
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
