//! `pelton explain`: what the code of a mistake or failure means.

use clap::Args;
use pelton::explain::{self, PAGES, Page};

use super::{Exit, report};

/// Explain the code of a mistake or failure: what it means, an example, what to do
///
/// Codes stand in messages (`error[nats-auth]`), in logs (`code`), in dead letters and in metrics.
/// Without a code: a list of all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton explain timeout\n  \
    pelton explain ack-wait retry-budget\n  \
    pelton explain | grep nats")]
pub struct Arguments {
    /// The code, or several
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
}

/// Prints the pages, or the list.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let found: Vec<_> = arguments.codes.iter().map(|code| (code, explain::page(code))).collect();
    let mut exit = Exit::Ok;
    for (code, _) in found.iter().filter(|(_, page)| page.is_none()) {
        report::note(&unknown(code));
        exit = Exit::Usage;
    }
    let pages: Vec<_> = found.iter().filter_map(|(_, page)| *page).map(Page::plain).collect();
    match arguments.codes.is_empty() {
        true => report::text(&list())?,
        false => report::text(&pages.join("\n\n"))?,
    }
    Ok(exit)
}

fn unknown(code: &str) -> String {
    let remedy = match explain::nearest(code) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`pelton explain` without a code lists all".to_owned(),
    };
    report::line(&anyhow::anyhow!("there is no code {code:?}: {remedy}"))
}

fn list() -> String {
    let (mut text, mut area) = (String::new(), None);
    for page in PAGES {
        if area != Some(page.area) {
            let gap = if area.is_some() { "\n" } else { "" };
            text.push_str(&format!("{gap}{}\n", page.area.title()));
            area = Some(page.area);
        }
        text.push_str(&format!("  {:<20} {}\n", page.code, page.title()));
    }
    text
}
