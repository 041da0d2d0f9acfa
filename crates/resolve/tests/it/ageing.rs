//! What time does to a queue: late jobs, reserved places, reserved shares, inherited tiers.

use std::collections::BTreeSet;

use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    AgeingRules, BasisPoints, CandidateId, ClusterView, Dimension, ExecutorFacts, JobFacts, LateRule, Lateness, Level,
    Placement, Plan, Priority, Reason, Reservation, ReservationCause, Resources, RoundFacts, RunningJob, StrategyKind,
    TierShares, inherit_levels,
};

const NOW: u64 = 100_000_000;

fn at(ms: u64) -> WallTime {
    WallTime::from_millis(ms)
}

fn cpu(milli: u64) -> Resources {
    Resources::new(milli, 0, 0)
}

/// A job submitted so many milliseconds ago.
fn job(number: u64, ago: u64, demand: u64) -> JobFacts {
    let submitted = Hlc::from_parts(at(NOW - ago), 0).unwrap();
    JobFacts { demand: cpu(demand), ..JobFacts::new(CandidateId::new(1, number), submitted) }
}

fn executor(capacity: u64, free: u64) -> ExecutorFacts {
    ExecutorFacts { capacity: cpu(capacity), free: cpu(free), tags: BTreeSet::new() }
}

fn plan(jobs: &[JobFacts], view: &ClusterView) -> Plan {
    let round = RoundFacts::new(1, view.total());
    StrategyKind::EmergencyFirst.contention().plan(jobs, view, &round, at(NOW))
}

fn placed(plan: &Plan) -> Vec<(u64, usize)> {
    plan.placements.iter().map(|Placement { job, executor }| (job.0[1], *executor)).collect()
}

fn reason(plan: &Plan, number: u64) -> &Reason {
    let id = CandidateId::new(1, number);
    &plan.waiting.iter().find(|waiting| waiting.job == id).expect("it waits").reason
}

/// A view of busy executors without reserved shares.
fn busy(executors: &[(u64, u64)], running: Vec<RunningJob>) -> ClusterView {
    let executors = executors.iter().map(|(capacity, free)| executor(*capacity, *free)).collect();
    let ageing = AgeingRules { shares: TierShares::NONE, ..AgeingRules::default() };
    ClusterView { running, ageing, ..ClusterView::new(executors) }
}

fn running(number: u64, executor: usize, demand: u64, ends: Option<u64>) -> RunningJob {
    RunningJob { ends: ends.map(at), ..RunningJob::new(&job(number, 0, demand), executor, at(NOW - 1_000)) }
}

/// Section 6: submit 0, priority 255, estimate 1,800,000, deadline 2,400,000.
#[test]
fn the_worked_example_of_lateness() {
    let mut late = JobFacts {
        priority: Priority(255),
        estimate_ms: 1_800_000,
        deadline: Some(at(2_400_000)),
        demand: RoundFacts::REFERENCE,
        ..JobFacts::new(CandidateId::new(1, 1), Hlc::default())
    };
    let round = RoundFacts::new(1, RoundFacts::REFERENCE);
    let strategy = StrategyKind::PriorityBased.contention();
    let breakdown = strategy.explain(&late, &round);
    let deadline = breakdown.links()[0].factors.iter().find(|factor| factor.name == "deadline").unwrap();
    assert_eq!((deadline.raw, deadline.share.get(), deadline.contribution), (Some(600_000), 8_334, 1_500_120));
    let head_start: u64 = breakdown.links()[0].factors.iter().map(|factor| factor.contribution).sum();
    assert_eq!(head_start, 5_100_120);
    assert_eq!(breakdown.key().word(0), 4_289_867_176);
    assert_eq!(LateRule::LoseUrgency.dispatch(&mut late, at(600_000)), Lateness::InTime);
    assert_eq!(LateRule::LoseUrgency.dispatch(&mut late, at(600_001)), Lateness::Marked { by_ms: 1 });
    assert_eq!(strategy.key(&late, &round).word(0), 4_291_367_296);
    assert_eq!(LateRule::LoseUrgency.dispatch(&mut late, at(600_002)), Lateness::Unchanged { by_ms: 2 }, "once");
    assert_eq!(LateRule::Refuse.dispatch(&mut late, at(600_002)), Lateness::Refused { by_ms: 2 });

    let mut kept = JobFacts { late: false, ..late.clone() };
    assert_eq!(LateRule::Keep.dispatch(&mut kept, at(700_000)), Lateness::Unchanged { by_ms: 100_000 });
    assert!(!kept.late);
    assert_eq!(LateRule::LateTier.dispatch(&mut kept, at(700_000)), Lateness::Marked { by_ms: 100_000 });
    assert!(kept.late);
}

