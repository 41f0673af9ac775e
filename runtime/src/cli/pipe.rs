//! `pelton pipe`: a whole manifest without a server, from standard input to
//! standard output.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use pelton::{
    explain::Coded,
    host::{
        StartError,
        local::{Loaded, Local, Options, Recording},
    },
    manifest::Manifest,
    plugin::CompilationListener,
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use self::{
    account::Account,
    feed::{Ended, Feed},
    line::Defaults,
    writing::{Paths, Written},
};
use super::{Exit, build, check, report, signals};

mod account;
mod feed;
mod line;
mod reading;
mod writing;

/// Run a manifest without any server: events in as JSON lines, outputs out as JSON lines
///
/// The real handlers in the real sandbox, with retries, order and dead letters, on a broker in
/// memory: nothing is kept, and no NATS is needed or touched. Circuit breakers and the limits of
/// streams do not count. A line of input is an event:
/// {"subject": "orders.created", "payload": {"id": 7}}. In place of `payload` (any JSON, sent as
/// its compact text) there may be `payload-text` or `payload-base64`; `headers`, `time`, `id`,
/// `attempt` and `reply-to` may be added. A line of output has the same form, with the `plugin`
/// that it is from and the `event` it was made for, and can be piped in again.
///
/// The log and a summary go to standard error. The first Ctrl-C reads no more and finishes what
/// was read, a second one stops at once.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all events were handled, 1 it failed or was stopped, 2 the \
    arguments or the manifest are wrong, 3 some events were not handled: dead letters, bad lines, \
    full queues, subjects that no plugin subscribes to. Who reads the outputs may leave (| head): \
    that ends it, with 0.\n\n\
    Examples:\n  \
    echo '{\"subject\":\"orders.created\",\"payload\":{\"id\":\"A-1\"}}' | pelton pipe\n  \
    examples/orders/make-events.py --count 10 | pelton pipe examples/orders\n  \
    pelton pipe examples/orders events.jsonl | jq -c 'select(.plugin == \"price\").payload'\n  \
    journalctl -o json | pelton pipe --subject logs.host > alerts.jsonl\n  \
    pelton pipe --dead-letters failed.jsonl < events.jsonl; pelton pipe < failed.jsonl")]
pub struct Arguments {
    /// The manifest, or the folder it is in
    #[arg(default_value = "pelton.toml")]
    manifest: PathBuf,
    /// Read events from this file instead of standard input (`-`)
    file: Option<PathBuf>,
    /// Take each line as it is as the payload of an event with this subject
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Write events that could not be handled to this file (`-`: standard output), as lines that
    /// can be piped in again
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Stop at the first bad line, and at the first event that no plugin subscribes to
    #[arg(long)]
    strict: bool,
    /// Take clocks and random numbers of handlers from the event, so that a second run makes the
    /// same outputs; see the manifest's `deterministic`
    #[arg(long)]
    deterministic: bool,
    /// When events without a `time` were published (RFC 3339); by default now, with
    /// --deterministic 2000-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    time: Option<humantime::Timestamp>,
    /// Try again at once, without the pauses and rates of the manifest
    #[arg(long)]
    no_backoff: bool,
    /// Write payloads byte for byte: JSON that is not compact as text
    #[arg(long)]
    exact: bool,
    /// Print no summary, and no note when a component is compiled
    #[arg(long, short)]
    quiet: bool,
}

/// Things that were done and are not written yet. Plugins wait when there are more.
const WRITE_AHEAD: usize = 64;

/// 2000-01-01T00:00:00Z, in milliseconds since 1970.
const FIXED_TIME_MS: u64 = 946_684_800_000;

/// Runs the manifest to the end of the input.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(manifest) = check::Source::load_components(arguments.manifest.clone()) else {
        return Ok(Exit::Usage);
    };
    build::warn_of_outdated(&arguments.manifest, &manifest);
    if let Some(problem) = arguments.subject.as_deref().and_then(line::subject_problem) {
        let Coded { code, text } = problem;
        report::error(&Coded { code, text: format!("--subject: {text}") }.into());
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(pipe(arguments, manifest));
    // Whoever blocks on reading, or on writing to nobody, is not waited for.
    runtime.shutdown_background();
    exit
}

