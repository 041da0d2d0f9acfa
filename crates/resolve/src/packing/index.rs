//! Executors by what they have free.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use smallvec::SmallVec;

use super::fit::{left, shares};
use crate::{ExecutorFacts, FitRule, JobFacts, Resources};

/// Executors in buckets by what they are and by the size of what they have free, so that a choice looks only at those
/// that may do. It chooses as [`FitRule::choose`] does, executor for executor.
///
/// Executors of the same capacity and tags are one class; within it a bucket holds those whose free amounts have the
/// same number of bits in each dimension, and a bucket holds each amount once. Shares are divided when an executor
/// changes, not when it is looked at.
///
/// ```
/// use reconvene_clock::Hlc;
/// use reconvene_resolve::{CandidateId, ExecutorFacts, FitRule, FreeIndex, JobFacts, Resources};
///
/// let room = Resources::new(8_000, 16_384, 0);
/// let executors = vec![ExecutorFacts { capacity: room, free: room, tags: Default::default() }; 3];
/// let mut index = FreeIndex::new(&executors);
/// let mut job = JobFacts::new(CandidateId::new(1, 1), Hlc::default());
/// job.demand = Resources::new(5_000, 1_024, 0);
///
/// assert_eq!(index.choose(&job, FitRule::Best), Some(0));
/// index.set_free(0, room.saturating_sub(&job.demand));
/// assert_eq!(index.choose(&job, FitRule::Best), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct FreeIndex {
    classes: Vec<Class>,
    rooms: Vec<Room>,
}

/// Executors of one capacity and one set of tags.
#[derive(Clone, Debug)]
struct Class {
    capacity: Resources,
    tags: BTreeSet<String>,
    buckets: BTreeMap<Sizes, Vec<State>>,
}

/// Bits of the free amount in each dimension: 0 for nothing, else one more than the logarithm.
type Sizes = [u32; 3];

/// Executors of a class with exactly the same room.
#[derive(Clone, Debug)]
struct State {
    free: [u64; 3],
    shares: [u64; 3],
    /// Descending, so that the lowest, which is the one taken, is the last.
    members: SmallVec<[usize; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    class: usize,
    free: [u64; 3],
    /// Whether it is among the buckets.
    listed: bool,
}

/// A job as the classes see it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) demand: [u64; 3],
    /// For each class the shares that the job would take, or `None` where it cannot ever run.
    by_class: Vec<Option<[u64; 3]>>,
}

