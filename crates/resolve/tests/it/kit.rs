//! Every law of the kit, on all five strategies and on random combinator trees, on histories by the thousand.
//!
//! `RECONVENE_LAW_HISTORIES` sets how many, 10,000 if it is not there. A million, in release:
//! `RECONVENE_LAW_HISTORIES=1000000 cargo test --release -p reconvene-resolve --test it kit`, or `-- --ignored long`.

use reconvene_resolve::laws::{self, Claims, Law, Random};
use reconvene_resolve::{
    CausalOrder, HeadStartMinutes, LateRule, Policy, StrategyKind, VectorClockCausal, plan_preemption, swap_pays,
};

fn histories() -> u64 {
    let named = std::env::var("RECONVENE_LAW_HISTORIES").ok();
    named.map_or(10_000, |number| number.parse().expect("RECONVENE_LAW_HISTORIES is a number"))
}

fn holds(checked: Result<laws::Report, laws::Violation>) {
    if let Err(violation) = checked {
        panic!("{violation}");
    }
}

fn certify(policy: &Policy, count: u64) {
    let (contention, reconcile) = (Claims::of_contention(policy), Claims::of_reconcile(policy));
    holds(laws::contention(policy.contention()).claiming(contention).histories(count).check());
    holds(laws::reconcile(policy.reconcile()).claiming(reconcile).histories(count).check());
}

#[test]
fn first_come_first_served_keeps_the_laws() {
    certify(&Policy::of(StrategyKind::FirstComeFirstServed), histories());
}

#[test]
fn priority_based_keeps_the_laws() {
    certify(&Policy::of(StrategyKind::PriorityBased), histories());
}

#[test]
fn emergency_first_keeps_the_laws() {
    certify(&Policy::of(StrategyKind::EmergencyFirst), histories());
}

#[test]
fn resource_optimal_keeps_the_laws() {
    certify(&Policy::of(StrategyKind::ResourceOptimal), histories());
}

#[test]
fn vector_clock_causal_keeps_the_laws() {
    certify(&Policy::of(StrategyKind::VectorClockCausal), histories());
    let latest = VectorClockCausal::new(CausalOrder::Latest);
    holds(laws::reconcile(&latest).causal(CausalOrder::Latest).histories(histories()).check());
}

/// A tenth as many, of policies that differ from the defaults.
#[test]
fn policies_with_a_late_tier_keep_the_laws() {
    let short = HeadStartMinutes { priority: 1, deadline: 2, lightness: 0, smallness: 1, emergency: 0 };
    for kind in StrategyKind::ALL.into_iter().filter(|kind| *kind != StrategyKind::ResourceOptimal) {
        certify(&Policy::builder(kind).late(LateRule::LateTier).build().unwrap(), histories() / 10);
    }
    certify(&Policy::priority_based(short).unwrap(), histories() / 10);
}

/// What is not claimed is not checked, so a claim that went missing would pass.
#[test]
fn policies_claim_what_they_promise() {
    let claims = |policy: &Policy| (Claims::of_contention(policy), Claims::of_reconcile(policy));
    let none = Claims::default();
    let bounded = |ms| Claims { overtake_bound_ms: Some(ms), ..none };
    let causal = |order| Claims { causal: Some(order), ..none };
    let [first, priority, emergency, resource, _] = StrategyKind::ALL.map(|kind| claims(&Policy::of(kind)));
    assert_eq!(first, (bounded(0), none));
    assert_eq!(priority, (bounded(14_400_000), none));
    let tiers = Claims { tiers: true, ..none };
    assert_eq!(emergency, (Claims { tiers: true, ..bounded(7_200_000) }, tiers));
    assert_eq!(resource, (none, none));
    let latest = claims(&Policy::vector_clock_causal(CausalOrder::Latest));
    assert_eq!(latest, (causal(CausalOrder::Earliest), causal(CausalOrder::Latest)));
    let late = Policy::builder(StrategyKind::VectorClockCausal).late(LateRule::LateTier).build().unwrap();
    assert_eq!(claims(&late), (Claims { late_tier: true, ..none }, causal(CausalOrder::Earliest)));
}

