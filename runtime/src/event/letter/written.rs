//! A letter as the headers that it is stored with: what [`Letter::read`] reads.

use bytes::Bytes;

use super::{Header, Letter, fact, malformed, one_line, original, packed, timestamp};

/// The longest text of a fact, in bytes: what came from elsewhere may be longer
/// than what hosts write.
const MAX_TEXT: usize = 4096;

impl Letter {
    /// Its headers. Which request for a replay it came from is not told again.
    pub fn headers(&self) -> Vec<Header> {
        let mut headers: Vec<_> = self.event.headers.iter().map(original).collect();
        headers.extend(self.malformed.as_deref().map(malformed));
        headers.extend(self.facts());
        headers
    }

    /// Its headers and payload, with the event's own headers in the payload.
    pub fn packed(&self) -> (Vec<Header>, Bytes) {
        let event = &self.event;
        let (mut headers, payload) =
            packed(&event.headers, self.malformed.as_deref(), &event.payload);
        headers.extend(self.facts());
        (headers, payload)
    }

    fn facts(&self) -> Vec<Header> {
        let Letter { event, host, plugin, digest, reason, error, .. } = self;
        let mut facts = vec![
            fact("Published-At", timestamp(event.time_ms)),
            fact("Failed-At", timestamp(self.failed_at_ms)),
            fact("Attempts", event.attempt.to_string()),
        ];
        let texts = [("Reason", reason), ("Error", error), ("Host", host), ("Plugin", plugin)];
        let more = [("Digest", digest), ("Event-Id", &event.id), ("Subject", &event.subject)];
        let texts = texts.into_iter().chain(more).chain([("Namespace", &self.namespace)]);
        let texts = texts.chain(self.backtrace.iter().map(|text| ("Backtrace", text)));
        let texts = texts.filter(|(_, text)| !text.is_empty());
        facts.extend(texts.map(|(name, text)| fact(name, one_line(text, MAX_TEXT))));
        if let Some(position) = &event.position {
            facts.push(fact("Stream", &*position.stream));
            facts.push(fact("Stream-Created", position.stream_created.to_string()));
            facts.push(fact("Sequence", position.sequence.to_string()));
        }
        let left = self.left_in_stream.map(|n| fact("Payload-Left-In-Stream", n.to_string()));
        let replays = (self.replays > 0).then(|| fact("Replays", self.replays.to_string()));
        facts.extend(left.into_iter().chain(replays));
        facts.extend(self.history.iter().map(|attempt| fact("History", attempt.line())));
        facts
    }
}
