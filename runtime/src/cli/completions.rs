//! `pelton completions`: completion scripts for shells.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, report};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pelton completions bash > /etc/bash_completion.d/pelton\n  pelton completions zsh > \"${fpath[1]}/_pelton\"\n  pelton completions fish > ~/.config/fish/completions/pelton.fish"
)]
pub struct Arguments {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "pelton", &mut script);
    report::text(&String::from_utf8(script)?)?;
    Ok(Exit::Ok)
}
