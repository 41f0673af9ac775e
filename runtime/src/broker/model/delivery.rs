//! One hand-over of the model, and its answer.

use super::{Answer, Broker, Place};
use crate::{
    broker::{self, Keep, Message, Note, SettleError},
    event::{Disposition, Event, Header, Position},
};

/// One hand-over of one message.
#[derive(Debug)]
pub struct Delivery {
    broker: Broker,
    event: Event,
    /// The consumer's name; `None`: core NATS.
    durable: Option<String>,
    /// Whether the message is a request for a replay.
    is_replay: bool,
}

impl Delivery {
    pub(super) fn new(broker: Broker, event: Event, durable: Option<String>) -> Delivery {
        Delivery { broker, event, durable, is_replay: false }
    }

    pub(super) fn of_replays(self, is_replay: bool) -> Delivery {
        Delivery { is_replay, ..self }
    }

    fn place(&self) -> Option<Place> {
        let Position { stream, sequence, .. } = self.event.position.clone()?;
        Some(Place { stream, sequence, durable: self.durable.clone()? })
    }

    fn answer(&self, answer: Answer) -> Result<(), SettleError> {
        let Some(place) = self.place() else { return Ok(()) };
        let settled = self.broker.lock().settle(&place, answer);
        self.broker.changed();
        settled
    }

    /// Tells who waits for a reply that there will be none (ADR-32).
    fn tell_requester(&self) {
        let Some(subject) = self.event.reply_to.clone() else { return };
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        let headers = vec![
            header("Nats-Service-Error", "the event was rejected"),
            header("Nats-Service-Error-Code", "500"),
        ];
        let payload = bytes::Bytes::new();
        let message = Message { subject, headers, payload, keep: Keep::Fleeting };
        // Nobody waits for the answer to an answer.
        drop(self.broker.lock().publish(&message));
        self.broker.changed();
    }
}

impl broker::Delivery for Delivery {
    fn event(&self) -> Result<Event, broker::DecodeError> {
        match self.is_replay {
            true => self.broker.original(&self.event),
            false => Ok(self.event.clone()),
        }
    }

    fn size(&self) -> usize {
        self.event.size()
    }

    fn redelivers(&self) -> bool {
        self.durable.is_some()
    }

    fn is_ours(&self) -> bool {
        true
    }

    async fn noted(&self) -> Note {
        Note::default()
    }

    async fn note(&self, _note: Note) -> Result<(), SettleError> {
        Ok(())
    }

    async fn progress(&self) -> Result<(), SettleError> {
        self.answer(Answer::Progress)
    }

    async fn settle(self, disposition: Disposition) -> Result<(), SettleError> {
        match disposition {
            Disposition::Ack => self.answer(Answer::Done),
            Disposition::Retry(_) if self.durable.is_none() => {
                Err(SettleError { detail: "core NATS delivers an event once".to_owned() })
            }
            Disposition::Retry(delay) => self.answer(Answer::Later(delay)),
            Disposition::Reject => {
                self.tell_requester();
                self.answer(Answer::Done)
            }
        }
    }
}
