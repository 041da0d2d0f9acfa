//! Brokers, executors and clients under faults, in virtual time, and an oracle that believes none of the brokers.
//!
//! A [`Plan`] is drawn from a number: a small network, jobs, and faults. It is run on a [`World`](crate::world::World),
//! first with the faults, then healed and quiet. The [`Oracle`] sees what clients were answered, what executors really
//! ran, what they were answered, and what brokers announced; it checks brokers against that while the run lasts, and, at
//! its end, that all is done, everywhere alike, and that nothing moves any more.

mod log;
mod oracle;
mod plan;
mod run;
mod stories;

use std::fmt::{self, Display};

pub use self::log::{LogReplay, LogReport, Waiting};
pub use self::oracle::{Oracle, Reached};
pub use self::plan::{Act, ExecutorPlan, JobPlan, Pace, Plan, Step};
use crate::world::{Happened, WorldError};

/// A rule that is broken on purpose, to see whether a run finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for tests alone")]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Executors never hear what became of their results.
    AnswersLost,
    /// No order reaches one of the executors.
    OrdersLost,
    /// The results of one executor arrive changed.
    ResultsChanged,
}

/// A run that one number determines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scenario {
    /// What happens.
    pub plan: Plan,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

impl Scenario {
    /// The run of this seed, with nothing broken on purpose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { plan: Plan::new(seed), sabotage: Sabotage::None }
    }

    /// The run of this seed in which brokers may go back to old copies of their stores, with nothing broken on purpose.
    #[must_use]
    pub fn with_backups(seed: u64) -> Self {
        Self { plan: Plan::with_backups(seed), sabotage: Sabotage::None }
    }

    /// Runs it to the end, and counts what was reached.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&self) -> Result<Reached, Violation> {
        run::run(self, &mut |_| {})
    }

    /// The same, and shows everything that happens in the world.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn watch(&self, mut watch: impl FnMut(&Happened)) -> Result<Reached, Violation> {
        run::run(self, &mut watch)
    }

    /// The same with as few steps as still break a promise, found by leaving steps out: at most `runs` runs.
    #[must_use]
    pub fn smaller(&self, runs: usize) -> Self {
        let mut smallest = self.clone();
        let mut left = runs;
        let mut size = smallest.plan.steps.len();
        while size > 0 && left > 0 {
            let mut from = 0_usize;
            while from < smallest.plan.steps.len() && left > 0 {
                let mut smaller = smallest.clone();
                let until = from.saturating_add(size).min(smaller.plan.steps.len());
                smaller.plan.steps.drain(from..until);
                left = left.saturating_sub(1);
                if smaller.run().is_err() {
                    smallest = smaller;
                } else {
                    from = until;
                }
            }
            size /= 2;
        }
        smallest
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "for the reports of tests")]
pub struct Violation {
    /// Which promise: its number, or a few words.
    pub promise: &'static str,
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// What was found.
    pub what: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.promise, self.at_ms, self.what)
    }
}

impl std::error::Error for Violation {}

impl From<WorldError> for Violation {
    fn from(error: WorldError) -> Self {
        Self { promise: "the world goes on", at_ms: 0, what: error.to_string() }
    }
}
