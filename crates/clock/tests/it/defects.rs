//! What goes wrong in other implementations, and does not here. Each test names the crate or system and its defect.

use reconvene_clock::{
    CausalContext, Causality, ClockError, Counter, DecodeKind, Decoder, Hlc, HlcClock, HlcError, Limits, MaxAhead,
    ReplicaId, TimeSource, VectorClock, WallTime,
};

use crate::golden::unhex;
use crate::support::{A, B, C, clock, context, counter, dot, id};

const LAST: u64 = Counter::MAX.get();

fn decode(text: &str) -> Result<VectorClock, DecodeKind> {
    Decoder::<ReplicaId>::default().clock(&unhex(text)).map_err(|error| error.kind)
}

/// A zero entry compares as greater in both directions there.
#[test]
fn defect_crdts_7_3_2_a_zero_entry_is_greater_both_ways() {
    assert_eq!(Counter::new(0), None);
    #[cfg(feature = "serde")]
    {
        let zero = r#"{"000000000000000a":0}"#;
        assert!(serde_json::from_str::<VectorClock>(zero).is_err());
    }
    // In bytes zero cannot be written: the least number is one.
    assert_eq!(decode("01 01 000000000000000a 00"), Ok(clock([(A, 1)])));
    let (empty, one) = (clock([]), clock([(A, 1)]));
    assert_eq!((empty.compare(&one), one.compare(&empty)), (Causality::Before, Causality::After));
}

/// The counter after `u64::MAX` is zero there.
#[test]
fn defect_crdts_7_3_2_the_last_counter_wraps() {
    let mut full = clock([(A, LAST)]);
    assert_eq!(full.increment(id(A)), Err(ClockError::CounterOverflow { replica: u128::from(A) }));
    assert_eq!(full, clock([(A, LAST)]));
}

/// Five enters an empty clock there, which claims one to four as well.
#[test]
fn defect_crdts_7_3_2_a_dot_enters_over_a_gap() {
    let mut seen = VectorClock::new();
    let gap = ClockError::Gap { replica: u128::from(A), expected: counter(1), got: counter(5) };
    assert_eq!(seen.observe(dot(A, 5)), Err(gap));
    assert!(seen.is_empty());
}

/// The first event is stored as zero there, and a clock that has it is newer than one that has not, by a zero.
#[test]
fn defect_vclock_0_4_4_the_first_event_is_zero() {
    let mut first = VectorClock::new();
    assert_eq!(first.increment(id(A)), Ok(dot(A, 1)));
    assert_eq!(first.total(), 1);
}

/// Counters of the narrow types wrap there, and what comes after is older.
#[test]
fn defect_vclock_0_4_4_counters_wrap() {
    let mut full = clock([(A, LAST - 1)]);
    let before = full.clone();
    full.increment(id(A)).unwrap();
    assert_eq!(full.compare(&before), Causality::After);
    full.increment(id(A)).unwrap_err();
    assert_eq!(full.compare(&before), Causality::After);
}

/// An index of a peer sizes an allocation there.
#[test]
fn defect_vector_clock_0_0_0_a_huge_index_allocates() {
    let huge = decode("01 01 ffffffffffffffff 00").unwrap();
    assert_eq!((huge.len(), huge.get(id(u64::MAX))), (1, Some(counter(1))));
    // And so would a huge count: case 17 and the test of allocations.
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: Limits::default().max_entries };
    assert_eq!(decode("01 ffffffffffffffff7f"), Err(kind));
}

/// A 32-bit counter wraps there and is older than what it followed.
#[test]
fn defect_vector_clock_0_0_0_and_loro_1_17_1_narrow_counters_turn_old() {
    for edge in [u64::from(u32::MAX), i32::MAX as u64] {
        let mut next = clock([(A, edge)]);
        let before = next.clone();
        assert_eq!(next.increment(id(A)), Ok(dot(A, edge + 1)));
        assert_eq!(next.compare(&before), Causality::After);
    }
}

/// Bytes follow the order of a hash table there, so that equal clocks differ in them.
#[test]
fn defect_loro_1_17_1_bytes_follow_the_order_of_a_hash_table() {
    let ids: Vec<u64> = (1..=40).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let encode = |clock: &VectorClock| {
        let mut bytes = Vec::new();
        clock.encode(&mut bytes);
        bytes
    };
    let forward: VectorClock = ids.iter().map(|replica| dot(*replica, 3)).collect();
    let mut backward = VectorClock::new();
    for replica in ids.iter().rev() {
        for number in 1..=3 {
            assert_eq!(backward.observe(dot(*replica, number)), Ok(true));
        }
    }
    assert_eq!(encode(&forward), encode(&backward));
}

