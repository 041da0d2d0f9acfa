//! The ladder of finality: which results cannot change any more.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, ReplicaId, VectorClock};
use reconvene_executor::{Finality, JobId, SubmissionId};

use crate::by_job::ByJob;
use crate::coordinator::Coordinator;
use crate::statistics::count;
use crate::view::{JobRecord, JobView};
use crate::{EventKind, FactKey};

/// What is causally stable, and which results are for that.
///
/// A result is stable when every member has acknowledged its acceptance, and, where challengers are admitted, a settle,
/// and when all that these members had by then is known here: so no member can have accepted another that is still on
/// its way, and none will accept one.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    /// Where the accepted submissions are that are not stable.
    submissions: BTreeMap<(JobId, SubmissionId), Dot>,
    settles: BTreeMap<JobId, BTreeSet<Dot>>,
    cancels: BTreeMap<JobId, BTreeSet<Dot>>,
    /// Who is a member is a fact as well, and has to have arrived everywhere.
    members: BTreeMap<ReplicaId, Dot>,
    through: VectorClock,
    /// Jobs with a result, or a cancel, that is not stable.
    waiting: BTreeSet<JobId>,
    stable: ByJob<SubmissionId>,
    /// Jobs that every member knows to be cancelled.
    cancelled: BTreeSet<JobId>,
}

impl Ladder {
    /// Remembers by which version of a row a fact is known.
    pub(super) fn note(&mut self, key: &FactKey, dot: Dot) {
        match key {
            FactKey::Submission { job, id } if self.stable.get(*job) != Some(id) => {
                self.submissions.insert((*job, *id), dot);
            }
            FactKey::Cancel { job, .. } if !self.cancelled.contains(job) => {
                self.cancels.entry(*job).or_default().insert(dot);
            }
            FactKey::Settle { job, .. } => {
                self.settles.entry(*job).or_default().insert(dot);
            }
            FactKey::Submission { .. }
            | FactKey::Spec(_)
            | FactKey::Copy { .. }
            | FactKey::Own { .. }
            | FactKey::Attempt(_)
            | FactKey::Seen { .. }
            | FactKey::Cancel { .. }
            | FactKey::Hold { .. }
            | FactKey::Pin { .. }
            | FactKey::Told { .. }
            | FactKey::Executor { .. }
            | FactKey::Emergency { .. }
            | FactKey::PolicyDef(_)
            | FactKey::Data { .. }
            | FactKey::PolicyCurrent { .. }
            | FactKey::Done { .. } => {}
        }
    }

    /// Forgets a job.
    pub(super) fn forget(&mut self, job: JobId) {
        for key in self.submissions_of(job).map(|(key, _)| *key).collect::<Vec<_>>() {
            self.submissions.remove(&key);
        }
        self.settles.remove(&job);
        self.cancels.remove(&job);
        self.waiting.remove(&job);
        self.stable.remove(job);
        self.cancelled.remove(&job);
    }

    pub(super) fn note_member(&mut self, replica: ReplicaId, dot: Dot) {
        self.members.insert(replica, dot);
    }

    fn submissions_of(&self, job: JobId) -> impl Iterator<Item = (&(JobId, SubmissionId), &Dot)> {
        let first = SubmissionId { accepted_by: FIRST_REPLICA, number: 0 };
        self.submissions.range((job, first)..).take_while(move |((of, _), _)| *of == job)
    }

    /// Whether every member has all results of the job that are known here. One that is forgotten before it is told would
    /// be nowhere.
    fn is_told(&self, job: JobId) -> bool {
        self.submissions_of(job).all(|(_, dot)| self.through.contains(*dot))
    }

    /// Whether this result of the job is stable.
    pub(super) fn is_stable(&self, job: JobId, result: SubmissionId) -> bool {
        self.stable.get(job) == Some(&result)
    }

