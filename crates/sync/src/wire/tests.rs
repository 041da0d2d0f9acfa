//! Round trips, hostile bytes, and the bytes as they are written down.

use proptest::prelude::*;
use reconvene_clock::{Counter, Dot, DotRange, Height, Hlc, VectorClock};
use reconvene_store::{Body, Class, KeyContext};

use super::*;
use crate::message::{Repair, RepairStep, Scope};
use crate::ranges::Ranges;
use crate::sketch::Cell;

const LIMIT: usize = 1 << 20;

fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn a_dot(replica_number: u64, counter: u64) -> Dot {
    Dot::new(replica(replica_number), Counter::new(counter).unwrap())
}

fn run(replica_number: u64, first: u64, last: u64) -> DotRange {
    DotRange::new(replica(replica_number), Counter::new(first).unwrap(), Counter::new(last).unwrap()).unwrap()
}

fn a_digest() -> Digest {
    Digest { root: Fingerprint::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), knowledge: 0x0123_4567_89ab_cdef }
}

/// A value that replaced three versions or more, and a tombstone.
pub(crate) fn golden_versions() -> Vec<(Key, Version)> {
    let value = Version {
        dot: a_dot(0xa, 7),
        context: KeyContext::from_parts([a_dot(0xa, 3), a_dot(0xb, 300)], VectorClock::from_iter([a_dot(0xc, 20)])),
        height: Height::new(9).unwrap(),
        hlc: Hlc::from_u64((1_700_000_000_000 << 16) + 5),
        class: Class::URGENT,
        body: Body::of("hello"),
    };
    let tombstone = Version {
        dot: a_dot(0xb, 1),
        context: KeyContext::new(),
        height: Height::MIN,
        hlc: Hlc::from_u64(1_700_000_000_000 << 16),
        class: Class::new(77),
        body: Body::Tombstone,
    };
    vec![(Key::new("job/1").unwrap(), value), (Key::new("job/2").unwrap(), tombstone)]
}

fn a_hello(summary: Summary) -> Message {
    Message::Hello(Hello {
        network: 0x1111_1111_1111_1111,
        from: replica(0xa),
        session: SessionId(0x2222_2222_2222_2222),
        versions: (1, 1),
        capabilities: 0,
        digest: a_digest(),
        window_bytes: 262_144,
        summary,
    })
}