fn check_trees(seed: u64, count: u64) {
    let mut random = Random::new(seed);
    for tree in 0..count {
        let (jobs, claims) = laws::random_contention(&mut random).unwrap();
        holds(laws::contention(&jobs).claiming(claims).seed(tree).histories(1).check());
        let (versions, claims) = laws::random_reconcile(&mut random).unwrap();
        holds(laws::reconcile(&versions).claiming(claims).seed(tree).histories(1).check());
    }
}

#[test]
fn random_combinator_trees_keep_the_laws() {
    check_trees(1, histories());
}

#[test]
fn law_preemption_is_bounded() {
    let planner = laws::preemption(&|preemptor, view, rules, now| plan_preemption(preemptor, view, rules, &[], now));
    holds(planner.histories(histories()).check());
}

#[test]
fn law_swap_is_not_reversible() {
    holds(laws::swaps(&swap_pays).histories(histories()).check());
}

/// Whatever orders the jobs.
#[test]
fn law_head_room_is_kept() {
    for strategy in StrategyKind::ALL.map(StrategyKind::contention) {
        let plan = |jobs: &[_], view: &_, round: &_, now| strategy.plan(jobs, view, round, now);
        holds(laws::plans(&plan).histories(histories() / 10).check());
    }
}

#[test]
fn law_policy_roundtrips() {
    holds(laws::policies(&Policy::decode).histories(histories()).check());
}

/// One law alone on all five strategies, so that each can be run by its name; a twentieth as many histories.
macro_rules! by_name {
    ($($name:ident: $law:ident,)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(Law::$law.name(), stringify!($name));
            for policy in StrategyKind::ALL.map(Policy::of) {
                let (jobs, results) = (Claims::of_contention(&policy), Claims::of_reconcile(&policy));
                let (contention, reconcile) = (laws::contention(policy.contention()), laws::reconcile(policy.reconcile()));
                for certification in [contention.claiming(jobs), reconcile.claiming(results)] {
                    holds(certification.only(Law::$law).histories(histories() / 20).check());
                }
            }
        }
    )+};
}

by_name! {
    law_key_is_injective: KeyIsInjective,
    law_key_is_deterministic: KeyIsDeterministic,
    law_rank_ignores_order: RankIgnoresOrder,
    law_irrelevant_candidates_change_nothing: IrrelevantCandidatesChangeNothing,
    law_resolve_is_commutative: ResolveIsCommutative,
    law_resolve_is_associative: ResolveIsAssociative,
    law_resolve_is_idempotent: ResolveIsIdempotent,
    law_resolve_prunes: ResolvePrunes,
    law_causality_is_respected: CausalityIsRespected,
    law_supersession_is_monotone: SupersessionIsMonotone,
    law_failure_never_beats_success: FailureNeverBeatsSuccess,
    law_tier_dominates: TierDominates,
    law_waiting_never_worsens_rank: WaitingNeverWorsensRank,
    law_overtake_is_bounded: OvertakeIsBounded,
    law_explanation_equals_decision: ExplanationEqualsDecision,
    law_weights_never_overflow: WeightsNeverOverflow,
}

/// `cargo test --release -p reconvene-resolve --test it -- --ignored long`
#[test]
#[ignore = "a million histories each: minutes in release"]
fn long_every_law_on_a_million_histories() {
    const MILLION: u64 = 1_000_000;
    for kind in StrategyKind::ALL {
        certify(&Policy::of(kind), MILLION);
    }
    certify(&Policy::vector_clock_causal(CausalOrder::Latest), MILLION);
    check_trees(2, MILLION);
    holds(
        laws::preemption(&|p, view, rules, now| plan_preemption(p, view, rules, &[], now)).histories(MILLION).check(),
    );
    holds(laws::swaps(&swap_pays).histories(MILLION).check());
    for strategy in StrategyKind::ALL.map(StrategyKind::contention) {
        let plan = |jobs: &[_], view: &_, round: &_, now| strategy.plan(jobs, view, round, now);
        holds(laws::plans(&plan).histories(MILLION / 10).check());
    }
    holds(laws::policies(&Policy::decode).histories(MILLION).check());
}
