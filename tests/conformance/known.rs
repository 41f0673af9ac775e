//! Where servers differ from each other, and so one of them from the model.

/// A server that does otherwise, on purpose or by a fault that was mended later.
pub struct Known {
    /// The script that shows it.
    pub script: &'static str,
    /// Servers before this version do so.
    pub before: (u32, u32),
    /// What they do.
    pub what: &'static str,
}

/// All that is known.
pub const KNOWN: [Known; 1] = [Known {
    script: "a resumed consumer goes on at once",
    before: (3, 0),
    what: "a resume is noticed with the next message or heartbeat only; a pause that ends by itself is noticed at once",
}];

/// What is known of `script` on a server of `version`.
pub fn of(script: &str, version: (u32, u32)) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.script == script && version < known.before)
}
