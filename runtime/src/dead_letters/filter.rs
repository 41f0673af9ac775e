//! Which dead letters are meant, by what they say.

use std::time::Duration;

use super::Entry;
use crate::subject::Pattern;

/// Every condition that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The plugin's name.
    pub plugin: Option<String>,
    /// The class of the last failure.
    pub reason: Option<String>,
    /// What the event's own subject matches.
    pub subject: Option<Pattern>,
    /// It was buried longer ago than this.
    pub older_than: Option<Duration>,
    /// It was buried not longer ago than this.
    pub newer_than: Option<Duration>,
    /// A part of the error's text, in any case.
    pub error: Option<String>,
}

impl Filter {
    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        self.plugin.is_none() && self.is_by_subject()
    }

    /// Whether the subjects of the stored letters alone decide.
    pub(super) fn is_by_subject(&self) -> bool {
        let Filter { plugin: _, reason, subject, older_than, newer_than, error } = self;
        reason.is_none()
            && subject.is_none()
            && older_than.is_none()
            && newer_than.is_none()
            && error.is_none()
    }

    /// Whether it takes `entry` at `now_ms` (milliseconds since 1970).
    pub fn takes(&self, entry: &Entry, now_ms: u64) -> bool {
        let age = Duration::from_millis(now_ms.saturating_sub(entry.stored_ms));
        let Filter { plugin, reason, subject, older_than, newer_than, error } = self;
        let is_of_age = older_than.is_none_or(|limit| age > limit)
            && newer_than.is_none_or(|limit| age <= limit);
        let Some(letter) = &entry.letter else { return is_of_age && self.asks_only_age() };
        is_of_age
            && plugin.as_ref().is_none_or(|plugin| *plugin == letter.plugin)
            && reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && subject.as_ref().is_none_or(|subject| subject.matches(&letter.event.subject))
            && error.as_ref().is_none_or(|text| contains(&letter.error, text))
    }

    fn asks_only_age(&self) -> bool {
        let Filter { plugin, reason, subject, error, .. } = self;
        plugin.is_none() && reason.is_none() && subject.is_none() && error.is_none()
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests;
