//! Forgetting jobs that are over: their facts go, their names stay.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{ReplicaId, Timestamp, WallTime};
use reconvene_executor::message::StopReason;
use reconvene_executor::{JobId, SubmissionId};

use crate::by_job::ByJob;
use crate::coordinator::Coordinator;
use crate::coordinator::timers::Timer;
use crate::fact::{DoneFact, RANGES_MAX, Ranges};
use crate::statistics::count;
use crate::view::JobRecord;
use crate::{CommandError, EventKind, Fact, FactKey};

/// Jobs that may be forgotten, and when.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    due: BTreeSet<(WallTime, JobId)>,
    places: ByJob<WallTime>,
    /// Not to go on before, so that what becomes due one by one goes together.
    rests_until: Timestamp,
    /// Jobs of which it is being written that they are done. They are forgotten, and their facts deleted, when that is
    /// durable; the store may refuse it.
    forgetting: BTreeMap<JobId, Forgotten>,
}

#[derive(Debug)]
struct Forgotten {
    /// Of all its facts.
    keys: Vec<FactKey>,
    result: Option<SubmissionId>,
}

impl Compaction {
    fn set(&mut self, job: JobId, at: WallTime) {
        self.remove(job);
        self.places.or_insert_with(job, || at);
        self.due.insert((at, job));
    }

    fn remove(&mut self, job: JobId) {
        if let Some(at) = self.places.remove(job) {
            self.due.remove(&(at, job));
        }
    }

    fn next(&self) -> Option<(WallTime, JobId)> {
        self.due.first().copied()
    }
}

impl Coordinator {
    /// A job is over for every member from now on: it is kept for a while, for those who ask.
    pub(super) fn keep_for_now(&mut self, id: JobId) {
        let Some(over) = self.view.job(id).and_then(JobRecord::over_since) else { return };
        self.compaction.set(id, over.min(self.at.wall).saturating_add(self.config.keep_results_ms));
        self.await_compaction();
    }

    /// A job is not over after all.
    pub(super) fn keep(&mut self, id: JobId) {
        self.compaction.remove(id);
    }

    fn await_compaction(&mut self) {
        if let Some((at, _)) = self.compaction.next() {
            // The rest of what is due waits for a moment, so that the broker answers in between.
            let rest = self.compaction.rests_until.saturating_since(self.at.mono);
            self.arm(Timer::Compact, at.saturating_since(self.at.wall).max(rest).max(1));
        }
    }

    /// Forgets the jobs that are due here, as many as one batch should hold.
    pub(super) fn compact(&mut self) {
        // What is written next is to hold what is being written.
        if !self.compaction.forgetting.is_empty() {
            return;
        }
        let (wall, again_ms) = (self.at.wall, self.config.owner_timeout_ms);
        let mut due = BTreeSet::new();
        for _ in 0..LOOKED_AT_ONCE {
            let Some((at, id)) = self.compaction.next().filter(|(at, _)| *at <= wall && due.len() < JOBS_AT_ONCE)
            else {
                break;
            };
            if self.may_forget(id) {
                self.compaction.remove(id);
                due.insert(id);
            } else {
                // Somebody else may do it. If not, it is looked at again.
                self.compaction.set(id, wall.max(at).saturating_add(again_ms.max(1)));
            }
        }
        for id in self.forget_jobs(&due) {
            self.compaction.set(id, wall.saturating_add(again_ms.max(1)));
        }
        if self.compaction.next().is_none_or(|(at, _)| at > wall) {
            let rest_ms = (self.config.keep_results_ms / RESTS_PER_KEEP).min(REST_MS);
            self.compaction.rests_until = self.at.mono.saturating_add(rest_ms);
        }
        self.await_compaction();
    }

    /// Whether it is for this broker to forget a job: its owner, or the first of those who would take it over.
    fn may_forget(&self, id: JobId) -> bool {
        let Some(job) = self.view.job(id).filter(|_| !self.learning) else { return false };
        let owner = job.owner();
        let responsible =
            owner == self.own.replica || (self.gone_since(owner).is_some() && self.rank_for(id, owner) == 0);
        // A notice that was not taken would be lost. One that nobody is there to give is.
        responsible
            && job.notices_pending().all(|broker| broker != self.own.replica && self.gone_since(broker).is_some())
    }

