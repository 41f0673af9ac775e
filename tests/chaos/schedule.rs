//! When whom to kill: fixed before the first event, spread over the whole run.
//!
//! Nothing is killed here.

use rand::{RngExt as _, rngs::StdRng};

use super::Plan;

/// A kill that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kill {
    /// The number of events that have ended by then.
    pub at: u64,
    pub victim: Victim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Host,
    Server,
}

/// All kills of `plan`, the first one first.
///
/// The last tenth of the events is for what the kills leave behind.
pub fn of(plan: Plan, random: &mut StdRng) -> Vec<Kill> {
    let until = plan.events * 9 / 10;
    let of = [(plan.host_kills, Victim::Host), (plan.server_kills, Victim::Server)];
    let mut kills = Vec::new();
    for (n, victim) in of {
        kills.extend(spread(n, until, random).map(|at| Kill { at, victim }));
    }
    kills.sort_unstable();
    kills
}

/// One number at random in each of `kills` equal shares of what is below `until`:
/// unlike numbers at random in the whole, they do not bunch.
fn spread(kills: u64, until: u64, random: &mut StdRng) -> impl Iterator<Item = u64> {
    (0..kills).map(move |kill| {
        let place = (kill as f64 + random.random_range(0.0..1.0)) / kills as f64;
        (place * until as f64) as u64
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const PLAN: Plan = Plan { events: 1_000_000, host_kills: 1_000, server_kills: 50, seed: 7 };

    #[test]
    fn every_share_of_the_events_has_its_kill() {
        let kills = of(PLAN, &mut StdRng::seed_from_u64(PLAN.seed));
        assert!(kills.is_sorted_by_key(|kill| kill.at));
        for (victim, n) in [(Victim::Host, 1_000), (Victim::Server, 50)] {
            let kills = kills.iter().filter(|kill| kill.victim == victim);
            let shares = kills.map(|kill| kill.at / (900_000 / n)).collect::<Vec<_>>();
            assert_eq!(shares, (0..n).collect::<Vec<_>>(), "{victim:?}");
        }
    }

    #[test]
    fn a_seed_is_the_same_schedule_each_time() {
        let of_seed = |seed| of(PLAN, &mut StdRng::seed_from_u64(seed));
        assert_eq!(of_seed(7), of_seed(7));
        assert_ne!(of_seed(7), of_seed(8));
    }

    #[test]
    fn more_kills_than_events_are_all_due() {
        let plan = Plan { events: 3, host_kills: 10, server_kills: 0, seed: 7 };
        let kills = of(plan, &mut StdRng::seed_from_u64(7));
        assert_eq!(kills.len(), 10);
        assert!(kills.iter().all(|kill| kill.at < 3), "{kills:?}");
    }
}
