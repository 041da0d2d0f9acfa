//! A pool of cores in virtual time, and the queues before it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use reconvene_resolve::{ContentionStrategy, HeadRoom, JobFacts, Policy, RankKey, Resources, RoundFacts};

use super::workload::Case;

/// Jobs that wait, by their place in the case.
pub(crate) trait Queue {
    fn push(&mut self, job: usize);
    /// Takes the one whose turn it is.
    fn pop(&mut self, now: u64) -> Option<usize>;
}

/// What of a policy the pool keeps by itself.
pub(crate) struct Rules<'a> {
    reserve_after_ms: u64,
    head_room: HeadRoom,
    facts: &'a [JobFacts],
    total: Resources,
}

impl<'a> Rules<'a> {
    /// `facts` are the jobs of the case, in its order.
    pub(crate) fn of(policy: &Policy, case: &Case, facts: &'a [JobFacts]) -> Self {
        let (ageing, head_room) = (policy.ageing(), *policy.head_room());
        Self { reserve_after_ms: ageing.reserve_after_ms, head_room, facts, total: case.total() }
    }

    /// Whether the head room holds back a job that would fit.
    fn holds_back(&self, job: usize, free: u64) -> bool {
        let free = Resources::new(free.saturating_mul(1_000), 0, 0);
        self.head_room.holds_back(&self.facts[job], &free, &self.total).is_some()
    }
}

/// Runs all jobs of a case. `started` is told of each start.
///
/// A job that does not fit may be passed by others until it has waited for `reserve_after_ms`. Then nothing may start
/// that would end after the moment at which it is expected to fit. What is kept as head room does not fit.
pub(crate) fn run(case: &Case, queue: &mut impl Queue, rules: &Rules<'_>, mut started: impl FnMut(usize, u64)) {
    let mut running: BinaryHeap<Reverse<Running>> = BinaryHeap::new();
    let (mut free, mut next) = (case.cores, 0);
    loop {
        let end = running.peek().map(|Reverse(running)| running.end);
        let arrival = case.jobs.get(next).map(|job| job.submit_ms);
        let Some(now) = end.into_iter().chain(arrival).min() else { break };
        while let Some(Reverse(ended)) = running.pop_if_ended(now) {
            free += ended.cores;
        }
        while case.jobs.get(next).is_some_and(|job| job.submit_ms <= now) {
            queue.push(next);
            next += 1;
        }
        let mut blocked = Vec::new();
        let mut reserved: Option<u64> = None;
        while free > 0 && blocked.len() < LOOKED_AT {
            let Some(place) = queue.pop(now) else { break };
            let job = &case.jobs[place];
            if job.cores <= free && rules.holds_back(place, free) {
                blocked.push(place);
                // The queue goes by tiers, and nothing is smaller than one core.
                if job.cores == 1 {
                    break;
                }
                continue;
            }
            if job.cores <= free && reserved.is_none_or(|from| now + job.expected_ms() <= from) {
                free -= job.cores;
                let expected = now + job.expected_ms();
                running.push(Reverse(Running { end: now + job.run_ms, expected, cores: job.cores }));
                started(place, now);
                continue;
            }
            if reserved.is_none() && now - job.submit_ms >= rules.reserve_after_ms {
                reserved = Some(fits_at(job.cores, free, &running, now));
            }
            blocked.push(place);
        }
        blocked.into_iter().for_each(|place| queue.push(place));
    }
}

/// Jobs that are looked at past one that does not fit.
const LOOKED_AT: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Running {
    end: u64,
    /// When it would end by its estimate.
    expected: u64,
    cores: u64,
}

trait PopIfEnded {
    fn pop_if_ended(&mut self, now: u64) -> Option<Reverse<Running>>;
}

impl PopIfEnded for BinaryHeap<Reverse<Running>> {
    fn pop_if_ended(&mut self, now: u64) -> Option<Reverse<Running>> {
        let ended = self.peek().is_some_and(|Reverse(running)| running.end <= now);
        if ended { self.pop() } else { None }
    }
}

/// When enough of what runs is expected to have ended.
fn fits_at(cores: u64, mut free: u64, running: &BinaryHeap<Reverse<Running>>, now: u64) -> u64 {
    let mut ends: Vec<(u64, u64)> = running.iter().map(|Reverse(running)| (running.expected, running.cores)).collect();
    ends.sort_unstable();
    for (end, freed) in ends {
        free += freed;
        if free >= cores {
            return end.max(now);
        }
    }
    now
}

/// By the keys of a strategy.
pub(crate) struct Keyed<'a> {
    strategy: &'a dyn ContentionStrategy,
    round: RoundFacts,
    facts: &'a [JobFacts],
    keys: BTreeSet<RankKey>,
}

impl<'a> Keyed<'a> {
    pub(crate) fn new(strategy: &'a dyn ContentionStrategy, case: &Case, facts: &'a [JobFacts]) -> Self {
        Self { strategy, round: RoundFacts::new(1, case.total()), facts, keys: BTreeSet::new() }
    }