    /// Writes that these jobs are done. Those that found no place.
    fn forget_jobs(&mut self, jobs: &BTreeSet<JobId>) -> Vec<JobId> {
        let mut left = Vec::new();
        let mut done: BTreeMap<ReplicaId, Ranges> = BTreeMap::new();
        for id in jobs {
            let known = || self.view.done(id.admitted_by).cloned().unwrap_or_default();
            let ranges = done.entry(id.admitted_by).or_insert_with(known);
            if ranges.count_with(id.sequence) > RANGES_MAX {
                left.push(*id);
                continue;
            }
            ranges.insert(id.sequence);
            let job = self.view.job(*id);
            let (keys, result) = (job.map(JobRecord::keys).unwrap_or_default(), job.and_then(JobRecord::canonical));
            self.compaction.forgetting.insert(*id, Forgotten { keys, result });
        }
        let own = self.own.replica;
        for (admitted_by, jobs) in done {
            // Folded when it is durable, as no other fact of ours is: what it says cannot be taken back.
            self.outbox.write(FactKey::Done { admitted_by, by: own }, Fact::Done(DoneFact { jobs }));
        }
        left
    }

    /// The store has refused to write that jobs admitted by this incarnation are done. They stay, and are tried again.
    pub(super) fn not_forgotten(&mut self, admitted_by: ReplicaId) {
        let again = self.at.wall.saturating_add(self.config.owner_timeout_ms.max(1));
        let kept: Vec<_> = self.compaction.forgetting.extract_if(.., |id, _| id.admitted_by == admitted_by).collect();
        for (id, _) in kept {
            self.compaction.set(id, again);
        }
        self.await_compaction();
    }

    /// A job is done: nothing is remembered of it but that.
    pub(super) fn job_done(&mut self, id: JobId) {
        if let Some(Forgotten { keys, result }) = self.compaction.forgetting.remove(&id) {
            count(&mut self.statistics.compacted);
            self.notify(EventKind::JobCompacted { job: id, result });
            for key in keys {
                self.outbox.delete(key);
            }
            self.await_compaction();
        }
        self.stop_attempts(id, StopReason::Completed);
        self.unqueue(id);
        for timer in [
            Timer::Takeover(id),
            Timer::Recover(id),
            Timer::Ready(id),
            Timer::Release(id),
            Timer::HandOver(id),
            Timer::Settle(id),
            Timer::Recall(id),
        ] {
            self.timers.disarm(timer);
        }
        self.dirty.remove(&id);
        self.locals.remove(id);
        self.troubles.remove(&id);
        self.attest(id);
        self.ladder.forget(id);
        self.compaction.remove(id);
    }

    /// Results were kept for jobs that turn out to be done: they are late.
    pub(super) fn answer_parked_of_done(&mut self) {
        let done: Vec<_> = self.parked.jobs().filter(|job| self.view.is_done(*job)).collect();
        for job in done {
            self.judge_parked(job);
        }
    }

    /// A fact of a job that is done turned up: a returning store must not revive it.
    pub(super) fn delete_leftover(&mut self, key: FactKey) {
        count(&mut self.statistics.leftovers);
        self.outbox.delete(key);
    }

    /// Whether a job was over for so long that its facts are gone.
    #[must_use]
    pub fn is_compacted(&self, job: JobId) -> bool {
        self.view.is_done(job)
    }

    /// Says that this broker has numbered up to `issued` things before, whether or not they are known any more.
    ///
    /// Its results are numbered on from there, so that none of them is called like one that was forgotten.
    pub(crate) fn number_above(&mut self, issued: u64) {
        if self.view.has_done() {
            self.last_submission = self.last_submission.max(issued);
        }
    }

    /// Why a command cannot name this job.
    pub(super) fn unknown_job(&self, job: JobId) -> CommandError {
        if self.view.is_done(job) { CommandError::Compacted { job } } else { CommandError::UnknownJob { job } }
    }
}

/// Jobs that are looked at in one go.
const LOOKED_AT_ONCE: usize = 512;
/// Jobs that go in one batch, so that it stays small.
const JOBS_AT_ONCE: usize = 64;
/// How long what becomes due waits for more of its kind, at most: each batch writes all ranges of what is done, and every
/// broker reads them.
const REST_MS: u64 = 60_000;
/// How often that is done while a job is kept, at most.
const RESTS_PER_KEEP: u64 = 16;
