//! Preemption within one broker.

use reconvene_broker::{
    AttemptCause, Command, EventKind, JobStatus, Phase, Policy, PreemptionRefusal, PreemptionRules, Reply,
    StrategyKind, WaitReason,
};
use reconvene_executor::message::{Order, StopReason};
use reconvene_executor::{EmergencyId, JobId, JobSpec, Resources};

use crate::world::{SECOND, World};

const LIFE_SAFETY: u8 = 200;

pub fn declare(world: &mut World, broker: usize, level: u8, region: &str) -> EmergencyId {
    match world.command(broker, Command::DeclareEmergency { level, region: region.to_owned(), lifetime_ms: 0 }) {
        Ok(Reply::EmergencyDeclared { id }) => id,
        other => panic!("{other:?}"),
    }
}

pub fn routine() -> JobSpec {
    JobSpec::new(b"routine".to_vec()).with_region("north")
}

pub fn urgent(id: EmergencyId) -> JobSpec {
    routine().with_emergency(id)
}

pub fn refusals(world: &World, broker: usize, job: JobId) -> Vec<PreemptionRefusal> {
    let refusals = world.kinds(broker).filter_map(|(_, kind)| match kind {
        EventKind::PreemptionRefused { job: refused, reason } if *refused == job => Some(*reason),
        _ => None,
    });
    refusals.collect()
}

pub fn preempted(world: &World, broker: usize) -> Vec<(u64, JobId, JobId)> {
    let events = world.kinds(broker).filter_map(|(at, kind)| match kind {
        EventKind::JobPreempted { job, by, .. } => Some((at, *job, *by)),
        _ => None,
    });
    events.collect()
}

fn drains(world: &World) -> Vec<(u64, JobId, u64)> {
    let drains = world.orders.iter().filter_map(|(at, _, order)| match order {
        Order::Stop { attempt, reason: StopReason::Preempted, drain_ms } => Some((*at, attempt.job, *drain_ms)),
        _ => None,
    });
    drains.collect()
}

/// One executor with one slot, on which a routine job has run for `ran` seconds.
pub fn busy(ran: u64, rules: Option<PreemptionRules>) -> (World, JobId) {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    if let Some(rules) = rules {
        let policy = Policy::builder(StrategyKind::EmergencyFirst).preemption(rules).build().unwrap();
        set(&mut world, &policy);
    }
    world.add_executor(0, 1);
    let job = world.submit_job(0, routine());
    world.run_to(ran);
    (world, job)
}

fn set(world: &mut World, policy: &Policy) {
    let command = Command::SetPolicy { canonical: policy.canonical_bytes(), issuer_rank: 0 };
    assert!(matches!(world.command(0, command), Ok(Reply::PolicySet { .. })));
}

#[test]
fn a_graver_job_gets_the_place_and_the_other_waits_with_its_rank() {
    let (mut world, victim) = busy(70, None);
    let behind = world.submit_job(0, routine());
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let stamp = world.job(0, victim).submitted;
    let job = world.submit_job(0, urgent(emergency));
    assert_eq!(drains(&world), [(70 * SECOND, victim, 30 * SECOND)]);
    world.run_to(99);
    assert_eq!((world.job(0, victim).status, world.starts(job).len()), (JobStatus::Running, 0));
    world.run_to(100);
    assert_eq!(preempted(&world, 0), [(100 * SECOND, victim, job)]);
    assert_eq!(world.starts(job).iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [100 * SECOND]);
    let view = world.job(0, victim);
    assert_eq!((view.status, view.submitted, view.preempted), (JobStatus::Redeploying, stamp, 1));
    assert_eq!(view.attempts[0].phase, Some(Phase::Preempted));
    assert_eq!(world.coordinator(0).statistics().preempted, 1);
    // The order of a drain is repeated with what remains of it.
    assert!(drains(&world).iter().all(|(at, _, ms)| at + ms == 100 * SECOND), "{:?}", drains(&world));
    // It goes before who came after it, and its next attempt says why it is made.
    let (_, attempt) = world.started(0);
    assert_eq!(attempt.job, job);
    world.finish(0, 0, attempt, b"done");
    let (_, attempt) = world.started(0);
    assert_eq!((attempt.job, attempt.number), (victim, 2));
    let offered = |kind: &EventKind| matches!(kind, EventKind::AttemptOffered { attempt, cause: AttemptCause::Preempted, .. } if attempt.job == victim);
    assert_eq!(world.count(0, offered), 1);
    assert_eq!(world.coordinator(0).statistics().redeployed, 0);
    world.finish(0, 0, attempt, b"done");
    assert_eq!(world.started(0).1.job, behind);
}

