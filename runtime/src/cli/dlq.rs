//! `pelton dlq`: dead letters, one verb a file.
//!
//! What the verbs do is in `pelton::dead_letters`; here it is asked for and
//! printed.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use pelton::{
    dead_letters::DeadLetters,
    host::{self, Unreachable},
};
use tokio_util::sync::CancellationToken;

use super::{Exit, check::Place, report, signals};

mod choice;
mod complaints;
mod drop;
mod export;
mod history;
mod import;
mod list;
mod look;
mod payload;
mod progress;
mod replay;
mod show;

/// Look at the events that could not be handled; run them again, or remove them
///
/// Dead letters are kept in one stream for all plugins of a host, by default for 30 days and up to
/// 1 GiB ([dead-letters] max-age, max-bytes): a flood of new ones pushes the oldest out. Each has a
/// number, which is its sequence in that stream.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq list                                    the newest ones\n  \
    pelton dlq list --plugin price --error currency    what they have in common\n  \
    pelton dlq show 42                                 payload, headers, history, error\n  \
    pelton dlq replay 42                               run it again, after the fix\n  \
    pelton dlq replay --plugin price --reason trap     run many again\n  \
    pelton dlq export --output letters.jsonl           keep a copy\n  \
    pelton dlq import letters.jsonl                    bring it back\n  \
    pelton dlq drop --older-than 14d                   remove what nobody needs")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Arguments),
    Show(show::Arguments),
    Replay(replay::Arguments),
    Drop(drop::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
}

/// Does what was asked.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.verb {
            Verb::List(arguments) => list::run(arguments).await,
            Verb::Show(arguments) => show::run(arguments).await,
            Verb::Replay(arguments) => replay::run(arguments).await,
            Verb::Drop(arguments) => drop::run(arguments).await,
            Verb::Export(arguments) => export::run(arguments).await,
            Verb::Import(arguments) => import::run(arguments).await,
        }
    })
}

impl Place {
    /// The dead letters; `None` after the manifest's problems have been printed.
    async fn open(self) -> anyhow::Result<Option<DeadLetters>> {
        let Some(manifest) = self.load() else {
            return Ok(None);
        };
        let broker = host::connect(&manifest, Unreachable::Fail).await?;
        broker.jetstream_ready().await.context("there are no dead letters without JetStream")?;
        Ok(Some(DeadLetters::new(broker, &manifest)))
    }
}

/// A token that the first SIGINT or SIGTERM cancels; a second one ends the process.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = signals::Stop::listen()?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        token.cancel();
        signals.next().await;
        report::note("stopped at once\n");
        std::process::exit(1);
    });
    Ok(stop)
}

/// `1 dead letter`, `2 dead letters`.
fn letters(n: u64) -> String {
    if n == 1 { "1 dead letter".to_owned() } else { format!("{n} dead letters") }
}