/// Without its deadline a late job falls behind one that can still be on time, in the same round.
#[test]
fn a_late_job_is_ranked_anew_when_its_turn_comes() {
    let hopeless = JobFacts { deadline: Some(at(NOW + 10)), estimate_ms: 60_000, ..job(1, 1_000, 1_000) };
    let other = job(2, 2_000, 1_000);
    let mut view = busy(&[(1_000, 1_000)], Vec::new());
    let jobs = [hopeless, other];
    for (rule, first, late) in
        [(LateRule::LoseUrgency, 2, vec![CandidateId::new(1, 1)]), (LateRule::Keep, 1, Vec::new())]
    {
        view.ageing.late = rule;
        let plan = plan(&jobs, &view);
        assert_eq!((placed(&plan), plan.late), (vec![(first, 0)], late), "{rule:?}");
    }
    view.ageing.late = LateRule::Refuse;
    let plan = plan(&jobs, &view);
    assert_eq!(placed(&plan), [(2, 0)]);
    assert_eq!(reason(&plan, 1), &Reason::DeadlineHopeless { by_ms: 59_990 });
}

#[test]
fn nothing_starts_in_a_storm() {
    let view = ClusterView { storm: true, ..busy(&[(1_000, 1_000)], Vec::new()) };
    let plan = plan(&[job(1, 0, 10), job(2, 0, 10)], &view);
    assert!(plan.placements.is_empty());
    assert_eq!([reason(&plan, 1), reason(&plan, 2)], [&Reason::StormGuard; 2]);
}

/// A job that has waited too long and fits nowhere gets the executor that frees first; who ends in time may slip in.
#[test]
fn a_place_is_reserved_after_long_waiting() {
    let running = vec![running(8, 0, 900, Some(NOW + 500)), running(9, 1, 900, Some(NOW + 400))];
    let view = busy(&[(1_000, 100), (1_000, 100)], running);
    let waits_since = view.ageing.reserve_after_ms;
    let large = job(1, waits_since, 1_000);
    let short = JobFacts { estimate_ms: 400, ..job(2, 10, 100) };
    let long = JobFacts { estimate_ms: 401, ..job(3, 11, 100) };
    let unknown = job(4, 8, 100);
    let first = plan(&[large.clone(), long.clone(), short.clone()], &view);
    let reserved = Reservation {
        executor: 1,
        job: large.id,
        level: Level::ROUTINE,
        demand: large.demand,
        cause: ReservationCause::Waited,
        from: at(NOW + 400),
        until: None,
    };
    assert_eq!(first.reservations, [reserved]);
    assert_eq!(reason(&first, 1), &Reason::WaitingForCapacity { dimension: Dimension::Cpu, short_by: 900 });
    // The long one takes the place that is not reserved; the short one slips in before the reserved job.
    let mut starts = placed(&first);
    starts.sort_unstable();
    assert_eq!(starts, [(2, 1), (3, 0)]);
    // Who ends nobody knows when might stay for ever.
    let mut one = view.clone();
    one.executors[0].free = cpu(0);
    let second = plan(&[large.clone(), unknown.clone()], &one);
    assert_eq!((placed(&second), reason(&second, 4)), (vec![], &Reason::ReservedForOther { job: large.id }));

    // A millisecond sooner there is no reservation.
    let sooner = plan(&[job(1, waits_since - 1, 1_000)], &view);
    assert!(sooner.reservations.is_empty());
}

