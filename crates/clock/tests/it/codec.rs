//! The column codec: round trips, one spelling for each value, and what is refused where.

use std::sync::Arc;

use proptest::prelude::*;
use reconvene_clock::{
    Base, CausalContext, ClockError, Counter, DecodeError, DecodeKind, Decoder, Dot, Hlc, Limits, Roster, RosterClock,
    VectorClock,
};

use crate::golden::{CONTEXT, FULL, golden_context, unhex};
use crate::support::{A, B, C, any_clock, any_context, clock, context, counter, dot, id};

fn full(clock: &VectorClock) -> Vec<u8> {
    let mut bytes = Vec::new();
    clock.encode(&mut bytes);
    bytes
}

fn full_context(context: &CausalContext) -> Vec<u8> {
    let mut bytes = Vec::new();
    context.encode(&mut bytes);
    bytes
}

/// All replicas of the generators.
fn roster() -> Arc<Roster> {
    Arc::new(Roster::new(1, (1..=6).map(id), &Limits::default()).unwrap())
}

/// Clocks whose counters have any number of bytes.
fn any_wide_clock() -> impl Strategy<Value = VectorClock> {
    let number = (0..63_u32, any::<u64>()).prop_map(|(shift, number)| (number >> 1 >> shift).max(1));
    prop::collection::btree_map(1..=u64::MAX, number, 0..40)
        .prop_map(|entries| entries.into_iter().map(|(replica, number)| dot(replica, number)).collect())
}

