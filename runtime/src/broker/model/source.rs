//! A source of the model: hands messages over when it is asked for the next.

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Broker, Delivery};
use crate::{broker, event::Event};

/// One plugin's deliveries.
#[derive(Debug)]
pub struct Source {
    broker: Broker,
    kind: Kind,
    changes: watch::Receiver<u64>,
    allowed: usize,
    pace: Option<usize>,
    is_stopping: bool,
    /// Whether what is stored are requests for replays.
    is_replays: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The consumer's stream and name.
    Stream((String, String)),
    Core(mpsc::Receiver<Event>),
}

impl Source {
    pub(super) fn new(broker: Broker, kind: Kind, changes: watch::Receiver<u64>) -> Source {
        Source {
            broker,
            kind,
            changes,
            allowed: 0,
            pace: None,
            is_stopping: false,
            is_replays: false,
        }
    }

    pub(super) fn of_replays(self, is_replays: bool) -> Source {
        Source { is_replays, ..self }
    }

    /// How many deliveries may come now.
    fn may_come(&self) -> usize {
        self.pace.map_or(self.allowed, |pace| pace.min(self.allowed))
    }

    fn came(&mut self) {
        self.allowed = self.allowed.saturating_sub(1);
        self.pace = self.pace.map(|pace| pace.saturating_sub(1));
    }

    async fn next_stored(&mut self) -> Option<Delivery> {
        let Kind::Stream(key) = &self.kind else { return None };
        loop {
            self.changes.mark_unchanged();
            if self.is_stopping {
                return None;
            }
            let came = match self.may_come() {
                0 => Err(None),
                _ => self.broker.lock().next(key),
            };
            let until = match came {
                Ok(event) => {
                    let durable = Some(key.1.clone());
                    self.came();
                    let delivery = Delivery::new(self.broker.clone(), event, durable);
                    return Some(delivery.of_replays(self.is_replays));
                }
                Err(until) => until,
            };
            wait(&mut self.changes, until).await;
        }
    }

    async fn next_core(&mut self) -> Option<Delivery> {
        let may_come = self.may_come();
        let Kind::Core(queue) = &mut self.kind else { return None };
        if may_come == 0 && !(queue.is_closed() && queue.is_empty()) {
            std::future::pending::<()>().await;
        }
        let event = queue.recv().await?;
        self.came();
        Some(Delivery::new(self.broker.clone(), event, None))
    }
}

/// Until something changes or `until` is reached.
async fn wait(changes: &mut watch::Receiver<u64>, until: Option<Instant>) {
    let timer = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(()) = changes.changed() => {}
        () = timer => {}
    }
}

impl broker::Source for Source {
    type Delivery = Delivery;

    fn allow(&mut self, n: usize) {
        self.allowed = self.allowed.saturating_add(n);
    }

    fn pace(&mut self, most: Option<usize>) {
        self.pace = most;
    }

    async fn next(&mut self) -> Option<Delivery> {
        match self.kind {
            Kind::Stream(_) => self.next_stored().await,
            Kind::Core(_) => self.next_core().await,
        }
    }

    async fn stop(&mut self) {
        self.is_stopping = true;
        if let Kind::Core(queue) = &mut self.kind {
            queue.close();
        }
    }

    async fn close(self) {}
}
