//! Sets of dots as ascending ranges, which is how they travel.

use core::fmt;

use reconvene_clock::{Counter, Dot, DotRange, Knowledge, ReplicaId};
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// At most as many replicas as a vector may have entries.
const MAX_REPLICAS: usize = 65_536;
/// Runs of one replica; the frame bounds them all together.
const MAX_RUNS: usize = 65_536;

/// Ranges of dots: replicas strictly ascending, each with at least one range; the ranges of one ascend and do not touch.
///
/// They are kept in about the bytes that they travel in, and read one by one where they are used: a range may take two
/// bytes on the wire, and would take 24 as a [`DotRange`].
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// For each replica its name, how many runs follow in four bytes, and the runs: see [`Run`].
    bytes: Vec<u8>,
    replicas: usize,
    /// The last replica, the place of its count, and the end of its last run.
    open: Option<(ReplicaId, usize, u64)>,
}

/// A run of counters as it travels: counters skipped, counters in it minus one. As runs do not touch, one further counter is
/// skipped before each but the first.
type Run = (u64, u64);

/// The first and the last counter of the run behind `end`, which is 0 before the first; `None` if there are no such ones.
fn run_behind(end: u64, (skipped, more): Run) -> Option<(u64, u64)> {
    let first = end.checked_add(u64::from(end > 0))?.checked_add(skipped)?.checked_add(1)?;
    Some((first, first.checked_add(more)?))
}

impl Ranges {
    /// Whether there are none.
    #[cfg(test)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The ranges of these dots, which ascend.
    pub(crate) fn of_dots(dots: impl IntoIterator<Item = Dot>) -> Self {
        let mut ranges = Self::default();
        let mut run: Option<DotRange> = None;
        for dot in dots {
            let longer = run
                .filter(|run| run.replica() == dot.replica && run.last().checked_next() == Some(dot.counter))
                .and_then(|run| DotRange::new(run.replica(), run.first(), dot.counter));
            if longer.is_none() {
                ranges.extend(run);
            }
            run = Some(longer.unwrap_or_else(|| dot.into()));
        }
        ranges.extend(run);
        ranges
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = DotRange> {
        self.blocks().flat_map(|block| {
            let replica = block.replica;
            let mut end = 0;
            block.runs().filter_map(move |run| {
                let (first, last) = run_behind(end, run)?;
                end = last;
                DotRange::new(replica, Counter::new(first)?, Counter::new(last)?)
            })
        })
    }

    /// The dots of all ranges, ascending.
    pub(crate) fn dots(&self) -> impl Iterator<Item = Dot> {
        self.iter().flat_map(|range| range.dots())
    }

    /// How many dots the ranges have; a range says much in few bytes.
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|range| range.count()).fold(0, u64::saturating_add)
    }

    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let mut rest = self.bytes.as_slice();
        core::iter::from_fn(move || {
            let (replica, behind) = rest.split_first_chunk()?;
            let replica = ReplicaId::new(u64::from_be_bytes(*replica))?;
            let (count, behind) = behind.split_first_chunk()?;
            let mut block = Block { replica, count: u32::from_le_bytes(*count), bytes: behind };
            let mut runs = block.runs();
            runs.by_ref().for_each(drop);
            rest = runs.bytes;
            block.bytes = behind;
            Some(block)
        })
    }

    fn begin(&mut self, replica: ReplicaId) {
        self.bytes.extend_from_slice(&replica.get().to_be_bytes());
        self.open = Some((replica, self.bytes.len(), 0));
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
        self.replicas = self.replicas.saturating_add(1);
    }

    /// Puts a run behind those of the replica that was begun last, which has room for `end` as the last counter.
    fn put(&mut self, (skipped, more): Run, end: u64) {
        put_number(&mut self.bytes, skipped);
        put_number(&mut self.bytes, more);
        let Some((_, count, last)) = &mut self.open else { return };
        *last = end;
        let count = self.bytes.get_mut(*count..).and_then(<[u8]>::first_chunk_mut::<4>);
        if let Some(count) = count {
            *count = u32::from_le_bytes(*count).saturating_add(1).to_le_bytes();
        }
    }
}

/// One replica and its runs.
#[derive(Clone, Copy)]
struct Block<'a> {
    replica: ReplicaId,
    count: u32,
    /// Begin with the runs.
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    const fn runs(&self) -> Runs<'a> {
        Runs { left: self.count, bytes: self.bytes }
    }
}

