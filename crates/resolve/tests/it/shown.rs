//! How values are shown to people and programs.

use reconvene_resolve::laws::{self, Law};
use reconvene_resolve::{
    AlgorithmId, BasisPoints, CandidateId, Chain, Dimension, Factor, FactorValue, Histogram, InputsDigest, JobFacts,
    JobValue, Level, Link, PackingRules, Placement, Plan, Policy, PolicyEpoch, Priority, RankKey, Resources,
    Statistics, StrategyKind, SubjectId, Term, TierShares, VersionFacts, decide, job, plan_preemption, swap_pays,
    version,
};

#[test]
fn ids_and_numbers_are_shown() {
    assert_eq!(CandidateId::new(255, 7).to_string(), "00000000000000ff-7");
    assert_eq!(SubjectId::new(255, 7).to_string(), "00000000000000ff-7");
    assert_eq!(AlgorithmId::new(1, 1).to_string(), "FIRST_COME_FIRST_SERVED");
    assert_eq!(AlgorithmId::new(1, 2).to_string(), "algorithm 1 version 2");
    assert_eq!(BasisPoints::FULL.to_string(), "10000 bp");
    assert_eq!(Dimension::ALL.map(|dimension| dimension.to_string()), ["cpu", "memory", "gpu"]);
    assert_eq!(PolicyEpoch(3).to_string(), "3");
    assert_eq!(Level::new(120).unwrap().to_string(), "120");
    assert_eq!(StrategyKind::VectorClockCausal.to_string(), "VECTOR_CLOCK_CAUSAL");
    let digest = InputsDigest([0xab; 16]);
    assert_eq!(digest.to_string(), "ab".repeat(16));
    assert_eq!(format!("{digest:?}"), format!("InputsDigest({digest})"));
    let key = RankKey::new([1, 2, 3, 4, 5, 6], CandidateId::new(7, 8));
    assert_eq!(key.to_string(), "1|2|3|4|5|6|0000000000000007-8");
}

#[test]
fn what_holds_functions_is_shown_by_name() {
    let full: Factor<JobFacts> = Factor::new("full", |_, _| FactorValue::new(1, BasisPoints::FULL));
    assert_eq!(format!("{full:?}"), "Factor(\"full\")");
    assert_eq!((full.name(), full.read(&a_job(), &round())), ("full", FactorValue::new(1, BasisPoints::FULL)));
    let term = Term::new(full, 3);
    assert_eq!(format!("{term:?}"), "full × 3");
    let link = Link::weighted("merit", vec![term]).reversed();
    let shown = "Link { name: \"merit\", unit: Score, terms: Some([full × 3]), bucket: 1, reversed: true }";
    assert_eq!(format!("{link:?}"), shown);
    assert_eq!((link.name(), format!("{:?}", link.clone())), ("merit", shown.to_owned()));
    let chain = Chain::new(AlgorithmId::new(2_000, 1), [link, Link::id()]).unwrap();
    assert!(format!("{:?}", chain.clone()).contains("merit"));
    let certification = laws::contention(&chain).except(Law::WaitingNeverWorsensRank).histories(7);
    let shown = format!("{certification:?}");
    assert!(
        shown.contains("WaitingNeverWorsensRank") && shown.contains("count: 7") && shown.contains("2000"),
        "{shown}"
    );
    let judge = StrategyKind::FirstComeFirstServed.reconcile();
    assert!(format!("{:?}", laws::reconcile(judge).seed(5)).contains("seed: 5"));
    let planner = laws::preemption(&|preemptor, view, rules, now| plan_preemption(preemptor, view, rules, &[], now));
    assert!(format!("{planner:?}").starts_with("PreemptionLaws { draws: Draws { seed: 1, "));
    assert!(format!("{:?}", laws::swaps(&swap_pays)).starts_with("SwapLaws { draws: "));
    assert!(format!("{:?}", laws::policies(&Policy::decode)).starts_with("PolicyLaws { draws: "));
}

#[test]
fn laws_have_the_names_of_their_tests() {
    let names = laws::contention(StrategyKind::FirstComeFirstServed.contention()).tiers().overtake_bound_ms(0);
    let report = names.histories(0).check().unwrap();
    let names: Vec<_> = report.laws.iter().map(ToString::to_string).collect();
    assert!(names.iter().all(|name| name.starts_with("law_")), "{names:?}");
    assert!(names.contains(&"law_overtake_is_bounded".to_owned()) && names.contains(&"law_tier_dominates".to_owned()));
    assert_eq!(names.len(), 9);
}

fn round() -> reconvene_resolve::RoundFacts {
    reconvene_resolve::RoundFacts::new(1, Resources::default())
}

fn a_job() -> JobFacts {
    JobFacts { priority: Priority(255), ..JobFacts::new(CandidateId::new(1, 1), Default::default()) }
}

