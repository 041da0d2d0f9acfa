//! The five named strategies, each for both senses of conflict: ten chains.

use reconvene_clock::WallTime;

use crate::{
    AlgorithmId, Chain, ChainError, ClusterView, ContentionStrategy, HeadStartMinutes, JobFacts, KeyBreakdown, Link,
    Plan, RankKey, ReconcileStrategy, ResourcePacking, RoundFacts, Term, VersionFacts, job, version,
};

pub(crate) const FCFS: AlgorithmId = AlgorithmId::new(1, 1);
pub(crate) const PRIORITY: AlgorithmId = AlgorithmId::new(2, 1);
pub(crate) const EMERGENCY: AlgorithmId = AlgorithmId::new(3, 1);
pub(crate) const RESOURCE: AlgorithmId = AlgorithmId::new(4, 1);
pub(crate) const CAUSAL: AlgorithmId = AlgorithmId::new(5, 1);

/// `FIRST_COME_FIRST_SERVED`: the submit stamp orders jobs, the stamp of acceptance orders results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstComeFirstServed;

impl FirstComeFirstServed {
    /// The only one there is.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    const fn contention(&self) -> &'static Chain<JobFacts> {
        static CHAIN: Chain<JobFacts> = Chain::fixed(FCFS, const { &[job::submitted(), Link::id()] });
        &CHAIN
    }

    const fn reconcile(&self) -> &'static Chain<VersionFacts> {
        static CHAIN: Chain<VersionFacts> = Chain::fixed(
            FCFS,
            const { &[version::outcome(), version::accepted(), version::attempt(), Link::tie_hash(), Link::id()] },
        );
        &CHAIN
    }
}

/// `PRIORITY_BASED`: jobs by virtual start, results by declared quality and then by the score of their placement.
#[derive(Clone, Debug)]
pub struct PriorityBased {
    contention: Chain<JobFacts>,
}

impl PriorityBased {
    /// With these head starts.
    ///
    /// # Errors
    /// [`ChainError::HeadStartTooLong`] if together they could wrap a word.
    pub fn new(head_start: HeadStartMinutes) -> Result<Self, ChainError> {
        let links = [head_start.link(), job::submitted(), Link::id()];
        Ok(Self { contention: Chain::new(PRIORITY, links)? })
    }

    pub(crate) const fn defaults() -> Self {
        const TERMS: &[Term<JobFacts>] = &HeadStartMinutes::PRIORITY_BASED.terms();
        let links = const { &[Link::fixed_head_start(HeadStartMinutes::LINK, TERMS), job::submitted(), Link::id()] };
        Self { contention: Chain::fixed(PRIORITY, links) }
    }

    const fn contention(&self) -> &Chain<JobFacts> {
        &self.contention
    }

    const fn reconcile(&self) -> &'static Chain<VersionFacts> {
        static CHAIN: Chain<VersionFacts> = Chain::fixed(
            PRIORITY,
            const {
                &[
                    version::outcome(),
                    version::quality(),
                    version::placement(),
                    version::accepted(),
                    version::attempt(),
                    Link::tie_hash(),
                    Link::id(),
                ]
            },
        );
        &CHAIN
    }
}

/// `EMERGENCY_FIRST`: the level of the emergency is a tier that nothing crosses; virtual start within it. Results go by
/// the level frozen at their acceptance.
#[derive(Clone, Debug)]
pub struct EmergencyFirst {
    contention: Chain<JobFacts>,
}

impl EmergencyFirst {
    /// With these head starts within a tier.
    ///
    /// # Errors
    /// [`ChainError::HeadStartTooLong`] if together they could wrap a word.
    pub fn new(head_start: HeadStartMinutes) -> Result<Self, ChainError> {
        let links = [job::tier(), head_start.link(), job::submitted(), Link::id()];
        Ok(Self { contention: Chain::new(EMERGENCY, links)? })
    }

    pub(crate) const fn defaults() -> Self {
        const TERMS: &[Term<JobFacts>] = &HeadStartMinutes::EMERGENCY_FIRST.terms();
        let links = const {
            &[job::tier(), Link::fixed_head_start(HeadStartMinutes::LINK, TERMS), job::submitted(), Link::id()]
        };
        Self { contention: Chain::fixed(EMERGENCY, links) }
    }

    const fn contention(&self) -> &Chain<JobFacts> {
        &self.contention
    }

    const fn reconcile(&self) -> &'static Chain<VersionFacts> {
        static CHAIN: Chain<VersionFacts> = Chain::fixed(
            EMERGENCY,
            const {
                &[
                    version::outcome(),
                    version::tier(),
                    version::accepted(),
                    version::attempt(),
                    Link::tie_hash(),
                    Link::id(),
                ]
            },
        );
        &CHAIN
    }
}

/// `RESOURCE_OPTIMAL`: jobs by value for the capacity they take, results by what they cost.
///
/// The order alone is greedy for a problem that is NP-hard. [`plan`](ContentionStrategy::plan) packs instead, see
/// [`ResourcePacking`]; jobs that have waited long go first there, so that density cannot starve large ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceOptimal {
    packing: ResourcePacking,
}

impl ResourceOptimal {
    /// With the portfolio of packings, without search.
    #[must_use]
    pub const fn new() -> Self {
        Self { packing: ResourcePacking::new() }
    }

    /// With this packing.
    #[must_use]
    pub const fn with_packing(packing: ResourcePacking) -> Self {
        Self { packing }
    }

