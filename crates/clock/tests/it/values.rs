//! Small values: how they read, print and refuse.

use std::num::{NonZeroU32, NonZeroU64, NonZeroU128};

use proptest::prelude::*;
use reconvene_clock::{
    Causality, ClockError, Counter, DecodeKind, DotRange, Height, Hlc, HlcError, MaxAhead, NodeId, ReplicaId,
    ReplicaKey, Timestamp, VectorClock, WallTime,
};

use crate::support::{A, B, clock, context, counter, dot, id, range};

fn written<R: ReplicaKey>(key: R) -> Vec<u8> {
    let mut bytes = vec![0; R::WIDTH];
    key.write(&mut bytes);
    bytes
}

fn assert_key_laws<R: ReplicaKey>(left: R, right: R) {
    assert_eq!(written(left).cmp(&written(right)), left.cmp(&right));
    assert_eq!(R::read(&written(left)), Some(left));
    assert_eq!(R::read(&vec![0; R::WIDTH]), None);
    assert_eq!(R::read(&vec![1; R::WIDTH - 1]), None);
    assert_eq!(R::read(&vec![1; R::WIDTH + 1]), None);
}

/// A key that overrides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Plain(u8);

impl ReplicaKey for Plain {
    const WIDTH: usize = 1;

    fn write(self, out: &mut [u8]) {
        out[0] = self.0;
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [byte] if *byte > 0 => Some(Self(*byte)),
            _ => None,
        }
    }
}

fn short(number: u8) -> NonZeroU32 {
    NonZeroU32::new(number.into()).unwrap()
}

proptest! {
    #[test]
    fn law_ids_differ_exactly_if_they_are_not_equal(left in 1..=4_u8, right in 1..=4_u8, far in 0..120_u32) {
        fn assert_law<R: ReplicaKey>(left: R, right: R) {
            assert_eq!(left.differs(right) == 0, left == right);
        }
        assert_law(Plain(left), Plain(right));
        let wide = |number: u8| NonZeroU128::new(u128::from(number) << far | 1 << 127).unwrap();
        assert_law(wide(left), wide(right));
        assert_law(id(u64::from(left) << (far / 2)), id(u64::from(right) << (far / 2)));
        assert_law(NonZeroU64::from(short(left)), NonZeroU64::from(short(right)));
        assert_law(short(left), short(right));
        // The same difference in both halves of the number must not cancel out.
        let twice = |number: u8| NonZeroU128::new(u128::from(number) << 64 | u128::from(number)).unwrap();
        assert_law(twice(left), twice(right));
    }

    #[test]
    fn law_keys_order_as_their_bytes(left: [NonZeroU128; 2], right: u64) {
        let right = NonZeroU64::new(right.max(1)).unwrap();
        let low = NonZeroU64::new(left[0].get() as u64 | 1).unwrap();
        assert_key_laws(left[0], left[1]);
        assert_key_laws(low, right);
        assert_key_laws(id(low.get()), id(right.get()));
        assert_key_laws(NonZeroU32::new(low.get() as u32).unwrap(), NonZeroU32::MAX);
    }

    #[test]
    fn law_node_ids_read_what_they_print(bytes: [u8; 16]) {
        let node = NodeId::new(bytes);
        prop_assert_eq!(node.to_string().parse(), Ok(node));
        prop_assert_eq!(node.to_string().to_uppercase().parse(), Ok(node));
        prop_assert_eq!(NodeId::from_bytes(*node.as_bytes()), node);
    }

    #[test]
    fn law_reading_a_node_id_never_panics(text in "\\PC{0,40}") {
        if let Ok(node) = text.parse::<NodeId>() {
            prop_assert_eq!(node.to_string(), text.to_lowercase());
        }
    }
}

#[test]
fn a_node_id_says_where_it_is_malformed() {
    let refused = |text: &str| text.parse::<NodeId>().map_err(|error| (error.kind, error.offset));
    assert_eq!(refused(""), Err((DecodeKind::Truncated, 0)));
    assert_eq!(refused(&"a".repeat(31)), Err((DecodeKind::Truncated, 31)));
    assert_eq!(refused(&"a".repeat(33)), Err((DecodeKind::Trailing, 32)));
    assert_eq!(refused("00g"), Err((DecodeKind::OutOfRange, 2)));
    assert_eq!(refused("+f"), Err((DecodeKind::OutOfRange, 0)));
}

