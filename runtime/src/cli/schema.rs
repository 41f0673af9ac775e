//! `pelton schema`: the manifest's JSON Schema.

use clap::Args;

use super::{Exit, report};

/// Print the manifest's JSON Schema, for editors and checks
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  pelton schema > pelton.schema.json\n\nEditors with a TOML language server use it when the manifest begins with\n  #:schema ./pelton.schema.json"
)]
pub struct Arguments {}

/// Prints the schema.
pub fn run(_: Arguments) -> anyhow::Result<Exit> {
    let schema = serde_json::to_string_pretty(&pelton::manifest::schema())?;
    report::text(&format!("{schema}\n"))?;
    Ok(Exit::Ok)
}
