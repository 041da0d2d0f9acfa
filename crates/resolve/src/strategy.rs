//! The two questions, as traits without a common parent: a rule that looks at load cannot be passed where brokers agree.

use alloc::vec::Vec;

use reconvene_clock::WallTime;

use crate::{
    AlgorithmId, CandidateId, ClusterView, JobFacts, KeyBreakdown, Plan, RankKey, RoundFacts, VersionFacts, greedy,
};

/// Orders waiting jobs on the one broker that decides.
///
/// The answer may depend on the round's capacity. It must not depend on time: waiting changes nothing.
pub trait ContentionStrategy: Send + Sync {
    /// Which algorithm this is.
    fn algorithm(&self) -> AlgorithmId;
    /// The job's key; smaller runs first. Ends with the job's id.
    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey;
    /// The same key taken apart.
    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown;

    /// Where the waiting jobs go in this round. Greedy unless a strategy knows better: job by job in rank order, each to
    /// the executor that it leaves most balanced, under the view's rules for deadlines, reservations and reserved
    /// shares. `now` decides what is late and for how long somebody has waited, never the order.
    fn plan(&self, jobs: &[JobFacts], view: &ClusterView, round: &RoundFacts, now: WallTime) -> Plan {
        greedy::plan(|job| self.key(job, round), jobs, view, now)
    }
}

/// Chooses the canonical version, on every broker alike. It has no `now` and no load on purpose.
pub trait ReconcileStrategy: Send + Sync {
    /// Which algorithm this is.
    fn algorithm(&self) -> AlgorithmId;
    /// The version's key; smaller wins. Ends with the version's id.
    fn key(&self, version: &VersionFacts) -> RankKey;
    /// The same key taken apart.
    fn explain(&self, version: &VersionFacts) -> KeyBreakdown;
}

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
