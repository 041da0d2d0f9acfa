//! What must hold, whatever brokers say.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{
    AttemptCause, Event, EventKind, HoldReason, JobStatus, JobView, Node, NodeEvent, OwnCause, StormEnd, StrategyKind,
};
use reconvene_clock::{Counter, NodeId, ReplicaId};
use reconvene_executor::{
    self as executor, Answer, AttemptId, Finality, JobId, OwnershipEpoch, ResultDigest, SpecDigest, SubmissionId,
};
use reconvene_store::{Cursor, MemoryStore, MetadataStore, Prefix, Record, Snapshot, ready};

use super::{JobPlan, Violation};
use crate::world::{Happened, Place, What, World};

/// Everything that clients, executors and readers of events saw, and what follows from it.
#[derive(Debug)]
pub struct Oracle {
    reached: Reached,
    /// After this long without faults, everybody knows what everybody does.
    detected_ms: u64,
    /// When something was last wrong with the network or with a process.
    disturbed_ms: u64,
    /// What clients were told is admitted, and what they asked for.
    admitted: BTreeMap<JobId, Admitted>,
    /// Jobs that died with the only brokers that knew them.
    lost: BTreeSet<JobId>,
    /// Accepted results that died with the only brokers that knew them.
    lost_results: BTreeSet<SubmissionId>,
    /// Jobs whose cancellation was confirmed, by the broker that confirmed it.
    cancelled: BTreeMap<JobId, BTreeSet<usize>>,
    started: BTreeMap<AttemptId, usize>,
    running: BTreeMap<JobId, BTreeSet<AttemptId>>,
    /// The results that runs ended with.
    produced: BTreeMap<AttemptId, ResultDigest>,
    /// Results whose executors were told that they are accepted.
    accepted: BTreeSet<AttemptId>,
    brokers: Vec<Told>,
    /// Results accepted by incarnations that are no more, in order.
    former: Vec<(usize, JobId, Vec<Accepted>)>,
    /// Executors that are gone for good, with what they kept.
    dead: BTreeSet<usize>,
    /// Jobs in quarantine, and the brokers that put them there.
    held: BTreeMap<JobId, BTreeSet<usize>>,
    /// What some broker called stable.
    stable: BTreeMap<JobId, (Option<usize>, SubmissionId)>,
    /// Jobs that some broker said to be stable or cancelled.
    over: BTreeSet<JobId>,
    /// Jobs that some broker has forgotten, with the result that counted; `None` for one that was cancelled.
    forgotten: BTreeMap<JobId, Option<SubmissionId>>,
    /// Jobs that were given another policy, and whose results may change for that.
    repinned: BTreeSet<JobId>,
    /// Whether a broker came back as another incarnation, which nobody knew when results became stable.
    membership_changed: bool,
    /// Attempts placed, and what may be a reason to place another.
    placed: BTreeMap<JobId, Placed>,
}

/// How often a job was placed, and how often there was a reason to.
#[derive(Debug, Default)]
struct Placed {
    attempts: u64,
    causes: u64,
}

impl Placed {
    const fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    const fn cause(&mut self) {
        self.causes = self.causes.saturating_add(1);
    }
}

#[derive(Debug)]
struct Admitted {
    spec: SpecDigest,
    fails: bool,
    /// Whether it names an emergency and is in its region.
    covered: bool,
    by: BTreeSet<usize>,
}

/// What one broker announced.
#[derive(Debug, Default)]
struct Told {
    killed: bool,
    seq: u64,
    issued: Option<Counter>,
    /// Accepted results, in order.
    accepted: BTreeMap<JobId, Vec<Accepted>>,
    /// Changes of the canonical result, in order.
    changes: BTreeMap<JobId, Vec<(SubmissionId, SubmissionId)>>,
    completed: BTreeSet<JobId>,
    /// Jobs that it has forgotten.
    forgotten: BTreeSet<JobId>,
    /// Jobs that it said it owns.
    owned: BTreeSet<JobId>,
    /// Attempts that it heard to be at work on executors of its own.
    at_work: BTreeMap<AttemptId, NodeId>,
}

impl Told {
    /// An attempt was placed here. What is wrong with that?
    fn placed(&self, broker: usize, attempt: AttemptId) -> Option<String> {
        let job = attempt.job;
        if !self.owned.contains(&job) {
            return Some(format!("broker {broker} places {attempt} of a job that it does not own"));
        }
        let first = AttemptId { job, epoch: OwnershipEpoch(0), owner: attempt.owner, number: 0 };
        let (other, _) = self.at_work.range(first..).next().filter(|(other, _)| other.job == job)?;
        Some(format!("broker {broker} places {attempt}, and has heard that {other} is at work"))
    }
}

#[derive(Debug)]
struct Accepted {
    submission: SubmissionId,
    attempt: AttemptId,
    digest: ResultDigest,
}

/// How often something happened, by name: a run in which nothing happened proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    counts: BTreeMap<&'static str, u64>,
}