#[derive(Clone)]
struct Runs<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.left = self.left.checked_sub(1)?;
        Some((take_number(&mut self.bytes)?, take_number(&mut self.bytes)?))
    }
}

/// Small numbers in one byte, others behind how many bytes they have: never more than they have on the wire.
fn put_number(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_le_bytes();
    let (mark, length) = match number {
        0..=MAX_SMALL => (None, 1),
        251..=0xffff => (Some(TWO), 2),
        0x1_0000..=0xffff_ffff => (Some(FOUR), 4),
        _ => (Some(EIGHT), 8),
    };
    out.extend(mark);
    out.extend_from_slice(bytes.get(..length).unwrap_or_default());
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let length = match *first {
        TWO => 2,
        FOUR => 4,
        EIGHT => 8,
        small => {
            *bytes = rest;
            return Some(small.into());
        }
    };
    let (number, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    let mut whole = [0; 8];
    whole.iter_mut().zip(number).for_each(|(to, from)| *to = *from);
    Some(u64::from_le_bytes(whole))
}

/// The greatest number of one byte, and the marks of longer ones.
const MAX_SMALL: u64 = 250;
const TWO: u8 = 251;
const FOUR: u8 = 252;
const EIGHT: u8 = 253;

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Ranges that ascend, are disjoint and do not touch.
impl Extend<DotRange> for Ranges {
    fn extend<T: IntoIterator<Item = DotRange>>(&mut self, ranges: T) {
        for range in ranges {
            let open = self.open.filter(|(replica, ..)| *replica == range.replica());
            if open.is_none() {
                self.begin(range.replica());
            }
            let end = open.map_or(0, |(_, _, end)| end.saturating_add(1));
            let skipped = range.first().get().saturating_sub(end).saturating_sub(1);
            self.put((skipped, range.count().saturating_sub(1)), range.last().get());
        }
    }
}

impl FromIterator<DotRange> for Ranges {
    fn from_iter<T: IntoIterator<Item = DotRange>>(ranges: T) -> Self {
        let mut all = Self::default();
        all.extend(ranges);
        all
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.replicas))?;
        for block in self.blocks() {
            list.serialize_element(&block)?;
        }
        list.end()
    }
}

impl Serialize for Block<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.replica.get().to_be_bytes(), self.runs()).serialize(serializer)
    }
}

impl Serialize for Runs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(usize::try_from(self.left).ok())?;
        for run in self.clone() {
            list.serialize_element(&run)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;

        impl<'de> Visitor<'de> for Blocks {
            type Value = Ranges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "ascending ranges of at most {MAX_REPLICAS} replicas")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Ranges, A::Error> {
                let mut ranges = Ranges::default();
                while blocks.next_element_seed(BlockOf(&mut ranges))?.is_some() {
                    if ranges.replicas > MAX_REPLICAS {
                        return Err(Error::invalid_length(ranges.replicas, &self));
                    }
                }
                ranges.bytes.shrink_to_fit();
                Ok(ranges)
            }
        }

        deserializer.deserialize_seq(Blocks)
    }
}

/// Reads one replica and its runs into ranges.
struct BlockOf<'a>(&'a mut Ranges);

impl<'de> DeserializeSeed<'de> for BlockOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for BlockOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a replica and its runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let replica = parts.next_element::<[u8; 8]>()?.and_then(|replica| ReplicaId::new(u64::from_be_bytes(replica)));
        let replica = replica.ok_or_else(|| Error::custom("replica is out of range"))?;
        if self.0.open.is_some_and(|(last, ..)| last >= replica) {
            return Err(Error::custom("replicas do not ascend"));
        }
        self.0.begin(replica);
        parts.next_element_seed(RunsOf(self.0))?.ok_or_else(|| Error::invalid_length(1, &"runs"))
    }
}

/// Reads the runs of the replica that was begun last into ranges.
struct RunsOf<'a>(&'a mut Ranges);

impl<'de> DeserializeSeed<'de> for RunsOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RunsOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 to {MAX_RUNS} runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut runs: A) -> Result<(), A::Error> {
        let (mut end, mut count) = (0, 0_usize);
        while let Some(run) = runs.next_element::<Run>()? {
            let greatest = |(_, last): &(u64, u64)| Counter::new(*last).is_some();
            let (_, last) =
                run_behind(end, run).filter(greatest).ok_or_else(|| Error::custom("counter is out of range"))?;
            self.0.put(run, last);
            end = last;
            count = count.saturating_add(1);
            if count > MAX_RUNS {
                return Err(Error::invalid_length(count, &"fewer runs"));
            }
        }
        if count > 0 { Ok(()) } else { Err(Error::invalid_length(0, &"at least one run")) }
    }
}

