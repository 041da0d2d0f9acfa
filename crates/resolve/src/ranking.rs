//! From keys to orders and winners.

use alloc::vec::Vec;

use crate::{CandidateId, ContentionStrategy, JobFacts, RankKey, ReconcileStrategy, RoundFacts, VersionFacts};

/// All jobs, first to run first. O(n log n); each key is computed once.
#[must_use]
pub fn rank(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Vec<CandidateId> {
    let mut keys: Vec<RankKey> = jobs.iter().map(|job| strategy.key(job, round)).collect();
    keys.sort_unstable();
    keys.iter().map(RankKey::id).collect()
}

/// The first `count` jobs of [`rank`], in order. O(n + k log k).
#[must_use]
pub fn top(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts, count: usize) -> Vec<CandidateId> {
    let mut keys: Vec<RankKey> = jobs.iter().map(|job| strategy.key(job, round)).collect();
    if count < keys.len() {
        keys.select_nth_unstable(count);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys.iter().map(RankKey::id).collect()
}

/// The canonical version, or `None` of none. O(k).
#[must_use]
pub fn resolve<'a>(strategy: &dyn ReconcileStrategy, versions: &'a [VersionFacts]) -> Option<&'a VersionFacts> {
    versions.iter().min_by_key(|version| strategy.key(version))
}
