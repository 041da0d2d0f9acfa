//! Decisions: the bytes, the chain, what would have had to be different, and words for people.

use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, Chain, Context, Decision, DecisionChain, DecisionKind, InputsDigest, JobFacts, Level, Link, Plan,
    PolicyEpoch, PolicyId, PolicyRef, PreemptionRefusal, Priority, Reason, Resources, RoundFacts, Statistics,
    StrategyKind, SubjectId, Unit, VersionFacts, Waiting, decide, explain_rank, job,
};

fn stamp(ms: u64) -> Hlc {
    Hlc::from_parts(WallTime::from_millis(ms), 0).unwrap()
}

fn round() -> RoundFacts {
    RoundFacts::new(3, RoundFacts::REFERENCE)
}

fn versions() -> [VersionFacts; 2] {
    let version = |issuer, ms| VersionFacts {
        digest: [u8::try_from(issuer).unwrap(); 32],
        ..VersionFacts::new(SubjectId::new(1, 7), CandidateId::new(issuer, 2), stamp(ms))
    };
    [version(11, 5_000), version(12, 125_000)]
}

fn jobs() -> [JobFacts; 3] {
    let job = |number, minutes: u64| JobFacts {
        demand: RoundFacts::REFERENCE,
        ..JobFacts::new(CandidateId::new(1, number), stamp(minutes * 60_000))
    };
    [job(1, 0), job(2, 9), JobFacts { priority: Priority(255), ..job(3, 61) }]
}

fn by_priority() -> Decision {
    explain_rank(StrategyKind::PriorityBased.contention(), &jobs(), &round()).unwrap()
}

