//! What the plugins of a local host did: kept to be asked for, or handed on as it
//! happens. Decides nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task};

use crate::{
    broker::Message,
    event::{Event, Header, letter::Letter},
    plugin::{CallError, LogLine, LogSink},
};

/// An event that could not be handled, with the reason, the error, the plugin and
/// the earlier failures.
pub type DeadLetter = Letter;

/// What becomes of what the plugins do.
#[derive(Debug, Clone, Default)]
pub enum Recording {
    /// It is kept in memory for as long as the host lives; so is the guests' log.
    #[default]
    Kept,
    /// It is handed on. While there is no room the plugins wait: they publish no
    /// faster than it is taken out at the other end. The guests' log is the host's.
    Handed(mpsc::Sender<Told>),
}

/// Something that a plugin did.
#[derive(Debug, Clone)]
pub enum Told {
    /// It published an output.
    Output(Emitted),
    /// An event of it went to the dead letters.
    DeadLetter(Box<DeadLetter>),
    /// Its handler ran.
    Run(Run),
}

/// An output that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Which plugin returned it.
    pub plugin: String,
    /// The id of the event that it returned it for.
    pub event: String,
    /// The subject.
    pub subject: String,
    /// All headers, the trace of the event included.
    pub headers: Vec<Header>,
    /// The bytes.
    pub payload: Bytes,
    /// The id that it has as an event for the plugins that it feeds: made of those
    /// of the event, the plugin, and its place among the outputs of the run.
    pub id: String,
    /// The streams that store it; none: sent over core NATS, or stored by a stream
    /// that the manifest does not describe.
    pub streams: Vec<String>,
}

/// One run of a handler.
#[derive(Debug, Clone)]
pub struct Run {
    /// Whose handler.
    pub plugin: String,
    /// The event's id.
    pub event: String,
    /// The event's subject.
    pub subject: String,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// How many outputs it returned, or why it returned none. Outputs are checked
    /// afterwards: one that breaks a rule shows as a dead letter.
    pub outcome: Result<usize, CallError>,
    /// How long it took, in tokio's time.
    pub took: Duration,
}

/// Takes down what happens. Clones write to the same record.
#[derive(Clone)]
pub struct Record {
    recording: Recording,
    dead_letters: Arc<str>,
    kept: Arc<Mutex<Kept>>,
    causes: Arc<Mutex<HashMap<task::Id, Cause>>>,
}

#[derive(Default)]
struct Kept {
    outputs: Vec<Emitted>,
    dead_letters: Vec<DeadLetter>,
    runs: Vec<Run>,
    logs: Vec<LogLine>,
}

/// The event of which a task publishes the outputs: a dispatcher has each event
/// handled, and its outputs published, in a task of its own.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) event: String,
    pub(super) time_ms: u64,
    /// The output that is published now, counted from 0.
    pub(super) index: usize,
    outputs: usize,
}

/// Room for something that is about to happen.
pub(super) enum Room<'a> {
    Kept,
    Handed(mpsc::Permit<'a, Told>),
    /// Nobody takes it.
    Gone,
}

impl Record {
    /// `dead_letters`: the stream that they are published to.
    pub(super) fn new(recording: Recording, dead_letters: &str) -> Record {
        let (kept, causes) = (Arc::default(), Arc::default());
        Record { recording, dead_letters: dead_letters.into(), kept, causes }
    }

    /// Where guests log to; `None`: to the host's log.
    pub(super) fn log(&self) -> Option<LogSink> {
        let Recording::Kept = self.recording else { return None };
        let kept = Arc::clone(&self.kept);
        Some(Arc::new(move |line| lock(&kept).logs.push(line)))
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> Room<'_> {
        match &self.recording {
            Recording::Kept => Room::Kept,
            Recording::Handed(sender) => sender.reserve().await.map_or(Room::Gone, Room::Handed),
        }
    }

    pub(super) fn tell(&self, room: Room<'_>, told: Told) {
        match (room, told) {
            (Room::Gone, _) => {}
            (Room::Handed(permit), told) => permit.send(told),
            (Room::Kept, Told::Output(output)) => lock(&self.kept).outputs.push(output),
            (Room::Kept, Told::Run(run)) => lock(&self.kept).runs.push(run),
            (Room::Kept, Told::DeadLetter(letter)) => lock(&self.kept).dead_letters.push(*letter),
        }
    }

    /// The dead letter in a message, if it is one.
    pub(super) fn dead_letter(&self, message: &Message, stream: Option<&str>) -> Option<Letter> {
        stream.filter(|stream| **stream == *self.dead_letters)?;
        Letter::read(&message.headers, message.payload.clone())
    }

    /// The task that runs now is about to publish what it returned for `event`.
    pub(super) fn causes(&self, event: &Event, outputs: usize) {
        let Some(task) = task::try_id().filter(|_| outputs > 0) else { return };
        let cause = Cause { event: event.id.clone(), time_ms: event.time_ms, index: 0, outputs };
        lock(&self.causes).insert(task, cause);
    }

    /// The event for which the task that runs now publishes an output.
    pub(super) fn cause(&self) -> Option<Cause> {
        let (task, mut causes) = (task::try_id()?, lock(&self.causes));
        let next = causes.get_mut(&task)?;
        let cause = next.clone();
        next.index += 1;
        if next.index >= next.outputs {
            causes.remove(&task);
        }
        Some(cause)
    }

    /// The task that runs now publishes no more outputs.
    pub(super) fn forget_cause(&self) {
        if let Some(task) = task::try_id() {
            lock(&self.causes).remove(&task);
        }
    }

    pub(super) fn outputs(&self) -> Vec<Emitted> {
        lock(&self.kept).outputs.clone()
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.kept).dead_letters.clone()
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        lock(&self.kept).runs.clone()
    }

    pub(super) fn logs(&self) -> Vec<LogLine> {
        lock(&self.kept).logs.clone()
    }
}

/// A panic elsewhere must not cost the record.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
