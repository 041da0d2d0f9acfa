//! The laws of stopping jobs, on closed systems that are run to their end.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use reconvene_clock::{Hlc, WallTime};

use crate::laws::{Draws, Law, Random, Report, Violation, ensure, of_function};
use crate::{
    CandidateId, ClusterView, ExecutorFacts, JobFacts, Level, Preemption, PreemptionRules, Preemptor, Reason,
    Resources, RunningJob,
};

/// A planner, as [`plan_preemption`](crate::plan_preemption) with budgets left out.
type Planner<'a> = dyn Fn(&Preemptor<'_>, &ClusterView, &PreemptionRules, WallTime) -> Result<Preemption, Reason> + 'a;

/// The laws of a preemption planner, to be [checked](PreemptionLaws::check) on closed systems: some jobs, some executors,
/// each job waiting, running or done, until all are done.
///
/// ```
/// use reconvene_resolve::{laws, plan_preemption};
///
/// let planner = laws::preemption(&|preemptor, view, rules, now| plan_preemption(preemptor, view, rules, &[], now));
/// assert!(planner.histories(20).check().is_ok());
/// ```
#[must_use]
pub fn preemption<'a>(planner: &'a Planner<'a>) -> PreemptionLaws<'a> {
    PreemptionLaws { planner, draws: Draws::DEFAULT }
}

/// See [`preemption`].
#[derive(Clone, Copy)]
pub struct PreemptionLaws<'a> {
    planner: &'a Planner<'a>,
    draws: Draws,
}

of_function!(PreemptionLaws on "systems");

impl PreemptionLaws<'_> {
    /// Runs every system to its end.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<Report, Violation> {
        self.draws.run(Vec::from([Law::PreemptionIsBounded]), |random| {
            let mut system = System::draw(random);
            // All work of all jobs, done as often as they could be stopped, in steps.
            for step in 0..MOST_STEPS {
                if system.jobs.iter().all(|job| job.done) {
                    return Ok(());
                }
                system.step(step, self.planner).map_err(|what| (Law::PreemptionIsBounded, what))?;
            }
            ensure(Law::PreemptionIsBounded, false, || format!("not done after {MOST_STEPS} steps"))
        })
    }
}

const MOST_STEPS: u64 = 500;
const STEP_MS: u64 = 60_000;

struct System {
    rules: PreemptionRules,
    view: ClusterView,
    jobs: Vec<Job>,
}

struct Job {
    facts: JobFacts,
    arrives: u64,
    steps: u64,
    /// The step at which it ends, while it runs.
    ends: Option<u64>,
    done: bool,
    displaced: Option<WallTime>,
    victims: Vec<CandidateId>,
    /// How often it was stopped for jobs below the highest tier.
    stopped: u32,
}

impl System {
    fn draw(random: &mut Random) -> Self {
        let rules = PreemptionRules {
            tier_gap: if random.once_in(4) { 50 } else { 0 },
            min_run_ms: random.below(3).saturating_mul(STEP_MS),
            max_count: u32::try_from(random.below(3)).unwrap_or(0),
            cool_down_ms: random.below(3).saturating_mul(STEP_MS),
            grace_ms: 0,
            ..PreemptionRules::default()
        };
        let executors = (0..random.below(3).saturating_add(1)).map(|_| {
            let capacity = Resources::new(random.below(3).saturating_add(4), 0, 0);
            ExecutorFacts { capacity, free: capacity, tags: BTreeSet::new() }
        });
        let view = ClusterView::new(executors.collect());
        let jobs = (0..random.below(7).saturating_add(2)).map(|number| {
            let level = u8::try_from(random.below(5).saturating_mul(50)).unwrap_or(0);
            let facts = JobFacts {
                level: Level::new(level).unwrap_or_default(),
                demand: Resources::new(random.below(4).saturating_add(1), 0, 0),
                ..JobFacts::new(CandidateId::new(random.below(3), number), Hlc::default())
            };
            let (arrives, steps) = (random.below(3), random.below(4).saturating_add(1));
            let (ends, done, displaced, victims, stopped) = (None, false, None, Vec::new(), 0);
            Job { facts, arrives, steps, ends, done, displaced, victims, stopped }
        });
        Self { rules, view, jobs: jobs.collect() }
    }

    fn step(&mut self, step: u64, planner: &Planner<'_>) -> Result<(), String> {
        let now = WallTime::from_millis(step.saturating_mul(STEP_MS));
        for place in 0..self.jobs.len() {
            let over = self.jobs.get(place).is_some_and(|job| job.ends.is_some_and(|end| end <= step));
            if over {
                self.leave(place);
                if let Some(job) = self.jobs.get_mut(place) {
                    job.done = true;
                }
            }
        }
        // Who is stopped waits again in the same round: each job is looked at until none is left that was not.
        let mut seen = BTreeSet::new();
        while let Some(place) = self.next_waiting(step, &seen) {
            seen.insert(self.attempt(place));
            let Some(facts) = self.jobs.get(place).map(|job| job.facts.clone()) else { continue };
            let room = self.view.executors.iter().position(|executor| executor.free.holds(&facts.demand));
            let room = match room {
                Some(room) => Some(room),
                None => self.displace(place, now, planner)?,
            };
            if let Some(room) = room {
                self.start(place, room, step, now)?;
            }
        }
        Ok(())
    }

