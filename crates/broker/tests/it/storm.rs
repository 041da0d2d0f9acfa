//! The storm guard: scenario 10 of the design, and what lies around it.

use reconvene_broker::{Command, EventKind, JobStatus, LossCause, Phase, Reply, StormEnd, StrategyKind, WaitReason};
use reconvene_executor::message::Order;
use reconvene_executor::{Answer, Finality, JobId, JobSpec, SessionEpoch};

use crate::world::{SECOND, World};

const A: usize = 0;
const B: usize = 1;

fn on(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StormGuardOn { .. })
}

fn off(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StormGuardOff { .. })
}

fn lost(kind: &EventKind) -> bool {
    matches!(kind, EventKind::AttemptLost { .. })
}

fn redeployed(kind: &EventKind) -> bool {
    matches!(kind, EventKind::JobRedeployed { .. })
}

fn job(priority: u8) -> JobSpec {
    JobSpec::new(b"work".to_vec()).with_priority(priority)
}

/// Five executors at A with three slots, a job on each; the first `silent` of them fall silent, after their heartbeats at
/// 100 and 105 are answered.
fn five(silent: usize) -> (World, Vec<JobId>) {
    let mut world = World::new(2, StrategyKind::PriorityBased);
    for _ in 0..5 {
        world.add_executor(A, 3);
    }
    let jobs: Vec<_> = (0..5_u8).map(|number| world.submit_job(A, job(number * 50))).collect();
    for (index, job) in jobs.iter().enumerate() {
        assert_eq!(world.starts(*job)[0].1, index, "one on each");
    }
    world.run_to(100);
    for executor in 0..silent.min(2) {
        world.executors[executor].alive = false;
    }
    world.run_to(105);
    for executor in 0..silent {
        world.executors[executor].alive = false;
    }
    world.run_to(124);
    (world, jobs)
}

/// An executor takes an order, and it and all others fall silent before they say so. While its home waits for the storm to
/// pass, another broker gives the attempt up, and the executor comes back in a new session. It may have run already.
#[test]
fn regress_an_order_is_not_repeated_to_another_session() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    for _ in 0..5 {
        world.add_executor(A, 1);
    }
    let job = world.submit_job(A, job(50));
    let (_, x, attempt) = world.starts(job)[0];
    world.executors.iter_mut().for_each(|executor| executor.alive = false);
    world.run_to(10);
    world.cut(A, B);
    world.run_to(299);
    assert_eq!(world.job(B, job).attempts[0].phase, Some(Phase::Lost), "the other side has given it up");
    assert_eq!((world.count(A, on), world.count(A, off), world.count(A, lost)), (1, 0, 0));
    world.heal(A, B);
    world.run_to(300);
    let executor = &mut world.executors[x];
    executor.session = SessionEpoch { random: executor.session.random + 1, ..executor.session };
    executor.registration = 0;
    executor.running.clear();
    world.register(x, A);
    world.run_to(900);
    let started = |(at, _, order): &(u64, usize, Order)| {
        *at >= 300 * SECOND && matches!(order, Order::Start { attempt: other, .. } if *other == attempt)
    };
    assert!(!world.orders.iter().any(started), "given to a session that knows nothing of it");
    assert!(world.orders.iter().any(|(at, ..)| *at >= 300 * SECOND), "the job goes on by another attempt");
}

