//! One event's journey: from a delivery in hand to its settlement.
//!
//! The order of the steps is the promise: outputs are published and stored
//! before the delivery is settled, under ids that a second run repeats; so an
//! event is never lost, and what a second run publishes is dropped as a
//! duplicate. For an ordered plugin the next event of the key begins after that.

use std::{
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Dispatcher, Failure, Tally, Verdict,
    lanes::{Place, Turn},
    now_ms, requests,
    tries::Tries,
};
use crate::{
    broker::{Broker, DecodeError, Delivery, Note, Source},
    event::{Disposition, Event, Output},
    manifest::OnFailure,
    plugin::Handler,
};

/// One hand-over of the broker `B`.
pub(super) type Handed<B> = <<B as Broker>::Source as Source>::Delivery;

/// A delivery in hand.
pub(super) struct InHand<B: Broker> {
    delivery: Handed<B>,
    /// The event, if it was read already.
    event: Option<Result<Event, DecodeError>>,
    /// Its place among the events of its key.
    place: Option<Place>,
}

impl<B: Broker, H: Handler> Dispatcher<B, H> {
    /// Gives a delivery its place.
    ///
    /// Called in the order of arrival: the order of a lane depends on it.
    pub(super) fn line_up(&self, delivery: Handed<B>) -> InHand<B> {
        let Some(lanes) = &self.lanes else {
            return InHand { delivery, event: None, place: None };
        };
        let event = delivery.event();
        let place = event.as_ref().ok().map(|event| lanes.line_up(event));
        InHand { delivery, event: Some(event), place }
    }

    /// One delivery, from arrival to settlement.
    pub(super) async fn process(&self, in_hand: InHand<B>) {
        let InHand { delivery, event, mut place } = in_hand;
        let tries = Tries::first();
        let answered = {
            let answer = pin!(async {
                match event.unwrap_or_else(|| delivery.event()) {
                    Ok(event) => self.answer(&delivery, event, place.as_mut(), &tries).await,
                    Err(error) => self.give_up(&delivery, error, &tries).await,
                }
            });
            tokio::select! {
                biased;
                disposition = self.alive(&delivery, answer) => Some(disposition),
                () = self.cut.cancelled() => None,
            }
        };
        let disposition = match answered {
            Some(disposition) => disposition,
            None => self.give_back(&delivery, &tries).await,
        };
        if let Some(disposition) = disposition {
            let is_final = !matches!(disposition, Disposition::Retry(_));
            let is_settled = self.settle(delivery, disposition).await;
            if let Some(place) = place.as_mut().filter(|_| is_settled && is_final) {
                place.settled();
            }
        }
        // The next event of the key: not before this one is settled.
        drop(place);
    }

    /// What to tell the server about an event; `None`: nothing, and the server
    /// delivers it again.
    async fn answer(
        &self,
        delivery: &Handed<B>,
        mut event: Event,
        place: Option<&mut Place>,
        tries: &Tries,
    ) -> Option<Disposition> {
        self.arrived(&event);
        if let Some(place) = place {
            match self.unless_stopped(place.turn()).await {
                Some(Turn::Void) => return None,
                // One that gets its turn during a stop would run before others of
                // its key that were given back.
                Some(Turn::Run) if !self.hurry.is_cancelled() => {}
                _ => return self.give_back(delivery, tries).await,
            }
        }
        if let Err(failure) = self.count_attempts(delivery, &mut event, tries).await {
            self.metrics.failed(failure.class());
            return Box::pin(self.bury(delivery, &event, &failure, tries)).await;
        }
        loop {
            let Err(failure) = self.guarded(self.attempt(delivery, &event, tries)).await else {
                self.finished(&event);
                return Some(Disposition::Ack);
            };
            match self.judge(&event, &failure) {
                // Rare, and larger than all the rest.
                Verdict::DeadLetter => {
                    return Box::pin(self.bury(delivery, &event, &failure, tries)).await;
                }
                Verdict::Retry(delay) if self.lanes.is_none() && delivery.redelivers() => {
                    return Some(Disposition::Retry(delay));
                }
                Verdict::Retry(delay) => match self.back_off(delay).await {
                    Some(()) => self.count_on(&mut event, tries),
                    None => return self.give_back(delivery, tries).await,
                },
                Verdict::Leave => return self.give_back(delivery, tries).await,
            }
        }
    }

