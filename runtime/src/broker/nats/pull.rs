//! A plugin's deliveries from a stream: permits first, then messages.
//!
//! Not the client's own pull streams: those prefetch, and what they prefetched
//! ages. Here nothing is asked for that cannot run now.
//!
//! A source pulls until something makes its open requests doubtful (a
//! reconnect, silence, a lost consumer) or it is stopped. Then it *leaves* its
//! inbox: it unsubscribes, waits until the server has certainly handled that,
//! returns what had been sent before, and only then begins anew under another
//! inbox. So the server never holds more requests than were allowed, and no
//! delivery is wasted. After a break it looks for the message that may have
//! caused it, and hands that up as a delivery; see `suspect`.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use async_nats::{HeaderName, Message, jetstream::consumer::Info};
use futures::{FutureExt as _, StreamExt as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Broker, State,
    api::ApiError,
    bucket::Bucket,
    connect::delay,
    consumer::Durable,
    credit::Credit,
    delivery::{Delivery, Provenance},
    exclusive::Exclusive,
    lease::Claim,
    line::{self, HEARTBEAT, Line},
    regain::RECHECK,
    status::{self, Status},
    suspect::{Findings, Suspicion, Unreadable},
};
use crate::{broker::SetupError, manifest::Ack};

mod gathering;
mod leaving;

/// Silence after which the requests are taken for lost: a few heartbeats.
const SILENCE: Duration = Duration::from_secs(11);
/// How long a stop waits for what was asked for, when nothing comes, and in all.
/// What the server takes out for a request that then ends counts as a delivery.
const QUIET: Duration = Duration::from_millis(50);
const MAX_FILLING: Duration = Duration::from_millis(500);
/// How often the server is asked whether it holds messages back.
const WATCH: Duration = Duration::from_secs(20);
/// How often an exclusive source looks whether it still is the only one.
const LEASE_CHECK: Duration = Duration::from_millis(100);
/// A request that ends sooner than this did not expire: asking again at once
/// could become a hot loop.
const SOON: Duration = Duration::from_secs(1);
/// The server reads up to nine digits and takes more for no number at all:
/// it ends the subscription at once. The client takes it for a limit that is
/// never reached, and goes on to hand over what the server had sent before.
/// With a number of its own it would forget the subscription, and lose them.
/// (Should a server ever take it for a limit too, the end of the source does
/// end the subscription; only what is under way in that moment comes again.)
pub(super) const UNSUBSCRIBE_BUT_LISTEN: u64 = 1_000_000_000_000;

const PENDING: HeaderName = HeaderName::from_static("Nats-Pending-Messages");

type Errand<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The deliveries of one durable consumer to this process.
pub(super) struct Pull {
    broker: Broker,
    durable: Arc<Durable>,
    bucket: Bucket,
    ack: Ack,
    /// The only source of its consumer, if it has to be.
    exclusive: Option<Exclusive>,
    line: Line,
    credit: Credit,
    suspicion: Suspicion,
    /// Found, and not yet handed up.
    found: VecDeque<Unreadable>,
    /// Gathered, and not yet handed up.
    gathered: VecDeque<Delivery>,
    phase: Phase,
    is_stopping: bool,
    /// Failures in a row, for the delay before the next try.
    failures: usize,
    /// Asking pauses until then.
    ask_at: Option<Instant>,
    asked_at: Instant,
    /// When the server last showed that it is there.
    heard_at: Instant,
    watch_at: Instant,
    watch: Option<Errand<Result<Box<Info>, ApiError>>>,
    /// Whether a message came since the last look at the consumer.
    has_moved: bool,
    state: watch::Receiver<State>,
}

enum Phase {
    /// Requests are open, or could be.
    Pulling,
    /// Stopping: open requests may still be filled, until then.
    Filling(Instant),
    /// The inbox is to be left.
    Leaving,
    /// The server is asked something, to know when it has handled what was sent before.
    Settling(Errand<()>),
    /// What had been sent to the inbox is returned.
    Emptying,
    /// Consumer and stream are looked at, and another inbox is opened.
    Opening(Errand<Result<(Line, Findings), SetupError>>),
    /// Another replica has the consumer.
    Standby,
    /// Nothing will come.
    Ended,
}

