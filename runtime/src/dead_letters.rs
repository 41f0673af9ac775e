//! The dead letters of a host, as an operator sees them: looked through, shown,
//! run again, sent elsewhere, removed.
//!
//! Everything is read as a stream and bounded in memory, however many there
//! are. What an event's failure means is decided in `dispatch`, and replays are
//! run by the host: here they are only asked for.

use std::collections::BTreeSet;

use futures::future::Either;

use crate::{
    broker::{
        SetupError,
        nats::{Broker, Reading, Scope, StreamState},
    },
    event::{Event, Position},
    manifest::{self, Manifest},
};

pub use ask::{Asked, Errand, Refusal};
pub use entry::Entry;
pub use filter::Filter;
pub use import::{Import, Imported};
pub use page::{Page, Paging};
pub use sweep::{Act, Outcome, Sweep};
pub use waiting::{Batch, Settled, Waiting};

mod ask;
mod entry;
mod filter;
mod import;
mod page;
mod sweep;
mod waiting;

/// The dead letters of one host.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    broker: Broker,
    settings: manifest::DeadLetters,
    host: String,
    plugins: BTreeSet<String>,
}

/// Which dead letters are meant.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those with these numbers.
    Numbers(Vec<u64>),
    /// Those that a filter takes.
    Filter(Filter),
}

/// The dead letters of a selection, one after the other.
pub struct Selected<'a> {
    letters: &'a DeadLetters,
    now_ms: u64,
    source: Either<std::vec::IntoIter<u64>, (Box<Reading>, Filter)>,
}

impl DeadLetters {
    /// Those of the host that `manifest` describes.
    pub fn new(broker: Broker, manifest: &Manifest) -> DeadLetters {
        DeadLetters {
            broker,
            settings: manifest.dead_letters.clone(),
            host: manifest.host.name.clone(),
            plugins: manifest.plugins.keys().cloned().collect(),
        }
    }

    /// The name of the stream that holds them.
    pub fn stream(&self) -> &str {
        &self.settings.stream
    }

    /// The name of the stream that holds what is asked to be run again.
    pub fn replays(&self) -> &str {
        &self.settings.replays
    }

    /// What the stream holds; `None` if there is no such stream, because no host
    /// has made it yet.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn state(&self) -> Result<Option<StreamState>, SetupError> {
        self.broker.stream_state(&self.settings.stream).await
    }

    /// The dead letter `number`, if there is one.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn entry(&self, number: u64) -> Result<Option<Entry>, SetupError> {
        let stored = self.broker.stored(&self.settings.stream, number).await;
        match stored {
            Ok(stored) => Ok(stored.map(Entry::new)),
            // No stream, no letter.
            Err(error) => match self.state().await? {
                None => Ok(None),
                Some(_) => Err(error),
            },
        }
    }

    /// The event of `entry` as it was, fetched from the source stream if the
    /// letter does not carry it; or why there is none.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn event(&self, entry: &Entry) -> Result<Result<Event, String>, SetupError> {
        let Some(letter) = &entry.letter else {
            return Ok(Err("it is no dead letter of pelton".to_owned()));
        };
        let event = letter.event.clone();
        if letter.left_in_stream.is_none() {
            return Ok(Ok(event));
        }
        let Some(position) = &event.position else {
            return Ok(Err("its payload is not known, nor where it was stored".to_owned()));
        };
        let found = self.broker.stored_at(position).await?;
        let whole = found.map(|stored| Event {
            headers: stored.headers,
            payload: stored.payload,
            ..event.clone()
        });
        Ok(whole.map_err(|gone| format!("its payload is gone: {gone}")))
    }

    /// Begins to read what `selection` means, up to what is stored now: what
    /// comes while it is being read is not part of it.
    ///
    /// # Errors
    /// If the server does not say what is stored.
    pub async fn select(
        &self,
        selection: &Selection,
        only_headers: bool,
    ) -> Result<Selected<'_>, SetupError> {
        let source = match selection {
            Selection::Numbers(numbers) => Either::Left(numbers.clone().into_iter()),
            Selection::Filter(filter) => {
                let last = self.state().await?.map_or(0, |state| state.last);
                let scope = Scope { only_headers, ..self.scope(filter, 1, last) };
                Either::Right((Box::new(self.broker.read(scope)), filter.clone()))
            }
        };
        Ok(Selected { letters: self, now_ms: now_ms(), source })
    }

    /// How many dead letters `selection` means.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn count(&self, selection: &Selection) -> Result<u64, SetupError> {
        match selection {
            Selection::Numbers(numbers) => Ok(numbers.len() as u64),
            Selection::Filter(_) if self.state().await?.is_none() => Ok(0),
            Selection::Filter(filter) if filter.is_by_subject() => {
                self.broker.count_stored(&self.scope(filter, 1, u64::MAX)).await
            }
            Selection::Filter(_) => {
                let (mut selected, mut n) = (self.select(selection, true).await?, 0);
                while let Some(found) = selected.next().await? {
                    n += u64::from(found.is_ok());
                }
                Ok(n)
            }
        }
    }

    /// The messages that may pass `filter`.
    fn scope(&self, filter: &Filter, first: u64, last: u64) -> Scope {
        let prefix = &self.settings.prefix;
        let subject = match &filter.plugin {
            Some(plugin) => format!("{prefix}.{plugin}.>"),
            None => format!("{prefix}.>"),
        };
        let stream = self.settings.stream.clone();
        Scope { stream, subject, first, last, only_headers: true }
    }

    /// Names the letter `number` in a stream made at `created` for ever.
    fn position(&self, created: i64, sequence: u64) -> Position {
        Position { stream: self.settings.stream.clone(), stream_created: created, sequence }
    }
}

impl Selected<'_> {
    /// The next one, or the number of one that is not there; `None` at the end.
    ///
    /// # Errors
    /// If the server does not hand them out.
    pub async fn next(&mut self) -> Result<Option<Result<Entry, u64>>, SetupError> {
        match &mut self.source {
            Either::Left(numbers) => match numbers.next() {
                Some(number) => Ok(Some(self.letters.entry(number).await?.ok_or(number))),
                None => Ok(None),
            },
            Either::Right((reading, filter)) => loop {
                let Some(stored) = reading.next().await? else { return Ok(None) };
                let entry = Entry::new(stored);
                if filter.takes(&entry, self.now_ms) {
                    return Ok(Some(Ok(entry)));
                }
            },
        }
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
