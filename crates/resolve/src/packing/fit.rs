//! Which of the executors that a job fits it should take.

use crate::{ClusterView, Dimension, ExecutorFacts, JobFacts, Resources};

/// How to choose among executors that a job fits. Ties go to the lowest index.
///
/// Rules look at the share of each dimension that would be left free: `floor(free × 2^20 / capacity) − floor(demand ×
/// 2^20 / capacity)`, and 0 in a dimension that the executor does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the five of the portfolio")]
pub enum FitRule {
    /// The shares left are as equal as can be: least sum of distances from their mean.
    Balanced,
    /// As little as can be is left: least sum.
    Best,
    /// As much as can be is left: greatest sum.
    Worst,
    /// [`Best`](Self::Best), but eight times the share left of a scarce dimension that the job does not need counts
    /// against an executor: it should be kept for those that need it.
    Scarce(Scarce),
    /// Least sum of squares.
    L2,
}

/// The dimensions of which the jobs of a round want more than is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scarce([bool; 3]);

impl Scarce {
    /// What is scarce in `view` for `jobs`.
    #[must_use]
    pub fn of(jobs: &[JobFacts], view: &ClusterView) -> Self {
        let wanted = jobs.iter().fold([0_u128; 3], |sum, job| add(sum, job.demand.amounts()));
        let free = view.executors.iter().fold([0_u128; 3], |sum, executor| add(sum, executor.usable().amounts()));
        let mut scarce = [false; 3];
        for (scarce, (wanted, free)) in scarce.iter_mut().zip(wanted.into_iter().zip(free)) {
            *scarce = wanted > free;
        }
        Self(scarce)
    }

    /// Whether it is scarce.
    #[must_use]
    pub const fn contains(&self, dimension: Dimension) -> bool {
        let Self([cpu, memory, gpu]) = *self;
        match dimension {
            Dimension::Cpu => cpu,
            Dimension::Memory => memory,
            Dimension::Gpu => gpu,
        }
    }
}

fn add(sum: [u128; 3], amounts: [u64; 3]) -> [u128; 3] {
    let [a, b, c] = sum;
    let [x, y, z] = amounts.map(u128::from);
    [a.saturating_add(x), b.saturating_add(y), c.saturating_add(z)]
}

impl FitRule {
    /// All five, in the order of the portfolio.
    #[must_use]
    pub const fn all(scarce: Scarce) -> [Self; 5] {
        [Self::Balanced, Self::Best, Self::Worst, Self::Scarce(scarce), Self::L2]
    }

    /// The executor for a job: of those with its tags and room for it the best by this rule, the lowest index of
    /// equals. Looks at each of them; [`FreeIndex`](crate::FreeIndex) gives the same answer sooner.
    ///
    /// # Complexity
    /// O(m) for m executors, times the number of required tags.
    #[must_use]
    pub fn choose(self, job: &JobFacts, executors: &[ExecutorFacts]) -> Option<usize> {
        let fitting = executors.iter().enumerate().filter(|(_, executor)| executor.could_start(job));
        let scores = fitting.map(|(index, executor)| (self.score_of(executor, &job.demand), index));
        scores.min().map(|(_, index)| index)
    }

    /// What placing `demand`, which fits, on an executor costs; smaller is better.
    pub(crate) fn score_of(self, executor: &ExecutorFacts, demand: &Resources) -> u64 {
        let (capacity, demand) = (executor.capacity.amounts(), demand.amounts());
        self.score(left(shares(executor.usable().amounts(), capacity), shares(demand, capacity)), demand)
    }

