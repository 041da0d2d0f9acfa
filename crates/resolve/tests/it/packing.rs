//! Packing: the worked example, laws, and optima found by trying everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, ClusterView, ContentionStrategy, ExecutorFacts, FitRule, FreeIndex, JobFacts, JobValue, Level,
    PackingRules, Plan, Reason, Reservation, ReservationCause, ResourceOptimal, ResourcePacking, Resources, RoundFacts,
    Scarce, StrategyKind, rank,
};

const NOW: WallTime = WallTime::from_millis(1_000_000);

fn executor([cpu, memory, gpu]: [u64; 3], tags: &[&str]) -> ExecutorFacts {
    let capacity = Resources::new(cpu, memory, gpu);
    ExecutorFacts { capacity, free: capacity, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }
}

fn job(number: u64, [cpu, memory, gpu]: [u64; 3], value: u32) -> JobFacts {
    JobFacts {
        demand: Resources::new(cpu, memory, gpu),
        value: JobValue::new(value).unwrap(),
        ..JobFacts::new(CandidateId::new(1, number), stamp(1_000_000))
    }
}

fn stamp(ms: u64) -> Hlc {
    Hlc::from_parts(WallTime::from_millis(ms), 0).unwrap()
}

fn pack(packing: ResourcePacking, jobs: &[JobFacts], view: &ClusterView) -> Plan {
    packing.pack(jobs, view, &RoundFacts::new(1, view.total()), NOW)
}

/// (number of the job, executor), by number.
fn places(plan: &Plan) -> BTreeMap<u64, usize> {
    plan.placements.iter().map(|placement| (placement.job.0[1], placement.executor)).collect()
}

/// N1, N2 and P, Q, R, T, U of the worked example, numbered from 1.
fn example() -> (ClusterView, Vec<JobFacts>) {
    let view = ClusterView::new(vec![executor([10, 10, 0], &[]), executor([10, 10, 4], &[])]);
    let jobs = [([6, 6, 0], 5), ([5, 5, 0], 4), ([5, 5, 0], 4), ([5, 5, 0], 4), ([4, 4, 4], 6)];
    (view, jobs.into_iter().zip(1..).map(|((demand, value), number)| job(number, demand, value)).collect())
}

#[test]
fn the_worked_example_matches_to_the_key_word() {
    let (view, jobs) = example();
    let round = RoundFacts::new(1, view.total());
    let strategy = StrategyKind::ResourceOptimal.contention();
    let words: Vec<u64> = jobs.iter().map(|job| strategy.key(job, &round).word(0)).collect();
    assert_eq!(words[0], 18_446_744_073_692_075_304);
    let densities = words.iter().map(|word| u64::MAX - word);
    assert_eq!(densities.collect::<Vec<_>>(), [17_476_311, 16_777_216, 16_777_216, 16_777_216, 6_291_456]);
    let order: Vec<u64> = rank(strategy, &jobs, &round).iter().map(|id| id.0[1]).collect();
    assert_eq!(order, [1, 2, 3, 4, 5], "P Q R T U");
}

#[test]
fn the_worked_example_is_worth_13_to_density_alone_and_19_to_the_portfolio() {
    let (view, jobs) = example();
    let round = RoundFacts::new(1, view.total());
    // The plan that every strategy has: in the order of keys, each to where it leaves an executor most balanced.
    struct Plain;
    impl ContentionStrategy for Plain {
        fn algorithm(&self) -> reconvene_resolve::AlgorithmId {
            StrategyKind::ResourceOptimal.algorithm()
        }
        fn key(&self, job: &JobFacts, round: &RoundFacts) -> reconvene_resolve::RankKey {
            StrategyKind::ResourceOptimal.contention().key(job, round)
        }
        fn explain(&self, job: &JobFacts, round: &RoundFacts) -> reconvene_resolve::KeyBreakdown {
            StrategyKind::ResourceOptimal.contention().explain(job, round)
        }
    }
    let greedy = Plain.plan(&jobs, &view, &round, NOW);
    assert_eq!((greedy.value(&jobs), places(&greedy)), (13, [(1, 0), (2, 1), (3, 1)].into()));

    let packed = StrategyKind::ResourceOptimal.contention().plan(&jobs, &view, &round, NOW);
    assert_eq!(packed.value(&jobs), 19);
    let places = places(&packed);
    assert_eq!((places[&1], places[&5]), (1, 1), "P and U on N2");
    assert_eq!(places.values().filter(|executor| **executor == 0).count(), 2, "two of Q R T on N1");
    assert_eq!(packed.waiting.len(), 1);
    assert!(matches!(packed.waiting[0].reason, Reason::NotPacked { value: 19, .. }), "{:?}", packed.waiting[0]);
}

