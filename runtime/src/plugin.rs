//! Plugins: the only module that knows wasmtime.
//!
//! A plugin is a compiled component, its grants and its limits. What breaks
//! inside a guest ends here as a [`CallError`]; wasmtime's types do not leave.

mod bindings;
mod cache;
mod compiled;
mod compiling;
mod component;
mod componentize;
mod contract;
mod determinism;
mod engine;
mod epoch;
mod failure;
mod functions;
mod grants;
mod guest;
mod imports;
mod inspect;
mod instance;
mod journal;
mod load;
mod messages;
mod needs;
mod outbound;
mod parts;
mod redact;
mod requests;
mod services;
mod state;
mod trim;
mod wasi_messaging;
mod wasmcloud;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::SemaphorePermit, time::timeout};

use self::{
    bindings::pelton::events::types as wit,
    compiled::SharedModules,
    determinism::Course,
    grants::Grants,
    guest::{Answer, GuestPre},
    instance::{Idle, Instance},
    journal::Journal,
    messages::{Messages, SendLimits},
    state::{Beginning, CpuBudget, MemoryBudget, State},
};
pub use self::{
    compiling::{Compilation, CompilationListener},
    component::{Access, LoadError, check_component},
    componentize::{CONTRACT, ComponentizeError, componentize},
    determinism::Determinism,
    engine::{Engine, EngineConfig, EngineError},
    inspect::{
        Import, Inspection, MemorySize, OtherVersion, Producer, TableSize, foreign_contract,
        inspect,
    },
    journal::{LogLine, LogSink},
    load::Fitting,
    needs::notes,
    outbound::Outside,
    requests::Requests,
};
use crate::event::{Event, Header, Output};

/// Something that can be called with an event: a [`Plugin`], or a stand-in in
/// tests and simulations of the dispatcher.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. Nothing is published by it.
    fn handle(&self, event: &Event) -> impl Future<Output = Result<Vec<Output>, CallError>> + Send;

    /// The same; where the handler is one that asks others while it runs, it
    /// asks by `requests`.
    fn handle_asking(
        &self,
        event: &Event,
        requests: Requests,
    ) -> impl Future<Output = Result<Vec<Output>, CallError>> + Send {
        drop(requests);
        self.handle(event)
    }

    /// `text` of the handler without the secrets that it was given. What it says
    /// in its answers and its log has none already.
    fn redact(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// What is shared can be called by all who share it: by one dispatcher after
/// another.
impl<H: Handler> Handler for Arc<H> {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        H::handle(self, event).await
    }

    async fn handle_asking(
        &self,
        event: &Event,
        requests: Requests,
    ) -> Result<Vec<Output>, CallError> {
        H::handle_asking(self, event, requests).await
    }

    fn redact(&self, text: &str) -> String {
        H::redact(self, text)
    }
}

/// Why a call returned no outputs. The dispatcher decides what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The handler asked to see the event again.
    #[error("the handler asked for a retry: {reason}")]
    Retry {
        /// The handler's words.
        reason: String,
        /// Not before this time has passed.
        after: Option<Duration>,
    },
    /// The handler said that it will never succeed.
    #[error("the handler rejected the event: {reason}")]
    Reject {
        /// The handler's words.
        reason: String,
    },
    /// The guest broke.
    #[error("the handler trapped: {reason}")]
    Trap {
        /// What the trap was, with what the guest wrote to stderr.
        reason: String,
        /// The guest's stack, where it is known, one frame a line.
        backtrace: Option<String>,
    },
    /// The wall-clock limit was reached.
    #[error("the handler did not answer within its time-out of {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The limit for time on a processor was reached.
    #[error("the handler used more than its {} of processor time", humantime::format_duration(*.0))]
    Cpu(Duration),
    /// The guest broke after it was refused memory.
    #[error("the handler needs more than its memory limit of {}", bytesize::ByteSize(*.0))]
    Memory(u64),
    /// The guest's stack is used up.
    #[error("the handler used up its stack")]
    Stack {
        /// The top of the guest's stack, one frame a line.
        backtrace: Option<String>,
    },
    /// The outputs are more, or larger, than one run may return.
    #[error("the outputs are over the limit: {0}")]
    Outputs(String),
    /// The host could not make an instance; the guest did not run.
    #[error("no instance: {0}")]
    Unavailable(String),
}

/// A component that is compiled, linked and ready to be called.
pub struct Plugin {
    name: Arc<str>,
    digest: String,
    engine: Engine,
    pre: GuestPre,
    /// Held as long as somebody may find them there, and no longer.
    modules: SharedModules,
    config: Arc<BTreeMap<String, String>>,
    grants: Arc<Grants>,
    limits: Limits,
    /// `None`: real clocks, and random numbers by lot.
    determinism: Option<Determinism>,
    /// Where its log goes; `None`: to the host's.
    log: Option<LogSink>,
    /// Instances that wait to be reused; `None`: every event has a fresh one.
    reuse: Option<(u32, Idle)>,
}

/// What one run may use.
#[derive(Debug, Clone)]
struct Limits {
    timeout: Duration,
    memory: u64,
    run: crate::manifest::Limits,
}