#[test]
fn a_reservation_lasts_until_its_job_starts_and_moves_if_its_place_goes() {
    let large = job(1, 20_000_000, 1_000);
    let mut view = busy(&[(1_000, 100), (1_000, 100)], vec![running(8, 0, 900, None), running(9, 1, 900, None)]);
    // Of two that end nobody knows when, the first.
    let first = plan(std::slice::from_ref(&large), &view);
    assert_eq!((first.reservations[0].executor, first.reservations[0].from), (0, at(u64::MAX)));
    // It is kept, although the other would now be free sooner, and its time is brought up to date.
    view.reservations = first.reservations;
    view.running[1].ends = Some(at(NOW + 1));
    view.running[0].ends = Some(at(NOW + 50));
    let second = plan(std::slice::from_ref(&large), &view);
    assert_eq!((second.reservations[0].executor, second.reservations[0].from), (0, at(NOW + 50)));
    // Its job has become part of an emergency.
    let grave = JobFacts { level: Level::ELEVATED, ..large.clone() };
    let held = plan(&[grave], &view).reservations[0];
    assert_eq!((held.executor, held.level), (0, Level::ELEVATED));
    // Its executor is gone.
    view.executors[0].capacity = cpu(500);
    let third = plan(std::slice::from_ref(&large), &view);
    assert_eq!((third.reservations[0].executor, third.reservations[0].from), (1, at(NOW + 1)));
    // Its job no longer waits.
    assert!(plan(&[], &view).reservations.is_empty());
    // Its place is free: it starts there, although the others are as good.
    view.reservations = second.reservations;
    view.executors = vec![executor(1_000, 1_000), executor(1_000, 1_000)];
    view.running.clear();
    view.reservations[0].executor = 1;
    let last = plan(std::slice::from_ref(&large), &view);
    assert_eq!((placed(&last), last.reservations), (vec![(1, 1)], vec![]));
}

/// Only one place for each, and only one job for each place.
#[test]
fn reservations_do_not_pile_up() {
    let view = busy(&[(1_000, 0), (1_000, 0)], vec![running(8, 0, 1_000, None), running(9, 1, 1_000, None)]);
    let jobs = [job(1, 20_000_000, 1_000), job(2, 19_000_000, 1_000), job(3, 18_000_000, 1_000)];
    let both = plan(&jobs, &view);
    let held: Vec<_> = both.reservations.iter().map(|held| (held.job.0[1], held.executor)).collect();
    assert_eq!(held, [(1, 0), (2, 1)]);
    // Too small even when idle, or without the tag: nothing to reserve.
    let small = busy(&[(999, 999)], Vec::new());
    assert!(plan(&jobs[..1], &small).reservations.is_empty());
    let tagged = JobFacts { requires: ["imaging".into()].into(), ..jobs[0].clone() };
    assert!(plan(&[tagged], &view).reservations.is_empty());
}

/// A reservation for who waited holds against its tier and lower ones; one for who was made room, against all.
#[test]
fn graver_jobs_pass_reservations_of_those_who_waited() {
    let mut view = busy(&[(1_000, 1_000)], Vec::new());
    let held = |cause, until| Reservation {
        executor: 0,
        job: CandidateId::new(1, 7),
        level: Level::ELEVATED,
        demand: cpu(600),
        cause,
        from: at(NOW),
        until,
    };
    let grave = |level| JobFacts { level, ..job(1, 0, 500) };
    let starts = |view: &ClusterView, level| !plan(&[grave(level), job(7, 0, 2_000)], view).placements.is_empty();
    view.reservations = vec![held(ReservationCause::Waited, None)];
    assert_eq!([Level::ROUTINE, Level::ELEVATED, Level::PUBLIC_SAFETY].map(|level| starts(&view, level)), [true; 3]);
    // The job that it was for cannot run there any more, so it was dropped; with one that can, it holds.
    let starts = |view: &ClusterView, level| {
        let plan = plan(&[grave(level), JobFacts { level: Level::ELEVATED, ..job(7, 0, 900) }], view);
        placed(&plan).contains(&(1, 0))
    };
    view.executors[0].free = cpu(800);
    view.running = vec![running(9, 0, 200, None)];
    assert!(!starts(&view, Level::ROUTINE));
    assert!(!starts(&view, Level::ELEVATED));
    assert!(starts(&view, Level::PUBLIC_SAFETY));
    view.reservations = vec![held(ReservationCause::Preempted, Some(at(NOW + 1)))];
    assert!(!starts(&view, Level::LIFE_SAFETY), "500 of 800, and 600 are kept");
    view.reservations = vec![held(ReservationCause::Preempted, Some(at(NOW)))];
    assert!(starts(&view, Level::LIFE_SAFETY), "it has lapsed");
    view.reservations = vec![Reservation { demand: cpu(300), ..held(ReservationCause::Preempted, None) }];
    assert!(starts(&view, Level::ROUTINE), "there is room beside it");
}

