//! Decoding never allocates more than the limits allow, or more than a small multiple of its input.

#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, missing_docs, reason = "tests add freely")]

use std::sync::Arc;

use allocation_counter::measure;
use proptest::prelude::*;
use reconvene_clock::{Base, CausalContext, Counter, Decoder, Dot, Limits, ReplicaId, Roster, VectorClock};

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn clock(ids: impl IntoIterator<Item = u64>) -> VectorClock {
    ids.into_iter().map(|number| Dot::new(id(number), Counter::MIN)).collect()
}

/// Small, so that inputs reach them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.max_entries, limits.max_ranges, limits.max_ranges_per_replica) = (32, 16, 8);
    limits
}

/// An entry is 16 bytes and a range 24. A merge may hold the old and the new entries for a moment, with room for as many
/// again; ranges grow by doubling, and move.
fn most(limits: &Limits) -> u64 {
    (limits.max_entries * 16 * 4 + limits.max_ranges * 24 * 3) as u64
}

/// Decodes in every way there is, and returns the greatest heap that any of them held.
fn heap_of_decoding(bytes: &[u8], limits: Limits, rosters: &[Arc<Roster>], bases: &[Base]) -> u64 {
    let decoder = Decoder::new(limits).with_rosters(rosters).with_bases(bases);
    let ways: [&dyn Fn(); 5] = [
        &|| drop(decoder.clock(bytes)),
        &|| drop(decoder.context(bytes)),
        &|| drop(decoder.roster_clock(bytes)),
        &|| _ = Dot::<ReplicaId>::decode(bytes),
        &|| _ = reconvene_clock::Hlc::decode(bytes),
    ];
    ways.into_iter().map(|way| measure(way).bytes_max).max().unwrap_or_default()
}

/// Forms, counts and digests that mean something, and noise.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let digest = |digest: u64| digest.to_be_bytes().to_vec();
    let part = prop_oneof![
        Just(vec![1]),
        Just([vec![2], digest(roster().digest())].concat()),
        Just([vec![3], digest(base().digest())].concat()),
        (0..40_u8).prop_map(|small| vec![small]),
        (1..200_u64).prop_map(|id| id.to_be_bytes().to_vec()),
        Just(vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x20]),
        Just(vec![0xff; 9]),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(0..3_u8, 0..300),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn roster() -> Arc<Roster> {
    Arc::new(Roster::new(1, (1..=20).map(id), &limits()).unwrap())
}

fn base() -> Base {
    Base::new(clock(1..=20))
}

/// A merge makes room for all that both sides might bring; it does not keep it.
#[test]
fn a_merged_clock_keeps_a_third_of_spare_room_at_most() {
    let (own, other) = (clock(2..=1_000), clock((1..=1).chain(3..=1_001)));
    let mut merged = None;
    let kept = measure(|| {
        let mut sum = own.clone();
        sum.merge(&other);
        merged = Some(sum);
    });
    let entries = u64::try_from(merged.unwrap().len()).unwrap();
    assert_eq!(entries, 1_001);
    assert!((entries * 16..=entries * 24).contains(&u64::try_from(kept.bytes_current).unwrap()), "{kept:?}");
}

/// Little room to spare is not worth another copy.
#[test]
fn a_merge_with_little_room_to_spare_allocates_once() {
    let (mut own, other) = (clock(2..=101), clock((1..=1).chain(50..=58).chain(102..=102)));
    assert_eq!(measure(|| assert!(own.merge(&other))).count_total, 1);
    assert_eq!(own.len(), 102);
    // A third of the room to spare, and no more than that.
    let (mut own, other) = (clock(2..=101), clock((1..=1).chain(50..=100).chain(102..=102)));
    assert_eq!(measure(|| assert!(own.merge(&other))).count_total, 1);
    assert_eq!(own.len(), 102);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn law_decoding_allocates_within_the_limits(bytes in any_bytes()) {
        let heap = heap_of_decoding(&bytes, limits(), &[roster()], &[base()]);
        prop_assert!(heap <= most(&limits()), "{heap} bytes for {} of input", bytes.len());
    }

    #[test]
    fn law_decoding_allocates_in_proportion_to_its_input(bytes in any_bytes()) {
        // Whatever the limits: the bytes that are there pay for what is allocated.
        let mut wide = Limits::default();
        (wide.max_entries, wide.max_ranges, wide.max_ranges_per_replica) = (usize::MAX, usize::MAX, usize::MAX);
        let heap = heap_of_decoding(&bytes, wide, &[], &[]);
        // A range takes 2 bytes on the wire and 24 in memory, doubled while it grows, and both while it moves.
        prop_assert!(heap <= 24 * 2 * bytes.len() as u64 + 256, "{heap} bytes for {} of input", bytes.len());
    }
}

#[test]
fn case_17_a_claim_of_2_to_40_entries_allocates_nothing() {
    let claim = [1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0, 0];
    assert_eq!(heap_of_decoding(&claim, Limits::default(), &[], &[]), 0);
    // Twenty entries of at least nine bytes each do not fit a hundred bytes.
    let entries: Vec<u8> = [1, 20].into_iter().chain(1..=100).collect();
    assert_eq!(heap_of_decoding(&entries, Limits::default(), &[], &[]), 0);
    let ranges = [1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0];
    assert_eq!(heap_of_decoding(&ranges, Limits::default(), &[], &[]), 0);
}

#[test]
fn a_clock_of_four_is_inline_and_a_longer_one_takes_sixteen_bytes_an_entry() {
    let mut bytes = Vec::new();
    for (entries, heap) in [(0, 0), (4, 0), (5, 80), (10_000, 160_000)] {
        bytes.clear();
        clock(1..=entries).encode(&mut bytes);
        assert_eq!(heap_of_decoding(&bytes, Limits::default(), &[], &[]), heap);
        let mut copy = None;
        let original = clock(1..=entries);
        assert_eq!(measure(|| copy = Some(original.clone())).bytes_current, i64::try_from(heap).unwrap());
    }
}

#[test]
fn merging_what_names_no_new_replica_allocates_nothing() {
    let mut own = clock(1..=100);
    let other: VectorClock = [5, 50, 99].map(|number| Dot::new(id(number), Counter::MAX)).into_iter().collect();
    assert_eq!(measure(|| assert!(own.merge(&other))).count_total, 0);
    let context = CausalContext::from(own.clone());
    let mut held = context.clone();
    assert_eq!(measure(|| assert!(!held.merge(&context))).count_total, 0);
    assert_eq!(measure(|| assert_eq!(held.compare(&context), reconvene_clock::Causality::Equal)).count_total, 0);
}
