//! Replays in the model: a request's delivery has the original event.
//!
//! What a request could not carry is fetched from the source stream when the
//! event is read.

use super::Broker;
use crate::{
    broker::DecodeError,
    event::{Event, letter::Letter},
};

impl Broker {
    /// The event that the request in `stored` asks to run.
    pub(super) fn original(&self, stored: &Event) -> Result<Event, DecodeError> {
        let letter = Letter::asked(stored).map_err(|detail| unreadable(detail, stored.clone()))?;
        match letter.left_in_stream {
            None => Ok(letter.event),
            Some(_) => self.left_in_stream(letter.event),
        }
    }

    fn left_in_stream(&self, event: Event) -> Result<Event, DecodeError> {
        let gone = |event| unreadable("its payload is gone from its stream".to_owned(), event);
        let Some(position) = event.position.clone() else { return Err(gone(event)) };
        let server = self.lock();
        let stream = server.streams.get(&position.stream);
        let stored = stream.and_then(|stream| stream.event(&position.stream, position.sequence, 1));
        match stored.filter(|stored| stored.position.as_ref() == Some(&position)) {
            Some(Event { headers, payload, .. }) => Ok(Event { headers, payload, ..event }),
            None => Err(gone(event)),
        }
    }
}

fn unreadable(detail: String, event: Event) -> DecodeError {
    DecodeError { detail, event: Box::new(event), headers: bytes::Bytes::new() }
}

#[cfg(test)]
mod tests;
