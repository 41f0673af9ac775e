//! Trouble that a test asks for: once, at a moment, or by chance.
//!
//! Chance comes from one seeded generator, drawn in the order in which the model
//! is used, so the same seed gives the same run. What trouble does to streams and
//! connections is in `server` and `wire`.

use std::{collections::VecDeque, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;

/// Trouble with one publish or settlement. Each happens once, in the order asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next publish is not stored and is said to be unavailable.
    PublishUnavailable,
    /// The next publish is not stored, and nobody answers.
    PublishLost,
    /// The next publish is stored, and the answer is lost.
    PublishUnanswered,
    /// The next publish is stored so much later, most likely after its time-out.
    PublishLate(Duration),
    /// The next settlement does not reach the server, and this is known.
    SettleLost,
    /// The next settlement does not reach the server, and a plain one looks as
    /// if it had.
    SettleVanished,
    /// The next settlement reaches the server so much later.
    SettleLate(Duration),
}

/// What goes wrong by chance. Chances are from 0 (never) to 1 (always).
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// A publish is not stored and is said to be unavailable.
    pub publish_unavailable: f64,
    /// A publish is not stored, and nobody answers.
    pub publish_lost: f64,
    /// A publish is stored, and the answer is lost.
    pub publish_unanswered: f64,
    /// A publish is stored late.
    pub publish_late: f64,
    /// A settlement does not reach the server, and this is known.
    pub settle_lost: f64,
    /// A settlement or a sign of progress does not reach the server, and this
    /// is not known.
    pub settle_vanished: f64,
    /// A settlement or a sign of progress reaches the server late.
    pub settle_late: f64,
    /// How late, at most.
    pub late: Duration,
    /// How long anything is on its way, at most, in one direction.
    pub latency: Duration,
    /// A connection is cut: what is on its way over it is lost.
    pub cuts: Option<Spells>,
    /// The server is killed and comes back.
    pub restarts: Option<Spells>,
    /// A stream does not answer (its cluster has no leader).
    pub outages: Option<Spells>,
}

/// Something that comes now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spells {
    /// From one to the next, on average.
    pub every: Duration,
    /// How long one lasts, at most.
    pub lasts: Duration,
}

impl Trouble {
    /// Nothing goes wrong, and nothing takes time.
    pub const NONE: Trouble = Trouble {
        publish_unavailable: 0.0,
        publish_lost: 0.0,
        publish_unanswered: 0.0,
        publish_late: 0.0,
        settle_lost: 0.0,
        settle_vanished: 0.0,
        settle_late: 0.0,
        late: Duration::ZERO,
        latency: Duration::ZERO,
        cuts: None,
        restarts: None,
        outages: None,
    };

    /// A mix that `seed` chooses: some runs have much of one kind and none of
    /// another, so that no kind hides behind the others.
    pub fn drawn(seed: u64) -> Trouble {
        let mut dice = Dice::new(seed);
        let mut chance =
            || if dice.happens(0.5) { dice.random.random_range(0.0..0.15) } else { 0.0 };
        Trouble {
            publish_unavailable: chance(),
            publish_lost: chance(),
            publish_unanswered: chance(),
            publish_late: chance(),
            settle_lost: chance(),
            settle_vanished: chance(),
            settle_late: chance(),
            late: dice.up_to(Duration::from_secs(60)),
            latency: if dice.happens(0.7) { dice.up_to(LATENCY_MAX) } else { Duration::ZERO },
            cuts: dice.spells(),
            restarts: dice.spells(),
            outages: dice.spells(),
        }
    }
}

const LATENCY_MAX: Duration = Duration::from_millis(20);
const SPELL_MAX: Duration = Duration::from_secs(20);

/// A seeded generator, and what one asks of it here.
#[derive(Debug)]
pub(super) struct Dice {
    random: SmallRng,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { random: SmallRng::seed_from_u64(seed) }
    }

    pub(super) fn happens(&mut self, chance: f64) -> bool {
        // No draw for what never happens: a run without trouble needs no luck.
        chance > 0.0 && self.random.random_bool(chance.min(1.0))
    }

    /// From 0 to `most`, both included.
    pub(super) fn number(&mut self, most: usize) -> usize {
        self.random.random_range(0..=most)
    }

    /// From nothing to `most`, in whole milliseconds, which is as fine as paused
    /// time goes.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        if most == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.random.random_range(0..=most))
    }

    fn spells(&mut self) -> Option<Spells> {
        self.happens(0.5).then(|| Spells {
            every: Duration::from_secs(5) + self.up_to(Duration::from_secs(120)),
            lasts: self.up_to(SPELL_MAX),
        })
    }
}