/// One message of each kind and form, by the names that docs/wire-format.md uses.
fn golden() -> Vec<(&'static str, Message)> {
    let session = SessionId(0x2222_2222_2222_2222);
    vec![
        ("hello-unchanged", a_hello(Summary::Unchanged)),
        ("hello-since", a_hello(Summary::Since { base: 7, added: ranges([run(0xa, 4, 6), run(0xb, 300, 300)]) })),
        ("hello-full", a_hello(Summary::Full(ranges([run(0xa, 1, 6), run(0xa, 9, 9), run(0xb, 1, 1)])))),
        (
            "hello-back",
            Message::HelloBack(HelloBack {
                session,
                from: Some(replica(0xb)),
                version: 1,
                capabilities: 0,
                digest: a_digest(),
                window_bytes: 262_144,
                need_full: true,
                summary: BackSummary::Full(ranges([run(0xb, 1, 1)])),
            }),
        ),
        ("in-sync", Message::InSync { session, check: 0x3333_3333_3333_3333 }),
        ("delta", Message::Delta(Delta { session, chunk: 3, versions: golden_versions() })),
        (
            "claim",
            Message::Claim(Claim {
                session,
                chunks: 4,
                whole: true,
                knowledge: Some(ranges([run(0xa, 1, 6)])),
                digest: Some(a_digest()),
                floor: VectorClock::from_iter([a_dot(0xa, 2)]),
            }),
        ),
        (
            "claim-as-told",
            Message::Claim(Claim {
                session,
                chunks: 1,
                whole: true,
                knowledge: None,
                digest: None,
                floor: VectorClock::new(),
            }),
        ),
        ("credit", Message::Credit { session, applied_bytes: 131_072 }),
        ("ack", Message::Ack { session, digest: Some(a_digest()) }),
        ("ack-as-claimed", Message::Ack { session, digest: None }),
        ("busy", Message::Busy { session, retry_after_ms: 1_500 }),
        ("reject", Message::Reject { session, why: RejectReason::Identity }),
        ("push", Message::Push { hops: 3, versions: golden_versions() }),
        ("probe", Message::Probe { target: NodeId::from_bytes([0x44; 16]) }),
        ("probe-back", Message::ProbeBack { target: NodeId::from_bytes([0x44; 16]), age_ms: Some(250) }),
        ("probe-back-never", Message::ProbeBack { target: NodeId::from_bytes([0x44; 16]), age_ms: None }),
        ("leave", Message::Leave),
        ("note", Message::Note(b"as is".to_vec())),
        (
            "repair-buckets",
            repair(RepairStep::Buckets {
                scope: Scope::BehindFloor,
                coded: true,
                knowledge: 0x0123_4567_89ab_cdef,
                prints: vec![0x5555_5555_5555_5555; 256],
            }),
        ),
        (
            "repair-halves",
            repair(RepairStep::Buckets {
                scope: Scope::Divergence,
                coded: true,
                knowledge: 0x0123_4567_89ab_cdef,
                prints: vec![0x5555_5555; 256],
            }),
        ),
        (
            "repair-dots",
            repair(RepairStep::Dots {
                buckets: vec![0, 7],
                dots: Ranges::of_dots([a_dot(0xa, 1), a_dot(0xa, 2), a_dot(0xb, 300)]),
                prints: vec![[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3]],
                more: true,
            }),
        ),
        (
            "repair-sketch",
            repair(RepairStep::Sketch {
                buckets: vec![0, 7],
                before: 300,
                cells: vec![Cell { items: 0x6666_6666_6666_6666, checks: 0x7777_7777 }; 4],
                more: false,
            }),
        ),
        ("repair-list", repair(RepairStep::List)),
        ("repair-next", repair(RepairStep::Next)),
        (
            "repair-ask",
            repair(RepairStep::Ask {
                number: 3,
                dots: vec![a_dot(0xa, 1)],
                prints: vec![0x5555_5555_5555_5555],
                keys: vec![Key::new("job/1").unwrap()],
                given: golden_versions(),
            }),
        ),
        ("repair-answer", repair(RepairStep::Answer { number: 3, covered: 2, versions: golden_versions() })),
        ("repair-done", repair(RepairStep::Done)),
        ("as-before", Message::AsBefore { session }),
        ("part", Message::Part(Part { session, chunk: 5, number: 1, size: 64, total: 68, piece: vec![0x88; 4] })),
        (
            "whole",
            Message::Whole(Whole {
                session,
                knowledge: Some(ranges([run(0xa, 1, 6)])),
                digest: Some(a_digest()),
                versions: golden_versions(),
            }),
        ),
        (
            "whole-back",
            Message::WholeBack(
                HelloBack {
                    session,
                    from: None,
                    version: 1,
                    capabilities: 0,
                    digest: a_digest(),
                    window_bytes: 1_000,
                    need_full: false,
                    summary: BackSummary::Since(ranges([run(0xb, 1, 1)])),
                },
                Whole { session, knowledge: None, digest: None, versions: golden_versions() },
            ),
        ),
    ]
}

fn ranges(all: impl IntoIterator<Item = DotRange>) -> Ranges {
    all.into_iter().collect()
}

