//! Policies: their one spelling, what is refused, and which of them judges what.

use reconvene_resolve::{
    AgeingRules, AlgorithmId, BasisPoints, CandidateId, CausalOrder, ChainError, HeadRoom, HeadStartMinutes, JobFacts,
    LateRule, Level, PackingRules, Pin, PinEpoch, Policy, PolicyChoice, PolicyDecodeError, PolicyEpoch, PolicyError,
    PolicyId, PolicyRegistry, PreemptionRules, Reason, RegistryError, Resources, RoundFacts, StrategyKind, TierShares,
    Unresolved, UnresolvedCause, rank,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn default_bytes(kind: StrategyKind) -> Vec<u8> {
    Policy::of(kind).canonical_bytes()
}

#[test]
fn golden_v1_policies() {
    let golden = include_str!("../golden/policies-v1.txt");
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    for kind in StrategyKind::ALL {
        let policy = Policy::of(kind);
        let line = format!("{} {} {}", kind.name(), hex(&policy.canonical_bytes()), policy.id());
        assert_eq!(lines.next(), Some(line.as_str()));
        assert_eq!(Policy::decode(&policy.canonical_bytes()), Ok(policy));
    }
    assert_eq!(lines.next(), None);
}

/// Each parameter that is not at its default, in the place that the format gives it.
#[test]
fn golden_v1_policy_without_defaults() {
    let share = |bp| BasisPoints::new(bp).unwrap();
    let shares = TierShares::new([share(1), share(2), share(3), share(4)]).unwrap();
    let late = LateRule::Keep;
    let policy = Policy::builder(StrategyKind::EmergencyFirst)
        .head_start(HeadStartMinutes { priority: 1, deadline: 2, lightness: 3, smallness: 4, emergency: 5 })
        .ageing(AgeingRules { late, reserve_after_ms: 6, floor_after_ms: 7, shares })
        .preemption(PreemptionRules {
            enabled: false,
            tier_gap: 8,
            min_run_ms: 9,
            max_count: 10,
            cool_down_ms: 11,
            grace_ms: 12,
            reserve_ms: 13,
            budget: 14,
            refill_ms: 15,
        })
        .build()
        .unwrap();
    let u64s = |tag: u8, value: u8| format!("{tag:02x}000800{value:02x}00000000000000");
    let u32s = |tag: u8, value: u8| format!("{tag:02x}000400{value:02x}000000");
    let expected = [
        "52435650010300 0100".replace(' ', ""),
        (1..=5).map(|tag| u32s(tag, tag)).collect(),
        "1000010003".to_owned() + &u64s(0x11, 6) + &u64s(0x12, 7) + "130008000100020003000400",
        "20000100002100010008".to_owned() + &u64s(0x22, 9) + &u32s(0x23, 10) + &u64s(0x24, 11),
        u64s(0x25, 12) + &u64s(0x26, 13) + &u32s(0x27, 14) + &u64s(0x28, 15),
    ];
    assert_eq!(hex(&policy.canonical_bytes()), expected.concat());
    assert_eq!(Policy::decode(&policy.canonical_bytes()), Ok(policy));

    let packed = Policy::builder(StrategyKind::ResourceOptimal)
        .packing(PackingRules { starvation_after_ms: 1, search_rounds: 3 })
        .build()
        .unwrap();
    assert!(hex(&packed.canonical_bytes()).ends_with("4000080001000000000000004100010003"));
    let latest = Policy::vector_clock_causal(CausalOrder::Latest);
    assert!(hex(&latest.canonical_bytes()).ends_with("3000010001"));
    for policy in [packed, latest] {
        assert_eq!(Policy::decode(&policy.canonical_bytes()), Ok(policy));
    }
}

/// What format 2 adds, and that a policy has one spelling in both formats together.
#[test]
fn golden_v2_policy_with_a_head_room() {
    let with = |room| Policy::builder(StrategyKind::EmergencyFirst).head_room(HeadRoom::new(room)).build().unwrap();
    let policy = with(Resources::new(3_000, 2, 1));
    let golden = include_str!("../golden/policies-v2.txt");
    let line = format!("EMERGENCY_FIRST {} {}", hex(&policy.canonical_bytes()), policy.id());
    assert_eq!(golden.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(), [line]);
    let bytes = policy.canonical_bytes();
    assert_eq!(Policy::decode(&bytes), Ok(policy));
    // All of format 1, then three parameters of 12 bytes.
    let first = default_bytes(StrategyKind::EmergencyFirst);
    let (start, added) = bytes.split_at(first.len());
    assert_eq!((&start[..4], start[4], &start[5..]), (&first[..4], 2, &first[5..]));
    assert_eq!(hex(added), "50000800b80b000000000000510008000200000000000000520008000100000000000000");

    use PolicyDecodeError as E;
    let refusal = |parts: &[&[u8]]| Policy::decode(&parts.concat()).unwrap_err();
    assert_eq!(refusal(&[start]), E::Missing { tag: 80 }, "format 2 writes it");
    assert_eq!(refusal(&[start, &added[..24]]), E::Missing { tag: 82 });
    assert_eq!(refusal(&[&first, added]), E::Unknown { tag: 80 }, "format 1 does not know it");
    let none: Vec<u8> = added.chunks(12).flat_map(|one| [&one[..4], &[0; 8]].concat()).collect();
    assert_eq!(refusal(&[start, &none]), E::NotCanonical, "without one format 1 can say it");
    let fair = default_bytes(StrategyKind::FirstComeFirstServed);
    assert_eq!(refusal(&[&fair[..4], &[2], &fair[5..], added]), E::Unknown { tag: 80 });
    for room in [Resources::new(1, 0, 0), Resources::new(0, 1, 0), Resources::new(0, 0, u64::MAX)] {
        let policy = with(room);
        assert_eq!((policy.canonical_bytes()[4], policy.head_room().room()), (2, &room));
        assert_eq!(Policy::decode(&policy.canonical_bytes()), Ok(policy));
    }
}

#[test]
fn every_other_spelling_is_refused() {
    use PolicyDecodeError as E;
    let good = default_bytes(StrategyKind::VectorClockCausal);
    let refusal = |bytes: &[u8]| Policy::decode(bytes).unwrap_err();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refusal(&bytes)
    };
    assert_eq!(refusal(b""), E::NotAPolicy);
    assert_eq!(with(0, b'r'), E::NotAPolicy);
    assert_eq!(refusal(b"RCVP"), E::Truncated);
    assert_eq!(with(4, 0), E::UnknownFormat { format: 0 });
    assert_eq!(with(4, 2), E::NotCanonical, "format 1 can say all of it");
    assert_eq!(with(4, 3), E::UnknownFormat { format: 3 });
    assert_eq!(refusal(&good[..7]), E::Truncated);
    assert_eq!(with(5, 99), E::UnknownAlgorithm { algorithm: AlgorithmId::new(99, 1) });
    assert_eq!(with(7, 2), E::UnknownAlgorithm { algorithm: AlgorithmId::new(5, 2) });
    assert_eq!(refusal(&vec![0; 4_097]), E::TooLong { length: 4_097 });
    assert_eq!(refusal(&vec![0; 4_096]), E::NotAPolicy);
    for length in 10..good.len() {
        assert!(Policy::decode(&good[..length]).is_err(), "{length} bytes");
    }

    // The parameters one by one: header 9 bytes, then late (5), two times of 12, shares (12), causal order (5).
    let (header, parameters) = good.split_at(9);
    let (late, rest) = parameters.split_at(5);
    let (times, rest) = rest.split_at(24);
    let (shares, order) = rest.split_at(12);
    let join = |parts: &[&[u8]]| refusal(&[&[header], parts].concat().concat());
    assert_eq!(join(&[late, times, shares]), E::Missing { tag: 48 });
    assert_eq!(join(&[times, shares, order]), E::Missing { tag: 16 });
    assert_eq!(join(&[late, times, shares, order, order]), E::Unordered { tag: 48, after: 48 });
    assert_eq!(join(&[late, times, order, shares]), E::Unordered { tag: 19, after: 48 });
    assert_eq!(join(&[late, times, shares, order, &[64, 0, 0, 0]]), E::Unknown { tag: 64 });
    assert_eq!(join(&[&[1, 0, 0, 0], late, times, shares, order]), E::Unknown { tag: 1 });
    assert_eq!(join(&[late, times, shares, order, &[0]]), E::Truncated);
    assert_eq!(join(&[late, times, shares, &[48, 0, 2, 0, 0, 0]]), E::Value { tag: 48 });
    assert_eq!(join(&[late, times, shares, &[48, 0, 1, 0, 2]]), E::Value { tag: 48 });
    assert_eq!(join(&[&[16, 0, 1, 0, 4], times, shares, order]), E::Value { tag: 16 });
    let too_many = [19, 0, 8, 0, 0x11, 0x27, 0, 0, 0, 0, 0, 0];
    assert_eq!(join(&[late, times, &too_many, order]), E::Value { tag: 19 });
    let more_than_all = [19, 0, 8, 0, 0x10, 0x27, 1, 0, 0, 0, 0, 0];
    assert_eq!(join(&[late, times, &more_than_all, order]), E::Value { tag: 19 });
}

