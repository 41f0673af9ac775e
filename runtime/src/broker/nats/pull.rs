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
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Broker, State,
    api::ApiError,
    connect::delay,
    consumer::Durable,
    credit::Credit,
    delivery::Delivery,
    line::{self, HEARTBEAT, Line},
    status::{self, Status},
    suspect::{Findings, Suspicion, Unreadable},
};
use crate::{broker::SetupError, manifest::Ack};

/// Silence after which the requests are taken for lost: two heartbeats and some.
const SILENCE: Duration = Duration::from_secs(11);
/// How long a stop waits for what was asked for, when nothing comes, and in all.
/// What the server takes out for a request that then ends counts as a delivery.
const QUIET: Duration = Duration::from_millis(50);
const MAX_FILLING: Duration = Duration::from_millis(500);
/// How often the server is asked whether it holds messages back.
const WATCH: Duration = Duration::from_secs(20);
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
    ack: Ack,
    line: Line,
    credit: Credit,
    suspicion: Suspicion,
    /// Found, and not yet handed up.
    found: VecDeque<Unreadable>,
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
        ack: Ack,
    ) -> Result<Pull, SetupError> {
        let durable = Arc::new(durable);
        let (line, _) = Line::open(broker.clone(), Arc::clone(&durable), None, None).await?;
        let now = Instant::now();
        Ok(Pull {
            state: broker.state(),
            broker,
            durable,
            ack,
            line,
            credit: Credit::default(),
            suspicion: Suspicion::default(),
            found: VecDeque::new(),
            phase: Phase::Pulling,
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
        if self.credit.pace(most) && matches!(self.phase, Phase::Pulling) {
            self.phase = Phase::Leaving;
        }
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        match self.phase {
            Phase::Pulling => self.phase = Phase::Filling(Instant::now() + MAX_FILLING),
            Phase::Opening(_) => self.phase = Phase::Ended,
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
                Phase::Ended => return None,
            };
            if delivery.is_some() {
                return delivery;
            }
        }
    }

    /// One step of pulling: a message, or a change of what is waited for.
    async fn pull(&mut self) -> Option<Delivery> {
        if let Some(Some(message)) = self.line.subscriber.next().now_or_never() {
            return self.take(message);
        }
        if self.broker.inner.connects() != self.line.connects {
            tracing::info!(consumer = self.durable.name, "reconnected; asking anew");
            self.broke();
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

    /// What was on its way is lost, and one of it may be the cause.
    fn broke(&mut self) {
        if self.credit.outstanding() > 0 {
            self.suspicion.broke(Instant::now(), self.durable.ack_wait);
        }
        self.credit.broke();
        self.phase = Phase::Leaving;
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
    fn wanted(&self) -> usize {
        // Asked of the client: the watched state may lag behind.
        if self.ask_at.is_some() || !self.broker.is_connected() { 0 } else { self.credit.wanted() }
    }

    fn wake_at(&self) -> Instant {
        let silence = self.heard_at + SILENCE;
        let silence = Some(silence).filter(|_| self.credit.outstanding() > 0);
        let times = [Some(self.watch_at), self.ask_at, silence];
        times.into_iter().flatten().min().unwrap_or(self.watch_at)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
        }
        if self.credit.outstanding() > 0 && self.heard_at + SILENCE <= now {
            tracing::warn!(consumer = self.durable.name, "the server is silent; asking anew");
            self.phase = Phase::Leaving;
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
        let Line { created, .. } = self.line;
        let delivery = Delivery::from_stream(self.broker.clone(), message, created, self.ack);
        self.suspicion.received(delivery.sequence().unwrap_or(0));
        Some(delivery)
    }

    fn hand_up(&mut self, found: Unreadable) -> Delivery {
        self.credit.found();
        let Line { created, .. } = self.line;
        Delivery::unreadable(self.broker.clone(), found, created, self.ack)
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
            self.phase = Phase::Leaving;
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

    /// Takes what comes for open requests, while it comes.
    async fn fill(&mut self, until: Instant) -> Option<Delivery> {
        let quiet = until.min(Instant::now() + QUIET);
        let came = tokio::select! {
            biased;
            message = self.line.subscriber.next(), if self.credit.outstanding() > 0 => message,
            () = sleep_until(quiet), if self.credit.outstanding() > 0 => None,
            else => None,
        };
        if came.is_none() || until <= Instant::now() {
            self.phase = Phase::Leaving;
        }
        came.and_then(|message| self.take(message))
    }

    /// Ends the subscription on the server, and goes on to listen.
    async fn leave(&mut self) {
        self.phase = Phase::Leaving;
        let limit = self.broker.inner.request_timeout;
        let left = self.line.subscriber.unsubscribe_after(UNSUBSCRIBE_BUT_LISTEN);
        // Without a connection there is no subscription to end.
        if !matches!(timeout(limit, left).await, Ok(Ok(()))) {
            tracing::debug!(consumer = self.durable.name, "inbox left without a word");
        }
        let (broker, durable) = (self.broker.clone(), Arc::clone(&self.durable));
        self.phase = Phase::Settling(Box::pin(async move {
            // Any answer will do: it comes after all that was sent before.
            let answer = broker.consumer_info(&durable.stream, &durable.name).await;
            drop(answer);
        }));
    }

    async fn await_server(&mut self) -> Option<Delivery> {
        let Phase::Settling(settling) = &mut self.phase else { return None };
        let came = tokio::select! {
            biased;
            message = self.line.subscriber.next() => message,
            () = settling => None,
        };
        match came {
            Some(message) => self.take(message),
            None => {
                self.phase = Phase::Emptying;
                None
            }
        }
    }

    fn empty(&mut self) -> Option<Delivery> {
        match self.line.subscriber.next().now_or_never().flatten() {
            Some(message) => self.take(message),
            None => {
                self.credit.void();
                self.begin_anew();
                None
            }
        }
    }

    fn begin_anew(&mut self) {
        if self.is_stopping {
            self.phase = Phase::Ended;
            return;
        }
        let (broker, durable) = (self.broker.clone(), Arc::clone(&self.durable));
        let before = Some((self.line.created, self.line.floor));
        let search = self.suspicion.search(self.credit.allowed());
        let pause = if self.failures == 0 { Duration::ZERO } else { delay(self.failures) };
        self.phase = Phase::Opening(Box::pin(async move {
            sleep(pause).await;
            Line::open(broker, durable, before, search).await
        }));
    }

    fn opened(&mut self, opened: Result<(Line, Findings), SetupError>) {
        match opened {
            Ok((line, findings)) => {
                if line.created != self.line.created {
                    self.suspicion.forget();
                }
                self.suspicion.searched(&findings);
                self.found.extend(findings.unreadable);
                self.line = line;
                self.watch = None;
                self.ask_at = None;
                self.phase = Phase::Pulling;
            }
            Err(error) => {
                tracing::error!(%error, "no deliveries; trying again");
                self.failures = self.failures.saturating_add(1);
                self.begin_anew();
            }
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
