//! Keeps secrets that a guest was given out of what it says: its log lines, its
//! reasons, the end of its stderr.
//!
//! Exact occurrences only: a guest that encodes a secret, or publishes it, is
//! not found out. What it was granted it can give away.

use std::{borrow::Cow, cmp::Reverse};

use crate::manifest::Secret;

/// Shorter values are left alone: they would occur by chance.
const SHORTEST: usize = 6;

/// What stands in place of a secret.
const MARK: &str = "(secret)";

/// The secrets of one plugin.
#[derive(Clone, Default)]
pub(super) struct Redaction {
    /// Those that contain others come first.
    secrets: Vec<String>,
}

impl Redaction {
    /// Values count as a whole and line by line: what is printed is cut into lines.
    pub(super) fn new<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Redaction {
        let parts = secrets.flat_map(|secret| {
            let text = secret.expose();
            text.lines().map(str::trim).chain([text])
        });
        let mut secrets: Vec<_> =
            parts.filter(|part| part.len() >= SHORTEST).map(str::to_owned).collect();
        secrets.sort_by(|left, right| {
            Reverse(left.len()).cmp(&Reverse(right.len())).then(left.cmp(right))
        });
        secrets.dedup();
        Redaction { secrets }
    }

    /// The length of the longest secret in bytes; 0: there is none.
    pub(super) fn longest(&self) -> usize {
        self.secrets.first().map_or(0, String::len)
    }

    /// The same for texts that were brought to lower case, such as names of servers.
    pub(super) fn in_lower_case(&self) -> Redaction {
        let secrets = self.secrets.iter().map(|secret| secret.to_ascii_lowercase());
        Redaction { secrets: secrets.collect() }
    }

    /// `text` without the secrets.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), MARK));
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(values: &[&str]) -> Redaction {
        let secrets: Vec<_> = values.iter().map(|value| Secret::new((*value).to_owned())).collect();
        Redaction::new(secrets.iter())
    }

    #[test]
    fn every_occurrence_is_covered_the_longest_first() {
        let redaction = redaction(&["hunter2", "hunter2-and-more"]);
        let clean = redaction.text("a hunter2 b hunter2-and-more c hunter2hunter2");
        assert_eq!(clean, "a (secret) b (secret) c (secret)(secret)");
        assert_eq!(redaction.longest(), 16);
    }

    #[test]
    fn lines_of_a_secret_are_secrets_and_short_ones_are_not() {
        let redaction = redaction(&["-----BEGIN-----\nMIIBabc\nab\n", "12345"]);
        assert_eq!(redaction.text("got MIIBabc, ab, 12345"), "got (secret), ab, 12345");
    }

    #[test]
    fn a_secret_in_lower_case_is_one() {
        let redaction = redaction(&["HunterTwo"]);
        assert_eq!(redaction.text("huntertwo"), "huntertwo");
        assert_eq!(redaction.in_lower_case().text("x.huntertwo.y"), "x.(secret).y");
    }

    #[test]
    fn without_secrets_nothing_is_copied() {
        assert!(matches!(Redaction::default().text("anything"), Cow::Borrowed("anything")));
    }
}
