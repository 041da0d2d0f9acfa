//! Fragments round trip, are written down, and are refused when they are anything else.

use proptest::prelude::*;
use reconvene_clock::DotRange;

use super::*;
use crate::wire::tests::{any_version, golden_versions};

const LIMIT: usize = 1 << 20;

fn run(replica: u64, first: u64, last: u64) -> DotRange {
    let counter = |number| Counter::new(number).unwrap();
    DotRange::new(ReplicaId::new(replica).unwrap(), counter(first), counter(last)).unwrap()
}

fn floor() -> VectorClock {
    [(0xa, 2), (0xc, 1)]
        .map(|(r, c)| Dot::new(ReplicaId::new(r).unwrap(), Counter::new(c).unwrap()))
        .into_iter()
        .collect()
}

fn fragment(index: u32, promise: Option<Promise>, versions: Vec<(Key, Version)>) -> Fragment {
    Fragment {
        network: 0x1111_1111_1111_1111,
        from: ReplicaId::new(0xa).unwrap(),
        bundle: BundleId([0x55; 16]),
        index,
        count: 2,
        ttl_s: 86_400,
        promise,
        versions,
    }
}

fn promise(claim: Option<&[DotRange]>) -> Promise {
    let claim = claim.map(|claim| claim.iter().copied().collect());
    Promise { base: [run(0xa, 1, 6)].into_iter().collect(), claim, floor: floor() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of format 1. A change here is a new format.
#[test]
fn golden_v1_bundle_bytes() {
    let first = fragment(0, Some(promise(Some(&[run(0xa, 7, 9), run(0xb, 1, 1)]))), Vec::new());
    let second = fragment(1, None, golden_versions());
    let lines = [("fragment-first", first), ("fragment-last", second)].map(|(name, fragment)| {
        let bytes = encode_fragment(&fragment, LIMIT).unwrap();
        assert_eq!(decode_fragment(&bytes, bytes.len()), Ok(fragment), "{name}");
        format!("{name} {}", hex(&bytes))
    });
    let file = include_str!("../../tests/golden/bundles-v1.txt");
    let expected: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(expected, lines, "now:\n{}\n", lines.join("\n"));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = encode_fragment(&fragment(0, Some(promise(None)), golden_versions()), LIMIT).unwrap();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1 << bit;
            assert!(decode_fragment(&damaged, LIMIT).is_err(), "byte {index}, bit {bit}");
        }
        assert!(decode_fragment(&bytes[..index], LIMIT).is_err());
    }
    assert!(decode_fragment(&bytes, bytes.len() - 1).unwrap_err().to_string().contains("limit"));
}

/// Only the first fragment promises, and a fragment is one of those there are.
#[test]
fn contradictions_within_a_fragment_are_refused() {
    for (index, promise) in [(0, None), (1, Some(promise(None))), (2, None)] {
        let bytes = encode_fragment(&fragment(index, promise, Vec::new()), LIMIT).unwrap();
        assert!(decode_fragment(&bytes, LIMIT).unwrap_err().to_string().contains("canonical"), "{index}");
    }
}

proptest! {
    #[test]
    fn law_roundtrip_fragment(
        version in any_version(),
        first in any::<bool>(),
        claim in proptest::option::of(Just(vec![run(3, 5, u64::MAX >> 1)])),
    ) {
        let promise = first.then(|| promise(claim.as_deref()));
        let fragment = fragment(u32::from(!first), promise, vec![version]);
        let bytes = encode_fragment(&fragment, LIMIT).unwrap();
        prop_assert_eq!(decode_fragment(&bytes, LIMIT), Ok(fragment));
    }

    #[test]
    fn law_decode_of_a_fragment_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_fragment(&body, LIMIT);
        let mut sealed = [&MAGIC[..], &body].concat();
        sealed.extend(crc32c(&sealed).to_be_bytes());
        if let Ok(fragment) = decode_fragment(&sealed, LIMIT) {
            prop_assert_eq!(encode_fragment(&fragment, LIMIT).unwrap(), sealed);
        }
    }
}