    /// The first of the waiting jobs whose present attempt to start was not looked at yet.
    fn next_waiting(&self, step: u64, seen: &BTreeSet<(usize, u32)>) -> Option<usize> {
        let waiting = self.jobs.iter().enumerate().filter(|(place, job)| {
            !job.done && job.ends.is_none() && job.arrives <= step && !seen.contains(&self.attempt(*place))
        });
        waiting.min_by_key(|(_, job)| (job.facts.level.tier(), job.facts.id)).map(|(place, _)| place)
    }

    fn attempt(&self, place: usize) -> (usize, u32) {
        (place, self.jobs.get(place).map_or(0, |job| job.facts.preempted))
    }

    /// Stops whom the planner names, after having looked at it.
    fn displace(&mut self, place: usize, now: WallTime, planner: &Planner<'_>) -> Result<Option<usize>, String> {
        let Some(job) = self.jobs.get(place) else { return Ok(None) };
        let preemptor = Preemptor { job: &job.facts, displaced: job.displaced, victims: &job.victims };
        let Ok(plan) = planner(&preemptor, &self.view, &self.rules, now) else { return Ok(None) };
        let (id, level) = (job.facts.id, job.facts.level);
        for eviction in &plan.evictions {
            let running = self.view.running.iter().find(|running| running.id == eviction.job);
            let victim = running.ok_or_else(|| format!("{} does not run", eviction.job))?;
            if victim.level >= level || victim.executor != plan.executor {
                return Err(format!("{id} of {level} would stop {} of {}", victim.id, victim.level));
            }
            self.evict(eviction.job, id, level, now)?;
        }
        Ok(Some(plan.executor))
    }

    fn evict(&mut self, victim: CandidateId, by: CandidateId, level: Level, now: WallTime) -> Result<(), String> {
        let most = self.rules.max_count;
        let Some(place) = self.jobs.iter().position(|job| job.facts.id == victim) else { return Ok(()) };
        self.leave(place);
        if let Some(job) = self.jobs.get_mut(place) {
            job.displaced = Some(now);
            job.facts.preempted = job.facts.preempted.saturating_add(1);
            job.stopped = job.stopped.saturating_add(u32::from(level < Level::LIFE_SAFETY));
            if job.stopped > most {
                return Err(format!("{victim} was stopped {} times, the limit is {most}", job.stopped));
            }
        }
        let Some(preemptor) = self.jobs.iter_mut().find(|job| job.facts.id == by) else { return Ok(()) };
        if preemptor.displaced == Some(now) {
            return Err(format!("{by} was displaced in this round and displaces {victim}"));
        }
        if preemptor.victims.contains(&victim) {
            return Err(format!("{victim} was stopped for {by} twice"));
        }
        preemptor.victims.push(victim);
        Ok(())
    }

    fn leave(&mut self, place: usize) {
        let Some(job) = self.jobs.get_mut(place) else { return };
        job.ends = None;
        let id = job.facts.id;
        if let Some(running) = self.view.running.iter().find(|running| running.id == id)
            && let Some(executor) = self.view.executors.get_mut(running.executor)
        {
            executor.free = executor.free.saturating_add(&running.demand);
        }
        self.view.running.retain(|running| running.id != id);
    }

    fn start(&mut self, place: usize, room: usize, step: u64, now: WallTime) -> Result<(), String> {
        let (Some(job), Some(executor)) = (self.jobs.get_mut(place), self.view.executors.get_mut(room)) else {
            return Err(format!("there is no executor {room}"));
        };
        if !executor.free.holds(&job.facts.demand) {
            return Err(format!("{} does not fit executor {room}", job.facts.id));
        }
        executor.free = executor.free.saturating_sub(&job.facts.demand);
        job.ends = Some(step.saturating_add(job.steps));
        self.view.running.push(RunningJob::new(&job.facts, room, now));
        Ok(())
    }
}

/// A rule for swaps, as [`swap_pays`](crate::swap_pays): gain, value of the victims, value lost.
type Pays<'a> = dyn Fn(u64, u64, u64) -> bool + 'a;

/// The law of swaps for value: what pays one way never pays back.
#[must_use]
pub fn swaps<'a>(pays: &'a Pays<'a>) -> SwapLaws<'a> {
    SwapLaws { pays, draws: Draws::DEFAULT }
}

/// See [`swaps`].
#[derive(Clone, Copy)]
pub struct SwapLaws<'a> {
    pays: &'a Pays<'a>,
    draws: Draws,
}

of_function!(SwapLaws on "pairs");

impl SwapLaws<'_> {
    /// Tries every pair both ways.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<Report, Violation> {
        self.draws.run(Vec::from([Law::SwapIsNotReversible]), |random| {
            let limit = [3, 100, 1_000_000].get(random.place(3)).copied().unwrap_or(3);
            let mut value = || random.below(limit).saturating_add(1);
            let (gain, victims, lost) = (value(), value(), value().saturating_sub(1));
            // At worst nothing is lost on the way back.
            let back = (self.pays)(gain, victims, lost) && (self.pays)(victims, gain, 0);
            ensure(Law::SwapIsNotReversible, !back, || format!("{gain} for {victims}, losing {lost}, and back"))
        })
    }
}
