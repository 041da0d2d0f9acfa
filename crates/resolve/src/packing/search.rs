//! Better orders, found by moving one job at a time.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::Start;
use super::pass::{Packed, Round};

/// For each job the value of the best packing seen that contains it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) best_with: Vec<u64>,
}

impl Seen {
    pub(super) fn new(jobs: usize) -> Self {
        Self { best_with: alloc::vec![0; jobs] }
    }

    /// Takes note of a packing.
    pub(super) fn note(&mut self, packed: &Packed) {
        for job in &packed.placed {
            if let Some(best) = self.best_with.get_mut(*job) {
                *best = packed.value.max(*best);
            }
        }
    }
}

/// Improves a start by insertion: in each of at most `rounds` rounds the job at each position, after those that are
/// fixed, is tried at the front, half-way to it, one place further ahead and at the end, and stays where that gains.
/// Ends after a round that gains nothing. Limited by iterations, never by time: the same on any machine.
pub(super) fn insertions(round: &Round<'_>, seen: &mut Seen, start: &mut Start, rounds: u8) {
    for _ in 0..rounds {
        let before = start.value;
        for position in start.fixed..start.order.len() {
            let ahead = position.saturating_sub(start.fixed);
            for target in targets(ahead) {
                let Some(order) = moved(&start.order, position, start.fixed.saturating_add(target)) else { continue };
                let packed = round.pack(&order, start.rule);
                seen.note(&packed);
                if packed.value > start.value {
                    (start.value, start.order) = (packed.value, order);
                }
            }
        }
        if start.value == before {
            break;
        }
    }
}

/// Where a job with so many ahead of it that may be passed is tried.
const fn targets(ahead: usize) -> [usize; 4] {
    [0, ahead / 2, ahead.saturating_sub(1), usize::MAX]
}

/// `order` with the job at `from` moved to `to`, or to the end if that is beyond; `None` if it is there.
fn moved(order: &[usize], from: usize, to: usize) -> Option<Vec<usize>> {
    let to = to.min(order.len().saturating_sub(1));
    let mut moved = order.to_vec();
    match from.cmp(&to) {
        Ordering::Less => moved.get_mut(from..=to)?.rotate_left(1),
        Ordering::Equal => return None,
        Ordering::Greater => moved.get_mut(to..=from)?.rotate_right(1),
    }
    Some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_moves_ahead_or_to_the_end_and_the_others_keep_their_order() {
        assert_eq!(targets(9), [0, 4, 8, usize::MAX]);
        assert_eq!(targets(0), [0, 0, 0, usize::MAX]);
        let order = [10, 11, 12, 13];
        assert_eq!(moved(&order, 2, 0).unwrap(), [12, 10, 11, 13]);
        assert_eq!(moved(&order, 3, 2).unwrap(), [10, 11, 13, 12]);
        assert_eq!(moved(&order, 1, usize::MAX).unwrap(), [10, 12, 13, 11]);
        assert_eq!(moved(&order, 1, 1), None);
        assert_eq!(moved(&order, 3, 7), None);
        assert_eq!(moved(&[], 0, 0), None);
    }

    #[test]
    fn the_best_packing_with_each_job_is_remembered() {
        let mut seen = Seen::new(3);
        for (value, placed) in [(5, Vec::from([0, 1])), (7, Vec::from([1])), (6, Vec::from([1, 9]))] {
            seen.note(&Packed { value, placed });
        }
        assert_eq!(seen.best_with, [5, 7, 0]);
    }
}
