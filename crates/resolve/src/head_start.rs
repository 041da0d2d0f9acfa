//! Head starts: everything that lets a job go before others of its tier, as minutes it seems to have waited already.

use alloc::vec::Vec;

use crate::{JobFacts, Link, Term, job};

/// How many minutes of head start the whole of each factor is worth.
///
/// Waiting raises nothing and needs no timer: a job's virtual start is fixed, later jobs simply start further right. So
/// no job is ranked before one of its tier that was submitted [`longest_ms`](Self::longest_ms) or more earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the factors of this algorithm version; checked where it is used")]
pub struct HeadStartMinutes {
    /// For [`job::PRIORITY`]: priority 255.
    pub priority: u32,
    /// For [`job::DEADLINE`]: a deadline without slack.
    pub deadline: u32,
    /// For [`job::LIGHTNESS`]: declared work of nothing.
    pub lightness: u32,
    /// For [`job::SMALLNESS`]: a demand of nothing.
    pub smallness: u32,
    /// For [`job::EMERGENCY`]: the level life safety.
    pub emergency: u32,
}

impl HeadStartMinutes {
    /// The defaults of `PRIORITY_BASED`: 4 hours together.
    pub const PRIORITY_BASED: Self = Self { priority: 60, deadline: 30, lightness: 15, smallness: 15, emergency: 120 };
    /// The defaults of `EMERGENCY_FIRST`, where the emergency is the tier: 2 hours together.
    pub const EMERGENCY_FIRST: Self = Self { emergency: 0, ..Self::PRIORITY_BASED };

    /// The sum of all of them, in minutes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.terms().iter().map(|term| u64::from(term.weight())).sum()
    }

    /// The overtake bound, in milliseconds: how much later a job may have been submitted and still go first.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.sum().saturating_mul(60_000)
    }

    /// The link of the virtual start: `submit_ms + 2^32 − head start`.
    #[must_use]
    pub fn link(&self) -> Link<JobFacts> {
        Link::head_start(Self::LINK, Vec::from(self.terms()))
    }

    pub(crate) const LINK: &'static str = "virtual start";

    pub(crate) const fn terms(&self) -> [Term<JobFacts>; 5] {
        [
            Term::new(job::PRIORITY, self.priority),
            Term::new(job::DEADLINE, self.deadline),
            Term::new(job::LIGHTNESS, self.lightness),
            Term::new(job::SMALLNESS, self.smallness),
            Term::new(job::EMERGENCY, self.emergency),
        ]
    }
}
