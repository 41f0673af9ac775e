//! Core NATS in the model: who listens, in which group, and what a full queue drops.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

use super::server::Server;
use crate::{
    broker::{Capacity, Subscription, queue},
    event::Event,
    subject::Pattern,
};

/// One subscription over core NATS.
#[derive(Debug)]
pub(super) struct Member {
    connection: u64,
    group: String,
    subjects: Vec<Pattern>,
    queue: queue::Sender<(Event, InHand)>,
    in_hand: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    n_received: u64,
}

/// Counts an event from when it was sent until it is settled or given up.
#[derive(Debug)]
pub(super) struct InHand {
    count: Arc<AtomicUsize>,
    changes: Arc<Notify>,
}

impl InHand {
    fn new(count: &Arc<AtomicUsize>, changes: &Arc<Notify>) -> InHand {
        count.fetch_add(1, Ordering::Relaxed);
        InHand { count: Arc::clone(count), changes: Arc::clone(changes) }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.changes.notify_waiters();
    }
}

impl Member {
    /// Events that were sent and are not settled.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    pub(super) fn wants(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}

impl Server {
    pub(super) fn join(
        &mut self,
        connection: u64,
        capacity: Capacity,
        wish: &Subscription,
    ) -> queue::Receiver<(Event, InHand)> {
        let (queue, receiver) = queue::new(capacity);
        let dropped = Arc::clone(self.drops.entry(wish.plugin.clone()).or_default());
        let (group, subjects) = (wish.name(), wish.subjects.clone());
        let in_hand = Arc::default();
        let n_received = 0;
        self.members.push(Member {
            connection,
            group,
            subjects,
            queue,
            in_hand,
            dropped,
            n_received,
        });
        receiver
    }

    /// Whether anybody listens to a subject.
    pub(super) fn is_heard(&self, subject: &str) -> bool {
        let now = Instant::now();
        let is_up = |member: &Member| {
            let connection = self.connections.get(&member.connection);
            connection.is_none_or(|it| it.down_until(now).is_none())
        };
        let mut members = self.members.iter().filter(|member| !member.queue.is_closed());
        members.any(|it| it.subjects.iter().any(|own| own.matches(subject)) && is_up(it))
    }

    /// One member of each group gets it: of those connected the one that has got
    /// the fewest. Returns how many groups listen.
    pub(super) fn fan_out(&mut self, event: &Event) -> usize {
        let now = Instant::now();
        self.members.retain(|member| !member.queue.is_closed());
        let Server { members, connections, changes, .. } = self;
        let is_up = |member: &Member| {
            connections.get(&member.connection).is_none_or(|it| it.down_until(now).is_none())
        };
        let interested =
            members.iter_mut().filter(|member| member.wants(&event.subject) && is_up(member));
        let mut chosen = BTreeMap::<String, &mut Member>::new();
        for member in interested {
            match chosen.get(&member.group) {
                Some(other) if other.n_received <= member.n_received => {}
                _ => {
                    chosen.insert(member.group.clone(), member);
                }
            }
        }
        let n_groups = chosen.len();
        for member in chosen.into_values() {
            member.n_received += 1;
            let in_hand = InHand::new(&member.in_hand, changes);
            let size = event.size();
            if member.queue.put((event.clone(), in_hand), size).is_err() {
                member.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        n_groups
    }
}