impl Reached {
    /// How often this happened.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Everything that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in other.iter() {
            self.note(what, count);
        }
    }

    fn note(&mut self, what: &'static str, count: u64) {
        let sum = self.counts.entry(what).or_default();
        *sum = sum.saturating_add(count);
    }
}

impl Oracle {
    /// An oracle for so many brokers that exchange at this interval.
    pub(super) fn new(brokers: usize, sync_ms: u64) -> Self {
        Self {
            detected_ms: sync_ms.saturating_mul(DETECTED_INTERVALS),
            reached: Reached::default(),
            disturbed_ms: 0,
            admitted: BTreeMap::new(),
            lost: BTreeSet::new(),
            lost_results: BTreeSet::new(),
            cancelled: BTreeMap::new(),
            started: BTreeMap::new(),
            running: BTreeMap::new(),
            produced: BTreeMap::new(),
            accepted: BTreeSet::new(),
            brokers: (0..brokers).map(|_| Told::default()).collect(),
            former: Vec::new(),
            dead: BTreeSet::new(),
            held: BTreeMap::new(),
            stable: BTreeMap::new(),
            over: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            repinned: BTreeSet::new(),
            membership_changed: false,
            placed: BTreeMap::new(),
        }
    }

    pub(super) fn into_reached(self) -> Reached {
        self.reached
    }

    pub(super) fn reach(&mut self, what: &'static str) {
        self.reached.note(what, 1);
    }

    pub(super) fn reach_often(&mut self, what: &'static str, count: u64) {
        self.reached.note(what, count);
    }

    /// Brokers may not have met before there were results.
    pub(super) const fn kept_apart(&mut self) {
        self.membership_changed = true;
    }

    pub(super) const fn disturbed(&mut self, at_ms: u64) {
        self.disturbed_ms = at_ms;
    }

    pub(super) fn admitted(&mut self, broker: usize, id: JobId, spec: SpecDigest, job: &JobPlan) {
        self.reach("jobs admitted");
        let entry = self.admitted.entry(id);
        let known = entry.or_insert_with(|| Admitted {
            spec,
            fails: job.fails,
            covered: job.emergency && !job.elsewhere,
            by: BTreeSet::new(),
        });
        if !known.by.insert(broker) || known.by.len() > 1 {
            self.reach("jobs asked for twice");
        }
    }

    pub(super) fn cancelled(&mut self, broker: usize, job: JobId) {
        self.reach("jobs cancelled");
        self.cancelled.entry(job).or_default().insert(broker);
    }

    pub(super) fn restarted(&mut self, broker: usize) {
        if let Some(told) = self.brokers.get_mut(broker) {
            told.seq = 0;
            told.at_work.clear();
        }
    }

    /// An executor is gone for good.
    pub(super) fn died(&mut self, executor: usize) {
        self.reach("executors killed");
        self.dead.insert(executor);
    }

    /// A broker is gone for good. What it alone knew is gone with it.
    pub(super) fn killed(&mut self, world: &World, broker: usize, killed: &BTreeSet<usize>) {
        self.reach("brokers killed");
        self.disturbed(world.now().as_millis());
        if let Some(told) = self.brokers.get_mut(broker) {
            told.killed = true;
        }
        let others = (0..world.counts().0).filter(|other| !killed.contains(other));
        let others: Vec<_> = others.filter_map(|other| world.broker(other)).collect();
        self.forgotten(world, broker, &others);
    }

    /// A broker goes back to an old copy of its store. What only it knew is gone, but for what is in the copy.
    pub(super) fn restored(&mut self, world: &World, broker: usize, copy: &Node, killed: &BTreeSet<usize>) {
        self.reach("brokers put back to a copy");
        self.disturbed(world.now().as_millis());
        let others = (0..world.counts().0).filter(|other| *other != broker && !killed.contains(other));
        let others: Vec<_> = others.filter_map(|other| world.broker(other)).chain([copy]).collect();
        self.forgotten(world, broker, &others);
        self.membership_changed = true;
        // It is another incarnation, which has said nothing to anybody yet.
        let Some(told) = self.brokers.get_mut(broker) else { return };
        let before = core::mem::take(told);
        self.former.extend(before.accepted.into_iter().map(|(job, accepted)| (broker, job, accepted)));
        for admitted in self.admitted.values_mut() {
            admitted.by.remove(&broker);
        }
        for by in self.cancelled.values_mut().chain(self.held.values_mut()) {
            by.remove(&broker);
        }
        for (by, _) in self.stable.values_mut().filter(|(by, _)| *by == Some(broker)) {
            *by = None;
        }
    }

