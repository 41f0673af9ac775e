//! Somebody who is told of every run: what came, and what the handler made of it.
//! He changes nothing, and is asked nothing.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    event::{Event, Output},
    plugin::{CallError, Handler, Plugin, Requests},
};

/// One run of a handler. Its outputs are not checked yet, nor published.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Whose handler.
    pub plugin: &'a str,
    /// What it was given.
    pub event: &'a Event,
    /// What it returned.
    pub outcome: Result<&'a [Output], &'a CallError>,
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
        tell(&Seen { plugin, event, outcome: outcome.as_deref(), took });
        outcome
    }

    fn redact(&self, text: &str) -> String {
        self.plugin.redact(text)
    }
}
