//! One hand-over of the model, and its answer.

use super::{Broker, consumer::Answer, fleeting::InHand, serving::Grant, wire::Key, wire::Place};
use crate::{
    broker::{self, Keep, Message, Note, SettleError},
    event::{Disposition, Event, Header},
    manifest::Ack,
};

/// How often a confirmed answer is sent before silence is believed.
const CONFIRM_ATTEMPTS: u32 = 3;

/// One hand-over of one message.
#[derive(Debug)]
pub struct Delivery {
    broker: Broker,
    event: Event,
    held: Held,
}

/// By what right a delivery is held.
#[derive(Debug)]
pub(super) enum Held {
    Stored(Grant),
    /// Counted, by core NATS.
    Core(#[expect(dead_code, reason = "counts until it is dropped")] InHand),
}

impl Delivery {
    pub(super) fn new(broker: Broker, event: Event, held: Held) -> Delivery {
        Delivery { broker, event, held }
    }

    fn grant(&self) -> Option<&Grant> {
        match &self.held {
            Held::Stored(grant) => Some(grant),
            Held::Core(_) => None,
        }
    }

    fn place(&self, answer: Answer) -> Option<(Place, Ack)> {
        let (key, sequence) = self.noted_under()?;
        let Grant { ack, term, .. } = self.grant()?;
        Some((Place { key, sequence, answer, term: *term }, *ack))
    }

    /// The consumer and the sequence.
    fn noted_under(&self) -> Option<(Key, u64)> {
        let sequence = self.event.position.as_ref()?.sequence;
        Some((self.grant()?.key.clone(), sequence))
    }

    async fn answer(&self, answer: Answer) -> Result<(), SettleError> {
        let Some((place, ack)) = self.place(answer) else { return Ok(()) };
        if (ack, answer) != (Ack::Confirmed, Answer::Done) {
            return self.broker.settle(place).map(|_| ());
        }
        let mut attempt = 1;
        loop {
            let sent = self.broker.settle(place.clone())?;
            let error = match self.broker.answered(sent).await {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => error,
                None => SettleError { detail: "the server did not confirm in time".to_owned() },
            };
            if attempt == CONFIRM_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
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
        self.broker.send(&Message { subject, headers, payload, keep: Keep::Fleeting });
    }
}

impl broker::Delivery for Delivery {
    fn event(&self) -> Result<Event, broker::DecodeError> {
        match self.grant().is_some_and(|grant| grant.is_replays) {
            true => self.broker.original(&self.event),
            false => Ok(self.event.clone()),
        }
    }

    fn size(&self) -> usize {
        self.event.size()
    }

    fn redelivers(&self) -> bool {
        self.grant().is_some()
    }

    fn is_ours(&self) -> bool {
        let Some(Grant { key, term: Some(term), .. }) = self.grant() else { return true };
        self.broker.lock().holds(key, *term)
    }

    async fn noted(&self) -> Note {
        let note = self.noted_under().and_then(|place| self.broker.noted(&place));
        note.unwrap_or_default()
    }

    async fn note(&self, note: Note) -> Result<(), SettleError> {
        self.noted_under().map_or(Ok(()), |place| self.broker.note(place, note))
    }

    async fn progress(&self) -> Result<(), SettleError> {
        self.answer(Answer::Progress).await
    }

    async fn settle(self, disposition: Disposition) -> Result<(), SettleError> {
        match disposition {
            Disposition::Ack => self.answer(Answer::Done).await,
            Disposition::Retry(_) if self.grant().is_none() => {
                Err(SettleError { detail: "core NATS delivers an event once".to_owned() })
            }
            Disposition::Retry(delay) => self.answer(Answer::Later(delay)).await,
            Disposition::Reject => {
                self.tell_requester();
                self.answer(Answer::Done).await
            }
        }
    }
}
