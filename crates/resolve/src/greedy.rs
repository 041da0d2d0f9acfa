//! The plan that every strategy has: job by job in rank order, each to where it fits best.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use reconvene_clock::WallTime;

use crate::ageing::Floors;
use crate::cluster::freed_for_others;
use crate::{
    CandidateId, ClusterView, ExecutorFacts, FitRule, JobFacts, Lateness, Placement, Plan, Reason, Reservation,
    ReservationCause, Resources, RunningJob, Waiting, choose_executor, fits,
};

/// Places jobs in the order of `key`, smallest first, each on the executor that `rule` chooses. Deadlines,
/// reservations, reserved shares and the head room are kept as the view's rules say.
///
/// # Complexity
/// O(n log n + n × m) for n jobs and m executors, and O(m × r) for each reservation with r running jobs.
pub(crate) fn plan<K: Ord>(
    key: impl Fn(&JobFacts) -> K,
    rule: FitRule,
    jobs: &[JobFacts],
    view: &ClusterView,
    now: WallTime,
) -> Plan {
    let mut round = Round::new(jobs, view, rule, now);
    let mut order: BTreeMap<K, JobFacts> = jobs.iter().map(|job| (key(job), job.clone())).collect();
    while let Some((_, mut job)) = order.pop_first() {
        if view.storm {
            round.wait(job.id, Reason::StormGuard);
            continue;
        }
        match view.ageing.late.dispatch(&mut job, now) {
            Lateness::InTime | Lateness::Unchanged { .. } => round.consider(&job),
            Lateness::Refused { by_ms } => round.wait(job.id, Reason::DeadlineHopeless { by_ms }),
            Lateness::Marked { .. } => {
                round.plan.late.push(job.id);
                // Without its deadline it never moves forward, and may move behind others.
                order.insert(key(&job), job);
            }
        }
    }
    round.plan
}

/// The reservations that still make sense at `now`, with the time at which their place is expected to be free.
pub(crate) fn standing(jobs: &[JobFacts], view: &ClusterView, now: WallTime) -> Vec<Reservation> {
    Round::new(jobs, view, FitRule::Balanced, now).plan.reservations
}

struct Round<'a> {
    rule: FitRule,
    view: &'a ClusterView,
    now: WallTime,
    executors: Vec<ExecutorFacts>,
    running: Vec<RunningJob>,
    floors: Floors,
    total: Resources,
    free: Resources,
    /// What those before in rank have a place for, and wait for the head room beside it.
    owed: Resources,
    plan: Plan,
}

impl<'a> Round<'a> {
    fn new(jobs: &[JobFacts], view: &'a ClusterView, rule: FitRule, now: WallTime) -> Self {
        let (total, usable) = (view.total(), view.executors.iter().map(ExecutorFacts::usable));
        let free = usable.fold(Resources::default(), |sum, usable| sum.saturating_add(&usable));
        let running = view.running.iter().map(|job| (job.level, job.demand));
        let floors = Floors::new(&view.ageing, (total, free), jobs, running, now);
        // More free than there is would be a report gone wrong; it must not place a job.
        let usable = |executor: &ExecutorFacts| ExecutorFacts { free: executor.usable(), ..executor.clone() };
        let executors = view.executors.iter().map(usable).collect();
        let (running, owed, plan) = (view.running.clone(), Resources::default(), Plan::default());
        let mut round = Self { rule, view, now, executors, running, floors, total, free, owed, plan };
        let waiting: BTreeMap<CandidateId, &JobFacts> = jobs.iter().map(|job| (job.id, job)).collect();
        round.plan.reservations = round.standing(&waiting);
        round
    }

    /// The reservations that still make sense, with the time at which their place is expected to be free brought up to
    /// date.
    fn standing(&self, waiting: &BTreeMap<CandidateId, &JobFacts>) -> Vec<Reservation> {
        let kept = self.view.reservations.iter().filter(|held| !held.has_lapsed(self.now));
        let kept = kept.filter_map(|held| match held.cause {
            ReservationCause::Preempted => Some(*held),
            ReservationCause::Waited => {
                let job = waiting.get(&held.job)?;
                let from = self.frees(held.executor, job)?;
                Some(Reservation { from, level: job.level, ..*held })
            }
        });
        kept.collect()
    }

    fn consider(&mut self, job: &JobFacts) {
        if let Some(owner) = self.floors.taken_from(job.level, &job.demand) {
            return self.wait(job.id, Reason::ReservedForOther { job: owner });
        }
        let fitting = self.executors.iter().enumerate().filter(|(index, executor)| {
            fits(&executor.free, &job.demand, &executor.tags, &job.requires)
                && executor.capacity.holds(&job.demand)
                && self.keeper(*index, executor, job).is_none()
        });
        let best = fitting
            .min_by_key(|(index, executor)| (self.is_own(*index, job), self.rule.score_of(executor, &job.demand)));
        let Some((index, _)) = best else { return self.leave(job) };
        match self.held_back(job, index) {
            None => self.start(job, index),
            Some(reason) => self.hold_back(job, reason),
        }
    }

