use alloc::vec;
use alloc::vec::Vec;

use reconvene_clock::Hlc;

use super::*;
use crate::{Dimension, JobValue};

const ELEVATED: Level = Level::ELEVATED;
const ROUTINE: Level = Level::ROUTINE;

fn at(seconds: u64) -> WallTime {
    WallTime::from_millis(seconds * 1_000)
}

const NOW: u64 = 10_000;

fn job(number: u64, level: Level, cpu: u64) -> JobFacts {
    let demand = Resources::new(cpu, 0, 0);
    JobFacts { level, demand, ..JobFacts::new(CandidateId::new(1, number), Hlc::default()) }
}

fn running(number: u64, executor: usize, level: Level, cpu: u64, seconds: u64) -> RunningJob {
    RunningJob::new(&job(number, level, cpu), executor, at(NOW - seconds))
}

/// Executors X1, X2 with 8,000 mCPU each and the running jobs r1, r2, r3, s1 of the worked example.
fn example() -> ClusterView {
    let capacity = Resources::new(8_000, 0, 0);
    let full = ExecutorFacts { capacity, free: Resources::default(), tags: Default::default() };
    ClusterView {
        running: vec![
            running(1, 0, ROUTINE, 4_000, 600),
            running(2, 0, ROUTINE, 2_000, 900),
            running(3, 0, ELEVATED, 2_000, 60),
            running(4, 1, ROUTINE, 8_000, 100),
        ],
        ..ClusterView::new(vec![full.clone(), full])
    }
}

fn plan(job: &JobFacts, view: &ClusterView) -> Result<Preemption, Reason> {
    plan_preemption(&Preemptor::new(job), view, &PreemptionRules::default(), &[], at(NOW))
}

fn victims(plan: &Preemption) -> Vec<u64> {
    plan.evictions.iter().map(|eviction| eviction.job.0[1]).collect()
}

fn refused(why: PreemptionRefusal) -> Result<Preemption, Reason> {
    Err(Reason::PreemptionRefused { why })
}

#[test]
fn the_worked_example_stops_s1_on_x2() {
    let view = example();
    let lost: Vec<u64> = view.running.iter().map(|running| running.lost_core_ms(at(NOW))).collect();
    assert_eq!(lost, [2_400_000, 1_800_000, 120_000, 800_000]);
    for level in [Level::LIFE_SAFETY, ELEVATED] {
        let plan = plan(&job(9, level, 4_000), &view).unwrap();
        assert_eq!((plan.executor, victims(&plan)), (1, vec![4]), "{level}");
        assert_eq!(plan.evictions[0].lost_core_ms, 800_000);
        assert_eq!(plan.stop_at, at(NOW + 30));
        assert_eq!(plan.reservation.until, Some(at(NOW + 60)));
        assert_eq!(plan.reservation.demand.cpu_milli, 4_000);
    }
    assert_eq!(plan(&job(9, ROUTINE, 4_000), &view), refused(PreemptionRefusal::NotLowerTier));
}

#[test]
fn the_first_executor_of_the_example_spares_r2() {
    let mut view = example();
    view.executors[1].capacity = Resources::new(3_999, 0, 0);
    let one = plan(&job(9, Level::LIFE_SAFETY, 4_000), &view).unwrap();
    assert_eq!((one.executor, victims(&one)), (0, vec![1]), "r2 and r1 were collected, r1 alone is enough");
    // For more, both are needed; for all, the elevated one too, but never for an equal.
    let both =
        plan_preemption(&Preemptor::new(&job(9, ELEVATED, 6_000)), &view, &PreemptionRules::default(), &[], at(NOW));
    assert_eq!(victims(&both.unwrap()), [2, 1]);
    let all = plan_preemption(
        &Preemptor::new(&job(9, Level::LIFE_SAFETY, 8_000)),
        &view,
        &PreemptionRules::default(),
        &[],
        at(NOW),
    );
    assert_eq!(victims(&all.unwrap()), [2, 1, 3]);
    let equal = job(9, ELEVATED, 8_000);
    assert_eq!(plan(&equal, &view), refused(PreemptionRefusal::WouldNotFit));
}

#[test]
fn a_victim_has_run_and_is_not_immune_and_may_be_stopped() {
    let mut view = example();
    view.executors.truncate(1);
    view.running = vec![running(1, 0, ROUTINE, 8_000, 59)];
    let grave = job(9, Level::PUBLIC_SAFETY, 4_000);
    assert_eq!(plan(&grave, &view), refused(PreemptionRefusal::MinRun));
    view.running[0].started = at(NOW - 60);
    assert!(plan(&grave, &view).is_ok());

    view.running[0].preempted = 2;
    assert_eq!(plan(&grave, &view), refused(PreemptionRefusal::MaxCount));
    assert!(plan(&job(9, Level::LIFE_SAFETY, 4_000), &view).is_ok(), "nobody is immune against life safety");
    view.running[0].preempted = 1;
    assert!(plan(&grave, &view).is_ok());

    view.running[0].preemptible = false;
    assert_eq!(plan(&grave, &view), refused(PreemptionRefusal::NotLowerTier));
}