/// Balance prefers the empty executor, least squares the other; both are worth the same, and balance comes first.
#[test]
fn of_equal_values_the_first_of_the_portfolio_stays() {
    let mut view = ClusterView::new(vec![executor([10, 10, 10], &[]); 2]);
    view.executors[1].free = Resources::new(4, 10, 10);
    let jobs = [job(1, [4, 4, 4], 1)];
    assert_eq!(FitRule::L2.choose(&jobs[0], &view.executors), Some(1));
    for packing in [ResourcePacking::new(), ResourcePacking::new().searching(2)] {
        assert_eq!(places(&pack(packing, &jobs, &view)), [(1, 0)].into());
    }
}

#[test]
fn more_jobs_than_are_searched_get_the_portfolio_alone() {
    let view = ClusterView::new(vec![executor([10, 10, 0], &[])]);
    // The densest leaves room for neither of the others, which only the search finds out.
    let mut jobs = vec![job(1, [6, 1, 0], 7), job(2, [5, 5, 0], 5), job(3, [5, 5, 0], 5)];
    assert_eq!(pack(ResourcePacking::new().searching(1), &jobs, &view).value(&jobs), 10);
    let others = 3..ResourcePacking::MAX_SEARCHED_JOBS as u64 + 1;
    jobs.extend(others.map(|number| job(number + 1, [20, 1, 0], 1)));
    assert_eq!(jobs.len(), ResourcePacking::MAX_SEARCHED_JOBS + 1);
    assert_eq!(pack(ResourcePacking::new().searching(1), &jobs, &view).value(&jobs), 7);
}

/// What would not fit if it were alone is not left out in favour of others.
#[test]
fn who_has_no_room_at_all_waits_for_capacity() {
    let mut view = ClusterView::new(vec![executor([10, 10, 0], &[])]);
    view.executors[0].free = Resources::new(4, 10, 0);
    let jobs = [job(1, [5, 1, 0], 9), job(2, [4, 1, 0], 2), job(3, [3, 1, 0], 1)];
    let plan = pack(ResourcePacking::new(), &jobs, &view);
    let reasons: BTreeMap<u64, &Reason> = plan.waiting.iter().map(|one| (one.job.0[1], &one.reason)).collect();
    assert_eq!(places(&plan), [(2, 0)].into());
    assert!(matches!(reasons[&1], Reason::WaitingForCapacity { short_by: 1, .. }), "{reasons:?}");
    assert_eq!(reasons[&3], &Reason::NotPacked { value: 2, best_without: 0 });
}