#[test]
fn bytes_of_no_policy_are_refused_with_the_cause() {
    let mut bytes = default_bytes(StrategyKind::PriorityBased);
    // 71,583 minutes of priority alone: header 9, tag and length 4.
    bytes[13..17].copy_from_slice(&71_583_u32.to_le_bytes());
    let too_long = ChainError::HeadStartTooLong { minutes: 71_763 };
    assert_eq!(Policy::decode(&bytes).unwrap_err(), PolicyDecodeError::Invalid(PolicyError::HeadStart(too_long)));
    let mut bytes = default_bytes(StrategyKind::ResourceOptimal);
    *bytes.last_mut().unwrap() = 17;
    let out = PolicyError::OutOfRange { parameter: "search rounds", found: 17, least: 0, most: 16 };
    assert_eq!(Policy::decode(&bytes).unwrap_err(), PolicyDecodeError::Invalid(out));
    assert_eq!(out.to_string(), "`search rounds` of 17 is outside 0..=16");
}

#[test]
fn a_policy_that_exists_is_valid() {
    let foreign = |parameter, strategy| Err(PolicyError::NotAParameter { parameter, strategy });
    let build = Policy::builder;
    use StrategyKind as K;
    for kind in [K::FirstComeFirstServed, K::ResourceOptimal, K::VectorClockCausal] {
        let set = build(kind).head_start(HeadStartMinutes::PRIORITY_BASED).build();
        assert_eq!(set, foreign("head start", kind));
    }
    for kind in [K::FirstComeFirstServed, K::PriorityBased, K::VectorClockCausal] {
        assert_eq!(build(kind).preemption(PreemptionRules::default()).build(), foreign("preemption", kind));
        assert_eq!(build(kind).packing(PackingRules::default()).build(), foreign("packing", kind));
    }
    assert_eq!(
        build(K::EmergencyFirst).causal_order(CausalOrder::Latest).build(),
        foreign("causal order", K::EmergencyFirst)
    );
    let out = |parameter, found, least, most| Err(PolicyError::OutOfRange { parameter, found, least, most });
    let rules = |rules| build(K::EmergencyFirst).preemption(rules).build();
    let default = PreemptionRules::default();
    assert_eq!(rules(PreemptionRules { tier_gap: 201, ..default }), out("tier gap", 201, 0, 200));
    assert_eq!(rules(PreemptionRules { refill_ms: 0, ..default }), out("preemption refill", 0, 1, u64::MAX));
    assert_eq!(
        rules(PreemptionRules { budget: 1_000_001, ..default }),
        out("preemption budget", 1_000_001, 0, 1_000_000)
    );
    assert!(rules(PreemptionRules { tier_gap: 200, refill_ms: 1, budget: 1_000_000, ..default }).is_ok());
    let late = build(K::ResourceOptimal).late(LateRule::LateTier).build();
    assert_eq!(late, Err(PolicyError::NoLateTier { strategy: K::ResourceOptimal }));
    let whole = BasisPoints::FULL;
    let shares = TierShares::new([whole, BasisPoints::new(1).unwrap(), BasisPoints::ZERO, BasisPoints::ZERO]);
    assert_eq!(shares.unwrap_err().sum, 10_001);
    assert_eq!(TierShares::new([whole; 4]).unwrap_err().sum, 40_000);
}

