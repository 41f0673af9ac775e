//! What is known of the connection: its state, its reconnects, what the server
//! complained about.
//!
//! Fed by the client's events. That channel holds 128 events and drops the
//! rest, so nothing here is needed for correctness except by way of the exact
//! counters of the client.
//!
//! The server takes messages that the client cannot read (`malformed` says
//! which), and the client gives the connection up over each; over some it breaks
//! down and is replaced. That hurts all plugins, since they share it: what was on
//! its way comes again, or, over core NATS, is lost. A message in a stream is
//! found and put into the dead letters (`suspect`). Against one that is published
//! over core NATS to a subject that a plugin subscribes to, or to an inbox of
//! ours (which all who may read our requests see), there is nothing to be done
//! here: it costs a connection each time and is counted as a reconnect. Who may
//! publish there is to be settled with the server's accounts and permissions.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// Whether the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The connection stands.
    Connected,
    /// The connection is lost; the client tries to get it back, for ever.
    Disconnected,
    /// The connection was closed by us.
    Closed,
}

/// How many of the server's complaints are remembered.
const MAX_DENIALS: usize = 32;

/// Something the account may not do, in the server's words.
#[derive(Debug, Clone)]
struct Denial {
    text: String,
    at: Instant,
}

/// The connection as the event callback sees it.
#[derive(Debug)]
pub(super) struct Connection {
    state: watch::Sender<State>,
    denials: watch::Sender<VecDeque<Denial>>,
    slow_consumers: AtomicU64,
    /// Whether there is no client at work, because the last one broke down.
    is_down: AtomicBool,
}

impl Connection {
    pub(super) fn new() -> Connection {
        Connection {
            state: watch::Sender::new(State::Connected),
            denials: watch::Sender::new(VecDeque::new()),
            slow_consumers: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    /// Whether we have closed it.
    pub(super) fn is_closed(&self) -> bool {
        *self.state.borrow() == State::Closed
    }

    /// We close it.
    pub(super) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// Whether no client is at work.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Acquire)
    }

    /// The client broke down.
    pub(super) fn broke_down(&self) {
        self.is_down.store(true, Ordering::Release);
        self.state.send_replace(State::Disconnected);
    }

    /// There is another client.
    pub(super) fn replaced(&self) {
        self.is_down.store(false, Ordering::Release);
        self.state.send_replace(State::Connected);
    }

    /// Takes one event of the client.
    pub(super) fn note(&self, event: Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to nats");
                self.state.send_replace(State::Connected);
            }
            Event::Disconnected => {
                tracing::warn!("connection to nats lost; reconnecting");
                self.state.send_replace(State::Disconnected);
            }
            Event::Closed => {
                self.state.send_replace(State::Closed);
            }
            Event::SlowConsumer(_) => {
                self.slow_consumers.fetch_add(1, Ordering::Relaxed);
            }
            Event::ServerError(error) => self.note_error(error),
            Event::LameDuckMode => tracing::warn!("the nats server is shutting down"),
            Event::Draining => tracing::debug!("draining the connection to nats"),
            Event::ClientError(error) => tracing::warn!(%error, "connection to nats"),
        }
    }

    fn note_error(&self, error: ServerError) {
        tracing::warn!(%error, "the nats server complains");
        let ServerError::Other(text) = error else { return };
        if !text.to_ascii_lowercase().contains("permissions violation") {
            return;
        }
        self.denials.send_modify(|denials| {
            denials.push_back(Denial { text, at: Instant::now() });
            if denials.len() > MAX_DENIALS {
                denials.pop_front();
            }
        });
    }

    /// What the server has denied for `subject` since `since`. A denial of our
    /// inbox, without which no answer arrives, counts whenever it was made: the
    /// server says it only once in a connection.
    pub(super) fn denial(&self, subject: &str, since: Instant) -> Option<String> {
        find(&self.denials.borrow(), subject, since)
    }

    /// Waits until [`Connection::denial`] has something to say.
    pub(super) async fn denied(&self, subject: &str, since: Instant) -> String {
        let mut denials = self.denials.subscribe();
        loop {
            if let Some(text) = find(&denials.borrow_and_update(), subject, since) {
                return text;
            }
            if denials.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn find(denials: &VecDeque<Denial>, subject: &str, since: Instant) -> Option<String> {
    let quoted = format!("\"{subject}\"");
    let of_inbox = |text: &str| text.contains("Subscription to \"_INBOX.");
    let matching = denials.iter().rev().find(|denial| {
        of_inbox(&denial.text) || denial.at >= since && denial.text.contains(&quoted)
    });
    matching.map(|denial| {
        format!("the account may not: {}; grant it on the server", denial.text.trim())
    })
}
