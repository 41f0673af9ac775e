//! What makes a source the only one of its consumer over all replicas: the
//! lease, the deliveries that are in hand under it, and what has to be gathered
//! before anything runs.
//!
//! When deliveries are asked for and what is done with them: `pull`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    bucket::Bucket,
    consumer::Durable,
    delivery::Delivery,
    lease::{Claim, Lease, Tenure},
    line::Line,
    regain::Regain,
};

/// The server finds out that an ack wait is over a moment later.
const MARGIN: Duration = Duration::from_millis(500);
/// The life of a lease is half the ack wait, within these bounds.
const LIFE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// The exclusive side of a source.
pub(super) struct Exclusive {
    lease: Lease,
    ack_wait: Duration,
    /// The term that the source works under; 0: none yet.
    term: u64,
    in_hand: Arc<InHand>,
    /// When what was on its way may have been lost.
    broke_at: Option<Instant>,
    regain: Option<Regain<Delivery>>,
    /// Nothing is asked for before then.
    not_before: Option<Instant>,
    /// How many deliveries the consumer has made, as far as is known here.
    handed_out: u64,
}

/// What was done with a delivery that came.
pub(super) enum Gathering {
    /// Nothing: it may be handed up.
    Not(Box<Delivery>),
    Kept,
    /// Kept, in place of an earlier one of the same message.
    Instead(Box<Delivery>),
}

/// What a source has to know of an inbox that it opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Deliveries that have to be gathered before anything is handed up.
    pub(super) missing: usize,
    /// Deliveries that were gathered and given up.
    pub(super) given_up: usize,
}

/// The deliveries of one term.
#[derive(Debug, Default)]
struct InHand {
    now: watch::Sender<usize>,
    /// Whether one was dropped without an answer that may count on the server.
    has_lost: AtomicBool,
}

/// A delivery's part in its source's tenure.
#[derive(Debug)]
pub(super) struct Grip {
    tenure: watch::Receiver<Option<Tenure>>,
    term: u64,
    in_hand: Arc<InHand>,
    is_answered: bool,
}

impl Grip {
    pub(super) fn holds(&self) -> bool {
        self.tenure.borrow().is_some_and(|tenure| tenure.term == self.term && tenure.holds())
    }

    /// The server has been told what becomes of it.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        if !self.is_answered {
            self.in_hand.has_lost.store(true, Ordering::Relaxed);
        }
        self.in_hand.now.send_modify(|n| *n = n.saturating_sub(1));
    }
}

impl Exclusive {
    /// Begins to seek the lease for `durable`.
    pub(super) fn seek(bucket: Bucket, durable: &Durable, me: String) -> Exclusive {
        let life = (durable.ack_wait / 2).clamp(LIFE.0, LIFE.1);
        let key = format!("lease.{}.{}", durable.stream, durable.name);
        Exclusive {
            lease: Lease::seek(bucket, key, me, life),
            ack_wait: durable.ack_wait,
            term: 0,
            in_hand: Arc::default(),
            broke_at: None,
            regain: None,
            not_before: None,
            handed_out: 0,
        }
    }

    /// Waits until the lease is held. Cancel-safe.
    pub(super) async fn held(&mut self) {
        self.lease.held().await;
    }

    /// Whether the lease is held, in the same tenure as before.
    pub(super) fn goes_on(&self) -> bool {
        self.lease.tenure().is_some_and(|tenure| tenure.term == self.term)
    }

    /// Whether the lease is held.
    pub(super) fn is_held(&self) -> bool {
        self.lease.tenure().is_some()
    }

    /// What was on its way may be lost. What was gathered is given up, too: how
    /// many deliveries.
    pub(super) fn broke(&mut self) -> usize {
        self.broke_at = Some(Instant::now());
        // What still comes may be newer than what is lost, and must not run before:
        // the client has subscribed again to the inbox that is being left.
        let fresh = Regain::new(usize::MAX, u64::MAX, self.ack_wait);
        self.regain.replace(fresh).map_or(0, |regain| regain.len())
    }

    /// Whether a delivery comes right after the last one. If not, those between
    /// went elsewhere: to a connection that is lost, or to a former holder that is
    /// cut off, whose requests the server keeps for a while.
    pub(super) fn follows(&mut self, delivery: &Delivery) -> bool {
        let Some(number) = delivery.consumer_sequence() else { return true };
        let before = std::mem::replace(&mut self.handed_out, number);
        number <= before.saturating_add(1)
    }

