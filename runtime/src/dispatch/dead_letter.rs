//! The record of an event that could not be handled: its bytes and headers as
//! they were, and everything one needs to find out why and to run it again.

use bytes::Bytes;

use crate::{
    broker::{Keep, Message},
    dispatch::{Failure, Plan},
    event::{
        Event, Header,
        letter::{Attempt, fact, malformed, one_line, original, packed, replayed, timestamp},
    },
    subject::plain,
};

/// The longest error text in a record, in bytes.
const MAX_ERROR: usize = 1024;
/// The longest backtrace in a record, in bytes.
const MAX_BACKTRACE: usize = 4096;

/// The longest subject in a record, in bytes: the longest that servers take.
const MAX_SUBJECT: usize = 4096;
/// The most bytes of headers that could not be read in a record whose event is
/// left in the source stream: enough to see what they are.
const MAX_MALFORMED: usize = 4096;

/// Where dead letters are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The stream.
    pub stream: String,
    /// The first tokens of the subject; `<plugin>.<subject>` follows.
    pub prefix: String,
    /// Whether the plugin's source stream keeps an event after it was rejected
    /// (retention by limits), so that a record may leave the payload there.
    pub source_keeps: bool,
}

/// How much a record tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    /// What a replay needs, and the first words of the error.
    Least,
}

/// Where a record has the event's headers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carriage {
    /// Among its own.
    Headers,
    /// Before the payload: a stream stores few headers, and much payload.
    Payload,
}

impl Carriage {
    /// The event's headers and payload as a record has them.
    fn carried(self, event: &Event, failure: &Failure, detail: Detail) -> (Vec<Header>, Bytes) {
        let block = failure.malformed_headers();
        // The block of headers that could not be read has those that could.
        let is_twofold = detail == Detail::Least && block.is_some();
        let readable = if is_twofold { &[] } else { &*event.headers };
        match self {
            Carriage::Payload => packed(readable, block, &event.payload),
            Carriage::Headers => {
                let headers = readable.iter().map(original).chain(block.map(malformed));
                (headers.collect(), event.payload.clone())
            }
        }
    }
}

impl DeadLetters {
    /// The record of `event`, which failed at `now_ms` (milliseconds since 1970)
    /// after the failures in `history`, as complete as the server takes it. `None` if it takes none, and the
    /// payload would be lost.
    pub fn record(
        &self,
        plan: &Plan,
        event: &Event,
        failure: &Failure,
        (history, now_ms): (&[Attempt], u64),
    ) -> Option<Message> {
        let record = |(detail, carriage): (Detail, Carriage)| {
            let (mut headers, payload) = carriage.carried(event, failure, detail);
            headers.extend(facts(plan, event, failure, (detail, now_ms)));
            let told = history.iter().filter(|_| detail == Detail::All);
            headers.extend(told.map(|attempt| fact("History", attempt.line())));
            self.message(plan, event, headers, payload)
        };
        let fits = |message: &Message| plan.publishing.takes(message);
        let ways = [Detail::All, Detail::Least]
            .into_iter()
            .flat_map(|detail| [(detail, Carriage::Headers), (detail, Carriage::Payload)]);
        ways.map(record).find(fits).or_else(|| {
            let kept = self.source_keeps && event.position.is_some();
            kept.then(|| self.reference(plan, event, failure, now_ms))
        })
    }

    /// The record without payload and headers, which are still in the source stream.
    fn reference(&self, plan: &Plan, event: &Event, failure: &Failure, now_ms: u64) -> Message {
        let mut headers = facts(plan, event, failure, (Detail::Least, now_ms));
        let unreadable = failure.malformed_headers();
        let first = |block| <[u8]>::get(block, ..MAX_MALFORMED).unwrap_or(block);
        headers.extend(unreadable.map(first).map(malformed));
        headers.push(fact("Payload-Left-In-Stream", event.payload.len().to_string()));
        self.message(plan, event, headers, Bytes::new())
    }

    fn message(&self, plan: &Plan, event: &Event, headers: Vec<Header>, payload: Bytes) -> Message {
        let id = plan.run(event).dead_letter(event.replay.as_deref());
        Message {
            subject: format!("{}.{}.{}", self.prefix, plan.plugin, plain(&event.subject)),
            headers,
            payload,
            keep: Keep::Stored { id, stream: Some(self.stream.as_str().into()) },
        }
    }
}

fn facts(
    plan: &Plan,
    event: &Event,
    failure: &Failure,
    (detail, now_ms): (Detail, u64),
) -> Vec<Header> {
    let max_error = if detail == Detail::All { MAX_ERROR } else { MAX_ERROR / 8 };
    let mut facts = vec![
        fact("Reason", failure.class()),
        fact("Error", one_line(&failure.to_string(), max_error)),
        fact("Host", &*plan.host),
        fact("Plugin", &*plan.plugin),
        fact("Digest", &*plan.digest),
        fact("Event-Id", &*event.id),
        fact("Subject", one_line(&event.subject, MAX_SUBJECT)),
        fact("Attempts", event.attempt.to_string()),
        fact("Published-At", timestamp(event.time_ms)),
        fact("Failed-At", timestamp(now_ms)),
    ];
    if let Some(position) = &event.position {
        facts.push(fact("Stream", &*position.stream));
        facts.push(fact("Stream-Created", position.stream_created.to_string()));
        facts.push(fact("Sequence", position.sequence.to_string()));
    }
    facts.extend(event.replay.as_deref().map(replayed).unwrap_or_default());
    if let Some(backtrace) = failure.backtrace().filter(|_| detail == Detail::All) {
        facts.push(fact("Backtrace", one_line(backtrace, MAX_BACKTRACE)));
    }
    facts
}

#[cfg(test)]
mod tests;