/// Room that was freed for one job is packed with that job, and with others only as far as it leaves that room.
#[test]
fn packing_counts_on_kept_room_only_for_its_job() {
    let view = |waited| {
        let mut view = ClusterView::new(vec![executor([10, 10, 0], &[]), executor([4, 10, 0], &[])]);
        view.reservations = vec![Reservation {
            executor: 0,
            job: CandidateId::new(1, 1),
            level: Level::ROUTINE,
            demand: Resources::new(6, 1, 0),
            cause: if waited { ReservationCause::Waited } else { ReservationCause::Preempted },
            from: NOW,
            until: None,
        }];
        view
    };
    // The densest two would fill the place that is kept; the best is to have the kept job there and one beside it.
    let jobs = [job(1, [6, 1, 0], 6), job(2, [5, 1, 0], 7), job(3, [5, 1, 0], 7), job(4, [4, 1, 0], 4)];
    let freed = pack(ResourcePacking::new().searching(2), &jobs, &view(false));
    assert_eq!(places(&freed), [(1, 0), (4, 0)].into());
    let reasons: Vec<(u64, &Reason)> = freed.waiting.iter().map(|one| (one.job.0[1], &one.reason)).collect();
    let capacity = Reason::ReservedForOther { job: CandidateId::new(1, 1) };
    assert!(
        reasons.iter().all(|(_, reason)| *reason == &capacity || matches!(reason, Reason::WaitingForCapacity { .. })),
        "{reasons:?}"
    );
    // Alone it takes its place; without it nobody does who would leave too little.
    assert_eq!(places(&pack(ResourcePacking::new(), &jobs[..1], &view(true))), [(1, 0)].into());
    let without = pack(ResourcePacking::new(), &jobs[1..], &view(false));
    assert_eq!(places(&without).into_keys().collect::<Vec<_>>(), [4]);
}

#[test]
fn a_required_tag_is_never_traded_for_value() {
    let (mut view, mut jobs) = example();
    view.executors[0].tags.insert("medical-imaging".to_owned());
    jobs[4].requires.insert("medical-imaging".to_owned());
    let plan = pack(ResourcePacking::new().searching(3), &jobs, &view);
    let reason = plan.waiting.iter().find(|waiting| waiting.job.0[1] == 5).map(|waiting| &waiting.reason);
    assert_eq!(reason, Some(&Reason::NoExecutorWithTags { missing: ["medical-imaging".to_owned()].into() }));
}

#[test]
fn jobs_that_starve_go_first_and_by_age() {
    let view = ClusterView::new(vec![executor([10, 10, 0], &[])]);
    let mut jobs: Vec<JobFacts> = (3..13).map(|number| job(number, [1, 1, 0], 1_000)).collect();
    let aged = |number, age_ms: u64| JobFacts { submitted: stamp(1_000_000 - age_ms), ..job(number, [9, 9, 0], 1) };
    jobs.extend([aged(1, 500_000), aged(2, 600_000)]);
    let rules = PackingRules { starvation_after_ms: 500_000, search_rounds: 3 };
    let plan = pack(ResourcePacking::with_rules(rules), &jobs, &view);
    assert_eq!(plan.placements[0].job.0[1], 2, "the older one");
    assert_eq!(plan.value(&jobs), 1_001);
    let patient = PackingRules { starvation_after_ms: 600_001, ..rules };
    assert_eq!(pack(ResourcePacking::with_rules(patient), &jobs, &view).value(&jobs), 10_000);
    let strategy = ResourceOptimal::with_packing(ResourcePacking::with_rules(rules));
    assert_eq!(strategy.plan(&jobs, &view, &RoundFacts::new(1, view.total()), NOW), plan);
}

#[test]
fn of_equal_executors_the_lowest_is_taken() {
    let executors = vec![executor([10, 10, 0], &[]); 3];
    let mut index = FreeIndex::new(&executors);
    let job = job(1, [6, 1, 0], 1);
    for rule in FitRule::all(Scarce::default()) {
        assert_eq!((index.choose(&job, rule), rule.choose(&job, &executors)), (Some(0), Some(0)));
    }
    index.set_free(0, Resources::default());
    assert_eq!(index.choose(&job, FitRule::Best), Some(1));
    index.set_free(0, Resources::new(10, 10, 0));
    assert_eq!(index.choose(&job, FitRule::Best), Some(0));
    index.set_free(7, Resources::default());
    assert_eq!((index.len(), index.free(7)), (3, None));
}

/// Small amounts, so that ties, exact fits and empty dimensions are common.
fn executors() -> impl Strategy<Value = Vec<ExecutorFacts>> {
    let one = ([0_u64..12, 0..12, 0..4], any::<u8>(), any::<u8>());
    let one = one.prop_map(|([cpu, memory, gpu], tags, used)| {
        let mut executor = executor([cpu, memory, gpu], &[]);
        executor.tags =
            TAGS.iter().enumerate().filter(|(bit, _)| tags >> bit & 1 == 1).map(|(_, t)| (*t).into()).collect();
        if used < 128 {
            executor.free.cpu_milli = executor.free.cpu_milli.saturating_sub(u64::from(used & 3));
            // More free than there is: a report that must not be believed.
            executor.free.memory_mib += u64::from(used >> 6);
        }
        executor
    });
    prop::collection::vec(one, 0..6)
}

