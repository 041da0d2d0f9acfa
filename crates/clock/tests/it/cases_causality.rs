//! Cases 1 to 8 and 11 to 17: order, totals, exceptions, identity.

use reconvene_clock::{
    CausalContext, Causality, ClockError, Counter, DecodeError, DecodeKind, Dot, Height, Hlc, Limits, LinearKey,
    VectorClock,
};

use crate::support::{A, B, C, clock, context, counter, dot, id, range};

const LAST: u64 = Counter::MAX.get();

#[test]
fn case_01_a_scalar_orders_events_that_no_message_links() {
    let [own, received] = [1, 2].map(|number| Height::new(number).unwrap());
    let at_q = Height::above(Some(own.max(received))).unwrap();
    assert_eq!(at_q.get(), 3);

    // 2 at P and 5 at R: the heights order them, the histories do not.
    assert!(received < Height::new(5).unwrap());
    assert_eq!(clock([(A, 2)]).compare(&clock([(C, 5)])), Causality::Concurrent);
}

#[test]
fn case_02_a_reconciled_copy_is_above_both_sides() {
    let before = clock([(A, 2)]);
    let (mut left, mut right) = (before.clone(), before);
    left.increment(id(A)).unwrap();
    right.increment(id(C)).unwrap();
    assert_eq!(left.compare(&right), Causality::Concurrent);

    let mut reconciled = left.clone();
    reconciled.merge(&right);
    reconciled.increment(id(B)).unwrap();
    assert_eq!(reconciled, clock([(A, 3), (B, 1), (C, 1)]));
    assert_eq!(reconciled.compare(&left), Causality::After);
    assert_eq!(reconciled.compare(&right), Causality::After);
}

#[test]
fn case_03_a_merge_comes_after_both_its_sources_and_orders_nothing_else() {
    let (a1, b1, a2) = (clock([(A, 1)]), clock([(B, 1)]), clock([(A, 2)]));
    let mut c1 = a2.clone();
    c1.merge(&b1);
    c1.increment(id(C)).unwrap();
    assert_eq!(c1.compare(&a2), Causality::After);
    assert_eq!(c1.compare(&b1), Causality::After);
    assert_eq!(b1.compare(&c1), Causality::Before);
    assert!(!a1.dominates(&b1));
}

