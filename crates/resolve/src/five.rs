//! The five named strategies, each for both senses of conflict.

use alloc::vec;
use alloc::vec::Vec;

use crate::resources::share;
use crate::{
    AlgorithmId, BasisPoints, CandidateId, ChainError, ContentionStrategy, Dimension, HeadStartMinutes, JobFacts,
    KeyBreakdown, LinkReading, MAX_WORDS, RankKey, ReconcileStrategy, RoundFacts, SubjectId, VersionFacts, tie_hash,
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

/// `PRIORITY_BASED`: jobs by virtual start, results by declared quality and then by the score of their placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityBased {
    head_start: HeadStartMinutes,
}

/// `EMERGENCY_FIRST`: the level of the emergency is a tier that nothing crosses; virtual start within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmergencyFirst {
    head_start: HeadStartMinutes,
}

/// `RESOURCE_OPTIMAL`: jobs by value for the capacity they take, results by what they cost.
///
/// Orders only. Packing several jobs onto several executors at once is not in this version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceOptimal;

/// `VECTOR_CLOCK_CAUSAL`: by causal height, which never contradicts what happened before what; ties by a fair hash.
///
/// Height favours well-connected brokers among concurrent events.
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

impl FirstComeFirstServed {
    /// The only one there is.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl PriorityBased {
    /// With these head starts.
    ///
    /// # Errors
    ///
    /// [`ChainError::HeadStartTooLong`] if together they could wrap a word.
    pub fn new(head_start: HeadStartMinutes) -> Result<Self, ChainError> {
        Ok(Self { head_start: head_start.checked()? })
    }

    pub(crate) const fn defaults() -> Self {
        Self { head_start: HeadStartMinutes::PRIORITY_BASED }
    }
}

impl EmergencyFirst {
    /// With these head starts within a tier.
    ///
    /// # Errors
    ///
    /// [`ChainError::HeadStartTooLong`] if together they could wrap a word.
    pub fn new(head_start: HeadStartMinutes) -> Result<Self, ChainError> {
        Ok(Self { head_start: head_start.checked()? })
    }

    pub(crate) const fn defaults() -> Self {
        Self { head_start: HeadStartMinutes::EMERGENCY_FIRST }
    }
}

impl ResourceOptimal {
    /// The only one there is.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl VectorClockCausal {
    /// Results and siblings by this order. Jobs go by the least height in either case.
    #[must_use]
    pub const fn new(order: CausalOrder) -> Self {
        Self { order }
    }
}

/// The words of a key from left to right, written once: `key` and `explain` cannot differ.
type Words<const N: usize> = [(&'static str, u64); N];

fn key_of<const N: usize>(words: Words<N>, id: CandidateId) -> RankKey {
    const { assert!(N <= MAX_WORDS, "a strategy of this crate fits a key") };
    let mut all = [0; MAX_WORDS];
    for (to, (_, word)) in all.iter_mut().zip(words) {
        *to = word;
    }
    RankKey::new(all, id)
}

fn breakdown_of(links: Vec<LinkReading>, id: CandidateId) -> KeyBreakdown {
    KeyBreakdown::new(id, links).expect("a strategy of this crate fits a key")
}

fn plain<const N: usize>(words: Words<N>) -> Vec<LinkReading> {
    words.into_iter().map(|(name, word)| LinkReading::plain(name, word)).collect()
}

/// Larger is better, smaller goes first.
const fn reversed(word: u64) -> u64 {
    u64::MAX.saturating_sub(word)
}

const fn reversed_share(share: BasisPoints) -> u64 {
    share.complement().get() as u64
}

const STAMP: &str = "submitted";

impl ContentionStrategy for FirstComeFirstServed {
    fn algorithm(&self) -> AlgorithmId {
        FCFS
    }

    fn key(&self, job: &JobFacts, _round: &RoundFacts) -> RankKey {
        key_of([(STAMP, job.submitted.as_u64())], job.id)
    }

    fn explain(&self, job: &JobFacts, _round: &RoundFacts) -> KeyBreakdown {
        breakdown_of(plain([(STAMP, job.submitted.as_u64())]), job.id)
    }
}

impl ContentionStrategy for PriorityBased {
    fn algorithm(&self) -> AlgorithmId {
        PRIORITY
    }

    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
        key_of([("", self.head_start.word(job, round)), (STAMP, job.submitted.as_u64())], job.id)
    }

    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
        let stamp = LinkReading::plain(STAMP, job.submitted.as_u64());
        breakdown_of(vec![self.head_start.explain(job, round), stamp], job.id)
    }
}

