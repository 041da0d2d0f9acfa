//! What was decided so far, as counters that add up across rounds and brokers.

use alloc::collections::BTreeMap;

use crate::{AlgorithmId, Context, Decision, Plan, PolicyEpoch, PreemptionRefusal, Reason};

/// Counters of decisions. A value: the caller keeps it, and adds those of several brokers with [`merge`](Self::merge).
///
/// ```
/// use reconvene_clock::Hlc;
/// use reconvene_resolve::{CandidateId, Statistics, StrategyKind, SubjectId, VersionFacts, decide};
///
/// let version = |issuer| VersionFacts::new(SubjectId::new(1, 7), CandidateId::new(issuer, 1), Hlc::default());
/// let decision = decide(StrategyKind::VectorClockCausal.reconcile(), &[version(1), version(2)]).expect("two versions");
/// let mut here = Statistics::default();
/// here.record(&decision);
///
/// let mut both = here.clone();
/// both.merge(&here);
/// assert_eq!(both.wins.values().sum::<u64>(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Statistics {
    /// Decisions of each kind.
    pub decisions: BTreeMap<DecisionKind, u64>,
    /// How often candidates of each replica came first: shows whether one wins systematically.
    pub wins: BTreeMap<u64, u64>,
    /// How far the first was ahead, in the unit of the deciding link.
    pub margins: Histogram,
    /// How long jobs waited until they were started, in milliseconds.
    pub waits: Histogram,
    /// Jobs that were started before one of their tier that had been submitted earlier.
    pub overtakes: u64,
    /// Jobs that were marked late.
    pub late: u64,
    /// Jobs that were stopped for another.
    pub preemptions: u64,
    /// Preemptions that were refused, by reason.
    pub preemptions_refused: BTreeMap<PreemptionRefusal, u64>,
    /// The value of the jobs that were placed.
    pub value_placed: u64,
    /// The value of the jobs that wanted a place.
    pub value_offered: u64,
    /// The value that search added to a first packing.
    pub search_gain: u64,
    /// Decisions that could not be made because a policy was missing.
    pub unresolved: u64,
}

/// What decisions are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "a key")]
pub struct DecisionKind {
    /// The sense of conflict.
    pub context: Context,
    /// The rule.
    pub algorithm: AlgorithmId,
    /// The switch of the policy it came from, if that was named.
    pub policy: Option<PolicyEpoch>,
    /// The code of the winner's reason.
    pub reason: &'static str,
    /// The link that decided; `None` of a single candidate.
    pub link: Option<&'static str>,
}

impl Statistics {
    /// Counts a decision: its kind, its winner, its margin.
    pub fn record(&mut self, decision: &Decision) {
        let kind = DecisionKind {
            context: decision.context,
            algorithm: decision.algorithm,
            policy: decision.policy.map(|policy| policy.epoch),
            reason: decision.reason().code(),
            link: decision.deciding.map(|deciding| deciding.link),
        };
        add(self.decisions.entry(kind).or_default(), 1);
        let [replica, _] = decision.winner().0;
        add(self.wins.entry(replica).or_default(), 1);
        if let Some(deciding) = decision.deciding {
            self.margins.record(deciding.margin);
        }
    }

    /// Counts a plan: the jobs it found late, and what it refused.
    pub fn record_plan(&mut self, plan: &Plan) {
        add(&mut self.late, u64::try_from(plan.late.len()).unwrap_or(u64::MAX));
        plan.waiting.iter().for_each(|waiting| self.record_refusal(&waiting.reason));
    }

    /// Counts a reason that is a refusal of preemption or a missing policy; others are in the decisions already.
    pub fn record_refusal(&mut self, reason: &Reason) {
        match reason {
            Reason::PreemptionRefused { why } => add(self.preemptions_refused.entry(*why).or_default(), 1),
            Reason::AwaitingPolicy => add(&mut self.unresolved, 1),
            Reason::Chosen
            | Reason::OnlyCandidate
            | Reason::BehindHigherTier { .. }
            | Reason::BehindEarlier { .. }
            | Reason::LostTo { .. }
            | Reason::AgreesWith { .. }
            | Reason::DeadlineHopeless { .. }
            | Reason::WaitingForCapacity { .. }
            | Reason::NoExecutorWithTags { .. }
            | Reason::ReservedForOther { .. }
            | Reason::StormGuard
            | Reason::ParkedAwaitingJob
            | Reason::EmergencyExpired { .. }
            | Reason::KeptAsHeadRoom { .. }
            | Reason::NotPacked { .. } => {}
        }
    }