    /// Tells attempts from deliveries: those that ended because a host stopped
    /// do not count, nor do those of an ordered plugin that only waited.
    ///
    /// # Errors
    /// If the event seems to end the process each time that it runs.
    async fn count_attempts(
        &self,
        delivery: &Handed<B>,
        event: &mut Event,
        tries: &Tries,
    ) -> Result<(), Failure> {
        let delivered = event.attempt;
        tries.begin(delivered, delivered);
        if delivered > 1 && delivery.redelivers() {
            let note = delivery.noted().await;
            event.attempt = match self.lanes {
                None => delivered.saturating_sub(note.spared).max(1),
                Some(_) => note.begun.saturating_add(1),
            };
            tries.begin(delivered, event.attempt);
            if event.attempt > self.plan.retry.crash_limit() {
                return Err(Failure::CrashLoop { deliveries: event.attempt });
            }
            tries.mark_unnoted(self.lanes.is_some());
        }
        Ok(())
    }

    /// Counts one more attempt within the same delivery, where no delivery counts
    /// it.
    fn count_on(&self, event: &mut Event, tries: &Tries) {
        event.attempt = tries.next_attempt();
        tries.mark_unnoted(self.lanes.is_some() && !self.blocks());
    }

    /// A panic is a bug of ours: it costs its event an attempt, not the process.
    async fn guarded(
        &self,
        attempt: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let outcome = AssertUnwindSafe(attempt).catch_unwind().await;
        outcome.unwrap_or_else(|_| {
            self.panicked();
            Err(Failure::Panic)
        })
    }

    /// Waits for the turn to run; then call, check, publish.
    async fn attempt(
        &self,
        delivery: &Handed<B>,
        event: &Event,
        tries: &Tries,
    ) -> Result<(), Failure> {
        let pass = self.unless_stopped(self.gate.enter()).await;
        let mut pass = pass.ok_or(Failure::Stopped)?;
        if tries.take_unnoted() {
            // Before the run, which may be the end of the process; not before the
            // slot: an event that only waited is not what ended it.
            self.note(delivery, Note { begun: event.attempt, ..Note::default() }).await;
        }
        let room = self.admission.admit(event.size()).await;
        // After all waits: the right to run may have been lost in them.
        if !delivery.is_ours() {
            return Err(Failure::Stopped);
        }
        let called = self.call(event).await;
        pass.tell(
            called.as_ref().map_or_else(Failure::showing, |_| super::breaker::Showing::Works),
            event.attempt > 1,
        );
        let run = self.plan.run(event);
        let redact = |text: &str| self.handler.redact(text);
        let messages = self.plan.publishing.messages(event, called?, &run, &redact)?;
        let unanswered = self.publish(messages, Tally::Outputs).await?;
        // Room is for work: a wait for a stream that is full or away must not
        // keep the other plugins from theirs.
        drop(room);
        match unanswered.is_empty() {
            true => Ok(()),
            false => self.publish_until_stored(unanswered, Tally::Outputs).await,
        }
    }

    async fn call(&self, event: &Event) -> Result<Vec<Output>, Failure> {
        let started = Instant::now();
        let requests = requests::leave(&self.broker, &self.plan, event, &self.metrics);
        let outcome = self.handler.handle_asking(event, requests).await;
        self.metrics.handler_seconds.record(started.elapsed());
        Ok(outcome?)
    }