    /// What only this broker knew, and none of the others, is gone.
    fn forgotten(&mut self, world: &World, broker: usize, others: &[&Node]) {
        let Some(node) = world.broker(broker) else { return };
        for job in node.coordinator().jobs() {
            let views: Vec<JobView> = others.iter().filter_map(|other| other.coordinator().job(job.id)).collect();
            if !views.iter().any(|view| view.spec.is_some()) {
                self.lost.insert(job.id);
                self.reached.note("jobs lost with their only holder", 1);
            }
            for submission in job.submissions.iter().filter(|submission| submission.accepted) {
                if !views.iter().any(|view| view.submissions.iter().any(|other| other.id == submission.id)) {
                    self.lost_results.insert(submission.id);
                    self.accepted.remove(&submission.attempt);
                }
            }
            let ended = |view: &JobView| matches!(view.status, JobStatus::Cancelled | JobStatus::Completed);
            if !views.iter().any(ended) {
                self.cancelled.remove(&job.id);
            }
        }
    }

    pub(super) fn happened(&mut self, world: &World, happened: &Happened) -> Result<(), Violation> {
        let at_ms = happened.at.as_millis();
        match &happened.what {
            What::Broker { broker, event: NodeEvent::Job(event) } => {
                self.announced(*broker, event, at_ms)?;
                self.follow(world, *broker, &event.kind, at_ms)
            }
            What::Broker { .. } => Ok(()),
            What::Executor { event, .. } => {
                self.answered(event);
                Ok(())
            }
            What::RunStarted { executor, attempt } => self.run_started(world, *executor, *attempt, at_ms),
            What::RunEnded { attempt, digest, .. } => {
                if let Some(running) = self.running.get_mut(&attempt.job) {
                    running.remove(attempt);
                }
                if let Some(digest) = digest {
                    self.produced.insert(*attempt, *digest);
                }
                for told in &mut self.brokers {
                    told.at_work.remove(attempt);
                }
                Ok(())
            }
        }
    }

    fn run_started(&mut self, world: &World, executor: usize, attempt: AttemptId, at_ms: u64) -> Result<(), Violation> {
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        if let Some(before) = self.started.insert(attempt, executor) {
            let what = format!("{attempt} ran on executor {before} and again on {executor}");
            return violation("no attempt runs twice", what);
        }
        let running = self.running.entry(attempt.job).or_default();
        let others: Vec<_> = running.iter().map(ToString::to_string).collect();
        running.insert(attempt);
        // The world has gone on since; what was disturbed before counts, not what is disturbed now.
        let quiet_ms = at_ms.saturating_sub(self.disturbed_ms);
        if quiet_ms > self.detected_ms && !others.is_empty() && world.now().as_millis() >= at_ms {
            return violation("S15", format!("{attempt} starts on executor {executor} while {} run", others.join(" ")));
        }
        if !others.is_empty() {
            self.reach("two attempts at once");
        }
        Ok(())
    }