impl FreeIndex {
    /// An index of these executors, which it names by their place in the slice.
    ///
    /// # Complexity
    /// O(m log m) for m executors.
    #[must_use]
    pub fn new(executors: &[ExecutorFacts]) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        let mut known: BTreeMap<([u64; 3], &BTreeSet<String>), usize> = BTreeMap::new();
        let mut rooms = Vec::with_capacity(executors.len());
        for executor in executors {
            let class = *known.entry((executor.capacity.amounts(), &executor.tags)).or_insert_with(|| {
                let (capacity, tags) = (executor.capacity, executor.tags.clone());
                classes.push(Class { capacity, tags, buckets: BTreeMap::new() });
                classes.len().saturating_sub(1)
            });
            rooms.push(Room { class, free: executor.usable().amounts(), listed: false });
        }
        let mut index = Self { classes, rooms };
        // From the last to the first, so that each comes to the end of its list.
        for executor in (0..index.rooms.len()).rev() {
            index.list(executor);
        }
        index
    }

    /// The best executor for a job by `rule`, or `None` if no executor has its tags and room for it.
    ///
    /// # Complexity
    /// O(c + s) for c classes, times the number of required tags, and s different rooms in the buckets that may do.
    #[must_use]
    pub fn choose(&self, job: &JobFacts, rule: FitRule) -> Option<usize> {
        let demand = job.demand.amounts();
        let mut best = None;
        for class in &self.classes {
            if let Some(taken) = class.asked(job) {
                class.improve(&mut best, demand, taken, rule);
            }
        }
        best.map(|(_, executor)| executor)
    }

    /// Says what an executor has free from now on, at most its capacity. Does nothing if there is no such executor.
    pub fn set_free(&mut self, executor: usize, free: Resources) {
        let Some(room) = self.rooms.get(executor).copied() else { return };
        let Some(class) = self.classes.get(room.class) else { return };
        let free = free.min(&class.capacity).amounts();
        if free == room.free {
            return;
        }
        self.unlist(executor);
        if let Some(room) = self.rooms.get_mut(executor) {
            room.free = free;
        }
        if room.listed {
            self.list(executor);
        }
    }

    /// What an executor has free.
    #[must_use]
    pub fn free(&self, executor: usize) -> Option<Resources> {
        self.rooms.get(executor).map(|room| Resources::new(room.free[0], room.free[1], room.free[2]))
    }

    /// How many executors there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub(super) fn ask(&self, job: &JobFacts) -> Asked {
        let by_class = self.classes.iter().map(|class| class.asked(job)).collect();
        Asked { demand: job.demand.amounts(), by_class }
    }

    /// The best executor and its score.
    pub(super) fn best(&self, asked: &Asked, rule: FitRule) -> Option<(u64, usize)> {
        let mut best = None;
        for (class, taken) in self.classes.iter().zip(&asked.by_class) {
            if let Some(taken) = *taken {
                class.improve(&mut best, asked.demand, taken, rule);
            }
        }
        best
    }

    /// The score of one executor that has `free`, listed or not; `None` if the job does not fit.
    pub(super) fn score(&self, asked: &Asked, rule: FitRule, executor: usize, free: [u64; 3]) -> Option<u64> {
        let room = self.rooms.get(executor)?;
        let taken = (*asked.by_class.get(room.class)?)?;
        let class = self.classes.get(room.class)?;
        holds(free, asked.demand).then(|| rule.score(left(shares(free, class.capacity.amounts()), taken), asked.demand))
    }

    /// Takes a demand out of an executor.
    pub(super) fn take(&mut self, executor: usize, demand: [u64; 3]) {
        if let Some(room) = self.rooms.get(executor) {
            let [cpu, memory, gpu] = left(room.free, demand);
            self.set_free(executor, Resources::new(cpu, memory, gpu));
        }
    }

    /// Takes an executor out of the buckets: its room is to be judged job by job.
    pub(super) fn unlist(&mut self, executor: usize) {
        let Some(room) = self.rooms.get_mut(executor) else { return };
        let Some(class) = self.classes.get_mut(room.class) else { return };
        if room.listed {
            class.remove(executor, room.free);
        }
        room.listed = false;
    }

    fn list(&mut self, executor: usize) {
        let Some(room) = self.rooms.get_mut(executor) else { return };
        let Some(class) = self.classes.get_mut(room.class) else { return };
        class.insert(executor, room.free);
        room.listed = true;
    }
}

impl Class {
    /// The shares that a job would take of an executor of this class, if it could ever run there.
    fn asked(&self, job: &JobFacts) -> Option<[u64; 3]> {
        let able = self.capacity.holds(&job.demand) && job.requires.is_subset(&self.tags);
        able.then(|| shares(job.demand.amounts(), self.capacity.amounts()))
    }

    /// Replaces `best` by the best of this class if that is better, or as good and of a lower index.
    fn improve(&self, best: &mut Option<(u64, usize)>, demand: [u64; 3], taken: [u64; 3], rule: FitRule) {
        let least = sizes(demand);
        for (size, states) in self.buckets.range(least..) {
            if !holds(size.map(u64::from), least.map(u64::from)) {
                continue;
            }
            for state in states.iter().filter(|state| holds(state.free, demand)) {
                let score = rule.score(left(state.shares, taken), demand);
                let Some(executor) = state.members.last() else { continue };
                let this = (score, *executor);
                *best = Some(best.map_or(this, |best| best.min(this)));
            }
        }
    }

    fn insert(&mut self, executor: usize, free: [u64; 3]) {
        let states = self.buckets.entry(sizes(free)).or_default();
        if let Some(state) = states.iter_mut().find(|state| state.free == free) {
            let listed = state.members.binary_search_by_key(&Reverse(executor), |member| Reverse(*member));
            if let Err(place) = listed {
                state.members.insert(place, executor);
            }
        } else {
            let shares = shares(free, self.capacity.amounts());
            states.push(State { free, shares, members: SmallVec::from_iter([executor]) });
        }
    }