/// A tenth of 1,000 is the routine jobs'. While none of them has waited for half an hour, emergencies may borrow it.
#[test]
fn a_lower_tier_claims_its_share_back_after_half_an_hour() {
    let mut view = busy(&[(1_000, 1_000)], Vec::new());
    view.ageing.shares = TierShares::default();
    let floor = view.ageing.floor_after_ms;
    let grave = |number, demand| JobFacts { level: Level::PUBLIC_SAFETY, ..job(number, 0, demand) };
    let starts = |view: &ClusterView, jobs: &[JobFacts]| placed(&plan(jobs, view));
    // Nobody of a lower tier has waited for long.
    assert_eq!(starts(&view, &[grave(1, 1_000), job(2, floor - 1, 50)]), [(1, 0)]);
    // Now one has: a tenth stays free for its tier.
    let jobs = [grave(1, 901), job(2, floor, 50)];
    assert_eq!(starts(&view, &jobs), [(2, 0)]);
    assert_eq!(reason(&plan(&jobs, &view), 1), &Reason::ReservedForOther { job: CandidateId::new(1, 2) });
    assert_eq!(starts(&view, &[grave(1, 900), job(2, floor, 50)]), [(1, 0), (2, 0)]);
    // What its tier uses already counts.
    view.executors[0].free = cpu(900);
    view.running = vec![running(9, 0, 100, None)];
    assert_eq!(starts(&view, &[grave(1, 900), job(2, floor, 50)]), [(1, 0)]);
    // What runs in a higher tier does not.
    view.running[0].level = Level::LIFE_SAFETY;
    assert_eq!(starts(&view, &[grave(1, 801), job(2, floor, 50)]), [(2, 0)]);
    // Every lower tier has a share of its own, and the one between has no claim on the higher.
    let elevated = JobFacts { level: Level::ELEVATED, ..job(3, floor, 1) };
    let both = [grave(1, 701), job(2, floor, 50), elevated.clone()];
    assert!(!starts(&view, &both).contains(&(1, 0)));
    assert!(starts(&view, &[grave(1, 700), both[1].clone(), elevated]).contains(&(1, 0)));
    // A start of this round takes from what is free for the next.
    let two = [grave(1, 400), grave(4, 401), job(2, floor, 50)];
    assert_eq!(starts(&view, &two), [(1, 0), (2, 0)]);
    view.ageing.shares = TierShares::NONE;
    assert_eq!(starts(&view, &two), [(1, 0), (4, 0), (2, 0)]);
}

#[test]
fn shares_belong_to_named_tiers() {
    let share = |bp| BasisPoints::new(bp).unwrap();
    let shares = TierShares::new([share(1), share(2), share(3), share(4)]).unwrap();
    let of = |level| shares.of(Level::new(level).unwrap()).get();
    assert_eq!([0, 49, 50, 99, 100, 149, 150, 199, 200].map(of), [1, 1, 2, 2, 3, 3, 4, 4, 0]);
    assert_eq!(TierShares::default().get().map(BasisPoints::get), [1_000; 4]);
    // A dimension that the emergency does not take is none of its business.
    let mut view = busy(&[(1_000, 1_000)], Vec::new());
    view.ageing.shares = TierShares::default();
    view.executors[0].capacity.gpu_milli = 4_000;
    let grave = JobFacts { level: Level::LIFE_SAFETY, ..job(1, 0, 900) };
    assert_eq!(placed(&plan(&[grave, job(2, 1_800_000, 2_000)], &view)), [(1, 0)]);
}

/// What a waiting emergency job depends on inherits its tier, step by step, and a circle ends.
#[test]
fn tiers_are_inherited_along_dependencies() {
    let leveled = |number, level| JobFacts { level, ..job(number, 0, 1) };
    let mut jobs = [
        leveled(1, Level::LIFE_SAFETY),
        leveled(2, Level::ROUTINE),
        leveled(3, Level::ELEVATED),
        leveled(4, Level::ROUTINE),
        leveled(5, Level::PUBLIC_SAFETY),
    ];
    let id = |number| CandidateId::new(1, number);
    let needs = [(id(1), id(2)), (id(2), id(3)), (id(3), id(2)), (id(5), id(4)), (id(9), id(4)), (id(4), id(8))];
    inherit_levels(&mut jobs, &needs);
    let levels = jobs.map(|job| job.level);
    let (life, public) = (Level::LIFE_SAFETY, Level::PUBLIC_SAFETY);
    assert_eq!(levels, [life, life, life, public, public]);
}
