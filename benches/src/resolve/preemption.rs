//! Emergencies that may stop others: how often, and whom.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use reconvene_clock::WallTime;
use reconvene_resolve::{
    CandidateId, ClusterView, ExecutorFacts, JobFacts, Level, PreemptionBudget, PreemptionRules, Preemptor, RunningJob,
    StrategyKind, plan_preemption,
};
use serde::Serialize;

use super::pool::{Keyed, Queue};
use super::replay::{emergencies, seconds};
use super::workload::Case;

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Preemptions {
    pub(crate) count: u64,
    pub(crate) bound: u64,
    /// Pairs of victim and preemptor that occurred more than once.
    pub(crate) repeated_pairs: u64,
    /// The longest wait of an emergency of the highest tier.
    pub(crate) emergency_wait_max_s: f64,
}

impl Preemptions {
    pub(crate) const fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bound += other.bound;
        self.repeated_pairs += other.repeated_pairs;
        self.emergency_wait_max_s = self.emergency_wait_max_s.max(other.emergency_wait_max_s);
    }
}

/// `EMERGENCY_FIRST` with three emergencies in a hundred jobs, of all levels in turn, which may stop jobs of lower tiers
/// by the default rules. A job that is stopped starts from the beginning.
///
/// # Errors
/// If a job never ends, or the bound is exceeded.
pub(crate) fn run(case: &Case, seed: u64) -> Result<Preemptions> {
    let emergency = emergencies(case.jobs.len(), seed);
    let levels = [Level::LIFE_SAFETY, Level::ELEVATED, Level::PUBLIC_SAFETY, Level::CRITICAL_INFRASTRUCTURE];
    let facts = case.facts(|job| if emergency[job] { levels[job % levels.len()] } else { Level::ROUTINE });
    let mut pool = Pool::new(case, facts.clone());
    let mut queue = Keyed::new(StrategyKind::EmergencyFirst.contention(), case, &facts);
    pool.run(&mut queue);
    ensure!(pool.ended == case.jobs.len(), "{} of {} jobs never ended", case.jobs.len() - pool.ended, case.jobs.len());
    let found = pool.found;
    ensure!(found.count <= found.bound, "{} preemptions are over the bound of {}", found.count, found.bound);
    Ok(found)
}

/// One executor with all cores.
struct Pool<'a> {
    case: &'a Case,
    facts: Vec<JobFacts>,
    rules: PreemptionRules,
    budget: PreemptionBudget,
    free: u64,
    /// What the planner sees. Room of jobs that are being stopped counts as free, and is reserved.
    view: ClusterView,
    /// The place of each running job in the view.
    seen: BTreeMap<usize, usize>,
    /// By end, with whether it is stopped then.
    ends: BTreeSet<(u64, usize, bool)>,
    waiting: BTreeSet<usize>,
    planned: BTreeSet<usize>,
    displaced: BTreeMap<usize, WallTime>,
    victims: BTreeMap<usize, Vec<CandidateId>>,
    pairs: BTreeSet<(CandidateId, CandidateId)>,
    found: Preemptions,
    ended: usize,
}

impl<'a> Pool<'a> {
    fn new(case: &'a Case, facts: Vec<JobFacts>) -> Self {
        let capacity = case.total();
        let executor = ExecutorFacts { capacity, free: capacity, tags: BTreeSet::new() };
        let rules = PreemptionRules::default();
        let bound = u64::from(rules.max_count).saturating_mul(case.jobs.len() as u64);
        Self {
            case,
            facts,
            rules,
            budget: PreemptionBudget::default(),
            free: case.cores,
            view: ClusterView::new(vec![executor]),
            seen: BTreeMap::new(),
            ends: BTreeSet::new(),
            waiting: BTreeSet::new(),
            planned: BTreeSet::new(),
            displaced: BTreeMap::new(),
            victims: BTreeMap::new(),
            pairs: BTreeSet::new(),
            found: Preemptions { bound, ..Preemptions::default() },
            ended: 0,
        }
    }

    fn run(&mut self, queue: &mut impl Queue) {
        let mut next = 0;
        loop {
            let end = self.ends.first().map(|(end, ..)| *end);
            let arrival = self.case.jobs.get(next).map(|job| job.submit_ms);
            let Some(now) = end.into_iter().chain(arrival).min() else { break };
            while self.ends.first().is_some_and(|(end, ..)| *end <= now) {
                if let Some((_, job, stopped)) = self.ends.pop_first() {
                    self.end(job, stopped, queue, now);
                }
            }
            while self.case.jobs.get(next).is_some_and(|job| job.submit_ms <= now) {
                self.wait(next, queue);
                next += 1;
            }
            let mut blocked = Vec::new();
            while self.free > 0 {
                let Some(job) = queue.pop(now) else { break };
                if self.case.jobs[job].cores <= self.free {
                    self.start(job, now);
                } else {
                    blocked.push(job);
                }
            }
            blocked.into_iter().for_each(|job| queue.push(job));
            self.ask(now);
        }
    }

