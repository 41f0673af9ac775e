//! `pelton dlq drop`: remove dead letters for good.

use clap::Args;
use pelton::dead_letters::{Act, DeadLetters};

use super::{
    Exit, Place,
    choice::{Choice, Chosen},
    letters, look,
    replay::swept,
    report, stop_on_signal,
};

/// Remove dead letters for good
///
/// What is removed cannot be replayed any more: `pelton dlq export` keeps a copy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton dlq drop 42 43\n  \
    pelton dlq drop --plugin price --older-than 14d\n  \
    pelton dlq drop --all --yes")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    choice: Choice,
}

/// Removes.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { place, choice } = arguments;
    let Some(desk) = place.open().await? else { return Ok(Exit::Usage) };
    let dry_run = choice.dry_run;
    let chosen = match choice.settle(&desk, "drop").await? {
        Ok(chosen) => chosen,
        Err(exit) => return Ok(exit),
    };
    match dry_run {
        true => rehearse(&desk, &chosen).await,
        false => remove(&desk, &chosen).await,
    }
}

async fn rehearse(desk: &DeadLetters, chosen: &Chosen) -> anyhow::Result<Exit> {
    let mut would = 0;
    let mut selected = desk.select(&chosen.selection, true).await?;
    while let Some(found) = selected.next().await? {
        match found {
            Ok(entry) => {
                would += 1;
                report::text(&(look::row(&entry, None).join("\t") + "\n"))?;
            }
            Err(number) => report::note(&format!("dead letter {number}: there is none\n")),
        }
    }
    report::note(&format!("{} would be dropped\n", letters(would)));
    Ok(Exit::Ok)
}

async fn remove(desk: &DeadLetters, chosen: &Chosen) -> anyhow::Result<Exit> {
    let stop = stop_on_signal()?;
    let sweep = swept(desk, chosen, (&Act::Drop, "dropping"), &stop).await?;
    report::note(&format!("{} dropped\n", letters(sweep.done)));
    let is_whole = sweep.failure.is_none() && sweep.missing == 0 && !stop.is_cancelled();
    Ok(if is_whole { Exit::Ok } else { Exit::Failed })
}
