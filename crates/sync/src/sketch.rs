//! What two sets differ in, from a stream of cells of which as many are needed as there are differences: rateless invertible
//! Bloom lookup tables (Yang, Gilad, Alizadeh 2024, "Practical Rateless Set Reconciliation").
//!
//! About 1.4 cells tell one difference, 1.7 where there are few. Nobody has to know beforehand how many there are: the
//! cells of a longer sketch begin with those of a shorter one.

use std::collections::BTreeSet;
use std::ops::Range;

/// The items that fall into one cell, and their checks, each combined by exclusive or. A check shows a cell that holds
/// just one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) items: u64,
    pub(crate) checks: u32,
}

impl Cell {
    fn change(&mut self, item: u64) {
        self.items ^= item;
        self.checks ^= check(item);
    }

    /// The item, if it is the only one here.
    fn only(&self) -> Option<u64> {
        (*self != Self::default() && self.checks == check(self.items)).then_some(self.items)
    }
}

/// What is in one set and not in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) own: BTreeSet<u64>,
    pub(crate) theirs: BTreeSet<u64>,
}

/// Cells of one sketch.
pub(crate) const MAX_CELLS: usize = 8_192;

/// A permutation of 64-bit numbers that mixes well (SplitMix64), one for each `salt`.
fn mix(item: u64, salt: u64) -> u64 {
    let mut mixed = item.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn check(item: u64) -> u32 {
    u32::try_from(mix(item, 0) >> 32).unwrap_or(0)
}

/// The cells that an item is in, ascending: the first, and of those behind it the one at place i with a chance of
/// 1 / (1 + i / 2).
struct Places {
    item: u64,
    drawn: u64,
    at: u64,
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.drawn > 0 {
            // The gap is (i + 3/2) (1 / sqrt(u) - 1) for u drawn evenly from 0 to 1, rounded up, in integers.
            let root = u128::from(mix(self.item, self.drawn).isqrt().max(1));
            let above = u128::from(self.at)
                .saturating_mul(2)
                .saturating_add(3)
                .saturating_mul((1_u128 << 32).saturating_sub(root));
            let gap = above.div_ceil(root.saturating_mul(2)).max(1);
            self.at = self.at.saturating_add(u64::try_from(gap).unwrap_or(u64::MAX));
        }
        self.drawn = self.drawn.saturating_add(1);
        usize::try_from(self.at).ok()
    }
}

/// The cells of `item` among so many.
fn places(item: u64, cells: usize) -> impl Iterator<Item = usize> {
    Places { item, drawn: 0, at: 0 }.take_while(move |place| *place < cells)
}

/// How many cells tell about so many differences.
pub(crate) fn cells_for(differences: usize) -> usize {
    differences.saturating_mul(3).div_ceil(2).saturating_add(16).min(MAX_CELLS)
}

/// These cells of the sketch of a set.
pub(crate) fn cells_of(items: impl IntoIterator<Item = u64>, wanted: Range<usize>) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); wanted.len()];
    for item in items {
        for place in places(item, wanted.end) {
            let place = place.checked_sub(wanted.start);
            if let Some(cell) = place.and_then(|place| cells.get_mut(place)) {
                cell.change(item);
            }
        }
    }
    cells
}

/// What differs between `own` and the set of which these are the first cells; `None` if they are too few to tell.
pub(crate) fn difference(own: &BTreeSet<u64>, mut cells: Vec<Cell>) -> Option<Difference> {
    let ours = cells_of(own.iter().copied(), 0..cells.len());
    for (cell, ours) in cells.iter_mut().zip(ours) {
        cell.items ^= ours.items;
        cell.checks ^= ours.checks;
    }
    let mut found = Difference::default();
    let mut open: Vec<usize> = (0..cells.len()).collect();
    while let Some(place) = open.pop() {
        let Some(item) = cells.get(place).and_then(Cell::only) else { continue };
        let side = if own.contains(&item) { &mut found.own } else { &mut found.theirs };
        if !side.insert(item) {
            // Cells that say the same twice are those of no set.
            return None;
        }
        for place in places(item, cells.len()) {
            if let Some(cell) = cells.get_mut(place) {
                cell.change(item);
                open.push(place);
            }
        }
    }
    cells.iter().all(|cell| *cell == Cell::default()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn law_a_sketch_tells_the_difference(
            common in proptest::collection::btree_set(any::<u64>(), 0..300),
            own in proptest::collection::btree_set(any::<u64>(), 0..40),
            theirs in proptest::collection::btree_set(any::<u64>(), 0..40),
            split in 0..100_usize,
        ) {
            let ours: BTreeSet<u64> = common.union(&own).copied().collect();
            let others: BTreeSet<u64> = common.union(&theirs).copied().collect();
            let differ = ours.symmetric_difference(&others).count();
            let length = cells_for(differ);
            let mut cells = cells_of(others.iter().copied(), 0..split);
            cells.extend(cells_of(others.iter().copied(), split..length));
            prop_assert_eq!(&cells, &cells_of(others.iter().copied(), 0..cells.len()), "cells come in parts");
            // Rarely they are too few; what is told is true.
            if let Some(found) = difference(&ours, cells) {
                prop_assert_eq!(found.own, ours.difference(&others).copied().collect::<BTreeSet<_>>());
                prop_assert_eq!(found.theirs, others.difference(&ours).copied().collect::<BTreeSet<_>>());
            }
        }

        #[test]
        fn law_any_cells_end(cells in proptest::collection::vec((any::<u64>(), any::<u32>()), 1..50)) {
            let cells = cells.into_iter().map(|(items, checks)| Cell { items, checks }).collect();
            let _ = difference(&(0..20).collect(), cells);
        }
    }

    #[test]
    fn a_hundred_of_many_are_told_almost_always() {
        let told = (0..200_u64).filter(|seed| {
            let item = |number: u64| mix(number, seed + 100);
            let cells = cells_of((0..2_000).map(item), 0..cells_for(100));
            difference(&(100..2_000).map(item).collect(), cells).is_some_and(|found| found.theirs.len() == 100)
        });
        let told = told.count();
        assert!(told >= 180, "{told} of 200");
    }

    /// An item is in the first cell, in every second of the next ones, and in fewer and fewer behind them.
    #[test]
    fn places_are_drawn_as_they_should_be() {
        let count = |place: usize| (0..10_000).filter(|item| places(mix(*item, 77), 200).any(|at| at == place)).count();
        assert_eq!(count(0), 10_000);
        for place in [1, 2, 8, 98, 198] {
            let expected = 10_000 * 2 / (2 + place);
            assert!(count(place).abs_diff(expected) < 40 + expected / 5, "{place}: {} of {expected}", count(place));
        }
    }

    #[test]
    fn cells_that_lie_do_not_go_on_for_ever() {
        let lies = vec![Cell { items: 77, checks: check(77) }; 8];
        assert_eq!(difference(&BTreeSet::new(), lies), None);
        assert_eq!(difference(&BTreeSet::new(), Vec::new()), Some(Difference::default()));
    }
}
