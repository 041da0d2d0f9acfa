//! Where one job fits: tags and capacity first, then balance.

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::resources::share;
use crate::{Dimension, FitRule, JobFacts, Reason, Resources};

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

impl ExecutorFacts {
    /// What is free, and no more than there is.
    pub(crate) fn usable(&self) -> Resources {
        self.free.min(&self.capacity)
    }

    /// Whether a job could start here now, reservations aside.
    pub(crate) fn could_start(&self, job: &JobFacts) -> bool {
        fits(&self.usable(), &job.demand, &self.tags, &job.requires)
    }
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
    FitRule::Balanced.score_of(executor, demand)
}

/// The executor that a job should run on: of those it fits, the one it leaves most balanced, the first of equals.
///
/// # Errors
/// Without such an executor, why:
/// - [`Reason::WaitingForCapacity`] if some could run the job when idle, with what is short now on the one that comes
///   closest;
/// - else [`Reason::NoExecutorWithTags`] if some are large enough, with what the one that lacks fewest tags lacks;
/// - else `WaitingForCapacity` if some have the tags, with what is short even when idle;
/// - else `NoExecutorWithTags` again, with nothing missing if there is no executor at all and no tag was required.
///
/// # Complexity
/// O(m) for m executors, times the number of required tags.
///
/// ```
/// use std::collections::BTreeSet;
///
/// use reconvene_clock::Hlc;
/// use reconvene_resolve::{CandidateId, ExecutorFacts, JobFacts, Reason, Resources, choose_executor};
///
/// let room = Resources::new(10, 10, 0);
/// let imaging = BTreeSet::from(["medical-imaging".to_owned()]);
/// let executors = [
///     ExecutorFacts { capacity: room, free: room, tags: BTreeSet::new() },
///     ExecutorFacts { capacity: room, free: room, tags: imaging.clone() },
/// ];
/// let mut job = JobFacts::new(CandidateId::new(1, 1), Hlc::default());
/// job.demand = Resources::new(5, 5, 0);
/// assert_eq!(choose_executor(&job, &executors), Ok(0));
/// job.requires = imaging;
/// assert_eq!(choose_executor(&job, &executors), Ok(1));
/// ```
pub fn choose_executor(job: &JobFacts, executors: &[ExecutorFacts]) -> Result<usize, Reason> {
    FitRule::Balanced.choose(job, executors).ok_or_else(|| refusal(job, executors))
}

pub(crate) fn refusal(job: &JobFacts, executors: &[ExecutorFacts]) -> Reason {
    let large = || executors.iter().filter(|executor| executor.capacity.holds(&job.demand));
    let tagged = |executor: &&ExecutorFacts| job.requires.is_subset(&executor.tags);
    let busy = large().filter(tagged).map(|executor| (executor.capacity, executor.free));
    if let Some(reason) = least_short(&job.demand, busy) {
        return reason;
    }
    if let Some(missing) = fewest_missing(job, large()) {
        return Reason::NoExecutorWithTags { missing };
    }
    let small = executors.iter().filter(tagged).map(|executor| (executor.capacity, executor.capacity));
    least_short(&job.demand, small).unwrap_or_else(|| Reason::NoExecutorWithTags {
        missing: fewest_missing(job, executors.iter()).unwrap_or_else(|| job.requires.clone()),
    })
}

/// Of each (capacity, room) the dimension that is shortest as a share of the capacity, since amounts in different units
/// do not compare; of all rooms the one that is least short.
fn least_short(demand: &Resources, rooms: impl Iterator<Item = (Resources, Resources)>) -> Option<Reason> {
    let shortest = rooms.filter_map(|(capacity, room)| {
        let shortages = Dimension::ALL.into_iter().map(|dimension| {
            let short_by = demand.get(dimension).saturating_sub(room.get(dimension));
            (share(short_by, capacity.get(dimension)), short_by, dimension)
        });
        shortages.filter(|(_, short_by, _)| *short_by > 0).max_by_key(|(share, _, _)| *share)
    });
    let (_, short_by, dimension) = shortest.min_by_key(|(share, _, _)| *share)?;
    Some(Reason::WaitingForCapacity { dimension, short_by })
}

