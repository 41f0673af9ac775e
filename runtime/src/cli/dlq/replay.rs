//! `pelton dlq replay`: run dead letters again, or send their events elsewhere.

use clap::Args;
use indicatif::ProgressBar;
use pelton::{
    dead_letters::{Act, Batch, DeadLetters, Errand, Outcome, Settled, Sweep},
    subject,
};
use tokio_util::sync::CancellationToken;

use super::{
    Exit, Place,
    choice::{Choice, Chosen},
    complaints::Complaints,
    letters, look, progress, report, stop_on_signal,
};

/// Run dead letters again, after what made them fail was mended
///
/// The host runs each event under its original identity: the handler sees the same event, and what
/// an earlier run published already is not published twice, as long as the output stream remembers
/// its ids (its duplicate window). A letter is removed once its replay is stored; if the event fails
/// again, it is put back with its history. To replay twice by accident asks once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq replay 42 43\n  \
    pelton dlq replay --plugin price --error currency --yes\n  \
    pelton dlq replay --all --dry-run\n  \
    pelton dlq replay 42 --as-new              publish again what was published before\n  \
    pelton dlq replay 42 --to orders.manual    let somebody else handle it")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    choice: Choice,
    /// Give the outputs new ids, so that they are published even if they were before
    #[arg(long)]
    as_new: bool,
    /// Publish the original messages to this subject instead, without headers that begin with
    /// `Nats-`; a stream has to store it
    #[arg(long, value_name = "SUBJECT", conflicts_with_all = ["as_new", "no_wait"], value_parser = to)]
    to: Option<String>,
    /// Do not wait until the host has run them
    #[arg(long)]
    no_wait: bool,
}

/// Replays.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, choice, as_new, to, no_wait } = arguments;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let dry_run = choice.dry_run;
    let chosen = match choice.settle(&desk, "replay").await? {
        Ok(chosen) => chosen,
        Err(exit) => return Ok(exit),
    };
    if dry_run {
        return rehearse(&desk, &chosen, to.is_some()).await;
    }
    let act = match to {
        Some(subject) => Act::SendTo(subject),
        None => {
            desk.prepare().await?;
            Act::Replay(Errand::new(as_new))
        }
    };
    let stop = stop_on_signal()?;
    let sweep = ask(&desk, &chosen, &act, &stop).await?;
    let is_clean = sweep.refused + sweep.missing == 0 && sweep.failure.is_none();
    let exit = if is_clean && !stop.is_cancelled() { Exit::Ok } else { Exit::Failed };
    match &act {
        Act::Replay(_) if sweep.done > 0 && no_wait => {
            report::note(&format!("the host was asked for {}\n", replays(sweep.done)));
            Ok(exit)
        }
        Act::Replay(_) if sweep.done > 0 => wait(&desk, &sweep.batch, &stop, exit).await,
        Act::SendTo(subject) if sweep.done > 0 => {
            report::note(&format!("{} sent to `{subject}`\n", letters(sweep.done)));
            Ok(exit)
        }
        Act::Replay(_) | Act::SendTo(_) | Act::Drop => Ok(exit),
    }
}

fn to(text: &str) -> Result<String, String> {
    subject::check(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn replays(n: u64) -> String {
    if n == 1 { "1 replay".to_owned() } else { format!("{n} replays") }
}

/// Asks for every replay; says what was refused and what ended it early.
async fn ask(
    desk: &DeadLetters,
    chosen: &Chosen,
    act: &Act,
    stop: &CancellationToken,
) -> anyhow::Result<Sweep> {
    let sweep = swept(desk, chosen, (act, "asking"), stop).await?;
    if sweep.failure.is_some() {
        report::note(&format!(
            "ended after {}; the others are still listed\n",
            letters(sweep.done)
        ));
    } else if stop.is_cancelled() {
        report::note(&format!(
            "stopped after {}; the others are still listed\n",
            letters(sweep.done)
        ));
    }
    Ok(sweep)
}

/// Does `act` with all that was chosen, under a progress bar that says `doing`;
/// says what was refused and what failed.
pub async fn swept(
    desk: &DeadLetters,
    chosen: &Chosen,
    (act, doing): (&Act, &'static str),
    stop: &CancellationToken,
) -> anyhow::Result<Sweep> {
    let bar = progress::bar(doing, chosen.n);
    let mut refusals = Complaints::default();
    let sweep = desk.sweep(&chosen.selection, act, stop, |number, outcome| {
        bar.inc(1);
        refusals.take(&bar, number, outcome);
    });
    let sweep = sweep.await;
    bar.finish_and_clear();
    let sweep = sweep?;
    refusals.summarise();
    if let Some(failure) = &sweep.failure {
        report::error(&anyhow::anyhow!("{failure}"));
    }
    Ok(sweep)
}

/// Says what would be replayed, and what would be refused.
async fn rehearse(desk: &DeadLetters, chosen: &Chosen, is_to: bool) -> anyhow::Result<Exit> {
    let (mut would, mut refusals) = (0, Complaints::default());
    let hidden = ProgressBar::hidden();
    let mut selected = desk.select(&chosen.selection, true).await?;
    while let Some(found) = selected.next().await? {
        let entry = match found {
            Ok(entry) => entry,
            Err(number) => {
                refusals.take(&hidden, number, &Outcome::Missing);
                continue;
            }
        };
        let able = if is_to { Ok(()) } else { desk.replayable(&entry).await? };
        match able {
            Ok(()) => {
                would += 1;
                report::text(&(look::row(&entry, None).join("\t") + "\n"))?;
            }
            Err(refusal) => refusals.take(&hidden, entry.number, &Outcome::Refused(refusal)),
        }
    }
    refusals.summarise();
    report::note(&format!("{} would be replayed\n", letters(would)));
    Ok(Exit::Ok)
}

/// Waits for the host, and says how it went.
async fn wait(
    desk: &DeadLetters,
    batch: &Batch,
    stop: &CancellationToken,
    exit: Exit,
) -> anyhow::Result<Exit> {
    let n = batch.size;
    let bar = progress::bar("replaying", n);
    let settled = desk.wait(batch, stop, |waiting| bar.set_position(n - waiting.left.min(n))).await;
    bar.finish_and_clear();
    match settled? {
        Settled::All { back: 0 } => {
            report::note(&format!("{} replayed, all done\n", letters(n)));
            Ok(exit)
        }
        Settled::All { back } => {
            let done = n.saturating_sub(back);
            report::note(&format!(
                "{} replayed: {done} done, {back} failed again and are listed anew\n",
                letters(n)
            ));
            Ok(Exit::Failed)
        }
        Settled::NoHost { plugins, left } => {
            let (plugins, stream) = (plugins.join("`, `"), desk.replays());
            report::note(&format!(
                "no host takes replays of `{plugins}` now: {} in `{stream}`; start `pelton run` or, if it runs, wait until the circuit breaker of the plugin closes\n",
                waits(left)
            ));
            Ok(Exit::Failed)
        }
        Settled::Interrupted { left } => {
            report::note(&format!("not waiting any longer: {} and will be run\n", waits(left)));
            Ok(Exit::Failed)
        }
    }
}

fn waits(n: u64) -> String {
    if n == 1 { "1 replay waits".to_owned() } else { format!("{n} replays wait") }
}
