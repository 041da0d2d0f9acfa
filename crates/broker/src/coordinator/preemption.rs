//! Preemption: whom to stop so that a graver job can run here, and how that is carried out.
//!
//! The plan is [`plan_preemption`]'s. Victims are *drained*: told that they have the policy's grace to end by themselves,
//! and stopped by their executor when it is over. Their place is kept for the job meanwhile. An attempt that is stopped
//! so ends as preempted, and its job waits on with the stamp it had.

use std::collections::BTreeSet;

use reconvene_clock::{NodeId, WallTime};
use reconvene_executor::{AttemptId, JobId, Resources};
use reconvene_resolve::{
    CandidateId, ClusterView, JobFacts, Level, Preemption, PreemptionRefusal, PreemptionRules, Preemptor, Reason,
    Reservation, ReservationCause, RunningJob, StrategyKind, plan_preemption,
};

use crate::coordinator::Coordinator;
use crate::coordinator::executors::HeldState;
use crate::coordinator::queue::Passed;
use crate::coordinator::reservations::Reserved;
use crate::coordinator::timers::Timer;
use crate::fact::Phase;
use crate::statistics::count;
use crate::view::JobRecord;
use crate::{EventKind, WaitReason, strategy};

/// A job for which others may be stopped.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) job: JobId,
    pub(super) facts: JobFacts,
    /// Who asked for it: each has a budget.
    pub(super) client: &'a str,
    pub(super) demand: Resources,
}

/// The executors as the planner sees them, and what its indexes mean.
struct Cluster {
    view: ClusterView,
    executors: Vec<NodeId>,
    running: Vec<AttemptId>,
}

impl Coordinator {
    /// Looks for room for waiting jobs of a grave level that found none: at the expense of others, if the policy allows.
    pub(super) fn preempt(&mut self) {
        if self.standing.is_empty() || !self.rules().enabled {
            return;
        }
        let by_tier = self.in_force.policy.kind() == StrategyKind::EmergencyFirst;
        let mut passed = Passed { jobs: self.reserved.jobs(), ..Passed::default() };
        while let Some((id, shape)) = self.queue.first(&passed) {
            let Some(job) = self.view.job(id) else { break };
            let level = self.view.level(job, self.at.wall);
            if level == 0 {
                if by_tier {
                    // Nobody behind it in rank is graver.
                    break;
                }
                passed.shapes.insert(shape);
                continue;
            }
            match self.plan_for(job, level) {
                Ok(reserved) => {
                    self.reserve(id, reserved);
                    self.stop_victims(id);
                    passed.jobs.insert(id);
                }
                Err(reason) => {
                    // The same would be said to others of its shape, unless it is about this very job.
                    if reason == (Reason::PreemptionRefused { why: PreemptionRefusal::CoolDown }) {
                        passed.jobs.insert(id);
                    } else {
                        passed.shapes.insert(shape);
                    }
                    self.refuse_preemption(id, &reason);
                }
            }
        }
    }

    fn rules(&self) -> PreemptionRules {
        *self.in_force.policy.preemption()
    }

    /// A place for a job that waits here.
    fn plan_for(&self, job: &JobRecord, level: u8) -> Result<Reserved, Reason> {
        let Some(spec) = &job.spec else { return Err(Reason::AwaitingPolicy) };
        let facts = strategy::job_facts(job.id, &spec.fact, level);
        let (client, demand) = (spec.fact.spec.client.as_str(), spec.fact.spec.demand);
        let facts = JobFacts { requires: tags(spec.fact.spec.requires.iter()), ..facts };
        self.plan_place(&Wanted { job: job.id, facts, client, demand })
    }

    /// A place for a job: room that is free and nobody's, or that is to be freed. Nothing is done yet.
    pub(super) fn plan_place(&self, wanted: &Wanted<'_>) -> Result<Reserved, Reason> {
        let rules = self.rules();
        let now = self.at.wall;
        let cluster = self.cluster(wanted.job);
        let trouble = self.troubles.get(&wanted.job);
        let preemptor = Preemptor {
            job: &wanted.facts,
            displaced: trouble.and_then(|trouble| trouble.displaced),
            victims: trouble.map_or(&[], |trouble| &trouble.victims),
        };
        let tenant = self.budgets.get(wanted.client).copied().unwrap_or_default();
        let budgets = [self.budget, tenant];
        let Preemption { executor, evictions, .. } = plan_preemption(&preemptor, &cluster.view, &rules, &budgets, now)?;
        let stopped: BTreeSet<CandidateId> = evictions.iter().map(|eviction| eviction.job).collect();
        let running = cluster.view.running.iter().zip(&cluster.running);
        let victims = running.filter(|(running, _)| running.executor == executor && stopped.contains(&running.id));
        let Some(node) = cluster.executors.get(executor).copied() else {
            return Err(Reason::PreemptionRefused { why: PreemptionRefusal::WouldNotFit });
        };
        Ok(Reserved {
            executor: node,
            demand: wanted.demand,
            level: wanted.facts.level.get(),
            until: self.at.mono.saturating_add(rules.reserve_ms),
            victims: victims.map(|(_, attempt)| *attempt).collect(),
            carried_out: false,
            foreign: false,
        })
    }