fn fewest_missing<'a>(job: &JobFacts, executors: impl Iterator<Item = &'a ExecutorFacts>) -> Option<BTreeSet<String>> {
    let missing = executors.map(|executor| job.requires.difference(&executor.tags).cloned().collect());
    missing.min_by_key(BTreeSet::len)
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

    /// Executors N1 and N2 and jobs P to U of the design's example.
    #[test]
    fn the_packing_example_by_density_and_balance_is_worth_13() {
        let (n1, n2) = (Resources::new(10, 10, 0), Resources::new(10, 10, 4));
        let mut executors = [executor(n1, n1, &[]), executor(n2, n2, &[])];
        let jobs = [([6, 6, 0], 5), ([5, 5, 0], 4), ([5, 5, 0], 4), ([5, 5, 0], 4), ([4, 4, 4], 6)];
        let mut places = alloc::vec::Vec::new();
        let mut worth = 0;
        for ([cpu, memory, gpu], value) in jobs {
            let place = choose_executor(&job(Resources::new(cpu, memory, gpu), &[]), &executors).ok();
            if let Some(index) = place {
                let free = &mut executors[index].free;
                *free = Resources::new(free.cpu_milli - cpu, free.memory_mib - memory, free.gpu_milli - gpu);
                worth += value;
            }
            places.push(place);
        }
        assert_eq!((places.as_slice(), worth), ([Some(0), Some(1), Some(1), None, None].as_slice(), 13));
    }

    #[test]
    fn tags_on_an_executor_that_is_too_small_are_missing_tags() {
        let (n1, n2) = (Resources::new(10, 10, 0), Resources::new(10, 10, 4));
        let executors = [executor(n1, n1, &["medical-imaging"]), executor(n2, n2, &[])];
        assert_eq!(
            choose_executor(&job(Resources::new(4, 4, 4), &["medical-imaging"]), &executors),
            Err(Reason::NoExecutorWithTags { missing: ["medical-imaging".into()].into() })
        );
        // With nobody large enough it is room that is missing, and the second comes closer.
        assert_eq!(
            choose_executor(&job(Resources::new(4, 4, 5), &[]), &executors),
            Err(Reason::WaitingForCapacity { dimension: Dimension::Gpu, short_by: 1 })
        );
    }

    fn shortage(all: Resources, free: Resources, demand: Resources) -> Result<usize, Reason> {
        choose_executor(&job(demand, &[]), &[executor(all, free, &[])])
    }

    /// One thousandth of a core short of thousands: a share that rounds to nothing, and a reason all the same.
    #[test]
    fn a_shortage_is_named_however_small_its_share() {
        let (all, free) = (Resources::new(4_000_000, 100, 100), Resources::new(3_999_999, 100, 100));
        let found = shortage(all, free, Resources::new(4_000_000, 1, 1));
        assert_eq!(found, Err(Reason::WaitingForCapacity { dimension: Dimension::Cpu, short_by: 1 }));
    }

    #[test]
    fn shortages_compare_as_shares() {
        // 500 of 1,000 is more than 1,000 of 65,536, although the number is smaller.
        let (all, free) = (Resources::new(1_000, 65_536, 0), Resources::new(0, 1_000, 0));
        let found = shortage(all, free, Resources::new(500, 2_000, 0));
        assert_eq!(found, Err(Reason::WaitingForCapacity { dimension: Dimension::Cpu, short_by: 500 }));
    }

    /// Left with all, half and nothing, whose mean is a half; and with the same share of each.
    #[test]
    fn balance_is_the_sum_of_distances_from_the_mean() {
        let all = Resources::new(8, 8, 8);
        let busy = executor(all, Resources::new(8, 6, 8), &[]);
        assert_eq!(balance(&busy, &Resources::new(0, 2, 8)), 1 << 20);
        assert_eq!(balance(&busy, &Resources::new(2, 0, 2)), 0);
    }
}
