//! All cases of some files, run beside each other: a worker for each processor,
//! each with a runtime whose time is paused.
//!
//! Components are loaded once for each manifest. What came of the cases is
//! returned in the order of the files; nothing is printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    case::{Case, Run},
    compare::{self, Complaint, snapshot},
    file::File,
    happened::{Happened, Said},
    run, wiring,
};
use crate::{
    host::{StartError, local::Loaded},
    manifest::{Environment, Glimpse, Manifest, Problem, Problems},
    plugin::CompilationListener,
};

/// Files that are read and whose components are loaded.
pub struct Suite {
    files: Vec<(File, Loaded)>,
}

/// Why a suite cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Test files or manifests are wrong: all that is, each with its file.
    #[error("there are mistakes in the files")]
    Problems(Vec<Problems>),
    /// The components cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Which cases are run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only cases whose name contains this.
    pub filter: Option<String>,
    /// Whether snapshots that are not as what came are written.
    pub update: bool,
    /// How many run at a time; `None`: one for each processor.
    pub jobs: Option<NonZeroUsize>,
}

/// What came of all cases.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Those that were chosen, in the order of the files.
    pub cases: Vec<Done>,
    /// Cases that the filter left out.
    pub filtered: usize,
    /// How long it took, loading apart.
    pub took: Duration,
}

/// What came of one case.
#[derive(Debug, Clone)]
pub struct Done {
    /// The test file.
    pub file: PathBuf,
    /// The line in which the case begins, counted from 1.
    pub line: usize,
    /// The case's name.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// How long it took, on the wall's clock.
    pub took: Duration,
    /// What the handlers logged.
    pub log: Vec<Said>,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// As expected.
    Passed,
    /// As expected, and these snapshots were written.
    Updated(Vec<PathBuf>),
    /// Not as expected.
    Failed(Vec<Complaint>),
    /// It was not run, with the reason if there is one.
    Skipped(Option<String>),
}

