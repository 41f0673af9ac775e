//! `pelton schema`: the manifest's JSON Schema, and its reference for people.

use clap::Args;
use pelton::manifest;

use super::{Exit, report};

/// Print the manifest's JSON Schema, for editors and checks
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pelton schema > pelton.schema.json\n  pelton schema --markdown | less\n\nEditors with a TOML language server use it when the manifest begins with\n  #:schema ./pelton.schema.json"
)]
pub struct Arguments {
    /// Print every table and key for people instead, as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Prints the schema.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let text = match arguments.markdown {
        true => manifest::reference(),
        false => format!("{}\n", serde_json::to_string_pretty(&manifest::schema())?),
    };
    report::text(text.trim_start())?;
    Ok(Exit::Ok)
}