fn repair(step: RepairStep) -> Message {
    Message::Repair(Repair { session: SessionId(0x2222_2222_2222_2222), step })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The frames of wire version 1. A change here is a new wire version.
#[test]
fn golden_v1_frame_bytes() {
    let file = include_str!("../../tests/golden/frames-v1.txt");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let expected: Vec<String> = golden()
        .iter()
        .map(|(name, message)| format!("{name} {}", hex(&encode_message(message, LIMIT).unwrap())))
        .collect();
    assert_eq!(lines, expected, "now:\n{}\n", expected.join("\n"));
    for (line, (name, message)) in lines.iter().zip(golden()) {
        let digits = line.split(' ').next_back().unwrap();
        let frame: Vec<u8> =
            (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert_eq!(decode_message(&frame, LIMIT), Ok(message), "{name}");
    }
}

#[test]
fn a_quiet_exchange_is_small() {
    let sizes: Vec<usize> = golden().iter().map(|(_, message)| encode_message(message, LIMIT).unwrap().len()).collect();
    let names: Vec<&str> = golden().iter().map(|(name, _)| *name).collect();
    let size = |name: &str| sizes[names.iter().position(|known| *known == name).unwrap()];
    assert_eq!(size("hello-unchanged") + size("in-sync"), 83);
}

#[test]
fn an_unknown_reason_is_no_error() {
    let body = encode(&WireReject { session: [1; 8], why: 200 }).unwrap();
    let message = decode_message(&seal(Kind::Reject, &body), LIMIT).unwrap();
    assert!(matches!(message, Message::Reject { why: RejectReason::Unknown, .. }));
}

#[test]
fn an_overlong_number_is_refused() {
    let message = Message::Credit { session: SessionId(1), applied_bytes: 5 };
    let frame = encode_message(&message, LIMIT).unwrap();
    let (_, body) = open(&frame, LIMIT).unwrap();
    let mut overlong = body[..8].to_vec();
    overlong.extend([251, 5, 0]);
    let frame = seal(Kind::Credit, &overlong);
    assert!(decode_message(&frame, LIMIT).unwrap_err().to_string().contains("canonical"));
}

#[test]
fn no_version_takes_more_than_was_reckoned() {
    for number in [1, 200, u64::MAX >> 1] {
        let dots: Vec<Dot> = (1..40).map(|other| a_dot(other, number)).collect();
        let version = Version {
            dot: a_dot(99, number),
            context: KeyContext::from_parts(dots, VectorClock::from_iter([a_dot(1_000, number)])),
            height: Height::new(number).unwrap(),
            hlc: Hlc::from_u64(number),
            class: Class::BULK,
            body: Body::of(vec![1; 300]),
        };
        let list = vec![(Key::new("some/key").unwrap(), version)];
        let bytes = encode_message(&Message::Push { hops: 1, versions: list.clone() }, LIMIT).unwrap().len();
        assert!(bytes <= encoded_bytes(&list[0].0, &list[0].1), "{bytes}");
    }
}

fn any_dot() -> impl Strategy<Value = Dot> {
    (1..4_u64, prop_oneof![1..20_u64, Just(u64::MAX >> 1)]).prop_map(|(number, counter)| a_dot(number, counter))
}

pub(crate) fn any_version() -> impl Strategy<Value = (Key, Version)> {
    let context = (proptest::collection::vec(any_dot(), 0..5), proptest::collection::vec(any_dot(), 0..2))
        .prop_map(|(dots, upto)| KeyContext::from_parts(dots, upto.into_iter().collect()));
    let body = prop_oneof![Just(Body::Tombstone), proptest::collection::vec(any::<u8>(), 0..40).prop_map(Body::of),];
    let key = proptest::collection::vec(any::<u8>(), 1..20).prop_map(|bytes| Key::new(bytes).unwrap());
    (key, any_dot(), context, 1..u64::MAX, any::<u64>(), any::<u8>(), body).prop_map(
        |(key, dot, context, height, hlc, class, body)| {
            let (height, hlc, class) = (Height::new(height).unwrap(), Hlc::from_u64(hlc), Class::new(class));
            (key, Version { dot, context, height, hlc, class, body })
        },
    )
}

pub(crate) fn any_message() -> impl Strategy<Value = Message> {
    let versions = proptest::collection::vec(any_version(), 0..6).prop_map(|mut versions| {
        versions.sort_by_key(|(_, version)| version.dot);
        versions.dedup_by_key(|(_, version)| version.dot);
        versions
    });
    let fixed = (0..golden().len()).prop_map(|index| golden()[index].1.clone());
    let delta = (any::<u64>(), any::<u32>(), versions)
        .prop_map(|(session, chunk, versions)| Message::Delta(Delta { session: SessionId(session), chunk, versions }));
    prop_oneof![fixed, delta]
}

proptest! {
    #[test]
    fn law_roundtrip_message(message in any_message()) {
        let frame = encode_message(&message, LIMIT).unwrap();
        prop_assert_eq!(decode_message(&frame, LIMIT).unwrap(), message);
        prop_assert!(encode_message(&decode_message(&frame, LIMIT).unwrap(), frame.len() - 1).is_err());
    }

    #[test]
    fn law_decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_message(&bytes, LIMIT);
        // Behind a valid envelope as well, where the body is what a peer likes it to be.
        for kind in Kind::ALL {
            let frame = seal(kind, &bytes);
            if let Ok(message) = decode_message(&frame, LIMIT) {
                let unknown = matches!(message, Message::Reject { why: RejectReason::Unknown, .. });
                prop_assert!(unknown || encode_message(&message, LIMIT).unwrap() == frame);
            }
        }
    }

    #[test]
    fn law_decode_of_damaged_bodies_never_panics(
        message in any_message(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let frame = encode_message(&message, LIMIT).unwrap();
        let (kind, body) = open(&frame, LIMIT).unwrap();
        let mut body = body.to_vec();
        for (place, byte) in edits {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        for body in [&body[..], &body[..cut.index(body.len() + 1)]] {
            let frame = seal(kind, body);
            if let Ok(message) = decode_message(&frame, LIMIT) {
                let unknown = matches!(message, Message::Reject { why: RejectReason::Unknown, .. });
                prop_assert!(unknown || encode_message(&message, LIMIT).unwrap() == frame);
            }
        }
    }
}

/// Whoever compresses is told where the values are that a message ends with.
#[test]
fn values_are_at_the_end_of_a_body() {
    let mut told = 0;
    for (name, message) in golden() {
        let (_, body) = encode_body(&message).unwrap();
        let values: Vec<u8> =
            message.versions().iter().filter_map(|(_, version)| version.body.value()).flatten().copied().collect();
        assert!(body.ends_with(&values) && value_bytes(&message) == values.len(), "{name}");
        told += usize::from(!values.is_empty());
    }
    assert!(told >= 5, "deltas, pushes, whole directions and repairs");
}

/// A frame that any receiver refuses whole is one that no compression makes any better.
#[test]
fn compressed_frames_are_read_where_both_sides_compress() {
    let compressor = Compressor::new(crate::compression::tests::Runs);
    let mut versions = golden_versions();
    versions[0].1.body = Body::of("x".repeat(2_000));
    let message = Message::Push { hops: 3, versions };
    let plain = encode_message(&message, LIMIT).unwrap();
    let length = plain.len() as u64;
    let (frame, counted) = encode_for(&message, LIMIT, Some(&compressor)).unwrap();
    assert!(frame.len() < 300 && counted == length);
    assert_eq!(decode_any(&frame, LIMIT, Some(&compressor)), Ok((message.clone(), length)));
    assert!(decode_any(&frame, LIMIT, None).unwrap_err().to_string().contains("unknown codec 2"));
    assert!(decode_any(&frame, plain.len() - 1, Some(&compressor)).is_err(), "the limit goes for what comes out");
    assert_eq!(decode_any(&plain, LIMIT, Some(&compressor)), Ok((message.clone(), length)));
    assert_eq!(encode_for(&message, LIMIT, None).unwrap(), (plain, length));
    assert!(encode_for(&message, length as usize - 1, Some(&compressor)).is_err());
    // What is not canonical does not become so by being compressed.
    let mut overlong = vec![1; 8];
    overlong.extend([251, 5, 0]);
    overlong.resize(300, 0);
    let frame = compressor.seal(Kind::Credit, &overlong, 0).unwrap();
    assert!(decode_any(&frame, LIMIT, Some(&compressor)).is_err());
}
