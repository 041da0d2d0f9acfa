//! The worked examples of the design, to the key word.

use std::collections::BTreeSet;

use reconvene_clock::{Causality, Counter, Dot, Height, Hlc, ReplicaId, VectorClock, WallTime};
use reconvene_resolve::{
    BasisPoints, CandidateId, CausalOrder, ContentionStrategy, JobFacts, Level, Outcome, Priority, Reason,
    ReconcileStrategy, Resources, RoundFacts, StrategyKind, SubjectId, VectorClockCausal, VersionFacts, decide,
    explain_rank, rank, resolve, top,
};

fn stamp(ms: u64, logical: u16) -> Hlc {
    Hlc::from_parts(WallTime::from_millis(ms), logical).unwrap()
}

fn round() -> RoundFacts {
    RoundFacts::new(1, RoundFacts::REFERENCE)
}

/// Jobs A to F of section 3.1, with the heights given there.
fn jobs() -> Vec<JobFacts> {
    #[rustfmt::skip]
    let table = [
        //  submit, prio, slack,        work,       demand,                  level, height
        (        0,  255, None::<u64>,        28_800_000, [16_000, 65_536,     0],   0, 5),
        (  600_000,  102, None,          14_400_000, [ 8_000,  8_192,     0],   0, 3),
        (1_200_000,  255, None,           2_880_000, [ 1_600,  6_553,     0],   0, 9),
        (1_800_000,   51, Some(900_000), 28_800_000, [ 4_000, 32_768,     0], 100, 4),
        (2_400_000,    0, None,          28_800_000, [16_000, 16_384, 4_000], 200, 8),
        (12_000_000, 255, Some(0),                0, [     0,      0,     0],  50, 7),
    ];
    let rows = table.iter().zip(1..);
    rows.map(|(&(submit, priority, slack, work, [cpu, memory, gpu], level, height), number)| JobFacts {
        priority: Priority(priority),
        deadline: slack.map(|slack| WallTime::from_millis(submit + slack)),
        work_core_ms: Some(work),
        demand: Resources::new(cpu, memory, gpu),
        level: Level::new(level).unwrap(),
        height: Height::new(height).unwrap(),
        ..JobFacts::new(CandidateId::new(1, number), stamp(submit, 0))
    })
    .collect()
}

/// The order as letters: candidate (1, 1) is A.
fn letters(order: &[CandidateId]) -> String {
    order.iter().map(|id| char::from(b'A' + u8::try_from(id.0[1] - 1).unwrap())).collect()
}

#[test]
fn contention_orders_match_the_worked_example() {
    let (jobs, round) = (jobs(), round());
    for (kind, expected) in [
        (StrategyKind::FirstComeFirstServed, "ABCDEF"),
        (StrategyKind::PriorityBased, "EDCABF"),
        (StrategyKind::EmergencyFirst, "EDFCAB"),
        (StrategyKind::VectorClockCausal, "BDAFEC"),
    ] {
        assert_eq!(letters(&rank(kind.contention(), &jobs, &round)), expected, "{kind}");
        assert_eq!(letters(&top(kind.contention(), &jobs, &round, 3)), expected[..3], "{kind}");
    }
}

#[test]
fn contention_words_match_the_worked_example() {
    let (jobs, round) = (jobs(), round());
    let words = |strategy: &dyn ContentionStrategy, index: usize| {
        jobs.iter().map(|job| strategy.key(job, &round).word(index)).collect::<Vec<_>>()
    };
    let by_priority = StrategyKind::PriorityBased.contention();
    assert_eq!(
        words(by_priority, 0),
        [4_291_367_296, 4_293_227_296, 4_290_947_296, 4_290_647_296, 4_290_167_296, 4_297_967_296]
    );
    let by_emergency = StrategyKind::EmergencyFirst.contention();
    assert_eq!(words(by_emergency, 0), [200, 200, 200, 100, 0, 150]);
    assert_eq!(
        words(by_emergency, 1),
        [4_291_367_296, 4_293_227_296, 4_290_947_296, 4_294_247_296, 4_297_367_296, 4_299_767_296]
    );
    assert_eq!(words(by_priority, 1)[1], 39_321_600_000, "the stamp of B");
}

