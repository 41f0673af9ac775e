//! The command line: one file a verb. Parses, calls the library, prints.
//!
//! The only module that knows arguments, signals and exit codes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod build;
mod capture;
mod check;
mod completions;
mod componentize;
mod dev;
mod dlq;
mod explain;
mod inspect;
mod logging;
mod new;
mod pipe;
mod reload;
mod reloads;
mod report;
mod run;
mod schema;
mod signals;
mod test;
mod watch;

/// How a verb ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// It did what it was asked to do.
    Ok,
    /// It failed at run time.
    Failed,
    /// The manifest or the arguments are wrong: nothing was started.
    Usage,
    /// It did its work, and not all of it was good: some events were not handled.
    Incomplete,
}

/// Event processing for NATS with sandboxed WebAssembly handlers.
#[derive(Debug, Parser)]
#[command(
    name = "pelton",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 it worked, 1 it failed, 2 the arguments or the manifest are wrong.\n\n\
        Examples:\n  \
        pelton new hello --lang go   make a project to begin with\n  \
        pelton build                 make the components of ./pelton.toml of their sources\n  \
        pelton dev                   build, run, and follow every save\n  \
        pelton check                 find what is wrong with ./pelton.toml\n  \
        pelton run                   run it, against nats://127.0.0.1:4222 unless it says otherwise\n  \
        pelton pipe < events.jsonl   run it on these events, without a server\n  \
        pelton reload                have the running host take a changed manifest\n  \
        pelton inspect price.wasm    what a component exports and needs\n  \
        pelton dlq list              what could not be handled\n  \
        pelton explain timeout       what the code of an error means, and what to do"
)]
struct Cli {
    #[command(flatten)]
    logging: logging::Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Dev(dev::Arguments),
    Reload(reload::Arguments),
    New(new::Arguments),
    Build(build::Arguments),
    Check(check::Arguments),
    Pipe(pipe::Arguments),
    Test(test::Arguments),
    Capture(capture::Arguments),
    Inspect(inspect::Arguments),
    Componentize(componentize::Arguments),
    Dlq(dlq::Arguments),
    Explain(explain::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verb {
        // What `dlq` prints beside its results is its own words.
        Verb::Dlq(_) | Verb::Capture(_) => "warn",
        // Failures are what is tested; they are in the results.
        Verb::Test(_) => "error",
        // Every run is shown; what the host does beside that, when it matters.
        Verb::Dev(_) => "warn,pelton::guest=info,pelton::cli=info,pelton::plugin::compiling=info",
        _ => "info",
    };
    if let Err(problem) = logging::start(&cli.logging, level) {
        report::error(&problem);
        return Exit::Usage.into();
    }
    let outcome = match cli.verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Dev(arguments) => dev::run(arguments),
        Verb::Reload(arguments) => reload::run(arguments),
        Verb::New(arguments) => new::run(arguments),
        Verb::Build(arguments) => build::run(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::Pipe(arguments) => pipe::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Capture(arguments) => capture::run(arguments),
        Verb::Inspect(arguments) => inspect::run(arguments),
        Verb::Componentize(arguments) => componentize::run(arguments),
        Verb::Dlq(arguments) => dlq::run(arguments),
        Verb::Explain(arguments) => explain::run(arguments),
        Verb::Schema(arguments) => schema::run(arguments),
        Verb::Completions(arguments) => completions::run(arguments),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if report::is_broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            report::error(&error);
            Exit::Failed.into()
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Ok => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::Usage => ExitCode::from(2),
            Exit::Incomplete => ExitCode::from(3),
        }
    }
}
