//! What is typed into `pelton dev` is published: a subject and a payload a line.

use anyhow::Context as _;
use pelton::{
    broker::{Broker as _, Keep, Message},
    host::{self, Unreachable},
    manifest::Manifest,
    subject,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, stdin};

use crate::cli::report;

/// The longest line, in bytes: as much as a server takes.
const LONGEST: u64 = 1 << 20;

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
    loop {
        let mut line = String::new();
        let read = (&mut lines).take(LONGEST).read_line(&mut line).await;
        match read.context("read standard input") {
            Ok(0) => return Ok(()),
            Ok(_) if line.trim().is_empty() => continue,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        match message(&line) {
            Ok(message) => {
                broker.publish(&message).await?;
            }
            Err(problem) => report::note(&format!("{problem}\n")),
        }
    }
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