fn by_stamp() -> Decision {
    decide(StrategyKind::FirstComeFirstServed.reconcile(), &versions()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number as eight bytes, little endian.
fn n(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    [n(u64::try_from(text.len()).unwrap()), text.as_bytes().to_vec()].concat()
}

/// Written out by hand from the format, not by the code under test.
#[test]
fn golden_v1_decision() {
    let policy = PolicyRef { epoch: PolicyEpoch(4), id: PolicyId([9; 16]) };
    let decision = by_stamp().under(policy);
    let standing = |issuer: u64, reason: Vec<u8>, accepted: u64, tie: u64| {
        let link = |name: &str, unit: u8, word: u64| [text(name), vec![unit], n(word), n(1), vec![0], n(0)].concat();
        [
            [n(issuer), n(2)].concat(),
            reason,
            n(4),
            link("outcome", 0, 0),
            link("accepted", 3, accepted << 16),
            link("attempt", 5, 1 << 32 | 1),
            link("tie hash", 7, tie),
        ]
        .concat()
    };
    let tie = |issuer| reconvene_resolve::tie_hash(SubjectId::new(1, 7), CandidateId::new(issuer, 2));
    let lost = [text("LostTo"), n(11), n(2), text("accepted"), n(120_000 << 16)].concat();
    let expected = [
        b"RCVD\x01\x01".to_vec(),
        [n(1), n(7)].concat(),
        vec![1, 0, 1, 0],
        [vec![1], n(4), vec![9; 16]].concat(),
        decision.inputs.0.to_vec(),
        n(2),
        standing(11, text("Chosen"), 5_000, tie(11)),
        standing(12, lost, 125_000, tie(12)),
    ];
    assert_eq!(hex(&decision.canonical_bytes()), hex(&expected.concat()));
    assert_eq!(decision.inputs.to_string(), INPUTS);
    let mut chain = DecisionChain::default();
    assert_eq!(hex(&chain.append(&decision)), FIRST_ENTRY);
    assert_eq!(hex(&DecisionChain::after(chain.head()).append(&by_priority())), SECOND_ENTRY);
}

const INPUTS: &str = "56340be0f041446bd324b1da5d1d9e6b";
const FIRST_ENTRY: &str = "6d05b9572f4f8f2e1fe113223e5524575b04648b26a12299b78b1284a874bf66";
const SECOND_ENTRY: &str = "a39cc1264d0a0a919090de6a28a4360d9ae82c1f249b2eb97283f542cc16831e";

#[test]
fn equal_facts_make_equal_decisions_in_any_order() {
    let [a, b] = versions();
    let strategy = StrategyKind::FirstComeFirstServed.reconcile();
    let turned = decide(strategy, &[b, a, b]).unwrap();
    assert_eq!(turned, by_stamp());
    assert_eq!(turned.canonical_bytes(), by_stamp().canonical_bytes());
    let [one, two, three] = jobs();
    let turned = [three.clone(), one.clone(), two.clone(), one];
    assert_eq!(InputsDigest::of_jobs(&turned, &round()), InputsDigest::of_jobs(&jobs(), &round()));
    let other = RoundFacts { epoch: 4, ..round() };
    assert_ne!(InputsDigest::of_jobs(&jobs(), &other), InputsDigest::of_jobs(&jobs(), &round()));
}

/// A changed fact that no link reads is another input all the same.
#[test]
fn every_fact_is_in_the_inputs() {
    let [version, _] = versions();
    let of = |version: VersionFacts| InputsDigest::of_versions(&[version]);
    let height = reconvene_clock::Height::new(9).unwrap();
    let changed = [
        VersionFacts { subject: SubjectId::NONE, ..version },
        VersionFacts { id: CandidateId::new(1, 1), ..version },
        VersionFacts { outcome: reconvene_resolve::Outcome::Failure, ..version },
        VersionFacts { accepted: stamp(1), ..version },
        VersionFacts { attempt_epoch: 2, ..version },
        VersionFacts { attempt_number: 2, ..version },
        VersionFacts { height, ..version },
        VersionFacts { level: Level::ELEVATED, ..version },
        VersionFacts { quality: reconvene_resolve::BasisPoints::FULL, ..version },
        VersionFacts { placement: 1, ..version },
        VersionFacts { cost_resource_ms: 1, ..version },
        VersionFacts { digest: [0; 32], ..version },
        version,
    ];
    let digests: std::collections::BTreeSet<_> = changed.iter().map(|version| of(*version)).collect();
    assert_eq!(digests.len(), changed.len());

    let [job, ..] = jobs();
    let one = reconvene_resolve::JobValue::new(2).unwrap();
    let changed = [
        JobFacts { id: CandidateId::new(9, 9), ..job.clone() },
        JobFacts { submitted: stamp(1), ..job.clone() },
        JobFacts { priority: Priority(1), ..job.clone() },
        JobFacts { deadline: Some(WallTime::from_millis(0)), ..job.clone() },
        JobFacts { estimate_ms: 1, ..job.clone() },
        JobFacts { work_core_ms: Some(0), ..job.clone() },
        JobFacts { demand: Resources::default(), ..job.clone() },
        JobFacts { requires: ["a".into()].into(), ..job.clone() },
        JobFacts { requires: ["a".into(), "b".into()].into(), ..job.clone() },
        JobFacts { requires: ["ab".into()].into(), ..job.clone() },
        JobFacts { value: one, ..job.clone() },
        JobFacts { level: Level::ELEVATED, ..job.clone() },
        JobFacts { late: true, ..job.clone() },
        JobFacts { height, ..job.clone() },
        JobFacts { preempted: 1, ..job.clone() },
        job,
    ];
    let of = |job: &JobFacts| InputsDigest::of_jobs(std::slice::from_ref(job), &round());
    let digests: std::collections::BTreeSet<_> = changed.iter().map(of).collect();
    assert_eq!(digests.len(), changed.len());
    let rounds = [
        RoundFacts { total: Resources::default(), ..round() },
        RoundFacts { reference: Resources::default(), ..round() },
        round(),
    ];
    let digests: std::collections::BTreeSet<_> = rounds.iter().map(|round| InputsDigest::of_jobs(&[], round)).collect();
    assert_eq!(digests.len(), 3);
}

#[test]
fn the_chain_covers_order_and_content() {
    let [one, two] = [by_stamp(), by_priority()];
    let digest = |decisions: &[&Decision]| {
        let mut chain = DecisionChain::default();
        for decision in decisions {
            chain.append(decision);
        }
        chain.head()
    };
    let all = [digest(&[]), digest(&[&one]), digest(&[&two]), digest(&[&one, &two]), digest(&[&two, &one])];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

/// Section 5: "needs 9 min more head start". Job 2 came 9 minutes after job 1 and is like it in everything else.
#[test]
fn a_counterfactual_says_what_was_missing() {
    let decision = by_priority();
    let order: Vec<u64> = decision.standings.iter().map(|standing| standing.id.0[1]).collect();
    assert_eq!(order, [1, 3, 2]);
    let of = |number| decision.counterfactual(CandidateId::new(1, number));
    assert_eq!(of(1), None, "the first lacks nothing");
    assert_eq!(of(9), None);
    let two = of(2).unwrap();
    assert_eq!((two.link, two.unit, two.needs), ("virtual start", Unit::Millis, 9 * 60_000 + 1));
    assert_eq!(two.to_string(), "needs 10 min more head start", "level with the first, the earlier stamp wins");
    let three = of(3).unwrap();
    assert_eq!(three.to_string(), "needs 2 min more head start");
    // Where the links after it are in its favour, level is enough.
    let [mut one, mut two, _] = jobs();
    (one.priority, two.submitted) = (Priority(51), stamp(0));
    one.submitted = stamp(3 * 60_000);
    let decision = explain_rank(StrategyKind::PriorityBased.contention(), &[one, two], &round()).unwrap();
    let two = decision.counterfactual(CandidateId::new(1, 2)).unwrap();
    assert_eq!((decision.winner().0[1], two.needs), (1, 9 * 60_000));
    assert_eq!(two.to_string(), "needs 9 min more head start");
}

/// Two minutes of stamps, and nothing of one alone.
#[test]
fn a_decision_says_by_how_much() {
    assert_eq!(by_stamp().margin(), 120_000 << 16);
    assert_eq!(decide(StrategyKind::FirstComeFirstServed.reconcile(), &versions()[..1]).unwrap().margin(), 0);
}

#[test]
fn every_unit_has_words() {
    let [a, b] = versions();
    let said = |kind: StrategyKind, better: VersionFacts, other: VersionFacts| {
        let decision = decide(kind.reconcile(), &[better, other]).unwrap();
        assert_eq!(decision.winner(), better.id);
        decision.counterfactual(other.id).unwrap().to_string()
    };
    use StrategyKind as K;
    assert_eq!(said(K::FirstComeFirstServed, a, b), "would have to be 2 min earlier in accepted");
    let failed = VersionFacts { outcome: reconvene_resolve::Outcome::Failure, ..a };
    let class = "is of a worse class in outcome, which nothing after it can make up for";
    assert_eq!(said(K::FirstComeFirstServed, b, failed), class);
    let better = VersionFacts { quality: reconvene_resolve::BasisPoints::new(100).unwrap(), ..a };
    assert_eq!(
        said(K::PriorityBased, better, VersionFacts { accepted: stamp(0), ..b }),
        "needs 100 bp more in quality"
    );
    let grave = VersionFacts { level: Level::ELEVATED, ..b };
    assert_eq!(said(K::EmergencyFirst, grave, a), "needs an emergency 50 levels higher");
    let dear = VersionFacts { cost_resource_ms: 7, ..a };
    assert_eq!(said(K::ResourceOptimal, b, dear), "is behind by 7 in cost");
    let high = VersionFacts { height: reconvene_clock::Height::new(3).unwrap(), ..a };
    let behind = said(K::VectorClockCausal, b, high);
    assert!(behind == "is behind by 2 in height" || behind == "is behind by 3 in height", "{behind}");
    let twin = VersionFacts { id: CandidateId::new(11, 3), ..a };
    let decision = decide(K::FirstComeFirstServed.reconcile(), &[a, twin]).unwrap();
    let last = decision.standings.last().unwrap().id;
    assert_eq!(decision.counterfactual(last).unwrap().to_string(), "differs in nothing but a fixed tie-break");
}

#[test]
fn a_person_can_read_why() {
    let words = by_priority().in_words().to_string();
    let expected = "\
PRIORITY_BASED chose 0000000000000001-1 of 3 by virtual start (1 min ahead)
1. 0000000000000001-1: chosen
     virtual start 4294967296
     submitted 0
2. 0000000000000001-3: behind 1 that start earlier, the first by 1 min; needs 2 min more head start
     virtual start 4295027296: priority counts 60 min
     submitted 239861760000
3. 0000000000000001-2: behind 2 that start earlier, the first by 9 min; needs 10 min more head start
     virtual start 4295507296
     submitted 35389440000";
    assert_eq!(words, expected);
    let [one, ..] = versions();
    let alone = decide(StrategyKind::VectorClockCausal.reconcile(), &[one]).unwrap();
    assert_eq!(
        alone.in_words().to_string(),
        "VECTOR_CLOCK_CAUSAL chose 000000000000000b-2, the only candidate\n1. 000000000000000b-2: the only candidate\n     \
         outcome 0\n     height 1\n     tie hash f7c096c88d7d084e"
    );
    assert_eq!((alone.reason(), alone.margin()), (&Reason::OnlyCandidate, 0));
}

/// Two results agree if they are the same result: a failure with the bytes of a success is not.
#[test]
fn equal_digests_agree_if_both_succeeded() {
    let [a, b] = versions();
    let reason = |other: VersionFacts| {
        let decision = decide(StrategyKind::FirstComeFirstServed.reconcile(), &[a, other]).unwrap();
        decision.standings[1].reason.code()
    };
    let same = VersionFacts { digest: a.digest, ..b };
    assert_eq!(reason(same), "AgreesWith");
    assert_eq!(reason(VersionFacts { outcome: reconvene_resolve::Outcome::Failure, ..same }), "LostTo");
    assert_eq!(reason(b), "LostTo");
}

#[test]
fn differences_of_time_are_told_in_minutes() {
    assert_eq!(Unit::Millis.minutes(60_001), Some(2));
    assert_eq!(Unit::Stamp.minutes(60_000 << 16), Some(1));
    assert_eq!(Unit::Stamp.minutes(1), Some(0), "within one millisecond");
    for unit in [Unit::Class, Unit::Tier, Unit::BasisPoints, Unit::Count, Unit::Score, Unit::Hash, Unit::Id] {
        assert_eq!(unit.minutes(60_000), None);
    }
    let decision = explain_rank(StrategyKind::FirstComeFirstServed.contention(), &jobs(), &round()).unwrap();
    assert_eq!(decision.standings[2].reason, Reason::BehindEarlier { n: 2, minutes: 61 });
    assert!(decision.to_string().ends_with("by submitted (9 min ahead)"), "{decision}");
}

#[test]
fn readings_say_how_a_word_was_made() {
    let ten = std::num::NonZeroU64::new(10).unwrap();
    let links = [
        Link::word("estimate", Unit::Millis, |job: &JobFacts, _: &RoundFacts| job.estimate_ms).bucketed(ten).reversed(),
        Link::weighted("merit", vec![reconvene_resolve::Term::new(job::PRIORITY, 2)]).bucketed(ten).bucketed(ten),
        Link::id(),
    ];
    let chain = Chain::new(reconvene_resolve::AlgorithmId::new(2_000, 1), links).unwrap();
    let [job, ..] = jobs();
    let job = JobFacts { estimate_ms: 129, priority: Priority(255), ..job };
    let breakdown = reconvene_resolve::ContentionStrategy::explain(&chain, &job, &round());
    let [estimate, merit] = breakdown.links() else { panic!("two links") };
    assert_eq!((estimate.value(), estimate.bucket, estimate.reversed), (12, ten, true));
    assert_eq!(estimate.to_string(), "estimate 12 (in steps of 10)");
    assert_eq!((merit.value(), merit.bucket.get(), merit.reversed), (200, 100, false));
    assert_eq!(merit.to_string(), "merit 200 (in steps of 100): priority counts 20000");
    assert_eq!(breakdown.to_string(), format!("estimate {}, merit 200, id 0000000000000001-1", u64::MAX - 12));
    assert_eq!(reconvene_resolve::AlgorithmId::new(2_000, 1).to_string(), "algorithm 2000 version 1");
}

#[test]
fn statistics_count_and_add_up() {
    let policy = PolicyRef { epoch: PolicyEpoch(4), id: PolicyId([9; 16]) };
    let mut here = Statistics::default();
    here.record(&by_stamp().under(policy));
    here.record(&by_priority());
    here.record(&by_priority());
    let kind = DecisionKind {
        context: Context::Contention,
        algorithm: StrategyKind::PriorityBased.algorithm(),
        policy: None,
        reason: "Chosen",
        link: Some("virtual start"),
    };
    assert_eq!(here.decisions[&kind], 2);
    assert_eq!(here.decisions.values().sum::<u64>(), 3);
    assert_eq!(here.decisions.keys().filter_map(|kind| kind.policy).collect::<Vec<_>>(), [PolicyEpoch(4)]);
    assert_eq!((here.wins[&1], here.wins[&11]), (2, 1));
    // 60,000 ms twice, and 120,000 ms of stamps.
    assert_eq!((here.margins.buckets()[16], here.margins.count()), (2, 3));
    let refused = |why| Waiting { job: CandidateId::new(1, 1), reason: Reason::PreemptionRefused { why } };
    let plan = Plan {
        late: vec![CandidateId::new(1, 1), CandidateId::new(1, 2)],
        waiting: vec![
            refused(PreemptionRefusal::Budget),
            refused(PreemptionRefusal::Budget),
            refused(PreemptionRefusal::MinRun),
            Waiting { job: CandidateId::new(1, 1), reason: Reason::AwaitingPolicy },
            Waiting { job: CandidateId::new(1, 1), reason: Reason::StormGuard },
        ],
        ..Plan::default()
    };
    here.record_plan(&plan);
    here.waits.record(5);
    here.overtakes = 1;
    here.preemptions = 2;
    here.value_placed = 3;
    here.value_offered = 4;
    here.search_gain = 5;
    let mut both = here.clone();
    both.merge(&here);
    assert_eq!((both.late, both.unresolved, both.overtakes, both.preemptions), (4, 2, 2, 4));
    assert_eq!((both.value_placed, both.value_offered, both.search_gain), (6, 8, 10));
    assert_eq!(both.preemptions_refused[&PreemptionRefusal::Budget], 4);
    assert_eq!(both.preemptions_refused[&PreemptionRefusal::MinRun], 2);
    assert_eq!((both.decisions[&kind], both.wins[&11], both.margins.count(), both.waits.count()), (4, 2, 6, 2));
    let mut full = Statistics::default();
    full.late = u64::MAX;
    full.merge(&both);
    assert_eq!(full.late, u64::MAX, "a full counter stays full");
}

/// The closed list, by its stable strings.
#[test]
fn reason_codes_are_stable() {
    let id = CandidateId::new(1, 2);
    let reasons = [
        (Reason::Chosen, "Chosen", "chosen"),
        (Reason::OnlyCandidate, "OnlyCandidate", "the only candidate"),
        (Reason::BehindHigherTier { n: 3 }, "BehindHigherTier", "behind 3 of a higher tier"),
        (
            Reason::BehindEarlier { n: 3, minutes: 4 },
            "BehindEarlier",
            "behind 3 that start earlier, the first by 4 min",
        ),
        (
            Reason::WaitingForCapacity { dimension: reconvene_resolve::Dimension::Gpu, short_by: 5 },
            "WaitingForCapacity",
            "waiting for capacity: short of 5 in gpu",
        ),
        (
            Reason::NoExecutorWithTags { missing: ["b".into(), "a".into()].into() },
            "NoExecutorWithTags",
            "no executor with the tags: missing a b",
        ),
        (Reason::NoExecutorWithTags { missing: [].into() }, "NoExecutorWithTags", "there is no executor"),
        (Reason::ReservedForOther { job: id }, "ReservedForOther", "the place is reserved for 0000000000000001-2"),
        (
            Reason::KeptAsHeadRoom { dimension: reconvene_resolve::Dimension::Memory, short_by: 5 },
            "KeptAsHeadRoom",
            "what is free is kept for life safety: short of 5 in memory",
        ),
        (Reason::DeadlineHopeless { by_ms: 6 }, "DeadlineHopeless", "would miss its deadline by 6 ms"),
        (
            Reason::LostTo { winner: id, link: "cost".into(), margin: 7 },
            "LostTo",
            "lost to 0000000000000001-2 in cost by 7",
        ),
        (Reason::AgreesWith { winner: id }, "AgreesWith", "the same result as 0000000000000001-2"),
        (
            Reason::PreemptionRefused { why: PreemptionRefusal::NotLowerTier },
            "PreemptionRefused",
            "no preemption: nothing of a lower tier runs",
        ),
        (Reason::StormGuard, "StormGuard", "the broker takes itself for cut off"),
        (Reason::ParkedAwaitingJob, "ParkedAwaitingJob", "parked until the job is known"),
        (Reason::AwaitingPolicy, "AwaitingPolicy", "waiting for the policy that must judge"),
        (
            Reason::EmergencyExpired { declaration: reconvene_resolve::DeclarationId::new(1, 2) },
            "EmergencyExpired",
            "emergency 0000000000000001-2 has ended",
        ),
        (Reason::NotPacked { value: 8, best_without: 9 }, "NotPacked", "left out of a packing worth 8; with it 9"),
    ];
    let mut spellings = std::collections::BTreeSet::new();
    for (reason, code, sentence) in reasons {
        assert_eq!((reason.code(), reason.to_string().as_str()), (code, sentence));
        let mut decision = by_stamp();
        decision.standings[1].reason = reason;
        assert!(spellings.insert(decision.canonical_bytes()), "{code} is spelt as another");
    }
    let why = [
        PreemptionRefusal::NotLowerTier,
        PreemptionRefusal::MinRun,
        PreemptionRefusal::MaxCount,
        PreemptionRefusal::Budget,
        PreemptionRefusal::WouldNotFit,
        PreemptionRefusal::CoolDown,
    ];
    let codes = why.map(|why| why.code());
    assert_eq!(codes, ["NotLowerTier", "MinRun", "MaxCount", "Budget", "WouldNotFit", "CoolDown"]);
    let sentences: std::collections::BTreeSet<_> = why.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), 6);
    let dimensions = reconvene_resolve::Dimension::ALL.map(|dimension| {
        let mut decision = by_stamp();
        decision.standings[1].reason = Reason::WaitingForCapacity { dimension, short_by: 1 };
        decision.canonical_bytes()
    });
    assert_eq!(dimensions.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}
