//! Serialisation: round trips, and what is refused on the way in.

use std::fmt;

use bincode::config::standard;
use bincode::serde::{decode_from_slice, encode_to_vec};
use proptest::prelude::*;
use reconvene_clock::{
    CausalContext, Counter, DotRange, Height, Hlc, NodeId, ReplicaId, Timestamp, VectorClock, WallTime,
};
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::golden::{CONTEXT, FULL, golden_context, unhex};
use crate::support::{A, B, any_clock, any_context, clock, dot, id, range};

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
        if let Some(context) = decode::<CausalContext>(&bytes(Blob(&noise))) {
            assert_round_trip(&context);
            let rebuilt = context.runs().fold(CausalContext::new(), |mut all, run| {
                all.add_range(run);
                all
            });
            prop_assert_eq!(rebuilt, context);
        }
    }
}

/// A byte string, as a format for machines would carry it.
struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn clock_from_bytes(text: &str) -> Option<VectorClock> {
    decode(&bytes(Blob(&unhex(text))))
}

#[test]
fn golden_v1_serde_bytes_read_by_two_implementations() {
    fn golden<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T, expected: &str) {
        let expected = unhex(expected);
        assert_eq!(bytes(value), expected);
        assert_eq!(decode::<T>(&expected).as_ref(), Some(value));
        let next = bincode_next::config::standard();
        assert_eq!(bincode_next::serde::encode_to_vec(value, next).unwrap(), expected);
        let (read, used) = bincode_next::serde::decode_from_slice::<T, _>(&expected, next).unwrap();
        assert_eq!((&read, used), (value, expected.len()));
    }
    golden(&clock([(A, 1), (B, 300)]), &format!("15 {FULL}"));
    golden(&clock([]), "02 0100");
    golden(&golden_context(), &format!("{:02x} {CONTEXT}", unhex(CONTEXT).len()));
    golden(&dot(A, 300), "0a fb2c01");
    golden(&range(A, 2, 3), "0a 02 03");
    golden(&id(0x1_0000), "fc00000100");
    golden(&NodeId::new([7; 16]), &"07".repeat(16));
    golden(&Hlc::from_u64(u64::MAX), "fdffffffffffffffff");
    golden(&Height::MIN, "01");
}

