//! What two sets differ in, from a summary whose size depends on the difference alone: invertible Bloom lookup tables
//! (Eppstein, Goodrich, Uyeda, Varghese 2011, "What's the Difference?").

/// Sums over the items that fall into one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The items, combined by exclusive or.
    pub(crate) items: u64,
    /// Their checks, likewise: with them a cell that holds just one item shows.
    pub(crate) checks: u32,
    /// How many there are.
    pub(crate) count: i32,
}

/// A summary of a set of 64-bit prints. Each item is in one cell of each of four equal parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    cells: Vec<Cell>,
}

/// What is in one set and not in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) own: Vec<u64>,
    pub(crate) theirs: Vec<u64>,
}

const PARTS: usize = 4;
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
    u32::try_from(mix(item, 9) >> 32).unwrap_or(0)
}

impl Sketch {
    /// How many cells tell about `difference` items apart, but for rare cases.
    pub(crate) fn cells_for(difference: usize) -> usize {
        let cells = difference.saturating_mul(3).div_ceil(2).saturating_add(24);
        cells.next_multiple_of(PARTS).min(MAX_CELLS)
    }

    /// The summary of these prints in `cells` cells.
    pub(crate) fn of(prints: impl IntoIterator<Item = u64>, cells: usize) -> Self {
        let mut sketch = Self { cells: vec![Cell::default(); cells.next_multiple_of(PARTS).clamp(PARTS, MAX_CELLS)] };
        for print in prints {
            sketch.change(print, 1);
        }
        sketch
    }

    /// The sketch with these cells; `None` if that is no number of cells that [`of`](Self::of) makes.
    pub(crate) fn from_cells(cells: Vec<Cell>) -> Option<Self> {
        let fits = !cells.is_empty() && cells.len() <= MAX_CELLS && cells.len().is_multiple_of(PARTS);
        fits.then_some(Self { cells })
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    fn change(&mut self, item: u64, by: i32) {
        for place in self.places(item) {
            if let Some(cell) = self.cells.get_mut(place) {
                cell.items ^= item;
                cell.checks ^= check(item);
                cell.count = cell.count.wrapping_add(by);
            }
        }
    }

    fn places(&self, item: u64) -> [usize; PARTS] {
        let part = self.cells.len() / PARTS;
        let mut places = [0; PARTS];
        for (salt, place) in (0_u64..).zip(&mut places) {
            let within = mix(item, salt).checked_rem(u64::try_from(part).unwrap_or(1)).unwrap_or(0);
            let first = usize::try_from(salt).unwrap_or(0).saturating_mul(part);
            *place = first.saturating_add(usize::try_from(within).unwrap_or(0));
        }
        places
    }

    /// What differs between the set of `prints` and the one that this is the summary of; `None` if it is too much to tell.
    pub(crate) fn difference(mut self, prints: impl IntoIterator<Item = u64>) -> Option<Difference> {
        for print in prints {
            self.change(print, -1);
        }
        let mut found = Difference::default();
        let mut open: Vec<usize> = (0..self.cells.len()).collect();
        // A cell that says the same twice is not to be trusted: a hostile one could go on for ever.
        let mut left = self.cells.len().saturating_mul(2);
        while let Some(place) = open.pop() {
            let Some(cell) = self.cells.get(place).copied() else { continue };
            if cell.count.unsigned_abs() != 1 || cell.checks != check(cell.items) {
                continue;
            }
            left = left.checked_sub(1)?;
            if cell.count > 0 { &mut found.theirs } else { &mut found.own }.push(cell.items);
            self.change(cell.items, cell.count.wrapping_neg());
            open.extend(self.places(cell.items));
        }
        self.cells.iter().all(|cell| *cell == Cell::default()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn law_a_sketch_tells_the_difference(
            common in proptest::collection::btree_set(any::<u64>(), 0..300),
            own in proptest::collection::btree_set(any::<u64>(), 0..40),
            theirs in proptest::collection::btree_set(any::<u64>(), 0..40),
        ) {
            let ours: BTreeSet<u64> = common.union(&own).copied().collect();
            let others: BTreeSet<u64> = common.union(&theirs).copied().collect();
            let difference = ours.symmetric_difference(&others).count();
            let sketch = Sketch::of(others.iter().copied(), Sketch::cells_for(difference));
            let cells = Sketch::from_cells(sketch.cells().to_vec()).unwrap();
            // Rarely it is too much; what is told is true.
            if let Some(mut found) = cells.difference(ours.iter().copied()) {
                found.own.sort_unstable();
                found.theirs.sort_unstable();
                prop_assert_eq!(found.own, ours.difference(&others).copied().collect::<Vec<_>>());
                prop_assert_eq!(found.theirs, others.difference(&ours).copied().collect::<Vec<_>>());
            }
        }

        #[test]
        fn law_any_cells_end(cells in proptest::collection::vec((any::<u64>(), any::<u32>(), -2..3_i32), 1..50)) {
            let cells: Vec<Cell> =
                cells.into_iter().map(|(items, checks, count)| Cell { items, checks, count }).collect();
            if let Some(sketch) = Sketch::from_cells(cells) {
                let _ = sketch.difference(0..20);
            }
        }
    }

    #[test]
    fn a_hundred_of_many_are_told_almost_always() {
        let told = (0..200_u64).filter(|seed| {
            let item = |number: u64| mix(number, seed + 100);
            let sketch = Sketch::of((0..5_000).map(item), Sketch::cells_for(100));
            sketch.difference((100..5_000).map(item)).is_some_and(|found| found.theirs.len() == 100)
        });
        let told = told.count();
        assert!(told >= 198, "{told} of 200");
    }

    #[test]
    fn a_cell_that_lies_does_not_go_on_for_ever() {
        let item = 77;
        let cells = vec![Cell { items: item, checks: check(item), count: 1 }; 8];
        assert_eq!(Sketch::from_cells(cells).unwrap().difference([]), None);
        assert_eq!(Sketch::from_cells(vec![Cell::default(); 3]), None);
    }
}
