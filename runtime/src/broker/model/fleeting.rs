//! Core NATS in the model: who listens, in which group, and what a full queue drops.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{sync::mpsc, time::Instant};

use super::server::Server;
use crate::{broker::Subscription, event::Event, subject::Pattern};

/// One subscription over core NATS.
#[derive(Debug)]
pub(super) struct Member {
    connection: u64,
    group: String,
    subjects: Vec<Pattern>,
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
    n_received: u64,
}

impl Server {
    pub(super) fn join(
        &mut self,
        connection: u64,
        capacity: usize,
        wish: &Subscription,
    ) -> mpsc::Receiver<Event> {
        let (queue, receiver) = mpsc::channel(capacity.max(1));
        let dropped = Arc::clone(self.drops.entry(wish.plugin.clone()).or_default());
        let (group, subjects) = (wish.name(), wish.subjects.clone());
        self.members.push(Member { connection, group, subjects, queue, dropped, n_received: 0 });
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
    /// the fewest.
    pub(super) fn fan_out(&mut self, event: &Event) {
        let now = Instant::now();
        self.members.retain(|member| !member.queue.is_closed());
        let Server { members, connections, .. } = self;
        let is_up = |member: &Member| {
            connections.get(&member.connection).is_none_or(|it| it.down_until(now).is_none())
        };
        let interested = members.iter_mut().filter(|member| {
            member.subjects.iter().any(|subject| subject.matches(&event.subject)) && is_up(member)
        });
        let mut chosen = BTreeMap::<String, &mut Member>::new();
        for member in interested {
            match chosen.get(&member.group) {
                Some(other) if other.n_received <= member.n_received => {}
                _ => {
                    chosen.insert(member.group.clone(), member);
                }
            }
        }
        for member in chosen.into_values() {
            member.n_received += 1;
            if member.queue.try_send(event.clone()).is_err() {
                member.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