    pub(crate) const fn round(&self) -> &RoundFacts {
        &self.round
    }

    /// The one that would be next.
    pub(crate) fn first(&self) -> Option<usize> {
        self.keys.first().map(place)
    }
}

fn place(key: &RankKey) -> usize {
    key.id().0[1] as usize
}

impl Queue for Keyed<'_> {
    fn push(&mut self, job: usize) {
        self.keys.insert(self.strategy.key(&self.facts[job], &self.round));
    }

    fn pop(&mut self, _now: u64) -> Option<usize> {
        self.keys.pop_first().as_ref().map(place)
    }
}

/// Another queue, but jobs that have waited for `after_ms` first and by age: the first batch of `RESOURCE_OPTIMAL`.
pub(crate) struct Starving<'a> {
    keyed: Keyed<'a>,
    by_age: BTreeSet<(u64, usize)>,
    after_ms: u64,
}

impl<'a> Starving<'a> {
    pub(crate) const fn new(keyed: Keyed<'a>, after_ms: u64) -> Self {
        Self { keyed, by_age: BTreeSet::new(), after_ms }
    }
}

impl Queue for Starving<'_> {
    fn push(&mut self, job: usize) {
        self.by_age.insert((self.keyed.facts[job].submitted.millis(), job));
        self.keyed.push(job);
    }

    fn pop(&mut self, now: u64) -> Option<usize> {
        let starving = self.by_age.first().copied().filter(|(submit, _)| now.saturating_sub(*submit) >= self.after_ms);
        let job = if let Some((_, job)) = starving {
            self.keyed.keys.remove(&self.keyed.strategy.key(&self.keyed.facts[job], &self.keyed.round));
            job
        } else {
            self.keyed.pop(now)?
        };
        self.by_age.remove(&(self.keyed.facts[job].submitted.millis(), job));
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use reconvene_resolve::{AgeingRules, Level, StrategyKind};

    use super::*;
    use crate::resolve::workload::read;

    fn case(jobs: &[(u64, u64, u64)], cores: u64) -> Case {
        let mut case = read(&[]).unwrap().remove(0).whole();
        case.jobs.truncate(jobs.len());
        case.cores = cores;
        for (job, (submit_ms, run_ms, cores)) in case.jobs.iter_mut().zip(jobs) {
            (job.submit_ms, job.run_ms, job.cores) = (*submit_ms, *run_ms, *cores);
            job.requested_ms = None;
        }
        case
    }

    fn starts(case: &Case, reserve_after_ms: u64) -> Vec<u64> {
        let facts = case.facts(|_| Level::ROUTINE);
        let mut starts = vec![u64::MAX; case.jobs.len()];
        let mut queue = Keyed::new(StrategyKind::FirstComeFirstServed.contention(), case, &facts);
        let ageing = AgeingRules { reserve_after_ms, ..AgeingRules::default() };
        let policy = Policy::builder(StrategyKind::FirstComeFirstServed).ageing(ageing).build().unwrap();
        run(case, &mut queue, &Rules::of(&policy, case, &facts), |job, now| starts[job] = now);
        starts
    }

    #[test]
    fn the_head_room_is_left_to_life_safety() {
        let case = case(&[(0, 10, 1), (0, 10, 1), (1, 10, 1), (2, 10, 1), (2, 10, 1)], 3);
        let facts = case.facts(|job| if job >= 3 { Level::LIFE_SAFETY } else { Level::ROUTINE });
        let head_room = HeadRoom::new(Resources::new(1_000, 0, 0));
        for (head_room, expected) in [(head_room, [0, 0, 12, 2, 10]), (HeadRoom::NONE, [0, 0, 1, 10, 10])] {
            let policy = Policy::builder(StrategyKind::EmergencyFirst).head_room(head_room).build().unwrap();
            let mut starts = vec![u64::MAX; case.jobs.len()];
            let mut queue = Keyed::new(policy.contention(), &case, &facts);
            run(&case, &mut queue, &Rules::of(&policy, &case, &facts), |job, now| starts[job] = now);
            assert_eq!(starts, expected);
        }
    }

    #[test]
    fn jobs_start_when_cores_are_free_and_in_order() {
        assert_eq!(starts(&case(&[(0, 10, 1), (0, 20, 1), (1, 5, 1), (2, 5, 1)], 2), 100), [0, 0, 10, 15]);
    }

    #[test]
    fn a_wide_job_is_passed_until_it_has_waited_and_then_no_more() {
        let jobs = [(0, 10, 1), (1, 10, 2), (2, 18, 1), (11, 18, 1), (12, 6, 1)];
        // Without a reservation there is no room for both cores until nothing comes any more.
        assert_eq!(starts(&case(&jobs, 2), 1_000), [0, 29, 2, 11, 20]);
        // From 10 on the wide job holds what frees at 20.
        assert_eq!(starts(&case(&jobs, 2), 9), [0, 20, 2, 30, 12]);
    }
}
