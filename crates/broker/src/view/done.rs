//! Jobs that are done: their names are kept, and nothing else.

use reconvene_clock::{ReplicaId, WallTime};
use reconvene_executor::{AttemptId, JobId, SubmissionId};

use reconvene_store::sabotage;

use crate::fact::{FactKey, Ranges};
use crate::view::{Change, JobRecord, View};

impl View {
    /// Whether a job was over for so long that its facts are gone.
    pub(crate) fn is_done(&self, job: JobId) -> bool {
        self.done.get(&job.admitted_by).is_some_and(|done| done.contains(job.sequence))
    }

    /// Whether this is a fact of a job that is done.
    pub(crate) fn folds_to_nothing(&self, key: &FactKey) -> bool {
        // X49: who recovers a job from an executor does not ask whether it is done.
        let asked = !(sabotage::on(49) && matches!(key, FactKey::Copy { .. }));
        asked && key.job().is_some_and(|job| self.is_done(job))
    }

    /// The jobs admitted by this incarnation that are done.
    pub(crate) fn done(&self, admitted_by: ReplicaId) -> Option<&Ranges> {
        self.done.get(&admitted_by)
    }

    pub(crate) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    pub(super) fn join_done(&mut self, admitted_by: ReplicaId, jobs: &Ranges, changes: &mut Vec<Change>) {
        if jobs.is_empty() {
            return;
        }
        let new = self.done.entry(admitted_by).or_default().join(jobs);
        if !new.is_empty() {
            changes.push(Change::MoreDone);
        }
        for (first, last) in new {
            let (first, last) = (JobId::new(admitted_by, first), JobId::new(admitted_by, last));
            let known: Vec<_> = self.jobs.starting_at(first).map(|(id, _)| id).take_while(|id| *id <= last).collect();
            for id in known {
                if let Some(policy) = self.job(id).and_then(JobRecord::awaited_policy) {
                    super::remove(&mut self.awaiting, &policy, &id);
                }
                self.withdraw(id);
                changes.push(Change::Done(id));
            }
        }
    }
}

impl JobRecord {
    /// The keys of all its facts.
    pub(crate) fn keys(&self) -> Vec<FactKey> {
        let id = self.id;
        let mut keys: Vec<FactKey> = self.written.keys().copied().collect();
        keys.extend(self.original.then_some(FactKey::Spec(id)));
        keys.extend(self.uncommon().copies.keys().map(|by| FactKey::Copy { job: id, by: *by }));
        for (attempt, record) in self.attempts.iter() {
            let attempt: AttemptId = *attempt;
            keys.extend(record.fact().map(|_| FactKey::Attempt(attempt)));
            keys.extend(record.seen_by().map(|by| FactKey::Seen { attempt, by }));
        }
        keys.extend(
            self.submissions.keys().map(|submission: &SubmissionId| FactKey::Submission { job: id, id: *submission }),
        );
        keys.extend(self.uncommon().cancels.keys().map(|by| FactKey::Cancel { job: id, by: *by }));
        keys.extend(self.uncommon().told.keys().map(|by| FactKey::Told { job: id, by: *by }));
        keys
    }

    /// When its result was accepted, or else when it was cancelled, by the clocks of those who wrote that.
    pub(crate) fn over_since(&self) -> Option<WallTime> {
        let accepted = self.canonical_fact().map(|(_, fact)| fact.stamp.wall());
        accepted.or_else(|| self.uncommon().cancels.values().min().map(|at| at.wall()))
    }

    /// The brokers that have a notice of a change not known to have been taken.
    pub(crate) fn notices_pending(&self) -> impl Iterator<Item = ReplicaId> {
        self.uncommon().told.iter().filter(|(_, told)| told.pending.is_some()).map(|(broker, _)| *broker)
    }
}
