//! Dead letters that come from elsewhere: stored as if the host had written them.
//!
//! Each under an id made of the letter, and none that is there already, so that
//! to import the same twice does no harm.

use std::collections::HashSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{DeadLetters, Entry, Filter, Refusal, ask::ADDED};
use crate::{
    broker::{Keep, Message, Published, SetupError},
    event::{Header, letter::Letter},
    subject::plain,
};

/// Takes letters from elsewhere.
#[derive(Debug)]
pub struct Import<'a> {
    desk: &'a DeadLetters,
    /// The ids of those that were there.
    present: HashSet<String>,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is stored now.
    Stored,
    /// It was there before.
    Present,
}

impl DeadLetters {
    /// Makes the stream of dead letters, if no host has made it yet, and looks at
    /// what it holds.
    ///
    /// # Errors
    /// If the stream is otherwise than hosts make it, or the server does not say
    /// what it holds.
    pub async fn importing(&self) -> Result<Import<'_>, SetupError> {
        let settings = self.settings.letters_settings();
        self.broker.ensure_stream(&self.settings.stream, &settings).await?;
        let last = self.state().await?.map_or(0, |state| state.last);
        let mut reading = self.broker.read(self.scope(&Filter::default(), 1, last));
        let mut present = HashSet::new();
        while let Some(stored) = reading.next().await? {
            present.extend(Entry::new(stored).letter.as_ref().map(id));
        }
        Ok(Import { desk: self, present })
    }
}

impl Import<'_> {
    /// Stores `letter`, unless it is there.
    ///
    /// # Errors
    /// If it is not known to be stored.
    pub async fn store(&self, letter: &Letter) -> Result<Result<Imported, Refusal>, SetupError> {
        let id = id(letter);
        if self.present.contains(&id) {
            return Ok(Ok(Imported::Present));
        }
        if let Err(refusal) = self.check(letter) {
            return Ok(Err(refusal));
        }
        let message = self.message(letter, id);
        let stored = self.desk.store(&message).await.map_err(|error| SetupError {
            what: "the dead letter is not known to be stored".to_owned(),
            ..error
        })?;
        Ok(stored.map(|(published, _)| match published {
            Published::Duplicate => Imported::Present,
            Published::Stored | Published::Sent => Imported::Stored,
        }))
    }

    fn message(&self, letter: &Letter, id: String) -> Message {
        let settings = &self.desk.settings;
        let (plugin, subject) = (&letter.plugin, plain(&letter.event.subject));
        let message = |(headers, payload)| Message {
            subject: format!("{}.{plugin}.{subject}", settings.prefix),
            headers,
            payload,
            keep: Keep::Stored { id: id.clone(), stream: Some(settings.stream.as_str().into()) },
        };
        let plain = message((letter.headers(), letter.event.payload.clone()));
        match self.desk.takes(&plain, 2 * ADDED) {
            true => plain,
            false => message(letter.packed()),
        }
    }

    fn check(&self, letter: &Letter) -> Result<(), Refusal> {
        let (theirs, ours) = (&letter.host, &self.desk.host);
        if theirs != ours {
            return Err(Refusal(format!(
                "it is of the host `{theirs}`, and this is `{ours}`: use that one's manifest"
            )));
        }
        let is_token = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>');
        if letter.plugin.is_empty() || !letter.plugin.chars().all(is_token) {
            return Err(Refusal("no plugin can have the name that it says".to_owned()));
        }
        // In a packed letter they would be more headers than one.
        let is_split = |header: &Header| {
            header.name.contains(['\r', '\n', ':']) || header.value.contains(['\r', '\n'])
        };
        if letter.event.headers.iter().any(is_split) {
            return Err(Refusal("it has a header that no event can have".to_owned()));
        }
        Ok(())
    }
}

/// Names a letter: that event, given up then, after so many replays.
fn id(letter: &Letter) -> String {
    let Letter { event, host, plugin, namespace, replays, failed_at_ms, .. } = letter;
    let (replays, failed_at) = (replays.to_string(), failed_at_ms.to_string());
    let mut hash = Sha256::new();
    let parts = ["pelton/import/1", host, plugin, &event.id, namespace, &replays, &failed_at];
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(b"\0");
    }
    let mut id = BASE64_URL_SAFE_NO_PAD.encode(hash.finalize());
    id.truncate(22);
    id
}
