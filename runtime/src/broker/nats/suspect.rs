//! Which message broke the connection: the one that was sent to a source and
//! cannot be read by the client.
//!
//! Looked for after a break, before anything is asked for again, by the server's
//! API, whose JSON no message can harm. A first break costs a look at one
//! message, the first that was sent and not received; when that is not it, the
//! next breaks in a row cost more. Nothing is settled here: what is found
//! becomes a delivery, in the words of `malformed`.

use std::time::Duration;

use async_nats::jetstream::{consumer::Info, stream::RawMessage};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{Broker, api::ApiError, consumer::Durable, malformed};
use crate::subject::Pattern;

/// How many readable messages are looked at in vain, after so many breaks in a
/// row.
const LOOKS: [usize; 4] = [1, 8, 64, 256];
/// The same, once a search has found one: others may have been sent with it.
const LOOKS_AFTER_A_FIND: usize = 64;
/// A search ends after this time, found or not.
const MAX_SEARCH: Duration = Duration::from_secs(5);
/// Breaks that are further apart than some ack waits and this have nothing to
/// do with each other: what was not found comes again after one ack wait.
const QUIET: Duration = Duration::from_secs(60);

/// A stored message that the client cannot read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) sequence: u64,
    /// Where an answer to its delivery is sent.
    pub(super) reply: String,
    /// With U+FFFD for bytes that are no text.
    pub(super) subject: String,
    /// The block of headers as it is stored.
    pub(super) block: Bytes,
    pub(super) payload: Bytes,
    /// Why the client cannot read it.
    pub(super) refusal: String,
}

/// What is known of the messages that a source was sent.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// The highest sequence that was received.
    received: u64,
    /// Up to here every message was looked at and can be read.
    cleared: u64,
    /// Breaks in a row that are not explained.
    breaks: usize,
    broke_at: Option<Instant>,
    /// Whether the last break is still to be looked into.
    is_open: bool,
}

/// One search: what it may cost, and what it has found.
#[derive(Debug)]
pub(super) struct Search {
    received: u64,
    cleared: u64,
    /// How many more readable messages may be looked at.
    looks: usize,
    /// How many may be found: each becomes a delivery, which needs a permit.
    room: usize,
    until: Instant,
    found: Vec<Unreadable>,
}

/// What a search has brought.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) unreadable: Vec<Unreadable>,
    cleared: u64,
}

impl Suspicion {
    /// A message came.
    pub(super) fn received(&mut self, sequence: u64) {
        self.received = self.received.max(sequence);
    }

    /// The connection broke while deliveries were on their way.
    pub(super) fn broke(&mut self, now: Instant, ack_wait: Duration) {
        let spell = QUIET + ack_wait * 3;
        if self.broke_at.is_none_or(|before| now.duration_since(before) > spell) {
            self.breaks = 0;
        }
        self.breaks += 1;
        self.broke_at = Some(now);
        self.is_open = true;
    }

    /// The search to be made, if there is a break to be looked into, for at most
    /// `room` messages.
    pub(super) fn search(&self, room: usize) -> Option<Search> {
        let looks = LOOKS.get(self.breaks.saturating_sub(1)).or(LOOKS.last()).copied();
        self.is_open.then(|| Search {
            received: self.received,
            cleared: self.cleared,
            looks: looks.unwrap_or(1),
            room,
            until: Instant::now() + MAX_SEARCH,
            found: Vec::new(),
        })
    }

    /// A search, if one was to be made, is over.
    pub(super) fn searched(&mut self, findings: &Findings) {
        self.is_open = false;
        self.cleared = self.cleared.max(findings.cleared);
        if let Some(last) = findings.unreadable.iter().map(|found| found.sequence).max() {
            self.received(last);
            self.breaks = 0;
        }
    }

    /// The stream was made anew: it counts from 1 again.
    pub(super) fn forget(&mut self) {
        *self = Suspicion::default();
    }
}

impl Search {
    /// Looks at what `durable`, now as `info` says, has delivered: first at what
    /// came after the last that was received, then at what was delivered before
    /// and is not settled.
    pub(super) async fn run(mut self, broker: &Broker, durable: &Durable, info: &Info) -> Findings {
        let site = Site { broker, durable };
        if let Err(error) = self.look_around(&site, info).await {
            tracing::warn!(
                consumer = durable.name, %error,
                "cannot look for the message that broke the connection: the account needs `$JS.API.STREAM.MSG.GET.{}`",
                durable.stream
            );
        }
        Findings { unreadable: self.found, cleared: self.cleared }
    }

