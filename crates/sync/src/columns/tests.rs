//! Columns round trip, have one spelling, and never cost more memory than their bytes allow.

use proptest::prelude::*;

use super::*;
use crate::wire::tests::any_version;

fn dot(replica: u64, counter: u64) -> Dot {
    Dot::new(ReplicaId::new(replica).unwrap(), Counter::new(counter).unwrap())
}

fn version(replica: u64, counter: u64, replaced: &[Dot], body: &str) -> Version {
    Version {
        dot: dot(replica, counter),
        context: KeyContext::from_parts(replaced.iter().copied(), VectorClock::new()),
        height: Height::new(2).unwrap(),
        hlc: Hlc::from_u64(1_700_000_000_000 << 16 | counter),
        class: Class::NORMAL,
        body: Body::of(body),
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// What neighbours share is written once: a hundred updates of one origin cost their keys and bodies and little more.
#[test]
fn even_updates_cost_a_few_bytes_each() {
    let body = "x".repeat(48);
    let updates = (0..100).map(|k| {
        let replaced = dot(7, 200 * k + 8);
        (key(&format!("job/00/{:06}", 200 * k + 7)), version(7, 10_001 + k, &[replaced], &body))
    });
    let updates: Vec<_> = updates.collect();
    let bytes = pack(&updates).unwrap();
    assert_eq!(unpack(&bytes).unwrap(), updates);
    assert_eq!(bytes.len(), 100 * 48 + 72);
}

#[test]
fn the_least_frame_is_one_byte() {
    assert_eq!(pack(&[]).unwrap(), [0]);
    assert_eq!(unpack(&[0]).unwrap(), []);
    assert!(unpack(&[]).is_err() && unpack(&[0, 0]).is_err());
}

#[test]
fn versions_out_of_order_or_twice_are_refused() {
    let (first, second) = ((key("a"), version(1, 1, &[], "")), (key("b"), version(1, 2, &[], "")));
    assert!(unpack(&pack(&[first.clone(), second.clone()]).unwrap()).is_ok());
    for list in [vec![second, first.clone()], vec![first.clone(), first]] {
        assert!(unpack(&pack(&list).unwrap()).unwrap_err().to_string().contains("canonical"));
    }
}

#[test]
fn a_table_with_an_unused_replica_is_refused() {
    let bytes = pack(&[(key("a"), version(1, 1, &[], ""))]).unwrap();
    let mut more = vec![bytes[0], 2];
    more.extend_from_slice(&bytes[2..10]);
    more.extend([0xff; 8]);
    more.extend_from_slice(&bytes[10..]);
    assert!(unpack(&more).unwrap_err().to_string().contains("canonical"));
}

/// Runs could be split and prefixes be told shorter; both would be a second spelling.
#[test]
fn runs_and_shared_prefixes_are_as_long_as_can_be() {
    assert_eq!(Reader::new(&[5, 0]).column(2).unwrap().collect::<Vec<_>>(), [1, 2]);
    assert!(Reader::new(&[4, 4]).column(2).is_err());
    assert!(Reader::new(&[5, 0]).column(1).is_err() && Reader::new(&[5, 0]).column(3).is_err());
    assert!(Reader::new(&[0x84, 0x00]).column(1).is_err());

    let bytes = pack(&[(key("ab"), version(1, 1, &[], "")), (key("ac"), version(1, 2, &[], ""))]).unwrap();
    let keys = [&[8, 0, 0, 4], &b"abc"[..]].concat();
    let at = bytes.windows(keys.len()).position(|window| window == keys).unwrap();
    let told_shorter = [&bytes[..at], &[8, 0, 1, 0], b"abac", &bytes[at + keys.len()..]].concat();
    assert!(unpack(&told_shorter).unwrap_err().to_string().contains("canonical"));
}

/// Keys that differ in the number at their end alone are written as numbers, and in no other way.
#[test]
fn numbers_at_the_end_of_keys_are_numbers() {
    let list = |keys: &[&str]| -> Vec<_> {
        keys.iter().zip(1..).map(|(name, counter)| (key(name), version(1, counter, &[], ""))).collect()
    };
    for names in [
        &["a/007", "a/207", "a/407", "a/401"][..],
        &["9", "3", "0"],
        &["a9", "a10", "b10", "b1", "b"],
        &["999999999999999999999", "999999999999999999998", "999000000000000000000"],
        &["a1", "a1", "a", "a"],
        &["job/1/x", "job/2/x"],
    ] {
        let list = list(names);
        assert_eq!(unpack(&pack(&list).unwrap()).unwrap(), list, "{names:?}");
    }
    let bytes = pack(&list(&["a/1", "a/2"])).unwrap();
    let keys = [&[12, 10, 8, 0], &b"a/1"[..]].concat();
    let at = bytes.windows(keys.len()).position(|window| window == keys).unwrap();
    let with = |keys: &[u8]| unpack(&[&bytes[..at], keys, &bytes[at + keys.len()..]].concat());
    assert!(with(&keys).is_ok());
    // 10 has one digit too many.
    let too_large = [&[12, 10, 40, 0], &b"a/1"[..]].concat();
    assert!(with(&too_large).unwrap_err().to_string().contains("number"));
    let no_number = [&[12, 10, 8, 0], &b"a/b"[..]].concat();
    assert!(with(&no_number).unwrap_err().to_string().contains("number"));
    // Spelt out: both of three bytes, no numbers, of the second two bytes shared.
    let spelt = [&bytes[..at], &[12, 0, 0, 8], b"a/12", &bytes[at + keys.len()..]].concat();
    assert!(unpack(&spelt).unwrap_err().to_string().contains("canonical"));
}

/// Few bytes that speak of very many versions, entries or bytes of keys are refused before anything is allocated.
#[test]
fn bombs_are_refused_by_their_size() {
    let long = "k".repeat(500);
    let many: Vec<_> = (1..=5_000).map(|counter| (key(&long), version(1, counter, &[], ""))).collect();
    assert!(pack(&many).unwrap_err().to_string().contains("memory"));
    let fewer = &many[..60];
    let bytes = pack(fewer).unwrap();
    assert!(bytes.len() < 600, "{}", bytes.len());
    assert_eq!(unpack(&bytes).unwrap(), fewer);
    // The same bytes with a count of 2^40, 5,000 and 200 versions.
    for total in [1_u64 << 40, 5_000, 200] {
        let mut bomb = Vec::new();
        put_number(&mut bomb, total);
        bomb.extend_from_slice(&bytes[1..]);
        assert!(unpack(&bomb).unwrap_err().to_string().contains("memory"), "{total}");
    }
}

#[test]
fn a_version_of_thousands_of_replicas_travels_alone() {
    let upto: VectorClock = (1..=5_000).map(|replica| dot(replica, replica)).collect();
    let mut wide = version(1, 9_000, &[], "x");
    wide.context = KeyContext::from_parts([], upto);
    let entry = (key("a"), wide);
    assert!(!Memory::default().admit(&entry.0, &entry.1));
    assert!(travels_alone(&entry));
    let list = [entry];
    assert_eq!(unpack(&pack(&list).unwrap()).unwrap(), list);
}

fn any_versions() -> impl Strategy<Value = Vec<(Key, Version)>> {
    let numbered = (any_version(), 0..1_000_u32, 0..3_usize)
        .prop_map(|((_, version), number, digits)| (key(&format!("job/{number:0digits$}")), version));
    proptest::collection::vec(prop_oneof![any_version(), numbered], 0..12).prop_map(|mut versions| {
        versions.sort_by_key(|(_, version)| version.dot);
        versions.dedup_by_key(|(_, version)| version.dot);
        versions
    })
}

proptest! {
    #[test]
    fn law_roundtrip_columns(versions in any_versions()) {
        let bytes = pack(&versions).unwrap();
        prop_assert_eq!(unpack(&bytes).unwrap(), versions);
    }

    #[test]
    fn law_columns_have_one_spelling(
        versions in any_versions(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = pack(&versions).unwrap();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
            if let Ok(read) = unpack(bytes) {
                prop_assert_eq!(pack(&read).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn law_roundtrip_numbers(values in proptest::collection::vec(prop_oneof![any::<u64>(), 0..9_u64], 0..40)) {
        let mut bytes = Vec::new();
        put_column(&mut bytes, values.iter().copied());
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.column(values.len()).unwrap().collect::<Vec<_>>(), values);
        prop_assert!(reader.is_empty());
    }
}