impl Suite {
    /// Reads `paths` and the manifests that they name, and loads the components.
    /// With `before`, in the same engine; else what is compiled is told to `compilations`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub async fn load(
        paths: &[PathBuf],
        before: Option<&Suite>,
        compilations: &CompilationListener,
    ) -> Result<Suite, SuiteError> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            match File::load(path) {
                Ok(file) => files.push(file),
                Err(wrong) => problems.push(wrong),
            }
        }
        let mut manifests = BTreeMap::<PathBuf, Option<Manifest>>::new();
        for file in &files {
            let load = || load_manifest(file).map_err(|wrong| problems.push(wrong)).ok();
            manifests.entry(file.manifest.clone()).or_insert_with(load);
        }
        for file in &mut files {
            if let Some(Some(manifest)) = manifests.get(&file.manifest)
                && let Err(wrong) = wiring::fit(file, manifest)
            {
                problems.push(wrong);
            }
        }
        if !problems.is_empty() {
            return Err(SuiteError::Problems(problems));
        }
        let mut loaded = BTreeMap::<PathBuf, Loaded>::new();
        for (path, manifest) in manifests.into_iter().filter_map(|(k, v)| Some((k, v?))) {
            let before = before.and_then(|suite| suite.files.first()).map(|(_, loaded)| loaded);
            let one = loaded.values().next().or(before).cloned();
            let now = match one {
                Some(one) => one.load_again(&manifest).await,
                None => Loaded::load(&manifest, compilations.clone()).await,
            };
            let now = now.map_err(|error| explained(&manifest, error))?;
            loaded.insert(path, now);
        }
        let files = files.into_iter().filter_map(|file| {
            let loaded = loaded.get(&file.manifest)?.clone();
            Some((file, loaded))
        });
        Ok(Suite { files: files.collect() })
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.files.iter().map(|(file, _)| file.cases.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all cases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().flat_map(|(file, _)| &file.cases).map(|case| case.name.as_str())
    }

    /// The manifests of all files, each once, by their paths.
    pub fn manifests(&self) -> BTreeMap<&Path, &Manifest> {
        let all = self.files.iter();
        all.map(|(file, loaded)| (file.manifest.as_path(), loaded.manifest())).collect()
    }

    /// Every file that the cases depend on, beside the test files: manifests,
    /// components, snapshots.
    pub fn depends_on(&self) -> Vec<PathBuf> {
        let files = self.files.iter().flat_map(|(file, loaded)| {
            let plugins = loaded.manifest().plugins.values();
            let components = plugins.map(|plugin| plugin.component.clone());
            let own = [file.path.clone(), file.manifest.clone()];
            components.chain(own).chain(file.beside.iter().cloned())
        });
        files.collect()
    }

    /// Secrets that plugins of the cases that `options` choose are granted, and that
    /// neither this machine has nor the cases give: for each manifest those that are
    /// missing. Such cases cannot be run.
    pub fn missing_secrets(&self, options: &Options) -> Vec<Problems> {
        let mut missing = BTreeMap::<&Path, (&Manifest, BTreeMap<String, Problem>)>::new();
        let (chosen, _) = self.choose(options);
        for Chosen { file, loaded, case, .. } in chosen.iter().filter(|chosen| chosen.is_run()) {
            let found = wiring::missing_secrets(case, loaded.manifest());
            let (_, all) = missing
                .entry(&file.manifest)
                .or_insert_with(|| (loaded.manifest(), BTreeMap::new()));
            all.extend(found);
        }
        let missing = missing.into_values().filter(|(_, problems)| !problems.is_empty());
        let of = |(manifest, problems): (&Manifest, BTreeMap<String, Problem>)| {
            Problems::new(manifest, problems.into_values().collect())
        };
        missing.map(of).collect()
    }

    /// Every file that the cases in `paths` depend on, as far as it can be known
    /// while something is wrong with them.
    pub fn would_depend_on(paths: &[PathBuf]) -> Vec<PathBuf> {
        let manifests: BTreeSet<_> =
            paths.iter().filter_map(|path| Some(File::load(path).ok()?.manifest)).collect();
        let files = manifests.into_iter().flat_map(|manifest| {
            let seen = Glimpse::of(&manifest).unwrap_or_default();
            [manifest].into_iter().chain(seen.components).chain(seen.secrets)
        });
        files.collect()
    }

    /// Runs the cases that `options` choose.
    ///
    /// # Errors
    /// If a worker cannot be started.
    pub fn run(&self, options: &Options) -> io::Result<Outcome> {
        let begun = Instant::now();
        let (chosen, filtered) = self.choose(options);
        let jobs = options.jobs.or_else(|| thread::available_parallelism().ok());
        let jobs = jobs.map_or(1, NonZeroUsize::get).min(chosen.len().max(1));
        let work = Work {
            chosen: &chosen,
            next: AtomicUsize::new(0),
            done: Mutex::new(Vec::with_capacity(chosen.len())),
            failed: AtomicBool::new(false),
            update: options.update,
        };
        thread::scope(|scope| -> io::Result<()> {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work.run())).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
            })
        })?;
        let mut done = work.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        let cases = done.into_iter().map(|(_, done)| done).collect();
        Ok(Outcome { cases, filtered, took: begun.elapsed() })
    }

    /// The cases that the filter lets through, and how many it does not.
    fn choose(&self, options: &Options) -> (Vec<Chosen<'_>>, usize) {
        let all = self.files.iter().flat_map(|(file, loaded)| {
            file.cases.iter().map(move |case| Chosen { file, loaded, case, is_left_out: false })
        });
        let passes = |chosen: &Chosen<'_>| {
            options.filter.as_ref().is_none_or(|filter| chosen.case.name.contains(filter.as_str()))
        };
        let (mut chosen, others): (Vec<_>, Vec<_>) = all.partition(passes);
        if chosen.iter().any(|chosen| chosen.case.run == Run::Only) {
            for chosen in &mut chosen {
                chosen.is_left_out = chosen.case.run == Run::Yes;
            }
        }
        (chosen, others.len())
    }
}

