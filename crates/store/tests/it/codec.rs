//! The stored form: round trips, damage, and bytes that stay what they are.

use std::sync::Arc;

use proptest::prelude::*;
use reconvene_clock::{Height, Hlc, NodeId, ReplicaId, VectorClock};
use reconvene_store::codec::{
    decode_dot, decode_fact, decode_fact_id, decode_head, decode_print_id, encode_dot, encode_fact, encode_fact_id,
    encode_head, encode_print_id,
};
use reconvene_store::{
    Body, Class, CodecError, CodecProblem, Fact, FactKind, Head, Key, KeyContext, KeyId, Limits, MemberState, Prefix,
    PrintId, Quota, Record, RowCodec, Seal, SealError, SessionNonce, Usage, Version, crc32c,
};

use crate::laws::events;
use crate::world::{Replica, dot, identity, key, universe};

fn record_bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    RowCodec::new().encode_record(record, &mut bytes).unwrap();
    bytes
}

fn head_bytes(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_head(head, &mut bytes);
    bytes
}

fn fact_bytes(fact: &Fact) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_fact(fact, &mut bytes);
    bytes
}

/// The same bytes with the checksum that belongs to them.
fn resummed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(4));
    let sum = crc32c(&bytes);
    bytes.extend(sum.to_be_bytes());
    bytes
}

/// A head in which nothing is left at its default.
fn full_head() -> Head {
    let mut limits = Limits::default();
    limits.row_bytes = 300;
    let mut replica = Replica::new(1);
    replica.put(0, "one");
    let mut plan = replica.plan_within(&limits);
    plan.resume(SessionNonce::new(77));
    plan.set_quota(Prefix::new("key/").unwrap(), Quota { rows: 5, bytes: 1_000 }, Usage { rows: 1, bytes: 56 });
    let context = KeyContext::from_parts([dot(3, 2)], VectorClock::from_iter([dot(4, 9)]));
    let (height, hlc, class) = (Height::new(40).unwrap(), Hlc::from_u64(1), Class::NORMAL);
    let big = Version { dot: dot(2, 3), context, height, hlc, class, body: Body::of([0; 300]) };
    plan.apply(key(1), big).unwrap();
    plan.claim(&[dot(5, 1), dot(5, 3)].into_iter().collect(), &VectorClock::from_iter([dot(5, 1)])).unwrap();
    replica.commit(&plan.finish());
    let mut plan = replica.plan();
    plan.freeze(reconvene_store::Frozen::Cloned);
    plan.finish().head().clone()
}

fn collided() -> Record {
    let mut replica = Replica::new(1);
    for body in ["one", "two", "three"] {
        let (height, hlc, class, context) = (Height::MIN, Hlc::from_u64(9), Class::URGENT, KeyContext::new());
        replica.apply(0, &Version { dot: dot(2, 1), context, height, hlc, class, body: Body::of(body) }).unwrap();
    }
    replica.put(1, "other");
    replica.rows[&key(0)].clone()
}