/// What happened first.
enum Step {
    Asked(usize, Result<(), String>),
    Came(Option<Message>),
    Watched(Result<Box<Info>, ApiError>),
    StateChanged,
    TimePassed,
}

impl Pull {
    pub(super) async fn open(
        broker: Broker,
        durable: Durable,
        bucket: Bucket,
        ack: Ack,
        is_exclusive: bool,
    ) -> Result<Pull, SetupError> {
        let durable = Arc::new(durable);
        let (line, _) = Line::open(broker.clone(), Arc::clone(&durable), None, None).await?;
        // Only at the beginning: a replica with older settings that comes back
        // after a break must not undo what another one has changed since.
        let broker = Broker { updates_consumers: false, ..broker };
        let now = Instant::now();
        let seek = || Exclusive::seek(bucket.clone(), &durable, broker.unique_id());
        let exclusive = is_exclusive.then(seek);
        Ok(Pull {
            phase: if is_exclusive { Phase::Standby } else { Phase::Pulling },
            exclusive,
            bucket,
            state: broker.state(),
            broker,
            durable,
            ack,
            line,
            credit: Credit::default(),
            suspicion: Suspicion::default(),
            found: VecDeque::new(),
            gathered: VecDeque::new(),
            is_stopping: false,
            failures: 0,
            ask_at: None,
            asked_at: now,
            heard_at: now,
            watch_at: now + WATCH,
            watch: None,
            has_moved: false,
        })
    }

    pub(super) fn allow(&mut self, n: usize) {
        self.credit.allow(n);
    }

    pub(super) fn pace(&mut self, most: Option<usize>) {
        self.note_missing();
        if self.credit.pace(most) && matches!(self.phase, Phase::Pulling) {
            self.phase = Phase::Leaving;
        }
    }

    /// Asks the server to deliver to nobody for `time`, without waiting.
    pub(super) fn pause_consumer(&self, time: Duration) {
        let (broker, durable) = (self.broker.clone(), Arc::clone(&self.durable));
        tokio::spawn(async move { broker.pause_consumer(&durable, time).await });
    }