#[test]
fn a_twin_with_a_greater_id_comes_directly_after() {
    let mut jobs = jobs();
    jobs.push(JobFacts { id: CandidateId::new(1, 7), ..jobs[1].clone() });
    for (kind, expected) in [
        (StrategyKind::FirstComeFirstServed, "ABGCDEF"),
        (StrategyKind::PriorityBased, "EDCABGF"),
        (StrategyKind::EmergencyFirst, "EDFCABG"),
    ] {
        assert_eq!(letters(&rank(kind.contention(), &jobs, &round())), expected, "{kind}");
    }
}

#[test]
fn a_late_job_loses_its_deadline_factor() {
    let mut job = JobFacts {
        priority: Priority(255),
        estimate_ms: 1_800_000,
        deadline: Some(WallTime::from_millis(2_400_000)),
        // Nothing of smallness, as in the example.
        demand: RoundFacts::REFERENCE,
        ..JobFacts::new(CandidateId::new(1, 1), stamp(0, 0))
    };
    let strategy = StrategyKind::PriorityBased.contention();
    assert_eq!(strategy.key(&job, &round()).word(0), 4_289_867_176);
    job.late = true;
    assert_eq!(strategy.key(&job, &round()).word(0), 4_291_367_296);
}

#[test]
fn densities_match_the_worked_example() {
    let total = Resources::new(20, 20, 4);
    let job = |number, cpu, memory, gpu, value| JobFacts {
        demand: Resources::new(cpu, memory, gpu),
        value: reconvene_resolve::JobValue::new(value).unwrap(),
        ..JobFacts::new(CandidateId::new(1, number), stamp(0, 0))
    };
    let jobs = [job(1, 6, 6, 0, 5), job(2, 5, 5, 0, 4), job(3, 5, 5, 0, 4), job(4, 5, 5, 0, 4), job(5, 4, 4, 4, 6)];
    let strategy = StrategyKind::ResourceOptimal.contention();
    let round = RoundFacts::new(1, total);
    assert_eq!(strategy.key(&jobs[0], &round).word(0), 18_446_744_073_692_075_304);
    let densities: Vec<u64> = jobs.iter().map(|job| u64::MAX - strategy.key(job, &round).word(0)).collect();
    assert_eq!(densities, [17_476_311, 16_777_216, 16_777_216, 16_777_216, 6_291_456]);
    assert_eq!(letters(&rank(strategy, &jobs, &round)), "ABCDE");
}

/// Versions v1 to v5 of section 3.2.
fn versions() -> Vec<VersionFacts> {
    #[rustfmt::skip]
    let table = [
        // id,      outcome,          stamp,      attempt, quality, placement, level, cost,  height
        ([11, 3], Outcome::Success, (5_000, 0), (1, 1),  9_000,    700,   0, 40_000, 17),
        ([12, 9], Outcome::Success, (5_000, 0), (2, 1),  9_000,    800, 100, 30_000, 21),
        ([13, 4], Outcome::Success, (4_200, 1), (1, 1),  8_000,    900, 200, 90_000, 19),
        ([14, 2], Outcome::Failure, (  100, 0), (1, 1), 10_000,    999, 200,     10,  2),
        ([15, 1], Outcome::Success, (5_000, 0), (1, 1),  9_000,    700,   0, 40_000, 17),
    ];
    let rows = table.into_iter();
    rows.map(|(id, outcome, (ms, logical), (epoch, number), quality, placement, level, cost, height)| VersionFacts {
        outcome,
        attempt_epoch: epoch,
        attempt_number: number,
        quality: BasisPoints::new(quality).unwrap(),
        placement,
        level: Level::new(level).unwrap(),
        cost_resource_ms: cost,
        height: Height::new(height).unwrap(),
        digest: [u8::try_from(id[0]).unwrap(); 32],
        ..VersionFacts::new(SubjectId::new(1, 7), CandidateId(id), stamp(ms, logical))
    })
    .collect()
}

