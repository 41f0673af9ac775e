//! `pelton test`: handlers tested with events and outputs written as data.

use std::{
    io::{IsTerminal as _, Write as _, stdout},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use pelton::{
    cases::{
        self,
        find::{self, Found},
        suite::{Options, Outcome, Status, Suite, SuiteError},
    },
    explain::Coded,
    manifest::Problems,
};

use super::{
    Exit, build, check, report,
    watch::{Snapshot, Watch},
};

mod json;
mod junit;
mod text;

/// Test handlers with events and expected outputs written as data, without a server
///
/// Runs the real components in the real sandbox, each case on a broker of its own in memory, for the
/// cases in `*.test.toml` files. Clocks and random numbers are those of the event, waiting for a
/// next attempt takes no time, and a handler that loops is ended by its limits.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every case passed, 1 a case failed, 2 the files or arguments are wrong, \
        or there are no cases.\n\n\
        Examples:\n  \
        pelton test                                   all *.test.toml files here and below\n  \
        pelton test examples/orders --filter euros    cases with `euros` in their name\n  \
        pelton test --update                          write the snapshots anew\n  \
        pelton test --watch                           again whenever something changes\n  \
        pelton test --format junit --output tests.xml\n\n\
        --help shows a test file with every key.",
    after_long_help = AFTER_LONG_HELP.as_str()
)]
pub struct Arguments {
    /// Test files, folders to look through, or a manifest beside which they are
    #[arg(value_name = "PATHS", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Run only cases whose name contains this
    #[arg(long, short, value_name = "NAME")]
    filter: Option<String>,
    /// Write snapshots that are missing or differ, in place of failing
    #[arg(long)]
    update: bool,
    /// Run again whenever a test file, a manifest, a component or a snapshot changes
    #[arg(long)]
    watch: bool,
    /// How the results are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Write the results to this file, and a summary to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How many cases run at a time; default: one for each processor
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

static AFTER_LONG_HELP: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    format!(
        "Exit codes: 0 every case passed, 1 a case failed, 2 the files or arguments are wrong, \
         or there are no cases.\n\nA test file with every key:\n\n{}",
        cases::EXAMPLE
    )
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit's XML, for continuous integration.
    Junit,
}

/// Runs the tests, once or whenever something changes.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if !arguments.watch {
        return Round { arguments: &arguments, runtime: &runtime }.run(None).map(|(exit, _)| exit);
    }
    let mut suite = None;
    let mut watch: Option<Watch> = None;
    loop {
        // Before anything is read: what changes after that is a change.
        let seen = Snapshot::of(watched(&arguments, suite.as_ref()));
        let round = Round { arguments: &arguments, runtime: &runtime };
        let (_, now) = round.run(suite.as_ref())?;
        suite = now.or(suite);
        let seen = seen.with(watched(&arguments, suite.as_ref()));
        let watch = match &mut watch {
            Some(watch) => {
                watch.follow(seen);
                watch
            }
            None => watch.insert(Watch::start(seen)),
        };
        report::note("waiting for changes; Ctrl-C ends\n");
        runtime.block_on(watch.changed());
        if stdout().is_terminal() {
            report::text("\n")?;
        }
    }
}

/// A line that says, on a terminal, that there is something to wait for.
fn waiting() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} running cases  {elapsed:.dim}");
    let bar = ProgressBar::new_spinner();
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Every file and folder whose change may change the results.
fn watched(arguments: &Arguments, suite: Option<&Suite>) -> Vec<PathBuf> {
    let found = find::find(&arguments.paths).unwrap_or_default();
    let Found { mut files, folders } = found;
    files.extend(Suite::would_depend_on(&files));
    files.extend(folders);
    files.extend(suite.map(Suite::depends_on).unwrap_or_default());
    files
}

/// One run of all tests.
struct Round<'a> {
    arguments: &'a Arguments,
    runtime: &'a tokio::runtime::Runtime,
}

