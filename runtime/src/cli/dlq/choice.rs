//! Which dead letters are meant: numbers, filters, or all; and whether it is
//! meant seriously.

use std::{
    io::{IsTerminal as _, stderr, stdin},
    time::Duration,
};

use clap::Args;
use pelton::{
    dead_letters::{DeadLetters, Filter, Selection},
    subject::Pattern,
};

use super::{letters, report};

/// Filters that every verb takes; all that are given have to hold.
#[derive(Debug, Args)]
#[group(id = "filters", multiple = true)]
pub struct Filters {
    /// Only those of this plugin
    #[arg(long, value_name = "NAME", value_parser = plugin)]
    plugin: Option<String>,
    /// Only those given up for this reason: decode, retry, reject, trap, timeout, cpu, memory,
    /// stack, output, unavailable, publish, crash-loop
    #[arg(long, value_name = "CLASS")]
    reason: Option<String>,
    /// Only those whose event was on a subject that matches, as in `orders.*`
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    subject: Option<Pattern>,
    /// Only those given up longer ago, as in `2h`
    #[arg(long, value_name = "TIME", value_parser = time)]
    older_than: Option<Duration>,
    /// Only those given up since, as in `15min`
    #[arg(long, value_name = "TIME", value_parser = time)]
    newer_than: Option<Duration>,
    /// Only those whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

/// What a verb that changes something acts on.
#[derive(Debug, Args)]
pub struct Choice {
    /// Their numbers, as `pelton dlq list` shows them
    #[arg(value_name = "NUMBER", conflicts_with_all = ["filters", "all"], value_parser = clap::value_parser!(u64).range(1..))]
    numbers: Vec<u64>,
    #[command(flatten)]
    filters: Filters,
    /// All of them
    #[arg(long, conflicts_with = "filters")]
    all: bool,
    /// Do not ask before many are acted on; needed where nobody can answer
    #[arg(long, short)]
    yes: bool,
    /// Only say what would be done
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

/// What was chosen, and how many there are.
pub struct Chosen {
    pub selection: Selection,
    pub n: u64,
}

impl Filters {
    pub fn into_filter(self) -> Filter {
        let Filters { plugin, reason, subject, older_than, newer_than, error } = self;
        Filter { plugin, reason, subject, older_than, newer_than, error }
    }
}

impl Choice {
    /// What is meant; an error text if nothing is.
    pub fn into_selection(self) -> Result<Selection, &'static str> {
        if !self.numbers.is_empty() {
            let mut numbers = self.numbers;
            numbers.sort_unstable();
            numbers.dedup();
            return Ok(Selection::Numbers(numbers));
        }
        let filter = self.filters.into_filter();
        match filter.is_empty() && !self.all {
            true => Err("say which: their numbers, a filter such as --plugin, or --all"),
            false => Ok(Selection::Filter(filter)),
        }
    }

    /// Counts what is meant, and asks whether to `act` on it where that is due;
    /// `None`: nothing is to be done, and it was said why.
    pub async fn settle(
        self,
        desk: &DeadLetters,
        act: &str,
    ) -> anyhow::Result<Result<Chosen, super::Exit>> {
        let (yes, dry_run) = (self.yes, self.dry_run);
        let selection = match self.into_selection() {
            Ok(selection) => selection,
            Err(problem) => {
                report::error(&anyhow::anyhow!(problem));
                return Ok(Err(super::Exit::Usage));
            }
        };
        let n = desk.count(&selection).await?;
        if n == 0 {
            report::note(&format!("no dead letters match in `{}`\n", desk.stream()));
            return Ok(Err(super::Exit::Ok));
        }
        let is_many = matches!(selection, Selection::Filter(_));
        match is_many && !yes && !dry_run {
            true => Ok(ask(act, n)?.map(|()| Chosen { selection, n })),
            false => Ok(Ok(Chosen { selection, n })),
        }
    }
}

fn ask(act: &str, n: u64) -> anyhow::Result<Result<(), super::Exit>> {
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        report::error(&anyhow::anyhow!(
            "this would {act} {}: say --yes, or --dry-run to see them",
            letters(n)
        ));
        return Ok(Err(super::Exit::Usage));
    }
    report::note(&format!("{act} {}? [y/N] ", letters(n)));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !is_yes {
        report::note("nothing was done\n");
    }
    Ok(if is_yes { Ok(()) } else { Err(super::Exit::Failed) })
}

fn plugin(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>'));
    if is_name { Ok(text.to_owned()) } else { Err("no plugin can have this name".to_owned()) }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like `15min`, `2h` or `14d`"))
}