    fn wait(&mut self, job: usize, queue: &mut impl Queue) {
        queue.push(job);
        if self.facts[job].level > Level::ROUTINE {
            self.waiting.insert(job);
        }
    }

    fn start(&mut self, job: usize, now: u64) {
        let log = &self.case.jobs[job];
        self.free -= log.cores;
        self.waiting.remove(&job);
        self.planned.remove(&job);
        self.ends.insert((now + log.run_ms, job, false));
        let facts = &self.facts[job];
        if facts.level == Level::LIFE_SAFETY && facts.preempted == 0 {
            self.found.emergency_wait_max_s = self.found.emergency_wait_max_s.max(seconds(now - log.submit_ms));
        }
        let executor = &mut self.view.executors[0];
        executor.free = executor.free.saturating_sub(&facts.demand);
        self.view.reservations.retain(|held| held.job != facts.id);
        self.seen.insert(job, self.view.running.len());
        self.view.running.push(RunningJob::new(facts, 0, WallTime::from_millis(now)));
    }

    fn end(&mut self, job: usize, stopped: bool, queue: &mut impl Queue, now: u64) {
        self.free += self.case.jobs[job].cores;
        self.leave_view(job);
        if stopped {
            self.facts[job].preempted += 1;
            self.displaced.insert(job, WallTime::from_millis(now));
            self.wait(job, queue);
        } else {
            self.ended += 1;
        }
    }

    /// Takes a job out of what the planner sees, if it is there.
    fn leave_view(&mut self, job: usize) {
        let Some(place) = self.seen.remove(&job) else { return };
        self.view.running.swap_remove(place);
        if let Some(moved) = self.view.running.get(place) {
            self.seen.insert(moved.id.0[1] as usize, place);
        }
        let executor = &mut self.view.executors[0];
        executor.free = executor.free.saturating_add(&self.facts[job].demand);
    }

    /// Plans for emergencies that wait without a plan.
    fn ask(&mut self, now: u64) {
        let wall = WallTime::from_millis(now);
        self.view.reservations.retain(|held| !held.has_lapsed(wall));
        let asking: Vec<usize> = self.waiting.difference(&self.planned).copied().collect();
        for job in asking {
            let none = Vec::new();
            let victims = self.victims.get(&job).unwrap_or(&none);
            let displaced = self.displaced.get(&job).copied();
            let preemptor = Preemptor { job: &self.facts[job], displaced, victims };
            let Ok(plan) = plan_preemption(&preemptor, &self.view, &self.rules, &[self.budget], wall) else { continue };
            self.planned.insert(job);
            self.budget.spend(plan.evictions.len() as u64, &self.rules, wall);
            let id = self.facts[job].id;
            for eviction in &plan.evictions {
                self.found.count += 1;
                self.found.repeated_pairs += u64::from(!self.pairs.insert((eviction.job, id)));
                self.victims.entry(job).or_default().push(eviction.job);
                self.stop(eviction.job.0[1] as usize, plan.stop_at.as_millis());
            }
            self.view.reservations.push(plan.reservation);
        }
    }

    /// Ends a running job at `at`, unless it ends by itself before.
    fn stop(&mut self, job: usize, at: u64) {
        self.leave_view(job);
        let end = self.ends.iter().find(|(_, running, _)| *running == job).copied();
        if let Some((end, ..)) = end.filter(|(end, ..)| *end > at) {
            self.ends.remove(&(end, job, false));
            self.ends.insert((at, job, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use reconvene_resolve::Resources;

    use super::*;
    use crate::resolve::workload::read;

    #[test]
    fn an_emergency_stops_one_job_for_each_place_and_the_victim_starts_again() {
        let mut case = read(&[]).unwrap().remove(0).whole();
        case.cores = 1;
        case.jobs.truncate(2);
        for (job, submit_ms) in case.jobs.iter_mut().zip([0, 100_000]) {
            (job.submit_ms, job.run_ms, job.cores) = (submit_ms, 1_000_000, 1);
        }
        let facts = case.facts(|job| if job == 1 { Level::LIFE_SAFETY } else { Level::ROUTINE });
        let mut pool = Pool::new(&case, facts.clone());
        pool.run(&mut Keyed::new(StrategyKind::EmergencyFirst.contention(), &case, &facts));
        assert_eq!((pool.ended, pool.found.count, pool.found.repeated_pairs), (2, 1, 0));
        // It waits for the grace of 30 s.
        assert!((pool.found.emergency_wait_max_s - 30.0).abs() < 1e-9);
        assert_eq!((pool.facts[0].preempted, pool.free), (1, 1));
        assert_eq!(pool.view.executors[0].free, Resources::new(1_000, 0, 0));
    }
}
