//! The `pelton` binary: hands the arguments to [`cli`] and its answer to the
//! shell. Nothing else.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
