//! Tests of handlers as data: `*.test.toml` files, run on the real components
//! in the real sandbox, without a server.
//!
//! A file says which events come in and what has to come out ([`file`]); a case
//! is run on the model broker; what came out is compared with what was expected.
//! Nothing here prints, and nothing knows what a verb is.

pub mod capture;
pub mod case;
mod clock;
pub mod compare;
pub mod file;
pub mod find;
pub mod happened;
pub mod run;
pub mod suite;
mod wiring;

/// A file with every key there is, and what each means.
pub const EXAMPLE: &str = include_str!("../../docs/src/testing/example.test.toml");
