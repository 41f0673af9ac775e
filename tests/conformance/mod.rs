//! The model of JetStream against real servers: the same scripts, the same traces.
//!
//! Through the traits that the dispatcher uses, so the adapter is tested, too.

pub use report::{Comparison, Difference, Suite, compare};

mod known;
mod random;
mod report;
mod rules;
mod run;
mod script;
mod world;