    /// Waits until nothing is in hand, so that the server's count of what is
    /// unsettled says what is lost; no longer than for what is lost to be due
    /// again.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut in_hand = self.in_hand.now.subscribe();
        let goes_on = self.goes_on();
        let limit = self.ack_wait + MARGIN;
        // What is gathered waits for others to come.
        let gathered = self.regain.as_ref().map_or(0, Regain::len);
        async move {
            if goes_on {
                drop(timeout(limit, in_hand.wait_for(|n| *n <= gathered)).await);
            }
        }
    }

    /// Another inbox was opened: decides what has to be gathered first.
    pub(super) fn opened(&mut self, line: &Line) -> Opened {
        let Some(tenure) = self.lease.tenure() else { return Opened::default() };
        let is_new = tenure.term != self.term;
        let known = std::mem::replace(&mut self.handed_out, line.handed_out);
        if is_new {
            self.term = tenure.term;
            // What is in hand of an earlier term is not ours any more.
            self.in_hand = Arc::default();
        } else if known < line.handed_out {
            // Lost on the way out of the last inbox.
            self.broke_at.get_or_insert_with(Instant::now);
        }
        if !is_new && self.regain.is_some() && self.broke_at.is_none() {
            // Nothing was lost: what was gathered goes on waiting for the rest.
            self.recheck(line.unsettled);
            return Opened { missing: self.still_missing(), given_up: 0 };
        }
        let given_up = self.regain.take().map_or(0, |regain| regain.len());
        let missing = line.unsettled.saturating_sub(*self.in_hand.now.borrow());
        let lost_at = match (is_new, self.broke_at.take()) {
            (true, _) if tenure.was_settled => None,
            (true, _) => Some(tenure.since),
            (false, broke_at) => broke_at,
        };
        self.not_before = lost_at.filter(|_| missing > 0).map(|at| at + self.ack_wait + MARGIN);
        self.regain = (missing > 0).then(|| Regain::new(missing, line.newest, self.ack_wait / 2));
        Opened { missing, given_up }
    }

    /// When deliveries may be asked for; `None`: now.
    pub(super) fn not_before(&mut self) -> Option<Instant> {
        self.not_before = self.not_before.filter(|at| *at > Instant::now());
        self.not_before
    }

    pub(super) fn grip(&self) -> Grip {
        self.in_hand.now.send_modify(|n| *n += 1);
        Grip {
            tenure: self.lease.watch(),
            term: self.term,
            in_hand: Arc::clone(&self.in_hand),
            is_answered: false,
        }
    }

    /// Gathers a delivery, if that is what has to be done.
    pub(super) fn gather(&mut self, delivery: Delivery) -> Gathering {
        let (Some(regain), Some(sequence)) = (&mut self.regain, delivery.sequence()) else {
            return Gathering::Not(Box::new(delivery));
        };
        match regain.came(sequence, delivery, Instant::now()) {
            Some(earlier) => Gathering::Instead(Box::new(earlier)),
            None => Gathering::Kept,
        }
    }

    /// How many have to come before anything is handed up.
    pub(super) fn still_missing(&self) -> usize {
        self.regain.as_ref().map_or(0, Regain::still_missing)
    }

    /// Nothing can come now.
    pub(super) fn held_up(&mut self) {
        if let Some(regain) = &mut self.regain {
            regain.held_up(Instant::now());
        }
    }

    /// The server says how many are unsettled.
    pub(super) fn recheck(&mut self, unsettled: usize) {
        let Some(regain) = &mut self.regain else { return };
        let others = self.in_hand.now.borrow().saturating_sub(regain.len());
        regain.unsettled(unsettled.saturating_sub(others));
    }

    /// Whether something is being gathered, and asking for it has begun.
    pub(super) fn is_gathering(&mut self) -> bool {
        self.regain.is_some() && self.not_before().is_none()
    }

    /// What was gathered, once it is complete.
    pub(super) fn gathered(&mut self) -> Vec<Delivery> {
        match self.regain.take_if(|regain| regain.is_done(Instant::now())) {
            Some(regain) => regain.into_deliveries().collect(),
            None => Vec::new(),
        }
    }

    /// What was gathered so far, since nothing more will come.
    pub(super) fn end(&mut self) -> Vec<Delivery> {
        self.regain.take().into_iter().flat_map(Regain::into_deliveries).collect()
    }

    /// To see from elsewhere who has the plugin.
    pub(super) fn claim(&self) -> Claim {
        self.lease.claim()
    }

    /// Gives the lease back. The next holder need not wait for what was in hand,
    /// if all of it was answered.
    pub(super) async fn close(self) {
        let has_lost = self.in_hand.has_lost.load(Ordering::Relaxed);
        let is_settled = !has_lost && *self.in_hand.now.borrow() == 0;
        self.lease.close(is_settled).await;
    }
}