/// What comes now and then, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spell {
    Cut(Duration),
    Restart(Duration),
    Outage(Duration),
}

/// All trouble of one server, asked for and by chance.
#[derive(Debug)]
pub(super) struct Troubles {
    pub(super) dice: Dice,
    pub(super) profile: Trouble,
    asked: VecDeque<Fault>,
    /// When each kind of spell comes next: cut, restart, outage.
    next: [Option<Instant>; 3],
}

impl Troubles {
    pub(super) fn none() -> Troubles {
        Troubles {
            dice: Dice::new(0),
            profile: Trouble::NONE,
            asked: VecDeque::new(),
            next: [None; 3],
        }
    }

    pub(super) fn begin(&mut self, seed: u64, profile: Trouble, now: Instant) {
        self.dice = Dice::new(seed);
        self.profile = profile;
        self.next = [None; 3];
        for kind in 0..self.next.len() {
            self.plan(kind, now);
        }
    }

    pub(super) fn end(&mut self) {
        self.profile = Trouble::NONE;
        self.asked.clear();
        self.next = [None; 3];
    }

    pub(super) fn ask(&mut self, fault: Fault) {
        self.asked.push_back(fault);
    }

    /// When the next spell comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next.iter().flatten().min().copied()
    }

    /// A spell that has come, and when.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Spell)> {
        let come = self.next.iter().enumerate();
        let come = come.filter_map(|(kind, at)| at.filter(|at| *at <= now).map(|at| (at, kind)));
        let (at, kind) = come.min()?;
        let lasts = self.spells(kind).map_or(Duration::ZERO, |spells| spells.lasts);
        let lasts = self.dice.up_to(lasts);
        self.plan(kind, at);
        Some((at, [Spell::Cut, Spell::Restart, Spell::Outage].get(kind)?(lasts)))
    }

    fn plan(&mut self, kind: usize, after: Instant) {
        let every = self.spells(kind).map(|spells| spells.every);
        // Twice the mean at most, and never at once: time has to go on.
        let at = every.map(|every| after + Duration::from_millis(1) + self.dice.up_to(every * 2));
        if let Some(next) = self.next.get_mut(kind) {
            *next = at;
        }
    }

    fn spells(&self, kind: usize) -> Option<Spells> {
        let Trouble { cuts, restarts, outages, .. } = self.profile;
        [cuts, restarts, outages].get(kind).copied().flatten()
    }

    /// What happens to the publish that is made now.
    pub(super) fn of_publish(&mut self) -> Option<Fault> {
        let is_mine = |fault: &Fault| {
            use Fault::{PublishLate, PublishLost, PublishUnanswered, PublishUnavailable};
            matches!(fault, PublishUnavailable | PublishLost | PublishUnanswered | PublishLate(_))
        };
        if let Some(fault) = self.asked.pop_front_if(|fault| is_mine(fault)) {
            return Some(fault);
        }
        let Trouble { publish_unavailable, publish_lost, publish_unanswered, .. } = self.profile;
        if self.dice.happens(publish_unavailable) {
            return Some(Fault::PublishUnavailable);
        }
        if self.dice.happens(publish_lost) {
            return Some(Fault::PublishLost);
        }
        if self.dice.happens(publish_unanswered) {
            return Some(Fault::PublishUnanswered);
        }
        let is_late = self.dice.happens(self.profile.publish_late);
        is_late.then(|| Fault::PublishLate(self.dice.up_to(self.profile.late)))
    }

    /// What happens to the settlement that is made now.
    pub(super) fn of_settlement(&mut self) -> Option<Fault> {
        let is_mine = |fault: &Fault| {
            use Fault::{SettleLate, SettleLost, SettleVanished};
            matches!(fault, SettleLost | SettleVanished | SettleLate(_))
        };
        if let Some(fault) = self.asked.pop_front_if(|fault| is_mine(fault)) {
            return Some(fault);
        }
        let is_lost = self.dice.happens(self.profile.settle_lost);
        if is_lost { Some(Fault::SettleLost) } else { self.of_progress() }
    }

    /// What happens to the sign of progress that is given now.
    pub(super) fn of_progress(&mut self) -> Option<Fault> {
        if self.dice.happens(self.profile.settle_vanished) {
            return Some(Fault::SettleVanished);
        }
        let is_late = self.dice.happens(self.profile.settle_late);
        is_late.then(|| Fault::SettleLate(self.dice.up_to(self.profile.late)))
    }

    /// How long what is sent now is on its way.
    pub(super) fn latency(&mut self) -> Duration {
        self.dice.up_to(self.profile.latency)
    }
}