#[test]
fn values_print_for_people() {
    assert_eq!(ReplicaId::new(0xab).unwrap().to_string(), "00000000000000ab");
    assert_eq!(NodeId::new([0x1f; 16]).to_string(), "1f".repeat(16));
    assert_eq!(
        format!("{:?} {:?}", id(0xab), NodeId::new([1; 16])),
        format!("ReplicaId(ab) NodeId({})", "01".repeat(16))
    );
    assert_eq!(Height::MIN.to_string(), "1");
    assert_eq!(Hlc::from_parts(WallTime::from_millis(7), 3).unwrap().to_string(), "7.3");
    assert_eq!(WallTime::from_millis(5).to_string(), "5 ms");
    assert_eq!(Timestamp::from_millis(6).to_string(), "+6 ms");
    for relation in [Causality::Equal, Causality::Before, Causality::After, Causality::Concurrent] {
        assert_eq!(relation.to_string(), format!("{relation:?}").to_lowercase());
    }
    assert_eq!(dot(A, 3).to_string(), "000000000000000a:3");
    assert_eq!(range(A, 3, 3).to_string(), "000000000000000a:3");
    assert_eq!(range(A, 3, 5).to_string(), "000000000000000a:3-5");
    assert_eq!(clock([]).to_string(), "{}");
    assert_eq!(clock([(A, 2), (B, 1)]).to_string(), "{000000000000000a:2, 000000000000000b:1}");
    let seen = context([(A, 1), (A, 3), (A, 4), (B, 7)]);
    assert_eq!(seen.to_string(), "{000000000000000a:1} and 000000000000000a:3-4, 000000000000000b:7");
    let narrow: VectorClock<NonZeroU32> =
        [reconvene_clock::Dot::new(NonZeroU32::MIN, Counter::MIN)].into_iter().collect();
    assert_eq!(narrow.to_string(), "{00000001:1}");
}

#[test]
fn errors_say_what_was_attempted() {
    let mut full = [reconvene_clock::Dot::new(id(0xabcd_ef01), Counter::MAX)].into_iter().collect::<VectorClock>();
    assert_eq!(full.increment(id(0xabcd_ef01)), Err(ClockError::CounterOverflow { replica: 0xabcd_ef01 }));
    for (error, text) in [
        (ClockError::CounterOverflow { replica: 0xa }, "replica a has no counter left"),
        (
            ClockError::Gap { replica: 0xa, expected: counter(3), got: counter(5) },
            "dot 5 of replica a arrived where 3 is next",
        ),
        (
            ClockError::StateLoss { held: counter(7), issued: None },
            "own dot 7 is known, but the durable store issued 0 so far",
        ),
        (
            ClockError::StateLoss { held: counter(7), issued: Some(counter(4)) },
            "own dot 7 is known, but the durable store issued 4 so far",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
    let ahead = HlcError::AheadOfBound { by_ms: 90_000 }.to_string();
    assert!(ahead.contains("90000 ms ahead"), "{ahead}");
    let long = "0".repeat(33).parse::<NodeId>().unwrap_err();
    assert_eq!(long.to_string(), "input is left over at offset 32");
}

#[test]
fn ranges_are_never_empty() {
    assert_eq!(DotRange::new(id(A), counter(3), counter(2)), None);
    let run = range(A, 2, 4);
    assert_eq!(run.dots().collect::<Vec<_>>(), [dot(A, 2), dot(A, 3), dot(A, 4)]);
    assert_eq!(run.count(), 3);
    assert!(run.contains(dot(A, 4)) && !run.contains(dot(A, 5)) && !run.contains(dot(B, 3)));
    let end = DotRange::from(reconvene_clock::Dot::new(id(A), Counter::MAX));
    assert_eq!(end.dots().count(), 1, "the walk ends at the last counter");
}

#[test]
fn heights_have_an_end() {
    assert_eq!(Height::new(0), None);
    assert_eq!(Height::above(None), Some(Height::MIN));
    assert_eq!(Height::above(Height::new(u64::MAX)), None);
}

#[test]
fn moments_do_not_wrap() {
    let late = Timestamp::from_millis(u64::MAX - 1);
    assert_eq!(late.checked_add(1), Some(Timestamp::from_millis(u64::MAX)));
    assert_eq!(late.checked_add(2), None);
    assert_eq!(late.saturating_add(9).as_millis(), u64::MAX);
    assert_eq!(WallTime::from_millis(3).saturating_since(WallTime::from_millis(5)), 0);
    assert_eq!(WallTime::from_millis(5).saturating_since(WallTime::from_millis(3)), 2);
    assert_eq!(MaxAhead::default().as_millis(), 60_000);
}

#[cfg(feature = "std")]
#[test]
fn the_system_clock_is_past_the_year_2020() {
    use reconvene_clock::{SystemTimeSource, TimeSource};
    assert!(SystemTimeSource::new().now() > WallTime::from_millis(1_577_836_800_000));
}
