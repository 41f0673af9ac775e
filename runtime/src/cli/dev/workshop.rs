//! The sources of `pelton dev`: what they are like, when that changes, and what
//! is made of them. What runs is not its business.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use pelton::{
    build::{self, Options, Report},
    manifest::Manifest,
};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::cli::{
    build::{self as verb, show::Show},
    check::{Source, explained, file, look},
    report,
    watch::Snapshot,
};

/// How often the sources are looked at: a few hundred files take a millisecond,
/// and unlike notifications this needs no care for folders that tools fill.
const TICK: Duration = Duration::from_millis(200);
/// So long nothing may change before a change is over: editors write several files.
const QUIET: Duration = Duration::from_millis(60);

/// Where the sources are, and how they are built.
#[derive(Debug, Clone)]
pub struct Workshop {
    pub manifest: PathBuf,
    pub offline: bool,
    pub stop: CancellationToken,
}

/// What the sources are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    manifest: Snapshot,
    /// By plugin; those without sources are not here.
    plugins: BTreeMap<String, Snapshot>,
}

impl Sight {
    /// Looks now. While the manifest cannot be read, the plugins are those of `before`.
    fn take(manifest: &Path, before: &Sight) -> Sight {
        let files = Snapshot::of([file(manifest)]);
        let plugins = match Source::read_sources(manifest) {
            Ok(manifest) => sources(&manifest),
            Err(_) => before.plugins.iter().map(|(name, it)| (name.clone(), it.again())).collect(),
        };
        Sight { manifest: files, plugins }
    }

    /// The plugins whose sources differ.
    fn changes(&self, before: &Sight) -> Vec<String> {
        let differs = |name: &&String| self.plugins.get(*name) != before.plugins.get(*name);
        self.plugins.keys().filter(differs).cloned().collect()
    }
}

fn sources(manifest: &Manifest) -> BTreeMap<String, Snapshot> {
    let plugin = |name: &String| {
        let files = build::sources(manifest, name)?.files().ok()?;
        Some((name.clone(), Snapshot::of(files)))
    };
    manifest.plugins.keys().filter_map(plugin).collect()
}

impl Workshop {
    /// What the sources are like now.
    pub async fn look(&self, before: &Sight) -> Sight {
        let (manifest, before) = (self.manifest.clone(), before.clone());
        let fallback = before.clone();
        spawn_blocking(move || Sight::take(&manifest, &before)).await.unwrap_or(fallback)
    }

    /// Waits until the sources have changed and are quiet again. Cancel-safe.
    pub async fn changed(&self, before: &Sight) -> Sight {
        loop {
            sleep(TICK).await;
            let mut now = self.look(before).await;
            if now == *before {
                continue;
            }
            loop {
                sleep(QUIET).await;
                let later = self.look(&now).await;
                if later == now {
                    return now;
                }
                now = later;
            }
        }
    }

    /// Builds everything, and says what became of it; whether all went well.
    pub async fn build_all(&self) -> bool {
        match Source::read_sources(&self.manifest) {
            Ok(manifest) => self.build(&manifest, &[]).await,
            Err(problems) => {
                report::note(&explained(&problems, look()));
                false
            }
        }
    }

    /// Builds what changes, for ever. A component that is made is a changed file,
    /// which the host takes by itself; of a broken manifest it says what is wrong.
    pub async fn follow(&self, mut seen: Sight) -> std::convert::Infallible {
        loop {
            let now = self.changed(&seen).await;
            let changes = now.changes(&seen);
            seen = now;
            if changes.is_empty() {
                continue;
            }
            let manifest = Source::read_sources(&self.manifest);
            if let Ok(manifest) = manifest {
                self.build(&manifest, &changes).await;
            }
        }
    }

    async fn build(&self, manifest: &Manifest, plugins: &[String]) -> bool {
        let options = Options { stop: self.stop.clone(), ..verb::options(self.offline) };
        let show = Show::new();
        let listener = |plugin: &str, progress: build::Progress<'_>| show.tell(plugin, progress);
        let reports = build::build(manifest, plugins, &options, &listener).await;
        show.clear();
        reports.iter().for_each(tell);
        reports.iter().all(|report| report.outcome.is_ok())
    }
}

fn tell(report: &Report) {
    match &report.outcome {
        Ok(built) => {
            if !built.warnings.is_empty() {
                report::note(&format!("{}\n", built.warnings.trim_end()));
            }
            let seconds = report.elapsed.as_secs_f64();
            match built.freshness {
                build::Freshness::Built => {
                    report::note(&format!("{}: built in {seconds:.1} s\n", report.plugin));
                }
                build::Freshness::UpToDate | build::Freshness::Prebuilt => {}
            }
        }
        Err(error) => verb::tell(&report.plugin, error),
    }
}