    fn answered(&mut self, event: &executor::Event) {
        if let executor::Event::ResultAnswered { attempt, answer, .. } = event {
            match answer {
                Answer::Accepted { .. } => {
                    self.accepted.insert(*attempt);
                    self.reach("results accepted");
                }
                Answer::Rejected(_) => self.reach("results rejected"),
                Answer::Fault(_) => self.reach("results that contradict themselves"),
                Answer::AcceptedFailure | Answer::Parked { .. } | Answer::Busy { .. } => {}
            }
        }
        if let executor::Event::SessionRaised { .. } = event {
            self.reach("sessions raised");
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events say nothing that is checked")]
    fn announced(&mut self, broker: usize, event: &Event, at_ms: u64) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        if event.seq <= told.seq {
            let what = format!("event {} of broker {broker} comes after {}", event.seq, told.seq);
            return Err(Violation { promise: "S9", at_ms, what });
        }
        told.seq = event.seq;
        let name = match &event.kind {
            EventKind::ResultAccepted { job, submission, attempt, digest } => {
                let accepted = Accepted { submission: *submission, attempt: *attempt, digest: *digest };
                let before = told.accepted.entry(*job).or_default();
                before.push(accepted);
                if before.len() > 1 { "results accepted as challengers" } else { "results accepted first" }
            }
            EventKind::ResultSuperseded { job, old, new, .. } => {
                told.changes.entry(*job).or_default().push((*old, *new));
                "results superseded"
            }
            EventKind::ResultConfirmed { job, old, new, .. } => {
                told.changes.entry(*job).or_default().push((*old, *new));
                "results confirmed"
            }
            EventKind::JobQuarantined { job, reason } => {
                self.held.entry(*job).or_default().insert(broker);
                match reason {
                    HoldReason::PoisonSuspected => "suspects quarantined",
                    HoldReason::LossBudget | _ => "loss budgets used up",
                }
            }
            EventKind::PolicySwitched { .. } => "policies switched",
            EventKind::JobRepinned { job, .. } => {
                self.repinned.insert(*job);
                "jobs repinned"
            }
            EventKind::JobCancelled { job } => {
                self.over.insert(*job);
                return Ok(());
            }
            EventKind::JobCompacted { job, result } => {
                self.check_forgotten(broker, *job, *result, at_ms)?;
                "jobs forgotten"
            }
            EventKind::FinalityChanged { job, to: Finality::Stable, .. } => {
                self.over.insert(*job);
                "results stable"
            }
            EventKind::FinalityChanged { job, .. } => {
                // A pin may change it, and a broker from outside the membership of then.
                if !self.repinned.contains(job) && !self.membership_changed {
                    let what = format!("broker {broker} called the result of {job} stable, and does not any more");
                    return Err(Violation { promise: "S2", at_ms, what });
                }
                "results stable no more"
            }
            EventKind::Unresolved { .. } => "results that had to wait for a policy",
            EventKind::JobReleased { job, .. } => {
                self.held.remove(job);
                "jobs released"
            }
            EventKind::AttemptOffered { attempt, .. }
                if self.held.get(&attempt.job).is_some_and(|by| by.contains(&broker)) =>
            {
                let what = format!("broker {broker} holds {} in quarantine and places {attempt}", attempt.job);
                return Err(Violation { promise: "what is in quarantine waits", at_ms, what });
            }
            EventKind::AttemptOffered { cause: AttemptCause::Redeployed, .. } => "jobs redeployed",
            EventKind::AttemptOffered { cause: AttemptCause::Retried, .. } => "jobs retried",
            EventKind::JobPreempted { attempt, by, .. } => {
                self.check_preemption(broker, *attempt, *by, at_ms)?;
                "jobs preempted"
            }
            EventKind::PreemptionRefused { .. } => "preemptions refused",
            EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. } => "jobs taken over",
            EventKind::OwnershipTaken { cause: OwnCause::HandedOver, .. } => "jobs handed over",
            EventKind::ExecutorAdopted { .. } => "executors adopted",
            EventKind::AttemptReappeared { .. } => "attempts reappeared",
            EventKind::ResultParked { .. } => "results parked",
            EventKind::CancelTooLate { .. } => "cancels too late",
            EventKind::JobFailed { .. } => "jobs failed",
            EventKind::AttemptLost { .. } => "attempts lost",
            EventKind::EmergencyDeclared { .. } => "emergencies heard of",
            EventKind::StormGuardOn { .. } => "storm guards",
            EventKind::StormGuardOff { cause: StormEnd::HoldOver } => "storm guards that held to the end",
            EventKind::ClockSuspect { .. } => "clocks suspected",
            EventKind::FactFault { key, reason } => {
                let what = format!("broker {broker} finds {key} faulty: {reason}");
                return Err(Violation { promise: "S8", at_ms, what });
            }
            _ => return Ok(()),
        };
        self.reach(name);
        Ok(())
    }

