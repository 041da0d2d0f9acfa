//! Whom to stop so that a graver job can run. Plans only: nothing here stops anything.

mod budget;
mod swap;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use reconvene_clock::WallTime;

pub use self::budget::PreemptionBudget;
pub use self::swap::{plan_swap, swap_pays};

use crate::{
    CandidateId, ClusterView, ExecutorFacts, JobFacts, Level, PreemptionRefusal, Reason, Reservation, ReservationCause,
    Resources, RunningJob, choose_executor, fits,
};

/// When a running job may be stopped for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the parameters of the policy format")]
pub struct PreemptionRules {
    /// Whether at all.
    pub enabled: bool,
    /// How many levels a victim must be below the preemptor beyond being lower at all.
    pub tier_gap: u8,
    /// For how many milliseconds a victim must have run.
    pub min_run_ms: u64,
    /// After how many preemptions a job is immune, except against life safety.
    pub max_count: u32,
    /// For how many milliseconds a displaced job may displace nobody itself.
    pub cool_down_ms: u64,
    /// How many milliseconds a victim has to write a checkpoint and end.
    pub grace_ms: u64,
    /// For how many milliseconds the freed room is kept for the preemptor.
    pub reserve_ms: u64,
    /// How many preemptions may happen at once; life safety may overdraw it.
    pub budget: u32,
    /// After how many milliseconds one of them comes back; at least 1.
    pub refill_ms: u64,
}

impl PreemptionRules {
    /// The largest budget of a policy.
    pub const MAX_BUDGET: u32 = 1_000_000;
}

impl Default for PreemptionRules {
    /// On: 60 s of running, immune after 2, 5 minutes of cool-down, 30 s of grace, 60 s of reservation, 10 at once and
    /// one more each minute.
    fn default() -> Self {
        Self {
            enabled: true,
            tier_gap: 0,
            min_run_ms: 60_000,
            max_count: 2,
            cool_down_ms: 300_000,
            grace_ms: 30_000,
            reserve_ms: 60_000,
            budget: 10,
            refill_ms: 60_000,
        }
    }
}

/// The job that wants to run, and what it did before.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what a preemption may depend on")]
pub struct Preemptor<'a> {
    /// The job.
    pub job: &'a JobFacts,
    /// When it was displaced itself, last.
    pub displaced: Option<WallTime>,
    /// Who was stopped for it before. Nobody is stopped twice for the same job.
    pub victims: &'a [CandidateId],
}

impl<'a> Preemptor<'a> {
    /// A job that was never displaced and for which nobody was stopped yet.
    #[must_use]
    pub const fn new(job: &'a JobFacts) -> Self {
        Self { job, displaced: None, victims: &[] }
    }
}

/// Whom to stop, and what that buys.
///
/// Carrying it out: *drain* (offer the executor nothing new), let each victim that can write a *checkpoint*, and *stop*
/// what still runs at [`stop_at`](Self::stop_at). Their attempts end as preempted; the jobs wait on with the submit stamp
/// they had and [`JobFacts::preempted`] one higher, counted apart from retries and redeployments.
/// [Spend](PreemptionBudget::spend) the budgets, keep the reservation in the view, and count the room of the victims as
/// free in it while they drain, see [`plan_preemption`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "read by whoever carries it out")]
pub struct Preemption {
    /// Where the job will run, as a place in [`ClusterView::executors`].
    pub executor: usize,
    /// Who is stopped, in the order in which they were found; empty if the job fits without.
    pub evictions: Vec<Eviction>,
    /// When the grace is over.
    pub stop_at: WallTime,
    /// The freed room belongs to the job until it starts or this lapses.
    pub reservation: Reservation,
}

/// One job that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "read by whoever carries it out")]
pub struct Eviction {
    /// The job.
    pub job: CandidateId,
    /// Its level.
    pub level: Level,
    /// The work that is lost, in core-milliseconds.
    pub lost_core_ms: u64,
    /// Whether it is asked for a checkpoint first.
    pub checkpoint: bool,
}

