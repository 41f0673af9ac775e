//! `pelton capture`: test cases made of events that there are.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Args;
use pelton::{
    cases::{
        capture::{self, Captured, Draft, Style},
        file::ENDING,
    },
    dead_letters::DeadLetters,
    host::{self, Unreachable, local::Loaded},
    manifest::Manifest,
    subject::Pattern,
};

use super::{Exit, check::Place, report, signals};

/// Make test cases of live events, of those in a stream, or of a dead letter
///
/// Writes a `*.test.toml` file for `pelton test`, with a case for each event. What is expected is
/// what comes of the events now (--expect), or is written by the first `pelton test --update`.
/// Nothing is taken from any plugin, and nothing on the server is changed.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("source").required(true).args(["stream", "subject", "dead_letter"]).multiple(true),
    after_help = "Examples:\n  \
    pelton capture --subject 'orders.>' --count 3            the next three\n  \
    pelton capture --stream ORDERS --from 10 --count 5       what is stored from sequence 10 on\n  \
    pelton capture --dead-letter 42 --expect                 one that failed, with how it fails\n  \
    pelton capture --stream ORDERS --count 500 --together --output day.test.toml"
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Of this stream; with --subject only what matches it
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The sequence in the stream to begin with
    #[arg(long, value_name = "SEQUENCE", default_value = "1", requires = "stream", value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// The next events to this subject, as they are published; wildcards are allowed
    #[arg(long, value_name = "SUBJECT", value_parser = pattern)]
    subject: Option<Pattern>,
    /// The event of this dead letter, as `pelton dlq list` numbers them
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["stream", "subject"])]
    dead_letter: Option<u64>,
    /// How many events at most
    #[arg(long, short = 'n', value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
    /// How long to wait for live events
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// The only plugin that is to run in the cases; default: that of the dead letter, else all
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Run the events now, and expect what comes of them
    #[arg(long)]
    expect: bool,
    /// One case with all events, which are put into a file of JSON lines beside
    #[arg(long)]
    together: bool,
    /// The test file; default: named after what is captured, beside the manifest
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

/// Captures.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let place = arguments.place.clone();
    let manifest = if arguments.expect { place.load_with_grants() } else { place.load() };
    let Some(manifest) = manifest else { return Ok(Exit::Usage) };
    if let Some(plugin) = arguments.plugin.as_ref().filter(|it| !manifest.plugins.contains_key(*it))
    {
        report::error(&anyhow!("the manifest has no plugin `{plugin}`"));
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let captured = runtime.block_on(collect(&arguments, &manifest))?;
    drop(runtime);
    let file = arguments.file(&captured);
    let draft = arguments.draft(&captured, &manifest, &file)?;
    if let Some(there) = draft.files(&file).into_iter().find(|it| it.0.exists() && !arguments.force)
    {
        let there = there.0.display().to_string();
        report::error(&anyhow!(
            "`{there}` is there already: name another file with --output, or overwrite it with --force"
        ));
        return Ok(Exit::Usage);
    }
    for (path, bytes) in draft.files(&file) {
        write(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
    }
    report::text(&arguments.summary(&captured, &file))?;
    Ok(Exit::Ok)
}

async fn collect(arguments: &Arguments, manifest: &Manifest) -> anyhow::Result<Captured> {
    let broker = host::connect(manifest, Unreachable::Fail).await?;
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    if let Some(number) = arguments.dead_letter {
        return capture::of_dead_letter(&DeadLetters::new(broker, manifest), number).await;
    }
    if let Some(stream) = &arguments.stream {
        let subject = arguments.subject.as_ref().map_or(">", |subject| subject.as_str());
        return capture::of_stream(&broker, (stream, subject), (arguments.from, count)).await;
    }
    let subject =
        arguments.subject.as_ref().context("name a stream, a subject or a dead letter")?;
    let mut signals = signals::Stop::listen()?;
    report::note(&format!("waiting for {count} of `{subject}`; Ctrl-C ends with what has come\n"));
    let stop = async { _ = signals.next().await };
    capture::live(&broker, subject, (count, arguments.wait), stop).await
}

impl Arguments {
    fn file(&self, captured: &Captured) -> PathBuf {
        let folder = folder_of(&self.place.manifest);
        self.output.clone().unwrap_or_else(|| folder.join(format!("{}{ENDING}", captured.name)))
    }

    fn draft(
        &self,
        captured: &Captured,
        manifest: &Manifest,
        file: &Path,
    ) -> anyhow::Result<Draft> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(ENDING);
        let stem = stem.ok_or_else(|| {
            anyhow!("the name of a test file has to end in `{ENDING}`, not `{name}`")
        })?;
        let of_letter = captured.plugin.as_deref().filter(|it| manifest.plugins.contains_key(*it));
        let named = self.names_manifest(file);
        let style = Style {
            plugin: self.plugin.as_deref().or(of_letter),
            manifest: named.as_deref(),
            stem,
            together: self.together,
        };
        if !self.expect {
            return Ok(capture::draft(captured, &style));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let loaded = Loaded::load(manifest, report::compilations()).await?;
            capture::draft_with_expectations(captured, &style, (&loaded, manifest)).await
        })
    }

    /// How the test file has to name the manifest; `None`: it need not.
    fn names_manifest(&self, file: &Path) -> Option<String> {
        let manifest = match self.place.manifest.is_dir() {
            true => self.place.manifest.join("pelton.toml"),
            false => self.place.manifest.clone(),
        };
        let beside = fs::canonicalize(folder_of(file)).ok()?.join("pelton.toml");
        let whole = fs::canonicalize(&manifest).ok()?;
        match whole == beside {
            true => None,
            false if whole.parent() == beside.parent() => {
                Some(whole.file_name()?.to_string_lossy().into_owned())
            }
            false => Some(whole.display().to_string()),
        }
    }

    fn summary(&self, captured: &Captured, file: &Path) -> String {
        let n = captured.events.len();
        let events = if n == 1 { "1 event".to_owned() } else { format!("{n} events") };
        let (path, folder) = (file.display(), folder_of(file));
        let next = match self.expect {
            true => format!("`pelton test {}` runs it", folder.display()),
            false => format!("`pelton test --update {path}` writes what is expected"),
        };
        format!("{path}: {events}; {next}\n")
    }
}

fn folder_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Writes a file, whole or not at all.
fn write(path: &Path, bytes: &Bytes) -> anyhow::Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(folder_of(path))?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(path)?;
    Ok(())
}
