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

    /// Word `index` of the key, 0 past the last. To be overridden where one word is cheaper than all of them: rankings
    /// ask for later words only where earlier ones tie.
    fn word(&self, job: &JobFacts, round: &RoundFacts, index: usize) -> u64 {
        self.key(job, round).word(index)
    }

    /// Two words that are no greater than the first two of the key, compared left to right. To be overridden where
    /// such a bound is cheaper than the key: [`top`](crate::top) passes over jobs that cannot be among the first.
    fn least_words(&self, job: &JobFacts, round: &RoundFacts) -> [u64; 2] {
        let _ = (job, round);
        [0; 2]
    }

    /// Where the waiting jobs go in this round. Greedy unless a strategy knows better: job by job in rank order, each to
    /// the executor that it leaves most balanced, under the view's rules for deadlines, reservations, reserved shares and
    /// head room. `now` decides what is late and for how long somebody has waited, never the order.
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

    /// Word `index` of the key, 0 past the last. To be overridden where one word is cheaper than all of them:
    /// [`resolve`](crate::resolve) asks for later words only where earlier ones tie.
    fn word(&self, version: &VersionFacts, index: usize) -> u64 {
        self.key(version).word(index)
    }

    /// The same for each of `versions`, in their order, into `words`, which has one place for each. To be overridden
    /// where a word is cheap beside the call that asks for it: [`resolve`](crate::resolve) asks for no single ones.
    fn words(&self, versions: &[&VersionFacts], index: usize, words: &mut [u64]) {
        for (word, version) in words.iter_mut().zip(versions) {
            *word = self.word(version, index);
        }
    }
}
