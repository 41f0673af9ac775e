//! From a line in the manifest to a plugin that can be called: read, compile or
//! fetch from the cache, link, start once.

use std::{path::Path, sync::Arc};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use wasmtime::component::InstancePre;

use super::{
    CallError, Determinism, Engine, Limits, LoadError, Outside, Plugin, Requests,
    compiled::{SharedModules, refused},
    component::Examined,
    contract::Contract,
    engine::Shared,
    grants::Grants,
    guest::GuestPre,
    imports,
    instance::Idle,
    journal::LogSink,
    state::State,
};
use crate::{
    event::Event,
    manifest::{self, Isolation},
};

/// The first start of a component also brings its code into memory: it gets at
/// least this long.
const FIRST_START: std::time::Duration = std::time::Duration::from_secs(30);

/// What a plugin is given beside its entry in the manifest, by a host that runs
/// it in another way than the daemon does.
#[derive(Clone, Default)]
pub struct Fitting {
    /// Where the guest's log goes; `None`: to the host's log.
    pub log: Option<LogSink>,
    /// Whether it is deterministic if the manifest does not say.
    pub deterministic: bool,
    /// What determines its runs, if it is deterministic, beside the event.
    pub determinism: Determinism,
    /// Where its requests count that are under way, for a host that ends before the
    /// plugin does; it then has connections of its own. `None`: nowhere.
    pub outside: Option<Outside>,
}

/// What of a plugin does not depend on its settings.
struct Made {
    name: Arc<str>,
    digest: String,
    pre: GuestPre,
    modules: SharedModules,
    grants: Arc<Grants>,
}

/// A component that is compiled and linked.
struct Linked {
    pre: InstancePre<State>,
    contract: Contract,
    modules: SharedModules,
    digest: String,
    uses_http: bool,
}

impl Engine {
    /// Makes a plugin of the component that `spec` names. Reads and compiles off
    /// the async threads; starts one instance, so that what cannot start is found
    /// now and not at the first event.
    pub async fn load(&self, name: &str, spec: &manifest::Plugin) -> Result<Plugin, LoadError> {
        let linked = self.prepare(&spec.component).await?;
        let pre = GuestPre::new(linked.contract, linked.pre);
        let pre = pre.map_err(|error| unfit(&spec.component, linked.contract, &error))?;
        let grants = Arc::new(self.grants(name, spec, linked.uses_http).await?);
        let made =
            Made { name: name.into(), digest: linked.digest, pre, modules: linked.modules, grants };
        let plugin = self.fit(made, spec, Fitting::default());
        plugin
            .try_start()
            .await
            .map_err(|source| LoadError::Start { path: spec.component.clone(), source })?;
        Ok(plugin)
    }

    /// SHA-256 of the component at `path` as it is now, in 64 hexadecimal digits:
    /// what [`Plugin::digest`] of a plugin loaded now would be.
    ///
    /// # Errors
    /// If the file cannot be read or is no component.
    pub async fn digest(&self, path: &Path) -> Result<String, LoadError> {
        let file = path.to_owned();
        let read = tokio::task::spawn_blocking(move || Examined::read(&file).map(|it| it.digest));
        read.await.unwrap_or_else(|_| {
            let message = "reading it panicked; please report it with the component".to_owned();
            Err(LoadError::Compile { path: path.to_owned(), message })
        })
    }

    /// Puts a component that is ready under the settings of `spec`.
    fn fit(&self, made: Made, spec: &manifest::Plugin, fitting: Fitting) -> Plugin {
        let reuse = match spec.isolation {
            Isolation::Event => None,
            Isolation::Reuse(most) => {
                Some((most, Idle::new(spec.concurrency, Arc::clone(&self.shared.idle))))
            }
        };
        let is_deterministic = spec.deterministic.unwrap_or(fitting.deterministic);
        Plugin {
            name: made.name,
            digest: made.digest,
            engine: self.clone(),
            pre: made.pre,
            modules: made.modules,
            config: Arc::new(spec.config.clone()),
            limits: Limits { timeout: spec.timeout, memory: spec.memory, run: spec.limits.clone() },
            grants: made.grants,
            determinism: is_deterministic.then_some(fitting.determinism),
            log: fitting.log,
            reuse,
        }
    }

