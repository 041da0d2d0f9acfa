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
    use reconvene_clock::{Hlc, WallTime};

    use super::*;
    use crate::{CandidateId, ExecutorFacts, FitRule, JobFacts, JobValue, Resources};

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

    fn round<'a>(jobs: &'a [JobFacts], free: &[u64]) -> Round<'a> {
        let executor = |cpu: &u64| {
            let capacity = Resources::new(*cpu, 0, 0);
            ExecutorFacts { capacity, free: capacity, tags: Default::default() }
        };
        let executors: Vec<ExecutorFacts> = free.iter().map(executor).collect();
        Round::new(jobs, &executors, Vec::new(), WallTime::from_millis(0))
    }

    fn job(number: u64, cpu: u64, value: u64) -> JobFacts {
        JobFacts {
            demand: Resources::new(cpu, 0, 0),
            value: JobValue::new(u32::try_from(value).unwrap()).unwrap(),
            ..JobFacts::new(CandidateId::new(1, number), Hlc::default())
        }
    }

    fn searched(round: &Round<'_>, start: &Start, rounds: u8) -> Start {
        let (mut seen, mut found) = (Seen::new(start.order.len()), start.clone());
        insertions(round, &mut seen, &mut found, rounds);
        assert_eq!(round.pack(&found.order, found.rule).value, found.value);
        found
    }

    /// All fit in any order.
    #[test]
    fn a_move_that_gains_nothing_is_not_made() {
        let jobs = [job(1, 1, 3), job(2, 1, 3), job(3, 1, 3)];
        let round = round(&jobs, &[3]);
        let start = Start { value: 9, order: Vec::from([2, 0, 1]), fixed: 0, rule: FitRule::Best };
        assert_eq!(searched(&round, &start, 9).order, [2, 0, 1]);
    }

    /// It goes on while a round gains, so that one more would gain nothing; and some take more than one.
    #[test]
    fn a_search_ends_where_no_single_move_gains() {
        let mut more_than_one = 0;
        for seed in 0..60 {
            let mut state: u64 = seed;
            let mut next = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below + 1
            };
            let jobs: Vec<JobFacts> = (0..12).map(|number| job(number, next(9), next(20))).collect();
            let round = round(&jobs, &[12, 9, 7]);
            let order: Vec<usize> = (0..12).collect();
            let start = Start { value: round.pack(&order, FitRule::Best).value, order, fixed: 0, rule: FitRule::Best };
            let end = searched(&round, &start, u8::MAX);
            assert_eq!(searched(&round, &end, 1).value, end.value, "{seed}");
            more_than_one += u32::from(searched(&round, &start, 1).value < end.value);
        }
        assert!(more_than_one > 0);
    }
}