    /// The executors that may take this job, with what runs there. What is stopped already counts as gone: its room is
    /// kept for others by their reservations, or is about to be free.
    fn cluster(&self, id: JobId) -> Cluster {
        let mut cluster = Cluster { view: ClusterView::default(), executors: Vec::new(), running: Vec::new() };
        let serving = self
            .homed
            .iter()
            .filter(|(node, homed)| homed.takes_work() && self.linked.contains(node) && !self.has_refused(id, **node));
        let (mut executors, mut places) = (Vec::new(), Vec::new());
        for (node, homed) in serving {
            let index = executors.len();
            let mut free = homed.capacity;
            let mut slots = homed.slots;
            for (attempt, held) in &homed.attempts {
                match held.state {
                    HeldState::Ended | HeldState::Stopping(_) | HeldState::Draining { .. } => continue,
                    HeldState::Running if self.reserved.is_spoken_for(*attempt) => continue,
                    HeldState::Running | HeldState::Offered => {}
                }
                free = free.saturating_sub(held.demand);
                slots = slots.saturating_sub(1);
                if let Some(running) = self.running_job(*attempt, index).filter(|_| held.state == HeldState::Running) {
                    cluster.view.running.push(running);
                    cluster.running.push(*attempt);
                }
            }
            executors.push(strategy::executor_facts(homed.capacity, free, &homed.tags));
            places.push(slots);
            cluster.executors.push(*node);
        }
        let running = core::mem::take(&mut cluster.view.running);
        let storm = self.storm.is_on();
        let reservations = self.reserved.iter().filter(|(job, _)| *job != id).filter_map(|(job, reserved)| {
            let executor = cluster.executors.iter().position(|node| *node == reserved.executor)?;
            Some(Reservation {
                executor,
                job: strategy::candidate(job),
                level: Level::new(reserved.level).unwrap_or_default(),
                demand: strategy::resources(reserved.demand),
                cause: ReservationCause::Preempted,
                from: self.at.wall,
                until: None,
            })
        });
        let reservations = reservations.collect();
        let view = ClusterView { places, running, reservations, storm, ..ClusterView::new(executors) };
        cluster.view = view.under(&self.in_force.policy);
        cluster
    }

    fn running_job(&self, attempt: AttemptId, executor: usize) -> Option<RunningJob> {
        let job = self.view.job(attempt.job)?;
        let spec = job.spec.as_ref()?;
        let facts = strategy::job_facts(job.id, &spec.fact, self.view.level(job, self.at.wall));
        let facts = JobFacts { preempted: job.preemptions(), ..facts };
        let started = job.attempts.get(&attempt)?.fact().map_or(self.at.wall, |fact| fact.at.wall());
        Some(RunningJob::new(&facts, executor, started))
    }

    /// Tells those whose place was reserved for a job to come to an end.
    pub(super) fn stop_victims(&mut self, id: JobId) {
        let rules = self.rules();
        let until = self.at.mono.saturating_add(rules.grace_ms);
        let kept_until = self.at.mono.saturating_add(rules.reserve_ms);
        let Some(reserved) = self.reserved.get_mut(id) else { return };
        reserved.carried_out = true;
        reserved.foreign = false;
        // From now on it takes as long as the grace of those who are stopped.
        reserved.until = reserved.until.max(kept_until);
        self.timers.arm(Timer::Reserved(id), reserved.until);
        let (executor, victims) = (reserved.executor, reserved.victims.clone());
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        let mut stopped = Vec::new();
        for victim in victims {
            // One that has ended since needs no telling.
            if let Some(held) = homed.attempts.get_mut(&victim).filter(|held| held.state == HeldState::Running) {
                held.state = HeldState::Draining { until, by: id };
                held.sent = None;
                stopped.push(strategy::candidate(victim.job));
            }
        }
        if stopped.is_empty() {
            return;
        }
        let spent = u64::try_from(stopped.len()).unwrap_or(u64::MAX);
        self.spend(id, spent, &rules);
        self.troubles.entry(id).or_default().victims.extend(stopped);
        self.order_now(executor);
    }

