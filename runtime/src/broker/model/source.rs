//! A source of the model: hands messages over when it is asked for the next.

use std::sync::Arc;

use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, sleep_until},
};

use super::{Broker, Delivery, delivery::Held, fleeting::InHand, serving::Served, wire::Line};
use crate::{
    broker::{self, queue},
    event::Event,
};

/// One plugin's deliveries.
#[derive(Debug)]
pub struct Source {
    broker: Broker,
    kind: Kind,
    changes: Arc<Notify>,
}

#[derive(Debug)]
enum Kind {
    /// The number of its line at the server.
    Stream(u64),
    Core {
        queue: queue::Receiver<(Event, InHand)>,
        allowed: usize,
        pace: Option<usize>,
    },
}

impl Source {
    /// A source that reads a stream through `line`.
    pub(super) fn of_stream(broker: Broker, line: Line) -> Source {
        let mut server = broker.lock();
        let id = server.number();
        server.lines.insert(id, line);
        drop(server);
        let changes = Arc::clone(&broker.changes);
        Source { broker, kind: Kind::Stream(id), changes }
    }

    /// A source of what core NATS sends.
    pub(super) fn of_core(broker: Broker, queue: queue::Receiver<(Event, InHand)>) -> Source {
        let changes = Arc::clone(&broker.changes);
        Source { broker, kind: Kind::Core { queue, allowed: 0, pace: None }, changes }
    }

    async fn next_stored(&mut self, id: u64) -> Option<Delivery> {
        let changes = Arc::clone(&self.changes);
        loop {
            // Before the look: what changes after it is not missed.
            let changed = changes.notified();
            let served = self.broker.lock().serve(id);
            match served {
                Served::Event(event, grant) => {
                    return Some(Delivery::new(self.broker.clone(), *event, Held::Stored(grant)));
                }
                Served::Ended => return None,
                Served::Wait(until) => wait(changed, until).await,
            }
        }
    }

    async fn next_core(&mut self) -> Option<Delivery> {
        let Kind::Core { queue, allowed, pace } = &mut self.kind else { return None };
        let may_come = pace.map_or(*allowed, |pace| pace.min(*allowed));
        if may_come == 0 && !(queue.is_closed() && queue.is_empty()) {
            std::future::pending::<()>().await;
        }
        // What is on its way arrives although nobody looks at the server.
        loop {
            let changed = self.changes.notified();
            let until = {
                let server = self.broker.lock();
                server.next_change()
            };
            tokio::select! {
                biased;
                came = queue.take() => {
                    let (event, in_hand) = came?;
                    *allowed = allowed.saturating_sub(1);
                    *pace = pace.map(|pace| pace.saturating_sub(1));
                    return Some(Delivery::new(self.broker.clone(), event, Held::Core(in_hand)));
                }
                () = wait(changed, until) => {}
            }
        }
    }
}

/// Until something changes or `until` is reached.
async fn wait(changed: Notified<'_>, until: Option<Instant>) {
    let timer = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
    biased;
           () = changed => {}
           () = timer => {}
       }
}

impl broker::Source for Source {
    type Delivery = Delivery;

    fn allow(&mut self, n: usize) {
        match &mut self.kind {
            Kind::Stream(id) => {
                if let Some(line) = self.broker.lock().lines.get_mut(id) {
                    line.allowed = line.allowed.saturating_add(n);
                }
            }
            Kind::Core { allowed, .. } => *allowed = allowed.saturating_add(n),
        }
    }

    fn pace(&mut self, most: Option<usize>) {
        match &mut self.kind {
            Kind::Stream(id) => {
                if let Some(line) = self.broker.lock().lines.get_mut(id) {
                    line.pace = most;
                }
            }
            Kind::Core { pace, .. } => *pace = most,
        }
    }

    fn pause(&mut self, time: std::time::Duration) {
        let Kind::Stream(id) = &self.kind else { return };
        let key = self.broker.lock().lines.get(id).map(|line| line.key.clone());
        // Whether there is a consumer to pause is the server's business.
        if let Some((stream, durable)) = key {
            self.broker.pause_consumer(&stream, &durable, time);
        }
    }

    async fn next(&mut self) -> Option<Delivery> {
        match self.kind {
            Kind::Stream(id) => self.next_stored(id).await,
            Kind::Core { .. } => self.next_core().await,
        }
    }

    async fn stop(&mut self) {
        match &mut self.kind {
            Kind::Stream(id) => {
                if let Some(line) = self.broker.lock().lines.get_mut(id) {
                    line.is_stopping = true;
                }
            }
            Kind::Core { queue, .. } => queue.close(),
        }
    }

    async fn close(self) {
        if let Kind::Stream(id) = &self.kind {
            self.broker.lock().give_back(*id);
            self.broker.changed();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Kind::Stream(id) = &self.kind {
            // What is on its way comes again after the ack wait.
            let mut server = self.broker.lock();
            server.lines.remove(id);
            server.lose_touch(*id);
            drop(server);
            self.broker.changed();
        }
    }
}
