//! Somebody who is told of every run: what came, and what the handler made of it.
//! He changes nothing, and is asked nothing.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    dispatch::{OutputError, Plan},
    event::{Event, Output},
    plugin::{CallError, Handler, Plugin, Requests},
};

/// One run of a handler. Its outputs are not published yet.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Whose handler.
    pub plugin: &'a str,
    /// What it was given.
    pub event: &'a Event,
    /// What it returned.
    pub outcome: Result<&'a [Output], &'a CallError>,
    /// Why none of the outputs is published: one of them breaks a rule.
    pub refusal: Option<&'a OutputError>,
    /// How long it took.
    pub took: Duration,
}

/// Called after every run, on the thread of the run: it must be quick. Cheap to
/// clone.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn(&Seen<'_>) + Send + Sync>);

impl Witness {
    /// A witness that does this with what it sees.
    pub fn new(tell: impl Fn(&Seen<'_>) + Send + Sync + 'static) -> Witness {
        Witness(Arc::new(tell))
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

/// A plugin, and who sees its runs.
pub(super) struct Witnessed {
    pub(super) plugin: Arc<Plugin>,
    /// Its outputs are checked by this.
    pub(super) plan: Plan,
    pub(super) witness: Option<Witness>,
}

impl Handler for Witnessed {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        self.handle_asking(event, Requests::none()).await
    }

    async fn handle_asking(
        &self,
        event: &Event,
        requests: Requests,
    ) -> Result<Vec<Output>, CallError> {
        let Some(Witness(tell)) = &self.witness else {
            return self.plugin.handle_asking(event, requests).await;
        };
        let begun = Instant::now();
        let outcome = self.plugin.handle_asking(event, requests).await;
        let took = begun.elapsed();
        let plugin = self.plugin.name();
        let redact = |text: &str| self.plugin.redact(text);
        let outputs = outcome.as_deref().unwrap_or_default();
        let refusal = self.plan.refusal(event, outputs, &redact);
        tell(&Seen { plugin, event, outcome: outcome.as_deref(), refusal: refusal.as_ref(), took });
        outcome
    }

    fn redact(&self, text: &str) -> String {
        self.plugin.redact(text)
    }
}
