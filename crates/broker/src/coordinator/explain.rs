//! Why a job or a result is where it is: read off the view, changing nothing.

use reconvene_clock::{NodeId, Timestamp};
use reconvene_executor::{AttemptId, Finality, JobId, Rejection, Resources, SubmissionId};
use reconvene_resolve::{CandidateId, Dimension, Reason};

use crate::coordinator::executors::Homed;
use crate::coordinator::timers::Timer;
use crate::coordinator::{Coordinator, number};
use crate::explain::{Contest, EmergencyStanding, Explanation, Ground, Obstacle, ResultRule, Subject};
use crate::fact::{ExecutorState, OwnCause, Phase, SubmissionFact, Verdict};
use crate::view::{JobRecord, in_force};
use crate::{CommandError, JobStatus, LossCause, WaitReason, strategy};

const LISTED: usize = Explanation::LISTED;

impl Coordinator {
    /// Why a job or a result is where it is, as far as this broker knows.
    ///
    /// # Errors
    /// [`CommandError::UnknownJob`], [`CommandError::UnknownResult`].
    ///
    /// # Complexity
    /// Linear in what is known of the job, in the executors known and, of a job that waits here, in the jobs that wait
    /// before it. A result is looked for in all jobs.
    pub fn explain(&self, of: Subject) -> Result<Explanation, CommandError> {
        match of {
            Subject::Job(id) => match self.view.job(id) {
                Some(job) => Ok(self.explain_job(job)),
                None if self.parked.contains(id) => Ok(self.explain_job(&JobRecord::new(id))),
                None => Err(CommandError::UnknownJob { job: id }),
            },
            Subject::Result(result) => {
                let job = self.view.jobs_after(None).find(|job| job.submissions.contains_key(&result));
                job.map(|job| self.explain_result(job, result)).ok_or(CommandError::UnknownResult { result })
            }
        }
    }

    fn explanation(&self, job: &JobRecord, grounds: Vec<Ground>) -> Explanation {
        let ownership = job.ownership();
        Explanation {
            job: job.id,
            result: None,
            status: job.status(self.config.retries),
            told_by: self.own.replica,
            owner: ownership.owner,
            epoch: ownership.epoch,
            grounds,
        }
    }

    fn explain_job(&self, job: &JobRecord) -> Explanation {
        let mut grounds = Vec::new();
        if job.spec.is_none() {
            grounds.push(Ground::SpecificationMissing);
        }
        match job.status(self.config.retries) {
            JobStatus::Unknown | JobStatus::Dispatched | JobStatus::Running => {}
            JobStatus::Waiting | JobStatus::Redeploying => self.why_waiting(job, &mut grounds),
            JobStatus::Failed => {
                grounds.push(Ground::TriesUsed { failures: job.failures(), retries: self.config.retries });
            }
            JobStatus::Cancelled | JobStatus::Completed => {}
            JobStatus::Quarantined => self.why_quarantined(job, &mut grounds),
        }
        self.why_canonical(job, &mut grounds);
        self.why_cancelled(job, &mut grounds);
        grounds.extend(job.ownership().cause.map(|cause| Ground::Owned { cause }));
        grounds.extend(self.why_level(job));
        self.why_preempted(job, &mut grounds);
        self.why_stopped(job, &mut grounds);
        let attempts = job.attempts.keys().take(LISTED);
        grounds.extend(attempts.map(|attempt| self.why_attempt(job, *attempt)));
        if let Some(more) = more(job.attempts.len()) {
            grounds.push(Ground::MoreAttempts { more });
        }
        grounds.extend(job.submissions.iter().take(LISTED).map(|(id, fact)| why_judged(job, *id, fact)));
        if let Some(more) = more(job.submissions.len()) {
            grounds.push(Ground::MoreResults { more });
        }
        let parked = self.parked.of(job.id);
        grounds.extend(parked.iter().take(LISTED).map(|kept| Ground::Parked {
            attempt: kept.submit.attempt,
            executor: kept.from,
            for_ms: kept.until.saturating_since(self.at.mono),
        }));
        if let Some(more) = more(parked.len()) {
            grounds.push(Ground::MoreResults { more });
        }
        self.explanation(job, grounds)
    }

