//! Laws of vector clocks.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use reconvene_clock::{CausalContext, Causality, Counter, Hlc, LinearKey, VectorClock};

use crate::support::{any_clock, any_dots, counter, dot, id};

fn merged(left: &VectorClock, right: &VectorClock) -> VectorClock {
    let mut both = left.clone();
    both.merge(right);
    both
}

fn met(left: &VectorClock, right: &VectorClock) -> VectorClock {
    let mut both = left.clone();
    both.meet(right);
    both
}

/// The definition, replica by replica.
fn dominates(left: &VectorClock, right: &VectorClock) -> bool {
    (1..=6).all(|replica| left.get(id(replica)) >= right.get(id(replica)))
}

proptest! {
    #[test]
    fn law_merge_is_commutative(a in any_clock(), b in any_clock()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
    }

    #[test]
    fn law_merge_is_associative(a in any_clock(), b in any_clock(), c in any_clock()) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }

    #[test]
    fn law_merge_is_idempotent_and_has_a_neutral_element(a in any_clock()) {
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&VectorClock::new(), &a), a.clone());
        prop_assert_eq!(merged(&a, &VectorClock::new()), a);
    }

    #[test]
    fn law_extend_is_merge(a in any_clock(), b in any_clock()) {
        let mut extended = a.clone();
        extended.extend(b.iter());
        prop_assert_eq!(extended, merged(&a, &b));
    }

    #[test]
    fn law_merge_returns_true_exactly_on_change(a in any_clock(), b in any_clock()) {
        let mut after = a.clone();
        prop_assert_eq!(after.merge(&b), after != a);
    }

    #[test]
    fn law_merge_is_the_maximum_of_each_entry(a in any_clock(), b in any_clock()) {
        let both = merged(&a, &b);
        for replica in 1..=6 {
            prop_assert_eq!(both.get(id(replica)), a.get(id(replica)).max(b.get(id(replica))));
        }
    }

    #[test]
    fn law_case_04_merge_is_the_least_upper_bound(a in any_clock(), b in any_clock(), c in any_clock()) {
        let both = merged(&a, &b);
        prop_assert!(both.dominates(&a) && both.dominates(&b));
        // Some upper bound, whatever `c` was.
        let above = merged(&c, &both);
        prop_assert!(above.dominates(&both));
        prop_assert_eq!(c.dominates(&a) && c.dominates(&b), c.dominates(&both));
    }

    #[test]
    fn law_case_04_meet_is_dual(a in any_clock(), b in any_clock(), c in any_clock()) {
        let common = met(&a, &b);
        prop_assert_eq!(&common, &met(&b, &a));
        prop_assert_eq!(met(&common, &c), met(&a, &met(&b, &c)));
        prop_assert_eq!(&met(&a, &a), &a);
        prop_assert_eq!(a.dominates(&c) && b.dominates(&c), common.dominates(&c));
        prop_assert_eq!(merged(&a, &common), a.clone());
        prop_assert_eq!(met(&a, &merged(&a, &b)), a);
    }

    #[test]
    fn law_compare_is_what_the_definition_says(a in any_clock(), b in any_clock()) {
        let expected = match (dominates(&a, &b), dominates(&b, &a)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::After,
            (false, true) => Causality::Before,
            (false, false) => Causality::Concurrent,
        };
        prop_assert_eq!(a.compare(&b), expected);
        prop_assert_eq!(b.compare(&a), expected.reverse());
        prop_assert_eq!(a.dominates(&b), dominates(&a, &b));
        prop_assert_eq!(a.compare(&b) == Causality::Equal, a == b);
    }

    #[test]
    fn law_dominance_is_transitive(a in any_clock(), b in any_clock(), c in any_clock()) {
        let (middle, top) = (merged(&a, &b), merged(&merged(&a, &b), &c));
        prop_assert!(top.dominates(&middle) && middle.dominates(&a) && top.dominates(&a));
        prop_assert!(!(a.dominates(&b) && b.dominates(&c)) || a.dominates(&c));
    }

    #[test]
    fn law_equal_values_have_one_form(dots in any_dots(), seed in any::<u64>()) {
        let dots: Vec<_> = dots.into_iter().map(|(replica, number)| dot(replica, number)).collect();
        let forward: VectorClock = dots.iter().copied().collect();
        let backward: VectorClock = dots.iter().rev().copied().collect();
        let (left, right) = dots.split_at(if dots.is_empty() { 0 } else { seed as usize % dots.len() });
        let mut folded: VectorClock = right.iter().copied().collect();
        folded.merge(&left.iter().copied().collect());
        let hasher = RandomState::new();
        for other in [&backward, &folded] {
            prop_assert_eq!(&forward, other);
            prop_assert!(forward.iter().eq(other.iter()));
            prop_assert_eq!(hasher.hash_one(&forward), hasher.hash_one(other));
        }
        prop_assert!(forward.iter().is_sorted_by(|left, right| left.replica < right.replica));
        prop_assert_eq!(VectorClock::try_from_entries(forward.iter()), Ok(forward));
    }

    #[test]
    fn law_dominance_implies_a_greater_total_and_key(a in any_clock(), b in any_clock(), early: u64, late: u64) {
        if a.compare(&b) == Causality::Before {
            prop_assert!(a.total() < b.total());
            // Whatever wall time says.
            let one = LinearKey::from_total(&a, Hlc::from_u64(early), dot(9, 9));
            let two = LinearKey::from_total(&b, Hlc::from_u64(late), dot(1, 1));
            prop_assert!(one < two);
        }
    }

    #[test]
    fn law_linear_keys_order_as_their_words(
        a in any_clock(), b in any_clock(), left in any::<[u8; 3]>(), right in any::<[u8; 3]>()
    ) {
        let key = |clock: &VectorClock, parts: [u8; 3]| {
            let [stamp, replica, number] = parts.map(|part| u64::from(part % 3));
            LinearKey::from_total(clock, Hlc::from_u64(stamp), dot(replica + 1, number + 1))
        };
        let (left, right) = (key(&a, left), key(&b, right));
        prop_assert_eq!(left.cmp(&right), left.words().cmp(&right.words()));
    }

    #[test]
    fn law_missing_from_is_the_difference(a in any_clock(), b in any_clock()) {
        let mut filled = b.clone();
        for run in a.missing_from(&b) {
            // A clock misses the end of a history, never its middle.
            prop_assert_eq!(b.get(run.replica()), run.first().checked_previous());
            prop_assert_eq!(a.get(run.replica()), Some(run.last()));
            filled.raise(reconvene_clock::Dot::new(run.replica(), run.last()));
        }
        prop_assert_eq!(filled, merged(&b, &a));
    }

    #[test]
    fn law_contains_agrees_with_the_context(a in any_clock(), replica in 1..=6_u64, number in 1..=5_u64) {
        prop_assert_eq!(a.contains(dot(replica, number)), CausalContext::from(a).contains(dot(replica, number)));
    }

    #[test]
    fn law_increment_names_the_next_event(a in any_clock(), replica in 1..=6_u64) {
        let mut after = a.clone();
        let new = after.increment(id(replica)).unwrap();
        prop_assert_eq!(new.counter.get(), a.get(id(replica)).map_or(0, Counter::get) + 1);
        prop_assert!(after.contains(new) && !a.contains(new));
        prop_assert_eq!(after.compare(&a), Causality::After);
        prop_assert_eq!(after.total(), a.total() + 1);
        let mut observer = a;
        prop_assert_eq!(observer.observe(new), Ok(true));
        prop_assert_eq!(observer, after);
    }

    #[test]
    fn law_raise_is_a_merge_of_one(a in any_clock(), replica in 1..=7_u64, number in 1..=5_u64) {
        let mut raised = a.clone();
        let changed = raised.raise(dot(replica, number));
        prop_assert_eq!(changed, raised != a);
        prop_assert_eq!(&raised, &merged(&a, &[dot(replica, number)].into_iter().collect()));
        prop_assert!(raised.get(id(replica)) >= Some(counter(number)));
    }
}