impl Round<'_> {
    /// Finds, loads, runs and reports; returns what was loaded, too.
    fn run(&self, before: Option<&Suite>) -> anyhow::Result<(Exit, Option<Suite>)> {
        let found = match find::find(&self.arguments.paths) {
            Ok(found) => found,
            Err(error) => return Ok((usage("test-file", error.to_string()), None)),
        };
        if found.files.is_empty() {
            return Ok((usage("no-cases", no_files(&self.arguments.paths)), None));
        }
        let compilations = report::compilations();
        let loading = Suite::load(&found.files, before, &compilations);
        let suite = match self.runtime.block_on(loading) {
            Ok(suite) => suite,
            Err(error) => return Ok((mistakes(error), None)),
        };
        let options = Options {
            filter: self.arguments.filter.clone(),
            update: self.arguments.update,
            jobs: self.arguments.jobs,
        };
        for (path, manifest) in suite.manifests() {
            build::warn_of_outdated(path, manifest);
        }
        let missing = suite.missing_secrets(&options);
        if !missing.is_empty() {
            tell(&missing);
            return Ok((Exit::Usage, Some(suite)));
        }
        let waiting = waiting();
        let outcome = suite.run(&options).context("run the cases");
        waiting.finish_and_clear();
        let outcome = outcome?;
        if outcome.cases.is_empty() {
            return Ok((usage("no-cases", self.nothing_left(&suite)), Some(suite)));
        }
        self.report(&outcome)?;
        let failed = outcome.cases.iter().any(|done| matches!(done.status, Status::Failed(_)));
        Ok((if failed { Exit::Failed } else { Exit::Ok }, Some(suite)))
    }

    fn nothing_left(&self, suite: &Suite) -> String {
        let filter = self.arguments.filter.as_deref().unwrap_or_default();
        let names: Vec<_> = suite.names().take(5).map(|name| format!("`{name}`")).collect();
        let dots = if suite.len() > names.len() { ", …" } else { "" };
        format!(
            "no case has `{filter}` in its name; there are {} cases: {}{dots}",
            suite.len(),
            names.join(", ")
        )
    }

    fn report(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let rendered = match self.arguments.format {
            Format::Text => text::all(outcome),
            Format::Json => json::all(outcome)?,
            Format::Junit => junit::all(outcome)?,
        };
        let Some(file) = &self.arguments.output else { return report::text(&rendered) };
        // A file has no colours.
        let plain = anstream::adapter::strip_str(&rendered).to_string();
        write(file, &plain).with_context(|| format!("write {}", file.display()))?;
        report::text(&text::all(outcome))
    }
}

/// Writes a file, whole or not at all.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(text.as_bytes())?;
    new.persist(file)?;
    Ok(())
}

fn usage(code: &'static str, text: String) -> Exit {
    report::error(&Coded { code, text }.into());
    Exit::Usage
}

fn no_files(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    format!(
        "there are no `*.test.toml` files in {}: write one, as `pelton test --help` shows, or make \
         one from a live event with `pelton capture`",
        paths.join(", ")
    )
}

/// Says everything that is wrong with files, and once how to read more about it.
fn tell(all: &[Problems]) {
    for problems in all {
        report::note(&problems.render(check::look()));
    }
    report::note(&check::more_about(all.iter().flat_map(Problems::iter)));
}

/// Says everything that is wrong with the files.
fn mistakes(error: SuiteError) -> Exit {
    match error {
        SuiteError::Problems(all) => {
            let is_missing = all
                .iter()
                .flat_map(|problems| problems.iter())
                .any(|problem| problem.kind() == "file" && problem.message().contains(".wasm"));
            tell(&all);
            if is_missing {
                report::note(
                    "is a component not built yet? `pelton build` makes it of its sources\n",
                );
            }
        }
        SuiteError::Start(error) => report::error(&anyhow::Error::new(error)),
    }
    Exit::Usage
}