async fn pipe(arguments: Arguments, manifest: Manifest) -> anyhow::Result<Exit> {
    let mut signals = signals::Stop::listen()?;
    let input = match reading::Origin::open(arguments.file.as_deref()) {
        Ok(input) => input,
        Err(error) => {
            report::error(&error);
            return Ok(Exit::Usage);
        }
    };
    let compilations = match arguments.quiet {
        true => CompilationListener::new(|_| {}),
        false => report::compilations(),
    };
    let loading = async {
        let loaded = Loaded::load(&manifest, compilations).await?;
        let (sender, told) = mpsc::channel(WRITE_AHEAD);
        let local = loaded.start(options(&arguments, &manifest, sender)).await?;
        Ok((local, told))
    };
    let (local, told) = tokio::select! {
        started = loading => match started {
            Ok(started) => started,
            Err(StartError::Findings(findings)) => {
                report::note(&check::findings(&manifest, findings, check::look()));
                return Ok(Exit::Usage);
            }
            Err(StartError::Other(error)) => return Err(error),
        },
        _ = signals.next() => return Ok(Exit::Failed),
    };
    let paths = Paths { dead_letters: arguments.dead_letters.clone(), is_exact: arguments.exact };
    let paths = paths.open()?;
    let writer = spawn_blocking(move || writing::write(told, paths).context("write outputs"));
    Pipe { local, arguments, writer, begun: Instant::now() }.flow(input, &mut signals).await
}

fn options(
    arguments: &Arguments,
    manifest: &Manifest,
    sender: mpsc::Sender<pelton::host::local::Told>,
) -> Options {
    let mut manifest = manifest.clone();
    for spec in manifest.plugins.values_mut() {
        // It is for a stream without an end: here it would only keep people waiting.
        spec.breaker = None;
        if arguments.no_backoff {
            (spec.retry.first, spec.retry.max) = (Duration::ZERO, Duration::ZERO);
            spec.rate = None;
        }
    }
    Options {
        manifest: Some(manifest),
        start_ms: time_ms(arguments),
        recording: Recording::Handed(sender),
        forget_handled: true,
        times_from_cause: arguments.deterministic,
        deterministic: arguments.deterministic,
        ..Options::default()
    }
}

/// The time of events that have none; `None`: now.
fn time_ms(arguments: &Arguments) -> Option<u64> {
    let given = arguments.time.map(|time| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    given.or(arguments.deterministic.then_some(FIXED_TIME_MS))
}

/// A manifest at work, between its two ends.
struct Pipe {
    local: Local,
    arguments: Arguments,
    writer: JoinHandle<Written>,
    begun: Instant,
}

impl Pipe {
    async fn flow(
        self,
        input: reading::Origin,
        signals: &mut signals::Stop,
    ) -> anyhow::Result<Exit> {
        let Pipe { local, arguments, mut writer, begun } = self;
        let subject = arguments.subject.clone();
        let defaults = Defaults { subject, time_ms: time_ms(&arguments) };
        let mut feed = Feed::new(defaults, arguments.strict);
        let mut ended = tokio::select! {
            ended = feed.run(&local, input) => ended,
            signal = signals.next() => {
                tracing::info!(signal, "reading no more; a second signal stops at once");
                Ended::Interrupted
            }
            written = &mut writer => return broken(written?),
        };
        tokio::select! {
            () = local.idle() => {}
            signal = signals.next() => {
                tracing::warn!(signal, "stopped at once; what was running is lost");
                return Ok(Exit::Failed);
            }
            written = &mut writer => return broken(written?),
        }
        let mut account = Account::of(feed, local.dropped());
        local.stop().await?;
        match writer.await? {
            Ok(tally) => account.tally = tally,
            written => return broken(written),
        }
        account.took = begun.elapsed();
        if !arguments.quiet {
            report::note(&account.summary());
        }
        if let Ended::Unreadable(error) = &mut ended {
            report::error(error);
        }
        Ok(match (ended, account.is_whole()) {
            (Ended::Interrupted | Ended::Unreadable(_), _) => Exit::Failed,
            (Ended::Strict, _) | (Ended::All, false) => Exit::Incomplete,
            (Ended::All, true) => Exit::Ok,
        })
    }
}

/// The end, because nothing can be written any more.
fn broken(written: Written) -> anyhow::Result<Exit> {
    written.map(|_| Exit::Failed)
}
