//! The head room: what it holds back, what it lets through, and that nobody waits for ever because of it.

use std::collections::BTreeSet;
use std::slice::from_ref;

use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    AgeingRules, CandidateId, ClusterView, ContentionStrategy, Dimension, EmergencyFirst, ExecutorFacts, HeadRoom,
    HeadStartMinutes, JobFacts, Level, Plan, Policy, PolicyError, PreemptionRefusal, PreemptionRules, Preemptor,
    Reason, Reservation, ReservationCause, Resources, RoundFacts, RunningJob, StrategyKind, TierShares,
    plan_preemption,
};

const NOW: u64 = 100_000_000;

fn at(ms: u64) -> WallTime {
    WallTime::from_millis(ms)
}

fn cores(count: u64) -> Resources {
    Resources::new(count * 1_000, 0, 0)
}

fn job(number: u64, level: Level, demand: Resources) -> JobFacts {
    let submitted = Hlc::from_parts(at(NOW), 0).unwrap();
    JobFacts { level, demand, ..JobFacts::new(CandidateId::new(1, number), submitted) }
}

/// Executors of eight cores, of which so many are free, under a head room of three.
fn view(free: &[u64]) -> ClusterView {
    let executor = |free: &u64| ExecutorFacts { capacity: cores(8), free: cores(*free), tags: BTreeSet::new() };
    let ageing = AgeingRules { shares: TierShares::NONE, ..AgeingRules::default() };
    ClusterView { head_room: HeadRoom::new(cores(3)), ageing, ..ClusterView::new(free.iter().map(executor).collect()) }
}

fn plan(jobs: &[JobFacts], view: &ClusterView, now: u64) -> Plan {
    StrategyKind::EmergencyFirst.contention().plan(jobs, view, &RoundFacts::new(1, view.total()), at(now))
}

fn placed(plan: &Plan) -> Vec<(u64, usize)> {
    plan.placements.iter().map(|placement| (placement.job.0[1], placement.executor)).collect()
}

fn short_by(cores: u64) -> Reason {
    Reason::KeptAsHeadRoom { dimension: Dimension::Cpu, short_by: cores * 1_000 }
}

#[test]
fn what_is_kept_stays_free_after_a_start_below_life_safety() {
    let (kept, total) = (HeadRoom::new(Resources::new(3, 4, 0)), Resources::new(10, 1_000, 4));
    let below = Level::new(199).unwrap();
    let held = |demand, free| kept.holds_back(&job(1, below, demand), &free, &total);
    let short = |dimension, short_by| Some(Reason::KeptAsHeadRoom { dimension, short_by });
    assert_eq!(held(Resources::new(2, 2, 0), Resources::new(5, 6, 0)), None);
    assert_eq!(held(Resources::new(2, 2, 0), Resources::new(4, 6, 0)), short(Dimension::Cpu, 1));
    assert_eq!(held(Resources::new(2, 2, 0), Resources::new(5, 5, 0)), short(Dimension::Memory, 1));
    // One of ten is more than six of a thousand.
    assert_eq!(held(Resources::new(2, 2, 0), Resources::new(4, 0, 0)), short(Dimension::Cpu, 1));
    // Nobody waits for what it does not ask for.
    assert_eq!(held(Resources::new(2, 0, 0), Resources::new(5, 0, 0)), None);
    assert_eq!(held(Resources::new(0, 0, 4), Resources::new(0, 0, 4)), None);
    assert_eq!(held(Resources::default(), Resources::default()), None);
    let wide = Resources::new(4_000_000, 0, 100);
    let found = kept.holds_back(&job(1, below, Resources::new(1, 0, 1)), &Resources::new(3, 0, 100), &wide);
    assert_eq!(found, short(Dimension::Cpu, 1), "a share that rounds to nothing");
    // What would leave too little even of everything would never start otherwise.
    assert_eq!(held(Resources::new(7, 0, 0), Resources::new(9, 0, 0)), short(Dimension::Cpu, 1));
    assert_eq!(held(Resources::new(8, 0, 0), Resources::new(8, 0, 0)), None);
    assert_eq!(kept.holds_back(&job(1, Level::LIFE_SAFETY, cores(1)), &Resources::default(), &total), None);
    let none = HeadRoom::NONE.holds_back(&job(1, Level::ROUTINE, cores(1)), &Resources::default(), &cores(9));
    assert_eq!((none, HeadRoom::default()), (None, HeadRoom::NONE), "without one there is nothing to say");
}