/// The set of these dots.
pub(crate) fn union(mut base: Knowledge, ranges: impl IntoIterator<Item = DotRange>) -> Knowledge {
    for range in ranges {
        base.add_range(range);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use proptest::prelude::*;

    fn knowledge() -> impl Strategy<Value = Knowledge> {
        let dot =
            (1..5_u64, prop_oneof![1..30_u64, 1..100_000_u64, Just(u64::MAX >> 1)]).prop_map(|(replica, counter)| {
                Dot { replica: ReplicaId::new(replica).unwrap(), counter: Counter::new(counter).unwrap() }
            });
        proptest::collection::vec(dot, 0..40).prop_map(|dots| dots.into_iter().collect())
    }

    /// The lists that ranges are on the wire.
    type Listed = Vec<(u64, Vec<Run>)>;

    fn listed(ranges: &Ranges) -> Listed {
        ranges.blocks().map(|block| (block.replica.get(), block.runs().collect())).collect()
    }

    fn bytes_of(list: &Listed) -> Vec<u8> {
        let list: Vec<_> = list.iter().map(|(replica, runs)| (replica.to_be_bytes(), runs)).collect();
        encode(&list).unwrap()
    }

    proptest! {
        #[test]
        fn law_roundtrip_ranges(knowledge in knowledge(), base in knowledge()) {
            let ranges: Ranges = knowledge.runs().collect();
            let bytes = encode(&ranges).unwrap();
            prop_assert_eq!(&bytes, &bytes_of(&listed(&ranges)), "as lists in lists");
            prop_assert!(ranges.bytes.len() <= bytes.len() + 3 * ranges.replicas);
            let read = decode::<Ranges>(&bytes).unwrap();
            prop_assert_eq!(&union(Knowledge::new(), read.iter()), &knowledge);
            prop_assert_eq!(&read, &ranges);
            // A difference travels as well.
            let missing: Vec<_> = knowledge.missing_from(&base).collect();
            let read: Ranges = decode(&encode(&missing.iter().copied().collect::<Ranges>()).unwrap()).unwrap();
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), missing);
        }

        #[test]
        fn law_dots_make_the_same_ranges(dots in proptest::collection::btree_set((1..4_u64, 1..40_u64), 0..60)) {
            let dots: Vec<Dot> = dots
                .into_iter()
                .map(|(replica, counter)| Dot::new(ReplicaId::new(replica).unwrap(), Counter::new(counter).unwrap()))
                .collect();
            let ranges = Ranges::of_dots(dots.iter().copied());
            prop_assert_eq!(ranges.count(), dots.len() as u64);
            prop_assert_eq!(ranges.is_empty(), dots.is_empty());
            prop_assert!(ranges.dots().eq(dots.iter().copied()));
            let known: Knowledge = dots.into_iter().collect();
            prop_assert_eq!(ranges, known.runs().collect());
        }
    }

    #[test]
    fn ranges_out_of_order_or_range_are_refused() {
        let read = |list: &[(u64, &[Run])]| {
            let list = list.iter().map(|(replica, runs)| (*replica, runs.to_vec())).collect();
            decode::<Ranges>(&bytes_of(&list))
        };
        assert!(read(&[(1, &[(0, 0)]), (2, &[(5, 5)])]).is_ok());
        assert!(read(&[(2, &[(0, 0)]), (1, &[(5, 5)])]).is_err());
        assert!(read(&[(1, &[(0, 0)]), (1, &[(5, 5)])]).is_err());
        assert!(read(&[(0, &[(0, 0)])]).is_err());
        assert!(read(&[(1, &[])]).is_err());
        assert!(read(&[(1, &[(u64::MAX, 0)])]).is_err());
        assert!(read(&[(1, &[(0, u64::MAX)])]).is_err());
        assert!(read(&[(1, &[(0, u64::MAX >> 1)])]).is_err());
        assert!(read(&[(1, &[(0, 0); MAX_RUNS])]).is_ok());
        assert!(read(&[(1, &[(0, 0); MAX_RUNS + 1])]).is_err());
    }
}