    fn explain_result(&self, job: &JobRecord, result: SubmissionId) -> Explanation {
        let mut grounds = Vec::new();
        if let Some(fact) = job.submissions.get(&result) {
            grounds.push(why_judged(job, result, fact));
        }
        self.why_canonical(job, &mut grounds);
        Explanation { result: Some(result), ..self.explanation(job, grounds) }
    }

    fn why_waiting(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let (id, at) = (job.id, self.at.mono);
        let owner = job.ownership();
        if owner.owner != self.own.replica {
            grounds.push(Ground::OwnerPlaces { gone: self.gone_since(owner.owner).is_some() });
            return;
        }
        if self.learning {
            grounds.push(Ground::Learning);
            return;
        }
        if self.waits_for_storm(id) {
            grounds.push(Ground::Held { reason: WaitReason::StormGuard, for_ms: None });
            return;
        }
        let left = |until: Timestamp| Some(until.saturating_since(at));
        let not_before = self.locals.get(id).map(|local| local.not_before).filter(|until| *until > at);
        if let Some(until) = not_before.filter(|_| owner.cause == Some(OwnCause::TakenOver)) {
            grounds.push(Ground::Held { reason: WaitReason::Recovering, for_ms: left(until) });
            return;
        }
        if let Some(until) = self.suspected_until(id).filter(|_| !self.queue.contains(id)) {
            grounds.push(Ground::Held { reason: WaitReason::Crashed, for_ms: left(until) });
            return;
        }
        if self.is_given_up_in_error(job) {
            grounds.push(Ground::Held { reason: WaitReason::Reappearing, for_ms: None });
            return;
        }
        if self.queue.contains(id) {
            self.why_queued(job, grounds);
        }
    }

    fn why_queued(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let (before, nearest) = self.queue.before(job.id, LISTED);
        let place = number(before).saturating_add(1);
        let strategy = self.in_force.policy.kind();
        grounds.push(Ground::Queued { place, waiting: number(self.queue.len()), strategy });
        grounds.extend(nearest.into_iter().rev().filter_map(|ahead| self.why_behind(job, ahead)));
        let mut executors: Vec<_> =
            self.homed.iter().map(|(id, homed)| (*id, self.obstacle(job, *id, homed))).collect();
        let here = executors.len();
        let at_home = |id: &NodeId| self.homed.contains_key(id);
        let elsewhere = self
            .view
            .executors()
            .filter(|(id, home, fact)| *home != self.own.replica && fact.state == ExecutorState::Up && !at_home(id));
        executors.extend(elsewhere.map(|(id, home, _)| (id, Obstacle::Elsewhere { home })));
        let nearest = executors.iter().take(here).min_by_key(|(id, obstacle)| (distance(obstacle), *id)).cloned();
        if here == 0 {
            grounds.push(Ground::NoExecutors);
        }
        let looked_at = executors.len();
        let named = executors.into_iter().take(LISTED);
        grounds.extend(named.map(|(executor, obstacle)| Ground::Executor { executor, obstacle }));
        if let Some(more) = more(looked_at) {
            grounds.push(Ground::MoreExecutors { more });
        }
        self.why_kept(job, grounds);
        if let Some((executor, obstacle)) = nearest {
            grounds.push(Ground::WouldStartIf { executor, obstacle });
        }
        let Some(spec) = &job.spec else { return };
        let slots = self.slots_elsewhere(&spec.fact.spec).values().fold(0_u64, |sum, slots| sum.saturating_add(*slots));
        if slots > 0 {
            let due = self.timers.when(Timer::HandOver(job.id));
            let within_ms = due.map_or(self.config.place_after_ms, |due| due.saturating_since(self.at.mono));
            grounds.push(Ground::CapableElsewhere { slots, within_ms });
        }
    }