#[test]
fn emergencies_start_in_the_head_room_and_the_others_say_why_they_wait() {
    let (routine, grave) = (Level::ROUTINE, Level::LIFE_SAFETY);
    let jobs = [
        job(1, routine, cores(1)),
        job(2, Level::CRITICAL_INFRASTRUCTURE, cores(1)),
        job(3, grave, cores(1)),
        job(4, grave, cores(2)),
    ];
    let full = view(&[3, 0]);
    let found = plan(&jobs, &full, NOW);
    assert_eq!(placed(&found), [(3, 0), (4, 0)]);
    // They no longer fit at all, which is the better reason.
    assert!(found.waiting.iter().all(|waiting| matches!(waiting.reason, Reason::WaitingForCapacity { .. })));
    // It is kept over all executors together, and counted anew with each start.
    let found = plan(&jobs[..2], &view(&[2, 2]), NOW);
    assert_eq!(placed(&found), [(2, 0)]);
    assert_eq!(found.waiting[0].reason, short_by(1));
    let found = plan(&jobs[..3], &view(&[2, 2]), NOW);
    assert_eq!(placed(&found), [(3, 0)]);
    let reasons: Vec<&Reason> = found.waiting.iter().map(|waiting| &waiting.reason).collect();
    assert_eq!(reasons, [&short_by(1), &short_by(1)]);
    assert_eq!(
        short_by(1).to_string(),
        "what is free is kept for life safety: short of 1000 in cpu",
        "as people read it"
    );
    let without = ClusterView { head_room: HeadRoom::NONE, ..view(&[3, 0]) };
    assert_eq!(placed(&plan(&jobs[..2], &without, NOW)), [(2, 0), (1, 0)]);
}

/// A stream of small jobs that never ends, and one job that needs a whole executor.
#[test]
fn a_wide_job_finds_its_place_and_the_head_room_once_it_has_waited() {
    let mut view = view(&[8, 8]);
    view.ageing.reserve_after_ms = 5_000;
    // Without head starts nobody is ranked before who came earlier; with them it would take as long as they are.
    let none = HeadStartMinutes { priority: 0, deadline: 0, lightness: 0, smallness: 0, emergency: 0 };
    let strategy = EmergencyFirst::new(none).unwrap();
    let mut waiting = Vec::new();
    let mut ends: Vec<(u64, usize)> = Vec::new();
    for second in 0..90 {
        let now = second * 1_000;
        let submitted = Hlc::from_parts(at(now), 0).unwrap();
        if second == 10 {
            waiting.push(JobFacts { submitted, ..job(0, Level::ROUTINE, cores(8)) });
        }
        // Two come each second and run for eight seconds each: more than both executors can take, and few end at once.
        for number in 1..=2 {
            waiting.push(JobFacts { submitted, ..job(second * 2 + number, Level::ROUTINE, cores(1)) });
        }
        ends.retain(|(end, executor)| {
            if *end <= now {
                view.executors[*executor].free = view.executors[*executor].free.saturating_add(&cores(1));
            }
            *end > now
        });
        view.running.retain(|running: &RunningJob| running.started.as_millis() + 8_000 > now);
        let found = strategy.plan(&waiting, &view, &RoundFacts::new(1, view.total()), at(now));
        for placement in &found.placements {
            let place = waiting.iter().position(|job| job.id == placement.job).unwrap();
            let job = waiting.remove(place);
            if job.id.0[1] == 0 {
                assert!(second > 15, "it was busy before");
                return;
            }
            let executor = &mut view.executors[placement.executor];
            executor.free = executor.free.saturating_sub(&job.demand);
            ends.push((now + 8_000, placement.executor));
            view.running.push(RunningJob::new(&job, placement.executor, at(now)));
        }
        view.reservations = found.reservations;
    }
    panic!("the wide job waits for ever");
}

/// Else a stream of small ones would take what it waits for, although its place is kept.
#[test]
fn what_a_job_with_a_place_waits_for_is_no_room_for_those_behind_it() {
    const HOUR: u64 = 3_600_000;
    let mut view = view(&[8, 2]);
    view.ageing.reserve_after_ms = HOUR;
    let submitted = Hlc::from_parts(at(NOW + HOUR), 0).unwrap();
    let jobs = [job(1, Level::ROUTINE, cores(8)), JobFacts { submitted, ..job(2, Level::ROUTINE, cores(1)) }];
    let early = plan(&jobs, &view, NOW + HOUR - 1);
    assert_eq!((early.placements.len(), early.waiting[0].reason.clone()), (1, short_by(1)), "it has no place yet");
    let found = plan(&jobs, &view, NOW + HOUR);
    assert_eq!(found.reservations[0].job, jobs[0].id);
    let reasons: Vec<_> = found.waiting.iter().map(|waiting| (waiting.job, waiting.reason.clone())).collect();
    assert_eq!(reasons, [(jobs[0].id, short_by(1)), (jobs[1].id, short_by(2))]);
}

