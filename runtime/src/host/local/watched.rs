//! A plugin of a local host, whose runs are taken down.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::record::{Record, Run, Told};
use crate::{
    event::{Event, Output},
    plugin::{CallError, Handler, Plugin, Requests},
    telemetry::Metrics,
};

/// After so many runs the samples of histograms are folded: else they pile up, and
/// by the clock there would be no peace where time is paused.
const UPKEEP_RUNS: u32 = 4_096;

pub(super) struct Watched {
    plugin: Plugin,
    record: Record,
    metrics: Metrics,
    runs: AtomicU32,
}

impl Watched {
    pub(super) fn new(plugin: Plugin, record: &Record, metrics: &Metrics) -> Watched {
        let (record, metrics) = (record.clone(), metrics.clone());
        Watched { plugin, record, metrics, runs: AtomicU32::new(0) }
    }
}

impl Handler for Watched {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        self.handle_asking(event, Requests::none()).await
    }

    async fn handle_asking(
        &self,
        event: &Event,
        requests: Requests,
    ) -> Result<Vec<Output>, CallError> {
        if self.runs.fetch_add(1, Ordering::Relaxed) % UPKEEP_RUNS == UPKEEP_RUNS - 1 {
            self.metrics.upkeep();
        }
        let begun = Instant::now();
        let answer = self.plugin.handle_asking(event, requests).await;
        let took = begun.elapsed();
        let outcome = answer.as_ref().map(Vec::len).map_err(CallError::clone);
        match &outcome {
            Ok(outputs) => self.record.causes(event, *outputs),
            Err(_) => self.record.forget_cause(),
        }
        let run = Run {
            plugin: self.plugin.name().to_owned(),
            event: event.id.clone(),
            subject: event.subject.clone(),
            attempt: event.attempt,
            outcome,
            took,
        };
        let room = self.record.room().await;
        self.record.tell(room, Told::Run(run));
        answer
    }
}
