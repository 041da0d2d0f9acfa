//! What simulated histories found, as short stories.

use reconvene_broker::{EventKind, JobStatus, LossCause, Phase, StrategyKind};
use reconvene_executor::{
    Answer, AttemptId, AttemptRule, FencingToken, JobId, JobSpec, OwnershipEpoch, Resources, SessionEpoch, Tag,
};

use crate::world::{SECOND, World, replica};

/// Registrations are counted from 1 in each session: one of a new session is later, whatever its number.
#[test]
fn regress_attempt_of_an_old_session_with_a_greater_registration_is_lost() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.register(x, 0);
    world.register(x, 0);
    assert_eq!(world.executors[x].registration, 3);
    world.cut(0, 1);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    assert_eq!(world.job(0, job).status, JobStatus::Running);
    // X starts anew and finds the other broker, which has not heard of the job.
    let session = world.executors[x].session;
    world.executors[x].session = SessionEpoch { random: session.random + 1, ..session };
    world.executors[x].registration = 0;
    world.executors[x].running.clear();
    world.register(x, 1);
    world.run_to(20);
    world.heal(0, 1);
    world.run_to(21);
    let lost = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::NewSession, .. });
    assert_eq!(world.count(1, lost), 1);
    // Nobody else is there to run it, so it goes where X is.
    world.run_to(90);
    assert_eq!(world.starts(job).len(), 2);
}

/// A broker takes a job over and dies before anybody hears of it, but the executor that it gave the job to.
#[test]
fn regress_token_of_an_owner_that_nobody_knows_is_outranked() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.executors[x].alive = false;
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    let own = replica(1);
    let unknown = FencingToken { epoch: OwnershipEpoch(3), tie: 7, owner: replica(9), number: 1 };
    world.executors[x].tokens.insert(job, unknown);
    world.executors[x].alive = true;
    world.run_to(10);
    assert_eq!((world.job(0, job).status, world.job(0, job).epoch), (JobStatus::Waiting, OwnershipEpoch(1)));
    // The claim may still arrive, from whoever knows of it.
    world.run_to(150);
    assert_eq!(world.job(0, job).epoch, OwnershipEpoch(1));
    world.run_to(200);
    let view = world.job(0, job);
    assert_eq!((view.status, view.owner, view.epoch), (JobStatus::Running, own, OwnershipEpoch(4)));
}

/// No executor can use up the epochs of a job.
#[test]
fn regress_token_far_ahead_moves_nothing() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.executors[x].alive = false;
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    let far = FencingToken { epoch: OwnershipEpoch(u32::MAX - 1), tie: 7, owner: replica(9), number: 1 };
    world.executors[x].tokens.insert(job, far);
    world.executors[x].alive = true;
    world.run_to(1_000);
    assert_eq!(world.job(0, job).epoch, OwnershipEpoch(1));
    // Another executor is not concerned.
    let y = world.add_executor(0, 1);
    world.run_to(1_200);
    assert_eq!(world.started(y).1.job, job);
}

/// An owner dies before its order is known to others, and the broker that then sees the attempt run dies too.
#[test]
fn regress_attempt_that_only_a_dead_broker_saw_is_lost() {
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    let y = world.add_executor_with(0, 1, Resources::new(8_000, 16_384, 0), &["special"]);
    world.executors[y].refusing = true;
    let x = world.add_executor(1, 1);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()).with_tag(Tag::new("special").unwrap()));
    // X comes with an attempt of an owner that nobody has heard of, and is seen at work by the second broker alone.
    let attempt = AttemptId { job, epoch: OwnershipEpoch(1), owner: replica(9), number: 1 };
    let token = FencingToken { epoch: OwnershipEpoch(1), tie: 7, owner: replica(9), number: 1 };
    world.executors[x].running.insert(attempt, token);
    world.register(x, 1);
    world.run_to(10);
    let phase = |world: &World| {
        let attempts = world.job(0, job).attempts;
        attempts.into_iter().find(|other| other.id == attempt).and_then(|attempt| attempt.phase)
    };
    assert_eq!(phase(&world), Some(Phase::Running));
    world.executors[x].alive = false;
    world.stop(1);
    world.run_to(150);
    assert_eq!(phase(&world), Some(Phase::Running));
    world.run_to(10 + 150 + 43);
    assert_eq!(phase(&world), Some(Phase::Lost));
    let told = |kind: &EventKind| {
        let cause = LossCause::Unwatched;
        *kind == EventKind::AttemptLost { attempt, executor: None, cause }
    };
    assert_eq!((world.count(0, told), world.coordinator(0).statistics().lost), (1, 1));
}