    async fn grants(
        &self,
        name: &str,
        spec: &manifest::Plugin,
        uses_http: bool,
    ) -> Result<Grants, LoadError> {
        let (name, granted) = (Arc::from(name), spec.grants.clone());
        let opened = tokio::task::spawn_blocking(move || Grants::new(name, &granted, uses_http));
        match opened.await {
            Ok(grants) => grants.map_err(|(path, source)| LoadError::Folder { path, source }),
            Err(error) => Err(LoadError::Compile {
                path: spec.component.clone(),
                message: format!("its grants could not be made ready: {error}"),
            }),
        }
    }

    async fn prepare(&self, path: &Path) -> Result<Linked, LoadError> {
        let failed = |message: &str| LoadError::Compile {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        let turn = Arc::clone(&self.shared.compiling).acquire_owned().await;
        let turn = turn.map_err(|_| failed("the engine is closed"))?;
        let (shared, file) = (Arc::clone(&self.shared), path.to_owned());
        let done = tokio::task::spawn_blocking(move || shared.prepare(&file, turn)).await;
        done.unwrap_or_else(|_| {
            Err(failed("the compiler panicked; please report it with the component"))
        })
    }
}

impl Shared {
    /// `_turn` is held to the end even if nobody waits for the result any more.
    fn prepare(&self, path: &Path, _turn: OwnedSemaphorePermit) -> Result<Linked, LoadError> {
        let found = Examined::read(path)?;
        let contract = found.check_contract(path)?;
        let compiled = self.compiled(&found, path)?;
        let linked = imports::link(&compiled, found.uses_http());
        let pre = linked.map_err(|error| match contract {
            // All names were found to be served: what differs are types.
            Contract::WasiMessaging => unfit(path, contract, &error),
            Contract::Events | Contract::Wasmcloud => {
                LoadError::Imports { path: path.to_owned(), imports: vec![format!("{error:#}")] }
            }
        })?;
        let uses_http = found.uses_http();
        Ok(Linked { pre, contract, modules: compiled.modules, uses_http, digest: found.digest })
    }
}

impl Plugin {
    /// The same component under other settings, with no instances yet. Nothing is
    /// compiled or started; of `spec.grants` only the variables are looked at, and
    /// `spec.component` is not.
    pub fn fitted(&self, spec: &manifest::Plugin, fitting: Fitting) -> Plugin {
        let (name, digest) = (Arc::clone(&self.name), self.digest.clone());
        let (pre, modules) = (self.pre.clone(), Arc::clone(&self.modules));
        let grants = self.grants.with_variables(&spec.grants);
        let grants = match &fitting.outside {
            Some(outside) => grants.apart(outside),
            None => grants,
        };
        self.engine.fit(Made { name, digest, pre, modules, grants }, spec, fitting)
    }

    /// Makes one instance and drops it.
    async fn try_start(&self) -> Result<(), CallError> {
        // Not one of the permits to run: while the host is busy, a reload must
        // neither wait for events nor keep them waiting.
        let _turn = self.engine.shared.starting.acquire().await;
        let _ticking = self.engine.shared.ticker.enter();
        let mut instance = self.fresh();
        instance.begin(&no_event(), Requests::none());
        let limit = self.limits.timeout.max(FIRST_START);
        match timeout(limit, instance.start(&self.pre)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error, &instance)),
            Err(_) => Err(CallError::Timeout(limit)),
        }
    }
}

/// What a guest is started for that is only tried.
fn no_event() -> Event {
    Event {
        id: "(start)".to_owned(),
        subject: String::new(),
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
        reply_to: None,
        time_ms: 0,
        attempt: 1,
        position: None,
        replay: None,
    }
}

/// A component whose contract has the right name and the wrong types.
fn unfit(path: &Path, contract: Contract, error: &wasmtime::Error) -> LoadError {
    match contract {
        Contract::Events => refused(path, error),
        Contract::Wasmcloud | Contract::WasiMessaging => LoadError::OtherDraft {
            path: path.to_owned(),
            contract: contract.name(),
            message: format!("{error:#}"),
        },
    }
}