/// Whom to stop so that a job of a higher tier can run, if that is worth it.
///
/// 1. A victim is of a strictly lower tier, preemptible, has run for a while, and was not preempted too often. Head starts
///    and age never grant preemption.
/// 2. On each executor victims are collected by ascending (tier, lost work, times preempted, id) until the job fits with
///    all its tags; then those that turn out not to be needed are spared, last first.
/// 3. The executor is the one with the least (highest victim tier, victims, lost work, place).
/// 4. Nobody is stopped for a job that the [head room](ClusterView::head_room) would hold back even then.
/// 5. A job that was displaced a short while ago displaces nobody, so that nothing cascades; and each preemption costs one
///    of every budget in `budgets` (usually the broker's and the tenant's), which life safety may overdraw.
///
/// While victims drain, callers count their room as free in the view that they plan further preemptions with, and leave
/// them out of [`ClusterView::running`]: the reservation keeps others off that room. If the victims stood there as well,
/// the same room would be taken twice, and plans refused that would do. In a view for
/// [placement](crate::ContentionStrategy::plan) the room is free once they have ended.
///
/// n jobs suffer at most `max_count × n` preemptions below the highest tier, and no job is stopped twice for the same
/// other one.
///
/// # Errors
/// [`Reason::PreemptionRefused`]; [`Reason::StormGuard`] while the broker takes itself for cut off; without preemption in
/// the policy, why the job waits.
///
/// # Complexity
/// O(m + r log r) for m executors and r running jobs, and O(v²) to spare victims of an executor with v.
pub fn plan_preemption(
    preemptor: &Preemptor<'_>,
    view: &ClusterView,
    rules: &PreemptionRules,
    budgets: &[PreemptionBudget],
    now: WallTime,
) -> Result<Preemption, Reason> {
    let job = preemptor.job;
    may_ask(preemptor, view, rules, now)?;
    let room = Room::new(job, view, rules, now);
    let best = |eligible: &dyn Fn(&RunningJob) -> bool| {
        let sets = (0..view.executors.len()).filter_map(|index| {
            let victims =
                room.victims_on(index, eligible, |victim| (u64::from(victim.level.get()), victim.lost_core_ms(now)))?;
            let highest = victims.iter().map(|victim| victim.level).max();
            let lost = lost_work(&victims, now);
            Some(((highest, victims.len(), lost, index), victims))
        });
        sets.min_by_key(|(cost, _)| *cost)
    };
    let lower = |victim: &RunningJob| is_lower(victim, job, rules);
    let ran = |victim: &RunningJob| victim.ran_ms(now) >= rules.min_run_ms;
    let spare = |victim: &RunningJob| !is_immune(victim, preemptor, rules);
    let Some(((_, _, _, executor), victims)) = best(&|victim| lower(victim) && ran(victim) && spare(victim)) else {
        let anybody = view.running.iter().any(|victim| lower(victim) && is_large_enough(victim.executor, job, view));
        let why = if best(&|victim| lower(victim) && spare(victim)).is_some() {
            PreemptionRefusal::MinRun
        } else if best(&lower).is_some() {
            PreemptionRefusal::MaxCount
        } else if anybody || !(0..view.executors.len()).any(|index| is_large_enough(index, job, view)) {
            PreemptionRefusal::WouldNotFit
        } else {
            PreemptionRefusal::NotLowerTier
        };
        return Err(Reason::PreemptionRefused { why });
    };
    afford(victims.len(), job, rules, budgets, now)?;
    Ok(preemption(executor, &victims, job, rules, now))
}

/// What must hold before anybody is looked at.
fn may_ask(
    preemptor: &Preemptor<'_>,
    view: &ClusterView,
    rules: &PreemptionRules,
    now: WallTime,
) -> Result<(), Reason> {
    if view.storm {
        return Err(Reason::StormGuard);
    }
    if !rules.enabled {
        choose_executor(preemptor.job, &view.executors)?;
    }
    // Not in the round in which it was displaced either, so that nothing cascades.
    let cools = preemptor.displaced.is_some_and(|at| now <= at || now.saturating_since(at) < rules.cool_down_ms);
    if cools {
        return Err(Reason::PreemptionRefused { why: PreemptionRefusal::CoolDown });
    }
    Ok(())
}

fn is_lower(victim: &RunningJob, job: &JobFacts, rules: &PreemptionRules) -> bool {
    rules.enabled
        && victim.preemptible
        && u16::from(victim.level.get()).saturating_add(rules.tier_gap.into()) < u16::from(job.level.get())
}

fn is_immune(victim: &RunningJob, preemptor: &Preemptor<'_>, rules: &PreemptionRules) -> bool {
    preemptor.victims.contains(&victim.id)
        || victim.preempted >= rules.max_count && preemptor.job.level < Level::LIFE_SAFETY
}

fn is_large_enough(executor: usize, job: &JobFacts, view: &ClusterView) -> bool {
    let executor = view.executors.get(executor);
    executor.is_some_and(|executor| fits(&executor.capacity, &job.demand, &executor.tags, &job.requires))
}