#[test]
fn defaults_are_those_of_the_named_strategies() {
    for kind in StrategyKind::ALL {
        let policy = Policy::of(kind);
        assert_eq!(policy, Policy::builder(kind).build().unwrap());
        assert_eq!(policy.kind(), kind);
        assert_eq!(policy.algorithm(), kind.algorithm());
        assert_eq!(policy.contention().algorithm(), kind.algorithm());
        assert_eq!(policy.reconcile().algorithm(), kind.algorithm());
    }
    let bounds = StrategyKind::ALL.map(|kind| Policy::of(kind).overtake_bound_ms());
    assert_eq!(bounds, [Some(0), Some(14_400_000), Some(7_200_000), None, None]);
    let reserve = StrategyKind::ALL.map(|kind| Policy::of(kind).ageing().reserve_after_ms);
    assert_eq!(reserve, [14_400_000, 14_400_000, 7_200_000, 14_400_000, 14_400_000]);
    let preempts = StrategyKind::ALL.map(|kind| Policy::of(kind).preemption().enabled);
    assert_eq!(preempts, [false, false, true, false, false]);
    assert_eq!(Policy::resource_optimal(), Policy::of(StrategyKind::ResourceOptimal));
    assert_eq!(Policy::first_come_first_served(), Policy::of(StrategyKind::FirstComeFirstServed));
    assert_eq!(Policy::emergency_first(), Policy::of(StrategyKind::EmergencyFirst));
    let short = HeadStartMinutes { priority: 1, deadline: 0, lightness: 0, smallness: 0, emergency: 0 };
    let short = Policy::priority_based(short).unwrap();
    assert_eq!((short.overtake_bound_ms(), short.head_start().priority), (Some(60_000), 1));
    assert_ne!(short.id(), Policy::of(StrategyKind::PriorityBased).id());
    let latest = Policy::vector_clock_causal(CausalOrder::Latest);
    assert_eq!(latest.causal_order(), CausalOrder::Latest);
    assert_ne!(latest.id(), Policy::of(StrategyKind::VectorClockCausal).id());
}

