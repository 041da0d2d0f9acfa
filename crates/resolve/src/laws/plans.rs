//! The law of plans that keep a head room, on queues before a few executors that are run to their end.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use reconvene_clock::{Hlc, WallTime};

use crate::laws::{Draws, Law, Random, Report, Violation, ensure, of_function};
use crate::{
    AgeingRules, CandidateId, ClusterView, Dimension, ExecutorFacts, HeadRoom, JobFacts, Level, Plan, Reason,
    Resources, RoundFacts, RunningJob, TierShares,
};

/// A planner, as [`ContentionStrategy::plan`](crate::ContentionStrategy::plan).
type Planner<'a> = dyn Fn(&[JobFacts], &ClusterView, &RoundFacts, WallTime) -> Plan + 'a;

/// The law of the [head room](HeadRoom), to be [checked](PlanLaws::check) of a planner on closed systems: some jobs of
/// all tiers and some executors, planned round by round until all jobs have run.
///
/// ```
/// use reconvene_resolve::{StrategyKind, laws};
///
/// let strategy = StrategyKind::EmergencyFirst.contention();
/// let report = laws::plans(&|jobs, view, round, now| strategy.plan(jobs, view, round, now)).histories(20).check();
/// assert!(report.is_ok());
/// ```
#[must_use]
pub fn plans<'a>(planner: &'a Planner<'a>) -> PlanLaws<'a> {
    PlanLaws { planner, draws: Draws::DEFAULT }
}

/// See [`plans`].
#[derive(Clone, Copy)]
pub struct PlanLaws<'a> {
    planner: &'a Planner<'a>,
    draws: Draws,
}

of_function!(PlanLaws on "systems");

impl PlanLaws<'_> {
    /// Runs every system to its end.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<Report, Violation> {
        let law = Law::HeadRoomIsKept;
        self.draws.run(Vec::from([law]), |random| {
            let mut system = System::draw(random);
            for step in 0..MOST_STEPS {
                if system.waiting.is_empty() && system.ends.is_empty() && system.coming.is_empty() {
                    return Ok(());
                }
                system.step(step, self.planner).map_err(|what| (law, what))?;
            }
            ensure(law, false, || format!("{} jobs still wait after {MOST_STEPS} steps", system.waiting.len()))
        })
    }
}

const MOST_STEPS: u64 = 100;
const STEP_MS: u64 = 60_000;

struct System {
    view: ClusterView,
    /// Jobs that have not come yet, with the steps that they run; by the step at which they come.
    coming: Vec<(u64, JobFacts, u64)>,
    waiting: BTreeMap<CandidateId, (JobFacts, u64)>,
    /// The step at which each running job ends.
    ends: BTreeMap<CandidateId, u64>,
}

impl System {
    fn draw(random: &mut Random) -> Self {
        let executors = (0..random.below(3).saturating_add(1)).map(|_| {
            let capacity = Resources::new(random.below(3).saturating_add(4), 8, 0);
            ExecutorFacts { capacity, free: capacity, tags: BTreeSet::new() }
        });
        let mut view = ClusterView::new(executors.collect());
        view.head_room = HeadRoom::new(Resources::new(random.below(5), random.below(3), 0));
        view.ageing = AgeingRules {
            reserve_after_ms: random.below(4).saturating_mul(STEP_MS),
            shares: TierShares::NONE,
            ..AgeingRules::default()
        };
        let mut coming: Vec<_> = (0..random.below(12).saturating_add(4))
            .map(|number| {
                let arrives = random.below(12);
                let submitted = WallTime::from_millis(arrives.saturating_mul(STEP_MS));
                let level = if random.once_in(3) { random.below(5).saturating_mul(50) } else { 0 };
                let steps = random.below(4).saturating_add(1);
                let job = JobFacts {
                    level: u8::try_from(level).ok().and_then(Level::new).unwrap_or_default(),
                    demand: Resources::new(random.below(5), random.below(3), 0),
                    estimate_ms: if random.once_in(2) { steps.saturating_mul(STEP_MS) } else { 0 },
                    ..JobFacts::new(
                        CandidateId::new(random.below(3), number),
                        Hlc::from_parts(submitted, 0).unwrap_or_default(),
                    )
                };
                (arrives, job, steps)
            })
            .collect();
        coming.sort_by_key(|(arrives, job, _)| (*arrives, job.id));
        Self { view, coming, waiting: BTreeMap::new(), ends: BTreeMap::new() }
    }

