//! Round trips, golden bytes, and frames that are no messages.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use reconvene_clock::{Hlc, NodeId, ReplicaId, WallTime};

use super::*;
use crate::answer::{Answer, Equivocation, Finality, Rejection};
use crate::id::*;
use crate::message::*;
use crate::rule::{AttemptRule, Reappearance};
use crate::spec::{Resources, Tag};

fn replica() -> impl Strategy<Value = ReplicaId> {
    (1..=u64::MAX).prop_map(|id| ReplicaId::new(id).unwrap())
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    (replica(), any::<u64>(), any::<u32>(), replica(), any::<u32>()).prop_map(|(by, sequence, epoch, owner, number)| {
        AttemptId { job: JobId::new(by, sequence), epoch: OwnershipEpoch(epoch), owner, number }
    })
}

fn token() -> impl Strategy<Value = FencingToken> {
    (any::<u32>(), any::<u64>(), replica(), any::<u32>()).prop_map(|(epoch, tie, owner, number)| FencingToken {
        epoch: OwnershipEpoch(epoch),
        tie,
        owner,
        number,
    })
}

fn session() -> impl Strategy<Value = SessionEpoch> {
    any::<(u64, u64)>().prop_map(|(start, random)| SessionEpoch::new(Hlc::from_u64(start), random))
}

fn resources() -> impl Strategy<Value = Resources> {
    let amount = || 0..=limits::AMOUNT_MAX;
    (amount(), amount(), amount()).prop_map(|(cpu, memory, gpu)| Resources::new(cpu, memory, gpu))
}

fn tags() -> impl Strategy<Value = std::collections::BTreeSet<Tag>> {
    btree_set("[a-z0-9._-]{1,64}".prop_map(|name| Tag::new(name).unwrap()), 0..4)
}

fn result_digest() -> impl Strategy<Value = ResultDigest> {
    any::<[u8; 32]>().prop_map(ResultDigest)
}

fn submission() -> impl Strategy<Value = SubmissionId> {
    (replica(), any::<u64>()).prop_map(|(accepted_by, number)| SubmissionId { accepted_by, number })
}

fn rules() -> impl Strategy<Value = (AttemptRule, Option<Reappearance>)> {
    let rules = [AttemptRule::AnyAttempt, AttemptRule::CurrentAttemptOnly, AttemptRule::OwnerEpochOnly];
    let policies = [
        Reappearance::FirstResult,
        Reappearance::KeepOriginal,
        Reappearance::KeepReplacement,
        Reappearance::BestScore,
        Reappearance::MostProgress,
    ];
    (proptest::sample::select(rules.to_vec()), option::of(proptest::sample::select(policies.to_vec())))
}

fn spec() -> impl Strategy<Value = JobSpec> {
    let emergency = (replica(), any::<u64>()).prop_map(|(declared_by, number)| EmergencyId { declared_by, number });
    let amount = || 0..=limits::AMOUNT_MAX;
    (
        ("\\PC{0,20}", any::<u64>(), any::<u8>(), option::of(any::<u64>()), amount(), amount()),
        (resources(), tags(), 1..=limits::VALUE_MAX, "\\PC{0,20}", option::of(emergency), any::<bool>()),
        rules(),
        vec(any::<u8>(), 0..64),
    )
        .prop_map(|((client, client_key, priority, deadline, estimate_ms, work_core_ms), rest, rules, payload)| {
            let (demand, requires, value, region, emergency, fenced) = rest;
            let deadline = deadline.map(WallTime::from_millis);
            let (attempts, reappearance) = rules;
            JobSpec {
                client,
                client_key,
                priority,
                deadline,
                estimate_ms,
                work_core_ms,
                demand,
                requires,
                value,
                region,
                emergency,
                fenced,
                attempts,
                reappearance,
                payload,
            }
        })
}

fn held() -> impl Strategy<Value = HeldAttempt> {
    (attempt(), token(), any::<u16>()).prop_map(|(attempt, token, progress_bp)| HeldAttempt {
        attempt,
        token,
        progress_bp,
    })
}