/// A case to be run.
struct Chosen<'a> {
    file: &'a File,
    loaded: &'a Loaded,
    case: &'a Case,
    /// Others say `only`.
    is_left_out: bool,
}

/// What the workers share.
struct Work<'a> {
    chosen: &'a [Chosen<'a>],
    next: AtomicUsize,
    done: Mutex<Vec<(usize, Done)>>,
    failed: AtomicBool,
    update: bool,
}

impl Work<'_> {
    fn run(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(chosen) = self.chosen.get(at).filter(|_| !self.failed.load(Ordering::Relaxed))
            else {
                return Ok(());
            };
            let done = chosen.run(&runtime, self.update);
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push((at, done));
        }
    }
}

impl Chosen<'_> {
    fn is_run(&self) -> bool {
        !self.is_left_out && !matches!(self.case.run, Run::Skip(_))
    }

    fn run(&self, runtime: &tokio::runtime::Runtime, update: bool) -> Done {
        let begun = Instant::now();
        let (status, log) = match &self.case.run {
            Run::Skip(reason) => (Status::Skipped(reason.clone()), Vec::new()),
            _ if self.is_left_out => {
                (Status::Skipped(Some("others have `only`".to_owned())), Vec::new())
            }
            _ => match runtime.block_on(run::run(self.loaded, self.case)) {
                Ok(happened) => (self.judge(&happened, update), happened.log),
                Err(problem) => (Status::Failed(vec![plain(problem)]), Vec::new()),
            },
        };
        Done {
            file: self.file.path.clone(),
            line: self.case.line,
            name: self.case.name.clone(),
            status,
            took: begun.elapsed(),
            log,
        }
    }

    fn judge(&self, happened: &Happened, update: bool) -> Status {
        let stored = |file: &Path| std::fs::read(file).ok().map(Bytes::from);
        let verdict = compare::compare(self.case, happened, &stored);
        let mut complaints = verdict.complaints;
        if !update || !complaints.is_empty() {
            complaints.extend(verdict.snapshots.into_iter().map(|pending| pending.complaint));
            return match complaints.is_empty() {
                true => Status::Passed,
                false => Status::Failed(complaints),
            };
        }
        let mut written = Vec::new();
        for pending in verdict.snapshots {
            match snapshot::write(&pending.file, &pending.bytes) {
                Ok(()) => written.push(pending.file),
                Err(error) => {
                    let what = format!("`{}` cannot be written: {error}", pending.file.display());
                    return Status::Failed(vec![plain(what)]);
                }
            }
        }
        if written.is_empty() { Status::Passed } else { Status::Updated(written) }
    }
}

fn plain(what: String) -> Complaint {
    Complaint { what, ..Complaint::default() }
}

fn load_manifest(file: &File) -> Result<Manifest, Problems> {
    if !file.manifest.exists() {
        return Err(file.without_manifest());
    }
    // A secret that is missing here may be given by the cases.
    let environment = Environment::process().without_server().with_gaps();
    // Whether the components are handlers shows when they are loaded.
    Manifest::load(&file.manifest, &environment, |_| Ok(()))
}

/// What cannot be loaded, at its place in the manifest.
fn explained(manifest: &Manifest, error: StartError) -> SuiteError {
    let StartError::Findings(findings) = error else { return SuiteError::Start(error) };
    let problem = |finding: crate::host::Finding| -> Problem {
        manifest.problem(finding.code, &finding.key, finding.what, finding.problem)
    };
    let problems = findings.into_iter().map(problem).collect();
    SuiteError::Problems(vec![Problems::new(manifest, problems)])
}
