//! What must hold, whatever brokers say.

mod always;
mod end;
mod heard;
mod reached;

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{JobStatus, JobView, Node};
use reconvene_clock::{Counter, NodeId};
use reconvene_executor::{AttemptId, JobId, OwnershipEpoch, ResultDigest, SpecDigest, SubmissionId};

pub use self::reached::Reached;
use super::{JobPlan, Violation};
use crate::world::World;

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
    /// The attempts of those.
    lost_accepts: BTreeSet<AttemptId>,
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
            lost_accepts: BTreeSet::new(),
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
                    self.lost_accepts.insert(submission.attempt);
                    self.accepted.remove(&submission.attempt);
                }
            }
            let ended = |view: &JobView| matches!(view.status, JobStatus::Cancelled | JobStatus::Completed);
            if !views.iter().any(ended) {
                self.cancelled.remove(&job.id);
            }
        }
    }
}

fn violation(world: &World, promise: &'static str, what: String) -> Violation {
    Violation { promise, at_ms: world.now().as_millis(), what }
}

/// After so many intervals without faults, everybody knows what everybody does.
const DETECTED_INTERVALS: u64 = 8;