/// The order as numbers: the version with issuer 11 is 1.
fn numbers(strategy: &dyn ReconcileStrategy) -> Vec<u64> {
    let decision = decide(strategy, &versions()).unwrap();
    decision.standings.iter().map(|standing| standing.id.0[0] - 10).collect()
}

#[test]
fn divergence_orders_match_the_worked_example() {
    assert_eq!(numbers(StrategyKind::FirstComeFirstServed.reconcile()), [3, 1, 5, 2, 4]);
    assert_eq!(numbers(StrategyKind::PriorityBased.reconcile()), [2, 1, 5, 3, 4]);
    assert_eq!(numbers(StrategyKind::EmergencyFirst.reconcile()), [3, 2, 1, 5, 4]);
    assert_eq!(numbers(StrategyKind::ResourceOptimal.reconcile()), [2, 1, 5, 3, 4]);
    assert_eq!(numbers(&VectorClockCausal::new(CausalOrder::Earliest)), [1, 5, 3, 2, 4]);
    assert_eq!(numbers(&VectorClockCausal::new(CausalOrder::Latest)), [2, 3, 1, 5, 4]);
}

#[test]
fn divergence_words_match_the_worked_example() {
    let strategy = StrategyKind::FirstComeFirstServed.reconcile();
    let stamps: Vec<u64> = versions().iter().map(|version| strategy.key(version).word(1)).collect();
    assert_eq!(stamps, [327_680_000, 327_680_000, 275_251_201, 6_553_600, 327_680_000]);
    let ties: Vec<u64> = versions().iter().map(|version| strategy.key(version).word(3)).collect();
    assert_eq!(
        ties,
        [
            0x72ab_fe32_3a61_6e84,
            0x075e_8ca3_cc12_7017,
            0xaa93_27ff_51e0_c277,
            0x46d5_6509_f1a7_4d24,
            0x7bd5_c82a_a2ae_bea7
        ]
    );
}

#[test]
fn a_decision_names_the_link_that_decided() {
    let decision = decide(StrategyKind::FirstComeFirstServed.reconcile(), &versions()).unwrap();
    let deciding = decision.deciding.unwrap();
    assert_eq!((deciding.link, deciding.margin), ("accepted", 327_680_000 - 275_251_201));
    assert_eq!(decision.standings[0].reason, Reason::Chosen);
    assert!(matches!(&decision.standings[4].reason, Reason::LostTo { link, margin: 1, .. } if link == "outcome"));

    let first_two = [versions()[0], VersionFacts { digest: versions()[0].digest, ..versions()[4] }];
    let decision = decide(StrategyKind::FirstComeFirstServed.reconcile(), &first_two).unwrap();
    assert_eq!(decision.deciding.unwrap().link, "tie hash");
    assert_eq!(decision.standings[1].reason, Reason::AgreesWith { winner: CandidateId::new(11, 3) });
}

#[test]
fn a_ranking_says_who_stands_before_whom() {
    let decision = explain_rank(StrategyKind::EmergencyFirst.contention(), &jobs(), &round()).unwrap();
    assert_eq!(decision.standings[0].reason, Reason::Chosen);
    assert_eq!(decision.standings[1].reason, Reason::BehindHigherTier { n: 1 });
    let decision = explain_rank(StrategyKind::FirstComeFirstServed.contention(), &jobs(), &round()).unwrap();
    assert_eq!(decision.standings[1].reason, Reason::BehindEarlier { n: 1, minutes: 10 });
}

/// The whole of two keys, so that no word is added, dropped or moved without a new algorithm version.
#[test]
fn golden_keys() {
    let job = &jobs()[3];
    let key = StrategyKind::EmergencyFirst.contention().key(job, &round());
    assert_eq!(key.to_string(), "100|4294247296|117964800000|0|0|0|0000000000000001-4");
    let key = StrategyKind::PriorityBased.reconcile().key(&versions()[1]);
    let tie = 0x075e_8ca3_cc12_7017_u64;
    let rev_placement = u64::MAX - 800;
    assert_eq!(key.words(), &[0, 1_000, rev_placement, 327_680_000, 2 << 32 | 1, tie]);
    assert_eq!(key.id(), CandidateId::new(12, 9));
}

