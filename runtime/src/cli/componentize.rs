//! `pelton componentize`: makes a component of a core module.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{Exit, report};

/// Make a component of a core module, for toolchains that stop there (C, Go, Rust for wasip1)
///
/// The module has to export the handler in the spelling of the canonical ABI, as the bindings of
/// wit-bindgen do. If it imports WASI preview 1, an adapter to WASI 0.2 goes with it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pelton componentize core.wasm -o handler.wasm")]
pub struct Arguments {
    /// The core module
    module: PathBuf,
    /// Where to write the component
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Reads, converts, writes.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { module, output } = arguments;
    let core = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    let component = pelton::plugin::componentize(&core)
        .with_context(|| format!("make a component of {}", module.display()))?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let unfinished = tempfile::NamedTempFile::new_in(folder.unwrap_or(".".as_ref()))
        .with_context(|| format!("write {}", output.display()))?;
    fs::write(&unfinished, &component).with_context(|| format!("write {}", output.display()))?;
    unfinished.persist(&output).with_context(|| format!("write {}", output.display()))?;
    report::note(&format!("{}: {} bytes\n", output.display(), component.len()));
    Ok(Exit::Ok)
}