/// Bytes close to those that mean something.
fn any_near_miss() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (any_context(), any_clock(), prop::collection::vec(change, 0..4)).prop_map(|(context, clock, changes)| {
        let mut bytes = full_context(&context);
        match clock.len() % 3 {
            0 => {}
            1 => {
                bytes.clear();
                context.encode_in(&roster(), &mut bytes).unwrap();
            }
            _ => {
                bytes.clear();
                assert!(context.encode_delta(&Base::new(VectorClock::new()), &mut bytes));
            }
        }
        for (index, byte, kind) in changes {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                2 if at < bytes.len() => _ = bytes.remove(at),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

/// Whatever is accepted gives the same bytes again, in the form that its first byte names.
fn assert_one_spelling(bytes: &[u8]) {
    let (rosters, bases) = ([roster()], [Base::new(VectorClock::new()), Base::new(clock([(1, 1), (3, 2)]))]);
    let decoder = Decoder::default().with_rosters(&rosters).with_bases(&bases);
    let digest = bytes.get(1..9).map(|digest| u64::from_be_bytes(digest.try_into().unwrap()));
    let base = bases.iter().find(|base| Some(base.digest()) == digest);
    if let Ok(clock) = decoder.clock(bytes) {
        let mut again = Vec::new();
        match bytes[0] {
            1 => clock.encode(&mut again),
            2 => clock.encode_in(&rosters[0], &mut again).unwrap(),
            _ => assert!(clock.encode_delta(base.unwrap(), &mut again)),
        }
        assert_eq!(again, bytes);
    }
    if let Ok(context) = decoder.context(bytes) {
        let mut again = Vec::new();
        match bytes[0] {
            1 => context.encode(&mut again),
            2 => context.encode_in(&rosters[0], &mut again).unwrap(),
            _ => assert!(context.encode_delta(base.unwrap(), &mut again)),
        }
        assert_eq!(again, bytes);
        let parts = CausalContext::from_parts(context.vector().clone(), context.ranges().iter().copied());
        assert_eq!(parts, Ok(context));
    }
    if let Ok(dense) = decoder.roster_clock(bytes) {
        let mut again = Vec::new();
        dense.encode(&mut again);
        assert_eq!(again, bytes);
    }
    if let Ok(dot) = Dot::<reconvene_clock::ReplicaId>::decode(bytes) {
        let mut again = Vec::new();
        dot.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

proptest! {
    #[test]
    fn law_roundtrip_full_form(clock in any_wide_clock()) {
        let bytes = full(&clock);
        prop_assert!(bytes.len() <= 2 + clock.len() * 17);
        prop_assert_eq!(Decoder::default().clock(&bytes), Ok(clock));
    }

    #[test]
    fn law_roundtrip_roster_form(clock in any_clock()) {
        let rosters = [roster()];
        let decoder = Decoder::default().with_rosters(&rosters);
        let (mut sparse, mut dense) = (Vec::new(), Vec::new());
        clock.encode_in(&rosters[0], &mut sparse).unwrap();
        let over = RosterClock::from_clock(rosters[0].clone(), &clock).unwrap();
        over.encode(&mut dense);
        prop_assert_eq!(&sparse, &dense);
        prop_assert_eq!(decoder.roster_clock(&dense), Ok(over));
        prop_assert_eq!(decoder.clock(&sparse), Ok(clock));
    }

    #[test]
    fn law_roundtrip_delta_form(base in any_wide_clock(), more in any_wide_clock(), some in any_clock()) {
        let mut grown = base.clone();
        grown.merge(&some);
        for (index, entry) in base.iter().enumerate() {
            if index % 3 == 0 && let Ok(next) = grown.increment(entry.replica) {
                prop_assert!(grown.contains(next));
            }
        }
        grown.merge(&more);
        let bases = [Base::new(more), Base::new(base)];
        let mut bytes = Vec::new();
        prop_assert!(grown.encode_delta(&bases[1], &mut bytes));
        prop_assert_eq!(Decoder::default().with_bases(&bases).clock(&bytes), Ok(grown));
    }

    #[test]
    fn law_a_delta_needs_a_base_below(base in any_clock(), other in any_clock()) {
        let mut bytes = Vec::new();
        prop_assert_eq!(other.encode_delta(&Base::new(base.clone()), &mut bytes), other.dominates(&base));
        prop_assert_eq!(bytes.is_empty(), !other.dominates(&base));
    }

    #[test]
    fn law_roundtrip_context_forms(context in any_context()) {
        prop_assert_eq!(Decoder::default().context(&full_context(&context)), Ok(context.clone()));
        let rosters = [roster()];
        let mut bytes = Vec::new();
        context.encode_in(&rosters[0], &mut bytes).unwrap();
        prop_assert_eq!(Decoder::default().with_rosters(&rosters).context(&bytes), Ok(context));
    }

    #[test]
    fn law_roundtrip_dots_and_stamps(replica in 1..=u64::MAX, number in 1..=Counter::MAX.get(), stamp: u64) {
        let mut bytes = Vec::new();
        dot(replica, number).encode(&mut bytes);
        prop_assert_eq!(Dot::decode(&bytes), Ok(dot(replica, number)));
        let mut bytes = Vec::new();
        Hlc::from_u64(stamp).encode(&mut bytes);
        prop_assert_eq!(Hlc::decode(&bytes), Ok(Hlc::from_u64(stamp)));
    }

    #[test]
    fn law_equal_values_have_equal_bytes(a in any_context(), b in any_context()) {
        prop_assert_eq!(full_context(&a) == full_context(&b), a == b);
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b);
        ba.merge(&a);
        prop_assert_eq!(full_context(&ab), full_context(&ba));
    }

    #[test]
    fn law_decode_never_panics_and_knows_one_spelling(noise in prop::collection::vec(any::<u8>(), 0..64)) {
        assert_one_spelling(&noise);
    }

    #[test]
    fn law_near_misses_are_refused_or_canonical(bytes in any_near_miss()) {
        assert_one_spelling(&bytes);
    }

    #[test]
    fn law_every_prefix_is_truncated(context in any_context()) {
        let bytes = full_context(&context);
        for len in 0..bytes.len() {
            let truncated = DecodeError::new(DecodeKind::Truncated, len);
            prop_assert_eq!(Decoder::<reconvene_clock::ReplicaId>::default().context(&bytes[..len]), Err(truncated));
        }
    }
}

fn refused<T: std::fmt::Debug + PartialEq>(result: Result<T, DecodeError>, kind: DecodeKind, offset: usize) {
    assert_eq!(result, Err(DecodeError::new(kind, offset)));
}

fn clock_of(text: &str) -> Result<VectorClock, DecodeError> {
    Decoder::default().clock(&unhex(text))
}

fn context_of(text: &str) -> Result<CausalContext, DecodeError> {
    Decoder::default().context(&unhex(text))
}

#[test]
fn case_17_decoding_rejects_zero_ids_and_unsorted_entries() {
    refused(clock_of("01 01 0000000000000000 00"), DecodeKind::ZeroId, 2);
    refused(clock_of("01 02 000000000000000b 000000000000000a 00 00"), DecodeKind::NotAscending, 10);
    refused(clock_of("01 02 000000000000000b 000000000000000b 00 00"), DecodeKind::NotAscending, 10);
    refused(Dot::<reconvene_clock::ReplicaId>::decode(&unhex("0000000000000000 00")), DecodeKind::ZeroId, 0);
}

#[test]
fn case_17_decoding_rejects_counters_above_the_last_and_overlong_numbers() {
    // A zero counter has no spelling, since counters are written less one.
    refused(clock_of("01 01 000000000000000a ffffffffffffffff7f"), DecodeKind::OutOfRange, 10);
    refused(clock_of("01 01 000000000000000a ffffffffffffffffff01"), DecodeKind::OutOfRange, 10);
    refused(clock_of("01 01 000000000000000a 8000"), DecodeKind::Overlong, 10);
    refused(clock_of("01 01 000000000000000a ff8000"), DecodeKind::Overlong, 10);
    refused(clock_of("01 8000"), DecodeKind::Overlong, 1);
    assert_eq!(clock_of("01 01 000000000000000a feffffffffffffff7f"), Ok(clock([(A, Counter::MAX.get())])));
}

#[test]
fn case_17_decoding_rejects_trailing_bytes_and_unknown_forms() {
    refused(clock_of(&format!("{FULL} 00")), DecodeKind::Trailing, 21);
    refused(clock_of("01 00 00"), DecodeKind::Trailing, 2);
    refused(context_of("01 00 00 07"), DecodeKind::Trailing, 3);
    refused(clock_of("00 00"), DecodeKind::UnknownForm, 0);
    refused(clock_of("04 00"), DecodeKind::UnknownForm, 0);
    refused(clock_of(""), DecodeKind::Truncated, 0);
    refused(Hlc::decode(&[0; 9]), DecodeKind::Trailing, 8);
    refused(Hlc::decode(&[0; 7]), DecodeKind::Truncated, 7);
}

#[test]
fn case_17_a_declared_length_of_2_to_40_in_ten_bytes_is_over_the_limit() {
    let claim = unhex("01 808080808020 00 00 00");
    assert_eq!(claim.len(), 10);
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 65_536 };
    refused(Decoder::<reconvene_clock::ReplicaId>::default().clock(&claim), kind, 1);
    // Without a limit the bytes that are left decide.
    let mut limits = Limits::default();
    limits.max_entries = usize::MAX;
    refused(Decoder::<reconvene_clock::ReplicaId>::new(limits).clock(&claim), DecodeKind::Truncated, 10);
}

#[test]
fn case_17_more_than_the_limits_is_refused_at_the_count() {
    let mut limits = Limits::default();
    (limits.max_entries, limits.max_ranges, limits.max_ranges_per_replica) = (2, 3, 2);
    let within = |context: &CausalContext| {
        let decoder = Decoder::<reconvene_clock::ReplicaId>::new(limits);
        decoder.context(&full_context(context)).map(|decoded| assert_eq!(&decoded, context))
    };
    let exceeded = |what, limit, offset| Err(DecodeError::new(DecodeKind::LimitExceeded { what, limit }, offset));
    assert_eq!(within(&context([(A, 1), (B, 1)])), Ok(()));
    assert_eq!(within(&context([(A, 1), (B, 1), (C, 1)])), exceeded("clock entries", 2, 1));
    assert_eq!(within(&context([(A, 2), (A, 4), (B, 2)])), Ok(()));
    assert_eq!(within(&context([(A, 2), (A, 4), (A, 6)])), exceeded("ranges of one replica", 2, 11));
    assert_eq!(within(&context([(A, 2), (A, 4), (B, 2), (B, 4)])), exceeded("ranges", 3, 24));
    let four = context([(1, 2), (2, 2), (3, 2), (4, 2)]);
    assert_eq!(within(&four), exceeded("replicas with ranges", 3, 2));
}

#[test]
fn case_17_unknown_rosters_and_bases_are_named() {
    let rosters = [roster()];
    let mut bytes = Vec::new();
    clock([(1, 1)]).encode_in(&rosters[0], &mut bytes).unwrap();
    let kind = DecodeKind::UnknownRoster { digest: rosters[0].digest() };
    refused(Decoder::<reconvene_clock::ReplicaId>::default().clock(&bytes), kind, 1);
    refused(Decoder::<reconvene_clock::ReplicaId>::default().roster_clock(&bytes), kind, 1);
    refused(Decoder::default().with_rosters(&rosters).roster_clock(&full(&clock([]))), DecodeKind::UnknownForm, 0);

    let base = Base::new(clock([(A, 1)]));
    let mut bytes = Vec::new();
    assert!(clock([(A, 2)]).encode_delta(&base, &mut bytes));
    let kind = DecodeKind::UnknownBase { digest: base.digest() };
    refused(Decoder::<reconvene_clock::ReplicaId>::default().clock(&bytes), kind, 1);
    // The same replicas in another epoch are another roster.
    assert_ne!(Roster::new(2, (1..=6).map(id), &Limits::default()).unwrap().digest(), rosters[0].digest());
}

#[test]
fn case_17_a_roster_form_has_a_number_for_each_member() {
    let rosters = [roster()];
    let decoder = Decoder::default().with_rosters(&rosters);
    let mut bytes = Vec::new();
    clock([(1, 1)]).encode_in(&rosters[0], &mut bytes).unwrap();
    refused(decoder.clock(&bytes[..14]), DecodeKind::Truncated, 14);
    bytes.push(0);
    refused(decoder.clock(&bytes), DecodeKind::Trailing, 15);
    let mut limits = Limits::default();
    limits.max_entries = 5;
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 5 };
    refused(Decoder::new(limits).with_rosters(&rosters).clock(&bytes), kind, 1);

    let mut untouched = vec![7];
    let unknown = ClockError::UnknownReplica { replica: u128::from(A) };
    assert_eq!(clock([(1, 1), (A, 1)]).encode_in(&rosters[0], &mut untouched), Err(unknown));
    assert_eq!(context([(A, 1), (A, 3)]).encode_in(&rosters[0], &mut untouched), Err(unknown));
    assert_eq!(untouched, [7]);
}

#[test]
fn case_17_a_delta_stays_within_its_base() {
    let bases = [Base::new(clock([(A, 1), (B, Counter::MAX.get() - 1)]))];
    let delta = |rest: &str| {
        let mut bytes = vec![3];
        bytes.extend(bases[0].digest().to_be_bytes());
        bytes.extend(unhex(rest));
        Decoder::default().with_bases(&bases).clock(&bytes)
    };
    assert_eq!(delta("01 0100 00"), Ok(clock([(A, 1), (B, Counter::MAX.get())])));
    refused(delta("01 0101 00"), DecodeKind::OutOfRange, 11);
    refused(delta("01 0200 00"), DecodeKind::OutOfRange, 10);
    refused(delta("02 0000 0100 00"), DecodeKind::OutOfRange, 12);
    refused(delta("03 000000000000 00"), DecodeKind::LimitExceeded { what: "changed entries", limit: 2 }, 9);
    refused(delta("00 01 000000000000000a 00"), DecodeKind::NotAscending, 11);
    refused(delta("00 01 000000000000000c"), DecodeKind::Truncated, 19);
    assert_eq!(delta("00 01 000000000000000c 00").map(|clock| clock.len()), Ok(3));

    let mut limits = Limits::default();
    limits.max_entries = 2;
    let mut bytes = Vec::new();
    let mut grown = bases[0].clock().clone();
    grown.raise(dot(C, 1));
    assert!(grown.encode_delta(&bases[0], &mut bytes));
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 2 };
    refused(Decoder::new(limits).with_bases(&bases).clock(&bytes), kind, 10);
    limits.max_entries = 1;
    let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: 1 };
    refused(Decoder::new(limits).with_bases(&bases).clock(&bytes), kind, 1);
}

