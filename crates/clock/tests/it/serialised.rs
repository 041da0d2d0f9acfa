//! Serialisation: round trips, and what is refused on the way in.

use std::fmt;

use bincode::config::standard;
use bincode::serde::{decode_from_slice, encode_to_vec};
use proptest::prelude::*;
use reconvene_clock::{
    CausalContext, Counter, Dot, DotRange, Height, Hlc, NodeId, ReplicaId, Timestamp, VectorClock, WallTime,
};
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::support::{any_clock, any_context, dot, range};

fn bytes(value: impl Serialize) -> Vec<u8> {
    encode_to_vec(value, standard()).unwrap()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode_from_slice(bytes, standard()).ok().map(|(value, _)| value)
}

fn assert_round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    assert_eq!(decode::<T>(&bytes(value)).as_ref(), Some(value));
}

proptest! {
    #[test]
    fn law_roundtrip_clock(clock in any_clock()) {
        assert_round_trip(&clock);
    }

    #[test]
    fn law_roundtrip_context(context in any_context()) {
        assert_round_trip(&context);
    }

    #[test]
    fn law_roundtrip_small_values(node: [u8; 16], number in 1..=Counter::MAX.get(), stamp: u64) {
        assert_round_trip(&NodeId::new(node));
        assert_round_trip(&ReplicaId::new(number).unwrap());
        assert_round_trip(&dot(number, number));
        assert_round_trip(&range(number, 1, number));
        assert_round_trip(&Height::new(number).unwrap());
        assert_round_trip(&Hlc::from_u64(stamp));
        assert_round_trip(&WallTime::from_millis(stamp));
        assert_round_trip(&Timestamp::from_millis(stamp));
    }

    #[test]
    fn law_decode_never_panics_and_gives_canonical_values(noise in prop::collection::vec(0..6_u8, 0..40)) {
        if let Some(context) = decode::<CausalContext>(&noise) {
            assert_round_trip(&context);
            let rebuilt = context.runs().fold(CausalContext::new(), |mut all, run| {
                all.add_range(run);
                all
            });
            prop_assert_eq!(rebuilt, context);
        }
    }
}

#[test]
fn case_17_zero_is_refused_everywhere() {
    assert_eq!(decode::<ReplicaId>(&bytes(0_u64)), None);
    assert_eq!(decode::<Counter>(&bytes(0_u64)), None);
    assert_eq!(decode::<Counter>(&bytes(1_u64 << 63)), None);
    assert_eq!(decode::<Height>(&bytes(0_u64)), None);
    assert_eq!(decode::<VectorClock>(&bytes([(0_u64, 1_u64)].as_slice())), None);
    assert_eq!(decode::<VectorClock>(&bytes([(1_u64, 0_u64)].as_slice())), None);
    assert!(decode::<VectorClock>(&bytes([(1_u64, 1_u64)].as_slice())).is_some());
}

#[test]
fn case_17_unsorted_and_repeated_entries_are_refused() {
    assert_eq!(decode::<VectorClock>(&bytes([dot(2, 1), dot(1, 1)].as_slice())), None);
    assert_eq!(decode::<VectorClock>(&bytes([dot(1, 1), dot(1, 2)].as_slice())), None);
    assert_eq!(decode::<DotRange>(&bytes((1_u64, 3_u64, 2_u64))), None);
    let vector = [dot(1, 1)];
    assert_eq!(decode::<CausalContext>(&bytes((vector.as_slice(), [range(1, 2, 3)].as_slice()))), None);
    assert!(decode::<CausalContext>(&bytes((vector.as_slice(), [range(1, 3, 3)].as_slice()))).is_some());
}

#[test]
fn case_17_a_claimed_length_allocates_nothing() {
    // 2^40 elements, claimed in ten bytes: the marker of a 64-bit number, the number, and one byte more.
    let mut claim = vec![253];
    claim.extend((1_u64 << 40).to_le_bytes());
    claim.push(1);
    assert_eq!(claim.len(), 10);
    assert_eq!(decode::<VectorClock>(&claim), None);
    assert_eq!(decode::<CausalContext>(&claim), None);
}

#[test]
fn case_17_more_entries_than_the_limit_are_refused() {
    let entries = |count| (1..=count).map(|replica| dot(replica, 1)).collect::<Vec<Dot>>();
    assert!(decode::<VectorClock>(&bytes(entries(65_536))).is_some());
    assert_eq!(decode::<VectorClock>(&bytes(entries(65_537))), None);
}

/// Shows a value as a human-readable format would.
struct Shown<T>(T);

impl<T: Serialize> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

#[test]
fn a_node_id_is_digits_for_people_and_bytes_for_machines() {
    let node = NodeId::new([0xab; 16]);
    let text = "ab".repeat(16);
    assert_eq!(Shown(node).to_string(), text);
    let reader: StrDeserializer<'_, ValueError> = text.as_str().into_deserializer();
    assert_eq!(NodeId::deserialize(reader), Ok(node));
    let short: StrDeserializer<'_, ValueError> = "ab".into_deserializer();
    assert!(NodeId::deserialize(short).is_err());
    assert_eq!(bytes(node), [0xab; 16]);
}