    fn covers(&self, job: &JobRecord, canonical: SubmissionId) -> bool {
        let stable = |dot: &Dot| self.through.contains(*dot);
        let settled = || self.settles.get(&job.id).is_some_and(|dots| dots.iter().any(stable));
        self.submissions.get(&(job.id, canonical)).is_some_and(stable)
            && (job.first_stands() || settled())
            && self.members.values().all(stable)
    }

    /// Whether every member knows that the job is cancelled, and whatever one had accepted before is known here.
    fn covers_cancel(&self, job: JobId) -> bool {
        let stable = |dot: &Dot| self.through.contains(*dot);
        self.cancels.get(&job).is_some_and(|dots| dots.iter().any(stable)) && self.members.values().all(stable)
    }
}

impl Coordinator {
    /// Whether it matters to this coordinator what is causally stable.
    #[must_use]
    pub fn awaits_stability(&self) -> bool {
        !self.ladder.waiting.is_empty()
    }

    /// Every member has what this clock covers.
    pub(super) fn stable_through(&mut self, through: VectorClock) {
        if through == self.ladder.through {
            return;
        }
        self.ladder.through = through;
        for id in self.ladder.waiting.iter().copied().collect::<Vec<_>>() {
            self.climb(id);
        }
    }

    /// Looks how final the result of a job is.
    pub(super) fn climb(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let Some(canonical) = job.canonical() else {
            self.climb_cancelled(id);
            return;
        };
        if self.ladder.cancelled.remove(&id) {
            self.keep(id);
        }
        let before = self.ladder.stable.get(id).copied();
        if before == Some(canonical) {
            self.keep_until_told(id);
            return;
        }
        let Some(job) = self.view.job(id) else { return };
        let stable = job.policy().is_some() && self.ladder.covers(job, canonical);
        if before.is_some() {
            // Another pin, or a broker from outside the membership of then.
            self.ladder.stable.remove(id);
            self.keep(id);
            let (from, to) = (Finality::Stable, Finality::Provisional);
            self.notify(EventKind::FinalityChanged { job: id, from, to });
        }
        if stable {
            self.ladder.waiting.remove(&id);
            self.ladder.submissions.remove(&(id, canonical));
            self.ladder.stable.or_insert_with(id, || canonical);
            count(&mut self.statistics.stable);
            self.keep_for_now(id);
            self.keep_until_told(id);
            let (from, to) = (Finality::Provisional, Finality::Stable);
            self.notify(EventKind::FinalityChanged { job: id, from, to });
        } else {
            self.ladder.waiting.insert(id);
        }
    }

    /// A job with a stable result is forgotten after a while, but not while a member lacks another result of it.
    fn keep_until_told(&mut self, id: JobId) {
        if !self.ladder.is_told(id) {
            if self.ladder.waiting.insert(id) {
                self.keep(id);
            }
        } else if self.ladder.waiting.remove(&id) {
            self.keep_for_now(id);
        }
    }

    /// Looks whether every member knows that a job without a result is cancelled.
    fn climb_cancelled(&mut self, id: JobId) {
        let cancelled = self.view.job(id).is_some_and(|job| job.is_cancelled() && !job.has_success());
        if !cancelled {
            self.ladder.waiting.remove(&id);
        } else if !self.ladder.cancelled.contains(&id) {
            if self.ladder.covers_cancel(id) && self.ladder.is_told(id) {
                self.ladder.waiting.remove(&id);
                self.ladder.cancels.remove(&id);
                self.ladder.cancelled.insert(id);
                self.keep_for_now(id);
            } else {
                self.ladder.waiting.insert(id);
            }
        }
    }

    /// What a client sees of a job, with the finality of its result here.
    pub(super) fn show(&self, job: &JobRecord, with_output: bool) -> JobView {
        let mut view = self.view.job_view(job, self.at.wall, with_output);
        if let Some(result) = &mut view.result
            && self.ladder.is_stable(job.id, result.submission)
        {
            result.finality = Finality::Stable;
        }
        view
    }
}

const FIRST_REPLICA: ReplicaId = ReplicaId::new(1).expect("1 is not zero");
