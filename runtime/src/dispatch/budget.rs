//! A plugin's budget of quick retries: what its successes earn.
//!
//! When most runs fail, more attempts soon after make it worse. Then the
//! account is empty, and retries wait the longest delay. The form is that of
//! gRPC's retry throttling (proposal A6): full at the beginning, one less with
//! each failure, some more with each success, empty below a half.

use std::sync::atomic::{AtomicI64, Ordering};

/// A full account, in thousandths of a retry.
const FULL: i64 = 100_000;
const RETRY: i64 = 1_000;

/// One plugin's account.
#[derive(Debug)]
pub struct Budget {
    tokens: AtomicI64,
    /// What a success earns, in thousandths of a retry.
    earning: i64,
}

impl Budget {
    /// A full account; each success earns `ratio` of a retry (0 to 1).
    pub fn new(ratio: f64) -> Budget {
        let earning = (ratio.clamp(0.0, 1.0) * RETRY as f64).round() as i64;
        Budget { tokens: AtomicI64::new(FULL), earning }
    }

    /// A run was a success.
    pub fn earn(&self) {
        // The usual case: nothing to write.
        if self.earning > 0 && self.tokens.load(Ordering::Relaxed) < FULL {
            self.add(self.earning);
        }
    }

    /// Pays for a retry. Whether it may come soon.
    pub fn spend(&self) -> bool {
        self.add(-RETRY) > FULL / 2
    }

    fn add(&self, tokens: i64) -> i64 {
        let update = |now: i64| Some((now + tokens).clamp(0, FULL));
        let before = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        (before.unwrap_or(FULL) + tokens).clamp(0, FULL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_of_the_account_is_for_quick_retries() {
        let budget = Budget::new(0.2);
        let quick = (0..200).take_while(|_| budget.spend()).count();
        assert_eq!(quick, 49);
        assert!(!budget.spend());
    }

    #[test]
    fn successes_earn_quick_retries_again() {
        let budget = Budget::new(0.2);
        for _ in 0..500 {
            budget.spend();
        }
        (0..250).for_each(|_| budget.earn());
        assert!(!budget.spend(), "fifty retries' worth is not more than a half");
        (0..20).for_each(|_| budget.earn());
        assert!(budget.spend());
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..200).take_while(|_| budget.spend()).count(), 49, "no more than full");
    }
}
