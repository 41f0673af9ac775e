//! Leave for one run to ask others: what it asks is checked like an output, and
//! goes to the broker at once.
//!
//! It is no output all the same: it has no id, and a second run asks again.

use futures::FutureExt as _;
use tokio::time::Instant;

use super::{Plan, outputs};
use crate::{
    broker::Broker,
    event::{Event, Header, Reply, Request, RequestError},
    plugin::Requests,
    subject::{self, Pattern},
    telemetry::PluginMetrics,
};

/// What a request has to keep to.
struct Terms {
    granted: Vec<Pattern>,
    max_message: usize,
    /// Those of the event: its trace goes on, copies of the host's are left out.
    headers: Vec<Header>,
}

/// Leave to ask for the run of `event`, as far as the plan grants any.
pub(super) fn leave<B: Broker>(
    broker: &B,
    plan: &Plan,
    event: &Event,
    metrics: &PluginMetrics,
) -> Requests {
    if plan.requests.is_empty() {
        return Requests::none();
    }
    let terms = Terms {
        granted: plan.requests.clone(),
        max_message: plan.publishing.max_message,
        headers: event.headers.clone(),
    };
    let (broker, metrics) = (broker.clone(), metrics.clone());
    Requests::new(move |request| {
        let (broker, metrics) = (broker.clone(), metrics.clone());
        let checked = terms.check(request);
        async move { ask(&broker, checked, &metrics).await }.boxed()
    })
}

/// Sends what passed the check, and counts what came of it. What the run does not
/// wait for to its end (a time-out of its own) is counted as made, and no more.
async fn ask<B: Broker>(
    broker: &B,
    checked: Result<Request, RequestError>,
    metrics: &PluginMetrics,
) -> Result<Vec<Reply>, RequestError> {
    metrics.requests.increment(1);
    let answer = match checked {
        Ok(request) => {
            let started = Instant::now();
            let answer = broker.request(&request).await;
            metrics.request_seconds.record(started.elapsed());
            answer
        }
        Err(error) => Err(error),
    };
    answer.inspect_err(|error| metrics.request_failed(error.reason()))
}

impl Terms {
    fn check(&self, request: Request) -> Result<Request, RequestError> {
        let refused = |problem: &dyn std::fmt::Display| RequestError::Refused(problem.to_string());
        subject::check(&request.subject).map_err(|error| refused(&error))?;
        if !self.granted.iter().any(|pattern| pattern.matches(&request.subject)) {
            let granted: Vec<_> = self.granted.iter().map(Pattern::as_str).collect();
            return Err(RequestError::NotGranted(format!(
                "the manifest's `request` allows: {}; add the subject to it",
                granted.join(", ")
            )));
        }
        let headers = outputs::checked_headers(&self.headers, request.headers);
        let headers = headers.map_err(|problem| refused(&problem))?;
        match outputs::size_of(&headers, &request.payload) {
            size if size > self.max_message => {
                Err(refused(&outputs::Problem::TooLarge(size, self.max_message)))
            }
            _ => Ok(Request { headers, ..request }),
        }
    }
}

#[cfg(test)]
mod tests;