    /// Why the head room holds back a job that would fit an executor, if it does.
    fn held_back(&self, job: &JobFacts, index: usize) -> Option<Reason> {
        let own = |held: &Reservation| {
            held.cause == ReservationCause::Preempted && (held.job, held.executor) == (job.id, index)
        };
        if self.plan.reservations.iter().any(own) {
            return None;
        }
        let freed = freed_for_others(&self.plan.reservations, &self.executors, job.id, self.now);
        let free = self.free.saturating_sub(&freed).saturating_sub(&self.owed);
        self.view.head_room.holds_back(job, &free, &self.total)
    }

    fn hold_back(&mut self, job: &JobFacts, reason: Reason) {
        self.reserve(job);
        if self.plan.reservations.iter().any(|held| held.job == job.id) {
            // Else those behind it could take what frees beside its place, again and again.
            self.owed = self.owed.saturating_add(&job.demand);
        }
        self.wait(job.id, reason);
    }

    /// False, which sorts first, for the place that is kept for the job.
    fn is_own(&self, executor: usize, job: &JobFacts) -> bool {
        !self.plan.reservations.iter().any(|held| held.executor == executor && held.job == job.id)
    }

    /// For whom an executor is kept, if that is somebody else.
    fn keeper(&self, index: usize, executor: &ExecutorFacts, job: &JobFacts) -> Option<CandidateId> {
        let here = self.plan.reservations.iter().filter(|held| held.executor == index);
        here.filter(|held| held.blocks(job, &executor.free, self.now)).map(|held| held.job).next()
    }

    fn start(&mut self, job: &JobFacts, index: usize) {
        if let Some(executor) = self.executors.get_mut(index) {
            executor.free = executor.free.saturating_sub(&job.demand);
        }
        self.free = self.free.saturating_sub(&job.demand);
        self.floors.start(job.level, &job.demand);
        self.running.push(RunningJob::new(job, index, self.now));
        self.plan.reservations.retain(|held| held.job != job.id);
        self.plan.placements.push(Placement { job: job.id, executor: index });
    }

    fn leave(&mut self, job: &JobFacts) {
        let reason = match choose_executor(job, &self.executors) {
            Ok(index) => {
                let keeper = self.executors.get(index).and_then(|executor| self.keeper(index, executor, job));
                // It would fit there, so it was kept from it by a reservation.
                Reason::ReservedForOther { job: keeper.unwrap_or(job.id) }
            }
            Err(reason) => reason,
        };
        self.reserve(job);
        self.wait(job.id, reason);
    }

    /// Keeps the executor that frees first for a job that has waited long enough.
    fn reserve(&mut self, job: &JobFacts) {
        let waited = self.now.saturating_since(job.submitted.wall());
        let reserved = |id: CandidateId| self.plan.reservations.iter().any(|held| held.job == id);
        if waited < self.view.ageing.reserve_after_ms || reserved(job.id) {
            return;
        }
        let unreserved = (0..self.executors.len())
            .filter(|index| !self.plan.reservations.iter().any(|held| held.executor == *index));
        let soonest = unreserved.filter_map(|index| Some((self.frees(index, job)?, index))).min();
        if let Some((from, executor)) = soonest {
            let cause = ReservationCause::Waited;
            let (demand, level) = (job.demand, job.level);
            self.plan.reservations.push(Reservation { executor, job: job.id, level, demand, cause, from, until: None });
        }
    }

    /// When the running jobs of an executor are expected to leave enough room; `None` if it is too small even idle,
    /// lacks tags, or is gone. The last moment there is if that depends on a job of unknown length.
    fn frees(&self, index: usize, job: &JobFacts) -> Option<WallTime> {
        let executor = self.executors.get(index)?;
        if !fits(&executor.capacity, &job.demand, &executor.tags, &job.requires) {
            return None;
        }
        let here = self.running.iter().filter(|running| running.executor == index);
        let last = WallTime::from_millis(u64::MAX);
        let mut ends: Vec<_> = here.map(|running| (running.ends.unwrap_or(last), running.demand)).collect();
        ends.sort_by_key(|(end, _)| *end);
        let mut free = executor.free;
        if free.holds(&job.demand) {
            return Some(self.now);
        }
        for (end, demand) in ends {
            free = free.saturating_add(&demand);
            if free.holds(&job.demand) {
                return Some(end.max(self.now));
            }
        }
        Some(last)
    }

    fn wait(&mut self, job: CandidateId, reason: Reason) {
        self.plan.waiting.push(Waiting { job, reason });
    }
}
