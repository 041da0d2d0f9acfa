use reconvene_clock::WallTime;

use crate::PreemptionRules;

/// How many preemptions have happened lately: a bucket of [`PreemptionRules::budget`] tokens, of which one comes back
/// every [`PreemptionRules::refill_ms`]. One for the broker and one for each tenant.
///
/// ```
/// use reconvene_clock::WallTime;
/// use reconvene_resolve::{PreemptionBudget, PreemptionRules};
///
/// let (rules, minute) = (PreemptionRules::default(), |n: u64| WallTime::from_millis(n * 60_000));
/// let mut budget = PreemptionBudget::default();
/// budget.spend(10, &rules, minute(100));
/// assert_eq!(budget.available(&rules, minute(100)), 0);
/// assert_eq!(budget.available(&rules, minute(103)), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PreemptionBudget {
    /// Tokens that had not come back at `since`; more than the bucket holds after an overdraft.
    spent: u64,
    since: WallTime,
}

impl PreemptionBudget {
    /// How many preemptions are left. A clock that goes back refills nothing.
    #[must_use]
    pub fn available(&self, rules: &PreemptionRules, now: WallTime) -> u64 {
        let Self { spent, .. } = self.refilled(rules, now);
        u64::from(rules.budget).saturating_sub(spent)
    }

    /// Takes `count` tokens, also those that are not there: who asks has decided.
    pub fn spend(&mut self, count: u64, rules: &PreemptionRules, now: WallTime) {
        *self = self.refilled(rules, now);
        self.spent = self.spent.saturating_add(count);
    }

    fn refilled(&self, rules: &PreemptionRules, now: WallTime) -> Self {
        let refill_ms = rules.refill_ms.max(1);
        let back = now.saturating_since(self.since).checked_div(refill_ms).unwrap_or(0);
        if back >= self.spent {
            // A full bucket gathers nothing.
            return Self { spent: 0, since: now.max(self.since) };
        }
        let since = self.since.saturating_add(back.saturating_mul(refill_ms));
        Self { spent: self.spent.saturating_sub(back), since }
    }
}
