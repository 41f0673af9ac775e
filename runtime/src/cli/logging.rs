//! Where the log goes and what it looks like: to standard error, for people on
//! a terminal, as JSON lines otherwise.

use std::io::{IsTerminal as _, stderr};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt};

/// Flags that every verb takes.
#[derive(Debug, Args)]
pub struct Options {
    /// What to log: a level (error, warn, info, debug, trace) or a list of `target=level`, as in
    /// `info,pelton::guest=debug`
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", global = true, hide_env_values = true)]
    log: Option<String>,
    /// How the log looks; `auto` is text on a terminal and JSON otherwise
    #[arg(long, value_name = "FORMAT", default_value = "auto", global = true)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Auto,
    Text,
    Json,
}

/// Installs the log of this process; `level` is what is logged unless something
/// else is asked for.
pub fn start(options: &Options, level: &str) -> anyhow::Result<()> {
    let filter = options.log.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(level);
    // The client tells of its connections at info; we tell the same in our words.
    let filter = match filter.contains("async_nats") {
        true => filter.to_owned(),
        false => format!("{filter},async_nats=error"),
    };
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("--log or RUST_LOG: `{filter}` is not a filter"))?;
    let log = fmt().with_env_filter(filter).with_writer(stderr);
    let started = match (options.log_format, stderr().is_terminal()) {
        (Format::Json, _) | (Format::Auto, false) => log.json().flatten_event(true).try_init(),
        (Format::Text, colour) => log.with_ansi(colour).with_target(false).try_init(),
        (Format::Auto, true) => log.with_target(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
