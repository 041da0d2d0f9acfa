//! What a run of a suite came to.

use core::fmt::{self, Display};
use std::collections::BTreeMap;

use super::check::Check;

/// The first thing that a store did wrong in one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The check.
    pub check: Check,
    /// The seed of the schedule. The same seed shows the failure again.
    pub seed: u64,
    /// The step of the schedule, counted from 0, or the operation at which a fault was put.
    pub step: u64,
    /// What was wrong.
    pub what: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seed {}, step {}: {}", self.check, self.seed, self.step, self.what)
    }
}

impl core::error::Error for Failure {}

/// How one check went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How often it was looked at.
    pub looks: u64,
    /// Why it was not looked at, or not at all of it.
    pub skipped: Option<String>,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// How every check went, and what the schedules exercised.
///
/// Displayed, it is a table of the checks. [`into_result`](Self::into_result) is for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a report may hold failures"]
pub struct Report {
    outcomes: BTreeMap<Check, Outcome>,
    counts: BTreeMap<&'static str, u64>,
}

impl Report {
    /// How a check went.
    #[must_use]
    pub fn outcome(&self, check: Check) -> Outcome {
        self.outcomes.get(&check).cloned().unwrap_or_default()
    }

    /// Every check that was looked at, skipped or failed, by point.
    pub fn outcomes(&self) -> impl Iterator<Item = (Check, &Outcome)> {
        self.outcomes.iter().map(|(check, outcome)| (*check, outcome))
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.outcomes.values().filter_map(|outcome| outcome.failure.as_ref())
    }

    /// How often something happened in the schedules, such as `"commits"`: silence must not mean that nothing did.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// All counts by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }

    /// This report, if nothing failed.
    ///
    /// # Errors
    ///
    /// The first failure, by point.
    pub fn into_result(self) -> Result<Self, Failure> {
        let failure = self.failures().next().cloned();
        failure.map_or(Ok(self), Err)
    }

    /// Takes in what another run came to. The failure that was there first stays.
    pub fn add(&mut self, other: &Self) {
        for (check, more) in &other.outcomes {
            let outcome = self.outcomes.entry(*check).or_default();
            outcome.looks = outcome.looks.saturating_add(more.looks);
            if outcome.skipped.is_none() {
                outcome.skipped.clone_from(&more.skipped);
            }
            if outcome.failure.is_none() {
                outcome.failure.clone_from(&more.failure);
            }
        }
        for (what, count) in &other.counts {
            self.tally(what, *count);
        }
    }

    pub(super) fn tally(&mut self, what: &'static str, more: u64) {
        let count = self.counts.entry(what).or_default();
        *count = count.saturating_add(more);
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        self.tally(what, 1);
    }

    pub(super) fn skip(&mut self, check: Check, why: &str) {
        self.outcomes.entry(check).or_default().skipped = Some(why.to_owned());
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.outcomes.entry(failure.check).or_default().failure.get_or_insert(failure);
    }

    /// Looks at one property.
    pub(super) fn look(&mut self, check: Check, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
        let outcome = self.outcomes.entry(check).or_default();
        outcome.looks = outcome.looks.saturating_add(1);
        if holds { Ok(()) } else { Err(check.broken(what())) }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, outcome) in self.outcomes() {
            let how = match (&outcome.failure, &outcome.skipped) {
                (Some(failure), _) => format!("FAILED {failure}"),
                (None, Some(why)) if outcome.looks == 0 => format!("skipped: {why}"),
                (None, _) => format!("ok, looked at {} times", outcome.looks),
            };
            writeln!(f, "{:>2} {:<34} {how}", check.point(), check.name())?;
        }
        Ok(())
    }
}

/// A property that does not hold, without the place in the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) check: Check,
    pub(super) what: String,
}

impl Broken {
    pub(super) fn at(self, seed: u64, step: u64) -> Failure {
        Failure { check: self.check, seed, step, what: self.what }
    }
}

impl Check {
    /// That this does not hold.
    pub(super) fn broken(self, what: impl Display) -> Broken {
        Broken { check: self, what: what.to_string() }
    }
}

/// Says which check a failed call belongs to.
pub(super) trait Blame<T> {
    fn blame(self, check: Check) -> Result<T, Broken>;
}

impl<T, E: Display> Blame<T> for Result<T, E> {
    fn blame(self, check: Check) -> Result<T, Broken> {
        self.map_err(|error| check.broken(error))
    }
}
