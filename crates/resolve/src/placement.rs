//! Where one job fits: tags and capacity first, then balance.

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::resources::share;
use crate::{Dimension, JobFacts, Reason, Resources};

/// What an executor can take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what placement may depend on")]
pub struct ExecutorFacts {
    /// All it has.
    pub capacity: Resources,
    /// What is not taken now.
    pub free: Resources,
    /// What it is attested to be.
    pub tags: BTreeSet<String>,
}

/// Whether a job fits what is free: every tag it requires is there and every demand is met. Tags are never traded.
#[must_use]
pub fn fits(free: &Resources, demand: &Resources, tags: &BTreeSet<String>, requires: &BTreeSet<String>) -> bool {
    requires.is_subset(tags) && free.holds(demand)
}

/// How unbalanced an executor would be left, in 2^-20: the sum of distances of the free shares from their mean.
///
/// The `Balanced` rule of placement takes the least. Dimensions that the executor does not have count as full.
#[must_use]
pub fn balance(executor: &ExecutorFacts, demand: &Resources) -> u64 {
    let left = Dimension::ALL.map(|dimension| {
        let capacity = executor.capacity.get(dimension);
        if capacity == 0 {
            return 0;
        }
        share(executor.free.get(dimension), capacity).saturating_sub(share(demand.get(dimension), capacity))
    });
    let mean = left.iter().fold(0_u64, |sum, share| sum.saturating_add(*share)) / 3;
    left.iter().fold(0_u64, |sum, share| sum.saturating_add(share.abs_diff(mean)))
}

/// The executor that a job should run on: of those it fits, the one it leaves most balanced, the first of equals.
///
/// # Errors
///
/// [`Reason::NoExecutorWithTags`] if none has the tags, [`Reason::WaitingForCapacity`] if those that have are short of
/// something now.
pub fn choose_executor(job: &JobFacts, executors: &[ExecutorFacts]) -> Result<usize, Reason> {
    let with_tags = || executors.iter().enumerate().filter(|(_, executor)| job.requires.is_subset(&executor.tags));
    let fitting = with_tags().filter(|(_, executor)| executor.free.holds(&job.demand));
    if let Some((index, _)) = fitting.min_by_key(|(index, executor)| (balance(executor, &job.demand), *index)) {
        return Ok(index);
    }
    let shortages = with_tags().filter_map(|(_, executor)| {
        let short = |dimension: &Dimension| {
            let by = job.demand.get(*dimension).saturating_sub(executor.free.get(*dimension));
            (by, *dimension)
        };
        Dimension::ALL.iter().map(short).max()
    });
    if let Some((short_by, dimension)) = shortages.min() {
        return Err(Reason::WaitingForCapacity { dimension, short_by });
    }
    let missing = executors.iter().map(|executor| job.requires.difference(&executor.tags).cloned().collect());
    let fewest = missing.min_by_key(BTreeSet::len).unwrap_or_else(|| job.requires.clone());
    Err(Reason::NoExecutorWithTags { missing: fewest })
}

#[cfg(test)]
mod tests {
    use reconvene_clock::Hlc;

    use super::*;
    use crate::CandidateId;

    fn executor(capacity: Resources, free: Resources, tags: &[&str]) -> ExecutorFacts {
        ExecutorFacts { capacity, free, tags: tags.iter().map(|tag| String::from(*tag)).collect() }
    }

    fn job(demand: Resources, requires: &[&str]) -> JobFacts {
        let requires = requires.iter().map(|tag| String::from(*tag)).collect();
        JobFacts { demand, requires, ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) }
    }

    #[test]
    fn the_most_balanced_fitting_executor_is_chosen() {
        let all = Resources::new(10, 10, 4);
        let executors =
            [executor(all, Resources::new(4, 10, 4), &[]), executor(all, all, &[]), executor(all, all, &[])];
        assert_eq!(choose_executor(&job(Resources::new(4, 4, 0), &[]), &executors), Ok(1));
    }

    #[test]
    fn missing_tags_and_missing_room_are_told_apart() {
        let all = Resources::new(10, 10, 0);
        let executors = [executor(all, Resources::new(3, 10, 0), &["imaging"]), executor(all, all, &[])];
        assert_eq!(
            choose_executor(&job(Resources::new(5, 5, 0), &["imaging"]), &executors),
            Err(Reason::WaitingForCapacity { dimension: Dimension::Cpu, short_by: 2 })
        );
        assert_eq!(
            choose_executor(&job(Resources::new(1, 1, 0), &["imaging", "lab"]), &executors),
            Err(Reason::NoExecutorWithTags { missing: ["lab".into()].into() })
        );
        assert!(choose_executor(&job(Resources::default(), &[]), &[]).is_err());
    }
}
