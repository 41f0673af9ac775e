//! What is done with one dead letter: its event is asked to be run again, sent
//! to another subject, or it is removed.
//!
//! First what shall happen is stored, under an id made of the letter; then the
//! letter is removed. So a break between the two leaves it listed, and to do the
//! same again does it once.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::{DeadLetters, Entry};
use crate::{
    broker::{
        Keep, MAX_STORED_HEADERS, Message, PublishError, Published, SetupError, size_of_headers,
    },
    event::{
        Header,
        letter::{Letter, Wish},
    },
    subject::plain,
};

/// How often a message is published before the server is given up.
const PUBLISH_ATTEMPTS: u32 = 4;
const PUBLISH_PAUSE: Duration = Duration::from_millis(250);
/// Room for what the broker adds to a message.
pub(super) const ADDED: usize = 256;

/// How events are to be run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Names the call, so that its letters are found if they come back.
    pub batch: String,
    /// Whether outputs get new ids, so that what an earlier run published is
    /// published again.
    pub as_new: bool,
}

/// An event was asked to be run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The plugin that will run it.
    pub plugin: String,
    /// The sequence of the request in the stream of replays.
    pub request: u64,
    /// Whether the same had been asked before.
    pub before: bool,
}

/// Why nothing was done with a dead letter. It is where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Errand {
    /// A new one.
    pub fn new(as_new: bool) -> Errand {
        Errand { batch: format!("{:016x}", rand::random::<u64>()), as_new }
    }

    fn wish(&self, letter: &Letter) -> Wish {
        // A letter that was run anew before goes on in that run.
        let namespace = if self.as_new { &self.batch } else { &letter.namespace };
        Wish { namespace: namespace.clone(), batch: self.batch.clone() }
    }
}

impl DeadLetters {
    /// Makes the stream of replays, if no host has made it yet.
    ///
    /// # Errors
    /// If it is otherwise than hosts make it.
    pub async fn prepare(&self) -> Result<(), SetupError> {
        let settings = self.settings.replays_settings();
        self.broker.ensure_stream(&self.settings.replays, &settings).await.map(drop)
    }

    /// Whether `entry` could be run again.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn replayable(&self, entry: &Entry) -> Result<Result<(), Refusal>, SetupError> {
        let letter = match self.letter(entry) {
            Ok(letter) => letter,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if letter.host != self.host {
            let theirs = &letter.host;
            return Ok(refuse(format!("it is of the host `{theirs}`: use that one's manifest")));
        }
        if !self.plugins.contains(&letter.plugin) {
            return Ok(refuse(format!(
                "the manifest has no plugin `{}`: bring it back, or send the event elsewhere with --to",
                letter.plugin
            )));
        }
        match letter.left_in_stream {
            None => Ok(Ok(())),
            Some(_) => Ok(self.event(entry).await?.map(drop).map_err(Refusal)),
        }
    }

