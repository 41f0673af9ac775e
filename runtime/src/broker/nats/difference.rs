//! The differences between what was asked of the server and what it has, field
//! by field.
//!
//! Servers ignore silently what they do not know, so this is run on what they
//! echo as well. Nothing here decides what follows from a difference.

use std::{collections::BTreeSet, fmt, time::Duration};

use async_nats::jetstream::{consumer, stream};

use super::consumer::OWNER;
use crate::broker::SetupError;

/// One field that is not as wanted. Both values are written as in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field, by its name in the manifest where it has one.
    pub field: &'static str,
    /// What was asked for.
    pub wanted: String,
    /// What the server has.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wanted {}, found {}", self.field, self.wanted, self.found)
    }
}

/// All differences as one error about `what`, with the remedy last.
pub(super) fn refuse(
    code: &'static str,
    what: String,
    differences: &[Difference],
    remedy: &str,
) -> SetupError {
    let lines = differences.iter().map(|difference| format!("\n  {difference}"));
    let lines = lines.collect::<String>();
    SetupError { code, what, problem: format!("it differs from the manifest{lines}\n{remedy}") }
}

/// Which fields of the stream `found` are not as in `wanted`. Fields that the
/// manifest cannot express are left to their owner.
pub(super) fn of_streams(wanted: &stream::Config, found: &stream::Config) -> Vec<Difference> {
    let mut differences = Differences::default();
    differences.compare("subjects", &set(&wanted.subjects), &set(&found.subjects), list);
    differences.compare("retention", &wanted.retention, &found.retention, debug);
    differences.compare("storage", &wanted.storage, &found.storage, debug);
    differences.compare("replicas", &wanted.num_replicas, &found.num_replicas, debug);
    differences.compare("max-age", &wanted.max_age, &found.max_age, limit_of_time);
    differences.compare("max-bytes", &limit(wanted.max_bytes), &limit(found.max_bytes), number);
    let (left, right) = (limit(wanted.max_messages), limit(found.max_messages));
    differences.compare("max-messages", &left, &right, number);
    let (left, right) = (wanted.max_message_size.into(), found.max_message_size.into());
    differences.compare("max-message-size", &limit(left), &limit(right), number);
    differences.compare("discard", &wanted.discard, &found.discard, debug);
    let (left, right) = (&wanted.duplicate_window, &found.duplicate_window);
    differences.compare("duplicate-window", left, right, time);
    differences.0
}

/// Which fields of the consumer `found` are not as in `wanted`. Where it began
/// is not compared: an existing consumer goes on where it is.
pub(super) fn of_consumers(wanted: &consumer::Config, found: &consumer::Config) -> Vec<Difference> {
    let mut differences = Differences::default();
    let owner = |config: &consumer::Config| {
        config.metadata.get(OWNER).map_or("nobody of pelton", String::as_str).to_owned()
    };
    differences.compare("owner", &owner(wanted), &owner(found), debug);
    differences.compare("subscribe", &filters(wanted), &filters(found), list);
    differences.compare("ack-wait", &wanted.ack_wait, &found.ack_wait, time);
    let (left, right) = (wanted.max_ack_pending, found.max_ack_pending);
    differences.compare("max-ack-pending", &left, &right, debug);
    differences.compare("max-deliver", &wanted.max_deliver, &found.max_deliver, debug);
    differences.compare("ack-policy", &wanted.ack_policy, &found.ack_policy, debug);
    differences.compare("backoff", &wanted.backoff, &found.backoff, debug);
    let (left, right) = (&wanted.deliver_subject, &found.deliver_subject);
    differences.compare("deliver-subject", left, right, debug);
    differences.compare("headers-only", &wanted.headers_only, &found.headers_only, debug);
    differences.compare("replay-policy", &wanted.replay_policy, &found.replay_policy, debug);
    differences.compare("priority-policy", &wanted.priority_policy, &found.priority_policy, debug);
    let (left, right) = (&wanted.inactive_threshold, &found.inactive_threshold);
    differences.compare("inactive-threshold", left, right, limit_of_time);
    differences.compare("max-batch", &limit(wanted.max_batch), &limit(found.max_batch), number);
    let (left, right) = (&wanted.max_expires, &found.max_expires);
    differences.compare("max-expires", left, right, limit_of_time);
    differences.0
}

/// Whether an existing consumer can take the new value without losing its place.
pub(super) fn is_safe_to_change(difference: &Difference) -> bool {
    matches!(difference.field, "subscribe" | "ack-wait" | "max-ack-pending" | "max-deliver")
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare<T: PartialEq>(
        &mut self,
        field: &'static str,
        wanted: &T,
        found: &T,
        show: impl Fn(&T) -> String,
    ) {
        if wanted != found {
            self.0.push(Difference { field, wanted: show(wanted), found: show(found) });
        }
    }
}

fn set(subjects: &[String]) -> BTreeSet<String> {
    subjects.iter().cloned().collect()
}

fn filters(config: &consumer::Config) -> BTreeSet<String> {
    let one = Some(&config.filter_subject).filter(|filter| !filter.is_empty());
    config.filter_subjects.iter().chain(one).cloned().collect()
}

/// The server writes "no limit" as 0 or as any negative number.
fn limit(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value > 0)
}

fn number(value: &Option<i64>) -> String {
    value.map_or_else(|| "no limit".to_owned(), |value| value.to_string())
}

fn limit_of_time(value: &Duration) -> String {
    if value.is_zero() { "no limit".to_owned() } else { time(value) }
}

fn time(value: &Duration) -> String {
    humantime::format_duration(*value).to_string()
}

fn list(subjects: &BTreeSet<String>) -> String {
    format!("{subjects:?}").replace(['{', '}'], "").replace("\", \"", "\" \"")
}

fn debug<T: fmt::Debug>(value: &T) -> String {
    format!("{value:?}").to_lowercase()
}

#[cfg(test)]
mod tests;
