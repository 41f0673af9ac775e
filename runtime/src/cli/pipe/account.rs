//! What became of the input: for the summary, and for the exit code.

use std::{fmt::Write as _, time::Duration};

use super::{
    feed::Feed,
    writing::{Count, Tally},
};

/// Everything that is known at the end.
#[derive(Debug, Default)]
pub struct Account {
    /// Events that were handed to plugins.
    events: u64,
    bad: u64,
    /// Events that no plugin subscribes to.
    unheard: u64,
    /// Events that plugins did not get, by plugin.
    dropped: Vec<(String, u64)>,
    /// What the plugins did.
    pub tally: Tally,
    /// From the first line to the last.
    pub took: Duration,
}

impl Account {
    /// What is known before the plugins have told all.
    pub fn of(feed: Feed, dropped: Vec<(String, u64)>) -> Account {
        let Feed { events, bad, unheard, .. } = feed;
        Account { events, bad, unheard, dropped, ..Account::default() }
    }

    /// Whether every line was an event, and every event was handled: by somebody.
    pub fn is_whole(&self) -> bool {
        self.bad == 0 && self.unheard == 0 && self.dropped.is_empty() && self.dead() == 0
    }

    fn dead(&self) -> u64 {
        self.tally.values().flat_map(|count| count.dead.values()).sum()
    }

    /// A line for all, and one for each plugin that did something.
    pub fn summary(&self) -> String {
        let took = Duration::from_millis(u64::try_from(self.took.as_millis()).unwrap_or(0));
        let outputs = self.tally.values().map(|count| count.outputs).sum();
        let mut parts = vec![counted(outputs, "output")];
        let more = [(self.dead(), "dead letter"), (self.bad, "bad line")];
        parts.extend(more.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| counted(n, what)));
        if self.unheard > 0 {
            parts.push(format!("{} that no plugin subscribes to", self.unheard));
        }
        let mut text = format!(
            "{} handed to plugins in {}: {}\n",
            counted(self.events, "event"),
            humantime::format_duration(took),
            parts.join(", ")
        );
        for (plugin, count) in &self.tally {
            // Writing to a text cannot fail.
            writeln!(text, "  {plugin}: {}", line(count)).unwrap_or_default();
        }
        for (plugin, n) in &self.dropped {
            let events = counted(*n, "event");
            let remedy = "its queue was full: raise `queue`, or give it a `stream`";
            writeln!(text, "  {plugin}: {events} dropped, {remedy}").unwrap_or_default();
        }
        text
    }
}

fn line(count: &Count) -> String {
    let mut text = counted(count.runs, "run");
    if count.failed > 0 {
        text += &format!(" ({} failed)", count.failed);
    }
    text += &format!(", {}", counted(count.outputs, "output"));
    let dead: Vec<_> = count.dead.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    if !dead.is_empty() {
        let n = count.dead.values().sum();
        text += &format!(", {} ({})", counted(n, "dead letter"), dead.join(", "));
    }
    text
}

fn counted(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