    fn step(&mut self, step: u64, planner: &Planner<'_>) -> Result<(), String> {
        self.end(step);
        let (come, coming) = core::mem::take(&mut self.coming).into_iter().partition(|(arrives, ..)| *arrives <= step);
        self.coming = coming;
        let come: Vec<(u64, JobFacts, u64)> = come;
        self.waiting.extend(come.into_iter().map(|(_, job, steps)| (job.id, (job, steps))));
        let jobs: Vec<JobFacts> = self.waiting.values().map(|(job, _)| job.clone()).collect();
        let now = WallTime::from_millis(step.saturating_mul(STEP_MS));
        let plan = planner(&jobs, &self.view, &RoundFacts::new(1, self.view.total()), now);
        for placement in &plan.placements {
            let Some((job, steps)) = self.waiting.remove(&placement.job) else {
                return Err(format!("{} does not wait", placement.job));
            };
            self.keeps_head_room(&job)?;
            let room = self.view.executors.get_mut(placement.executor).filter(|room| room.could_start(&job));
            let room = room.ok_or_else(|| format!("{} does not fit executor {}", job.id, placement.executor))?;
            room.free = room.free.saturating_sub(&job.demand);
            self.ends.insert(job.id, step.saturating_add(steps));
            self.view.running.push(RunningJob::new(&job, placement.executor, now));
        }
        for waiting in &plan.waiting {
            let held = matches!(waiting.reason, Reason::KeptAsHeadRoom { .. });
            let gravest = self.waiting.get(&waiting.job).is_some_and(|(job, _)| job.level >= Level::LIFE_SAFETY);
            if held && (gravest || self.view.head_room == HeadRoom::NONE) {
                return Err(format!("{} waits: {}", waiting.job, waiting.reason));
            }
        }
        self.view.reservations = plan.reservations;
        Ok(())
    }

    /// Whether enough is left free if the job starts now.
    fn keeps_head_room(&self, job: &JobFacts) -> Result<(), String> {
        let free = self.view.executors.iter().fold(Resources::default(), |sum, room| sum.saturating_add(&room.free));
        let (total, kept) = (self.view.total(), self.view.head_room.room());
        let asked = || Dimension::ALL.into_iter().filter(|dimension| job.demand.get(*dimension) > 0);
        let with_kept = |dimension| job.demand.get(dimension).saturating_add(kept.get(dimension));
        let may_take_it = job.level >= Level::LIFE_SAFETY || asked().any(|d| with_kept(d) > total.get(d));
        if may_take_it || *kept == Resources::default() || asked().all(|d| with_kept(d) <= free.get(d)) {
            return Ok(());
        }
        Err(format!("{} of {} starts with {free:?} free, of which {kept:?} is kept", job.id, job.level))
    }

    fn end(&mut self, step: u64) {
        let (over, ends) = core::mem::take(&mut self.ends).into_iter().partition(|(_, end)| *end <= step);
        self.ends = ends;
        let over: BTreeMap<CandidateId, u64> = over;
        for running in &self.view.running {
            if let Some(room) = self.view.executors.get_mut(running.executor).filter(|_| over.contains_key(&running.id))
            {
                room.free = room.free.saturating_add(&running.demand);
            }
        }
        self.view.running.retain(|running| !over.contains_key(&running.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A law that never sees a case says nothing about it.
    #[test]
    fn systems_differ_in_all_that_plans_look_at() {
        let systems: Vec<System> = (0..200).map(|number| System::draw(&mut Random::of_history(1, number))).collect();
        let reserve: BTreeSet<u64> = systems.iter().map(|system| system.view.ageing.reserve_after_ms).collect();
        assert_eq!(reserve, [0, STEP_MS, 2 * STEP_MS, 3 * STEP_MS].into());
        assert!(systems.iter().all(|system| system.view.ageing.shares == TierShares::NONE), "shares are another rule");
        let jobs = || systems.iter().flat_map(|system| &system.coming);
        let estimates: BTreeSet<(u64, u64)> = jobs().map(|(_, job, steps)| (job.estimate_ms, *steps)).collect();
        let known = (1..=4).map(|steps| (steps * STEP_MS, steps));
        assert_eq!(estimates, (1..=4).map(|steps| (0, steps)).chain(known).collect());
    }

    /// Of ten cores and a hundred of memory, of which three and forty are kept.
    #[test]
    fn a_start_leaves_the_head_room_of_what_it_takes() {
        let total = Resources::new(10, 100, 10);
        let starts = |free, demand, level| {
            let free = ExecutorFacts { capacity: total, free, tags: BTreeSet::new() };
            let mut view = ClusterView::new(Vec::from([free]));
            view.head_room = HeadRoom::new(Resources::new(3, 40, 0));
            let system = System { view, coming: Vec::new(), waiting: BTreeMap::new(), ends: BTreeMap::new() };
            let job = JobFacts { demand, level, ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) };
            system.keeps_head_room(&job).is_ok()
        };
        let routine = |free, demand| starts(free, demand, Level::ROUTINE);
        assert!(routine(Resources::new(5, 42, 0), Resources::new(2, 2, 0)));
        assert!(!routine(Resources::new(4, 42, 0), Resources::new(2, 2, 0)), "a core too few");
        assert!(!routine(Resources::new(5, 41, 0), Resources::new(2, 2, 0)), "too little memory");
        assert!(routine(Resources::new(5, 0, 0), Resources::new(2, 0, 0)), "of what it does not ask for");
        assert!(!routine(Resources::new(9, 100, 0), Resources::new(7, 0, 0)), "the whole and not more");
        assert!(routine(Resources::new(8, 100, 0), Resources::new(8, 0, 0)), "it could never start");
        assert!(starts(Resources::new(2, 2, 0), Resources::new(2, 2, 0), Level::LIFE_SAFETY));
    }
}