fn freed(number: u64, executor: usize, demand: Resources) -> Reservation {
    Reservation {
        executor,
        job: CandidateId::new(1, number),
        level: Level::PUBLIC_SAFETY,
        demand,
        cause: ReservationCause::Preempted,
        from: at(NOW),
        until: Some(at(NOW + 1)),
    }
}

#[test]
fn the_place_that_was_freed_for_a_job_is_its_own_and_no_part_of_the_head_room() {
    let (grave, other) = (job(1, Level::PUBLIC_SAFETY, cores(2)), job(2, Level::ROUTINE, cores(1)));
    let mut two = view(&[2, 3]);
    two.reservations = vec![freed(1, 0, cores(2))];
    assert_eq!(placed(&plan(from_ref(&grave), &two, NOW)), [(1, 0)], "two of five would leave three");
    two.executors[1].free = cores(0);
    assert_eq!(placed(&plan(from_ref(&grave), &two, NOW)), [(1, 0)], "an emergency took the rest meanwhile");
    // Not elsewhere.
    (two.executors[0].free, two.executors[1].free) = (cores(1), cores(3));
    assert_eq!(plan(&[grave], &two, NOW).waiting[0].reason, short_by(1));
    // Five are free, two of them for somebody else, so three are.
    (two.executors[0].free, two.executors[1].free) = (cores(2), cores(3));
    assert_eq!(plan(from_ref(&other), &two, NOW).waiting[0].reason, short_by(1));
    // More than is free was not freed; and what has lapsed is nobody's.
    two.reservations = vec![freed(1, 0, cores(8))];
    assert_eq!(plan(from_ref(&other), &two, NOW).waiting[0].reason, short_by(1));
    assert_eq!(placed(&plan(&[other], &two, NOW + 1)), [(2, 0)]);
}

#[test]
fn nobody_is_stopped_for_a_job_that_would_be_held_back_even_then() {
    let rules = PreemptionRules::default();
    let running = |number, executor, level, count| {
        RunningJob::new(&job(number, level, cores(count)), executor, at(NOW - 100_000))
    };
    let ask = |view: &ClusterView, level| {
        plan_preemption(&Preemptor::new(&job(9, level, cores(2))), view, &rules, &[], at(NOW)).map(|found| {
            let victims: Vec<u64> = found.evictions.iter().map(|eviction| eviction.job.0[1]).collect();
            (found.executor, victims)
        })
    };
    let mut one = view(&[2]);
    one.running = vec![running(1, 0, Level::ROUTINE, 2), running(2, 0, Level::ROUTINE, 2)];
    // It fits as it is, but the head room would be left with nothing: both must go, where for life safety none must.
    assert_eq!(ask(&one, Level::PUBLIC_SAFETY), Ok((0, vec![1, 2])));
    assert_eq!(ask(&one, Level::LIFE_SAFETY), Ok((0, vec![])));
    one.running.truncate(1);
    let refused = Reason::PreemptionRefused { why: PreemptionRefusal::WouldNotFit };
    assert_eq!(ask(&one, Level::PUBLIC_SAFETY), Err(refused));
    // Room elsewhere counts as well, but not what was freed for somebody else.
    let mut two = view(&[2, 3]);
    assert_eq!(ask(&two, Level::PUBLIC_SAFETY), Ok((0, vec![])));
    two.reservations = vec![freed(7, 1, cores(1))];
    let nobody = Reason::PreemptionRefused { why: PreemptionRefusal::NotLowerTier };
    assert_eq!(ask(&two, Level::PUBLIC_SAFETY), Err(nobody));
    two.reservations = vec![freed(9, 1, cores(1))];
    assert_eq!(ask(&two, Level::PUBLIC_SAFETY), Ok((0, vec![])), "its own");
}

#[test]
fn a_head_room_is_a_parameter_of_the_strategy_that_has_tiers() {
    let head_room = HeadRoom::new(cores(3));
    for kind in StrategyKind::ALL {
        let built = Policy::builder(kind).head_room(head_room).build();
        if kind == StrategyKind::EmergencyFirst {
            let policy = built.unwrap();
            assert_eq!(policy.head_room(), &head_room);
            let under = ClusterView { storm: true, ..ClusterView::default() }.under(&policy);
            assert_eq!((under.head_room, under.ageing, under.storm), (head_room, *policy.ageing(), true));
            assert_ne!(policy.id(), Policy::of(kind).id());
            assert_ne!(policy, Policy::of(kind));
        } else {
            assert_eq!(built, Err(PolicyError::NotAParameter { parameter: "head room", strategy: kind }));
        }
        assert_eq!(Policy::of(kind).head_room(), &HeadRoom::NONE);
    }
}