/// Merging two contexts gives different results there, depending on which side merges.
#[test]
fn defect_logicaffeine_data_0_10_1_merge_depends_on_the_side() {
    let (left, right) = (context([(A, 1), (A, 4), (B, 2)]), context([(A, 2), (A, 3), (B, 1), (C, 3)]));
    let (mut one, mut other) = (left.clone(), right.clone());
    assert!(one.merge(&right) && other.merge(&left));
    assert_eq!(one, other);
    assert_eq!(one, context([(A, 1), (A, 2), (A, 3), (A, 4), (B, 1), (B, 2), (C, 3)]));
}

/// A dot that is held already, above a gap, is issued again there.
#[test]
fn defect_logicaffeine_data_0_10_1_next_issues_a_held_dot_again() {
    let held: CausalContext = context([(A, 1), (A, 2), (A, 4)]);
    for issued in [0, 1, 2, 3] {
        let issued = Counter::new(issued);
        assert_eq!(held.next_dot(id(A), issued), Err(ClockError::StateLoss { held: counter(4), issued }));
    }
    assert_eq!(held.next_dot(id(A), Some(counter(4))), Ok(dot(A, 5)));
}

/// A stamp far in the future is followed there, since the limit looks at one of its fields only.
#[test]
fn defect_hybrid_clocks_0_5_3_one_field_is_not_bounded() {
    let now = WallTime::from_millis(1_000);
    let bound = MaxAhead::from_millis(500);
    for bit in 11..64 {
        let remote = Hlc::from_u64(1 << bit | 1_000 << 16);
        let followed = Hlc::default().observe_at(now, remote, bound);
        let ahead = remote.millis().saturating_sub(1_000);
        assert_eq!(followed.is_ok(), ahead <= 500, "{remote}");
    }
    assert!(matches!(Hlc::default().observe_at(now, Hlc::MAX, bound), Err(HlcError::AheadOfBound { .. })));
}

/// A full count wraps there, and the stamp after it is lower.
#[test]
fn defect_hybrid_clocks_0_5_3_a_full_count_wraps() {
    let full = Hlc::from_parts(WallTime::from_millis(7), u16::MAX).unwrap();
    let bound = MaxAhead::from_millis(1);
    assert!(full.tick_at(WallTime::from_millis(7), bound).unwrap() > full);
    assert_eq!(full.tick_at(WallTime::from_millis(6), bound), Err(HlcError::CounterExhausted));
}

struct Frozen;

impl TimeSource for Frozen {
    fn now(&self) -> WallTime {
        WallTime::from_millis(5_000)
    }
}

/// A million stamps at frozen time run ahead without a word there, or end in nothing at all.
#[test]
fn defect_uhlc_0_9_0_and_hlc_gen_2_0_0_frozen_time_is_silent() {
    let mut clock = HlcClock::new(Frozen, MaxAhead::from_millis(10));
    let mut last = Hlc::default();
    let mut stamps = 0;
    let end = loop {
        match clock.tick() {
            Ok(stamp) => {
                assert!(stamp > last && stamp.millis() <= 5_010, "no further ahead than the bound");
                (last, stamps) = (stamp, stamps + 1);
            }
            Err(error) => break error,
        }
    };
    assert_eq!((end, stamps), (HlcError::CounterExhausted, 11 * 65_536));
    let mut patient = HlcClock::new(Frozen, MaxAhead::default());
    for _ in 0..1_000_000 {
        patient.tick().unwrap();
    }
    assert_eq!(patient.last().millis(), 5_000 + 1_000_000 / 65_536);
}

/// riak_core#613: an entry pruned at one replica comes back from another, for ever.
#[test]
fn defect_riak_core_613_pruning_loops() {
    let (p, q) = (clock([(A, 3), (B, 2), (C, 1)]), clock([(A, 3), (B, 2), (C, 2)]));
    // Here nothing prunes: merging gives the greater one, again and again.
    let mut held = p.clone();
    assert!(held.merge(&q));
    for _ in 0..3 {
        assert!(!held.merge(&p) && !held.merge(&q));
    }
    assert_eq!(held, q);
    // The only way to lose an entry is asked for by name, and shows as concurrency.
    held.retain(|replica| replica != id(B));
    assert_eq!(held.compare(&p), Causality::Concurrent);
}

/// riak_kv#679: a store that lost its data went on under its old name, and its writes were taken for old ones.
#[test]
fn defect_riak_kv_679_a_reused_actor_id_loses_data() {
    let known_elsewhere: CausalContext = clock([(A, 5)]).into();
    let reused = known_elsewhere.next_dot(id(A), Some(counter(1)));
    assert_eq!(reused, Err(ClockError::StateLoss { held: counter(5), issued: Some(counter(1)) }));
    let renamed = known_elsewhere.next_dot(id(0xaa), None).unwrap();
    assert!(!known_elsewhere.contains(renamed));
}