/// With a tier of late jobs every strategy puts them behind the others, an emergency still before everybody.
#[test]
fn a_late_tier_is_within_the_tier_of_the_level() {
    let jobs: Vec<JobFacts> = [(1, true, Level::ELEVATED), (2, true, Level::ROUTINE), (3, false, Level::ROUTINE)]
        .into_iter()
        .map(|(number, late, level)| JobFacts {
            late,
            level,
            ..JobFacts::new(CandidateId::new(1, number), Default::default())
        })
        .collect();
    let round = RoundFacts::new(1, Resources::default());
    let order =
        |policy: &Policy| -> Vec<u64> { rank(policy.contention(), &jobs, &round).iter().map(|id| id.0[1]).collect() };
    let late_tier = |kind| Policy::builder(kind).late(LateRule::LateTier).build().unwrap();
    assert_eq!(order(&late_tier(StrategyKind::EmergencyFirst)), [1, 3, 2]);
    assert_eq!(order(&late_tier(StrategyKind::FirstComeFirstServed)), [3, 1, 2]);
    assert_eq!(order(&late_tier(StrategyKind::PriorityBased)), [3, 1, 2]);
    assert_eq!(order(&late_tier(StrategyKind::VectorClockCausal))[0], 3);
    assert_eq!(order(&Policy::of(StrategyKind::FirstComeFirstServed)), [1, 2, 3]);
    let words = late_tier(StrategyKind::EmergencyFirst).contention().explain(&jobs[1], &round);
    let names: Vec<_> = words.links().iter().map(|link| link.name).collect();
    assert_eq!(names, ["tier", "late", "virtual start", "submitted"]);
}

#[test]
fn an_unknown_policy_is_awaited_and_never_guessed() {
    let mut registry = PolicyRegistry::default();
    let fair = Policy::first_come_first_served();
    let awaited = |policy, cause| Unresolved::AwaitingPolicy { policy, cause };
    let missing = awaited(fair.id(), UnresolvedCause::UnknownPolicy);
    assert_eq!(registry.get(fair.id()), Err(missing));
    assert_eq!(missing.reason(), Reason::AwaitingPolicy);
    assert!(registry.contention().is_none(), "nothing was chosen");
    let choice = registry.switch_to(fair.id(), 0).unwrap();
    assert!(registry.observe(choice));
    assert_eq!(registry.contention(), Some(Err(missing)));
    assert_eq!(registry.divergence(Pin::at_admission(fair.id())), Err(missing));

    assert_eq!(registry.insert(&fair.canonical_bytes()), Ok(fair.id()));
    let (named, found) = registry.contention().unwrap().unwrap();
    assert_eq!((named.epoch, named.id, &found), (PolicyEpoch(1), fair.id(), &fair));
    assert_eq!(registry.divergence(Pin::at_admission(fair.id())), Ok(fair.clone()));
    assert_eq!(registry.bytes(fair.id()), Some(fair.canonical_bytes().as_slice()));

    // Of an algorithm that a later version may know: kept and passed on, and not read here.
    let mut later = fair.canonical_bytes();
    later[5] = 77;
    let id = registry.insert(&later).unwrap();
    let unknown = UnresolvedCause::UnknownAlgorithm { algorithm: AlgorithmId::new(77, 1) };
    assert_eq!(registry.get(id), Err(awaited(id, unknown)));
    assert_eq!(registry.iter().count(), 2);
    // But not if it is no policy at all.
    later.push(0);
    assert_eq!(registry.insert(&later), Err(RegistryError::Refused(PolicyDecodeError::Truncated)));
    assert_eq!(registry.iter().count(), 2);
}