/// The same, and the executor starts anew where the attempt was seen.
#[test]
fn regress_attempt_of_nobody_is_lost_when_its_executor_comes_without_it() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.executors[x].refusing = true;
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    let attempt = AttemptId { job, epoch: OwnershipEpoch(1), owner: replica(9), number: 1 };
    let token = FencingToken { epoch: OwnershipEpoch(1), tie: 7, owner: replica(9), number: 1 };
    world.executors[x].running.insert(attempt, token);
    world.register(x, 0);
    world.run_to(100);
    world.executors[x].running.clear();
    world.executors[x].refusing = false;
    world.register(x, 0);
    world.run_to(110);
    let (at, _, second) = world.starts(job)[1];
    assert_eq!((at, second.number), (100 * SECOND, 2));
}

/// An attempt of a later epoch is known here only by who ran it: its owner's claim is lost. What the present owner places
/// after it is to count.
#[test]
fn regress_attempts_go_above_those_of_an_owner_whose_claim_is_lost() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.executors[x].refusing = true;
    let spec = JobSpec::new(b"work".to_vec()).with_attempts(AttemptRule::CurrentAttemptOnly);
    let job = world.submit_job(0, spec);
    let attempt = AttemptId { job, epoch: OwnershipEpoch(3), owner: replica(9), number: 1 };
    let token = FencingToken { epoch: OwnershipEpoch(3), tie: 7, owner: replica(9), number: 1 };
    world.executors[x].running.insert(attempt, token);
    world.register(x, 0);
    world.run_to(100);
    world.executors[x].running.clear();
    world.executors[x].refusing = false;
    world.register(x, 0);
    // One that never held anything of that owner.
    world.executors[x].alive = false;
    world.add_executor(0, 1);
    world.run_to(200);
    let (_, y, placed) = *world.starts(job).last().unwrap();
    assert_eq!((placed.epoch, placed.owner), (OwnershipEpoch(4), replica(1)));
    let answer = world.finish(y, 0, placed, b"out");
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
}

/// Another broker gives up an attempt, and its home hears so while the executor is silent for a moment.
#[test]
fn regress_attempt_given_up_elsewhere_while_its_executor_was_suspect_is_alive_again() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    let (_, _, attempt) = world.starts(job)[0];
    let phase = |world: &World| {
        let attempts = world.job(0, job).attempts;
        attempts.into_iter().find(|other| other.id == attempt).and_then(|attempt| attempt.phase)
    };
    world.cut(0, 1);
    world.run_to(300);
    world.executors[x].alive = false;
    world.run_to(325);
    world.heal(0, 1);
    world.run_to(326);
    assert_eq!(phase(&world), Some(Phase::Lost), "the other side has given it up");
    world.executors[x].alive = true;
    world.run_to(340);
    assert_eq!(phase(&world), Some(Phase::Running));
    // There is room for another attempt, and no reason.
    world.add_executor(0, 1);
    world.run_to(600);
    assert_eq!(world.starts(job).len(), 1);
}

/// A job that runs on the first broker's only executor, and that the other side of a cut has taken over and given up. The
/// first hears that the attempt is lost, and not yet that it does not own the job. It has room on another executor.
fn given_up_by_the_other_side() -> (World, usize, JobId) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.cut(0, 1);
    world.run_to(299);
    assert_eq!(world.job(1, job).attempts[0].phase, Some(Phase::Lost), "the other side has given it up");
    world.add_executor(0, 1);
    world.run_to(300);
    world.exchange_some(1, 0, |key| key.contains("/seen/"));
    assert_eq!((world.job(0, job).owner, world.job(0, job).status), (replica(1), JobStatus::Redeploying));
    (world, x, job)
}

#[test]
fn regress_attempt_given_up_elsewhere_is_not_replaced_by_the_broker_that_hears_it() {
    let (mut world, _, job) = given_up_by_the_other_side();
    assert_eq!(world.starts(job).len(), 1);
    // Its executor registers again, which says more than the other side knows.
    world.run_to(310);
    assert_eq!((world.job(0, job).status, world.starts(job).len()), (JobStatus::Running, 1));
}

#[test]
fn regress_attempt_given_up_elsewhere_is_replaced_when_it_is_silent_here_too() {
    let (mut world, x, job) = given_up_by_the_other_side();
    world.executors[x].alive = false;
    world.run_to(330);
    assert_eq!(world.starts(job).len(), 1);
    // 42 s after it was heard last.
    world.run_to(345);
    assert_eq!(world.starts(job).len(), 2);
}