    fn remove(&mut self, executor: usize, free: [u64; 3]) {
        let Some(states) = self.buckets.get_mut(&sizes(free)) else { return };
        let Some(place) = states.iter().position(|state| state.free == free) else { return };
        if let Some(state) = states.get_mut(place) {
            state.members.retain(|member| *member != executor);
            if state.members.is_empty() {
                states.swap_remove(place);
            }
        }
        if states.is_empty() {
            self.buckets.remove(&sizes(free));
        }
    }
}

fn sizes(amounts: [u64; 3]) -> Sizes {
    amounts.map(|amount| u64::BITS.saturating_sub(amount.leading_zeros()))
}

fn holds(free: [u64; 3], demand: [u64; 3]) -> bool {
    free.iter().zip(demand).all(|(free, demand)| *free >= demand)
}

#[cfg(test)]
mod tests {
    use reconvene_clock::Hlc;

    use super::*;
    use crate::CandidateId;

    fn executor(cpu: u64, free: u64) -> ExecutorFacts {
        let (capacity, free) = (Resources::new(cpu, 10, 0), Resources::new(free, 10, 0));
        ExecutorFacts { capacity, free, tags: BTreeSet::new() }
    }

    fn job(cpu: u64) -> JobFacts {
        JobFacts { demand: Resources::new(cpu, 1, 0), ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) }
    }

    #[test]
    fn buckets_are_by_the_number_of_bits() {
        assert_eq!(sizes([0, 1, 5]), [0, 1, 3]);
        assert_eq!(sizes([8, 1_023, u64::MAX]), [4, 10, 64]);
        let index = FreeIndex::new(&[executor(10, 10), executor(10, 9), executor(10, 10), executor(10, 3)]);
        let buckets = index.classes[0].buckets.iter().map(|(size, states)| (*size, states.len()));
        assert_eq!(buckets.collect::<Vec<_>>(), [([2, 4, 0], 1), ([4, 4, 0], 2)]);
    }

    #[test]
    fn it_knows_what_is_free() {
        let mut index = FreeIndex::new(&[executor(10, 99), executor(8, 3)]);
        assert_eq!(index.free(0), Some(Resources::new(10, 10, 0)), "no more than there is");
        assert_eq!(index.free(1), Some(Resources::new(3, 10, 0)));
        assert_eq!((index.free(2), index.len(), index.is_empty()), (None, 2, false));
        assert!(FreeIndex::new(&[]).is_empty());
        index.take(1, [2, 10, 0]);
        assert_eq!(index.free(1), Some(Resources::new(1, 0, 0)));
        index.set_free(1, Resources::new(9, 1, 1));
        assert_eq!(index.free(1), Some(Resources::new(8, 1, 0)));
    }

    #[test]
    fn one_executor_is_scored_as_in_the_choice_of_all() {
        let executors = [executor(10, 10), executor(10, 6), executor(4, 4)];
        let mut index = FreeIndex::new(&executors);
        let (asked, rule) = (index.ask(&job(5)), FitRule::Best);
        for (place, executor) in executors.iter().enumerate().take(2) {
            let score = rule.score_of(executor, &job(5).demand);
            assert_eq!(index.score(&asked, rule, place, executor.free.amounts()), Some(score));
        }
        assert_eq!(index.best(&asked, rule), index.score(&asked, rule, 1, [6, 10, 0]).map(|score| (score, 1)));
        assert_eq!(index.score(&asked, rule, 1, [4, 10, 0]), None, "too little");
        assert_eq!(index.score(&asked, rule, 2, [9, 10, 0]), None, "it could not even when idle");
        assert_eq!(index.score(&asked, rule, 3, [9, 10, 0]), None, "there is none");
        // Out of the buckets it is not chosen, whatever it has; others are.
        index.unlist(1);
        assert_eq!(index.best(&asked, rule).map(|(_, executor)| executor), Some(0));
        index.set_free(1, Resources::new(5, 10, 0));
        assert_eq!((index.free(1), index.choose(&job(5), rule)), (Some(Resources::new(5, 10, 0)), Some(0)));
        index.unlist(0);
        assert_eq!((index.best(&asked, rule), index.choose(&job(5), rule)), (None, None));
    }
}
