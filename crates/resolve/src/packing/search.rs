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
            for target in [0, ahead / 2, ahead.saturating_sub(1), usize::MAX] {
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
