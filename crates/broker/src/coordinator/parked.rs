//! Results of jobs that are unknown here.

use std::collections::BTreeMap;

use reconvene_clock::{NodeId, Timestamp};
use reconvene_executor::JobId;
use reconvene_executor::Outcome;
use reconvene_executor::message::Submit;

/// Results that wait for their job's specification, bounded in number and bytes.
#[derive(Debug, Default)]
pub(super) struct Parked {
    jobs: BTreeMap<JobId, Vec<Kept>>,
    count: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) from: NodeId,
    pub(super) submit: Submit,
    pub(super) until: Timestamp,
}

impl Parked {
    /// The copy kept of this submission, if there is one.
    pub(super) fn find(&self, submit: &Submit) -> Option<&Kept> {
        let same = |kept: &&Kept| {
            kept.submit.attempt == submit.attempt
                && kept.submit.session == submit.session
                && kept.submit.sequence == submit.sequence
        };
        self.jobs.get(&submit.attempt.job)?.iter().find(same)
    }

    /// Keeps a result unless a limit would be broken.
    pub(super) fn keep(&mut self, kept: Kept, limit: usize, bytes_limit: usize) -> bool {
        let bytes = self.bytes.saturating_add(size(&kept));
        if self.count >= limit || bytes > bytes_limit {
            return false;
        }
        self.bytes = bytes;
        self.count = self.count.saturating_add(1);
        self.jobs.entry(kept.submit.attempt.job).or_default().push(kept);
        true
    }

    /// Takes out everything kept for a job, in the order it came.
    pub(super) fn take(&mut self, job: JobId) -> Vec<Kept> {
        let taken = self.jobs.remove(&job).unwrap_or_default();
        self.count = self.count.saturating_sub(taken.len());
        self.bytes = taken.iter().fold(self.bytes, |bytes, kept| bytes.saturating_sub(size(kept)));
        taken
    }

    /// What is kept for a job, in the order it came.
    pub(super) fn of(&self, job: JobId) -> &[Kept] {
        self.jobs.get(&job).map_or(&[], Vec::as_slice)
    }

    /// The jobs that something is kept for.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }
}

fn size(kept: &Kept) -> usize {
    let body = match &kept.submit.outcome {
        Outcome::Success { output } => output.len(),
        Outcome::Failure { error } => error.len(),
    };
    body.saturating_add(OVERHEAD)
}

/// What a kept result takes beside its body, roughly.
const OVERHEAD: usize = 256;