impl Plugin {
    /// The name in the manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the component's file, in 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A permit to run one instance. The dispatcher lets no more events in than
    /// there are permits, so there is a wait only when others hold them against
    /// that rule.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        let running = &self.engine.shared.running;
        if let Ok(permit) = running.try_acquire() {
            return Ok(permit);
        }
        match timeout(self.limits.timeout, running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(CallError::Unavailable("the engine is closed".to_owned())),
            Err(_) => Err(CallError::Unavailable(
                "all instances are in use; raise host.max-in-flight".to_owned(),
            )),
        }
    }

    /// An instance that has waited, or a store for a new one.
    fn instance(&self) -> Instance {
        let waiting = self.reuse.as_ref().and_then(|(_, idle)| idle.take());
        waiting.unwrap_or_else(|| self.fresh())
    }

    fn fresh(&self) -> Instance {
        let run = &self.limits.run;
        let (name, grants) = (Arc::clone(&self.name), Arc::clone(&self.grants));
        let state = State::new(Beginning {
            memory: MemoryBudget::new(self.limits.memory),
            cpu: CpuBudget::new(run.cpu),
            journal: Journal::new(name, Arc::clone(&grants), run, self.log.clone()),
            config: Arc::clone(&self.config),
            grants,
            messages: Messages::new(self.limits.sending()),
            course: self.determinism.map(|it| Course::new(Arc::clone(&self.name), it)),
        });
        Instance::new(&self.engine.shared.wasm, state, self.limits.fuel())
    }

    /// Keeps an instance that did its work, for the next event.
    fn keep(&self, instance: Instance) {
        if let Some((most, idle)) = &self.reuse
            && instance.served < *most
            && instance.state().messages.is_tidy()
        {
            idle.put(instance);
        }
    }

    /// The run itself, within the wall-clock limit.
    async fn run(&self, instance: &mut Instance, event: &Event) -> Result<Answer, CallError> {
        let _ticking = self.engine.shared.ticker.enter();
        let call = async {
            instance.start(&self.pre).await?;
            instance.call(event).await
        };
        match timeout(self.limits.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.broken(&error, instance)),
            Err(_) => Err(CallError::Timeout(self.limits.timeout)),
        }
    }

    fn broken(&self, error: &wasmtime::Error, instance: &Instance) -> CallError {
        let limits = failure::Limits { memory: self.limits.memory, cpu: self.limits.run.cpu };
        failure::broken(error, instance.state(), limits, instance.started())
    }
}

impl Handler for Plugin {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        self.handle_asking(event, Requests::none()).await
    }

    async fn handle_asking(
        &self,
        event: &Event,
        requests: Requests,
    ) -> Result<Vec<Output>, CallError> {
        let _permit = self.permit().await?;
        let mut instance = self.instance();
        instance.begin(event, requests);
        let answer = self.run(&mut instance, event).await;
        instance.end();
        // A guest that broke, was stopped or cancelled is not asked again.
        let answer = answer?;
        let mut outputs = instance.take_sent();
        self.keep(instance);
        let returned = answer?;
        match outputs.is_empty() {
            true => outputs = returned,
            false => outputs.extend(returned),
        }
        self.limits.check(&outputs)?;
        Ok(outputs)
    }

    fn redact(&self, text: &str) -> String {
        self.grants.redaction.text(text).into_owned()
    }
}

impl Limits {
    /// The bytes that one call between guest and host may hand over: outputs as
    /// they lie in the host's memory, twice for slack, and a log line.
    fn fuel(&self) -> usize {
        let records = self.run.outputs.saturating_mul(2 * size_of::<wit::Output>());
        let bytes = usize::try_from(self.run.output_bytes).unwrap_or(usize::MAX);
        bytes.saturating_mul(2).saturating_add(records).saturating_add(64 << 10)
    }

    fn sending(&self) -> SendLimits {
        SendLimits {
            outputs: self.run.outputs,
            output_bytes: self.run.output_bytes,
            requests: self.run.requests,
            timeout: self.timeout,
            reply_bytes: usize::try_from(self.memory).unwrap_or(usize::MAX),
        }
    }

    fn check(&self, outputs: &[Output]) -> Result<(), CallError> {
        if outputs.len() > self.run.outputs {
            return Err(CallError::Outputs(format!(
                "{} outputs, {} are allowed",
                outputs.len(),
                self.run.outputs
            )));
        }
        let bytes: u64 = outputs.iter().map(Output::size).sum();
        if bytes > self.run.output_bytes {
            let (got, most) =
                (bytesize::ByteSize(bytes), bytesize::ByteSize(self.run.output_bytes));
            return Err(CallError::Outputs(format!("{got} of outputs, {most} are allowed")));
        }
        Ok(())
    }
}

impl From<wit::Output> for Output {
    fn from(output: wit::Output) -> Output {
        let headers = output
            .headers
            .into_iter()
            .map(|header| Header { name: header.name, value: header.value });
        Output {
            subject: output.subject,
            headers: headers.collect(),
            payload: output.payload.into(),
        }
    }
}

#[cfg(test)]
mod tests;