#[test]
fn who_ends_while_it_is_drained_is_not_preempted() {
    let (mut world, victim) = busy(70, None);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, urgent(emergency));
    world.run_to(80);
    let (_, attempt) = world.started(0);
    world.finish(0, 0, attempt, b"in time");
    assert_eq!(world.job(0, victim).status, JobStatus::Completed);
    assert_eq!(world.started(0), (80 * SECOND, world.started(0).1));
    assert_eq!(world.started(0).1.job, job);
    world.run_to(200);
    assert_eq!((preempted(&world, 0).len(), world.job(0, victim).preempted), (0, 0));
}

#[test]
fn nobody_is_stopped_who_has_not_run_long_enough_yet() {
    let (mut world, victim) = busy(40, None);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, urgent(emergency));
    assert_eq!(refusals(&world, 0, job), [PreemptionRefusal::MinRun]);
    let waits = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { job: waiting, reason: WaitReason::Capacity } if *waiting == job);
    assert_eq!(world.count(0, waits), 1);
    world.run_to(59);
    assert!(drains(&world).is_empty());
    // Time passes, and it is asked again.
    world.run_to(60);
    assert_eq!(drains(&world), [(60 * SECOND, victim, 30 * SECOND)]);
    world.run_to(90);
    assert_eq!(world.starts(job).len(), 1);
    let refused = world.coordinator(0).statistics().preemptions_refused;
    assert_eq!((refused.min_run, refused.not_lower_tier), (1, 0));
}

#[test]
fn equals_do_not_preempt_each_other() {
    let (mut world, _) = busy(70, None);
    let emergency = declare(&mut world, 0, 100, "north");
    let first = world.submit_job(0, urgent(emergency));
    world.run_to(200);
    assert_eq!(world.starts(first).len(), 1);
    let second = world.submit_job(0, urgent(emergency));
    world.run_to(400);
    assert!(world.starts(second).is_empty());
    assert_eq!(refusals(&world, 0, second), [PreemptionRefusal::NotLowerTier]);
}

#[test]
fn other_strategies_preempt_nobody() {
    let mut world = World::new(1, StrategyKind::PriorityBased);
    world.add_executor(0, 1);
    world.submit_job(0, routine());
    world.run_to(70);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    world.submit_job(0, urgent(emergency));
    world.run_to(200);
    assert!(drains(&world).is_empty());
}

/// S10; rule X36 broken on purpose makes this fail.
#[test]
fn an_emergency_preempts_nothing_for_jobs_outside_its_scope() {
    let (mut world, _) = busy(70, None);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north/harbour");
    for region in ["north", "north/harbourside", "south"] {
        let job = world.submit_job(0, JobSpec::new(Vec::new()).with_region(region).with_emergency(emergency));
        world.run_to(world.now / SECOND + 70);
        assert_eq!(world.job(0, job).level, 0, "{region}");
    }
    assert!(drains(&world).is_empty());
    world.submit_job(0, JobSpec::new(Vec::new()).with_region("north/harbour/pier-3").with_emergency(emergency));
    assert_eq!(drains(&world).len(), 1);
}

#[test]
fn the_room_is_kept_for_whom_it_was_freed() {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    world.add_executor_with(0, 4, Resources::new(4_000, 0, 0), &[]);
    let demand = |spec: JobSpec, cpu| spec.with_demand(Resources::new(cpu, 0, 0));
    let long: Vec<_> = (0..3).map(|_| world.submit_job(0, demand(routine(), 1_000))).collect();
    world.run_to(70);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, demand(urgent(emergency), 2_000));
    assert_eq!(drains(&world).len(), 1);
    // One of 1,000 that is free is spoken for as well: 2,000 are kept, and 1,000 will come.
    let small = world.submit_job(0, demand(routine(), 1_000));
    world.run_to(99);
    assert!(world.starts(small).is_empty());
    world.run_to(100);
    assert_eq!((world.starts(job).len(), world.starts(small).len()), (1, 0));
    let victims = long.iter().filter(|id| world.job(0, **id).preempted > 0).count();
    assert_eq!(victims, 1);
    assert_eq!(world.coordinator(0).statistics().reservations_lapsed, 0);
}