fn facts() -> [Fact; 3] {
    let replica = |number| ReplicaId::new(number).unwrap();
    [
        Fact::Ack { member: replica(7), prefix: VectorClock::from_iter([dot(1, 5), dot(2, 300)]) },
        Fact::Ack { member: replica(9), prefix: VectorClock::new() },
        Fact::Member { replica: replica(8), node: NodeId::new([3; 16]), incarnation: 400, state: MemberState::Retired },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn law_roundtrip_rows_and_head(events in events()) {
        let (replicas, _) = universe(&events);
        for replica in replicas {
            for record in replica.rows.values() {
                prop_assert_eq!(&RowCodec::new().decode_record(record.key(), &record_bytes(record)).unwrap(), record);
            }
            let prints: Vec<_> = replica.head.fingerprints().parts().collect();
            prop_assert_eq!(&decode_head(&head_bytes(&replica.head), prints).unwrap(), &replica.head);
        }
    }

    #[test]
    fn law_decode_refuses_what_it_would_not_write(
        events in events(),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (replicas, _) = universe(&events);
        let mut records: Vec<Record> = replicas.iter().flat_map(|replica| replica.rows.values().cloned()).collect();
        records.push(collided());
        let record = which.get(&records);
        let mangle = |mut bytes: Vec<u8>| {
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if !bytes.is_empty() {
                let place = at.index(bytes.len());
                bytes[place] = to;
            }
            bytes
        };
        let bytes = mangle(record_bytes(record));
        let again = RowCodec::new().decode_record(record.key(), &resummed(bytes.clone()));
        if let Ok(other) = again {
            prop_assert_eq!(record_bytes(&other), resummed(bytes));
        }
        for head in [full_head(), replicas[0].head.clone()] {
            let bytes = resummed(mangle(head_bytes(&head)));
            if let Ok(other) = decode_head(&bytes, head.fingerprints().parts()) {
                prop_assert_eq!(head_bytes(&other), bytes);
            }
        }
        for fact in facts() {
            let bytes = resummed(mangle(fact_bytes(&fact)));
            if let Ok(other) = decode_fact(fact.kind(), fact.id(), &bytes) {
                prop_assert_eq!(fact_bytes(&other), bytes);
            }
        }
    }

    #[test]
    fn law_decode_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let bytes = resummed([&[1][..], &bytes].concat());
        let _ = RowCodec::new().decode_record(&key(0), &bytes);
        let _ = decode_head(&bytes, []);
        let _ = decode_fact(FactKind::Ack, ReplicaId::new(1).unwrap(), &bytes);
        let _ = (decode_dot(&bytes), decode_print_id(&bytes), decode_fact_id(&bytes), RowCodec::new().check_mark(&bytes));
    }

    #[test]
    fn law_table_keys_keep_order(left in (1_u64.., 1_u64..1 << 62), right in (1_u64.., 1_u64..1 << 62)) {
        let [left, right] = [left, right].map(|(replica, counter)| dot(replica, counter));
        prop_assert_eq!(encode_dot(left).cmp(&encode_dot(right)), left.cmp(&right));
        prop_assert_eq!(decode_dot(&encode_dot(left)).unwrap(), left);
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (record, head) = (collided(), full_head());
    let prints: Vec<_> = head.fingerprints().parts().collect();
    let (row, head) = (record_bytes(&record), head_bytes(&head));
    let checksum = |error: CodecError| error.problem == CodecProblem::Checksum;
    for bit in 0..row.len() * 8 {
        let mut bytes = row.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(checksum(RowCodec::new().decode_record(record.key(), &bytes).unwrap_err()), "bit {bit} of a row");
    }
    for bit in 0..head.len() * 8 {
        let mut bytes = head.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(checksum(decode_head(&bytes, prints.iter().copied()).unwrap_err()), "bit {bit} of the head");
    }
    for end in 0..row.len() {
        assert!(RowCodec::new().decode_record(record.key(), &row[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn full_head_survives() {
    let head = full_head();
    assert!(head.put_aside().count() == 1 && head.quotas().count() == 1 && !head.gc_floor().is_empty());
    assert!(head.marks().frozen().is_some() && head.marks().unused().len() == 1 && head.session().get() == 77);
    assert_eq!(decode_head(&head_bytes(&head), head.fingerprints().parts()).unwrap(), head);
    let mut fewer: Vec<_> = head.fingerprints().parts().collect();
    fewer.pop();
    let error = decode_head(&head_bytes(&head), fewer).unwrap_err();
    assert!(error.to_string().contains("add up"), "{error}");
}

#[test]
fn facts_and_table_keys_survive() {
    for fact in facts() {
        assert_eq!(decode_fact(fact.kind(), fact.id(), &fact_bytes(&fact)).unwrap(), fact);
        assert_eq!(decode_fact_id(&encode_fact_id(fact.kind(), fact.id())).unwrap(), (fact.kind(), fact.id()));
    }
    for id in [PrintId::Bucket(0), PrintId::Bucket(255), PrintId::Origin(ReplicaId::new(1 << 40).unwrap())] {
        assert_eq!(decode_print_id(&encode_print_id(id)).unwrap(), id);
    }
    assert!(decode_print_id(&[2, 0]).is_err() && decode_fact_id(&[0; 9]).is_err() && decode_dot(&[0; 16]).is_err());
}

#[test]
fn evidence_survives() {
    let record = collided();
    assert_eq!((record.siblings().len(), record.evidence().len()), (1, 2));
    assert_eq!(RowCodec::new().decode_record(record.key(), &record_bytes(&record)).unwrap(), record);
}

/// Not a cipher: a stand-in that detects what an authenticated one would.
#[derive(Debug)]
struct Toy(u8);

impl Seal for Toy {
    fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<KeyId, SealError> {
        out.extend(crc32c(&[aad, plain, &[self.0]].concat()).to_be_bytes());
        out.extend(plain.iter().map(|byte| byte ^ self.0));
        Ok(KeyId::new(u32::from(self.0)))
    }

    fn open(&self, key: KeyId, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let refused = |what: &str| SealError::from(Box::<dyn std::error::Error + Send + Sync>::from(what));
        if key != KeyId::new(u32::from(self.0)) {
            return Err(refused("another key"));
        }
        let (tag, rest) = sealed.split_first_chunk::<4>().ok_or_else(|| refused("too short"))?;
        let plain: Vec<u8> = rest.iter().map(|byte| byte ^ self.0).collect();
        if *tag != crc32c(&[aad, &plain, &[self.0]].concat()).to_be_bytes() {
            return Err(refused("changed"));
        }
        out.extend(plain);
        Ok(())
    }
}

#[test]
fn sealed_rows_open_with_their_seal_at_their_place() {
    let record = collided();
    let (codec, other) = (RowCodec::sealed(Arc::new(Toy(9))), RowCodec::sealed(Arc::new(Toy(8))));
    let mut bytes = Vec::new();
    codec.encode_record(&record, &mut bytes).unwrap();
    assert!(!bytes.windows(3).any(|part| part == b"one"), "values are not in the clear");
    assert_eq!(codec.decode_record(record.key(), &bytes).unwrap(), record);
    let problem = |codec: &RowCodec, key: &Key| codec.decode_record(key, &bytes).unwrap_err().problem;
    assert_eq!(problem(&RowCodec::new(), record.key()), CodecProblem::Sealed);
    assert_eq!(problem(&other, record.key()), CodecProblem::Unsealed("another key".to_owned()));
    assert_eq!(problem(&codec, &key(1)), CodecProblem::Unsealed("changed".to_owned()), "rows cannot be swapped");

    let (mark, plain) = (codec.mark().unwrap(), RowCodec::new().mark().unwrap());
    assert_eq!((codec.check_mark(&mark), RowCodec::new().check_mark(&plain)), (Ok(()), Ok(())));
    for (codec, mark) in [(&other, &mark), (&RowCodec::new(), &mark), (&codec, &plain)] {
        assert!(codec.check_mark(mark).is_err());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These bytes are in files that exist: they may be added to, never changed.
#[test]
fn golden_v1_rows() {
    let context = KeyContext::from_parts([dot(0xb, 3)], VectorClock::from_iter([dot(0xa, 200)]));
    let (hlc, class) = (Hlc::from_u64(0x0102_0304_0506_0708), Class::URGENT);
    let value =
        Version { dot: dot(0xa, 300), context, height: Height::new(5).unwrap(), hlc, class, body: Body::of("hi") };
    let tombstone = Version { dot: dot(0xc, 1), context: KeyContext::new(), body: Body::Tombstone, ..value.clone() };
    let record = Record::new(key(0), [value, tombstone]).unwrap();
    assert_eq!(hex(&record_bytes(&record)), GOLDEN_RECORD);
    assert_eq!(hex(&fact_bytes(&facts()[0])), GOLDEN_ACK);
    assert_eq!(hex(&fact_bytes(&facts()[2])), GOLDEN_MEMBER);
    let mut head = Replica::new(1);
    head.put(0, "one");
    assert_eq!(hex(&head_bytes(&head.head)), GOLDEN_HEAD);
    assert_eq!(hex(&encode_dot(dot(0xa, 300))), "000000000000000a000000000000012c");
}

const GOLDEN_RECORD: &str = "01020003000000000000000a000000000000000b000000000000000c00ab02020004040102030405060708010203040506070801010101010200c701000003006869bc6607a1";
const GOLDEN_ACK: &str = "0101020000000000000001000000000000000204ab02d1a05b80";
const GOLDEN_MEMBER: &str = "01030303030303030303030303030303039003014c1575f2";
const GOLDEN_HEAD: &str = "01019f86d081884c7d659a2feaa0c55ad01507070707070707070707070707070707000000000000000101000000000000000101800801010000000000000000010000000003ffffff0000503ad210a5ac745d194eb0de8d0dd5bc0c01010000000000000001000002010000004aee91d2";

#[test]
fn a_head_without_writes_is_small() {
    let head = Head::new(identity(1), Default::default());
    assert_eq!(decode_head(&head_bytes(&head), []).unwrap(), head);
    assert!(head_bytes(&head).len() < 100);
}