    /// The letter of `entry`, if an event can be made of it.
    fn letter<'a>(&self, entry: &'a Entry) -> Result<&'a Letter, Refusal> {
        let no_letter = || Refusal("it is no dead letter of pelton".to_owned());
        let letter = entry.letter.as_ref().ok_or_else(no_letter)?;
        match letter.malformed {
            None => Ok(letter),
            Some(_) => Err(Refusal(
                "its headers could not be read, so no handler can be given it: see them with `pelton dlq show`"
                    .to_owned(),
            )),
        }
    }

    /// Asks the host to run the event of `entry` again, and removes the letter.
    pub(super) async fn ask(
        &self,
        entry: &Entry,
        errand: &Errand,
        created: i64,
    ) -> Result<Result<Asked, Refusal>, SetupError> {
        if let Err(refusal) = self.replayable(entry).await? {
            return Ok(Err(refusal));
        }
        let Ok(letter) = self.letter(entry) else { return Ok(refuse(String::new())) };
        let Some(request) = self.request(entry, letter, errand, created) else {
            return Ok(refuse(
                "with what a request needs it is more than the server's max_payload: raise that"
                    .to_owned(),
            ));
        };
        let (published, request) = match self.store(&request).await? {
            Ok(stored) => stored,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.broker.remove_stored(&self.settings.stream, entry.number).await?;
        let before = published == Published::Duplicate;
        Ok(Ok(Asked { plugin: letter.plugin.clone(), request, before }))
    }

    /// The request, with as many of the facts as fit.
    fn request(
        &self,
        entry: &Entry,
        letter: &Letter,
        errand: &Errand,
        created: i64,
    ) -> Option<Message> {
        let prefix = &self.settings.replays_prefix;
        let subject = format!("{prefix}.{}.{}", letter.plugin, plain(&letter.event.subject));
        let id = self.id("replay", entry.number, created, "");
        let keep = Keep::Stored { id, stream: Some(self.settings.replays.as_str().into()) };
        let wish = errand.wish(letter);
        let message = |effort| Message {
            subject: subject.clone(),
            headers: Letter::request(&entry.headers, &wish, effort),
            payload: entry.payload.clone(),
            keep: keep.clone(),
        };
        (0..=Letter::MAX_EFFORT).map(message).find(|message| self.takes(message, ADDED))
    }

    /// Whether the server takes it with so many bytes of headers more.
    pub(super) fn takes(&self, message: &Message, added: usize) -> bool {
        let headers = size_of_headers(&message.headers) + added;
        let limit = self.broker.max_payload();
        headers <= MAX_STORED_HEADERS && headers + message.payload.len() <= limit
    }

    /// Publishes the event of `entry` to `subject`, and removes the letter.
    pub(super) async fn send(
        &self,
        entry: &Entry,
        subject: &str,
        created: i64,
    ) -> Result<Result<(), Refusal>, SetupError> {
        let event = match self.letter(entry) {
            Ok(_) => self.event(entry).await?.map_err(Refusal),
            Err(refusal) => Err(refusal),
        };
        let event = match event {
            Ok(event) => event,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Those would command the server.
        let is_plain = |header: &Header| !header.name.to_ascii_lowercase().starts_with("nats-");
        let message = Message {
            subject: subject.to_owned(),
            headers: event.headers.into_iter().filter(is_plain).collect(),
            payload: event.payload,
            keep: Keep::Stored { id: self.id("to", entry.number, created, subject), stream: None },
        };
        if let Err(refusal) = self.store(&message).await? {
            return Ok(Err(refusal));
        }
        self.broker.remove_stored(&self.settings.stream, entry.number).await?;
        Ok(Ok(()))
    }

    /// Removes the letter; `false`: it was not there.
    pub(super) async fn remove(&self, number: u64) -> Result<bool, SetupError> {
        self.broker.remove_stored(&self.settings.stream, number).await
    }

    /// Publishes under the same id until it is stored, some times.
    pub(super) async fn store(
        &self,
        message: &Message,
    ) -> Result<Result<(Published, u64), Refusal>, SetupError> {
        let mut attempt = 1;
        loop {
            let problem = match self.broker.publish_numbered(message).await {
                Ok(stored) => return Ok(Ok(stored)),
                Err(error @ PublishError::Refused { .. }) => return Ok(refuse(error.to_string())),
                Err(error) => error.to_string(),
            };
            if attempt == PUBLISH_ATTEMPTS {
                let what = "nothing was removed that is not stored elsewhere".to_owned();
                return Err(SetupError { code: "nats-api", what, problem });
            }
            attempt += 1;
            sleep(PUBLISH_PAUSE.mul_f64(rand::random_range(0.5..=1.5))).await;
        }
    }

    /// The id of what is made of a letter.
    fn id(&self, act: &str, number: u64, created: i64, more: &str) -> String {
        let position = self.position(created, number).event_id();
        let mut hash = Sha256::new();
        for part in ["pelton/dead-letter/1", act, &position, more] {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        let mut id = BASE64_URL_SAFE_NO_PAD.encode(hash.finalize());
        id.truncate(22);
        id
    }
}

fn refuse<T>(reason: String) -> Result<T, Refusal> {
    Err(Refusal(reason))
}