#[test]
fn nobody_is_stopped_twice_for_the_same_job() {
    let mut view = example();
    view.executors.truncate(1);
    view.running = vec![running(1, 0, ROUTINE, 8_000, 100)];
    let grave = job(9, Level::LIFE_SAFETY, 4_000);
    let victims = [CandidateId::new(1, 1)];
    let again = Preemptor { victims: &victims, ..Preemptor::new(&grave) };
    let rules = PreemptionRules::default();
    assert_eq!(plan_preemption(&again, &view, &rules, &[], at(NOW)), refused(PreemptionRefusal::MaxCount));
}

#[test]
fn a_gap_of_tiers_widens_what_lower_means() {
    let mut view = example();
    view.running.truncate(2);
    let rules = PreemptionRules { tier_gap: 50, ..PreemptionRules::default() };
    let ask = |level| plan_preemption(&Preemptor::new(&job(9, level, 4_000)), &view, &rules, &[], at(NOW));
    assert_eq!(ask(ELEVATED), refused(PreemptionRefusal::NotLowerTier));
    assert!(ask(Level::new(51).unwrap()).is_ok());
}

#[test]
fn a_displaced_job_cools_down_first() {
    let view = example();
    let grave = job(9, Level::LIFE_SAFETY, 4_000);
    let rules = PreemptionRules::default();
    let ask = |since| {
        let preemptor = Preemptor { displaced: Some(at(NOW - since)), ..Preemptor::new(&grave) };
        plan_preemption(&preemptor, &view, &rules, &[], at(NOW))
    };
    assert_eq!(ask(299), refused(PreemptionRefusal::CoolDown));
    assert!(ask(300).is_ok());
}

#[test]
fn the_smallest_budget_decides_and_life_safety_overdraws() {
    let view = example();
    let rules = PreemptionRules::default();
    let (full, mut spent) = (PreemptionBudget::default(), PreemptionBudget::default());
    spent.spend(10, &rules, at(NOW));
    let ask = |level, budgets: &[PreemptionBudget]| {
        plan_preemption(&Preemptor::new(&job(9, level, 4_000)), &view, &rules, budgets, at(NOW))
    };
    assert!(ask(ELEVATED, &[full, full]).is_ok());
    assert_eq!(ask(ELEVATED, &[full, spent]), refused(PreemptionRefusal::Budget));
    assert!(ask(Level::LIFE_SAFETY, &[spent]).is_ok());
}

#[test]
fn a_budget_refills_one_by_one_up_to_its_size() {
    let rules = PreemptionRules { budget: 3, refill_ms: 1_000, ..PreemptionRules::default() };
    let mut budget = PreemptionBudget::default();
    budget.spend(5, &rules, at(100));
    let left = |budget: &PreemptionBudget, seconds| budget.available(&rules, at(seconds));
    assert_eq!([100, 102, 103, 104, 105, 200].map(|now| left(&budget, now)), [0, 0, 1, 2, 3, 3]);
    // Half a second towards the next token is not lost.
    budget.spend(0, &rules, WallTime::from_millis(102_500));
    assert_eq!(left(&budget, 103), 1);
    assert_eq!(left(&budget, 50), 0, "a clock that goes back refills nothing");
    // A full bucket gathers nothing.
    budget.spend(1, &rules, at(1_000));
    assert_eq!(left(&budget, 1_000), 2);
}

#[test]
fn room_that_is_kept_for_another_is_not_taken() {
    let mut view = example();
    view.executors.truncate(1);
    let grave = job(9, Level::PUBLIC_SAFETY, 4_000);
    let kept = |cause, level, until| Reservation {
        executor: 0,
        job: CandidateId::new(7, 7),
        level,
        demand: Resources::new(4_000, 0, 0),
        cause,
        from: at(NOW),
        until,
    };
    // r1 and r2 are 6,000; 4,000 of them are promised.
    view.reservations = vec![kept(ReservationCause::Preempted, ROUTINE, None)];
    let ask = |view: &ClusterView| plan(&grave, view);
    assert_eq!(victims(&ask(&view).unwrap()), [2, 1, 3], "all three leave room for both");
    view.running.truncate(2);
    assert_eq!(ask(&view), refused(PreemptionRefusal::WouldNotFit));
    // A reservation of a lower tier that waited does not hold against a higher one, one of the same tier does.
    view.reservations = vec![kept(ReservationCause::Waited, ELEVATED, None)];
    assert!(ask(&view).is_ok());
    view.reservations = vec![kept(ReservationCause::Waited, Level::PUBLIC_SAFETY, None)];
    assert_eq!(ask(&view), refused(PreemptionRefusal::WouldNotFit));
    // It must still stand when the victims are gone, after the grace.
    view.reservations = vec![kept(ReservationCause::Waited, Level::PUBLIC_SAFETY, Some(at(NOW + 30)))];
    assert!(ask(&view).is_ok());
    view.reservations = vec![kept(ReservationCause::Waited, Level::PUBLIC_SAFETY, Some(at(NOW + 31)))];
    assert_eq!(ask(&view), refused(PreemptionRefusal::WouldNotFit));
}

