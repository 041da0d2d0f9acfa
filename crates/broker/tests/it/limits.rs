//! What executors can make a broker remember ends somewhere, and honest ones are served all the same.

use reconvene_broker::{Config, EventKind, Input, StrategyKind};
use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::message::{HeldSpec, Leave, StopReason, ToBroker};
use reconvene_executor::{Answer, AttemptId, FencingToken, JobId, JobSpec, OwnershipEpoch, limits};

use crate::world::{World, replica};

const A: usize = 0;
const B: usize = 1;

fn with(change: impl FnOnce(&mut Config)) -> World {
    let mut world = World::new(2, StrategyKind::PriorityBased);
    change(&mut world.brokers[A].config);
    world.start(A);
    world
}

fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec())
}

fn made_up(job: JobId, number: u32) -> (AttemptId, FencingToken) {
    let (epoch, owner) = (OwnershipEpoch(5), ReplicaId::new(99).unwrap());
    (AttemptId { job, epoch, owner, number }, FencingToken { epoch, tie: 1, owner, number })
}

fn knows(world: &World, broker: usize, executor: NodeId) -> bool {
    world.coordinator(broker).executors().any(|known| known.id == executor)
}

fn leave(world: &mut World, index: usize) {
    let executor = world.executors[index].clone();
    let message = ToBroker::Leave(Leave { session: executor.session, registration: executor.registration });
    world.executors[index].alive = false;
    world.input(A, Input::FromExecutor { from: executor.node, message });
}

#[test]
fn a_full_broker_registers_no_more_executors_until_one_leaves() {
    let mut world = with(|config| config.max_executors = 2);
    let first = world.add_executor(A, 1);
    let second = world.add_executor(A, 1);
    let third = world.add_executor(A, 1);
    let node = |world: &World, index: usize| world.executors[index].node;
    assert!(!knows(&world, A, node(&world, third)), "no room");
    assert_eq!(world.coordinator(A).statistics().over_limits, 1);
    // It goes elsewhere, and those that are here go on.
    world.register(third, B);
    let job = world.submit_job(A, spec());
    let (_, runner, attempt) = world.starts(job)[0];
    assert!(runner == first || runner == second);
    let idle = first + second - runner;
    leave(&mut world, idle);
    // Its place is free, and what is remembered of it goes, also at the other broker and in the stores.
    let fourth = world.add_executor(A, 1);
    assert!(knows(&world, A, node(&world, fourth)));
    for broker in [A, B] {
        assert!(!knows(&world, broker, node(&world, idle)), "broker {broker} remembers it");
        let rows = world.brokers[broker].store.values();
        let of_it = rows.filter(|row| row.key().to_string().contains(&node(&world, idle).to_string()));
        assert!(of_it.flat_map(|row| row.values()).next().is_none());
    }
    // One with an attempt whose end nobody knows keeps its place.
    world.executors[runner].alive = false;
    let fifth = world.add_executor(A, 1);
    assert!(!knows(&world, A, node(&world, fifth)));
    world.executors[runner].alive = true;
    assert!(world.finish(runner, A, attempt, b"done").is_final());
}

#[test]
fn attempts_that_nobody_attests_are_noted_up_to_a_limit_and_go_on_beyond_it() {
    let mut world = with(|config| config.max_unattested = 32);
    let executor = world.add_executor(A, limits::SLOTS);
    for number in 1..=10 {
        let job = JobId::new(replica(77), number);
        let (attempt, token) = made_up(job, 1);
        world.executors[executor].running.insert(attempt, token);
    }
    let node = world.executors[executor].node;
    world.register(executor, A);
    // A sixteenth of 32.
    let noted = (1..=10).filter(|number| world.coordinator(A).job(JobId::new(replica(77), *number)).is_some()).count();
    assert_eq!((noted, world.coordinator(A).statistics().over_limits), (2, 8));
    assert_eq!(world.executors[executor].running.len(), 10, "all of them go on");
    world.heartbeat(executor);
    assert!(knows(&world, A, node));
    assert_eq!(world.executors[executor].running.len(), 10);
}

