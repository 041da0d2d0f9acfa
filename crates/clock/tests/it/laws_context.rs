//! Laws of causal contexts, against the plain set of their dots.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use reconvene_clock::{CausalContext, Causality, Counter};

use crate::support::{Model, any_context, any_dots, dot, id, model, range};

fn merged(left: &CausalContext, right: &CausalContext) -> CausalContext {
    let mut both = left.clone();
    both.merge(right);
    both
}

/// Invariants 1 and 3, by building the context anew from its own parts.
fn assert_canonical(context: &CausalContext) {
    let rebuilt = CausalContext::from_parts(context.vector().clone(), context.ranges().iter().copied());
    assert_eq!(rebuilt.as_ref(), Ok(context));
}

proptest! {
    #[test]
    fn law_add_is_insertion_into_a_set(dots in any_dots()) {
        let mut context = CausalContext::new();
        let mut plain = Model::new();
        for (replica, number) in dots {
            prop_assert_eq!(context.add(dot(replica, number)), plain.insert((replica, number)));
            assert_canonical(&context);
            prop_assert_eq!(&model(&context), &plain);
        }
        for replica in 1..=4 {
            for number in 1..=9 {
                prop_assert_eq!(context.contains(dot(replica, number)), plain.contains(&(replica, number)));
            }
            let last = plain.iter().filter(|dot| dot.0 == replica).map(|dot| dot.1).max();
            prop_assert_eq!(context.last_of(id(replica)).map(Counter::get), last);
        }
        prop_assert_eq!(context.is_empty(), plain.is_empty());
    }

    #[test]
    fn law_add_range_is_adding_each_dot(start in any_context(), replica in 1..=3_u64, a in 1..=9_u64, b in 1..=9_u64) {
        let run = range(replica, a.min(b), a.max(b));
        let mut by_range = start.clone();
        let changed = by_range.add_range(run);
        let mut by_dots = start.clone();
        by_dots.extend(run.dots());
        assert_canonical(&by_range);
        prop_assert_eq!(&by_range, &by_dots);
        prop_assert_eq!(changed, by_range != start);
    }

    #[test]
    fn law_equal_sets_have_one_form(dots in any_dots(), shuffled in any_dots()) {
        let all: BTreeSet<_> = dots.iter().chain(&shuffled).copied().collect();
        let build = |order: &mut dyn Iterator<Item = (u64, u64)>| -> CausalContext {
            order.map(|(replica, number)| dot(replica, number)).collect()
        };
        let sorted = build(&mut all.iter().copied());
        let hasher = RandomState::new();
        for other in [
            build(&mut dots.iter().chain(&shuffled).copied()),
            build(&mut shuffled.iter().chain(dots.iter().rev()).copied()),
            merged(&build(&mut dots.iter().copied()), &build(&mut shuffled.iter().copied())),
        ] {
            prop_assert_eq!(&sorted, &other);
            prop_assert_eq!(hasher.hash_one(&sorted), hasher.hash_one(&other));
            prop_assert_eq!(sorted.to_string(), other.to_string());
        }
    }

    #[test]
    fn law_merge_is_union(a in any_context(), b in any_context()) {
        let both = merged(&a, &b);
        assert_canonical(&both);
        prop_assert_eq!(model(&both), &model(&a) | &model(&b));
        prop_assert_eq!(&both, &merged(&b, &a));
    }

    #[test]
    fn law_merge_is_associative_and_idempotent(a in any_context(), b in any_context(), c in any_context()) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn law_merge_returns_true_exactly_on_change(a in any_context(), b in any_context()) {
        let mut after = a.clone();
        prop_assert_eq!(after.merge(&b), after != a);
    }

    #[test]
    fn law_meet_is_intersection(a in any_context(), b in any_context()) {
        let common = a.meet(&b);
        assert_canonical(&common);
        prop_assert_eq!(model(&common), &model(&a) & &model(&b));
        prop_assert_eq!(&common, &b.meet(&a));
        prop_assert_eq!(merged(&a, &common), a.clone());
        prop_assert_eq!(a.meet(&merged(&a, &b)), a);
    }

    #[test]
    fn law_missing_from_is_the_difference_in_maximal_runs(a in any_context(), b in any_context()) {
        let runs: Vec<_> = a.missing_from(&b).collect();
        let dots: Model = runs.iter().flat_map(|run| run.dots()).map(|dot| (dot.replica.get(), dot.counter.get())).collect();
        prop_assert_eq!(&dots, &(&model(&a) - &model(&b)));
        prop_assert_eq!(runs.iter().map(|run| run.count()).sum::<u64>(), dots.len() as u64, "no dot twice");
        let apart = runs.is_sorted_by(|one, two| {
            one.replica() < two.replica() || one.replica() == two.replica() && one.last().get() + 1 < two.first().get()
        });
        prop_assert!(apart, "runs ascend and do not touch: {:?}", runs);
        let mut filled = b.clone();
        for run in runs {
            prop_assert!(filled.add_range(run));
        }
        prop_assert_eq!(filled, merged(&a, &b));
    }

    #[test]
    fn law_covers_is_superset(a in any_context(), b in any_context()) {
        prop_assert_eq!(a.covers(&b), model(&a).is_superset(&model(&b)));
        let expected = match (a.covers(&b), b.covers(&a)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::After,
            (false, true) => Causality::Before,
            (false, false) => Causality::Concurrent,
        };
        prop_assert_eq!(a.compare(&b), expected);
        prop_assert_eq!(a == b, expected == Causality::Equal);
    }

    #[test]
    fn law_the_vector_is_the_contiguous_part(a in any_context()) {
        let plain = model(&a);
        for replica in 1..=3 {
            let contiguous = (1..).take_while(|number| plain.contains(&(replica, *number))).count() as u64;
            prop_assert_eq!(a.vector().get(id(replica)).map_or(0, Counter::get), contiguous);
        }
    }

    #[test]
    fn law_next_dot_is_new_or_an_error(a in any_context(), replica in 1..=4_u64, issued in 0..=9_u64) {
        let next = a.next_dot(id(replica), Counter::new(issued));
        match a.last_of(id(replica)) {
            Some(held) if held.get() > issued => prop_assert!(next.is_err()),
            _ => {
                prop_assert_eq!(next, Ok(dot(replica, issued + 1)));
                prop_assert!(!a.contains(next.unwrap()));
            }
        }
    }
}