fn refused() -> impl Strategy<Value = Refused> {
    let reason = prop_oneof![
        token().prop_map(|greatest| Refusal::SmallerToken { greatest }),
        resources().prop_map(|free| Refusal::NoFreeCapacity { free }),
        Just(Refusal::AlreadyEnded),
        Just(Refusal::NoFreeSlot),
        Just(Refusal::MissingTag),
        Just(Refusal::TooManyResults),
        Just(Refusal::LeaseOver),
        Just(Refusal::Draining),
        Just(Refusal::Malformed),
    ];
    (attempt(), reason).prop_map(|(attempt, reason)| Refused { attempt, reason })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        vec(any::<u8>(), 0..64).prop_map(|output| Outcome::Success { output }),
        "\\PC{0,20}".prop_map(|error| Outcome::Failure { error }),
    ]
}

fn to_broker() -> impl Strategy<Value = ToBroker> {
    prop_oneof![
        (
            (session(), any::<u64>(), resources(), 0..=limits::SLOTS, tags()),
            vec(held(), 0..4),
            vec(attempt(), 0..4),
            option::of("\\PC{1,20}")
        )
            .prop_map(|((session, registration, capacity, slots, tags), held, kept, heir)| {
                ToBroker::Register(Register { session, registration, capacity, slots, tags, held, kept, heir })
            }),
        (session(), any::<u64>(), any::<u64>(), vec(held(), 0..4), vec(attempt(), 0..4), vec(refused(), 0..4))
            .prop_map(|(session, registration, sequence, running, kept, refused)| {
                ToBroker::Heartbeat(Heartbeat { session, registration, sequence, running, kept, refused })
            }),
        (
            (attempt(), session(), any::<u64>(), any::<[u8; 32]>(), result_digest()),
            outcome(),
            0..=limits::AMOUNT_MAX,
            0..=limits::WHOLE_BP
        )
            .prop_map(|((attempt, session, sequence, spec, digest), outcome, cost_resource_ms, quality_bp)| {
                let spec_digest = SpecDigest(spec);
                ToBroker::Submit(Submit {
                    attempt,
                    session,
                    sequence,
                    spec_digest,
                    digest,
                    outcome,
                    cost_resource_ms,
                    quality_bp,
                })
            }),
        (session(), any::<u64>()).prop_map(|(session, registration)| ToBroker::Leave(Leave { session, registration })),
    ]
}

fn roster() -> impl Strategy<Value = Vec<RosterEntry>> {
    let role = prop_oneof![Just(RosterRole::Broker), Just(RosterRole::Heir)];
    let entry = (any::<[u8; 16]>(), role, "\\PC{1,20}").prop_map(|(node, role, address)| RosterEntry {
        node: NodeId::new(node),
        role,
        address,
    });
    vec(entry, 0..4)
}