    /// Puts the event into the dead letters. Only then may it be rejected.
    async fn bury(
        &self,
        delivery: &Handed<B>,
        event: &Event,
        failure: &Failure,
        tries: &Tries,
    ) -> Option<Disposition> {
        if !delivery.is_ours() {
            // Whoever has taken over tries it as often as it may be tried.
            return None;
        }
        let class = failure.class();
        if let Err(problem) = self.store_dead_letter(event, failure).await {
            tracing::error!(
                plugin = self.plan.plugin, event = event.id, subject = event.subject,
                code = class, error = %failure, %problem, "an event that failed is not in the dead letters"
            );
            return match (delivery.redelivers(), problem) {
                (_, Failure::Stopped) => self.give_back(delivery, tries).await,
                (true, _) => {
                    if !matches!(failure, Failure::CrashLoop { .. }) {
                        // Else it would be taken for one that ends the process.
                        self.note_as_it_was(delivery, tries).await;
                    }
                    Some(Disposition::Retry(self.plan.retry.max))
                }
                (false, _) => {
                    // It came once, and is gone.
                    self.metrics.dropped(class);
                    Some(Disposition::Reject)
                }
            };
        }
        self.history.forget(event);
        self.metrics.dead_lettered(class);
        tracing::warn!(
            plugin = self.plan.plugin, event = event.id, subject = event.subject,
            attempt = event.attempt, code = class, error = %failure, "event put into the dead letters"
        );
        Some(Disposition::Reject)
    }

    async fn store_dead_letter(&self, event: &Event, failure: &Failure) -> Result<(), Failure> {
        let dead_letters = self.plan.dead_letters.as_ref().ok_or(Failure::NoDeadLetters)?;
        let history = self.history.of(event);
        let record = dead_letters.record(&self.plan, event, failure, (&history, now_ms()));
        let record = vec![record.ok_or(Failure::TooLargeToBury)?];
        self.publish_until_stored(record, Tally::DeadLetter).await
    }

    /// Hands an event back that was not run to its end, so that another host, or
    /// this one when it is back, gets it at once, with its attempts as they are.
    async fn give_back(&self, delivery: &Handed<B>, tries: &Tries) -> Option<Disposition> {
        if !delivery.redelivers() {
            self.metrics.dropped("stopped");
            return None;
        }
        if !delivery.is_ours() {
            // Another host has it, and an answer of ours would count as its own.
            return None;
        }
        self.note_as_it_was(delivery, tries).await;
        Some(Disposition::Retry(Duration::ZERO))
    }

    /// Notes that the next delivery of the event is the same attempt as this one.
    async fn note_as_it_was(&self, delivery: &Handed<B>, tries: &Tries) {
        let note = match self.lanes {
            None => Note { spared: tries.spared(), ..Note::default() },
            // One that blocks its key has no last attempt: what is noted counts
            // only how often the process ended over it.
            Some(_) if self.blocks() => Note::default(),
            Some(_) => Note { begun: tries.ended(self.plan.retry.attempts), ..Note::default() },
        };
        // An empty note takes back that the attempt which was cut off had begun.
        if note != Note::default() || tries.was_redelivered() {
            self.note(delivery, note).await;
        }
    }

    /// Whether an event that fails for good holds up its key.
    fn blocks(&self) -> bool {
        matches!(self.plan.order, Some((_, OnFailure::Block)))
    }

    async fn note(&self, delivery: &Handed<B>, note: Note) {
        if !delivery.is_ours() {
            // Another replica counts by now.
            return;
        }
        if let Err(error) = delivery.note(note).await {
            let plugin = &*self.plan.plugin;
            tracing::warn!(plugin, %error, "not noted; the event's attempts may be miscounted");
        }
    }

