//! Jobs that are not placed again at once, or not without an operator's word.

use reconvene_broker::{Command, CommandError, EventKind, HoldReason, JobStatus, Reply, StrategyKind, WaitReason};
use reconvene_executor::{Answer, Finality, JobId, JobSpec, SessionEpoch};

use crate::world::{SECOND, World, replica};

const A: usize = 0;
const B: usize = 1;

fn quarantined(kind: &EventKind) -> bool {
    matches!(kind, EventKind::JobQuarantined { .. })
}

fn released(kind: &EventKind) -> bool {
    matches!(kind, EventKind::JobReleased { .. })
}

/// Its process ends, and comes back in a new session.
fn crash(world: &mut World, executor: usize, home: usize) {
    let session = world.executors[executor].session;
    world.executors[executor].session = SessionEpoch::new(session.start, session.random + 1_000);
    world.executors[executor].running.clear();
    world.register(executor, home);
}

/// Its executor goes on without it.
fn lose(world: &mut World, executor: usize, home: usize) {
    world.executors[executor].running.clear();
    world.register(executor, home);
}

/// Five executors at A. The one that runs the job crashes at 100, and the one after it at 300.
fn two_crashes(others: &[(u64, usize)]) -> (World, JobId) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    for _ in 0..5 {
        world.add_executor(A, 1);
    }
    let job = world.submit_job(A, JobSpec::new(b"poison".to_vec()));
    let mut steps: Vec<_> = others.iter().map(|(at, executor)| (*at, Some(*executor))).collect();
    steps.extend([(100, None), (300, None)]);
    steps.sort_unstable();
    for (at, executor) in steps {
        world.run_to(at);
        let executor = executor.unwrap_or_else(|| world.starts(job).last().unwrap().1);
        // It is not given the job again.
        world.executors[executor].slots = 0;
        crash(&mut world, executor, A);
    }
    (world, job)
}

#[test]
fn a_job_under_which_two_executors_crash_waits_for_an_operator() {
    let (mut world, job) = two_crashes(&[]);
    assert_eq!(world.starts(job).len(), 2);
    assert_ne!(world.starts(job)[0].1, world.starts(job)[1].1);
    let unclear = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { reason: WaitReason::Crashed, .. });
    assert_eq!((world.when(A, unclear), world.count(A, quarantined)), (Some(300 * SECOND), 0));
    world.run_to(361);
    let held = world.kinds(A).find(|(_, kind)| quarantined(kind)).unwrap();
    assert_eq!(held, (360_001, &EventKind::JobQuarantined { job, reason: HoldReason::PoisonSuspected }));
    for broker in [A, B] {
        let view = world.job(broker, job);
        assert_eq!((view.status, view.quarantine), (JobStatus::Quarantined, Some(HoldReason::PoisonSuspected)));
    }
    world.run_to(100_000);
    assert_eq!(world.starts(job).len(), 2, "never offered again");
    // The operator's broker need not be the owner.
    assert_eq!(world.command(B, Command::Release { job }), Ok(Reply::Released { job, was_held: true }));
    assert_eq!(world.starts(job).len(), 3);
    assert_eq!(world.count(B, released), 1);
    assert_eq!(world.command(A, Command::Release { job }), Ok(Reply::Released { job, was_held: false }));
    // The crashes before the release do not count any more.
    world.run_to(100_100);
    let (_, executor, _) = world.starts(job)[2];
    crash(&mut world, executor, A);
    world.run_to(101_000);
    assert_eq!((world.starts(job).len(), world.count(A, quarantined)), (4, 1));
}

#[test]
fn a_power_cut_is_no_poison() {
    for other in [250, 299, 301, 359] {
        let (mut world, job) = two_crashes(&[(other, 4)]);
        world.run_to(2_000);
        assert_eq!(world.count(A, quarantined), 0, "another crashed at {other}");
        assert_eq!(world.starts(job).len(), 3, "placed when that is clear");
    }
    let (mut world, _) = two_crashes(&[(230, 4)]);
    world.run_to(2_000);
    assert_eq!(world.count(A, quarantined), 1, "that was another matter");
}