    /// To see whether this replica has the plugin; `None`: all replicas have it.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.exclusive.as_ref().map(Exclusive::claim)
    }

    /// Gives up what it holds on the server.
    pub(super) async fn close(self) {
        self.broker.source_fails(&self.durable, None);
        if let Some(exclusive) = self.exclusive {
            exclusive.close().await;
        }
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        if let Some(exclusive) = &mut self.exclusive {
            self.gathered.extend(exclusive.end());
        }
        match self.phase {
            Phase::Pulling => self.phase = Phase::Filling(Instant::now() + MAX_FILLING),
            Phase::Opening(_) | Phase::Standby => self.phase = Phase::Ended,
            Phase::Filling(_)
            | Phase::Leaving
            | Phase::Settling(_)
            | Phase::Emptying
            | Phase::Ended => {}
        }
    }

    /// Cancel-safe: whatever is awaited is kept in `self`, or is begun again
    /// without harm.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(gathered) = self.gathered.pop_front() {
                return Some(gathered);
            }
            if let Some(found) = self.found.pop_front() {
                return Some(self.hand_up(found));
            }
            let delivery = match &mut self.phase {
                Phase::Pulling => self.pull().await,
                Phase::Filling(until) => {
                    let until = *until;
                    self.fill(until).await
                }
                Phase::Leaving => {
                    self.leave().await;
                    None
                }
                Phase::Settling(_) => self.await_server().await,
                Phase::Emptying => self.empty(),
                Phase::Opening(opening) => {
                    let opened = opening.await;
                    self.opened(opened);
                    None
                }
                Phase::Standby => {
                    self.stand_by().await;
                    None
                }
                Phase::Ended => return None,
            };
            if delivery.is_some() {
                return delivery;
            }
        }
    }

    /// One step of pulling: a message, or a change of what is waited for.
    async fn pull(&mut self) -> Option<Delivery> {
        let is_same_line = self.broker.inner.connects() == self.line.connects;
        // What came before the break may be handed up; of an exclusive source it
        // cannot be told from what came after it.
        if (is_same_line || self.exclusive.is_none())
            && let Some(Some(message)) = self.line.subscriber.next().now_or_never()
        {
            return self.take(message);
        }
        if !is_same_line {
            tracing::info!(consumer = self.durable.name, "reconnected; asking anew");
            self.broke();
            return None;
        }
        if self.exclusive.as_ref().is_some_and(|exclusive| !exclusive.goes_on()) {
            self.phase = Phase::Leaving;
            return None;
        }
        match self.step().await {
            Step::Asked(n, Ok(())) => self.asked(n),
            Step::Asked(_, Err(error)) => self.pause(&error),
            Step::Came(Some(message)) => return self.take(message),
            Step::Came(None) if self.broker.inner.connection.is_closed() => {
                self.phase = Phase::Ended;
            }
            // The client broke down; there will be another.
            Step::Came(None) => self.broke(),
            Step::Watched(info) => self.watched(info),
            Step::StateChanged => {}
            Step::TimePassed => self.tick(),
        }
        None
    }

    async fn step(&mut self) -> Step {
        let (wanted, wake_at) = (self.wanted(), self.wake_at());
        let Pull { broker, durable, line, state, watch, .. } = self;
        let Line { inbox, subscriber, .. } = line;
        tokio::select! {
            biased;
            sent = line::ask(broker, durable, inbox, wanted), if wanted > 0 => {
                Step::Asked(wanted, sent)
            }
            message = subscriber.next() => Step::Came(message),
            info = errand(watch) => Step::Watched(info),
            Ok(()) = state.changed() => Step::StateChanged,
            () = sleep_until(wake_at) => Step::TimePassed,
        }
    }

    /// How many to ask for now.
    fn wanted(&mut self) -> usize {
        let must_wait =
            self.exclusive.as_mut().is_some_and(|exclusive| exclusive.not_before().is_some());
        // Asked of the client: the watched state may lag behind.
        if must_wait || self.ask_at.is_some() || !self.broker.is_connected() {
            0
        } else {
            self.note_missing();
            self.credit.wanted()
        }
    }

    fn wake_at(&self) -> Instant {
        let silence = self.heard_at + SILENCE;
        let silence = Some(silence).filter(|_| self.credit.outstanding() > 0);
        let lease = self.exclusive.is_some().then(|| Instant::now() + LEASE_CHECK);
        let times = [Some(self.watch_at), self.ask_at, silence, lease];
        times.into_iter().flatten().min().unwrap_or(self.watch_at)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
        }
        if let Some(exclusive) = &mut self.exclusive {
            if exclusive.is_gathering() {
                self.watch_at = self.watch_at.min(self.asked_at + RECHECK);
            }
            if self.credit.is_halted() {
                exclusive.held_up();
            }
            self.gathered.extend(exclusive.gathered());
        }
        if self.credit.outstanding() > 0 && self.heard_at + SILENCE <= now {
            tracing::warn!(consumer = self.durable.name, "the server is silent; asking anew");
            self.leave_in_doubt();
        }
        if self.watch_at <= now {
            self.watch_at = now + WATCH;
            let (broker, durable) = (self.broker.clone(), Arc::clone(&self.durable));
            self.watch = Some(Box::pin(async move {
                broker.consumer_info(&durable.stream, &durable.name).await.map(Box::new)
            }));
        }
    }

    fn asked(&mut self, n: usize) {
        let now = Instant::now();
        if self.credit.outstanding() == 0 {
            self.heard_at = now;
        }
        self.credit.asked(n);
        self.asked_at = now;
    }

    /// Takes what came on the inbox: a delivery, or a status.
    fn take(&mut self, message: Message) -> Option<Delivery> {
        self.heard_at = Instant::now();
        // By the subject, not by the status: a stored message may carry a header
        // line that looks like one.
        if let Some(batch) = message.subject.strip_prefix(self.line.inbox.as_str()) {
            let batch = batch.trim_start_matches('.').parse().unwrap_or(0);
            self.take_status(&message, batch);
            return None;
        }
        self.credit.delivered();
        self.failures = 0;
        self.has_moved = true;
        let delivery = Delivery::from_stream(self.broker.clone(), message, self.provenance());
        self.suspicion.received(delivery.sequence().unwrap_or(0));
        self.look_for_gap(&delivery);
        self.gather(delivery)
    }

    fn provenance(&self) -> Provenance {
        Provenance {
            created: self.line.created,
            ack: self.ack,
            durable: Arc::clone(&self.durable),
            bucket: self.bucket.clone(),
            grip: self.exclusive.as_ref().map(Exclusive::grip),
        }
    }

    fn hand_up(&mut self, found: Unreadable) -> Delivery {
        self.credit.found();
        Delivery::unreadable(self.broker.clone(), found, self.provenance())
    }

    fn take_status(&mut self, message: &Message, batch: usize) {
        let Some(status) = message.status else { return };
        let text = message.description.as_deref().unwrap_or_default();
        let missing = message.headers.as_ref().and_then(|headers| headers.get(PENDING));
        let missing = missing.and_then(|missing| missing.as_str().parse().ok());
        match status::read(status.as_u16(), text, batch, missing) {
            Status::Alive => self.failures = 0,
            Status::Expired { pending } => {
                self.credit.ended(pending);
                if self.asked_at.elapsed() < SOON {
                    self.ask_at = Some(Instant::now() + SOON);
                }
            }
            Status::Refused { pending, reason } => {
                self.credit.ended(pending);
                self.pause(&reason);
            }
            Status::Lost { reason } => self.lose(&reason),
        }
    }

    fn pause(&mut self, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        tracing::warn!(consumer = self.durable.name, reason, "the server refused to deliver");
        self.ask_at = Some(Instant::now() + delay(self.failures).max(SOON));
    }

    fn lose(&mut self, reason: &str) {
        // The server says it once for each open request.
        if matches!(self.phase, Phase::Pulling) {
            tracing::error!(consumer = self.durable.name, reason, "consumer lost; looking for it");
            self.failures = self.failures.saturating_add(1);
            self.leave_in_doubt();
        }
    }

    /// Servers have been seen to forget requests while messages waited.
    fn watched(&mut self, info: Result<Box<Info>, ApiError>) {
        let has_moved = std::mem::take(&mut self.has_moved);
        let info = match info {
            Ok(info) => info,
            Err(error) if error.is_not_found() => return self.lose("404 consumer not found"),
            Err(error) => {
                tracing::debug!(consumer = self.durable.name, %error, "consumer not seen");
                return;
            }
        };
        self.line.floor = info.ack_floor.stream_sequence;
        if let Some(exclusive) = &mut self.exclusive {
            exclusive.recheck(info.num_ack_pending);
            self.gathered.extend(exclusive.gathered());
        }
        let is_full = i64::try_from(info.num_ack_pending)
            .is_ok_and(|pending| pending >= self.durable.max_ack_pending);
        let may_deliver = info.num_pending > 0 && !is_full && !info.paused;
        let is_waiting = self.credit.outstanding() > 0 && self.asked_at.elapsed() >= HEARTBEAT;
        if may_deliver && is_waiting && !has_moved {
            let waiting = info.num_pending;
            tracing::warn!(
                consumer = self.durable.name,
                waiting,
                "the server holds messages back; asking anew"
            );
            self.phase = Phase::Leaving;
        }
    }
}

/// Waits for the errand, if there is one, and takes it away when it is done.
async fn errand<T>(errand: &mut Option<Errand<T>>) -> T {
    match errand {
        Some(running) => {
            let result = running.await;
            *errand = None;
            result
        }
        None => std::future::pending().await,
    }
}