#[test]
fn tags_are_never_traded() {
    let mut view = example();
    let mut grave = job(9, Level::LIFE_SAFETY, 4_000);
    grave.requires = ["imaging".into()].into();
    assert_eq!(plan(&grave, &view), refused(PreemptionRefusal::WouldNotFit));
    view.executors[0].tags = grave.requires.clone();
    assert_eq!(plan(&grave, &view).unwrap().executor, 0);
}

#[test]
fn nothing_is_stopped_that_need_not_be() {
    let mut view = example();
    view.executors[0].free = Resources::new(4_000, 0, 0);
    let plan = plan(&job(9, Level::LIFE_SAFETY, 4_000), &view).unwrap();
    assert_eq!((plan.executor, plan.evictions.len()), (0, 0));
}

#[test]
fn a_storm_or_a_policy_without_preemption_stops_nothing() {
    let mut view = example();
    let grave = job(9, Level::LIFE_SAFETY, 4_000);
    let rules = PreemptionRules { enabled: false, ..PreemptionRules::default() };
    let short = Reason::WaitingForCapacity { dimension: Dimension::Cpu, short_by: 4_000 };
    let ask = |view: &ClusterView| plan_preemption(&Preemptor::new(&grave), view, &rules, &[], at(NOW));
    assert_eq!(ask(&view), Err(short.clone()));
    assert_eq!(plan_swap(&Preemptor::new(&grave), &view, &rules, &[], at(NOW)), Err(short));
    view.storm = true;
    assert_eq!(plan(&grave, &view), Err(Reason::StormGuard));
}

#[test]
fn ties_go_to_the_fewer_victims_and_then_to_the_first_executor() {
    let full = example().executors[0].clone();
    let mut view = ClusterView::new(vec![full.clone(), full.clone(), full]);
    view.running = vec![
        running(1, 0, ROUTINE, 4_000, 100),
        running(2, 0, ROUTINE, 4_000, 100),
        running(3, 1, ROUTINE, 8_000, 100),
        running(4, 2, ROUTINE, 8_000, 100),
    ];
    assert_eq!(plan(&job(9, ELEVATED, 8_000), &view).unwrap().executor, 1);
    // Within one executor: tier, lost work, times preempted, id.
    view.executors.truncate(1);
    view.running = vec![running(2, 0, ROUTINE, 4_000, 100), running(1, 0, ROUTINE, 4_000, 100)];
    assert_eq!(victims(&plan(&job(9, ELEVATED, 4_000), &view).unwrap()), [1]);
    view.running[1].preempted = 1;
    assert_eq!(victims(&plan(&job(9, ELEVATED, 4_000), &view).unwrap()), [2]);
    view.running[0].started = at(NOW - 101);
    assert_eq!(victims(&plan(&job(9, ELEVATED, 4_000), &view).unwrap()), [1]);
}

#[test]
fn a_swap_goes_for_value_and_must_pay() {
    let mut view = example();
    view.running = vec![running(1, 0, ROUTINE, 8_000, 100), running(2, 1, ROUTINE, 8_000, 100)];
    let worth = |value| JobValue::new(value).unwrap();
    view.running[0].value = worth(90);
    view.running[1].value = worth(80);
    for running in &mut view.running {
        running.ends = Some(at(NOW + 300));
    }
    let rules = PreemptionRules::default();
    let swap = |view: &ClusterView, value, level| {
        let job = JobFacts { value: worth(value), ..job(9, level, 4_000) };
        plan_swap(&Preemptor::new(&job), view, &rules, &[], at(NOW))
    };
    // A quarter of 80 is lost: 80 + 20 + 8 must be beaten.
    assert_eq!(swap(&view, 108, ROUTINE), Err(Reason::NotPacked { value: 100, best_without: 108 }));
    let plan = swap(&view, 109, ROUTINE).unwrap();
    assert_eq!((plan.executor, victims(&plan)), (1, vec![2]));
    // Without a known end all of it is lost.
    view.running[1].ends = None;
    let plan = swap(&view, 200, ROUTINE).unwrap();
    assert_eq!((plan.executor, victims(&plan)), (0, vec![1]));
    // Never one of a higher tier.
    view.running[0].level = ELEVATED;
    view.running[1].level = ELEVATED;
    assert_eq!(swap(&view, 1_000_000, ROUTINE), refused(PreemptionRefusal::WouldNotFit));
    assert!(swap(&view, 1_000_000, ELEVATED).is_ok());
    view.executors[0].free = Resources::new(4_000, 0, 0);
    assert!(swap(&view, 1, ELEVATED).unwrap().evictions.is_empty());
}