#[test]
fn a_job_is_preempted_so_often_and_no_more() {
    let rules = PreemptionRules { budget: 100, ..PreemptionRules::default() };
    let (mut world, victim) = busy(70, Some(rules));
    let emergency = declare(&mut world, 0, 100, "north");
    for round in 1..=2 {
        let job = world.submit_job(0, urgent(emergency));
        world.run_to(world.now / SECOND + 30);
        assert_eq!((world.starts(job).len(), world.job(0, victim).preempted), (1, round));
        let (_, attempt) = world.started(0);
        world.finish(0, 0, attempt, b"done");
        world.run_to(world.now / SECOND + 70);
    }
    let third = world.submit_job(0, urgent(emergency));
    world.run_to(world.now / SECOND + 100);
    assert_eq!(refusals(&world, 0, third), [PreemptionRefusal::MaxCount]);
    // Life safety is not held back by that.
    let gravest = declare(&mut world, 0, LIFE_SAFETY, "north");
    let fourth = world.submit_job(0, urgent(gravest));
    world.run_to(world.now / SECOND + 30);
    assert_eq!((world.starts(fourth).len(), world.job(0, victim).preempted), (1, 3));
}

#[test]
fn the_budget_is_kept_and_comes_back() {
    let rules = PreemptionRules { budget: 1, refill_ms: 200 * SECOND, ..PreemptionRules::default() };
    let (mut world, _) = busy(0, Some(rules));
    world.add_executor(0, 1);
    world.submit_job(0, routine());
    world.run_to(70);
    let emergency = declare(&mut world, 0, 100, "north");
    let jobs = [world.submit_job(0, urgent(emergency)), world.submit_job(0, urgent(emergency))];
    assert_eq!(drains(&world).len(), 1);
    assert_eq!(refusals(&world, 0, jobs[1]), [PreemptionRefusal::Budget]);
    world.run_to(269);
    assert!(world.starts(jobs[1]).is_empty());
    world.run_to(310);
    assert_eq!(preempted(&world, 0).len(), 2);
    assert_eq!(world.starts(jobs[1]).len(), 1);
}

#[test]
fn nothing_is_preempted_under_a_storm_guard() {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    for _ in 0..5 {
        world.add_executor(0, 1);
        world.submit_job(0, routine());
    }
    world.run_to(100);
    for index in 0..3 {
        world.executors[index].alive = false;
    }
    world.run_to(121);
    assert!(world.coordinator(0).is_storm_guard_on());
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, urgent(emergency));
    world.run_to(130);
    assert!(drains(&world).is_empty());
    assert_eq!(world.coordinator(0).statistics().preemptions_refused.storm, 1);
    // It ends, and what was refused is asked again.
    world.executors[0].alive = true;
    world.run_to(140);
    assert!(!world.coordinator(0).is_storm_guard_on());
    assert_eq!(drains(&world).first().map(|(at, ..)| *at), Some(135 * SECOND));
    world.run_to(170);
    assert_eq!(world.starts(job).len(), 1);
}

#[test]
fn a_victim_whose_executor_dies_is_lost_and_not_preempted() {
    let (mut world, victim) = busy(70, None);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, urgent(emergency));
    world.executors[0].alive = false;
    world.run_to(80);
    let other = world.add_executor(0, 1);
    // It need not wait for the place that was reserved.
    assert_eq!(world.starts(job).first().map(|(_, at, _)| *at), Some(other));
    world.run_to(120);
    assert_eq!(world.job(0, victim).attempts[0].phase, Some(Phase::Lost));
    assert!(preempted(&world, 0).is_empty());
}

#[test]
fn what_is_cancelled_while_it_drains_stops_at_once() {
    let (mut world, victim) = busy(70, None);
    let emergency = declare(&mut world, 0, LIFE_SAFETY, "north");
    let job = world.submit_job(0, urgent(emergency));
    world.run_to(75);
    assert!(world.command(0, Command::Cancel { job: victim }).is_ok());
    world.run_to(81);
    assert_eq!(world.starts(job).len(), 1);
    assert!(preempted(&world, 0).is_empty());
}