/// Two long clocks that are alike but for some entries, so that every pass over many at a time begins and ends somewhere.
fn any_long_pair() -> impl Strategy<Value = (BTreeMap<u64, u64>, BTreeMap<u64, u64>)> {
    let change = (any::<prop::sample::Index>(), any::<bool>(), 0..4_u64);
    let few = prop::collection::vec(change.clone(), 0..6);
    let many = prop::collection::vec(change, 0..400);
    (1..300_u64, prop_oneof![4 => few, 1 => many]).prop_map(|(len, changes)| {
        let base: BTreeMap<u64, u64> = (1..=len).map(|replica| (replica, 2)).collect();
        let mut sides = (base.clone(), base);
        for (at, left, number) in changes {
            let side = if left { &mut sides.0 } else { &mut sides.1 };
            match number {
                0 => side.remove(&(at.index(len as usize) as u64 + 1)),
                _ => side.insert(at.index(len as usize) as u64 + 1, number),
            };
        }
        sides
    })
}

fn of_map(entries: &BTreeMap<u64, u64>) -> VectorClock {
    entries.iter().map(|(replica, number)| dot(*replica, *number)).collect()
}

proptest! {
    #[test]
    fn law_long_clocks_agree_with_plain_maps((left, right) in any_long_pair()) {
        let number = |side: &BTreeMap<u64, u64>, replica: &u64| side.get(replica).copied().unwrap_or(0);
        let (a, b) = (of_map(&left), of_map(&right));
        let above = left.iter().any(|(replica, own)| *own > number(&right, replica));
        let below = right.iter().any(|(replica, theirs)| *theirs > number(&left, replica));
        let expected = match (above, below) {
            (false, false) => Causality::Equal,
            (true, false) => Causality::After,
            (false, true) => Causality::Before,
            (true, true) => Causality::Concurrent,
        };
        prop_assert_eq!(a.compare(&b), expected);
        prop_assert_eq!(b.compare(&a), expected.reverse());

        let mut union = left.clone();
        for (replica, theirs) in &right {
            let own = union.entry(*replica).or_default();
            *own = (*own).max(*theirs);
        }
        let mut both = a.clone();
        prop_assert_eq!(both.merge(&b), below);
        prop_assert_eq!(&both, &of_map(&union));
        prop_assert!(both.iter().is_sorted_by(|left, right| left.replica < right.replica));
        prop_assert_eq!(both.clone().len(), union.len());
        let mut again = both.clone();
        prop_assert!(!again.merge(&a) && !again.merge(&b));
        prop_assert_eq!(again, both);
    }

    #[test]
    fn law_a_short_clock_meets_a_long_one(len in 0..2_000_u64, picks in prop::collection::btree_map(1..2_100_u64, 1..4_u64, 0..5)) {
        let long: BTreeMap<u64, u64> = (1..=len).map(|replica| (replica, 2)).collect();
        let (a, b) = (of_map(&long), of_map(&picks));
        let above = len > 0 && long.iter().any(|(replica, own)| *own > picks.get(replica).copied().unwrap_or(0));
        let below = picks.iter().any(|(replica, theirs)| *theirs > long.get(replica).copied().unwrap_or(0));
        prop_assert_eq!(a.dominates(&b), !below);
        prop_assert_eq!(b.dominates(&a), !above);
        let mut both = a.clone();
        prop_assert_eq!(both.merge(&b), below);
        let mut other = b.clone();
        prop_assert_eq!(other.merge(&a), above);
        prop_assert_eq!(both, other);
    }
}
