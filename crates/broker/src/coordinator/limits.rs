//! What executors can make this broker remember, and where that ends.

use std::collections::BTreeMap;

use reconvene_clock::NodeId;
use reconvene_executor::{AttemptId, JobId, SubmissionId};

use crate::FactKey;
use crate::config::ACCEPTED;
use crate::coordinator::Coordinator;
use crate::coordinator::executors::attempts_of;
use crate::coordinator::timers::Timer;
use crate::statistics::count;
use crate::view::serves;

/// Attempts that executors named here before the facts of their owners came.
///
/// An executor may be ahead of what its new home has heard, so that its word must be noted. But anybody can make names up.
#[derive(Debug, Default)]
pub(super) struct Unattested {
    attempts: BTreeMap<AttemptId, NodeId>,
    /// How many are of each executor.
    by: BTreeMap<NodeId, usize>,
}

/// Specifications that executors gave back, and the bytes of their payloads.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    jobs: BTreeMap<JobId, usize>,
    bytes: usize,
}

/// What becomes of an attempt that an executor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noting {
    /// Its owner has written it down for this executor, or there is room to take the executor's word.
    Yes,
    /// Nobody has written it down, and there is no room.
    Full,
    /// Its owner gave it to another executor.
    Foreign,
}

impl Unattested {
    fn of(&self, job: JobId) -> impl Iterator<Item = AttemptId> {
        let (first, last) = attempts_of(job);
        self.attempts.range(first..=last).map(|(attempt, _)| *attempt)
    }

    fn insert(&mut self, attempt: AttemptId, executor: NodeId) {
        if self.attempts.insert(attempt, executor).is_none() {
            let held = self.by.entry(executor).or_default();
            *held = held.saturating_add(1);
        }
    }

    fn remove(&mut self, attempt: AttemptId) {
        let Some(executor) = self.attempts.remove(&attempt) else { return };
        let left = self.by.get(&executor).map_or(0, |held| held.saturating_sub(1));
        if left == 0 {
            self.by.remove(&executor);
        } else {
            self.by.insert(executor, left);
        }
    }
}

impl Coordinator {
    /// Whether an executor may register: one that has its home here, or for which there is room. One that left or was given
    /// up makes room, unless something is still to become of its attempts.
    pub(super) fn may_register(&mut self, executor: NodeId) -> bool {
        let own = self.own.replica;
        if self.view.registered_at(executor, own) || self.view.executors_of(own) < self.config.max_executors {
            return true;
        }
        let idle = |gone: &&NodeId| self.view.working_on(**gone).next().is_none();
        let Some(gone) = self.departed.iter().take(LOOKED_AT).find(idle).copied() else { return false };
        self.departed.remove(&gone);
        self.homed.remove(&gone);
        self.timers.disarm(Timer::Executor(gone));
        self.view.forget_executor(gone, own);
        self.outbox.delete(FactKey::Executor { executor: gone, home: own });
        true
    }

    /// Keeps the list of executors of ours that do not serve, or have moved.
    pub(super) fn note_departure(&mut self, executor: NodeId) {
        let own = self.own.replica;
        let Some((home, fact)) = self.view.executor(executor) else { return };
        let ours = self.view.registered_at(executor, own);
        if ours && (home != own || !serves(fact)) {
            self.departed.insert(executor);
        } else {
            self.departed.remove(&executor);
        }
    }

    /// Whether an attempt that an executor names is to be noted. Those that their owners have written down are; of others so
    /// many as are allowed, of one executor a share of them, and of one job a few.
    pub(super) fn noting(&mut self, from: NodeId, attempt: AttemptId) -> Noting {
        if let Some(executor) = self.given_to(attempt) {
            return if executor == from { Noting::Yes } else { Noting::Foreign };
        }
        if let Some(executor) = self.unattested.attempts.get(&attempt) {
            return if *executor == from { Noting::Yes } else { Noting::Full };
        }
        let limit = self.config.max_unattested;
        let of_executor = self.unattested.by.get(&from).copied().unwrap_or(0);
        let full = self.unattested.attempts.len() >= limit
            || of_executor >= limit.div_ceil(SHARES)
            || self.unattested.of(attempt.job).nth(OF_ONE_JOB.saturating_sub(1)).is_some();
        if full {
            count(&mut self.statistics.over_limits);
            return Noting::Full;
        }
        self.unattested.insert(attempt, from);
        Noting::Yes
    }

    /// Something of a job has changed, or it is done: what its owners have written down needs no executor's word.
    pub(super) fn attest(&mut self, job: JobId) {
        let done = self.view.is_done(job);
        let attested: Vec<_> =
            self.unattested.of(job).filter(|attempt| done || self.given_to(*attempt).is_some()).collect();
        for attempt in attested {
            self.unattested.remove(attempt);
        }
        let original = || self.view.job(job).is_some_and(|job| job.is_original());
        if self.recovered.jobs.contains_key(&job) && (done || original()) {
            let bytes = self.recovered.jobs.remove(&job).unwrap_or(0);
            self.recovered.bytes = self.recovered.bytes.saturating_sub(bytes);
        }
    }

    /// Whether a result is to be written down beside those of its job that were.
    pub(super) fn may_record(&self, job: JobId, accepted: bool) -> bool {
        let Some(job) = self.view.job(job) else { return true };
        let ours = |id: &SubmissionId| id.accepted_by == self.own.replica;
        let of_ours = || job.accepted().filter(|(id, fact)| ours(id) && fact.success).count();
        job.submissions.len() < self.config.max_submissions && !(accepted && of_ours() >= ACCEPTED)
    }

    /// Whether a specification of this size may be taken from an executor. It counts as one of the results that are kept for
    /// unknown jobs do: nobody else vouches for it.
    pub(super) fn may_recover(&mut self, job: JobId, bytes: usize) -> bool {
        let all = self.recovered.bytes.saturating_add(bytes);
        let open = self.view.open_total() < self.config.max_jobs;
        if !open || self.recovered.jobs.len() >= self.config.parked_limit || all > self.config.parked_bytes {
            return false;
        }
        self.recovered.bytes = all;
        self.recovered.jobs.insert(job, bytes);
        true
    }

    /// After a restart: what was taken from executors before counts.
    pub(super) fn count_recovered(&mut self) {
        let own = self.own.replica;
        let recovered = self.view.jobs_after(None).filter(|job| !job.is_original()).filter_map(|job| {
            let bytes = job.copy_by(own)?.spec.payload.len();
            Some((job.id, bytes))
        });
        self.recovered.jobs = recovered.collect();
        self.recovered.bytes = self.recovered.jobs.values().fold(0, |all, bytes| all.saturating_add(*bytes));
    }

    fn given_to(&self, attempt: AttemptId) -> Option<NodeId> {
        let record = self.view.job(attempt.job)?.attempts.get(&attempt)?;
        record.given_to().map(|(executor, _)| executor)
    }
}

/// One executor may take this part of the attempts that nobody has attested.
const SHARES: usize = 16;
/// Such attempts of one job.
const OF_ONE_JOB: usize = 64;
/// Executors looked at for one that may be forgotten.
const LOOKED_AT: usize = 64;
