//! Components made of their sources, each plugin in its own language.
//!
//! [`build`] runs the compilers, holds what they made against the contract and
//! only then puts it in the place of what was there. Nothing here is printed:
//! whoever asks is told what goes on through a callback.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    manifest::{self, Language, Manifest},
    plugin::{self, Inspection},
};

mod bindings;
mod c;
mod command;
mod custom;
mod fingerprint;
mod go;
mod javascript;
mod place;
mod provenance;
mod python;
mod rust;
mod sources;
mod tool;

use provenance::Provenance;

pub use command::Refusal;
pub use sources::Sources;
pub use tool::MissingTool;

/// How to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nothing is installed or fetched.
    pub offline: bool,
    /// Compilers are asked for colours.
    pub colour: bool,
    /// The most compilers at once, at least 1.
    pub jobs: usize,
    /// Cancelled: compilers are stopped, and what was there before stays.
    pub stop: CancellationToken,
}

/// What goes on, for people.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A step begins: a command, in short.
    Step(&'a str),
    /// The last line that a compiler printed.
    Line(&'a str),
    /// Something that is done beside compiling, such as an installation.
    Note(&'a str),
    /// The plugin is done.
    Done,
}

/// Whoever is told; the first argument is the plugin's name.
pub type Listener<'a> = &'a (dyn Fn(&str, Progress<'_>) + Sync);

/// What became of one plugin.
#[derive(Debug)]
pub struct Report {
    /// Its name.
    pub plugin: String,
    /// What it is written in, if that is known.
    pub language: Option<Language>,
    /// How long it took.
    pub elapsed: Duration,
    /// What was made, or why nothing was: the component is then what it was before.
    pub outcome: Result<Built, BuildError>,
}

/// A component that is in its place and fits the contract.
#[derive(Debug)]
pub struct Built {
    /// Where it comes from.
    pub freshness: Freshness,
    /// What it is.
    pub inspection: Inspection,
    /// Warnings of the compiler, in its own words; mostly empty.
    pub warnings: String,
}

/// Where a component comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was made, and is another than before.
    Built,
    /// Its sources have not changed.
    UpToDate,
    /// It has no sources here and was left alone.
    Prebuilt,
}

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A tool is missing, or of a version that will not do.
    #[error("{0}")]
    Tool(#[from] MissingTool),
    /// A compiler refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The sources are not as they have to be.
    #[error("{0}")]
    Sources(String),
    /// What was built is no handler.
    #[error("what was built cannot be used: {0}")]
    Contract(String),
    /// A file could not be read or written.
    #[error("{what}: {error}")]
    File {
        /// What was to be done, with the path.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It was asked to stop.
    #[error("stopped before it was done; the component is as it was before")]
    Stopped,
}

impl BuildError {
    /// What kind of mistake: a code of [`crate::explain`].
    pub fn code(&self) -> &'static str {
        match self {
            BuildError::Tool(_) => "build-tool",
            BuildError::Refused(_) => "build-refused",
            BuildError::Sources(_) => "build-sources",
            BuildError::Contract(_) => "build-contract",
            BuildError::File { .. } => "build-file",
            BuildError::Stopped => "build-stopped",
        }
    }
}

/// What all jobs of a build share.
#[derive(Clone, Copy)]
struct Context<'a> {
    options: &'a Options,
    listener: Listener<'a>,
    /// The manifest's folder.
    base: &'a Path,
}

/// One plugin that is to be built.
#[derive(Debug, Clone)]
struct Job {
    plugin: String,
    component: PathBuf,
    build: manifest::Build,
    /// Whether the manifest grants it outbound HTTP.
    uses_http: bool,
}

/// What a compiler left.
struct Made {
    /// The component.
    bytes: Vec<u8>,
    /// What it said, if that has to be seen.
    warnings: String,
}

/// Builds the plugins named in `selection`, or all if it is empty; in the order
/// of their names. One failure does not keep others from being built. Names
/// that the manifest does not know are left out.
pub async fn build(
    manifest: &Manifest,
    selection: &[String],
    options: &Options,
    listener: Listener<'_>,
) -> Vec<Report> {
    let context = Context { options, listener, base: &manifest.folder };
    let permits = Arc::new(Semaphore::new(options.jobs.max(1)));
    let is_selected = |name: &String| selection.is_empty() || selection.contains(name);
    let (mut rust, mut running) = (Vec::new(), FuturesUnordered::new());
    let mut sources = Vec::new();
    for (name, plugin) in manifest.plugins.iter().filter(|(name, _)| is_selected(name)) {
        let job = Job::new(name, plugin, manifest.builds.get(name));
        if let Some(job) = &job
            && let Some(seen) = Provenance::of(job).await
        {
            sources.push((job.clone(), seen));
        }
        match job {
            Some(job) if rust::concerns(&job) => rust.push(job),
            job => running.push(alone(context, name, (plugin, job), permits.clone())),
        }
    }
    let rust = rust::build_all(context, rust, &permits);
    let others = async {
        let mut reports = Vec::new();
        while let Some(report) = running.next().await {
            reports.push(report);
        }
        reports
    };
    let (rust, mut reports) = tokio::join!(rust, others);
    reports.extend(rust);
    for (job, seen) in sources.iter().filter(|(job, _)| is_made(&job.plugin, &reports)) {
        // Where it cannot be kept, nobody is warned later; that is all.
        seen.remember(job).ok();
    }
    reports.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    reports
}

/// What a plugin is made of, for whoever watches it; `None`: it has no sources.
pub fn sources(manifest: &Manifest, plugin: &str) -> Option<Sources> {
    let component = &manifest.plugins.get(plugin)?.component;
    Some(Sources::of(manifest.builds.get(plugin)?, component))
}

fn is_made(plugin: &str, reports: &[Report]) -> bool {
    let mut reports = reports.iter().filter(|report| report.plugin == plugin);
    reports.any(|report| match &report.outcome {
        Ok(built) => built.freshness != Freshness::Prebuilt,
        Err(_) => false,
    })
}

/// A component that is older than its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The plugin's name.
    pub plugin: String,
    /// A source that has changed since the component was built.
    pub source: PathBuf,
}

/// The plugins whose sources have changed since [`build`] made their components.
/// Of components that were not made here, or by somebody else since, nothing is
/// said. Reads code files; runs nothing.
pub fn outdated(manifest: &Manifest) -> Vec<Outdated> {
    let look = |(name, build): (&String, &manifest::Build)| {
        let component = &manifest.plugins.get(name)?.component;
        let source = provenance::changed(build, component)?;
        Some(Outdated { plugin: name.clone(), source })
    };
    manifest.builds.iter().filter_map(look).collect()
}

async fn alone(
    context: Context<'_>,
    name: &str,
    (plugin, job): (&manifest::Plugin, Option<Job>),
    permits: Arc<Semaphore>,
) -> Report {
    let Some(job) = job else {
        let outcome = prebuilt(&plugin.component).await;
        return Report {
            plugin: name.to_owned(),
            language: None,
            elapsed: Duration::ZERO,
            outcome,
        };
    };
    let permit = permits.acquire().await;
    let started = Instant::now();
    let outcome = if context.options.stop.is_cancelled() || permit.is_err() {
        Err(BuildError::Stopped)
    } else {
        context.build(&job).await
    };
    (context.listener)(name, Progress::Done);
    job.report(started, outcome)
}

/// A component without sources: it has to be there.
async fn prebuilt(component: &Path) -> Result<Built, BuildError> {
    if !component.exists() {
        return Err(BuildError::Sources(format!(
            "there is neither `{}` nor anything to make it of: set `source` in its `[plugins.NAME.build]`, or bring the component",
            component.display()
        )));
    }
    place::checked(component, Freshness::Prebuilt, String::new()).await
}

impl Job {
    fn new(name: &str, plugin: &manifest::Plugin, build: Option<&manifest::Build>) -> Option<Job> {
        Some(Job {
            plugin: name.to_owned(),
            component: plugin.component.clone(),
            build: build?.clone(),
            uses_http: plugin.grants.http.is_some(),
        })
    }

    fn report(&self, started: Instant, outcome: Result<Built, BuildError>) -> Report {
        let language = if self.build.command.is_some() { None } else { self.build.language };
        Report { plugin: self.plugin.clone(), language, elapsed: started.elapsed(), outcome }
    }

    /// The folder for what is made on the way.
    fn work_folder(&self) -> PathBuf {
        work_folder(&self.build)
    }
}

/// The folder for what is made on the way.
fn work_folder(build: &manifest::Build) -> PathBuf {
    build.source.join(".pelton")
}

impl Context<'_> {
    /// Builds one plugin, unless nothing has changed. Two builds of the same
    /// sources wait for each other.
    async fn build(self, job: &Job) -> Result<Built, BuildError> {
        if !job.build.source.is_dir() {
            return Err(BuildError::Sources(format!(
                "there is no folder `{}` with its sources: correct `source` in `[plugins.{}.build]`",
                job.build.source.display(),
                job.plugin
            )));
        }
        let work = job.work_folder();
        place::make_work_folder(&work)?;
        let _lock = place::lock(&work, &self.options.stop, |text| self.step(job, text)).await?;
        if let Some(command) = &job.build.command {
            return custom::build(self, job, command).await;
        }
        match job.build.language {
            Some(Language::C) => c::build(self, job).await,
            Some(Language::Go) => go::build(self, job).await,
            Some(Language::Python) => python::build(self, job).await,
            Some(Language::JavaScript | Language::TypeScript) => javascript::build(self, job).await,
            // Cargo packages are built together, before it comes to this.
            Some(Language::Rust) | None => Err(BuildError::Sources(format!(
                "nothing in `{}` says what it is written in: set `language` or `command` in `[plugins.{}.build]`",
                job.build.source.display(),
                job.plugin
            ))),
        }
    }

    /// Compiles with `compile`, unless the inputs and `how` are those of the
    /// component that is there.
    async fn unless_fresh<F>(
        self,
        job: &Job,
        how: &str,
        compile: impl FnOnce() -> F,
    ) -> Result<Built, BuildError>
    where
        F: Future<Output = Result<Made, BuildError>>,
    {
        let inputs = fingerprint::of(job, how).await?;
        if inputs.is_that_of(job) {
            return place::checked(&job.component, Freshness::UpToDate, String::new()).await;
        }
        let made = compile().await?;
        let built = place::put(job, made, Freshness::Built).await?;
        inputs.remember(job, &built.inspection.digest)?;
        Ok(built)
    }

    fn step(&self, job: &Job, what: &str) {
        (self.listener)(&job.plugin, Progress::Step(what));
    }

    fn note(&self, job: &Job, what: &str) {
        (self.listener)(&job.plugin, Progress::Note(what));
    }
}