    fn why_behind(&self, job: &JobRecord, ahead: JobId) -> Option<Ground> {
        let facts = |job: &JobRecord| {
            let spec = job.spec.as_ref()?;
            Some(strategy::job_facts(job.id, &spec.fact, self.view.level(job, self.at.wall)))
        };
        let jobs = [facts(self.view.job(ahead)?)?, facts(job)?];
        let decision = strategy::order(&self.in_force.policy, jobs, self.total_capacity())?;
        let deciding = decision.deciding?;
        let needs = decision.counterfactual(CandidateId::new(job.id.admitted_by.get(), job.id.sequence))?.to_string();
        Some(Ground::Behind { job: ahead, by: deciding.into(), needs })
    }

    /// Why an executor of ours is not given a job.
    fn obstacle(&self, job: &JobRecord, id: NodeId, homed: &Homed) -> Obstacle {
        let Some(spec) = &job.spec else { return Obstacle::None };
        let spec = &spec.fact.spec;
        if homed.is_gone() {
            return Obstacle::Gone;
        }
        let missing = spec.requires.difference(&homed.tags).map(|tag| tag.as_str().to_owned());
        let missing: std::collections::BTreeSet<_> = missing.collect();
        if !missing.is_empty() {
            return Obstacle::Reason(Reason::NoExecutorWithTags { missing });
        }
        if let Some(short) = shortage(spec.demand, homed.capacity) {
            return Obstacle::TooSmall(short);
        }
        if homed.must_register {
            return Obstacle::AwaitsRegistration;
        }
        if homed.draining {
            return Obstacle::Draining;
        }
        if homed.suspect {
            return Obstacle::Silent { for_ms: self.at.mono.saturating_since(homed.heard) };
        }
        if !self.linked.contains(&id) {
            return Obstacle::Unreachable;
        }
        if homed.free_slots() == 0 {
            return Obstacle::NoFreeSlot { slots: homed.slots };
        }
        if let Some(short) = shortage(spec.demand, homed.free()) {
            return Obstacle::Reason(short);
        }
        let refused = self.troubles.get(&job.id).and_then(|trouble| trouble.refused_by.get(&id));
        let refused = refused.filter(|refused| {
            (refused.session, refused.registration) == (homed.session, homed.registration)
                && refused.until.is_none_or(|until| self.at.mono < until)
        });
        if let Some(refused) = refused {
            let again_in_ms = refused.until.map(|until| until.saturating_since(self.at.mono));
            return Obstacle::Refused { again_in_ms };
        }
        let kept = self.held_back(job, self.free_capacity(), self.total_capacity());
        kept.map_or(Obstacle::None, Obstacle::Reason)
    }

    fn why_quarantined(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let Some(hold) = job.quarantine() else { return };
        let release = self.timers.when(Timer::Release(job.id));
        grounds.push(Ground::Quarantined {
            reason: hold.reason,
            losses: job.losses().max(hold.losses),
            owner: hold.owner,
            release_in_ms: release.map(|due| due.saturating_since(self.at.mono)),
        });
    }

    fn why_cancelled(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let Some((by, first)) = job.cancelled() else { return };
        let ago_ms = self.at.wall.saturating_since(first.wall());
        grounds.push(Ground::Cancelled { by, ago_ms, too_late: job.has_success() });
    }

    fn why_level(&self, job: &JobRecord) -> Option<Ground> {
        let id = job.spec.as_ref()?.fact.spec.emergency?;
        let level = self.view.level(job, self.at.wall);
        let standing = match self.view.emergency(id) {
            None => EmergencyStanding::Unknown,
            Some(known) if !in_force(known, self.at.wall) => EmergencyStanding::Ended,
            Some(_) if level == 0 => EmergencyStanding::OutOfScope,
            Some(_) => EmergencyStanding::InForce,
        };
        Some(Ground::Emergency { id, level, standing })
    }

