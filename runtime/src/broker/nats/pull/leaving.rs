//! How a source leaves an inbox without wasting a delivery, and opens another.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Phase, Pull, QUIET, UNSUBSCRIBE_BUT_LISTEN};
use crate::broker::{
    SetupError,
    nats::{
        connect::delay, delivery::Delivery, exclusive::Exclusive, line::Line, suspect::Findings,
    },
};

impl Pull {
    /// Takes what comes for open requests, while it comes.
    pub(super) async fn fill(&mut self, until: Instant) -> Option<Delivery> {
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
    pub(super) async fn leave(&mut self) {
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

    pub(super) async fn await_server(&mut self) -> Option<Delivery> {
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

    pub(super) fn empty(&mut self) -> Option<Delivery> {
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
        if self.exclusive.as_ref().is_some_and(|exclusive| !exclusive.is_held()) {
            self.phase = Phase::Standby;
            return;
        }
        let settled = self.exclusive.as_ref().map(Exclusive::settled);
        let (broker, durable) = (self.broker.clone(), Arc::clone(&self.durable));
        let before = Some((self.line.created, self.line.floor));
        let search = self.suspicion.search(self.credit.allowed());
        let pause = if self.failures == 0 { Duration::ZERO } else { delay(self.failures) };
        self.phase = Phase::Opening(Box::pin(async move {
            sleep(pause).await;
            if let Some(settled) = settled {
                settled.await;
            }
            Line::open(broker, durable, before, search).await
        }));
    }

    pub(super) fn opened(&mut self, opened: Result<(Line, Findings), SetupError>) {
        match opened {
            Ok((line, findings)) => {
                if line.created != self.line.created {
                    self.suspicion.forget();
                }
                self.suspicion.searched(&findings);
                self.found.extend(findings.unreadable);
                self.line = line;
                self.broker.source_fails(&self.durable, None);
                if let Some(exclusive) = &mut self.exclusive {
                    let opened = exclusive.opened(&self.line);
                    self.credit.allow(opened.given_up);
                    self.credit.allow_at_least(opened.missing);
                }
                self.watch = None;
                self.ask_at = None;
                self.phase = Phase::Pulling;
            }
            Err(error) => {
                tracing::error!(%error, "no deliveries; trying again");
                self.broker.source_fails(&self.durable, Some(error.to_string()));
                self.failures = self.failures.saturating_add(1);
                self.begin_anew();
            }
        }
    }
}