    async fn look_around(&mut self, site: &Site<'_>, info: &Info) -> Result<(), ApiError> {
        let delivered = info.delivered.stream_sequence;
        let settled = info.ack_floor.stream_sequence;
        let newest = self.received.max(settled).min(delivered);
        // The rest of the looks is for the other part.
        let kept = self.looks / 2;
        self.looks -= kept;
        self.walk(site, newest, delivered).await?;
        self.looks += kept;
        self.cleared = self.walk(site, self.cleared.max(settled), newest).await?;
        Ok(())
    }

    /// Looks at the messages after `after` up to `last`. Returns up to where
    /// every one was looked at and can be read.
    async fn walk(&mut self, site: &Site<'_>, after: u64, last: u64) -> Result<u64, ApiError> {
        let (mut at, mut clear, before) = (after, after, self.found.len());
        while at < last && self.may_look() {
            let stored = site.next(at).await?.filter(|stored| stored.sequence <= last);
            at = stored.as_ref().map_or(last, |stored| stored.sequence);
            match stored.and_then(|stored| site.unreadable(stored)) {
                Some(found) => self.find(site, found).await,
                None => self.looks -= 1,
            }
            if self.found.len() == before {
                clear = at;
            }
        }
        Ok(clear)
    }

    fn may_look(&self) -> bool {
        self.looks > 0 && self.found.len() < self.room && Instant::now() < self.until
    }

    async fn find(&mut self, site: &Site<'_>, found: Unreadable) {
        site.hold(&found).await;
        self.looks = self.looks.max(LOOKS_AFTER_A_FIND);
        self.found.push(found);
    }
}

/// Where is searched: what one consumer reads of its stream.
struct Site<'a> {
    broker: &'a Broker,
    durable: &'a Durable,
}

#[derive(Debug, Deserialize)]
struct Answer {
    message: RawMessage,
}

impl Site<'_> {
    /// The first message after the sequence `after` that the consumer reads.
    async fn next(&self, after: u64) -> Result<Option<RawMessage>, ApiError> {
        let subjects = self.durable.subjects.iter().map(Pattern::as_str);
        let found = try_join_all(subjects.map(|subject| self.next_of(subject, after))).await?;
        Ok(found.into_iter().flatten().min_by_key(|message| message.sequence))
    }

    async fn next_of(&self, subject: &str, after: u64) -> Result<Option<RawMessage>, ApiError> {
        let verb = format!("STREAM.MSG.GET.{}", self.durable.stream);
        let request = json!({ "seq": after.saturating_add(1), "next_by_subj": subject });
        match self.broker.tell::<Answer>(&verb, &request).await {
            Ok(answer) => Ok(Some(answer.message)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `stored` as one that the client cannot read, if it cannot.
    fn unreadable(&self, stored: RawMessage) -> Option<Unreadable> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map(Bytes::from);
        let block = decode(stored.headers.as_deref().unwrap_or_default()).ok()?;
        let refusal = malformed::refusal(&stored.subject, &block)?;
        let payload = decode(&stored.payload).ok()?;
        let reply = self.reply(&stored);
        let RawMessage { sequence, subject, .. } = stored;
        Some(Unreadable { sequence, reply, subject, block, payload, refusal })
    }

    /// Where answers to a delivery of `stored` go. The server finds the delivery
    /// by the sequence in the stream; it looks neither at how often it was
    /// delivered nor at its number among the deliveries, which we do not know.
    /// This is the older of the two forms; servers that use the one with domain
    /// and account take it as well (2.10 to 2.15 do).
    fn reply(&self, stored: &RawMessage) -> String {
        let Durable { stream, name, .. } = self.durable;
        let (sequence, time) = (stored.sequence, stored.time.unix_timestamp_nanos());
        format!("$JS.ACK.{stream}.{name}.1.{sequence}.0.{time}.0")
    }

    /// Starts the ack wait of what was found anew, or the server might send it
    /// once more before it is settled.
    async fn hold(&self, found: &Unreadable) {
        tracing::error!(
            consumer = self.durable.name,
            sequence = found.sequence,
            refusal = found.refusal,
            "found a message that the client cannot read: it broke the connection"
        );
        let progress = Bytes::from_static(b"+WPI");
        let client = self.broker.inner.client();
        let sent = client.publish(found.reply.clone(), progress);
        if !matches!(timeout(self.broker.inner.request_timeout, sent).await, Ok(Ok(()))) {
            tracing::debug!(consumer = self.durable.name, "progress not told");
        }
    }
}

#[cfg(test)]
mod tests;