/// Three writes with their clocks: `x={3:1}` by 3, `y={3:1,1:1}` by 1, `z={2:1}` by 2.
fn the_cycle() -> [(VectorClock, u64); 3] {
    [(clock([(3, 1)]), 3), (clock([(3, 1), (1, 1)]), 1), (clock([(2, 1)]), 2)]
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn case_05_pairwise_tie_break_is_a_cycle() {
    let writes = the_cycle();
    let newer = |left: usize, right: usize| {
        let ((one, by_one), (two, by_two)) = (&writes[left], &writes[right]);
        match one.compare(two) {
            Causality::Equal | Causality::After => left,
            Causality::Before => right,
            Causality::Concurrent => {
                if by_one > by_two {
                    left
                } else {
                    right
                }
            }
        }
    };
    let winners: std::collections::BTreeSet<_> =
        ORDERS.iter().map(|order| newer(newer(order[0], order[1]), order[2])).collect();
    assert_eq!(winners.len(), 3, "which one wins depends on the order of the fold");
}

#[test]
fn case_06_a_linear_key_names_one_winner_in_every_order() {
    let key = |(clock, writer): &(VectorClock, u64)| LinearKey::from_total(clock, Hlc::default(), dot(*writer, 1));
    let keys = the_cycle().each_ref().map(key);
    let [x, y, z] = keys;
    assert!(z < x && x < y);
    for order in ORDERS {
        assert_eq!(order.map(|index| keys[index]).into_iter().max(), Some(y));
    }
}

#[test]
fn case_07_the_order_of_lists_contradicts_causality() {
    let (earlier, later) = (clock([(1, 1), (3, 1)]), clock([(1, 1), (2, 1), (3, 1)]));
    assert_eq!(earlier.compare(&later), Causality::Before);
    assert!(earlier.iter().gt(later.iter()), "which is why clocks have no `Ord`");
}

#[test]
fn case_08_totals_do_not_wrap_and_grow_with_dominance() {
    let full = clock([(A, LAST), (B, LAST), (C, LAST)]);
    assert_eq!(full.total(), 3 * u128::from(LAST));
    let smaller = clock([(A, LAST), (B, LAST), (C, LAST - 1)]);
    assert!(full.dominates(&smaller) && full.total() > smaller.total());

    // A total of more than one word orders keys as well, and so do their words.
    let key = |clock| LinearKey::from_total(clock, Hlc::default(), dot(A, 1));
    let (low, high) = (clock([(A, LAST)]), clock([(A, LAST), (B, 2), (C, LAST)]));
    assert!(low.total() < 1 << 64 && high.total() >= 1 << 64);
    assert!(key(&low) < key(&high) && key(&low).words() < key(&high).words());
    assert_eq!(key(&high).words(), [1, 0, 0, A, 1]);
}

#[test]
fn case_11_an_exception_closes_when_the_missing_dot_arrives() {
    let mut seen = context([(A, 1), (A, 3)]);
    assert_eq!((seen.vector(), seen.ranges()), (&clock([(A, 1)]), &[range(A, 3, 3)][..]));
    assert!(!seen.contains(dot(A, 2)));
    assert!(seen.add(dot(A, 2)));
    assert!(seen.contains(dot(A, 2)));
    assert_eq!((seen.vector(), seen.ranges()), (&clock([(A, 3)]), &[][..]));
}

#[test]
fn case_12_an_own_dot_above_the_durable_counter_is_state_loss() {
    let seen = context([(A, 2)]);
    let loss = |issued| ClockError::StateLoss { held: counter(2), issued };
    assert_eq!(seen.next_dot(id(A), None), Err(loss(None)));
    assert_eq!(seen.next_dot(id(A), Some(counter(1))), Err(loss(Some(counter(1)))));
    assert_eq!(seen.next_dot(id(A), Some(counter(2))), Ok(dot(A, 3)));
    assert_eq!(seen.next_dot(id(B), None), Ok(dot(B, 1)), "a new incarnation starts at one");
    assert_eq!(seen.next_dot(id(B), Some(Counter::MAX)), Err(ClockError::CounterOverflow { replica: u128::from(B) }));
}

#[test]
fn case_13_writes_after_lost_state_are_invisible_under_the_old_id() {
    let peer = clock([(A, 5)]);
    assert_eq!(clock([(A, 1)]).compare(&peer), Causality::Before);
    assert_eq!(clock([(0xaa, 1)]).compare(&peer), Causality::Concurrent);
}

#[test]
fn case_14_a_number_that_skips_ahead_claims_writes_nobody_has() {
    // Incarnation 2, counter 1, packed above the counter; and a reserved number taken up after data was lost.
    for skipped in [2 << 32 | 1, 10_001] {
        let unseen = clock([(A, 5)]);
        assert!(clock([(A, skipped)]).dominates(&unseen), "as a vector it claims {unseen}");
        assert!(!context([(A, skipped)]).covers(&unseen.into()), "as a dot it claims itself");
    }
    assert!(clock([(A, 2 << 32 | 1)]).dominates(&clock([(A, 1 << 32 | 5)])));
}

#[test]
fn case_15_an_entry_that_is_left_out_makes_old_dots_look_new() {
    let older = clock([(A, 3), (B, 2), (C, 1)]);
    let newer = clock([(A, 3), (B, 2), (C, 2)]);
    assert_eq!(older.compare(&newer), Causality::Before);

    let mut pruned = newer;
    pruned.retain(|replica| replica != id(B));
    assert_eq!(older.compare(&pruned), Causality::Concurrent);
    assert!(!pruned.contains(dot(B, 1)));
}

#[test]
fn case_16_the_last_counter_has_no_next() {
    let mut full = clock([(A, LAST)]);
    let before = full.clone();
    assert_eq!(full.increment(id(A)), Err(ClockError::CounterOverflow { replica: u128::from(A) }));
    assert_eq!(full, before);
    assert_eq!(full.observe(dot(A, LAST)), Ok(false));
}

#[test]
fn case_17_entries_that_are_zero_unsorted_or_too_many_are_refused() {
    assert_eq!(Counter::new(0), None);
    assert_eq!(Counter::new(1 << 63), None);
    assert_eq!(Counter::new(LAST), Some(Counter::MAX));

    let refused = |kind, offset| Err::<VectorClock, _>(DecodeError::new(kind, offset));
    let entries = |replicas: &[u64]| VectorClock::try_from_entries(replicas.iter().map(|replica| dot(*replica, 1)));
    assert_eq!(entries(&[A, B]), Ok(clock([(A, 1), (B, 1)])));
    assert_eq!(entries(&[B, A]), refused(DecodeKind::NotAscending, 1));
    assert_eq!(entries(&[A, B, B]), refused(DecodeKind::NotAscending, 2));

    let mut limits = Limits::default();
    limits.max_entries = 2;
    let endless = (1..).map(|replica| dot(replica, 1));
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 2 };
    assert_eq!(VectorClock::try_from_entries_within(endless, &limits), refused(kind, 2));
}