    fn spend(&mut self, id: JobId, spent: u64, rules: &PreemptionRules) {
        let now = self.at.wall;
        self.budget.spend(spent, rules, now);
        let client = self.view.job(id).and_then(|job| job.spec.as_ref()).map(|spec| spec.fact.spec.client.clone());
        self.budgets.retain(|_, budget| budget.available(rules, now) < u64::from(rules.budget));
        self.budgets.entry(client.unwrap_or_default()).or_default().spend(spent, rules, now);
    }

    /// An attempt that was to come to its end runs no more and has no result.
    pub(super) fn preempted(&mut self, attempt: AttemptId, by: JobId, registration: u64) {
        let Some(job) = self.view.job(attempt.job) else { return };
        let started = job.attempts.get(&attempt).and_then(|record| record.fact()).map(|fact| fact.at.wall());
        let demand = job.spec.as_ref().map_or(Resources::NONE, |spec| spec.fact.spec.demand);
        let ran_ms = self.at.wall.saturating_since(started.unwrap_or(self.at.wall));
        let lost_resource_ms = demand.cpu_milli.saturating_mul(ran_ms);
        if !self.mark(attempt, Phase::Preempted, registration, 0) {
            return;
        }
        let trouble = self.troubles.entry(attempt.job).or_default();
        trouble.displaced = Some(self.at.wall);
        trouble.preempted_by.insert(attempt, by);
        count(&mut self.statistics.preempted);
        self.notify(EventKind::JobPreempted { job: attempt.job, attempt, by, lost_resource_ms });
    }

    /// Says, once, why nobody is stopped for a job, and looks again when that may have changed.
    fn refuse_preemption(&mut self, id: JobId, reason: &Reason) {
        let why = if let Reason::PreemptionRefused { why } = reason { Some(*why) } else { None };
        let retry = why.and_then(|why| self.ask_again_at(id, why));
        if let Some(at) = retry {
            let ms = at.saturating_since(self.at.wall).max(1);
            self.timers.arm_sooner(Timer::Preempt, self.at.mono.saturating_add(ms));
        }
        let trouble = self.troubles.entry(id).or_default();
        if trouble.refusal.as_ref() == Some(reason) {
            return;
        }
        let first = trouble.refusal.replace(reason.clone()).is_none();
        self.report_refusal(id, reason);
        if first {
            self.notify(EventKind::JobWaiting { job: id, reason: WaitReason::Capacity });
        }
    }

    /// Counts and reports that nobody is stopped for a job.
    pub(super) fn report_refusal(&mut self, job: JobId, reason: &Reason) {
        if let Reason::PreemptionRefused { why } = *reason {
            self.statistics.preemptions_refused.count(why);
            self.notify(EventKind::PreemptionRefused { job, reason: why });
        } else if *reason == Reason::StormGuard {
            count(&mut self.statistics.preemptions_refused.storm);
            self.notify(EventKind::JobWaiting { job, reason: WaitReason::StormGuard });
        }
    }

    /// When what stands in the way of a preemption may have passed, if time alone can do that.
    fn ask_again_at(&self, id: JobId, why: PreemptionRefusal) -> Option<WallTime> {
        let rules = self.rules();
        let now = self.at.wall;
        let when = match why {
            PreemptionRefusal::MinRun => {
                let cluster = self.cluster(id);
                let ripe = cluster.view.running.iter().map(|running| running.started.saturating_add(rules.min_run_ms));
                ripe.filter(|at| *at > now).min()?
            }
            PreemptionRefusal::Budget => now.saturating_add(rules.refill_ms),
            PreemptionRefusal::CoolDown => {
                let displaced = self.troubles.get(&id).and_then(|trouble| trouble.displaced)?;
                displaced.saturating_add(rules.cool_down_ms)
            }
            PreemptionRefusal::NotLowerTier | PreemptionRefusal::MaxCount | PreemptionRefusal::WouldNotFit => {
                return None;
            }
        };
        Some(when)
    }
}

pub(super) fn tags<'a>(tags: impl Iterator<Item = &'a reconvene_executor::Tag>) -> BTreeSet<String> {
    tags.map(|tag| tag.as_str().to_owned()).collect()
}
