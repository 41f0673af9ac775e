//! Who is compared, and how each is started as a process of its own.

use std::{fmt, fs, path::PathBuf, process::Command};

use anyhow::ensure;

use crate::{
    Bench, native,
    processes::{self, Process},
};

/// Events that each contender works on at a time.
pub const CONCURRENCY: usize = 64;
/// The durable consumer through which each reads the stream.
pub const DURABLE: &str = "bench-enrich";

/// Who does the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// A plain loop on the same client: `native.rs`.
    Native,
    /// Pelton, with instances that each serve a thousand events.
    Reused,
    /// Pelton, with an instance for each event.
    Fresh,
}

/// What the contenders read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// From a stream into another.
    JetStream,
    /// From a subject to another.
    Core,
}

impl Contender {
    /// All, in the order of their turns.
    pub const ALL: [Contender; 3] = [Contender::Native, Contender::Reused, Contender::Fresh];

    /// An instance for each event, as manifests write it.
    pub const ISOLATED: &str = "\"event\"";

    /// Starts its process.
    pub fn start(self, bench: &Bench, route: Route) -> anyhow::Result<Process> {
        let isolation = match self {
            Contender::Native => return start_native(bench, route),
            Contender::Reused => "{ reuse = 1000 }",
            Contender::Fresh => Contender::ISOLATED,
        };
        start_pelton(bench, &manifest(route, isolation, &guest("enrich")?))
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Contender::Native => "native",
            Contender::Reused => "pelton, reused",
            Contender::Fresh => "pelton, fresh",
        })
    }
}

/// A component built from `tests/guests/`.
pub fn guest(name: &str) -> anyhow::Result<PathBuf> {
    let path = processes::root().join("target/components/tests/guests").join(name);
    let path = path.with_extension("wasm");
    ensure!(path.exists(), "{}: not there; `make bench` builds it", path.display());
    Ok(path)
}

fn start_native(bench: &Bench, route: Route) -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(native::arguments(route, bench.server.url()));
    Process::start(&mut command, "native", bench.folder.path())
}

/// Starts Pelton with this manifest.
pub fn start_pelton(bench: &Bench, manifest: &str) -> anyhow::Result<Process> {
    let folder = bench.folder.path();
    fs::write(folder.join("pelton.toml"), manifest)?;
    let mut command = Command::new(processes::pelton()?);
    command
        .args(["run", "--nats-url", bench.server.url()])
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .env_remove("PELTON_NATS_URL")
        .env_remove("PELTON_ADMIN");
    Process::start(&mut command, "pelton", folder)
}

/// A manifest with the plugin `enrich`.
pub fn manifest(route: Route, isolation: &str, component: &std::path::Path) -> String {
    let wiring = match route {
        Route::JetStream => {
            "stream = \"IN\"\nsubscribe = [\"in.stored\"]\npublish = [\"out.stored\"]"
        }
        Route::Core => "subscribe = [\"in.core\"]\npublish-core = [\"out.core\"]",
    };
    format!(
        "[host]\nname = \"bench\"\ncache = \"cache\"\n\
         [streams.IN]\nsubjects = [\"in.stored\"]\n\
         [streams.OUT]\nsubjects = [\"out.stored\"]\n\
         [plugins.enrich]\ncomponent = {component:?}\n{wiring}\n\
         concurrency = {CONCURRENCY}\nisolation = {isolation}\n"
    )
}