#[test]
fn case_17_ranges_with_a_second_spelling_are_refused() {
    let parts = |vector: VectorClock, ranges: &[_]| CausalContext::from_parts(vector, ranges.iter().copied());
    let refused = |kind, offset| Err(DecodeError::new(kind, offset));

    let valid = parts(clock([(A, 1)]), &[range(A, 3, 4), range(A, 6, 6), range(B, 2, 2)]);
    assert_eq!(valid, Ok(context([(A, 1), (A, 3), (A, 4), (A, 6), (B, 2)])));

    assert_eq!(parts(clock([]), &[range(B, 1, 2)]), refused(DecodeKind::Touching, 0));
    assert_eq!(parts(clock([(A, 2)]), &[range(A, 3, 4)]), refused(DecodeKind::Touching, 0));
    assert_eq!(parts(clock([(A, 5)]), &[range(A, 3, 4)]), refused(DecodeKind::Touching, 0));
    assert_eq!(parts(clock([(A, LAST)]), &[range(A, LAST, LAST)]), refused(DecodeKind::Touching, 0));
    assert_eq!(parts(clock([]), &[range(A, 2, 3), range(A, 4, 5)]), refused(DecodeKind::Touching, 1));
    assert_eq!(parts(clock([]), &[range(A, 2, 5), range(A, 4, 9)]), refused(DecodeKind::Touching, 1));
    assert_eq!(parts(clock([]), &[range(A, 5, 6), range(A, 2, 3)]), refused(DecodeKind::NotAscending, 1));
    assert_eq!(parts(clock([]), &[range(B, 2, 3), range(A, 2, 3)]), refused(DecodeKind::NotAscending, 1));
}

#[test]
fn case_17_more_ranges_than_the_limit_are_refused() {
    let mut limits = Limits::default();
    limits.max_ranges = 3;
    limits.max_ranges_per_replica = 2;
    let within = |ranges: &[(u64, u64)]| {
        let ranges = ranges.iter().map(|(replica, number)| range(*replica, *number, *number));
        CausalContext::from_parts_within(VectorClock::new(), ranges, &limits)
            .map_err(|error| (error.kind, error.offset))
    };
    let limit = |what, limit, offset| Err((DecodeKind::LimitExceeded { what, limit }, offset));
    assert!(within(&[(A, 2), (A, 4), (B, 2)]).is_ok());
    assert_eq!(within(&[(A, 2), (A, 4), (A, 6)]), limit("ranges of one replica", 2, 2));
    assert_eq!(within(&[(A, 2), (A, 4), (B, 2), (C, 2)]), limit("ranges", 3, 3));

    limits.max_entries = 1;
    let long = CausalContext::from_parts_within(clock([(A, 1), (B, 1)]), [], &limits);
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 1 };
    assert_eq!(long, Err(DecodeError::new(kind, 1)));
    assert!(CausalContext::from_parts_within(clock([(A, 1)]), [], &limits).is_ok());
}

#[test]
fn a_dot_that_is_not_next_in_line_is_a_gap() {
    let mut seen = clock([(A, 2)]);
    let gap =
        |expected, got| ClockError::Gap { replica: u128::from(A), expected: counter(expected), got: counter(got) };
    assert_eq!(seen.observe(dot(A, 4)), Err(gap(3, 4)));
    assert_eq!(seen, clock([(A, 2)]));
    assert_eq!(seen.observe(dot(A, 2)), Ok(false));
    assert_eq!(seen.observe(dot(A, 3)), Ok(true));
    assert_eq!(seen, clock([(A, 3)]));

    let mut empty: VectorClock = VectorClock::new();
    assert_eq!(empty.observe(dot(A, 5)), Err(gap(1, 5)));
    assert!(empty.is_empty());
}

#[test]
fn the_end_of_the_counters_is_an_ordinary_place() {
    let mut seen: CausalContext = [Dot::new(id(A), Counter::MAX)].into_iter().collect();
    assert!(!seen.add(Dot::new(id(A), Counter::MAX)));
    assert!(seen.add_range(range(A, 2, LAST - 1)));
    assert_eq!(seen.ranges(), [range(A, 2, LAST)]);
    assert!(seen.add(dot(A, 1)));
    assert_eq!(seen, clock([(A, LAST)]).into());

    let less: CausalContext = clock([(A, LAST - 1)]).into();
    assert_eq!(seen.missing_from(&less).collect::<Vec<_>>(), [range(A, LAST, LAST)]);
    assert_eq!(less.missing_from(&seen).count(), 0);
}