/// The room that a job may have once others are stopped.
struct Room<'a> {
    job: &'a JobFacts,
    view: &'a ClusterView,
    /// When the grace of the victims is over.
    start: WallTime,
    /// Of all executors together.
    free: Resources,
    total: Resources,
}

impl<'a> Room<'a> {
    fn new(job: &'a JobFacts, view: &'a ClusterView, rules: &PreemptionRules, now: WallTime) -> Self {
        let start = now.saturating_add(rules.grace_ms);
        Self { job, view, start, free: view.free_for(job.id, now), total: view.total() }
    }

    /// Whom to stop on one executor so that the job fits, cheapest first; `None` if it does not fit even then.
    fn victims_on(
        &self,
        index: usize,
        eligible: &dyn Fn(&RunningJob) -> bool,
        cost: impl Fn(&RunningJob) -> (u64, u64),
    ) -> Option<Vec<&'a RunningJob>> {
        let Self { job, view, .. } = *self;
        let executor = view.executors.get(index).filter(|_| is_large_enough(index, job, view))?;
        let here = view.running.iter().filter(|running| running.executor == index && eligible(running));
        let mut victims: Vec<&RunningJob> = here.collect();
        victims.sort_by_key(|victim| (cost(victim), victim.preempted, victim.id));
        let fits_without = |stopped: &[&RunningJob]| self.would_fit(index, executor, stopped);
        let needed = (0..=victims.len()).find(|count| victims.get(..*count).is_some_and(&fits_without))?;
        victims.truncate(needed);
        for place in (0..victims.len()).rev() {
            let spared = victims.remove(place);
            if !fits_without(&victims) {
                victims.insert(place, spared);
            }
        }
        Some(victims)
    }

    /// Whether the job could start once these are stopped: in the room there is, without what is kept for others or as
    /// head room.
    fn would_fit(&self, index: usize, executor: &ExecutorFacts, stopped: &[&RunningJob]) -> bool {
        let Self { job, view, .. } = *self;
        let with_stopped =
            |free| stopped.iter().fold(free, |free: Resources, victim| free.saturating_add(&victim.demand));
        let free = with_stopped(executor.free);
        let mut kept = view.reservations.iter().filter(|held| held.executor == index);
        self.has_place(index, stopped.len())
            && free.holds(&job.demand)
            && !kept.any(|held| held.blocks(job, &free, self.start))
            && view.head_room.holds_back(job, &with_stopped(self.free), &self.total).is_none()
    }
}

impl Room<'_> {
    /// Whether one more job can run there at once, beside those for whom a place is kept.
    fn has_place(&self, index: usize, stopped: usize) -> bool {
        let Some(free) = self.view.places.get(index) else { return true };
        let theirs = |held: &&Reservation| {
            held.executor == index
                && held.job != self.job.id
                && held.cause == ReservationCause::Preempted
                && !held.has_lapsed(self.start)
        };
        let kept = self.view.reservations.iter().filter(theirs).count();
        usize::try_from(*free).unwrap_or(usize::MAX).saturating_add(stopped) > kept
    }
}

fn lost_work(victims: &[&RunningJob], now: WallTime) -> u64 {
    victims.iter().fold(0, |sum: u64, victim| sum.saturating_add(victim.lost_core_ms(now)))
}

fn afford(
    victims: usize,
    job: &JobFacts,
    rules: &PreemptionRules,
    budgets: &[PreemptionBudget],
    now: WallTime,
) -> Result<(), Reason> {
    let cost = u64::try_from(victims).unwrap_or(u64::MAX);
    let affordable = budgets.iter().all(|budget| budget.available(rules, now) >= cost);
    if affordable || job.level >= Level::LIFE_SAFETY {
        return Ok(());
    }
    Err(Reason::PreemptionRefused { why: PreemptionRefusal::Budget })
}

fn preemption(
    executor: usize,
    victims: &[&RunningJob],
    job: &JobFacts,
    rules: &PreemptionRules,
    now: WallTime,
) -> Preemption {
    let evictions = victims.iter().map(|victim| Eviction {
        job: victim.id,
        level: victim.level,
        lost_core_ms: victim.lost_core_ms(now),
        checkpoint: victim.checkpoints,
    });
    let stop_at = now.saturating_add(rules.grace_ms);
    let reservation = Reservation {
        executor,
        job: job.id,
        level: job.level,
        demand: job.demand,
        cause: ReservationCause::Preempted,
        from: stop_at,
        until: Some(now.saturating_add(rules.reserve_ms)),
    };
    Preemption { executor, evictions: evictions.collect(), stop_at, reservation }
}