#[test]
fn one_executor_that_crashes_again_and_again_is_no_poison() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    for round in 1..=3 {
        world.run_to(round * 500);
        crash(&mut world, x, A);
    }
    assert_eq!((world.starts(job).len(), world.count(A, quarantined)), (4, 0));
    world.run_to(2_000);
    crash(&mut world, x, A);
    let held = world.kinds(A).find(|(_, kind)| quarantined(kind)).unwrap().1;
    assert_eq!(held, &EventKind::JobQuarantined { job, reason: HoldReason::LossBudget });
}

/// Lost four times at A, from 10 on.
fn used_up(world: &mut World, x: usize) -> JobId {
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    for _ in 0..4 {
        world.run_to(world.now / SECOND + 10);
        lose(world, x, A);
    }
    assert_eq!(world.job(A, job).status, JobStatus::Quarantined);
    assert_eq!(world.starts(job).len(), 4);
    job
}

#[test]
fn an_operator_may_release_before_the_owner_does() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = used_up(&mut world, x);
    world.run_to(100);
    assert_eq!(world.command(A, Command::Release { job }), Ok(Reply::Released { job, was_held: true }));
    assert_eq!(world.starts(job).len(), 5);
    world.run_to(2_000);
    assert_eq!((world.count(A, released), world.starts(job).len()), (1, 5));
    let unknown = JobId::new(replica(9), 9);
    assert_eq!(world.command(A, Command::Release { job: unknown }), Err(CommandError::UnknownJob { job: unknown }));
}

#[test]
fn a_quarantine_survives_a_restart_and_results_are_still_accepted() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = used_up(&mut world, x);
    world.run_to(100);
    world.stop(A);
    world.start(A);
    world.register(x, A);
    world.run_to(500);
    assert_eq!(world.job(A, job).status, JobStatus::Quarantined);
    assert_eq!(world.starts(job).len(), 4);
    let first = world.starts(job)[0].2;
    let accepted = Answer::Accepted { finality: Finality::Provisional };
    assert_eq!(world.finish(x, A, first, b"after all"), accepted);
    assert_eq!(world.job(A, job).status, JobStatus::Completed);
    world.run_to(5_000);
    assert_eq!(world.starts(job).len(), 4);
}

#[test]
fn a_new_owner_releases_in_its_turn_and_has_a_budget_of_its_own() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = used_up(&mut world, x);
    let z = world.add_executor(B, 1);
    world.stop(A);
    world.executors[x].alive = false;
    world.run_to(40 + 150 + 600 - 10);
    assert_eq!(world.job(B, job).owner, replica(2));
    assert_eq!(world.starts(job).len(), 4, "still held");
    world.run_to(40 + 150 + 600 + 50);
    assert_eq!(world.starts(job).len(), 5);
    // Losses under the owner before do not count here.
    for round in 0..3 {
        world.run_to(1_000 + round * 10);
        lose(&mut world, z, B);
    }
    assert_eq!((world.starts(job).len(), world.count(B, quarantined)), (8, 0));
    world.run_to(1_030);
    lose(&mut world, z, B);
    assert_eq!((world.starts(job).len(), world.count(B, quarantined)), (8, 1));
}

#[test]
fn a_new_owner_tries_failures_again() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    for _ in 0..2 {
        let attempt = world.started(x).1;
        let failure = world.failure(x, attempt, "broken");
        world.submit(x, A, failure);
    }
    let z = world.add_executor(B, 1);
    world.run_to(10);
    world.stop(A);
    world.executors[x].alive = false;
    world.run_to(300);
    for tries in 1..=3 {
        assert_eq!(world.starts(job).len(), 3 + tries);
        let attempt = world.started(z).1;
        let failure = world.failure(z, attempt, "broken here, too");
        world.submit(z, B, failure);
    }
    assert_eq!(world.job(B, job).status, JobStatus::Failed);
}

#[test]
fn a_quarantined_job_can_be_cancelled() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = used_up(&mut world, x);
    assert_eq!(world.command(A, Command::Cancel { job }), Ok(Reply::Cancelled { job }));
    assert_eq!(world.job(A, job).status, JobStatus::Cancelled);
    world.run_to(2_000);
    assert_eq!((world.count(A, released), world.starts(job).len()), (0, 4));
}
