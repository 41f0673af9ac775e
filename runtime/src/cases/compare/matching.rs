//! Finds an output for each line of `expect`, so that as many as possible have one.

use crate::cases::{case::Wanted, happened::Put};

/// Above this many pairs, outputs are taken as they come, and it is not tried to
/// find a better choice.
const MOST_PAIRS: usize = 1_000_000;

/// Which outputs fit which line; each pair is looked at once at most.
pub(super) struct Fits<'a> {
    wanted: &'a [&'a Wanted],
    came: &'a [Put],
    fit: &'a dyn Fn(&Wanted, &Put) -> bool,
    known: Vec<Option<bool>>,
}

impl<'a> Fits<'a> {
    pub(super) fn new(
        wanted: &'a [&'a Wanted],
        came: &'a [Put],
        fit: &'a dyn Fn(&Wanted, &Put) -> bool,
    ) -> Fits<'a> {
        let pairs = wanted.len().saturating_mul(came.len());
        let known = if pairs <= MOST_PAIRS { vec![None; pairs] } else { Vec::new() };
        Fits { wanted, came, fit, known }
    }

    fn is_small(&self) -> bool {
        !self.known.is_empty()
    }

    fn fit(&mut self, wanted: usize, came: usize) -> bool {
        let place = wanted * self.came.len() + came;
        if let Some(Some(known)) = self.known.get(place) {
            return *known;
        }
        let pair = self.wanted.get(wanted).zip(self.came.get(came));
        let fits = pair.is_some_and(|(wanted, put)| (self.fit)(wanted, put));
        if let Some(known) = self.known.get_mut(place) {
            *known = Some(fits);
        }
        fits
    }
}

/// For each line the output that is taken for it.
pub(super) fn match_all(fits: &mut Fits<'_>, in_order: bool) -> Vec<Option<usize>> {
    let matched = if in_order { walk(fits) } else { pick(fits) };
    match matched.iter().all(Option::is_some) || !fits.is_small() {
        true => matched,
        false if in_order => longest(fits),
        false => rearranged(fits, matched),
    }
}

/// In order: the first that fits after the one before. If all lines can have an
/// output, this finds it.
fn walk(fits: &mut Fits<'_>) -> Vec<Option<usize>> {
    let (mut next, n_came) = (0, fits.came.len());
    let mut found = Vec::with_capacity(fits.wanted.len());
    for wanted in 0..fits.wanted.len() {
        let at = (next..n_came).find(|came| fits.fit(wanted, *came));
        next = at.map_or(next, |at| at + 1);
        found.push(at);
    }
    found
}

/// In any order: the first that fits and is not taken, beginning after the one before.
fn pick(fits: &mut Fits<'_>) -> Vec<Option<usize>> {
    let n_came = fits.came.len();
    let (mut taken, mut next) = (vec![false; n_came], 0);
    let mut found = Vec::with_capacity(fits.wanted.len());
    for wanted in 0..fits.wanted.len() {
        let mut places = (next..n_came).chain(0..next.min(n_came));
        let at = places
            .find(|came| taken.get(*came).is_some_and(|taken| !taken) && fits.fit(wanted, *came));
        if let Some(at) = at {
            taken.iter_mut().skip(at).take(1).for_each(|taken| *taken = true);
            next = at + 1;
        }
        found.push(at);
    }
    found
}

/// In order: as many pairs as possible (the longest common subsequence).
fn longest(fits: &mut Fits<'_>) -> Vec<Option<usize>> {
    let (n_wanted, n_came) = (fits.wanted.len(), fits.came.len());
    let width = n_came + 1;
    let mut best = vec![0_usize; (n_wanted + 1) * width];
    let get = |best: &[usize], wanted: usize, came: usize| {
        best.get(wanted * width + came).copied().unwrap_or_default()
    };
    for wanted in (0..n_wanted).rev() {
        for came in (0..n_came).rev() {
            let value = match fits.fit(wanted, came) {
                true => get(&best, wanted + 1, came + 1) + 1,
                false => get(&best, wanted + 1, came).max(get(&best, wanted, came + 1)),
            };
            best.iter_mut().skip(wanted * width + came).take(1).for_each(|it| *it = value);
        }
    }
    let mut found = vec![None; n_wanted];
    let (mut wanted, mut came) = (0, 0);
    while wanted < n_wanted && came < n_came {
        if fits.fit(wanted, came) {
            found.iter_mut().skip(wanted).take(1).for_each(|it| *it = Some(came));
            wanted += 1;
            came += 1;
        } else if get(&best, wanted + 1, came) >= get(&best, wanted, came + 1) {
            wanted += 1;
        } else {
            came += 1;
        }
    }
    found
}

/// In any order: lines give up what they have for others, as long as they find
/// something else (augmenting paths).
fn rearranged(fits: &mut Fits<'_>, matched: Vec<Option<usize>>) -> Vec<Option<usize>> {
    let mut owners = vec![None; fits.came.len()];
    for (wanted, came) in matched.iter().enumerate() {
        if let Some(owner) = came.and_then(|came| owners.get_mut(came)) {
            *owner = Some(wanted);
        }
    }
    for (wanted, _) in matched.iter().enumerate().filter(|(_, came)| came.is_none()) {
        let mut seen = vec![false; fits.came.len()];
        find(fits, wanted, &mut owners, &mut seen);
    }
    let mut found = vec![None; matched.len()];
    for (came, owner) in owners.into_iter().enumerate() {
        if let Some(place) = owner.and_then(|owner: usize| found.get_mut(owner)) {
            *place = Some(came);
        }
    }
    found
}

/// Finds an output for `wanted`, perhaps one that its owner can do without. Its
/// steps are on a heap of its own: thousands of lines must not use up the stack.
fn find(
    fits: &mut Fits<'_>,
    wanted: usize,
    owners: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    // Who looks, and from which output on.
    let mut path = vec![(wanted, 0_usize, None::<usize>)];
    while let Some((looking, from, _)) = path.last().copied() {
        let next = (from..owners.len())
            .find(|came| seen.get(*came).is_some_and(|seen| !seen) && fits.fit(looking, *came));
        let Some(came) = next else {
            path.pop();
            continue;
        };
        seen.iter_mut().skip(came).take(1).for_each(|seen| *seen = true);
        if let Some(last) = path.last_mut() {
            *last = (looking, came + 1, Some(came));
        }
        match owners.get(came).copied().flatten() {
            Some(owner) => path.push((owner, 0, None)),
            None => {
                for (who, _, takes) in path {
                    if let Some(owner) = takes.and_then(|came| owners.get_mut(came)) {
                        *owner = Some(who);
                    }
                }
                return true;
            }
        }
    }
    false
}