fn order() -> impl Strategy<Value = Order> {
    let reason = prop_oneof![
        Just(StopReason::Completed),
        Just(StopReason::Replaced),
        Just(StopReason::Cancelled),
        Just(StopReason::Preempted),
    ];
    prop_oneof![
        (attempt(), token(), spec(), 0..=limits::TERM_MS).prop_map(|(attempt, token, spec, lease_ms)| Order::Start {
            attempt,
            token,
            spec,
            lease_ms
        }),
        (attempt(), reason, 0..=limits::TERM_MS).prop_map(|(attempt, reason, drain_ms)| Order::Stop {
            attempt,
            reason,
            drain_ms
        }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let rejection = prop_oneof![
        Just(Rejection::NotAssigned),
        any::<[u8; 32]>().prop_map(|current| Rejection::StaleSpec { current: SpecDigest(current) }),
        option::of(submission()).prop_map(|canonical| Rejection::Late { canonical }),
        (submission(), any::<u32>()).prop_map(|(canonical, agreement)| Rejection::Equivalent { canonical, agreement }),
        Just(Rejection::Divergent),
        submission().prop_map(|by| Rejection::AlreadyAccepted { by }),
        submission().prop_map(|canonical| Rejection::LostTo { canonical }),
        submission().prop_map(|canonical| Rejection::Settled { canonical }),
        token().prop_map(|token| Rejection::NotCurrent { token }),
        result_digest().prop_map(|found| Rejection::DigestMismatch { found }),
        any::<u64>().prop_map(|limit| Rejection::TooLarge { limit }),
    ];
    prop_oneof![
        Just(Answer::Accepted { finality: Finality::Provisional }),
        Just(Answer::Accepted { finality: Finality::Stable }),
        Just(Answer::AcceptedFailure),
        rejection.prop_map(Answer::Rejected),
        (result_digest(), result_digest()).prop_map(|(first, second)| Answer::Fault(Equivocation { first, second })),
        any::<u64>().prop_map(|until_ms| Answer::Parked { until_ms }),
        any::<u64>().prop_map(|retry_after_ms| Answer::Busy { retry_after_ms }),
    ]
}

fn to_executor() -> impl Strategy<Value = ToExecutor> {
    let terms = (1..=limits::TERM_MS, 1..=limits::TERM_MS, 0..=limits::TERM_MS)
        .prop_map(|(lease_ms, heartbeat_ms, drift_ms)| Terms { lease_ms, heartbeat_ms, drift_ms });
    let verdict = prop_oneof![Just(HeldVerdict::Continue), Just(HeldVerdict::Stop), Just(HeldVerdict::SubmitOnly)];
    let lost = (attempt(), option::of(attempt())).prop_map(|(attempt, successor)| LeaseLost { attempt, successor });
    prop_oneof![
        (session(), any::<u64>(), terms, roster(), vec((attempt(), verdict), 0..4)).prop_map(
            |(session, registration, terms, roster, held)| {
                ToExecutor::Registered { session, registration, terms, roster, held }
            }
        ),
        session().prop_map(|known| ToExecutor::SessionBehind { known }),
        ((session(), any::<u64>(), any::<u64>()), vec(attempt(), 0..4), vec(lost, 0..4), vec(order(), 0..4), roster())
            .prop_map(|((session, registration, sequence), renewed, lost, orders, roster)| {
                ToExecutor::HeartbeatAnswer { session, registration, sequence, renewed, lost, orders, roster }
            }),
        any::<u64>().prop_map(|registration| ToExecutor::NotRegistered { registration }),
        (attempt(), any::<u64>(), answer())
            .prop_map(|(attempt, sequence, answer)| { ToExecutor::SubmitAnswer { attempt, sequence, answer } }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn law_roundtrip_to_broker(message in to_broker()) {
        let frame = encode_to_broker(&message).unwrap();
        prop_assert_eq!(decode_to_broker(&frame).unwrap(), message);
    }

    #[test]
    fn law_roundtrip_to_executor(message in to_executor()) {
        let frame = encode_to_executor(&message).unwrap();
        prop_assert_eq!(decode_to_executor(&frame).unwrap(), message);
    }

    #[test]
    fn law_decode_never_panics(mut bytes in vec(any::<u8>(), 0..200), good_version: bool) {
        if let (true, Some(first)) = (good_version, bytes.first_mut()) {
            *first = VERSION;
        }
        let _ = decode_to_broker(&bytes);
        let _ = decode_to_executor(&bytes);
    }

    #[test]
    fn law_decode_never_panics_on_a_damaged_frame(message in to_executor(), at: prop::sample::Index, with: u8) {
        let mut frame = encode_to_executor(&message).unwrap();
        let at = at.index(frame.len());
        frame[at] = with;
        if let Ok(message) = decode_to_executor(&frame) {
            // Whatever was accepted is within the limits, so it can be written again.
            prop_assert!(encode_to_executor(&message).is_ok());
        }
    }

    #[test]
    fn law_a_cut_frame_is_refused(message in to_broker(), at: prop::sample::Index) {
        let frame = encode_to_broker(&message).unwrap();
        prop_assert!(decode_to_broker(&frame[..at.index(frame.len())]).is_err());
    }
}

#[test]
fn a_frame_with_bytes_left_over_is_refused() {
    let mut frame = encode_to_executor(&ToExecutor::NotRegistered { registration: 1 }).unwrap();
    frame.push(0);
    assert_eq!(decode_to_executor(&frame), Err(CodecError(Kind::Trailing { bytes: 1 })));
}

#[test]
fn a_declared_length_is_not_believed() {
    // Submit of attempt, session and digests, then a success of 2^60 bytes.
    let (attempt, session) = (golden_attempt(), golden_session());
    let submit = Submit {
        attempt,
        session,
        sequence: 1,
        spec_digest: SpecDigest([0; 32]),
        digest: ResultDigest([0; 32]),
        outcome: Outcome::Success { output: vec![0xee; 3] },
        cost_resource_ms: 0,
        quality_bp: 0,
    };
    let mut frame = encode_to_broker(&ToBroker::Submit(submit)).unwrap();
    let at = frame.len() - 2 - 3 - 1;
    assert_eq!(frame[at..at + 4], [3, 0xee, 0xee, 0xee]);
    frame.splice(at..=at, [253].into_iter().chain((1_u64 << 60).to_le_bytes()));
    assert!(matches!(decode_to_broker(&frame), Err(CodecError(Kind::Decode(_)))));
}

#[test]
fn limits_hold_in_both_directions() {
    let answer = |orders| ToExecutor::HeartbeatAnswer {
        session: golden_session(),
        registration: 1,
        sequence: 1,
        renewed: vec![],
        lost: vec![],
        orders,
        roster: vec![],
    };
    let start = |payload: usize| Order::Start {
        attempt: golden_attempt(),
        token: golden_token(),
        spec: JobSpec::new(vec![0; payload]),
        lease_ms: 1,
    };
    assert!(encode_to_executor(&answer(vec![start(limits::PAYLOAD_BYTES); 2])).is_ok());
    assert!(encode_to_executor(&answer(vec![start(limits::PAYLOAD_BYTES); 3])).is_err());
    assert!(encode_to_executor(&answer(vec![start(limits::PAYLOAD_BYTES + 1)])).is_err());
    assert!(encode_to_executor(&answer(vec![start(0); limits::ORDERS + 1])).is_err());
    // A frame that somebody wrote without asking us is refused all the same.
    let frame = encode(&answer(vec![start(0); limits::ORDERS + 1])).unwrap();
    assert!(decode_to_executor(&frame).is_err());
    let frame = encode(&answer(vec![start(limits::PAYLOAD_BYTES); 5])).unwrap_err();
    assert!(frame.to_string().contains("frame bytes"), "{frame}");
}

fn golden_attempt() -> AttemptId {
    let owner = ReplicaId::new(0x0b).unwrap();
    AttemptId { job: JobId::new(ReplicaId::new(0x0a).unwrap(), 0x0c), epoch: OwnershipEpoch(2), owner, number: 3 }
}

fn golden_token() -> FencingToken {
    FencingToken { epoch: OwnershipEpoch(2), tie: 0x77, owner: ReplicaId::new(0x0b).unwrap(), number: 3 }
}

fn golden_session() -> SessionEpoch {
    SessionEpoch::new(Hlc::from_u64(0x10), 0x20)
}

fn golden(what: &str, frame: &[u8], expected: &str) {
    let found: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, expected.split_whitespace().collect::<String>(), "{what}");
}

#[test]
fn golden_v1_to_broker() {
    let held = HeldAttempt { attempt: golden_attempt(), token: golden_token(), progress_bp: 0x1234 };
    let register = ToBroker::Register(Register {
        session: golden_session(),
        registration: 5,
        capacity: Resources::new(1_000, 2, 3),
        slots: 4,
        tags: ["gpu".parse().unwrap()].into(),
        held: vec![held],
        kept: vec![golden_attempt()],
        heir: Some("x:1".into()),
    });
    golden(
        "register",
        &encode_to_broker(&register).unwrap(),
        "01 00 10 20 05 fbe803 02 03 04 01 03677075 01 0a0c020b03 02770b03 fb3412 01 0a0c020b03 01 03783a31",
    );
    let refused = Refused { attempt: golden_attempt(), reason: Refusal::NoFreeSlot };
    let heartbeat = ToBroker::Heartbeat(Heartbeat {
        session: golden_session(),
        registration: 5,
        sequence: 6,
        running: vec![held],
        kept: vec![],
        refused: vec![refused],
    });
    golden(
        "heartbeat",
        &encode_to_broker(&heartbeat).unwrap(),
        "01 01 10 20 05 06 01 0a0c020b03 02770b03 fb3412 00 01 0a0c020b03 02",
    );
    let submit = ToBroker::Submit(Submit {
        attempt: golden_attempt(),
        session: golden_session(),
        sequence: 7,
        spec_digest: SpecDigest([0x51; 32]),
        digest: ResultDigest([0x52; 32]),
        outcome: Outcome::Success { output: vec![0xfe, 0xff] },
        cost_resource_ms: 8,
        quality_bp: 9,
    });
    let expected = format!("01 02 0a0c020b03 10 20 07 {} {} 00 02 feff 08 09", "51".repeat(32), "52".repeat(32));
    golden("submit", &encode_to_broker(&submit).unwrap(), &expected);
    let leave = ToBroker::Leave(Leave { session: golden_session(), registration: 5 });
    golden("leave", &encode_to_broker(&leave).unwrap(), "01 03 10 20 05");
}

#[test]
fn golden_v1_spec() {
    let held = HeldSpec { attempt: golden_attempt(), spec: JobSpec::new(vec![0xfe]) };
    let frame = encode_to_broker(&ToBroker::Spec(held.clone())).unwrap();
    golden("spec", &frame, "01 04 0a0c020b03 00 00 64 00 00 00 fbe803 00 00 00 01 00 00 00 00 00 01 fe");
    assert_eq!(decode_to_broker(&frame).unwrap(), ToBroker::Spec(held.clone()));
    let worthless = HeldSpec { spec: JobSpec { value: 0, ..held.spec }, ..held };
    assert!(encode_to_broker(&ToBroker::Spec(worthless)).is_err());
}

#[test]
fn golden_v1_to_executor() {
    let roster = vec![RosterEntry { node: NodeId::new([0x61; 16]), role: RosterRole::Heir, address: "b:1".into() }];
    let registered = ToExecutor::Registered {
        session: golden_session(),
        registration: 5,
        terms: Terms { lease_ms: 30, heartbeat_ms: 5, drift_ms: 2 },
        roster: roster.clone(),
        held: vec![(golden_attempt(), HeldVerdict::SubmitOnly)],
    };
    let node = "61".repeat(16);
    golden(
        "registered",
        &encode_to_executor(&registered).unwrap(),
        &format!("01 00 10 20 05 1e 05 02 01 {node} 01 03623a31 01 0a0c020b03 02"),
    );
    golden(
        "session behind",
        &encode_to_executor(&ToExecutor::SessionBehind { known: golden_session() }).unwrap(),
        "01 01 10 20",
    );
    let spec = JobSpec::new(vec![0xfe]).with_client("c", 1).with_deadline(WallTime::from_millis(2));
    let answer = ToExecutor::HeartbeatAnswer {
        session: golden_session(),
        registration: 5,
        sequence: 6,
        renewed: vec![golden_attempt()],
        lost: vec![LeaseLost { attempt: golden_attempt(), successor: None }],
        orders: vec![
            Order::Start { attempt: golden_attempt(), token: golden_token(), spec, lease_ms: 30 },
            Order::Stop { attempt: golden_attempt(), reason: StopReason::Preempted, drain_ms: 9 },
        ],
        roster: vec![],
    };
    golden(
        "heartbeat answer",
        &encode_to_executor(&answer).unwrap(),
        "01 02 10 20 05 06 01 0a0c020b03 01 0a0c020b03 00 \
         02 00 0a0c020b03 02770b03 0163 01 64 01 02 00 00 fbe803 00 00 00 01 00 00 00 00 00 01 fe 1e \
         01 0a0c020b03 03 09 00",
    );
    golden(
        "ask spec",
        &encode_to_executor(&ToExecutor::AskSpec { attempt: golden_attempt() }).unwrap(),
        "01 05 0a0c020b03",
    );
    golden("not registered", &encode_to_executor(&ToExecutor::NotRegistered { registration: 5 }).unwrap(), "01 03 05");
    let canonical = SubmissionId { accepted_by: ReplicaId::new(0x0d).unwrap(), number: 4 };
    let answer = ToExecutor::SubmitAnswer {
        attempt: golden_attempt(),
        sequence: 7,
        answer: Answer::Rejected(Rejection::Equivalent { canonical, agreement: 2 }),
    };
    golden("submit answer", &encode_to_executor(&answer).unwrap(), "01 04 0a0c020b03 07 02 03 0d04 02");
}
