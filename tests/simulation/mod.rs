//! The real dispatcher on the model of JetStream, with paused time, trouble and
//! crashes by chance: the same seed, the same run.
//!
//! First everything goes wrong (*safety*: nothing appears twice or out of
//! nowhere); then all trouble ends (*liveness*: everything is handled in time,
//! and the accounts are exact).

pub use plan::Scenario;
pub use world::run;

mod handler;
mod oracle;
mod plan;
mod world;

/// What one seed came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events in the input stream.
    pub events: usize,
    /// Runs of the handler.
    pub runs: usize,
    /// Messages in the output stream.
    pub outputs: usize,
    /// Outputs that the stream had already.
    pub caught: usize,
    /// Messages in the dead letters.
    pub dead: usize,
    /// Processes that ended without a word.
    pub crashes: usize,
    /// What should not be.
    pub violations: Vec<String>,
}