    /// What a broker announced of owners, attempts and cancelled jobs, against what it announced before.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events say nothing of these")]
    fn follow(&mut self, world: &World, broker: usize, kind: &EventKind, at_ms: u64) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        match kind {
            EventKind::JobAdmitted { job, .. } => {
                told.owned.insert(*job);
            }
            EventKind::OwnershipTaken { job, .. } => {
                told.owned.insert(*job);
                self.placed.entry(*job).or_default().cause();
            }
            EventKind::OwnershipYielded { job, .. } => {
                told.owned.remove(job);
            }
            EventKind::AttemptOffered { attempt, .. } => {
                if let Some(what) = told.placed(broker, *attempt) {
                    return violation("S15", what);
                }
                self.placed.entry(attempt.job).or_default().attempt();
            }
            EventKind::AttemptStarted { attempt, executor } | EventKind::AttemptReappeared { attempt, executor } => {
                told.at_work.insert(*attempt, *executor);
            }
            EventKind::AttemptLost { attempt, .. }
            | EventKind::JobPreempted { attempt, .. }
            | EventKind::AttemptRefused { attempt, .. }
            | EventKind::AttemptFailed { attempt, .. } => {
                told.at_work.remove(attempt);
                self.placed.entry(attempt.job).or_default().cause();
            }
            EventKind::AttemptStopped { attempt, .. } | EventKind::ResultRejected { attempt, .. } => {
                told.at_work.remove(attempt);
            }
            EventKind::ResultAccepted { job, submission, attempt, .. } => {
                told.at_work.remove(attempt);
                if !self.cancelled.get(job).is_some_and(|by| by.contains(&broker)) {
                    return Ok(());
                }
                // It knew that the job is cancelled. Only where a result had been accepted already may others challenge it.
                let view = world.broker(broker).and_then(|node| node.coordinator().job(*job));
                let other = |other: &reconvene_broker::SubmissionView| {
                    other.accepted && other.success && other.id != *submission
                };
                if !view.is_some_and(|view| view.submissions.iter().any(other)) {
                    return violation("S5", format!("broker {broker} accepts {submission} of {job}, cancelled there"));
                }
            }
            EventKind::ExecutorMoved { executor, .. } | EventKind::ExecutorGone { executor } => {
                told.at_work.retain(|_, at| at != executor);
            }
            _ => {}
        }
        Ok(())
    }

    /// Who was preempted runs no more, and for a job that an emergency covers.
    fn check_preemption(&self, broker: usize, attempt: AttemptId, by: JobId, at_ms: u64) -> Result<(), Violation> {
        if self.running.get(&attempt.job).is_some_and(|running| running.contains(&attempt)) {
            let what = format!("broker {broker} calls {attempt} preempted, and it runs");
            return Err(Violation { promise: "who is preempted has stopped", at_ms, what });
        }
        if self.admitted.get(&by).is_some_and(|job| !job.covered) {
            let what = format!("broker {broker} has stopped {attempt} for {by}, which no emergency covers");
            return Err(Violation { promise: "S10", at_ms, what });
        }
        Ok(())
    }

    /// What must hold at any time.
    pub(super) fn check(&mut self, world: &World) -> Result<(), Violation> {
        for broker in 0..world.counts().0 {
            let Some(node) = world.broker(broker).filter(|_| world.runs(Place::Broker(broker))) else { continue };
            self.check_clock(world, broker, node)?;
            for job in node.coordinator().jobs() {
                self.check_job(world, broker, &job)?;
            }
            self.check_gone(world, broker, node)?;
            for (id, admitted) in &self.admitted {
                if self.is_forgotten(node, *id) {
                    continue;
                }
                let view = node.coordinator().job(*id);
                if admitted.by.contains(&broker) && view.is_none_or(|view| view.spec != Some(admitted.spec)) {
                    return Err(violation(
                        world,
                        "S1",
                        format!("broker {broker} does not know {id}, which it admitted"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A broker forgets a job, and which of its results counted.
    fn check_forgotten(
        &mut self,
        broker: usize,
        job: JobId,
        result: Option<SubmissionId>,
        at_ms: u64,
    ) -> Result<(), Violation> {
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        if !self.over.contains(&job) {
            return violation("S1", format!("broker {broker} forgets {job}, which is not over"));
        }
        let may_change = self.membership_changed || self.repinned.contains(&job);
        if let Some(before) = self.forgotten.insert(job, result).filter(|before| *before != result && !may_change) {
            return violation("S2", format!("{job} is forgotten with {before:?} and with {result:?}"));
        }
        match (self.stable.get(&job), result) {
            (Some((by, stable)), _) if Some(*stable) != result && !may_change => {
                let what = format!("broker {by:?} called {stable} of {job} stable, it is forgotten with {result:?}");
                violation("S2", what)
            }
            (None, Some(result)) => {
                self.stable.insert(job, (Some(broker), result));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a broker has forgotten stays forgotten there, and somebody said so.
    fn check_gone(&mut self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let gone = |job: &&JobId| node.coordinator().is_compacted(**job);
        if let Some(job) = self.admitted.keys().filter(gone).find(|job| !self.forgotten.contains_key(job)) {
            return Err(violation(world, "S1", format!("broker {broker} has forgotten {job}, and nobody said so")));
        }
        told.forgotten.extend(self.forgotten.keys().filter(gone));
        match told.forgotten.iter().find(|job| node.coordinator().job(**job).is_some()) {
            Some(job) => Err(violation(world, "S5", format!("broker {broker} knows {job}, which it had forgotten"))),
            None => Ok(()),
        }
    }

    /// Whether a job was rightly forgotten here.
    fn is_forgotten(&self, node: &Node, job: JobId) -> bool {
        self.forgotten.contains_key(&job) && node.coordinator().is_compacted(job)
    }

    fn check_clock(&mut self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let issued = node.replica().head().issued();
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        if issued < told.issued {
            return Err(violation(
                world,
                "S9",
                format!("broker {broker} goes back from {:?} to {issued:?}", told.issued),
            ));
        }
        told.issued = issued;
        Ok(())
    }

    /// A result that was called stable by anybody is the one that everybody names who has heard of it.
    fn check_stable(&mut self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let may_change = self.membership_changed || self.repinned.contains(&job.id);
        let Some(result) = job.result.as_ref().filter(|_| !may_change) else { return Ok(()) };
        if let Some((by, stable)) = self.stable.get(&job.id)
            && (result.finality == Finality::Stable || Some(broker) == *by)
            && *stable != result.submission
        {
            let what = format!(
                "broker {by:?} called {stable} of {} stable, broker {broker} names {} as {:?}",
                job.id, result.submission, result.finality
            );
            return Err(violation(world, "S2", what));
        }
        if result.finality == Finality::Stable {
            self.stable.entry(job.id).or_insert((Some(broker), result.submission));
        }
        Ok(())
    }

    fn check_job(&mut self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let id = job.id;
        self.check_stable(world, broker, job)?;
        if job.level > 0 && self.admitted.get(&id).is_some_and(|admitted| !admitted.covered) {
            let what = format!("broker {broker} gives {id} level {}, and no emergency covers it", job.level);
            return Err(violation(world, "S10", what));
        }
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let accepted = |submission: SubmissionId| {
            job.submissions.iter().find(|other| other.id == submission && other.accepted && other.success)
        };
        let any = job.submissions.iter().any(|submission| submission.accepted && submission.success);
        match &job.result {
            // Between several it cannot choose before the policy arrives.
            None if any && job.strategy.is_some() => {
                let what = format!("broker {broker} has an accepted result of {id} and names none");
                return Err(violation(world, "S2", what));
            }
            None => {}
            Some(result) => {
                let Some(fact) = accepted(result.submission).filter(|fact| fact.digest == result.digest) else {
                    let what = format!("broker {broker} names {} of {id}, which nobody accepted", result.submission);
                    return Err(violation(world, "S2", what));
                };
                let earlier = |other: &&reconvene_broker::SubmissionView| {
                    other.accepted && other.success && other.stamp < fact.stamp
                };
                let first_come = job.strategy == Some(StrategyKind::FirstComeFirstServed);
                if first_come && let Some(earlier) = job.submissions.iter().find(earlier) {
                    let what =
                        format!("broker {broker} names {} of {id}, {} came first", result.submission, earlier.id);
                    return Err(violation(world, "S2", what));
                }
                if self.produced.get(&fact.attempt) != Some(&result.digest) {
                    let what = format!("broker {broker} names a result of {} that no run had", fact.attempt);
                    return Err(violation(world, "S10", what));
                }
            }
        }
        if job.status == JobStatus::Completed {
            told.completed.insert(id);
        } else if told.completed.contains(&id) {
            let what = format!("{id} was completed at broker {broker} and is {:?}", job.status);
            return Err(violation(world, "S5", what));
        }
        let cancelled = self.cancelled.get(&id).is_some_and(|by| by.contains(&broker));
        if cancelled && !matches!(job.status, JobStatus::Cancelled | JobStatus::Completed) {
            let what = format!("{id} was cancelled at broker {broker} and is {:?}", job.status);
            return Err(violation(world, "S5", what));
        }
        Ok(())
    }

    /// What is not done yet; `None` if all is.
    pub(super) fn unrest(&self, world: &World) -> Option<String> {
        let (brokers, executors) = world.counts();
        let up: Vec<_> = (0..brokers).filter(|broker| world.runs(Place::Broker(*broker))).collect();
        let mut root = None;
        for broker in up {
            let node = world.broker(broker)?;
            for job in self.admitted.keys().filter(|job| !self.lost.contains(job) && !self.is_forgotten(node, **job)) {
                let Some(view) = node.coordinator().job(*job).filter(|view| view.spec.is_some()) else {
                    return Some(format!("broker {broker} does not know {job}, which was acknowledged (S1)"));
                };
                if !is_over(&view) {
                    return Some(format!("at broker {broker}, {}", brief(&view)));
                }
            }
            if node.coordinator().is_storm_guard_on() {
                return Some(format!("broker {broker} takes itself for cut off, and will yet say who is gone"));
            }
            let own = node.replica().head().digest().root;
            if root.is_some_and(|root| root != own) {
                return Some(format!("broker {broker} holds other records than those before"));
            }
            root = Some(own);
        }
        for executor in (0..executors).filter(|executor| !self.dead.contains(executor)) {
            let agent = world.executor(executor)?;
            if agent.home().is_none() {
                return Some(format!("executor {executor} has no home"));
            }
            let held = agent.held().find(|held| !self.lost.contains(&held.attempt.job));
            if let Some(held) = held {
                return Some(format!("executor {executor} still runs {}", held.attempt));
            }
            if agent.kept() > 0 && self.lost.is_empty() {
                return Some(format!("executor {executor} keeps {} results without an answer", agent.kept()));
            }
        }
        None
    }

    /// A job that is over and that somebody still knows, though every member could say so; `None` if there is none.
    pub(super) fn left(&self, world: &World) -> Option<String> {
        // A member that is gone for good, and that nobody has retired, is waited for.
        if self.membership_changed || self.brokers.iter().any(|told| told.killed) {
            return None;
        }
        let brokers = (0..world.counts().0).filter(|broker| world.runs(Place::Broker(*broker)));
        let mut known = brokers.filter_map(|broker| {
            let over = |job: &JobView| matches!(job.status, JobStatus::Completed | JobStatus::Cancelled);
            let job = world.broker(broker)?.coordinator().jobs().find(over)?;
            Some(format!("broker {broker} has not forgotten {}", brief(&job)))
        });
        known.next()
    }

    /// What must hold when all is done.
    pub(super) fn check_done(&self, world: &World) -> Result<(), Violation> {
        let up: Vec<_> = (0..world.counts().0).filter(|broker| world.runs(Place::Broker(*broker))).collect();
        let mut first: Option<(usize, Vec<JobView>, Vec<Record>)> = None;
        for broker in up {
            let Some(node) = world.broker(broker) else { continue };
            let (views, records) = (views(node), world.store(broker).map(records).unwrap_or_default());
            for job in &views {
                self.check_ended(world, broker, job)?;
                let named = job.result.as_ref().map(|result| result.submission);
                let changed =
                    self.stable.get(&job.id).filter(|(_, stable)| Some(*stable) != named && !self.membership_changed);
                if let Some((by, stable)) = changed.filter(|_| !self.repinned.contains(&job.id)) {
                    let what = format!("broker {by:?} called {stable} of {} stable, and it is {named:?}", job.id);
                    return Err(violation(world, "S2", what));
                }
            }
            self.check_accepted(world, broker, node)?;
            check_stamps(world, &views)?;
            let again = world.reopened(broker)?;
            if let Some(what) = difference(&views, &self::views(&again)) {
                let what = format!("broker {broker} and its store differ: {what}");
                return Err(violation(world, "what is shown is what is stored", what));
            }
            let Some((other, other_views, other_records)) = &first else {
                first = Some((broker, views, records));
                continue;
            };
            let digests =
                [*other, broker].map(|broker| world.broker(broker).map(|node| node.replica().head().digest().root));
            if *other_records != records || digests.first() != digests.last() {
                let what = format!("brokers {other} and {broker}: records or digests differ, {digests:?}");
                return Err(violation(world, "S3", what));
            }
            if let Some(what) = difference(other_views, &views) {
                return Err(violation(world, "S3", format!("brokers {other} and {broker} differ: {what}")));
            }
        }
        Ok(())
    }

    fn check_ended(&self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let Some(admitted) = self.admitted.get(&job.id) else { return Ok(()) };
        if self.lost.contains(&job.id) {
            return Ok(());
        }
        let cancelled = self.cancelled.contains_key(&job.id);
        let right = match job.status {
            JobStatus::Completed => !admitted.fails,
            JobStatus::Failed => admitted.fails && !cancelled,
            // A cancel that its broker confirmed may have died with that broker, or not.
            JobStatus::Cancelled => true,
            JobStatus::Unknown
            | JobStatus::Waiting
            | JobStatus::Dispatched
            | JobStatus::Running
            | JobStatus::Redeploying
            | _ => false,
        };
        if let Some(Placed { attempts, causes }) =
            self.placed.get(&job.id).filter(|of| of.attempts > of.causes.saturating_add(1))
        {
            let what =
                format!("{} was placed {attempts} times for {causes} losses, failures and changes of owner", job.id);
            return Err(violation(world, "S15", what));
        }
        if !right {
            let what = format!("broker {broker} ends {} as {:?}, cancelled: {cancelled}", job.id, job.status);
            return Err(violation(world, "L3", what));
        }
        Ok(())
    }

    /// Accepted results are canonical or listed, and changes were reported once, by whoever told otherwise.
    fn check_accepted(&self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let current = self.brokers.iter().enumerate();
        let current =
            current.flat_map(|(by, told)| told.accepted.iter().map(move |(job, accepted)| (by, *job, accepted)));
        let former = self.former.iter().map(|(by, job, accepted)| (*by, *job, accepted));
        let known = |job: &JobId| !self.lost.contains(job) && !self.is_forgotten(node, *job);
        for (by, job, accepted) in current.chain(former).filter(|(_, job, _)| known(job)) {
            let view = node.coordinator().job(job);
            let listed = |accepted: &Accepted| {
                let same = |other: &reconvene_broker::SubmissionView| {
                    other.id == accepted.submission
                        && other.attempt == accepted.attempt
                        && other.digest == accepted.digest
                        && other.accepted
                };
                view.as_ref().is_some_and(|view| view.submissions.iter().any(same))
            };
            let kept = |accepted: &&Accepted| !self.lost_results.contains(&accepted.submission);
            if let Some(missing) = accepted.iter().filter(kept).find(|accepted| !listed(accepted)) {
                let what =
                    format!("broker {by} accepted {} of {job}, broker {broker} does not list it", missing.submission);
                return Err(violation(world, "S4", what));
            }
        }
        for (number, told) in self.brokers.iter().enumerate() {
            for (job, accepted) in told.accepted.iter().filter(|(job, _)| !self.lost.contains(job)) {
                let view = node.coordinator().job(*job);
                if number == broker {
                    let named = view.as_ref().and_then(|view| view.result.as_ref()).map(|result| result.submission);
                    // What is forgotten was over when it was, and nobody's result is passed over for that.
                    let canonical = match self.forgotten.get(job).filter(|_| self.is_forgotten(node, *job)) {
                        Some(_) if self.membership_changed => continue,
                        Some(result) => *result,
                        None => named,
                    };
                    let changes = told.changes.get(job).map_or(&[][..], Vec::as_slice);
                    let first = accepted.first().map(|accepted| accepted.submission);
                    check_reports(*job, first, changes, canonical)
                        .map_err(|what| violation(world, "S4", format!("broker {broker}: {what}")))?;
                }
            }
            if number == broker && told.changes.keys().any(|job| !told.accepted.contains_key(job)) {
                let what = format!("broker {broker} reports changes of what it had never named");
                return Err(violation(world, "S4", what));
            }
        }
        for attempt in self.accepted.iter().filter(|attempt| known(&attempt.job)) {
            let view = node.coordinator().job(attempt.job);
            let digest = self.produced.get(attempt);
            let listed = view.is_some_and(|view| {
                view.submissions
                    .iter()
                    .any(|other| other.attempt == *attempt && other.accepted && Some(&other.digest) == digest)
            });
            if !listed {
                let what =
                    format!("an executor was told that its result of {attempt} is accepted, {broker} lists none");
                return Err(violation(world, "S4", what));
            }
        }
        Ok(())
    }
}

/// From what was named first, each change goes on from the one before, none twice, and the last one ends at what is
/// canonical.
fn check_reports(
    job: JobId,
    first: Option<SubmissionId>,
    changes: &[(SubmissionId, SubmissionId)],
    canonical: Option<SubmissionId>,
) -> Result<(), String> {
    let mut named = first;
    let mut seen = BTreeSet::new();
    for change in changes {
        if !seen.insert(*change) {
            return Err(format!("the change of {job} from {} to {} is reported twice", change.0, change.1));
        }
        if named != Some(change.0) {
            return Err(format!("{job} was said to be {named:?}, and a change from {} is reported", change.0));
        }
        named = Some(change.1);
    }
    if named == canonical { Ok(()) } else { Err(format!("{job} was said to be {named:?} and is {canonical:?}")) }
}

/// What a broker accepted later has a greater stamp.
fn check_stamps(world: &World, views: &[JobView]) -> Result<(), Violation> {
    let mut by_broker: BTreeMap<ReplicaId, BTreeMap<u64, _>> = BTreeMap::new();
    for submission in views.iter().flat_map(|view| &view.submissions) {
        let id = submission.id;
        by_broker.entry(id.accepted_by).or_default().insert(id.number, submission.stamp);
    }
    for (broker, stamps) in by_broker {
        if !stamps.values().is_sorted_by(|a, b| a < b) {
            return Err(violation(world, "S9", format!("stamps of {broker} go back: {stamps:?}")));
        }
    }
    Ok(())
}

fn is_over(view: &JobView) -> bool {
    match view.status {
        JobStatus::Completed => view.settled || view.strategy.is_some_and(|strategy| !strategy.admits_challengers()),
        JobStatus::Failed | JobStatus::Cancelled => true,
        JobStatus::Unknown
        | JobStatus::Waiting
        | JobStatus::Dispatched
        | JobStatus::Running
        | JobStatus::Redeploying
        | _ => false,
    }
}

/// What a broker shows of all jobs, but for what depends on the time of day.
fn views(node: &Node) -> Vec<JobView> {
    let timeless = |mut view: JobView| {
        view.level = 0;
        if let Some(result) = &mut view.result {
            // That is a broker's own knowledge of the others.
            result.finality = Finality::Provisional;
        }
        view
    };
    node.coordinator().jobs().map(timeless).collect()
}

fn difference(a: &[JobView], b: &[JobView]) -> Option<String> {
    let different = a.iter().zip(b).find(|(a, b)| a != b);
    match different {
        Some((a, b)) => Some(format!("{}; {}", brief(a), brief(b))),
        None => (a.len() != b.len()).then(|| format!("{} and {} jobs", a.len(), b.len())),
    }
}

/// A job in one line.
fn brief(view: &JobView) -> String {
    let JobView { id, status, owner, epoch, settled, .. } = view;
    let attempts = view.attempts.iter().map(|attempt| {
        let executor = attempt.executor.map(|executor| executor.to_string()).unwrap_or_default();
        format!(" {} on {executor:.4} {:?}", attempt.id, attempt.phase)
    });
    let submissions = view.submissions.iter().map(|submission| {
        format!(" {} of {} {:?} at {}", submission.id, submission.attempt, submission.verdict, submission.stamp)
    });
    let (attempts, submissions): (String, String) = (attempts.collect(), submissions.collect());
    let named = view.result.as_ref().map(|result| result.submission);
    format!(
        "{id} is {status:?}, settled {settled}, of {owner} since {epoch:?}:{attempts};{submissions}; named {named:?}"
    )
}

fn records(store: &MemoryStore) -> Vec<Record> {
    let all = Cursor::new(Prefix::all()).with_rows(usize::MAX).with_bytes(usize::MAX);
    let snapshot = ready(store.snapshot()).and_then(Result::ok);
    let page = snapshot.and_then(|snapshot| ready(snapshot.by_prefix(&all)).and_then(Result::ok));
    page.map(|page| page.items).unwrap_or_default()
}

fn violation(world: &World, promise: &'static str, what: String) -> Violation {
    Violation { promise, at_ms: world.now().as_millis(), what }
}

/// After so many intervals without faults, everybody knows what everybody does.
const DETECTED_INTERVALS: u64 = 8;
