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
