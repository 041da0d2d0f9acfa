//! The ladder of finality: which results cannot change any more.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, ReplicaId, VectorClock};
use reconvene_executor::{Finality, JobId, SubmissionId};

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
    submissions: BTreeMap<SubmissionId, Dot>,
    settles: BTreeMap<JobId, BTreeSet<Dot>>,
    /// Who is a member is a fact as well, and has to have arrived everywhere.
    members: BTreeMap<ReplicaId, Dot>,
    through: VectorClock,
    /// Jobs with a result that is not stable.
    waiting: BTreeSet<JobId>,
    stable: BTreeMap<JobId, SubmissionId>,
}

impl Ladder {
    /// Remembers by which version of a row a fact is known.
    pub(super) fn note(&mut self, key: &FactKey, dot: Dot) {
        match key {
            FactKey::Submission { job, id } if self.stable.get(job) != Some(id) => {
                self.submissions.insert(*id, dot);
            }
            FactKey::Settle { job, .. } => {
                self.settles.entry(*job).or_default().insert(dot);
            }
            FactKey::Submission { .. }
            | FactKey::Spec(_)
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
            | FactKey::PolicyCurrent { .. } => {}
        }
    }

    pub(super) fn note_member(&mut self, replica: ReplicaId, dot: Dot) {
        self.members.insert(replica, dot);
    }

    /// Whether this result of the job is stable.
    pub(super) fn is_stable(&self, job: JobId, result: SubmissionId) -> bool {
        self.stable.get(&job) == Some(&result)
    }

    fn covers(&self, job: &JobRecord, canonical: SubmissionId) -> bool {
        let stable = |dot: &Dot| self.through.contains(*dot);
        let settled = || self.settles.get(&job.id).is_some_and(|dots| dots.iter().any(stable));
        self.submissions.get(&canonical).is_some_and(stable)
            && (job.first_stands() || settled())
            && self.members.values().all(stable)
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
        let (canonical, before) = (job.canonical(), self.ladder.stable.get(&id).copied());
        let Some(canonical) = canonical else {
            self.ladder.waiting.remove(&id);
            return;
        };
        if before == Some(canonical) {
            return;
        }
        let stable = job.policy().is_some() && self.ladder.covers(job, canonical);
        if before.is_some() {
            // Another pin, or a broker from outside the membership of then.
            self.ladder.stable.remove(&id);
            let (from, to) = (Finality::Stable, Finality::Provisional);
            self.notify(EventKind::FinalityChanged { job: id, from, to });
        }
        if stable {
            self.ladder.waiting.remove(&id);
            self.ladder.submissions.remove(&canonical);
            self.ladder.stable.insert(id, canonical);
            count(&mut self.statistics.stable);
            let (from, to) = (Finality::Provisional, Finality::Stable);
            self.notify(EventKind::FinalityChanged { job: id, from, to });
        } else {
            self.ladder.waiting.insert(id);
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
