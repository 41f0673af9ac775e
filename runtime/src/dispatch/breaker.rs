//! A circuit breaker: whether runs of a plugin may begin, seen from how the
//! last ones went.
//!
//! Pure: it is told the time. What an open breaker keeps from happening is for
//! `gate` and the sources to see to.
//!
//! The words and the default form are those of resilience4j: a sliding window
//! of the last runs, a least number of them, a ratio of failures, a ratio of
//! slow ones; open for a while; then some probes decide.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::manifest;

/// What a run showed about its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// It works.
    Works,
    /// It fails in a way that may pass: the handler asked for a retry, trapped,
    /// ran out of time or memory.
    Fails,
    /// Nothing: the event was to blame, or the run was cut off.
    Nothing,
}

/// One run, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// What it showed.
    pub showing: Showing,
    /// Whether its event had failed before.
    pub again: bool,
    /// How long it took.
    pub time: Duration,
}

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Runs begin.
    Closed,
    /// None does, until then.
    Open(Instant),
    /// So many more may begin, and what they show decides.
    HalfOpen(usize),
}

/// The permission to begin a run, given back with what the run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Counts openings and closings: what a run shows of an earlier time is
    /// not asked for any more.
    turn: u64,
}

/// One plugin's breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: manifest::Breaker,
    state: State,
    turn: u64,
    /// How often it opened without closing in between.
    openings: u32,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { admitted: usize, shown: Vec<bool> },
}

/// The last runs.
#[derive(Debug, Default)]
struct Window {
    runs: VecDeque<Run>,
    failed: usize,
    slow: usize,
    /// First attempts.
    firsts: usize,
    failed_firsts: usize,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    failed: bool,
    slow: bool,
    first: bool,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: manifest::Breaker) -> Breaker {
        Breaker { settings, state: State::Closed(Window::default()), turn: 0, openings: 0 }
    }

    /// Asks to begin a run. `None`: not now, see [`Breaker::position`].
    pub fn permit(&mut self, now: Instant) -> Option<Permit> {
        match (self.position(now), &mut self.state) {
            (Position::Closed, _) => {}
            (Position::HalfOpen(left), State::HalfOpen { admitted, .. }) if left > 0 => {
                *admitted += 1;
            }
            _ => return None,
        }
        Some(Permit { turn: self.turn })
    }

    /// Tells of a run. Whether the breaker moved.
    pub fn shown(&mut self, permit: Permit, trial: Trial, now: Instant) -> bool {
        let Trial { showing, again, time } = trial;
        if permit.turn != self.turn {
            return false;
        }
        let slow = self.settings.slow.is_some_and(|limit| time >= limit);
        match &mut self.state {
            State::Closed(window) => {
                if showing == Showing::Nothing {
                    return false;
                }
                let run = Run { failed: showing == Showing::Fails, slow, first: !again };
                window.push(run, self.settings.window);
                let opens = window.speaks_against(&self.settings);
                if opens {
                    self.open(now);
                }
                opens
            }
            State::HalfOpen { admitted, .. } if showing == Showing::Nothing => {
                // Another may try in its place.
                *admitted = admitted.saturating_sub(1);
                true
            }
            State::HalfOpen { shown, .. } => {
                shown.push(showing == Showing::Fails || slow);
                self.decide(now)
            }
            State::Open { .. } => false,
        }
    }

    /// What it is doing now.
    pub fn position(&mut self, now: Instant) -> Position {
        if matches!(self.state, State::Open { until } if until <= now) {
            self.turn += 1;
            self.state = State::HalfOpen { admitted: 0, shown: Vec::new() };
        }
        match &self.state {
            State::Closed(_) => Position::Closed,
            State::Open { until } => Position::Open(*until),
            State::HalfOpen { admitted, .. } => {
                Position::HalfOpen(self.settings.probes.saturating_sub(*admitted))
            }
        }
    }

    fn open(&mut self, now: Instant) {
        let doublings = self.openings.min(31);
        let time = self.settings.open.saturating_mul(1 << doublings).min(self.settings.max_open);
        self.openings = self.openings.saturating_add(1);
        self.turn += 1;
        self.state = State::Open { until: now + time };
    }

    /// When all probes have shown something.
    fn decide(&mut self, now: Instant) -> bool {
        let State::HalfOpen { shown, .. } = &self.state else { return false };
        if shown.len() < self.settings.probes {
            return false;
        }
        let bad = shown.iter().filter(|bad| **bad).count();
        if reaches(bad, shown.len(), self.settings.failure_ratio) {
            self.open(now);
        } else {
            self.turn += 1;
            self.openings = 0;
            self.state = State::Closed(Window::default());
        }
        true
    }
}

impl Window {
    fn push(&mut self, run: Run, size: usize) {
        self.failed += usize::from(run.failed);
        self.slow += usize::from(run.slow);
        self.firsts += usize::from(run.first);
        self.failed_firsts += usize::from(run.first && run.failed);
        self.runs.push_back(run);
        while self.runs.len() > size {
            let Some(gone) = self.runs.pop_front() else { break };
            self.failed -= usize::from(gone.failed);
            self.slow -= usize::from(gone.slow);
            self.firsts -= usize::from(gone.first);
            self.failed_firsts -= usize::from(gone.first && gone.failed);
        }
    }

    /// Events that failed before must not speak for all: after a restart they come
    /// first, and most of them fail again. So new ones have to fail, too.
    fn speaks_against(&self, settings: &manifest::Breaker) -> bool {
        let n = self.runs.len();
        let new_fail = reaches(self.failed_firsts, self.firsts, settings.failure_ratio);
        n >= settings.minimum
            && (new_fail && reaches(self.failed, n, settings.failure_ratio)
                || (settings.slow.is_some() && reaches(self.slow, n, settings.slow_ratio)))
    }
}

fn reaches(part: usize, all: usize, ratio: f64) -> bool {
    part > 0 && part as f64 >= ratio * all as f64
}

#[cfg(test)]
mod tests;
