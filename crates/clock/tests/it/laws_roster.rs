//! Clocks over a roster are vector clocks with the same entries.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use proptest::prelude::*;
use reconvene_clock::{ClockError, Counter, DotRange, Limits, Roster, RosterClock, VectorClock};

use crate::support::{A, B, any_clock, clock, counter, dot, id};

const LAST: u64 = Counter::MAX.get();

fn roster(epoch: u64, replicas: impl IntoIterator<Item = u64>) -> Arc<Roster> {
    Arc::new(Roster::new(epoch, replicas.into_iter().map(id), &Limits::default()).unwrap())
}

/// All replicas of the generator, and some that never write.
fn all() -> Arc<Roster> {
    roster(1, 1..=9)
}

fn dense(roster: &Arc<Roster>, clock: &VectorClock) -> RosterClock {
    RosterClock::from_clock(roster.clone(), clock).unwrap()
}

proptest! {
    #[test]
    fn law_roster_clocks_agree_with_vector_clocks(a in any_clock(), b in any_clock(), two in any::<bool>()) {
        // Over one roster, over an equal one, and over another: all mean the same.
        let (left, right) = if two { (all(), roster(2, (1..=7).rev())) } else { (all(), all()) };
        let (mut one, other) = (dense(&left, &a), dense(&right, &b));
        prop_assert_eq!(one.compare(&other), a.compare(&b));
        prop_assert_eq!(one.dominates(&other), a.dominates(&b));
        prop_assert_eq!(one.total(), a.total());
        prop_assert_eq!((one.len(), one.is_empty()), (a.len(), a.is_empty()));
        prop_assert!(one.iter().eq(a.iter()));
        prop_assert_eq!(one.to_string(), a.to_string());
        let missing: Vec<DotRange> = one.missing_from(&other).collect();
        prop_assert_eq!(missing, a.missing_from(&b).collect::<Vec<_>>());

        let mut met = (one.clone(), a.clone());
        met.0.meet(&other);
        met.1.meet(&b);
        prop_assert_eq!(VectorClock::from(&met.0), met.1);

        let mut merged = a.clone();
        let grew = merged.merge(&b);
        prop_assert_eq!(one.merge(&other), Ok(grew));
        prop_assert_eq!(VectorClock::from(one), merged);
    }

    #[test]
    fn law_roster_clocks_grow_as_vector_clocks_do(a in any_clock(), replica in 1..=9_u64, number in 1..=6_u64) {
        let new = dot(replica, number);
        let start = dense(&all(), &a);
        prop_assert_eq!(start.get(id(replica)), a.get(id(replica)));
        prop_assert_eq!(start.contains(new), a.contains(new));
        for step in 0..4 {
            let (mut one, mut plain) = (start.clone(), a.clone());
            match step {
                0 => prop_assert_eq!(one.increment(id(replica)), plain.increment(id(replica))),
                1 => prop_assert_eq!(one.observe(new), plain.observe(new)),
                2 => prop_assert_eq!(one.raise(new), Ok(plain.raise(new))),
                _ => {
                    one.retain(|kept| kept.get() != replica);
                    plain.retain(|kept| kept.get() != replica);
                }
            }
            prop_assert_eq!(VectorClock::from(&one), plain);
        }
    }

    #[test]
    fn law_from_goes_both_ways(a in any_clock()) {
        let over_own = RosterClock::from(&a);
        prop_assert_eq!(over_own.roster().len(), a.len());
        prop_assert_eq!(&VectorClock::from(&over_own), &a);
        prop_assert_eq!(VectorClock::from(RosterClock::from(a.clone())), a);
    }

    #[test]
    fn law_equal_clocks_over_equal_rosters_hash_alike(a in any_clock(), b in any_clock()) {
        let (one, other) = (dense(&all(), &a), dense(&all(), &b));
        let hasher = RandomState::new();
        prop_assert_eq!(one == other, a == b);
        prop_assert_eq!(hasher.hash_one(&one) == hasher.hash_one(&other), a == b);
        prop_assert!(one != dense(&roster(2, 1..=9), &a), "another roster is another value");
    }
}

#[test]
fn who_is_no_member_is_an_unknown_replica() {
    let unknown = |replica: u64| ClockError::UnknownReplica { replica: u128::from(replica) };
    let mut own = dense(&roster(1, [A]), &clock([(A, 5)]));
    let before = own.clone();
    assert_eq!(own.increment(id(B)), Err(unknown(B)));
    assert_eq!(own.observe(dot(B, 1)), Err(unknown(B)));
    assert_eq!(own.raise(dot(B, 1)), Err(unknown(B)));
    assert_eq!(own.merge(&dense(&roster(1, [A, B]), &clock([(A, 9), (B, 1)]))), Err(unknown(B)));
    assert_eq!(own, before, "nothing of it was taken in");
    assert_eq!(RosterClock::from_clock(roster(1, [A]), &clock([(B, 1)])), Err(unknown(B)));
    assert_eq!(own.get(id(B)), None);
    // A member elsewhere that has no event is no obstacle.
    assert_eq!(own.merge(&dense(&roster(1, [A, B]), &clock([(A, 9)]))), Ok(true));
    assert_eq!(own.get(id(A)), Some(counter(9)));
}

#[test]
fn case_16_the_last_counter_has_no_next_over_a_roster_either() {
    let mut full = dense(&roster(1, [A]), &clock([(A, LAST)]));
    let before = full.clone();
    assert_eq!(full.increment(id(A)), Err(ClockError::CounterOverflow { replica: u128::from(A) }));
    assert_eq!(full.observe(dot(A, LAST)), Ok(false));
    assert_eq!(full, before);
}

#[test]
fn a_roster_is_sorted_bounded_and_named() {
    let mut limits = Limits::default();
    limits.max_entries = 2;
    let sorted = Roster::new(3, [B, A].map(id), &limits).unwrap();
    assert_eq!((sorted.ids(), sorted.epoch(), sorted.len(), sorted.is_empty()), (&[A, B].map(id)[..], 3, 2, false));
    assert_eq!((sorted.position(id(B)), sorted.position(id(7))), (Some(1), None));
    assert!(Roster::new(3, [0; 0].map(id), &limits).unwrap().is_empty());
    let endless = (1..).map(id);
    let kind = ClockError::LimitExceeded { what: "replicas of a roster", limit: 2 };
    assert_eq!(Roster::new(3, endless, &limits), Err(kind));
    assert_eq!(kind.to_string(), "more than 2 replicas of a roster");
    assert_ne!(Roster::new(3, [A].map(id), &limits).unwrap().digest(), sorted.digest());
}

#[test]
fn only_replicas_with_events_are_asked_about() {
    let mut own = dense(&roster(1, [A, B]), &clock([(B, 3)]));
    let mut asked = Vec::new();
    own.retain(|replica| {
        asked.push(replica);
        true
    });
    assert_eq!(asked, [id(B)]);
    assert_eq!(own.get(id(B)), Some(counter(3)));
}
