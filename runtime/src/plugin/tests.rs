//! Guests that behave well and badly, in a real engine.

mod cache;
mod calls;
mod files;
mod guests;
mod limits;
mod logs;
mod parts;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Engine, EngineConfig, LoadError, Plugin, componentize};
use crate::{
    event::{Event, Header, Position},
    manifest::{self, Ack, Isolation, Limits, Retry, Start},
};

/// An engine with a folder of its own.
struct Bench {
    folder: TempDir,
    engine: Engine,
    spec: manifest::Plugin,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_instances(8)
    }

    fn with_instances(max_instances: usize) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Some(folder.path().join("cache"));
        let engine = Engine::new(&EngineConfig { max_instances, cache, ..EngineConfig::default() });
        let spec = spec(folder.path().join("guest.wasm"));
        Bench { folder, engine: engine.expect("an engine"), spec }
    }

    fn path(&self) -> &Path {
        &self.spec.component
    }

    fn write(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).expect("the folder can be written to");
    }

    /// A plugin whose core module is `wat`.
    async fn plugin(&self, wat: &str) -> Plugin {
        self.write(&component(wat));
        self.load().await.expect("a good component")
    }

    async fn load(&self) -> Result<Plugin, LoadError> {
        self.engine.load("guest", &self.spec).await
    }
}

impl Plugin {
    /// Instances that wait to be reused.
    fn idle(&self) -> usize {
        self.reuse.as_ref().map_or(0, |(_, idle)| idle.count())
    }
}

fn component(wat: &str) -> Vec<u8> {
    let module = wat::parse_str(wat).expect("good text");
    componentize(&module).expect("a good module")
}

fn spec(component: PathBuf) -> manifest::Plugin {
    manifest::Plugin {
        component,
        stream: None,
        subscribe: Vec::new(),
        publish: Vec::new(),
        publish_core: Vec::new(),
        request: Vec::new(),
        order_by: None,
        concurrency: 2,
        timeout: Duration::from_secs(20),
        memory: 4 << 20,
        isolation: Isolation::Event,
        on_failure: manifest::OnFailure::DeadLetter,
        rate: None,
        breaker: None,
        retry: Retry {
            budget: 1.0,
            attempts: 5,
            first: Duration::from_millis(500),
            max: Duration::from_secs(60),
        },
        ack_wait: Duration::from_secs(60),
        ack: Ack::Plain,
        start: Start::All,
        queue: 16,
        allow_loop: false,
        deterministic: None,
        limits: Limits {
            cpu: Duration::from_secs(20),
            outputs: 100,
            output_bytes: 64 << 10,
            requests: 3,
            log_lines: 10,
            log_bytes: 1 << 10,
        },
        config: BTreeMap::new(),
        grants: manifest::Grants::default(),
    }
}

fn event(payload: &str) -> Event {
    Event {
        id: "event-1".to_owned(),
        subject: "orders.created".to_owned(),
        headers: vec![Header { name: "Trace".to_owned(), value: "ünï".to_owned() }],
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        reply_to: Some("inbox.1".to_owned()),
        time_ms: 1_700_000_000_000,
        attempt: 3,
        position: Some(Position { stream: "ORDERS".to_owned(), stream_created: 7, sequence: 42 }),
        replay: None,
    }
}