impl ContentionStrategy for EmergencyFirst {
    fn algorithm(&self) -> AlgorithmId {
        EMERGENCY
    }

    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
        let start = self.head_start.word(job, round);
        key_of([("", job.level.tier()), ("", start), (STAMP, job.submitted.as_u64())], job.id)
    }

    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
        let tier = LinkReading::plain("tier", job.level.tier());
        let stamp = LinkReading::plain(STAMP, job.submitted.as_u64());
        breakdown_of(vec![tier, self.head_start.explain(job, round), stamp], job.id)
    }
}

impl ResourceOptimal {
    /// `floor(value × 2^40 / max(1, share))`, where share is the greatest part of the total that the job takes.
    fn density(job: &JobFacts, round: &RoundFacts) -> u64 {
        let taken =
            Dimension::ALL.iter().map(|dimension| share(job.demand.get(*dimension), round.total.get(*dimension)));
        let taken = taken.max().unwrap_or(0).max(1);
        // A value below 2^20 times 2^40 stays below 2^60.
        (u64::from(job.value.get()) << 40).checked_div(taken).unwrap_or(0)
    }

    fn words(job: &JobFacts, round: &RoundFacts) -> Words<2> {
        [("reversed density", reversed(Self::density(job, round))), (STAMP, job.submitted.as_u64())]
    }
}

impl ContentionStrategy for ResourceOptimal {
    fn algorithm(&self) -> AlgorithmId {
        RESOURCE
    }

    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
        key_of(Self::words(job, round), job.id)
    }

    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
        breakdown_of(plain(Self::words(job, round)), job.id)
    }
}

impl VectorClockCausal {
    fn job_words(job: &JobFacts) -> Words<2> {
        [("height", job.height.get()), ("tie hash", tie_hash(SubjectId::NONE, job.id))]
    }

    fn version_words(self, version: &VersionFacts) -> Words<3> {
        let height = match self.order {
            CausalOrder::Earliest => ("height", version.height.get()),
            CausalOrder::Latest => ("reversed height", reversed(version.height.get())),
        };
        [("outcome", version.outcome.word()), height, tie(version)]
    }
}

impl ContentionStrategy for VectorClockCausal {
    fn algorithm(&self) -> AlgorithmId {
        CAUSAL
    }

    fn key(&self, job: &JobFacts, _round: &RoundFacts) -> RankKey {
        key_of(Self::job_words(job), job.id)
    }

    fn explain(&self, job: &JobFacts, _round: &RoundFacts) -> KeyBreakdown {
        breakdown_of(plain(Self::job_words(job)), job.id)
    }
}

fn tie(version: &VersionFacts) -> (&'static str, u64) {
    ("tie hash", tie_hash(version.subject, version.id))
}

/// The links that close every divergence key but the causal one.
fn closing(version: &VersionFacts) -> Words<3> {
    [("accepted", version.accepted.as_u64()), ("attempt", version.attempt_word()), tie(version)]
}

/// Implements a divergence strategy by the words that stand between the outcome and the closing links.
macro_rules! reconcile_by {
    ($strategy:ty, $algorithm:expr, $count:literal, |$version:ident| $words:expr) => {
        impl $strategy {
            fn version_words($version: &VersionFacts) -> Words<$count> {
                $words
            }
        }

        impl ReconcileStrategy for $strategy {
            fn algorithm(&self) -> AlgorithmId {
                $algorithm
            }

            fn key(&self, version: &VersionFacts) -> RankKey {
                key_of(Self::version_words(version), version.id)
            }

            fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
                breakdown_of(plain(Self::version_words(version)), version.id)
            }
        }
    };
}

reconcile_by!(FirstComeFirstServed, FCFS, 4, |version| {
    let [stamp, attempt, tie] = closing(version);
    [("outcome", version.outcome.word()), stamp, attempt, tie]
});
reconcile_by!(PriorityBased, PRIORITY, 6, |version| {
    let [stamp, attempt, tie] = closing(version);
    let quality = ("reversed quality", reversed_share(version.quality));
    let placement = ("reversed placement", reversed(version.placement));
    [("outcome", version.outcome.word()), quality, placement, stamp, attempt, tie]
});
reconcile_by!(EmergencyFirst, EMERGENCY, 5, |version| {
    let [stamp, attempt, tie] = closing(version);
    [("outcome", version.outcome.word()), ("tier", version.level.tier()), stamp, attempt, tie]
});
reconcile_by!(ResourceOptimal, RESOURCE, 5, |version| {
    let [stamp, attempt, tie] = closing(version);
    [("outcome", version.outcome.word()), ("cost", version.cost_resource_ms), stamp, attempt, tie]
});

impl ReconcileStrategy for VectorClockCausal {
    fn algorithm(&self) -> AlgorithmId {
        CAUSAL
    }

    fn key(&self, version: &VersionFacts) -> RankKey {
        key_of(self.version_words(version), version.id)
    }

    fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
        breakdown_of(plain(self.version_words(version)), version.id)
    }
}