    fn judge(&self, event: &Event, failure: &Failure) -> Verdict {
        let class = failure.class();
        self.metrics.failed(class);
        let verdict = failure.verdict(&self.plan.retry, event.attempt, |n| self.delay(n));
        let verdict = match verdict {
            Verdict::DeadLetter if self.blocks() => {
                tracing::error!(
                    plugin = self.plan.plugin, event = event.id, subject = event.subject,
                    code = class, error = %failure,
                    "an event holds up all later ones of its key until it is handled"
                );
                Verdict::Retry(self.jitter(self.plan.retry.max))
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Retry(delay) => {
                self.history.note(event, failure, now_ms());
                self.metrics.retried.increment(1);
                tracing::warn!(
                    plugin = self.plan.plugin, event = event.id, subject = event.subject,
                    attempt = event.attempt, code = class, error = %failure, ?delay, "event not handled; it comes again"
                );
            }
            Verdict::DeadLetter if class == "reject" => self.metrics.rejected.increment(1),
            Verdict::DeadLetter | Verdict::Leave => {}
        }
        if matches!(failure, Failure::Output(_)) {
            self.metrics.outputs_refused.increment(1);
        }
        verdict
    }

    /// The delay after failed attempt number `attempt`: any length up to its
    /// bound, which is the longest one while too many runs fail.
    fn delay(&self, attempt: u32) -> Duration {
        let retry = &self.plan.retry;
        let bound = if self.budget.spend() { retry.longest_delay(attempt) } else { retry.max };
        self.jitter(bound)
    }

    /// Runs `work` and tells the server meanwhile that the delivery is in hand.
    /// `work` is pinned by the caller: as an argument it would be kept twice, and
    /// all of it is copied when its task begins.
    async fn alive<T>(
        &self,
        delivery: &Handed<B>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        loop {
            if let Ok(outcome) = timeout(self.plan.ack_wait / 3, work.as_mut()).await {
                return outcome;
            }
            if !delivery.is_ours() {
                // Whoever has taken over is to get it soon.
                continue;
            }
            // Telling may take long while the connection is away; work goes on.
            tokio::select! {
            biased;
                           outcome = work.as_mut() => return outcome,
                           told = delivery.progress() => if let Err(error) = told {
                               tracing::debug!(plugin = self.plan.plugin, %error, "progress not told");
                           },
                       }
        }
    }

    /// Whether the answer has reached the server, as far as that is known.
    async fn settle(&self, delivery: Handed<B>, disposition: Disposition) -> bool {
        let settled = delivery.settle(disposition).await;
        if let Err(error) = &settled {
            self.metrics.settle_failures.increment(1);
            tracing::warn!(plugin = self.plan.plugin, %error, "the event may come again");
        }
        settled.is_ok()
    }

    /// What to tell the server about a message that no handler can be given:
    /// it goes to the dead letters, with all that could be saved of it.
    async fn give_up(
        &self,
        delivery: &Handed<B>,
        error: DecodeError,
        tries: &Tries,
    ) -> Option<Disposition> {
        let event = Event::clone(&error.event);
        self.arrived(&event);
        let failure = Failure::Decode(error);
        self.metrics.failed(failure.class());
        self.bury(delivery, &event, &failure, tries).await
    }

    /// Waits for the next attempt; `None` when the host stops before that.
    async fn back_off(&self, delay: Duration) -> Option<()> {
        let _counted = Counted::new(&self.backing_off);
        self.backs_off.notify_one();
        self.unless_stopped(sleep(delay)).await
    }

    /// Waits for `work`; `None` when the host stops before it is done.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.hurry.cancelled() => None,
        }
    }

    fn arrived(&self, event: &Event) {
        self.metrics.received.increment(1);
        if event.attempt > 1 {
            self.metrics.redelivered.increment(1);
        }
    }

    fn finished(&self, event: &Event) {
        self.metrics.done.increment(1);
        self.history.forget(event);
        self.budget.earn();
        let age_ms = now_ms().saturating_sub(event.time_ms);
        self.metrics.age_seconds.record(Duration::from_millis(age_ms));
    }
}

/// Counts up while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn new(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