    /// What leaving these shares costs; smaller is better. Shares are at most 2^20, so nothing saturates.
    pub(crate) fn score(self, left: [u64; 3], demand: [u64; 3]) -> u64 {
        let sum = left.iter().fold(0_u64, |sum, share| sum.saturating_add(*share));
        match self {
            Self::Balanced => {
                let mean = sum / 3;
                left.iter().fold(0, |sum, share| sum.saturating_add(share.abs_diff(mean)))
            }
            Self::Best => sum,
            Self::Worst => !sum,
            Self::Scarce(Scarce(scarce)) => {
                let wasted = left.iter().zip(demand).zip(scarce).filter(|((_, need), scarce)| *scarce && *need == 0);
                wasted.fold(sum, |sum, ((share, _), _)| sum.saturating_add(share.saturating_mul(8)))
            }
            Self::L2 => left.iter().fold(0, |sum, share| sum.saturating_add(share.saturating_mul(*share))),
        }
    }
}

/// The share of each capacity, in 2^-20; of a capacity of nothing, nothing.
pub(crate) fn shares(amounts: [u64; 3], capacity: [u64; 3]) -> [u64; 3] {
    let mut shares = [0; 3];
    for (share, (amount, capacity)) in shares.iter_mut().zip(amounts.into_iter().zip(capacity)) {
        *share = if capacity == 0 { 0 } else { crate::resources::share(amount, capacity) };
    }
    shares
}

/// The shares left of `free` once `demand` is taken.
pub(crate) const fn left(free: [u64; 3], demand: [u64; 3]) -> [u64; 3] {
    let ([a, b, c], [x, y, z]) = (free, demand);
    [a.saturating_sub(x), b.saturating_sub(y), c.saturating_sub(z)]
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use reconvene_clock::Hlc;

    use super::*;
    use crate::CandidateId;

    #[test]
    fn scarce_is_what_all_jobs_together_want_more_of_than_is_free() {
        let room = |cpu, memory, gpu| {
            let capacity = Resources::new(cpu, memory, gpu);
            ExecutorFacts { capacity, free: Resources::new(u64::MAX, memory, gpu), tags: Default::default() }
        };
        let view = ClusterView::new(Vec::from([room(4, 10, 1), room(5, 10, 0)]));
        let job = |demand| JobFacts { demand, ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) };
        let scarce = |jobs: &[JobFacts]| {
            let scarce = Scarce::of(jobs, &view);
            Dimension::ALL.map(|dimension| scarce.contains(dimension))
        };
        let third = Resources::new(3, 7, 1);
        assert_eq!(scarce(&[job(third), job(third), job(Resources::new(3, 6, 0))]), [false, false, true]);
        assert_eq!(scarce(&[job(third), job(third), job(Resources::new(4, 6, 0))]), [true, false, true]);
        assert_eq!(scarce(&[job(third), job(third), job(third)]), [false, true, true]);
        assert_eq!(scarce(&[]), [false; 3]);
        assert_eq!(add([1, 2, u128::MAX], [10, 20, 30]), [11, 22, u128::MAX]);
    }

    #[test]
    fn each_rule_counts_what_it_says() {
        let (left, demand) = ([100, 40, 10], [1, 0, 0]);
        let score = |rule: FitRule| rule.score(left, demand);
        assert_eq!(score(FitRule::Balanced), 50 + 10 + 40);
        assert_eq!(score(FitRule::Best), 150);
        assert_eq!(score(FitRule::Worst), u64::MAX - 150);
        assert_eq!(score(FitRule::L2), 10_000 + 1_600 + 100);
        // Scarce and not asked for counts eight times more; asked for, or not scarce, it does not.
        assert_eq!(score(FitRule::Scarce(Scarce([true, true, false]))), 150 + 8 * 40);
        assert_eq!(score(FitRule::Scarce(Scarce([true, false, true]))), 150 + 8 * 10);
        assert_eq!(score(FitRule::Scarce(Scarce([true, false, false]))), 150);
        assert_eq!(FitRule::all(Scarce::default())[3], FitRule::Scarce(Scarce([false; 3])));
    }

    #[test]
    fn shares_of_nothing_are_nothing() {
        assert_eq!(shares([1, 6, 5], [4, 20, 0]), [1 << 18, 314_572, 0]);
        assert_eq!(left([5, 5, 5], [1, 5, 9]), [4, 0, 0]);
    }
}
