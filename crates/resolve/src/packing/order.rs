//! In which order jobs are tried.

use core::cmp::Reverse;

use crate::resources::share;
use crate::{Dimension, JobFacts, Resources};

/// The three orders of the portfolio: best first, then who came first, then the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By value for the scarcest share taken.
    Density,
    /// By value for all shares taken together.
    SumDensity,
    /// By value.
    Value,
}

impl Order {
    pub(super) const ALL: [Self; 3] = [Self::Density, Self::SumDensity, Self::Value];

    /// What to sort by.
    pub(super) fn key(self, job: &JobFacts, total: &Resources) -> impl Ord + use<> {
        let shares = Dimension::ALL.map(|d| share(job.demand.get(d), total.get(d)));
        let score = match self {
            Self::Density => density(job, shares.into_iter().max().unwrap_or(0)),
            Self::SumDensity => density(job, shares.into_iter().fold(0, u64::saturating_add)),
            Self::Value => u64::from(job.value.get()),
        };
        (Reverse(score), job.submitted, job.id)
    }
}

/// `floor(value × 2^40 / max(1, share))`. A value is at most 1,000,000 < 2^20, so the product stays below 2^60.
pub(crate) fn density(job: &JobFacts, share: u64) -> u64 {
    (u64::from(job.value.get()) << 40).checked_div(share.max(1)).unwrap_or(0)
}