    /// Adds the counters of another.
    pub fn merge(&mut self, other: &Self) {
        merge_map(&mut self.decisions, &other.decisions);
        merge_map(&mut self.wins, &other.wins);
        merge_map(&mut self.preemptions_refused, &other.preemptions_refused);
        self.margins.merge(&other.margins);
        self.waits.merge(&other.waits);
        add(&mut self.overtakes, other.overtakes);
        add(&mut self.late, other.late);
        add(&mut self.preemptions, other.preemptions);
        add(&mut self.value_placed, other.value_placed);
        add(&mut self.value_offered, other.value_offered);
        add(&mut self.search_gain, other.search_gain);
        add(&mut self.unresolved, other.unresolved);
    }
}

/// How often a number of each size was seen: bucket 0 holds zeros, bucket b the numbers of b bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; Self::BUCKETS],
}

impl Histogram {
    /// Zero, and one bucket for each number of bits.
    pub const BUCKETS: usize = 65;

    /// Counts a number.
    pub fn record(&mut self, number: u64) {
        let bits = u64::BITS.saturating_sub(number.leading_zeros());
        let bucket = usize::try_from(bits).ok().and_then(|bits| self.buckets.get_mut(bits));
        bucket.into_iter().for_each(|bucket| add(bucket, 1));
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(bucket, more)| add(bucket, more));
    }

    /// How many numbers of each number of bits were counted; zeros first.
    #[must_use]
    pub const fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.buckets
    }

    /// How many numbers were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, bucket| sum.saturating_add(*bucket))
    }

    /// A number that at least `permille` of a thousand counted ones do not exceed: the largest of its bucket. `None` of
    /// nothing.
    #[must_use]
    pub fn quantile(&self, permille: u16) -> Option<u64> {
        let wanted = u128::from(self.count()).saturating_mul(permille.min(1_000).into()).div_ceil(1_000);
        let mut seen: u128 = 0;
        let found = self.buckets.iter().zip(0_u32..).find(|(bucket, _)| {
            seen = seen.saturating_add((**bucket).into());
            **bucket > 0 && seen >= wanted
        });
        found.map(|(_, bits)| u64::MAX.checked_shr(u64::BITS.saturating_sub(bits)).unwrap_or(0))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS] }
    }
}

/// As a list of the counts.
#[cfg(feature = "serde")]
impl serde::Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.buckets)
    }
}

/// A counter that is full stays full; nothing is decided by it.
const fn add(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

fn merge_map<K: Ord + Copy>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        add(into.entry(*key).or_default(), *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_bucket_of_their_bits() {
        let mut histogram = Histogram::default();
        for number in [0, 1, 2, 3, 4, 7, 8, u64::MAX] {
            histogram.record(number);
        }
        assert_eq!(histogram.buckets()[..5], [1, 1, 2, 2, 1]);
        assert_eq!(histogram.buckets()[64], 1);
        assert_eq!(histogram.count(), 8);
        let mut twice = histogram;
        twice.merge(&histogram);
        assert_eq!(twice.count(), 16);
        assert_eq!(twice.buckets()[2], 4);
    }

    #[test]
    fn quantiles_name_the_top_of_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), None);
        for number in 1..=100 {
            histogram.record(number);
        }
        // 1 | 2..3 | 4..7 | 8..15 | 16..31 | 32..63 | 64..100
        assert_eq!(
            [0, 10, 30, 31, 500, 630, 631, 1_000].map(|p| histogram.quantile(p).unwrap()),
            [1, 1, 3, 7, 63, 63, 127, 127]
        );
        let mut zeros = Histogram::default();
        zeros.record(0);
        assert_eq!(zeros.quantile(1_000), Some(0));
        zeros.record(u64::MAX);
        assert_eq!(zeros.quantile(1_000), Some(u64::MAX));
    }
}