    const fn contention(&self) -> &'static Chain<JobFacts> {
        static CHAIN: Chain<JobFacts> =
            Chain::fixed(RESOURCE, const { &[job::density().reversed(), job::submitted(), Link::id()] });
        &CHAIN
    }

    const fn reconcile(&self) -> &'static Chain<VersionFacts> {
        static CHAIN: Chain<VersionFacts> = Chain::fixed(
            RESOURCE,
            const {
                &[
                    version::outcome(),
                    version::cost(),
                    version::accepted(),
                    version::attempt(),
                    Link::tie_hash(),
                    Link::id(),
                ]
            },
        );
        &CHAIN
    }
}

/// `VECTOR_CLOCK_CAUSAL`: by causal height, which never contradicts what happened before what; ties by a fair hash.
///
/// Needs no wall clock. Height favours well-connected brokers among concurrent events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorClockCausal {
    order: CausalOrder,
}

/// Which end of causality is canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an order has two ends")]
pub enum CausalOrder {
    /// The version with the least height: for results, where the first one counts.
    Earliest,
    /// The version with the greatest height: for metadata, where the last one counts.
    Latest,
}

impl VectorClockCausal {
    /// Results and siblings by this order. Jobs go by the least height in either case.
    #[must_use]
    pub const fn new(order: CausalOrder) -> Self {
        Self { order }
    }

    const fn contention(&self) -> &'static Chain<JobFacts> {
        static CHAIN: Chain<JobFacts> = Chain::fixed(CAUSAL, const { &[job::height(), Link::tie_hash(), Link::id()] });
        &CHAIN
    }

    const fn reconcile(&self) -> &'static Chain<VersionFacts> {
        static EARLIEST: Chain<VersionFacts> =
            Chain::fixed(CAUSAL, const { &[version::outcome(), version::height(), Link::tie_hash(), Link::id()] });
        static LATEST: Chain<VersionFacts> = Chain::fixed(
            CAUSAL,
            const { &[version::outcome(), version::height().reversed(), Link::tie_hash(), Link::id()] },
        );
        match self.order {
            CausalOrder::Earliest => &EARLIEST,
            CausalOrder::Latest => &LATEST,
        }
    }
}

/// Answers both questions by the strategy's chains; what follows a name goes into its implementation for contention.
macro_rules! answer_by_chains {
    ($($strategy:ty { $($own:item)* })+) => {$(
        impl ContentionStrategy for $strategy {
            fn algorithm(&self) -> AlgorithmId {
                self.contention().algorithm()
            }

            fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
                self.contention().key(job, round)
            }

            fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
                self.contention().explain(job, round)
            }

            fn word(&self, job: &JobFacts, round: &RoundFacts, index: usize) -> u64 {
                self.contention().word(job, round, index)
            }

            fn least_words(&self, job: &JobFacts, round: &RoundFacts) -> [u64; 2] {
                self.contention().least_words(job, round)
            }

            $($own)*
        }

        impl ReconcileStrategy for $strategy {
            fn algorithm(&self) -> AlgorithmId {
                self.reconcile().algorithm()
            }

            fn key(&self, version: &VersionFacts) -> RankKey {
                self.reconcile().key(version)
            }

            fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
                self.reconcile().explain(version)
            }

            fn word(&self, version: &VersionFacts, index: usize) -> u64 {
                self.reconcile().word(version, index)
            }

            fn words(&self, versions: &[&VersionFacts], index: usize, words: &mut [u64]) {
                self.reconcile().words(versions, index, words);
            }
        }
    )+};
}

answer_by_chains! {
    FirstComeFirstServed {}
    PriorityBased {}
    EmergencyFirst {}
    ResourceOptimal {
        fn plan(&self, jobs: &[JobFacts], view: &ClusterView, round: &RoundFacts, now: WallTime) -> Plan {
            self.packing.pack(jobs, view, round, now)
        }
    }
    VectorClockCausal {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::check;

    #[test]
    fn fixed_chains_pass_the_checks_of_built_ones() {
        let (first, resource) = (FirstComeFirstServed, ResourceOptimal::new());
        let (priority, emergency) = (PriorityBased::defaults(), EmergencyFirst::defaults());
        let causal = [CausalOrder::Earliest, CausalOrder::Latest].map(VectorClockCausal::new);
        for chain in [
            first.contention(),
            priority.contention(),
            emergency.contention(),
            resource.contention(),
            causal[0].contention(),
        ] {
            assert_eq!(check(chain.links()), Ok(()));
        }
        for chain in [
            first.reconcile(),
            priority.reconcile(),
            emergency.reconcile(),
            resource.reconcile(),
            causal[0].reconcile(),
            causal[1].reconcile(),
        ] {
            assert_eq!(check(chain.links()), Ok(()));
        }
    }

    #[test]
    fn head_starts_that_could_wrap_are_refused() {
        let at_limit = HeadStartMinutes { priority: 71_582, deadline: 0, lightness: 0, smallness: 0, emergency: 0 };
        assert!(PriorityBased::new(at_limit).is_ok());
        let over = HeadStartMinutes { emergency: 1, ..at_limit };
        assert_eq!(PriorityBased::new(over).unwrap_err(), ChainError::HeadStartTooLong { minutes: 71_583 });
        assert!(EmergencyFirst::new(HeadStartMinutes { priority: u32::MAX, ..over }).is_err());
    }
}