    fn why_attempt(&self, job: &JobRecord, attempt: AttemptId) -> Ground {
        let record = job.attempts.get(&attempt);
        let fact = record.and_then(|record| record.fact());
        let phase = record.and_then(|record| record.phase());
        let seen = || self.troubles.get(&job.id).and_then(|trouble| trouble.causes.get(&attempt).copied());
        // Only who gave it up knows why. Of a newer session everybody does.
        let told = || {
            let fact = fact?;
            let (_, now) = self.view.executor(fact.executor)?;
            (now.session > fact.session).then_some(LossCause::NewSession)
        };
        let lost = (phase == Some(Phase::Lost)).then(|| seen().or_else(told)).flatten();
        let placed = self.locals.get(job.id).and_then(|local| local.choice);
        let current = job.current_attempt().filter(|current| job.token(current) > job.token(&attempt));
        Ground::Attempt {
            attempt,
            executor: fact.map(|fact| fact.executor),
            phase,
            cause: fact.map(|fact| fact.cause),
            choice: placed.filter(|(placed, _)| *placed == attempt).map(|(_, choice)| choice),
            ago_ms: fact.map(|fact| self.at.wall.saturating_since(fact.at.wall())),
            lost,
            replaced_by: current,
        }
    }

    fn why_canonical(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let Some(canonical) = job.canonical() else {
            if job.is_unresolved() {
                grounds.extend(job.awaited_policy().map(|policy| Ground::AwaitingPolicy { policy }));
            }
            return;
        };
        let Some(policy) = job.policy() else {
            grounds.extend(job.awaited_policy().map(|policy| Ground::AwaitingPolicy { policy }));
            return;
        };
        let successes = || job.accepted().filter(|(_, fact)| fact.success);
        let decision = strategy::decision(job.id, policy, successes());
        let stable = self.ladder.is_stable(job.id, canonical);
        grounds.push(Ground::Decision {
            canonical,
            policy: policy.id(),
            strategy: policy.kind(),
            candidates: number(successes().count()),
            by: decision.and_then(|decision| decision.deciding).map(Into::into),
            finality: if stable { Finality::Stable } else { Finality::Provisional },
            contest: if job.first_stands() {
                Contest::FirstStands
            } else if job.is_settled() {
                Contest::Settled
            } else {
                Contest::Open
            },
        });
    }
}

/// How a result was judged, and where it stands beside the one that counts.
fn why_judged(job: &JobRecord, id: SubmissionId, fact: &SubmissionFact) -> Ground {
    let beside = job.canonical_fact().zip(job.policy()).and_then(|(canonical, policy)| {
        let pair = [canonical, (id, fact)];
        let others = if canonical.0 == id { &pair[..1] } else { &pair[..] };
        strategy::decision(job.id, policy, others.iter().copied())
    });
    let candidate = CandidateId::new(id.accepted_by.get(), id.number);
    let counts = job.canonical() == Some(id);
    // One that goes before the one that counts and was refused all the same came too late for it.
    let too_late = !counts && beside.as_ref().is_some_and(|decision| decision.winner() == candidate);
    let standing = beside.as_ref().and_then(|decision| decision.standing(candidate));
    let standing = standing.map(|standing| standing.reason.clone()).filter(|_| !too_late);
    let agrees = matches!(standing, Some(Reason::AgreesWith { .. }));
    let behind_by = beside.as_ref().and_then(|decision| decision.deciding).filter(|_| !counts && !too_late && !agrees);
    let needs = match beside.and_then(|decision| decision.counterfactual(candidate)) {
        _ if too_late => Some("would have had to come before the job was settled".to_owned()),
        needs => needs.filter(|_| !agrees).map(|needs| needs.to_string()),
    };
    Ground::Judged {
        submission: id,
        attempt: fact.attempt,
        executor: fact.executor,
        success: fact.success,
        rule: rule(job, id, fact),
        verdict: fact.verdict,
        standing,
        behind_by: behind_by.map(Into::into),
        needs,
        named: fact.named,
    }
}

