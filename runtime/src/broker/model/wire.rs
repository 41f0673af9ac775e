//! Connections of the model: what is on its way, and what a cut makes of it.
//!
//! Whatever a client sends becomes a deed on the server's agenda, done when it
//! arrives, whether or not the client still waits: a publish that was given up
//! may be stored all the same.

use std::collections::{BTreeMap, VecDeque};

use tokio::{sync::oneshot, time::Instant};

use super::{
    consumer::{Answer, Terms},
    trouble::{Dice, Fault, Troubles},
};
use crate::{
    broker::{Message, PublishError, Published, SettleError},
    event::Event,
    manifest::{Ack, Start},
};

/// What is sent while there is no connection waits in the client; but a client
/// that has not yet noticed sends it to nobody.
const LOST_WHILE_DOWN: f64 = 0.25;
/// Of what is on its way when the connection is cut.
const LOST_IN_A_CUT: f64 = 0.5;

/// The name of a stream, and that of a consumer of it.
pub(super) type Key = (String, String);

/// What is to be done when it arrives at the server.
#[derive(Debug)]
pub(super) enum Deed {
    Publish { message: Message, answer: Option<oneshot::Sender<Result<Published, PublishError>>> },
    Ask { message: Message, inbox: String },
    Settle { place: Place, confirm: Option<oneshot::Sender<Result<(), SettleError>>> },
}

/// An answer, and what it refers to. As on the server, the sequence alone: a
/// late answer of an earlier delivery counts.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) sequence: u64,
    pub(super) answer: Answer,
    /// The term of an exclusive source that it belongs to.
    pub(super) term: Option<u64>,
}

/// One client's connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    down_until: Option<Instant>,
    /// How often it was cut.
    pub(super) n_cuts: u64,
    /// What is sent later arrives later.
    arrives: Option<Instant>,
}

/// One source: the deliveries that a client has asked for.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) connection: u64,
    pub(super) key: Key,
    pub(super) terms: Terms,
    pub(super) start: Start,
    pub(super) ack: Ack,
    /// When the stream was made, and up to where all was settled then.
    pub(super) seen: (i64, u64),
    pub(super) allowed: usize,
    /// The most that may come now, if that is less.
    pub(super) pace: Option<usize>,
    /// Whether what is stored are requests for replays.
    pub(super) is_replays: bool,
    pub(super) is_exclusive: bool,
    /// In which it may get deliveries, if only one source may.
    pub(super) term: Option<u64>,
    pub(super) on_way: VecDeque<(Instant, Event)>,
    pub(super) is_stopping: bool,
}

/// What is on its way to the server, by arrival.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    deeds: BTreeMap<(Instant, u64), (u64, Deed)>,
    n_sent: u64,
}

/// What one who sent something knows.
#[derive(Debug)]
pub(super) struct Sent<T> {
    pub(super) arrives: Instant,
    /// The number of cuts until then: another number, another connection.
    pub(super) n_cuts: u64,
    /// Nobody answers if the other end is dropped.
    pub(super) answer: oneshot::Receiver<T>,
}

impl Line {
    /// How many deliveries may come now.
    pub(super) fn may_come(&self) -> usize {
        self.pace.map_or(self.allowed, |pace| pace.min(self.allowed))
    }

    /// Hands over what has arrived.
    pub(super) fn hand_over(&mut self) -> Option<Event> {
        let (_, event) = self.on_way.pop_front()?;
        self.allowed = self.allowed.saturating_sub(1);
        self.pace = self.pace.map(|pace| pace.saturating_sub(1));
        Some(event)
    }
}

impl Connection {
    pub(super) fn down_until(&self, now: Instant) -> Option<Instant> {
        self.down_until.filter(|until| now < *until)
    }

    pub(super) fn cut(&mut self, until: Instant) {
        self.down_until = self.down_until.max(Some(until));
        self.n_cuts += 1;
    }

    pub(super) fn heal(&mut self) {
        self.down_until = None;
    }

    /// When what is sent now arrives; `None`: never.
    pub(super) fn send(&mut self, troubles: &mut Troubles, now: Instant) -> Option<Instant> {
        let from = match self.down_until(now) {
            Some(_) if troubles.dice.happens(LOST_WHILE_DOWN) => return None,
            Some(until) => until,
            None => now,
        };
        let arrives = self.arrives.max(Some(from + troubles.latency()));
        self.arrives = arrives;
        arrives
    }
}

impl Agenda {
    pub(super) fn add(&mut self, connection: u64, arrives: Instant, deed: Deed) {
        self.n_sent += 1;
        self.deeds.insert((arrives, self.n_sent), (connection, deed));
    }

    /// When the next deed arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deeds.first_key_value().map(|((at, _), _)| *at)
    }

    /// A deed that has arrived.
    pub(super) fn take(&mut self, now: Instant) -> Option<Deed> {
        self.next().filter(|at| *at <= now)?;
        self.deeds.pop_first().map(|(_, (_, deed))| deed)
    }

    /// Some of what is on its way over the connection does not arrive.
    pub(super) fn cut(&mut self, connection: u64, dice: &mut Dice) {
        self.deeds.retain(|_, (of, _)| *of != connection || !dice.happens(LOST_IN_A_CUT));
    }
}

/// Sends a publish: what its sender then knows, or why it was not sent.
pub(super) fn send_publish(
    (agenda, troubles): (&mut Agenda, &mut Troubles),
    (id, connection): (u64, &mut Connection),
    message: &Message,
) -> Result<Sent<Result<Published, PublishError>>, PublishError> {
    let now = Instant::now();
    let fault = troubles.of_publish();
    if fault == Some(Fault::PublishUnavailable) {
        return Err(super::unavailable(&message.subject, "asked for by a test"));
    }
    let (tell, answer) = oneshot::channel();
    let arrives = connection.send(troubles, now);
    let sent = Sent { arrives: arrives.unwrap_or(now), n_cuts: connection.n_cuts, answer };
    let Some(arrives) = arrives.filter(|_| fault != Some(Fault::PublishLost)) else {
        return Ok(sent);
    };
    let (later, tell) = match fault {
        Some(Fault::PublishUnanswered) => (arrives, None),
        Some(Fault::PublishLate(late)) => (arrives + late, Some(tell)),
        _ => (arrives, Some(tell)),
    };
    agenda.add(id, later, Deed::Publish { message: message.clone(), answer: tell });
    Ok(Sent { arrives: later, ..sent })
}

/// Sends an answer to a delivery; `fault`: what happens to it.
pub(super) fn send_settlement(
    (agenda, troubles): (&mut Agenda, &mut Troubles),
    (id, connection): (u64, &mut Connection),
    (place, fault): (Place, Option<Fault>),
) -> Sent<Result<(), SettleError>> {
    let now = Instant::now();
    let (tell, answer) = oneshot::channel();
    let arrives = connection.send(troubles, now);
    let sent = Sent { arrives: arrives.unwrap_or(now), n_cuts: connection.n_cuts, answer };
    let late = match fault {
        Some(Fault::SettleVanished) => return sent,
        Some(Fault::SettleLate(late)) => late,
        _ => std::time::Duration::ZERO,
    };
    let Some(arrives) = arrives.map(|at| at + late) else { return sent };
    agenda.add(id, arrives, Deed::Settle { place, confirm: Some(tell) });
    Sent { arrives, ..sent }
}