#[test]
fn case_17_ranges_end_at_the_last_counter() {
    let last = Counter::MAX.get();
    let at_end: CausalContext = [dot(A, last)].into_iter().collect();
    let bytes = full_context(&at_end);
    assert_eq!(Decoder::default().context(&bytes), Ok(at_end));
    // One further, by its gap and by its length.
    refused(context_of("01 00 01 000000000000000a 00 feffffffffffffff7f 00"), DecodeKind::OutOfRange, 12);
    refused(context_of("01 00 01 000000000000000a 00 fdffffffffffffff7f 01"), DecodeKind::OutOfRange, 21);
    refused(
        context_of("01 01 000000000000000a feffffffffffffff7f 01 000000000000000a 00 00 00"),
        DecodeKind::OutOfRange,
        29,
    );
    refused(context_of("01 00 02 000000000000000b 000000000000000a 00 0000 00 0000"), DecodeKind::NotAscending, 11);
    refused(context_of("01 00 01 0000000000000000 00 0000"), DecodeKind::ZeroId, 3);
    refused(context_of("01 00 01 000000000000000a 01 0000"), DecodeKind::Truncated, 14);
}

#[test]
fn golden_bytes_with_one_more_or_less_are_refused() {
    assert_eq!(context_of(CONTEXT), Ok(golden_context()));
    let bytes = unhex(CONTEXT);
    for index in 0..bytes.len() {
        let mut shorter = bytes.clone();
        shorter.remove(index);
        assert!(Decoder::<reconvene_clock::ReplicaId>::default().context(&shorter).is_err());
    }
}

#[test]
fn numbers_of_every_length_are_read_as_written() {
    for shift in 0..63 {
        for near in [(1_u64 << shift).saturating_sub(1), 1 << shift, (1 << shift) + 1] {
            let clock: VectorClock =
                [Dot::new(id(A), counter(near.clamp(1, Counter::MAX.get())))].into_iter().collect();
            let bytes = full(&clock);
            let stored = clock.total() - 1;
            let expected = 10 + (128 - stored.leading_zeros()).div_ceil(7).max(1) as usize;
            assert_eq!(bytes.len(), expected, "{stored}");
            assert_eq!(Decoder::default().clock(&bytes), Ok(clock));
        }
    }
}