#[test]
fn a_job_is_late_when_a_start_now_misses_its_deadline() {
    let job = JobFacts {
        estimate_ms: 1_800_000,
        deadline: Some(WallTime::from_millis(2_400_000)),
        ..JobFacts::new(CandidateId::new(1, 1), stamp(0, 0))
    };
    assert_eq!(job.slack_ms(), Some(600_000));
    assert_eq!(job.misses_deadline_by(WallTime::from_millis(600_000)), None);
    assert_eq!(job.misses_deadline_by(WallTime::from_millis(600_001)), Some(1));
    assert_eq!(JobFacts { deadline: None, ..job }.misses_deadline_by(WallTime::from_millis(u64::MAX)), None);
}

#[test]
fn a_margin_is_told_in_minutes_only_where_it_is_time() {
    let all = jobs();
    // F of tier 150 is behind E alone; C of tier 200 behind E, D and F, and of its own tier the first.
    let decision = explain_rank(StrategyKind::EmergencyFirst.contention(), &all, &round()).unwrap();
    let reasons: Vec<_> = decision.standings.iter().map(|standing| standing.reason.clone()).collect();
    let higher = |n| Reason::BehindHigherTier { n };
    assert_eq!(reasons, [Reason::Chosen, higher(1), higher(2), higher(3), higher(3), higher(3)]);
    // E starts 480,000 ms before D, virtually.
    let decision = explain_rank(StrategyKind::PriorityBased.contention(), &all, &round()).unwrap();
    assert_eq!(decision.standings[1].reason, Reason::BehindEarlier { n: 1, minutes: 8 });
    assert_eq!(decision.deciding.unwrap().margin, 480_000);
    // A difference of heights is no time.
    let decision = explain_rank(StrategyKind::VectorClockCausal.contention(), &all, &round()).unwrap();
    assert_eq!(decision.standings[1].reason.code(), "LostTo");
}

#[test]
fn first_come_and_causal_stand_and_the_others_judge() {
    let judged: Vec<_> = StrategyKind::ALL.into_iter().filter(|kind| kind.admits_challengers()).collect();
    assert_eq!(judged, [StrategyKind::PriorityBased, StrategyKind::EmergencyFirst, StrategyKind::ResourceOptimal]);
}

/// Case 5 of the clocks' known answers: why no strategy compares two candidates, and that heights have no such cycle.
#[test]
fn a_pairwise_causal_else_writer_rule_is_cyclic_and_keys_are_not() {
    let replica = |number| ReplicaId::new(number).unwrap();
    let x = VectorClock::from_iter([Dot { replica: replica(3), counter: Counter::MIN }]);
    let z = VectorClock::from_iter([Dot { replica: replica(2), counter: Counter::MIN }]);
    let mut y = x.clone();
    y.increment(replica(1)).unwrap();
    let (x, y, z) = ((&x, 3, 1), (&y, 1, 2), (&z, 2, 1));

    let beats = |a: (&VectorClock, u64, u64), b: (&VectorClock, u64, u64)| match a.0.compare(b.0) {
        Causality::After => true,
        Causality::Before => false,
        Causality::Equal | Causality::Concurrent => a.1 > b.1,
    };
    assert!(beats(y, x) && beats(z, y) && beats(x, z), "x < y < z < x");
    let orders = [[x, y, z], [x, z, y], [y, x, z], [y, z, x], [z, x, y], [z, y, x]];
    let folded = orders.map(|order| order.into_iter().reduce(|held, new| if beats(new, held) { new } else { held }));
    let winners: BTreeSet<u64> = folded.iter().map(|winner| winner.unwrap().1).collect();
    assert_eq!(winners.len(), 3, "each of the three wins in some order");

    let latest = VectorClockCausal::new(CausalOrder::Latest);
    for order in orders {
        let versions = order.map(|(_, writer, height)| VersionFacts {
            height: Height::new(height).unwrap(),
            ..VersionFacts::new(SubjectId::new(1, 7), CandidateId::new(writer, 1), stamp(0, 0))
        });
        assert_eq!(resolve(&latest, &versions).unwrap().id, CandidateId::new(1, 1), "y, which knew of x");
    }
}
