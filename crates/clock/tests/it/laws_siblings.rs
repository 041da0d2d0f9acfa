//! Laws of sibling sets, over histories that three replicas can have.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconvene_clock::{CausalContext, Dot, Dotted, SiblingSet};

use crate::support::dot;

const REPLICAS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes with all that the replica knows, or with what an earlier reader knew of it.
    Write {
        at: usize,
        stale: bool,
    },
    Delete {
        at: usize,
    },
    Merge {
        from: usize,
        to: usize,
    },
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = 0..REPLICAS;
    prop::collection::vec(
        prop_oneof![
            4 => (replica.clone(), any::<bool>()).prop_map(|(at, stale)| Step::Write { at, stale }),
            1 => replica.clone().prop_map(|at| Step::Delete { at }),
            4 => (replica.clone(), replica).prop_map(|(from, to)| Step::Merge { from, to }),
        ],
        0..24,
    )
}

/// What a replica holds, spelled out: every write and removal it knows of.
#[derive(Clone, Default)]
struct Plain {
    written: BTreeSet<Dot>,
    removed: BTreeSet<Dot>,
}

impl Plain {
    fn live(&self) -> BTreeSet<Dot> {
        &self.written - &self.removed
    }

    fn remove_seen(&mut self, seen: &CausalContext) {
        self.removed.extend(self.written.iter().copied().filter(|dot| seen.contains(*dot)));
    }
}

/// The sets after the steps, each checked against its plain model after every step.
fn run(steps: &[Step]) -> Vec<SiblingSet<Dot>> {
    let mut sets = vec![SiblingSet::new(); REPLICAS];
    let mut plain = vec![Plain::default(); REPLICAS];
    let mut earlier = vec![CausalContext::new(); REPLICAS];
    for step in steps {
        match *step {
            Step::Write { at, stale } => {
                let seen = if stale { earlier[at].clone() } else { sets[at].context().clone() };
                let new = dot(at as u64 + 1, plain.iter().map(|all| all.written.len() as u64).sum::<u64>() + 1);
                earlier[at] = sets[at].context().clone();
                let before = plain[at].live().len();
                plain[at].remove_seen(&seen);
                let replaced = before - plain[at].live().len();
                plain[at].written.insert(new);
                assert_eq!(sets[at].write(&seen, Dotted { dot: new, value: new }), Ok(replaced));
            }
            Step::Delete { at } => {
                let seen = sets[at].context().clone();
                plain[at].remove_seen(&seen);
                sets[at].delete(&seen);
            }
            Step::Merge { from, to } => {
                let (other, model) = (sets[from].clone(), plain[from].clone());
                let before = sets[to].clone();
                let changed = sets[to].merge(&other).unwrap();
                assert_eq!(changed, sets[to] != before);
                plain[to].written.extend(model.written);
                plain[to].removed.extend(model.removed);
            }
        }
        for (set, plain) in sets.iter().zip(&plain) {
            let live: Vec<_> = set.values().iter().map(|sibling| sibling.dot).collect();
            assert_eq!(live, plain.live().into_iter().collect::<Vec<_>>());
            assert!(set.values().iter().all(|sibling| sibling.dot == sibling.value));
        }
    }
    sets
}

fn merged(left: &SiblingSet<Dot>, right: &SiblingSet<Dot>) -> SiblingSet<Dot> {
    let mut both = left.clone();
    both.merge(right).unwrap();
    both
}

proptest! {
    #[test]
    fn law_merge_is_commutative_associative_and_idempotent(steps in any_steps()) {
        let sets = run(&steps);
        let [a, b, c] = [&sets[0], &sets[1], &sets[2]];
        prop_assert_eq!(merged(a, b), merged(b, a));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        prop_assert_eq!(&merged(a, a), a);
        prop_assert_eq!(&merged(a, &SiblingSet::new()), a);
    }
}
