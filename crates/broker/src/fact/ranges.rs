//! Sets of numbers that are mostly without holes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of numbers, kept as ranges: as large as it has holes.
///
/// ```
/// use reconvene_broker::Ranges;
///
/// let mut set: Ranges = [1, 2, 3, 7].into_iter().collect();
/// assert_eq!(set.count(), 2);
/// set.insert_range(4, 6);
/// assert_eq!(set.iter().collect::<Vec<_>>(), [(1, 7)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", try_from = "Vec<(u64, u64)>")]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Whether the number is in the set. Logarithmic in the number of ranges.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Adds a number.
    pub fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all numbers from `first` to `last`; none if they are the wrong way round.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Those that overlap or touch: none begins after the end, and of those before only the last reaches so far.
        if let Some((before, end)) = self.0.range(..first).next_back().map(|(before, end)| (*before, *end))
            && end.saturating_add(1) >= first
        {
            first = before;
            last = last.max(end);
        }
        while let Some((next, end)) = self.0.range(first..).next().map(|(next, end)| (*next, *end))
            && next <= last.saturating_add(1)
        {
            self.0.remove(&next);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }

    /// Adds what another set has. The parts that were not there before, in ascending order.
    pub fn join(&mut self, other: &Self) -> Vec<(u64, u64)> {
        let mut new = Vec::new();
        for (first, last) in other.iter() {
            let mut from = Some(first);
            while let Some(at) = from.filter(|at| *at <= last) {
                let covered = self.0.range(..=at).next_back().map(|(_, end)| *end).filter(|end| *end >= at);
                from = if let Some(end) = covered {
                    end.checked_add(1)
                } else {
                    let next = self.0.range(at..).next().map(|(next, _)| *next).filter(|next| *next <= last);
                    new.push((at, next.map_or(last, |next| next.saturating_sub(1))));
                    next
                };
            }
        }
        for (first, last) in &new {
            self.insert_range(*first, *last);
        }
        new
    }

    /// The ranges, first and last, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// How many ranges there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many there would be with this number. Logarithmic in the number of ranges.
    pub(crate) fn count_with(&self, number: u64) -> usize {
        if self.contains(number) {
            return self.count();
        }
        let touches = |beside: Option<u64>| usize::from(beside.is_some_and(|beside| self.contains(beside)));
        let joined = touches(number.checked_sub(1)).saturating_add(touches(number.checked_add(1)));
        self.count().saturating_add(1).saturating_sub(joined)
    }

    /// The greatest number.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, last)| *last)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(set: Ranges) -> Self {
        set.iter().collect()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = RangesError;

    /// One set, one spelling: ranges ascend and do not touch.
    fn try_from(ranges: Vec<(u64, u64)>) -> Result<Self, RangesError> {
        if ranges.len() > RANGES_MAX {
            return Err(RangesError { what: "more ranges than a fact may have" });
        }
        let mut before: Option<u64> = None;
        for (first, last) in &ranges {
            let apart = before.is_none_or(|before| before.checked_add(1).is_some_and(|next| next < *first));
            if first > last || !apart {
                return Err(RangesError { what: "ranges that do not ascend, or that touch" });
            }
            before = Some(*last);
        }
        Ok(Self(ranges.into_iter().collect()))
    }
}

/// Bytes that are no [`Ranges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a set of numbers with {what}")]
pub struct RangesError {
    what: &'static str,
}

/// Ranges of one set at most: so many take less than half of what a fact may have.
pub const RANGES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn numbers(set: &Ranges) -> BTreeSet<u64> {
        set.iter().flat_map(|(first, last)| first..=last).collect()
    }

    proptest! {
        #[test]
        fn law_a_set_of_ranges_is_a_set(numbers_in in vec(0_u64..40, 0..30), more in vec((0_u64..40, 0_u64..6), 0..8)) {
            let mut set: Ranges = numbers_in.iter().copied().collect();
            let mut model: BTreeSet<u64> = numbers_in.into_iter().collect();
            prop_assert_eq!(numbers(&set), model.clone());
            let mut other = Ranges::default();
            for (first, length) in more {
                other.insert_range(first, first + length);
            }
            let new = set.join(&other);
            let added: BTreeSet<u64> = new.iter().flat_map(|(first, last)| *first..=*last).collect();
            let expected: BTreeSet<u64> = numbers(&other).difference(&model).copied().collect();
            prop_assert_eq!(added, expected);
            model.extend(numbers(&other));
            prop_assert_eq!(numbers(&set), model.clone());
            for number in 0..50 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
                let mut with = set.clone();
                with.insert(number);
                prop_assert_eq!(set.count_with(number), with.count());
            }
            let spelled: Vec<(u64, u64)> = set.clone().into();
            prop_assert_eq!(Ranges::try_from(spelled), Ok(set));
        }
    }

    #[test]
    fn the_ends_of_all_numbers_are_no_exception() {
        let mut set = Ranges::default();
        set.insert(u64::MAX);
        set.insert(0);
        assert!(set.contains(u64::MAX) && set.contains(0) && !set.contains(1));
        let all = Ranges::try_from(vec![(0, u64::MAX)]).unwrap();
        assert_eq!(set.join(&all), [(1, u64::MAX - 1)]);
        assert_eq!(set, all);
        assert_eq!((set.count(), set.last()), (1, Some(u64::MAX)));
        assert!(Ranges::default().is_empty());
    }

    #[test]
    fn other_spellings_are_refused() {
        for wrong in [vec![(2, 1)], vec![(1, 2), (3, 4)], vec![(5, 6), (1, 2)], vec![(1, 3), (2, 5)]] {
            assert!(Ranges::try_from(wrong.clone()).is_err(), "{wrong:?}");
        }
        let many = (0..=RANGES_MAX as u64).map(|index| (2 * index, 2 * index)).collect::<Vec<_>>();
        assert!(Ranges::try_from(many).is_err());
    }
}