#[test]
fn an_attempt_needs_no_room_once_its_owner_has_written_it_down() {
    let mut world = with(|config| config.max_unattested = 16);
    let executor = world.add_executor(B, 4);
    // A hears nothing of what B gives the executor, and then of the executor itself.
    world.cut(A, B);
    let jobs: Vec<_> = (0..2).map(|_| world.submit_job(B, spec())).collect();
    assert_eq!(world.executors[executor].running.len(), 2);
    world.register(executor, A);
    assert_eq!(world.coordinator(A).statistics().over_limits, 1, "one of the two has room");
    world.heal(A, B);
    world.heartbeat(executor);
    let lost = world.coordinator(A).statistics().over_limits;
    let other = JobId::new(replica(77), 1);
    let (attempt, token) = made_up(other, 1);
    world.executors[executor].running.insert(attempt, token);
    world.heartbeat(executor);
    assert_eq!(world.coordinator(A).statistics().over_limits, lost, "there is room again");
    assert!(world.coordinator(A).job(other).is_some());
    assert!(jobs.iter().all(|job| world.job(A, *job).attempts.len() == 1));
}

#[test]
fn of_attempts_that_are_over_no_more_are_remembered_than_one_answer_can_stop() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let honest = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    let (_, attempt) = world.started(honest);
    world.finish(honest, A, attempt, b"done");
    let hostile = world.add_executor(A, 1);
    for number in 0..1_000 {
        let (attempt, token) = made_up(job, number);
        world.executors[hostile].running.insert(attempt, token);
    }
    world.heartbeat(hostile);
    assert_eq!(world.executors[hostile].running.len(), 1_000 - limits::ORDERS, "so many were stopped");
    for _ in 0..40 {
        world.heartbeat(hostile);
    }
    assert!(world.executors[hostile].running.is_empty(), "and then the others");
    let stopped = world.orders.iter().filter(|(_, _, order)| {
        matches!(order, reconvene_executor::message::Order::Stop { reason: StopReason::Completed, .. })
    });
    assert_eq!(stopped.count(), 1_000);
}

#[test]
fn an_executor_gets_no_lease_for_what_was_given_to_another() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let honest = world.add_executor(A, 1);
    world.submit_job(A, spec());
    let (_, attempt) = world.started(honest);
    let other = world.add_executor(A, 1);
    let token = world.executors[honest].running[&attempt];
    world.executors[other].running.insert(attempt, token);
    world.log.clear();
    world.heartbeat(other);
    let answered = world.log.iter().find(|line| line.contains("HeartbeatAnswer")).unwrap();
    assert!(answered.contains("renewed: []"), "{answered}");
    world.log.clear();
    world.heartbeat(honest);
    let answered = world.log.iter().find(|line| line.contains("HeartbeatAnswer")).unwrap();
    assert!(!answered.contains("renewed: []"), "{answered}");
}

#[test]
fn results_that_do_not_count_are_written_down_up_to_a_limit() {
    let mut world = with(|config| config.max_submissions = 4);
    let executor = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    let (_, attempt) = world.started(executor);
    assert!(matches!(world.finish(executor, A, attempt, b"done"), Answer::Accepted { .. }));
    for number in 0..10 {
        let (late, _) = made_up(job, number);
        let mut submit = world.result(executor, late, b"worse");
        submit.quality_bp = 0;
        let answer = world.submit(executor, A, submit);
        assert!(matches!(answer, Answer::Rejected(_)), "{number}: {answer:?}");
    }
    assert_eq!(world.job(A, job).submissions.len(), 4);
    assert_eq!(world.coordinator(A).statistics().over_limits, 7);
}

#[test]
fn specifications_that_executors_give_back_have_a_limit() {
    let mut world = with(|config| config.parked_bytes = 1_000);
    let executor = world.add_executor(A, 4);
    let from = world.executors[executor].node;
    for number in 1..=2 {
        let (attempt, token) = made_up(JobId::new(replica(77), number), 1);
        world.executors[executor].running.insert(attempt, token);
    }
    world.heartbeat(executor);
    for number in 1..=2 {
        let (attempt, _) = made_up(JobId::new(replica(77), number), 1);
        let message = ToBroker::Spec(HeldSpec { attempt, spec: JobSpec::new(vec![1; 600]) });
        world.input(A, Input::FromExecutor { from, message });
    }
    let statistics = world.coordinator(A).statistics();
    assert_eq!((statistics.recovered, statistics.over_limits), (1, 1));
    let recovered = |world: &World| world.count(A, |kind| matches!(kind, EventKind::SpecRecovered { .. }));
    assert_eq!(recovered(&world), 1);
    // It counts after a restart as well.
    world.start(A);
    world.register(executor, A);
    let (attempt, _) = made_up(JobId::new(replica(77), 2), 1);
    let message = ToBroker::Spec(HeldSpec { attempt, spec: JobSpec::new(vec![1; 600]) });
    world.input(A, Input::FromExecutor { from, message });
    assert_eq!(recovered(&world), 1);
}