#[test]
fn golden_v1_people_read_maps() {
    fn golden<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T, expected: &str) {
        assert_eq!(serde_json::to_string(value).unwrap(), expected);
        assert_eq!(&serde_json::from_str::<T>(expected).unwrap(), value);
        // By way of a tree as well, which hands out owned strings.
        let tree = serde_json::to_value(value).unwrap();
        assert_eq!(&serde_json::from_value::<T>(tree).unwrap(), value);
    }
    golden(&clock([]), "{}");
    golden(&clock([(A, 1), (B, 300)]), r#"{"000000000000000a":1,"000000000000000b":300}"#);
    golden(&clock([(0x0123_4567_89ab_cdef, 1)]), r#"{"0123456789abcdef":1}"#);
    golden(
        &golden_context(),
        r#"{"vector":{"000000000000000a":1},"ranges":{"000000000000000a":[[3,4],[9,9]],"000000000000000b":[[2,2]]}}"#,
    );
}

#[test]
fn case_17_maps_are_validated_as_bytes_are() {
    let clock = |text: &str| serde_json::from_str::<VectorClock>(text).is_ok();
    assert!(clock(r#"{"000000000000000a":1,"000000000000000b":2}"#));
    assert!(!clock(r#"{"000000000000000b":2,"000000000000000a":1}"#), "unsorted");
    assert!(!clock(r#"{"000000000000000a":1,"000000000000000a":2}"#), "twice");
    assert!(!clock(r#"{"000000000000000a":0}"#), "zero counter");
    assert!(!clock(r#"{"000000000000000a":9223372036854775808}"#), "counter above the last");
    assert!(!clock(r#"{"0000000000000000":1}"#), "zero id");
    for spelling in [
        "000000000000000A",
        "a",
        "00000000000000000a",
        "0000000000000a",
        "000000000000000aa",
        "000000000000000aaa",
        "+00000000000000a",
        "00000000000000g0",
    ] {
        assert!(!clock(&format!(r#"{{"{spelling}":1}}"#)), "{spelling}");
    }
    let context = |ranges: &str| {
        let text = format!(r#"{{"vector":{{"000000000000000a":1}},"ranges":{ranges}}}"#);
        serde_json::from_str::<CausalContext>(&text).is_ok()
    };
    assert!(context("{}"));
    assert!(context(r#"{"000000000000000a":[[3,4],[6,6]]}"#));
    assert!(!context(r#"{"000000000000000a":[[2,4]]}"#), "touches the vector");
    assert!(!context(r#"{"000000000000000a":[[4,3]]}"#), "empty");
    assert!(!context(r#"{"000000000000000a":[[3,4],[5,6]]}"#), "touching");
    assert!(!context(r#"{"000000000000000a":[]}"#), "a second spelling of nothing");
    assert!(!context(r#"{"000000000000000b":[[3,4]],"000000000000000a":[[3,4]]}"#), "unsorted");
    assert!(!context(r#"{"000000000000000a":[[3,4]],"000000000000000a":[[6,7]]}"#), "twice");
    assert!(serde_json::from_str::<CausalContext>(r#"{"vector":{}}"#).is_err());
}

#[test]
fn case_17_zero_is_refused_everywhere() {
    assert_eq!(decode::<ReplicaId>(&bytes(0_u64)), None);
    assert_eq!(decode::<Counter>(&bytes(0_u64)), None);
    assert_eq!(decode::<Counter>(&bytes(1_u64 << 63)), None);
    assert_eq!(decode::<Height>(&bytes(0_u64)), None);
    assert_eq!(clock_from_bytes("01 01 0000000000000000 00"), None);
    assert_eq!(clock_from_bytes("01 01 000000000000000a 00"), Some(clock([(A, 1)])));
}

#[test]
fn case_17_unsorted_and_repeated_entries_are_refused() {
    assert_eq!(clock_from_bytes("01 02 000000000000000b 000000000000000a 00 00"), None);
    assert_eq!(clock_from_bytes("01 02 000000000000000b 000000000000000b 00 00"), None);
    assert_eq!(decode::<DotRange>(&bytes((1_u64, 3_u64, 2_u64))), None);
    assert_eq!(clock_from_bytes(&format!("{FULL} 00")), None, "trailing");
    // A form that needs a roster or a base has no meaning of its own.
    assert_eq!(clock_from_bytes("02 0000000000000000"), None);
    assert_eq!(clock_from_bytes("03 0000000000000000 00 00"), None);
}

#[test]
fn case_17_a_claimed_length_allocates_nothing() {
    // A byte string of 2^40 bytes, claimed in ten: the marker of a 64-bit number, the number, and one byte more.
    let mut claim = vec![253];
    claim.extend((1_u64 << 40).to_le_bytes());
    claim.push(1);
    assert_eq!(claim.len(), 10);
    // The byte string is the format's own to read: borrowed, or within its limit.
    let limited = standard().with_limit::<65_536>();
    assert!(decode_from_slice::<VectorClock, _>(&claim, limited).is_err());
    assert!(bincode::serde::borrow_decode_from_slice::<VectorClock, _>(&claim, standard()).is_err());
    assert!(bincode::serde::borrow_decode_from_slice::<CausalContext, _>(&claim, standard()).is_err());
}

#[test]
fn case_17_more_entries_than_the_limit_are_refused() {
    let entries = |count| (1..=count).map(|replica| dot(replica, 1)).collect::<VectorClock>();
    assert!(decode::<VectorClock>(&bytes(entries(65_536))).is_some());
    assert_eq!(decode::<VectorClock>(&bytes(entries(65_537))), None);
    let map = serde_json::to_string(&entries(65_537)).unwrap();
    assert!(serde_json::from_str::<VectorClock>(&map).is_err());
}

#[test]
fn a_format_without_byte_strings_gives_a_sequence() {
    let FixedWidth(clock_of_sequence) = FixedWidth::<VectorClock>::read(&unhex(FULL));
    assert_eq!(clock_of_sequence, Some(clock([(A, 1), (B, 300)])));
    let FixedWidth(none) = FixedWidth::<VectorClock>::read(&[1]);
    assert_eq!(none, None);
}

/// What a value is when its format hands out bytes one by one.
struct FixedWidth<T>(Option<T>);

impl<T: DeserializeOwned> FixedWidth<T> {
    fn read(bytes: &[u8]) -> Self {
        let sequence = serde::de::value::SeqDeserializer::<_, ValueError>::new(bytes.iter().copied());
        Self(T::deserialize(NotForPeople(sequence)).ok())
    }
}

/// A deserializer that is not human-readable and hands everything to another.
struct NotForPeople<D>(D);

impl<'de, D: serde::Deserializer<'de>> serde::Deserializer<'de> for NotForPeople<D> {
    type Error = D::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
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

#[test]
fn errors_say_what_was_expected() {
    let error = serde_json::from_str::<VectorClock>("[]").unwrap_err().to_string();
    assert!(error.contains("a map of at most 65536 replicas"), "{error}");
    let ranges = r#"{"vector":{},"ranges":{"000000000000000a":7}}"#;
    let error = serde_json::from_str::<CausalContext>(ranges).unwrap_err().to_string();
    assert!(error.contains("at most 1024 elements"), "{error}");
    let no_bytes: StrDeserializer<'_, ValueError> = "text".into_deserializer();
    let error = VectorClock::<ReplicaId>::deserialize(NotForPeople(no_bytes)).unwrap_err().to_string();
    assert!(error.contains("the bytes of a clock or context"), "{error}");
}
