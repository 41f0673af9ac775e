//! How results and errors are written: results to standard output, errors to
//! standard error, each once, with colour only where somebody looks.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes `text` to standard output.
///
/// # Errors
/// If it cannot be written; see [`is_broken_pipe`].
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes an error and its causes on one line to standard error.
pub fn error(error: &anyhow::Error) {
    note(&line(error));
}

/// An error and its causes as a line of text.
pub fn line(error: &anyhow::Error) -> String {
    format!("{ERROR}error{ERROR:#}: {error:#}\n")
}

/// Writes `text` to standard error. Where that is closed nobody is left to tell.
pub fn note(text: &str) {
    let mut stderr = anstream::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Whether `error` says that the reader of our output is gone, as with `| head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
