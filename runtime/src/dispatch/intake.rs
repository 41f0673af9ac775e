//! Where a plugin's deliveries come from, and how many of them are in hand.
//!
//! Asks for what can run now and no more: the backlog waits in the stream,
//! where no ack wait runs. For an ordered plugin that is more than there are
//! slots, since events wait for others of their key.

use super::breaker::Position;
use crate::broker::Source;

/// Where the deliveries of one plugin come from.
#[derive(Debug)]
pub struct Sources<S> {
    /// What the plugin subscribes to.
    pub live: S,
    /// Dead letters that are to be run again; `None` without JetStream.
    pub replays: Option<S>,
}

/// How much of a plugin may be in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// The most live deliveries.
    pub events: usize,
    /// The most replays: they wait for a slot like any other event, and must not
    /// keep live events from theirs.
    pub replays: usize,
    /// No more are asked for while those in hand have so many bytes.
    pub bytes: usize,
    /// The most deliveries asked for and not here yet.
    pub ahead: usize,
}

/// Which source a delivery came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Live,
    Replay,
}

/// A delivery that is no longer in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub kind: Kind,
    pub bytes: usize,
}

/// Both sources of one plugin, and the account of what they may deliver.
pub(super) struct Intake<S> {
    sources: Sources<S>,
    hold: Hold,
    /// Live deliveries that may come and have not.
    allowed: usize,
    held: usize,
    held_bytes: usize,
    /// The breaker's, as last seen.
    position: Position,
}

impl<S: Source> Intake<S> {
    pub(super) fn new(mut sources: Sources<S>, hold: Hold) -> Intake<S> {
        if let Some(replays) = &mut sources.replays {
            replays.allow(hold.replays);
        }
        Intake { sources, hold, allowed: 0, held: 0, held_bytes: 0, position: Position::Closed }
    }

    /// Allows as many live deliveries as there is room for.
    pub(super) fn allow(&mut self) {
        if self.held_bytes >= self.hold.bytes {
            return;
        }
        let room = self.hold.events.saturating_sub(self.held + self.allowed);
        let n = room.min(self.hold.ahead.saturating_sub(self.allowed));
        if n > 0 {
            self.allowed += n;
            self.sources.live.allow(n);
        }
    }

    /// The next delivery of either source; `None` when both have ended.
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(Kind, S::Delivery)> {
        let live = self.sources.live.next();
        let (kind, delivery) = match &mut self.sources.replays {
            None => (Kind::Live, live.await?),
            Some(replays) => tokio::select! {
                biased;
                Some(delivery) = replays.next() => (Kind::Replay, delivery),
                Some(delivery) = live => (Kind::Live, delivery),
                else => return None,
            },
        };
        if kind == Kind::Live {
            self.allowed = self.allowed.saturating_sub(1);
            self.held += 1;
        }
        Some((kind, delivery))
    }

    /// A delivery of so many bytes is in hand.
    pub(super) fn took(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
    }

    /// A delivery is settled or given up.
    pub(super) fn ended(&mut self, ended: Ended) {
        self.held_bytes = self.held_bytes.saturating_sub(ended.bytes);
        match (ended.kind, &mut self.sources.replays) {
            (Kind::Live, _) => self.held = self.held.saturating_sub(1),
            (Kind::Replay, Some(replays)) => replays.allow(1),
            (Kind::Replay, None) => {}
        }
        // It may have ended without a run, and the breaker still wants its probe.
        if let Position::HalfOpen(left) = self.position {
            self.pace(Some(left));
        }
    }

    /// Does as the breaker says: nothing comes while it is open, and no more
    /// than the probes while it is half open.
    pub(super) fn follow(&mut self, position: Position) {
        self.position = position;
        self.pace(match position {
            Position::Closed => None,
            Position::Open(_) => Some(0),
            Position::HalfOpen(left) => Some(left),
        });
        if let Position::Open(until) = position {
            self.sources.live.pause(until.saturating_duration_since(tokio::time::Instant::now()));
        }
    }

    fn pace(&mut self, most: Option<usize>) {
        self.sources.live.pace(most);
        if let Some(replays) = &mut self.sources.replays {
            replays.pace(most);
        }
    }

    pub(super) async fn stop(&mut self) {
        self.sources.live.stop().await;
        if let Some(replays) = &mut self.sources.replays {
            replays.stop().await;
        }
    }

    pub(super) async fn close(self) {
        self.sources.live.close().await;
        if let Some(replays) = self.sources.replays {
            replays.close().await;
        }
    }
}