fn jobs(most: usize) -> impl Strategy<Value = Vec<JobFacts>> {
    let one = ([0_u64..8, 0..8, 0..3], 1_u32..6, 0_u8..6, 0_u64..2_000, 0_u64..3);
    prop::collection::vec(one, 0..most).prop_map(|all| {
        let all = all.into_iter().zip(1..);
        all.map(|((demand, value, more, age, estimate), number)| JobFacts {
            submitted: stamp(1_000_000 - age),
            estimate_ms: estimate * 500,
            requires: if more < 2 { [TAGS[usize::from(more)].to_owned()].into() } else { BTreeSet::new() },
            level: if more == 5 { Level::LIFE_SAFETY } else { Level::ROUTINE },
            ..job(number, demand, value)
        })
        .collect()
    })
}

fn reservations() -> impl Strategy<Value = Vec<Reservation>> {
    let one = (0_usize..6, 1_u64..6, [0_u64..8, 0..8, 0..3], any::<bool>(), 0_u64..1_000);
    let one = one.prop_map(|(executor, number, [cpu, memory, gpu], waited, later)| Reservation {
        executor,
        job: CandidateId::new(1, number),
        level: Level::ROUTINE,
        demand: Resources::new(cpu, memory, gpu),
        cause: if waited { ReservationCause::Waited } else { ReservationCause::Preempted },
        from: NOW.saturating_add(later),
        until: None,
    });
    prop::collection::vec(one, 0..3)
}

const TAGS: [&str; 2] = ["gpu", "medical-imaging"];

