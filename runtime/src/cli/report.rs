//! How results and errors are written: results to standard output, errors to
//! standard error, each once, with colour only where somebody looks.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use pelton::{
    broker::SetupError,
    explain::Coded,
    plugin::{CompilationListener, ComponentizeError, EngineError, LoadError},
    templates::NewError,
};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

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

/// Writes a warning on one line to standard error.
pub fn warning(text: &str) {
    note(&format!("{WARNING}warning{WARNING:#}: {text}\n"));
}

/// An error and its causes as a line of text; if it has a code, with that.
pub fn line(error: &anyhow::Error) -> String {
    match code(error) {
        Some(code) => format!("{}more about it: pelton explain {code}\n", short(error)),
        None => short(error),
    }
}

/// The same without how to read more about it, where that has been said.
pub fn short(error: &anyhow::Error) -> String {
    match code(error) {
        Some(code) => format!("{ERROR}error[{code}]{ERROR:#}: {error:#}\n"),
        None => format!("{ERROR}error{ERROR:#}: {error:#}\n"),
    }
}

/// What kind of error it is, for `pelton explain`.
fn code(error: &anyhow::Error) -> Option<&'static str> {
    let coded = error.downcast_ref::<Coded>().map(|error| error.code);
    coded
        .or_else(|| error.downcast_ref::<SetupError>().map(|error| error.code))
        .or_else(|| error.downcast_ref::<NewError>().map(NewError::code))
        .or_else(|| error.downcast_ref::<LoadError>().map(LoadError::code))
        .or_else(|| error.downcast_ref::<EngineError>().map(|_| "sandbox"))
        .or_else(|| error.downcast_ref::<ComponentizeError>().map(|_| "componentize"))
}

/// Writes `text` to standard error. Where that is closed nobody is left to tell.
pub fn note(text: &str) {
    let mut stderr = anstream::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Says on standard error which component is compiled.
pub fn compilations() -> CompilationListener {
    CompilationListener::new(|compilation| note(&format!("{compilation}\n")))
}

/// Whether `error` says that the reader of our output is gone, as with `| head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
