//! `pelton build`: makes the components of a manifest's plugins.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use pelton::{
    build::{self, BuildError, Freshness, Options, Report},
    explain::Coded,
    manifest::{FILE_NAME, Manifest},
};
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    check::{Source, explained, look},
    report, signals,
};

pub mod show;
mod table;

/// Make the components of a manifest's plugins, each in its own language
///
/// Rust, Python, JavaScript, TypeScript, Go and C need nothing in the manifest: they are known by
/// their files. For others, `[plugins.NAME.build] command` says what makes the component. What was
/// made is held against the contract before it takes the place of what was there.
///
/// No server, no secret and no folder that the manifest grants is needed.
///
/// The sources of a plugin are in the folder that `[plugins.NAME.build] source` names; else in the
/// folder beside the manifest that is named like the component's file or like the plugin; else
/// in the component's own folder, or in the manifest's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton build\n  \
    pelton build examples/orders --plugin price --plugin validate\n  \
    pelton build --offline")]
pub struct Arguments {
    /// The manifest, or the folder it is in
    #[arg(default_value = "pelton.toml")]
    manifest: PathBuf,
    /// Build this plugin only; may be given several times
    #[arg(long = "plugin", value_name = "NAME")]
    plugins: Vec<String>,
    /// Install and fetch nothing: no pip, no npm, no crates from the network
    #[arg(long)]
    offline: bool,
    /// How many compilers run at once; by default one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

/// Builds and says what became of each plugin.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let manifest = match Source::read_sources(&arguments.manifest) {
        Ok(manifest) => manifest,
        Err(problems) => {
            report::note(&explained(&problems, look()));
            return Ok(Exit::Usage);
        }
    };
    if let Some(unknown) =
        arguments.plugins.iter().find(|name| !manifest.plugins.contains_key(*name))
    {
        let known = manifest.plugins.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        report::error(&anyhow::anyhow!(
            "--plugin: the manifest has no plugin `{unknown}`; it has {known}"
        ));
        return Ok(Exit::Usage);
    }
    let started = Instant::now();
    match compile(&manifest, &arguments)? {
        Some(reports) => finish(&reports, started.elapsed()),
        None => {
            let text = "stopped at once; components are as they were before".to_owned();
            report::error(&Coded { code: "build-stopped", text }.into());
            Ok(Exit::Failed)
        }
    }
}

/// How long compilers are waited for that were asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// As many compilers as processors, and colours where somebody looks.
pub fn options(offline: bool) -> Options {
    Options {
        offline,
        colour: show::has_colour(),
        jobs: thread::available_parallelism().map_or(1, usize::from),
        stop: CancellationToken::new(),
    }
}

/// `None`: a second signal did not wait for the compilers' end.
fn compile(manifest: &Manifest, arguments: &Arguments) -> anyhow::Result<Option<Vec<Report>>> {
    let mut options = options(arguments.offline);
    if let Some(jobs) = arguments.jobs {
        options.jobs = usize::from(jobs);
    }
    let show = show::Show::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reports = runtime.block_on(async {
        let mut stop = signals::Stop::listen()?;
        let listener = |plugin: &str, progress: build::Progress<'_>| show.tell(plugin, progress);
        let building = build::build(manifest, &arguments.plugins, &options, &listener);
        tokio::pin!(building);
        tokio::select! {
            reports = &mut building => return anyhow::Ok(Some(reports)),
            // The compilers are asked to stop.
            _ = stop.next() => options.stop.cancel(),
        }
        tokio::select! {
            reports = &mut building => Ok(Some(reports)),
            // They are killed, with all that they have started, when this is dropped.
            _ = stop.next() => Ok(None),
            () = tokio::time::sleep(LAST_WORDS) => Ok(None),
        }
    })?;
    show.clear();
    runtime.shutdown_background();
    Ok(reports)
}

/// What compilers said, then the table.
fn finish(reports: &[Report], elapsed: Duration) -> anyhow::Result<Exit> {
    for report in reports {
        match &report.outcome {
            Ok(built) if !built.warnings.is_empty() => {
                report::note(&format!("{}:\n{}\n", report.plugin, built.warnings.trim_end()));
            }
            Ok(_) => {}
            Err(error) => tell(&report.plugin, error),
        }
    }
    let built: Vec<_> =
        reports.iter().filter_map(|report| Some((report, report.outcome.as_ref().ok()?))).collect();
    if !built.is_empty() {
        report::text(&table::table(&built))?;
    }
    report::note(&format!("{} in {:.1} s\n", sum(reports), elapsed.as_secs_f64()));
    match built.len() == reports.len() {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failed),
    }
}

/// Warns of components that are older than their sources, on standard error;
/// `path` is that of the manifest.
pub fn warn_of_outdated(path: &Path, manifest: &Manifest) {
    for build::Outdated { plugin, source } in build::outdated(manifest) {
        let source = source.strip_prefix(&manifest.folder).unwrap_or(&source).display();
        report::warning(&format!(
            "plugin `{plugin}`: `{source}` has changed since the component was built: run `{}`",
            command(path)
        ));
    }
}

/// What builds the manifest at `path`, to be typed where this process was started.
fn command(path: &Path) -> String {
    let is_usual = path.file_name().is_some_and(|name| name == FILE_NAME);
    let path = if is_usual { path.parent().unwrap_or(path) } else { path };
    match path.as_os_str().is_empty() || path == Path::new(".") {
        true => "pelton build".to_owned(),
        false => format!("pelton build {}", path.display()),
    }
}

/// The compiler's own words come through as they are.
pub fn tell(plugin: &str, error: &BuildError) {
    if let BuildError::Refused(refusal) = error {
        report::note(&format!("{}\n", refusal.output.trim_end()));
    }
    let text = format!("plugin `{plugin}`: {error}");
    report::error(&Coded { code: error.code(), text }.into());
}

fn sum(reports: &[Report]) -> String {
    let count = |wanted: Freshness| {
        let is_wanted =
            |report: &&Report| report.outcome.as_ref().is_ok_and(|built| built.freshness == wanted);
        reports.iter().filter(is_wanted).count()
    };
    let failed = reports.iter().filter(|report| report.outcome.is_err()).count();
    let parts = [
        (count(Freshness::Built), "built"),
        (count(Freshness::UpToDate), "up to date"),
        (count(Freshness::Prebuilt), "prebuilt"),
        (failed, "failed"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}