/// The tools that building a handler in `folder` would lack, each with what gets
/// it. Those that a build installs by itself are not among them.
pub async fn missing_tools(language: Language, folder: &Path) -> Vec<MissingTool> {
    let toolbox = tool::Toolbox::new(folder, folder);
    let missing = match language {
        Language::Rust => rust::missing(folder).await,
        Language::C => c::find(&toolbox, folder).await.err(),
        Language::Go => go::find(&toolbox, folder).await.err(),
        Language::JavaScript | Language::TypeScript => javascript::find(folder).await.err(),
        Language::Python => python::find(&toolbox, folder).await.err(),
    };
    missing.into_iter().collect()
}

/// Writes the package `pelton` of a new project in Go, so that editors know it
/// before the first build. `folder` has `go.mod` and `wit`.
///
/// # Errors
/// If one of them is not as it has to be, or a file cannot be written.
pub fn write_go_package(folder: &Path) -> Result<(), BuildError> {
    bindings::Wit::in_folder(&folder.join("wit"))?.write_go(folder, &go::module(folder)?)
}

/// Runs what takes a processor for longer than a moment.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BuildError::Contract(format!("the generator broke down: {error}"))),
    }
}

/// An error about a file, with what was to be done to it.
fn file(what: &str, path: &Path, error: std::io::Error) -> BuildError {
    BuildError::File { what: format!("{what} `{}`", path.display()), error }
}

/// What a compiler said, if there is a warning in it.
fn warnings(words: String) -> String {
    match words.to_lowercase().contains("warning") {
        true => words,
        false => String::new(),
    }
}

impl BuildError {
    /// The same, for another plugin that the same command was to build.
    fn again(&self) -> BuildError {
        match self {
            BuildError::Tool(tool) => BuildError::Tool(tool.clone()),
            BuildError::Refused(refusal) => BuildError::Refused(refusal.clone()),
            BuildError::Stopped => BuildError::Stopped,
            other => BuildError::Sources(other.to_string()),
        }
    }
}

/// Makes a component of a core module.
async fn componentize(core: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    blocking(move || {
        plugin::componentize(&core).map_err(|error| BuildError::Contract(error.to_string()))
    })
    .await
}