/// The row of the table of duplicates by which a result was judged.
fn rule(job: &JobRecord, id: SubmissionId, fact: &SubmissionFact) -> ResultRule {
    let beside = |other: SubmissionId| match job.submissions.get(&other) {
        Some(other) if other.attempt == fact.attempt => ResultRule::Resubmission,
        Some(other) if other.executor == fact.executor => ResultRule::SameExecutor,
        Some(_) | None => ResultRule::OtherExecutor,
    };
    match fact.verdict {
        Verdict::Accepted if !fact.success => ResultRule::CurrentAttempt,
        Verdict::Accepted => {
            let earlier = job.accepted().filter(|(other, before)| {
                before.success && other.accepted_by == id.accepted_by && other.number < id.number
            });
            earlier.map(|(other, _)| other).max().map_or(ResultRule::First, beside)
        }
        Verdict::Refused(rejection) => match rejection {
            Rejection::Late { .. } => ResultRule::Late,
            Rejection::Divergent => ResultRule::Resubmission,
            Rejection::NotCurrent { .. } => ResultRule::CurrentAttempt,
            Rejection::Equivalent { canonical, .. }
            | Rejection::LostTo { canonical }
            | Rejection::Settled { canonical }
            | Rejection::AlreadyAccepted { by: canonical } => beside(canonical),
            Rejection::NotAssigned
            | Rejection::StaleSpec { .. }
            | Rejection::DigestMismatch { .. }
            | Rejection::TooLarge { .. } => ResultRule::First,
        },
    }
}

/// What is short of a demand, the greatest lack as a share of what is asked for.
fn shortage(demand: Resources, free: Resources) -> Option<Reason> {
    let dimensions = [
        (Dimension::Cpu, demand.cpu_milli, free.cpu_milli),
        (Dimension::Memory, demand.memory_mib, free.memory_mib),
        (Dimension::Gpu, demand.gpu_milli, free.gpu_milli),
    ];
    let short =
        dimensions.into_iter().map(|(dimension, wanted, free)| (wanted.saturating_sub(free), wanted, dimension));
    let share = |short: u64, wanted: u64| (u128::from(short) << 20).checked_div(u128::from(wanted));
    let worst = short.filter(|(short, ..)| *short > 0).max_by_key(|(short, wanted, _)| share(*short, *wanted));
    worst.map(|(short_by, _, dimension)| Reason::WaitingForCapacity { dimension, short_by })
}

/// How far an executor is from taking a job: smaller is nearer.
fn distance(obstacle: &Obstacle) -> (u8, u64) {
    match obstacle {
        Obstacle::None => (0, 0),
        Obstacle::Reason(Reason::WaitingForCapacity { short_by, .. } | Reason::KeptAsHeadRoom { short_by, .. }) => {
            (1, *short_by)
        }
        Obstacle::NoFreeSlot { .. } => (1, 0),
        Obstacle::Refused { again_in_ms } => (2, again_in_ms.unwrap_or(u64::MAX)),
        Obstacle::Silent { for_ms } => (3, *for_ms),
        Obstacle::Unreachable | Obstacle::AwaitsRegistration => (4, 0),
        Obstacle::Draining => (5, 0),
        Obstacle::Reason(_) => (6, 0),
        Obstacle::TooSmall(_) => (7, 0),
        Obstacle::Gone => (8, 0),
        Obstacle::Elsewhere { .. } => (9, 0),
    }
}

/// How many are not named.
fn more(count: usize) -> Option<u64> {
    Some(number(count.saturating_sub(LISTED))).filter(|more| *more > 0)
}
