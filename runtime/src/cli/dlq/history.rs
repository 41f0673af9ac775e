//! The attempts at an event, those included of which nothing is known.

use std::collections::BTreeMap;

use pelton::event::letter::{Attempt, Letter, timestamp};

use super::look::clean;

/// One line for each attempt that is known, and one for each gap.
pub fn lines(letter: &Letter) -> String {
    let failures = letter.failures();
    let last = |replay| failures.iter().filter(|f| f.replay == replay).map(|f| f.number).max();
    (0..=letter.replays)
        .map(|replay| match last(replay) {
            Some(last) => run(replay, last, &failures),
            None => format!("  {}  not known\n", name(replay)),
        })
        .collect()
}

fn run(replay: u32, last: u32, failures: &[Attempt]) -> String {
    let of_run = failures.iter().filter(|failure| failure.replay == replay);
    let known: BTreeMap<u32, &Attempt> = of_run.map(|f| (f.number, f)).collect();
    let mut text = String::new();
    let mut next = 1;
    for (number, attempt) in known {
        text += &gap(replay, next, number);
        text += &line(attempt);
        next = number.saturating_add(1);
    }
    text + &gap(replay, next, last.saturating_add(1))
}

/// The attempts from `first` to before `end`.
fn gap(replay: u32, first: u32, end: u32) -> String {
    let run = prefix(replay);
    match end.saturating_sub(first) {
        0 => String::new(),
        1 => format!("  {run}attempt {first}  not known\n"),
        _ => format!("  {run}attempts {first} to {}  not known\n", end - 1),
    }
}

fn line(attempt: &Attempt) -> String {
    let Attempt { replay, number, at_ms, class, error } = attempt;
    let (run, at) = (prefix(*replay), timestamp(*at_ms));
    format!("  {run}attempt {number}  {at}  {}  {}\n", clean(class), clean(error))
}

fn prefix(replay: u32) -> String {
    if replay == 0 { String::new() } else { format!("{}, ", name(replay)) }
}

fn name(replay: u32) -> String {
    if replay == 0 { "first run".to_owned() } else { format!("replay {replay}") }
}

#[cfg(test)]
mod tests {
    use pelton::event::letter::fact;

    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let facts = [
            ("Event-Id", "e"),
            ("Subject", "s"),
            ("Host", "h"),
            ("Plugin", "p"),
            ("Reason", "trap"),
            ("Error", "again"),
            ("Attempts", "7"),
            ("Replays", "2"),
            ("Failed-At", "2023-11-14T22:13:21.000Z"),
            ("History", "0.2 2023-11-14T22:13:20.000Z timeout slow"),
            ("History", "2.5 2023-11-14T22:13:20.000Z trap first"),
        ];
        let headers: Vec<_> = facts.iter().map(|(name, value)| fact(name, *value)).collect();
        let letter = Letter::read(&headers, bytes::Bytes::new()).unwrap();
        assert_eq!(
            lines(&letter),
            "  attempt 1  not known\n  \
               attempt 2  2023-11-14T22:13:20.000Z  timeout  slow\n  \
               replay 1  not known\n  \
               replay 2, attempts 1 to 4  not known\n  \
               replay 2, attempt 5  2023-11-14T22:13:20.000Z  trap  first\n  \
               replay 2, attempt 6  not known\n  \
               replay 2, attempt 7  2023-11-14T22:13:21.000Z  trap  again\n"
        );
    }
}