#[test]
fn the_current_policy_is_the_greatest_choice_in_any_order() {
    let [a, b] = [PolicyId([1; 16]), PolicyId([2; 16])];
    let choice = |epoch, issuer_rank, policy| PolicyChoice { epoch: PolicyEpoch(epoch), issuer_rank, policy };
    let choices = [choice(1, 9, b), choice(2, 0, a), choice(2, 1, a), choice(2, 1, b), choice(1, 0, a)];
    for turn in 0..choices.len() {
        let mut registry = PolicyRegistry::default();
        let mut changes = Vec::new();
        for index in 0..choices.len() {
            changes.push(registry.observe(choices[(index + turn) % choices.len()]));
        }
        assert_eq!(registry.current(), Some(choices[3]));
        assert!(!registry.observe(choices[3]), "once is enough");
        assert!(changes[0]);
    }
    let mut registry = PolicyRegistry::default();
    registry.observe(choice(u64::MAX, 0, a));
    assert_eq!(registry.switch_to(b, 0), Err(RegistryError::EpochsExhausted));
}

#[test]
fn registries_merge_in_any_order() {
    let registry = |kinds: &[StrategyKind], epoch| {
        let mut registry = PolicyRegistry::default();
        for kind in kinds {
            let id = registry.insert(&default_bytes(*kind)).unwrap();
            registry.observe(PolicyChoice { epoch: PolicyEpoch(epoch), issuer_rank: 0, policy: id });
        }
        registry
    };
    let [one, two, three, ..] = StrategyKind::ALL;
    let (a, b, c) = (registry(&[one, two], 1), registry(&[two, three], 2), PolicyRegistry::default());
    let join = |parts: &[&PolicyRegistry]| {
        let mut all = PolicyRegistry::default();
        parts.iter().for_each(|part| all.merge(part));
        all
    };
    let all = join(&[&a, &b, &c]);
    assert_eq!(all.iter().count(), 3);
    assert_eq!(all.current(), b.current());
    assert_eq!(all, join(&[&c, &b, &a]));
    assert_eq!(all, join(&[&b, &all, &a]));
}

/// A switch flips no decided job: the pin of its admission judges it. A repin is later than any, and then the greatest.
#[test]
fn a_pin_is_kept_until_a_greater_one() {
    let [a, b, c] = [1, 2, 3].map(|number| PolicyId([number; 16]));
    let admitted = Pin::at_admission(c);
    let first = admitted.repin(a, 1).unwrap();
    let second = admitted.repin(b, 0).unwrap();
    assert_eq!((first.epoch, second.epoch), (PinEpoch(1), PinEpoch(1)));
    for (one, other, holds) in [(admitted, first, first), (first, second, first), (second, admitted, second)] {
        assert_eq!(one.merge(other), holds);
        assert_eq!(other.merge(one), holds);
        assert_eq!(holds.merge(holds), holds);
    }
    let last = Pin { epoch: PinEpoch(u64::MAX), ..first };
    assert_eq!(last.repin(a, 0), Err(RegistryError::EpochsExhausted));
}

#[test]
fn a_policy_id_survives_its_text() {
    let id = Policy::emergency_first().id();
    assert_eq!(id.to_string(), "966cfe1dd7ab90289f46ae5082d83267");
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    assert_eq!(format!("{id:?}"), "PolicyId(966cfe1dd7ab90289f46ae5082d83267)");
    for wrong in ["", "966cfe1d", "+66cfe1dd7ab90289f46ae5082d83267", "966cfe1dd7ab90289f46ae5082d8326g"] {
        assert!(wrong.parse::<PolicyId>().is_err(), "{wrong}");
    }
    let error = "no".parse::<PolicyId>().unwrap_err();
    assert_eq!(error.to_string(), "`no` is no policy id: expected 32 hexadecimal digits");
}