/// The rules of victims hold for swaps too.
#[test]
fn a_swap_spares_whom_preemption_spares() {
    let mut view = example();
    view.executors.truncate(1);
    let worth = |value| JobValue::new(value).unwrap();
    let job = JobFacts { value: worth(1_000), ..job(9, ROUTINE, 4_000) };
    let rules = PreemptionRules::default();
    let victim = RunningJob { ends: Some(at(NOW + 100)), ..running(1, 0, ROUTINE, 8_000, 60) };
    let would_not = refused(PreemptionRefusal::WouldNotFit);
    let mut ask = |victim: RunningJob, preemptor: Preemptor<'_>| {
        view.running = vec![victim];
        plan_swap(&preemptor, &view, &rules, &[], at(NOW))
    };
    assert!(ask(victim, Preemptor::new(&job)).is_ok());
    assert_eq!(ask(RunningJob { started: at(NOW - 59), ..victim }, Preemptor::new(&job)), would_not);
    assert_eq!(ask(RunningJob { preemptible: false, ..victim }, Preemptor::new(&job)), would_not);
    assert_eq!(ask(RunningJob { preempted: 2, ..victim }, Preemptor::new(&job)), would_not);
    assert_eq!(ask(RunningJob { level: ELEVATED, ..victim }, Preemptor::new(&job)), would_not);
    let again = [victim.id];
    assert_eq!(ask(victim, Preemptor { victims: &again, ..Preemptor::new(&job) }), would_not);
    let cools = Preemptor { displaced: Some(at(NOW)), ..Preemptor::new(&job) };
    assert_eq!(ask(victim, cools), refused(PreemptionRefusal::CoolDown));
    let mut spent = PreemptionBudget::default();
    spent.spend(10, &rules, at(NOW));
    assert_eq!(plan_swap(&Preemptor::new(&job), &view, &rules, &[spent], at(NOW)), refused(PreemptionRefusal::Budget));
}

/// Equal in all else: the one of less value goes, and of equal value the one that loses less work.
#[test]
fn a_swap_takes_the_cheapest() {
    let full = example().executors[0].clone();
    let mut view = ClusterView::new(vec![full.clone(), full]);
    let worth = |value| JobValue::new(value).unwrap();
    let of = |number, executor, value, seconds| RunningJob {
        value: worth(value),
        ends: Some(at(NOW + 1_000)),
        ..running(number, executor, ROUTINE, 4_000, seconds)
    };
    let job = JobFacts { value: worth(1_000), ..job(9, ROUTINE, 4_000) };
    let rules = PreemptionRules::default();
    let swap = |view: &ClusterView| {
        let plan = plan_swap(&Preemptor::new(&job), view, &rules, &[], at(NOW)).unwrap();
        (plan.executor, victims(&plan))
    };
    view.running = vec![of(1, 0, 30, 100), of(2, 0, 20, 100), of(3, 1, 20, 900), of(4, 1, 40, 100)];
    assert_eq!(swap(&view), (0, vec![2]), "20 and 1 lost; of the other executor 20 and 9");
    view.running = vec![of(1, 0, 20, 900), of(2, 0, 20, 100), of(3, 1, 21, 100)];
    assert_eq!(swap(&view), (0, vec![2]));
}

/// Room there is, but each executor runs two jobs at once and no more.
#[test]
fn a_place_is_needed_beside_the_room() {
    let mut view = example();
    for executor in &mut view.executors {
        executor.capacity = Resources::new(80_000, 0, 0);
        executor.free = Resources::new(70_000, 0, 0);
    }
    let small = job(9, Level::LIFE_SAFETY, 1);
    assert!(victims(&plan(&small, &view).unwrap()).is_empty());
    view.places = vec![0, 0];
    // s1 lost less work than r1 and r2.
    let taken = plan(&small, &view).unwrap();
    assert_eq!((taken.executor, victims(&taken)), (1, vec![4]));
    // The place that s1 leaves is kept for it alone.
    view.running.retain(|running| running.id != CandidateId::new(1, 4));
    view.places = vec![0, 1];
    view.reservations = vec![taken.reservation];
    let next = job(10, Level::LIFE_SAFETY, 1);
    let second = plan(&next, &view).unwrap();
    assert_eq!((second.executor, victims(&second)), (0, vec![2]));
    assert!(victims(&plan(&small, &view).unwrap()).is_empty());
}