#[test]
fn factors_read_what_they_say() {
    let quality = VersionFacts {
        quality: BasisPoints::new(7).unwrap(),
        ..VersionFacts::new(SubjectId::NONE, CandidateId::new(1, 1), Default::default())
    };
    assert_eq!(version::QUALITY.read(&quality, &()), FactorValue::new(7, BasisPoints::new(7).unwrap()));
    assert_eq!(job::PRIORITY.read(&a_job(), &round()), FactorValue::new(255, BasisPoints::FULL));
    assert_eq!(job::DEADLINE.read(&a_job(), &round()), FactorValue::ABSENT);
}

#[test]
fn parameters_can_be_read_back() {
    let rules = PackingRules { starvation_after_ms: 5, search_rounds: 3 };
    let policy = Policy::builder(StrategyKind::ResourceOptimal).packing(rules).build().unwrap();
    assert_eq!(policy.packing(), &rules);
    let parts = [1, 2, 3, 4].map(|bp| BasisPoints::new(bp).unwrap());
    let shares = TierShares::try_from(parts).unwrap();
    assert_eq!(<[BasisPoints; 4]>::from(shares), parts);
    assert!(TierShares::try_from([BasisPoints::FULL; 4]).is_err());
    let placed = Plan { placements: vec![Placement { job: a_job().id, executor: 0 }], ..Plan::default() };
    let other = JobFacts { id: CandidateId::new(1, 2), ..a_job() };
    assert_eq!((placed.value(&[a_job(), other]), Plan::default().value(&[a_job()])), (1, 0));
}

#[test]
fn ranges_hold_on_every_way_in() {
    assert_eq!(Level::try_from(150), Ok(Level::CRITICAL_INFRASTRUCTURE));
    assert_eq!(u8::from(Level::CRITICAL_INFRASTRUCTURE), 150);
    assert_eq!(Level::try_from(201).unwrap_err().to_string(), "emergency level of 201 is outside 0..=200");
    assert_eq!(BasisPoints::try_from(77).map(u16::from), Ok(77));
    assert_eq!(BasisPoints::try_from(10_001).unwrap_err().to_string(), "basis points of 10001 is outside 0..=10000");
    assert_eq!(JobValue::try_from(77).map(u32::from), Ok(77));
    assert_eq!(JobValue::try_from(0).unwrap_err().to_string(), "job value of 0 is outside 1..=1000000");
    assert_eq!((JobValue::default(), Level::default()), (JobValue::ONE, Level::ROUTINE));
    assert_eq!(SubjectId::from(CandidateId::new(1, 2)), SubjectId::new(1, 2));
    assert_eq!((BasisPoints::TENTH.of(99), BasisPoints::FULL.of(u64::MAX)), (9, u64::MAX));
    assert_eq!(BasisPoints::TENTH.complement().get(), 9_000);
    let some = Resources::new(1, 2, 3);
    assert_eq!(some.saturating_add(&Resources::new(10, 20, u64::MAX)), Resources::new(11, 22, u64::MAX));
    assert_eq!(Resources::new(10, 20, 1).saturating_sub(&some), Resources::new(9, 18, 0));
    assert_eq!(Resources::new(10, 29, 30).portion(BasisPoints::TENTH), Resources::new(1, 2, 3));
}

/// Through serde values go by name, numbers by their ranges.
#[test]
fn values_survive_json() {
    let policy = Policy::emergency_first();
    let id = serde_json::to_string(&policy.id()).unwrap();
    assert_eq!(serde_json::from_str::<reconvene_resolve::PolicyId>(&id).unwrap(), policy.id());
    let ageing = serde_json::to_string(policy.ageing()).unwrap();
    assert!(ageing.contains("\"lose_urgency\""), "{ageing}");
    assert_eq!(&serde_json::from_str::<reconvene_resolve::AgeingRules>(&ageing).unwrap(), policy.ageing());
    let greedy = ageing.replace("[1000,1000,1000,1000]", "[9000,1000,1000,1000]");
    assert!(serde_json::from_str::<reconvene_resolve::AgeingRules>(&greedy).is_err(), "more than the whole");
    let (job, kind) = (a_job(), StrategyKind::EmergencyFirst);
    let text = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<JobFacts>(&text).unwrap(), job);
    assert_eq!(serde_json::to_string(&kind).unwrap(), "\"EMERGENCY_FIRST\"");
    let version = VersionFacts::new(SubjectId::NONE, CandidateId::new(1, 1), Default::default());
    let decision = decide(kind.reconcile(), &[version]).unwrap();
    let text = serde_json::to_value(&decision).unwrap();
    assert_eq!(text["standings"][0]["reason"], "OnlyCandidate");
    let mut statistics = Statistics::default();
    statistics.waits.record(1);
    let buckets = serde_json::to_value(statistics.waits).unwrap();
    assert_eq!((buckets[0].as_u64(), buckets[1].as_u64()), (Some(0), Some(1)));
    assert_eq!(buckets.as_array().map(Vec::len), Some(Histogram::BUCKETS));
}
