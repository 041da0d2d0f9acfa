//! Sets of dots as ascending ranges, which is how they travel.

use reconvene_clock::{Counter, DotRange, Knowledge, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, CodecProblem, List};

/// At most as many replicas as a vector may have entries.
const MAX_REPLICAS: usize = 65_536;
/// Runs of one replica; the frame bounds them all together.
const MAX_RUNS: usize = 65_536;

/// Ranges of dots on the wire: replicas strictly ascending, each with at least one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireRanges(List<WireRuns, MAX_REPLICAS>);

/// The runs of one replica. A run is (counters skipped, counters in it minus one); as runs do not touch, one further
/// counter is skipped before each but the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WireRuns {
    replica: [u8; 8],
    runs: List<(u64, u64), MAX_RUNS>,
}

impl WireRanges {
    /// Ascending, disjoint, non-touching ranges for the wire.
    pub(crate) fn new(ranges: impl IntoIterator<Item = DotRange>) -> Self {
        let mut list: Vec<WireRuns> = Vec::new();
        let mut current: Option<(ReplicaId, u64)> = None;
        for range in ranges {
            let end = match current {
                Some((replica, end)) if replica == range.replica() => end.saturating_add(1),
                _ => {
                    let replica = range.replica().get().to_be_bytes();
                    list.push(WireRuns { replica, runs: List(Vec::new()) });
                    0
                }
            };
            let skipped = range.first().get().saturating_sub(end).saturating_sub(1);
            if let Some(last) = list.last_mut() {
                last.runs.0.push((skipped, range.count().saturating_sub(1)));
            }
            current = Some((range.replica(), range.last().get()));
        }
        Self(List(list))
    }

    /// The ranges, checked.
    pub(crate) fn read(&self) -> Result<Vec<DotRange>, CodecError> {
        let mut ranges = Vec::new();
        let mut previous = None;
        for WireRuns { replica, runs } in &self.0.0 {
            let replica = ReplicaId::new(u64::from_be_bytes(*replica)).ok_or(CodecProblem::Range("replica"))?;
            if previous.is_some_and(|previous| previous >= replica) || runs.0.is_empty() {
                return Err(CodecProblem::NotCanonical.into());
            }
            previous = Some(replica);
            let mut end = 0_u64;
            for (skipped, more) in &runs.0 {
                let first = end.checked_add(u64::from(end > 0)).and_then(|end| end.checked_add(*skipped));
                let first = first.and_then(|first| first.checked_add(1)).ok_or(CodecProblem::Range("counter"))?;
                end = first.checked_add(*more).ok_or(CodecProblem::Range("counter"))?;
                let range = Counter::new(first)
                    .zip(Counter::new(end))
                    .and_then(|(first, last)| DotRange::new(replica, first, last))
                    .ok_or(CodecProblem::Range("counter"))?;
                ranges.push(range);
            }
        }
        Ok(ranges)
    }
}

/// The set of these dots.
pub(crate) fn union(mut base: Knowledge, ranges: &[DotRange]) -> Knowledge {
    for range in ranges {
        base.add_range(*range);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use proptest::prelude::*;
    use reconvene_clock::Dot;

    fn knowledge() -> impl Strategy<Value = Knowledge> {
        let dot = (1..5_u64, prop_oneof![1..30_u64, Just(u64::MAX >> 1)]).prop_map(|(replica, counter)| Dot {
            replica: ReplicaId::new(replica).unwrap(),
            counter: Counter::new(counter).unwrap(),
        });
        proptest::collection::vec(dot, 0..40).prop_map(|dots| dots.into_iter().collect())
    }

    proptest! {
        #[test]
        fn law_roundtrip_ranges(knowledge in knowledge(), base in knowledge()) {
            let bytes = encode(&WireRanges::new(knowledge.runs())).unwrap();
            let ranges = decode::<WireRanges>(&bytes).unwrap().read().unwrap();
            prop_assert_eq!(&union(Knowledge::new(), &ranges), &knowledge);
            prop_assert_eq!(encode(&WireRanges::new(ranges)).unwrap(), bytes);
            // A difference travels as well.
            let missing: Vec<_> = knowledge.missing_from(&base).collect();
            let read = WireRanges::new(missing.clone()).read().unwrap();
            prop_assert_eq!(read, missing);
        }
    }

    #[test]
    fn ranges_out_of_order_or_range_are_refused() {
        let runs =
            |replica: u64, runs: &[(u64, u64)]| WireRuns { replica: replica.to_be_bytes(), runs: List(runs.into()) };
        let read = |list: Vec<WireRuns>| WireRanges(List(list)).read();
        assert!(read(vec![runs(1, &[(0, 0)]), runs(2, &[(5, 5)])]).is_ok());
        assert!(read(vec![runs(2, &[(0, 0)]), runs(1, &[(5, 5)])]).is_err());
        assert!(read(vec![runs(1, &[(0, 0)]), runs(1, &[(5, 5)])]).is_err());
        assert!(read(vec![runs(0, &[(0, 0)])]).is_err());
        assert!(read(vec![runs(1, &[])]).is_err());
        assert!(read(vec![runs(1, &[(u64::MAX, 0)])]).is_err());
        assert!(read(vec![runs(1, &[(0, u64::MAX)])]).is_err());
        assert!(read(vec![runs(1, &[(0, u64::MAX >> 1)])]).is_err());
    }
}