/// Capacity, tags and reservations hold, and each job is either placed or waits.
fn check_feasible(plan: &Plan, jobs: &[JobFacts], view: &ClusterView) -> Result<(), TestCaseError> {
    let mut free: Vec<Resources> = view.executors.iter().map(|executor| executor.free).collect();
    let mut capacity: Vec<Resources> = view.executors.iter().map(|executor| executor.capacity).collect();
    let mut placed = BTreeSet::new();
    for placement in &plan.placements {
        let job = jobs.iter().find(|job| job.id == placement.job).unwrap();
        let room = free[placement.executor].min(&capacity[placement.executor]);
        prop_assert!(room.holds(&job.demand), "{} over capacity", placement.job);
        prop_assert!(job.requires.is_subset(&view.executors[placement.executor].tags));
        for held in view.reservations.iter().filter(|held| held.executor == placement.executor) {
            // A reservation ends when its own job is placed, or if that job is none of those that wait.
            let stands = !placed.contains(&held.job)
                && (held.cause == ReservationCause::Preempted || jobs.iter().any(|job| job.id == held.job));
            if stands && held.cause == ReservationCause::Preempted {
                prop_assert!(!held.blocks(job, &free[placement.executor], NOW), "{} on a kept place", placement.job);
            }
        }
        free[placement.executor] = free[placement.executor].saturating_sub(&job.demand);
        capacity[placement.executor] = capacity[placement.executor].saturating_sub(&job.demand);
        prop_assert!(placed.insert(placement.job), "{} placed twice", placement.job);
    }
    for waiting in &plan.waiting {
        prop_assert!(placed.insert(waiting.job), "{} placed and waiting", waiting.job);
    }
    prop_assert_eq!(placed.len(), jobs.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn law_plan_is_feasible(jobs in jobs(7), executors in executors(), reservations in reservations()) {
        let mut view = ClusterView::new(executors);
        view.reservations = reservations;
        let rules = PackingRules { starvation_after_ms: 1_500, search_rounds: 0 };
        let plan = pack(ResourcePacking::with_rules(rules), &jobs, &view);
        check_feasible(&plan, &jobs, &view)?;
        let again = pack(ResourcePacking::with_rules(rules), &jobs, &view);
        prop_assert_eq!(plan, again);
    }

    #[test]
    fn law_search_never_worsens(jobs in jobs(4), executors in executors(), reservations in reservations()) {
        let mut view = ClusterView::new(executors);
        view.executors.truncate(3);
        view.reservations = reservations;
        let plain = pack(ResourcePacking::new(), &jobs, &view);
        let searched = pack(ResourcePacking::new().searching(1), &jobs, &view);
        check_feasible(&searched, &jobs, &view)?;
        prop_assert!(searched.value(&jobs) >= plain.value(&jobs));
    }

    /// The index is asked, changed and asked again; the scan looks at the same executors each time.
    #[test]
    fn law_index_equals_scan(jobs in jobs(12), mut executors in executors(), copies in 1_usize..4) {
        executors = executors.iter().cycle().take(executors.len() * copies).cloned().collect();
        let view = ClusterView::new(executors.clone());
        let rules = FitRule::all(Scarce::of(&jobs, &view));
        let mut index = FreeIndex::new(&executors);
        for (job, turn) in jobs.iter().zip(0..) {
            for rule in rules {
                prop_assert_eq!(index.choose(job, rule), rule.choose(job, &executors));
            }
            if let Some(chosen) = index.choose(job, rules[turn % 5]) {
                let room = &mut executors[chosen];
                // Sometimes a job ends instead.
                room.free = if turn % 4 == 3 { room.capacity } else { room.free.min(&room.capacity).saturating_sub(&job.demand) };
                index.set_free(chosen, room.free);
            }
        }
    }
}

/// Numbers that are the same in every run (SplitMix64).
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// The greatest value there is, by trying everything.
fn optimum(jobs: &[JobFacts], free: &mut [Resources]) -> u64 {
    let Some((job, rest)) = jobs.split_first() else { return 0 };
    let mut best = optimum(rest, free);
    for executor in 0..free.len() {
        if free[executor].holds(&job.demand) {
            let before = free[executor];
            free[executor] = before.saturating_sub(&job.demand);
            best = best.max(u64::from(job.value.get()) + optimum(rest, free));
            free[executor] = before;
        }
    }
    best
}

/// Fresh instances of the shape of the public ones: machines with and without graphics processors, jobs of a few sizes,
/// a third more of them than fit.
#[test]
fn packing_comes_close_to_optima_found_by_trying_everything() {
    let (mut portfolio, mut search) = (Vec::new(), Vec::new());
    for seed in 0..60 {
        let mut number = numbers(seed);
        let view = ClusterView::new(vec![
            executor([32_000, 131_072, 0], &[]),
            executor([48_000, 196_608, 2_000 + 2_000 * number(2)], &[]),
        ]);
        let jobs = (1..=9).map(|id| {
            let cpu = 4_000 + 1_000 * number(12);
            let gpu = if number(2) == 0 { 0 } else { [500, 1_000, 1_000, 2_000][number(4) as usize] };
            job(id, [cpu, cpu * (3 + number(4)), gpu], 1 + number(4) as u32)
        });
        let jobs: Vec<JobFacts> = jobs.collect();
        let best = optimum(&jobs, &mut [view.executors[0].free, view.executors[1].free]);
        let ratio = |packing| pack(packing, &jobs, &view).value(&jobs) * 10_000 / best;
        portfolio.push(ratio(ResourcePacking::new()));
        search.push(ratio(ResourcePacking::new().searching(3)));
    }
    let mean = |ratios: &[u64]| ratios.iter().sum::<u64>() / ratios.len() as u64;
    let worst = |ratios: &[u64]| ratios.iter().copied().min().unwrap();
    let found = [mean(&portfolio), worst(&portfolio), mean(&search), worst(&search)];
    // Few jobs make a coarse ratio: one of value 1 out of 20 is 5 %.
    assert!(found[0] >= 9_900 && found[2] >= 9_980, "mean and worst, without and with search: {found:?}");
    assert!(found[1] >= 9_000 && found[3] >= 9_400, "mean and worst, without and with search: {found:?}");
}