#[test]
fn scenario_10_three_of_five_silent_is_a_storm_until_one_returns() {
    let (mut world, jobs) = five(3);
    assert_eq!(world.count(A, on), 0);
    world.run_to(125);
    let (at, kind) = world.kinds(A).find(|(_, kind)| on(kind)).unwrap();
    assert_eq!((at, kind), (124_025, &EventKind::StormGuardOn { silent: 3, known: 5, window_ms: 60_000 }));
    world.run_to(200);
    assert_eq!(world.count(A, lost) + world.count(A, redeployed), 0);
    assert!(jobs.iter().all(|job| world.job(A, *job).status == JobStatus::Running));
    assert_eq!(world.coordinator(A).statistics().storm_ms, 200_000 - 124_025);
    // Two of five are 40 %.
    world.executors[1].alive = true;
    world.heartbeat(1);
    let ended = world.kinds(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!(ended, (200 * SECOND, &EventKind::StormGuardOff { cause: StormEnd::SilenceOver }));
    world.run_to(201);
    let losses: Vec<_> = world.kinds(A).filter(|(_, kind)| lost(kind)).map(|(at, _)| at).collect();
    assert_eq!(losses, [200 * SECOND; 2]);
    assert_eq!(world.count(A, redeployed), 2);
    assert_eq!(world.starts(jobs[1]).len(), 1, "it never stopped");
    assert!(world.starts(jobs[0])[1].1 > 0 && world.starts(jobs[2])[1].1 != 2, "placed on others");
    let statistics = world.coordinator(A).statistics();
    assert_eq!((statistics.storms, statistics.storm_ms), (1, 200_000 - 124_025));
}

#[test]
fn scenario_10_nobody_returns_and_the_hold_ends_the_guard() {
    let (mut world, jobs) = five(3);
    let end_ms = 124_025 + 600_000;
    world.run_to(724);
    assert_eq!(world.count(A, lost) + world.count(A, off), 0);
    world.run_to(725);
    let ended = world.kinds(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!(ended, (end_ms, &EventKind::StormGuardOff { cause: StormEnd::HoldOver }));
    assert_eq!(world.count(A, lost), 3);
    // In rank order: the later ones have the greater priority.
    let order: Vec<_> = world
        .kinds(A)
        .filter_map(|(at, kind)| match kind {
            EventKind::JobRedeployed { job, .. } => Some((at, *job)),
            _ => None,
        })
        .collect();
    assert_eq!(order, [(end_ms, jobs[2]), (end_ms, jobs[1]), (end_ms, jobs[0])]);
    // Their silence has been judged, and does not turn the guard on again.
    world.run_to(1_500);
    assert_eq!((world.count(A, on), world.count(A, off)), (1, 1));
}

#[test]
fn scenario_10_an_operator_ends_the_guard() {
    let (mut world, _) = five(3);
    world.run_to(300);
    let end = |world: &mut World| world.command(A, Command::EndStormGuard);
    assert_eq!(end(&mut world), Ok(Reply::StormGuardEnded { was_on: true }));
    let ended = world.kinds(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!(ended, (300 * SECOND, &EventKind::StormGuardOff { cause: StormEnd::Operator }));
    world.run_to(301);
    assert_eq!((world.count(A, lost), world.count(A, redeployed)), (3, 3));
    assert_eq!(end(&mut world), Ok(Reply::StormGuardEnded { was_on: false }));
    world.run_to(1_500);
    assert_eq!(world.count(A, on), 1);
}

#[test]
fn scenario_10_two_of_five_silent_are_lost_as_usual() {
    let (mut world, _) = five(2);
    world.run_to(141);
    assert_eq!(world.count(A, lost), 0);
    world.run_to(142);
    assert_eq!((world.count(A, lost), world.count(A, redeployed), world.count(A, on)), (2, 2, 0));
    assert_eq!(world.when(A, lost), Some(142 * SECOND));
}

#[test]
fn scenario_10_executors_that_registered_elsewhere_leave_both_counts() {
    let (mut world, jobs) = five(3);
    world.run_to(150);
    assert_eq!(world.count(A, on), 1);
    // Two silent of four are 50 %.
    world.register(0, B);
    let ended = world.kinds(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!(ended, (150 * SECOND, &EventKind::StormGuardOff { cause: StormEnd::SilenceOver }));
    world.run_to(151);
    assert_eq!(world.count(A, lost), 2);
    assert_eq!(world.starts(jobs[0]).len(), 1, "it runs on at its new home");
}

#[test]
fn silence_one_after_the_other_is_no_storm() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    for _ in 0..5 {
        world.add_executor(A, 5);
    }
    for second in [100, 170, 240] {
        world.run_to(second);
        world.executors[usize::try_from(second / 70 - 1).unwrap()].alive = false;
    }
    world.run_to(600);
    assert_eq!(world.count(A, on), 0);
    assert_eq!(world.count(A, |kind| matches!(kind, EventKind::ExecutorGone { .. })), 3);
}

#[test]
fn those_given_up_in_the_same_window_count_as_silent() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    for _ in 0..5 {
        world.add_executor(A, 5);
    }
    let jobs: Vec<_> = (0..5).map(|_| world.submit_job(A, job(0))).collect();
    world.run_to(100);
    world.executors[0].alive = false;
    world.executors[1].alive = false;
    world.run_to(140);
    world.executors[2].alive = false;
    world.run_to(142);
    assert_eq!(world.count(A, lost), 2);
    world.run_to(160);
    let (_, kind) = world.kinds(A).find(|(_, kind)| on(kind)).unwrap();
    assert_eq!(kind, &EventKind::StormGuardOn { silent: 3, known: 5, window_ms: 60_000 });
    world.run_to(300);
    assert_eq!(world.starts(jobs[2]).len(), 1);
}

#[test]
fn two_executors_are_too_few_for_a_storm() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let (x, y) = (world.add_executor(A, 1), world.add_executor(A, 1));
    let job = world.submit_job(A, job(0));
    world.run_to(100);
    world.executors[x].alive = false;
    world.executors[y].alive = false;
    world.run_to(142);
    assert_eq!((world.count(A, on), world.count(A, lost)), (0, 1));
    assert_eq!(world.job(A, job).status, JobStatus::Redeploying);
}

#[test]
fn results_are_taken_and_new_jobs_start_during_a_storm() {
    let (mut world, jobs) = five(3);
    world.run_to(200);
    let silent = world.started(0).1;
    let accepted = Answer::Accepted { finality: Finality::Provisional };
    // The result of a silent executor comes by another way.
    world.executors[0].alive = true;
    assert_eq!(world.finish(0, B, silent, b"done"), accepted);
    world.executors[0].alive = false;
    assert_eq!(world.job(A, jobs[0]).status, JobStatus::Completed);
    let new = world.submit_job(A, job(7));
    assert!(world.starts(new)[0].1 >= 3, "on one that is heard");
    assert_eq!((world.count(A, on), world.count(A, off)), (1, 0));
}

#[test]
fn what_is_known_to_be_lost_is_not_placed_again_during_a_storm() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    for _ in 0..6 {
        world.add_executor(A, 2);
    }
    let jobs: Vec<_> = (0..6).map(|_| world.submit_job(A, job(0))).collect();
    world.run_to(100);
    (0..5).for_each(|executor| world.executors[executor].alive = false);
    world.run_to(150);
    assert_eq!(world.count(A, on), 1);
    // One comes back without its work: four of six are still silent.
    world.executors[0].running.clear();
    world.register(0, A);
    let not_held = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::NotHeld, .. });
    assert_eq!((world.count(A, not_held), world.count(A, off)), (1, 0));
    let held_back = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { reason: WaitReason::StormGuard, job } if *job == jobs[0]);
    assert_eq!(world.count(A, held_back), 1);
    world.run_to(400);
    assert_eq!(world.starts(jobs[0]).len(), 1);
    let phases: Vec<_> = world.job(A, jobs[0]).attempts.iter().map(|attempt| attempt.phase).collect();
    assert_eq!(phases, [Some(Phase::Lost)]);
    assert!(world.command(A, Command::EndStormGuard).is_ok());
    world.run_to(401);
    assert_eq!(world.starts(jobs[0]).len(), 2);
}

#[test]
fn a_silent_home_is_not_concluded_from_during_a_storm() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let z = world.add_executor(B, 1);
    let job = world.submit_job(B, job(0));
    let own: Vec<_> = (0..3).map(|_| world.add_executor(A, 1)).collect();
    world.run_to(10);
    world.stop(B);
    world.executors[z].alive = false;
    world.run_to(150);
    own[..2].iter().for_each(|executor| world.executors[*executor].alive = false);
    world.run_to(10 + 150);
    assert_eq!(world.job(A, job).epoch.0, 2, "it takes the job over");
    world.run_to(10 + 192 + 60);
    assert_eq!((world.count(A, on), world.count(A, lost)), (1, 0));
    assert!(world.command(A, Command::EndStormGuard).is_ok());
    world.run_to(10 + 192 + 61);
    assert_eq!(world.starts(job)[1].1, own[2]);
}
