//! The two questions, as traits without a common parent: a rule that looks at load cannot be passed where brokers agree.

use reconvene_clock::WallTime;

use crate::{
    AlgorithmId, ClusterView, FitRule, JobFacts, KeyBreakdown, Plan, RankKey, RoundFacts, VersionFacts, greedy,
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
        greedy::plan(|job| self.key(job, round), FitRule::Balanced, jobs, view, now)
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
