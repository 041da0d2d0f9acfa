//! The table of duplicates, row by row.

use reconvene_broker::{Command, CommandError, EventKind, JobStatus, Reply, Statistics, StrategyKind};
use reconvene_executor::{
    Answer, AttemptId, Finality, JobId, JobSpec, OwnershipEpoch, Rejection, ResultDigest, SpecDigest, SubmissionId,
};

use crate::world::{World, node, replica};

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

/// One broker, two executors with room, a job that runs on the first.
fn running(strategy: StrategyKind) -> (World, JobId, AttemptId) {
    let mut world = World::new(1, strategy);
    world.add_executor(0, 4);
    world.add_executor(0, 4);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()).with_client("client", 1));
    world.run_to(10);
    let attempt = world.started(0).1;
    (world, job, attempt)
}

/// An attempt of another owner, whose fact is still on the way.
fn unknown(job: JobId, number: u32) -> AttemptId {
    AttemptId { job, epoch: OwnershipEpoch(2), owner: replica(9), number }
}

fn first() -> SubmissionId {
    SubmissionId { accepted_by: replica(1), number: 1 }
}

fn statistics(world: &World) -> Statistics {
    world.coordinator(0).statistics()
}

#[test]
fn d0_the_same_submission_gets_the_stored_answer() {
    let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
    let one = world.result(0, attempt, b"one");
    let two = world.result(1, unknown(job, 1), b"two");
    assert_eq!(world.submit(0, 0, one.clone()), ACCEPTED);
    let refused = world.submit(1, 0, two.clone());
    assert_eq!(refused, Answer::Rejected(Rejection::AlreadyAccepted { by: first() }));
    let events = world.events.len();
    assert_eq!(world.submit(0, 0, one), ACCEPTED);
    assert_eq!(world.submit(1, 0, two), refused);
    assert_eq!((statistics(&world).retransmission, statistics(&world).accepted), (2, 1));
    assert_eq!(world.events.len(), events, "a repetition is no news");
    assert_eq!(world.job(0, job).submissions.len(), 2);
}

#[test]
fn d1_two_contents_for_one_number_are_a_fault() {
    let (mut world, job, attempt) = running(StrategyKind::PriorityBased);
    let one = world.result(0, attempt, b"one");
    assert_eq!(world.submit(0, 0, one.clone()), ACCEPTED);
    let mut two = one.clone();
    two.digest = ResultDigest::of(b"two");
    let Answer::Fault(evidence) = world.submit(0, 0, two.clone()) else { panic!() };
    assert_eq!((evidence.first, evidence.second), (one.digest, two.digest));
    assert_eq!((statistics(&world).fault, world.job(0, job).submissions.len()), (1, 1));
    assert_eq!(world.job(0, job).result.unwrap().digest, one.digest);
}

#[test]
fn d8_an_attempt_of_another_executor_or_session_is_foreign() {
    let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
    let one = world.result(1, attempt, b"one");
    assert_eq!(world.submit(1, 0, one), Answer::Rejected(Rejection::NotAssigned));
    let mut other_session = world.result(0, attempt, b"one");
    other_session.session.random += 1;
    assert_eq!(world.submit(0, 0, other_session), Answer::Rejected(Rejection::NotAssigned));
    assert_eq!((statistics(&world).foreign, world.job(0, job).submissions.len()), (2, 0));
}

#[test]
fn d6_a_result_of_another_specification_is_stale() {
    let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
    let current = JobSpec::new(b"work".to_vec()).with_client("client", 1).digest();
    let mut one = world.result(0, attempt, b"one");
    one.spec_digest = SpecDigest([1; 32]);
    assert_eq!(world.submit(0, 0, one), Answer::Rejected(Rejection::StaleSpec { current }));
    assert_eq!((statistics(&world).stale, world.job(0, job).submissions.len()), (1, 0));
}

#[test]
fn d5_a_result_of_a_cancelled_job_is_late() {
    let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
    assert_eq!(world.command(0, Command::Cancel { job }), Ok(Reply::Cancelled { job }));
    assert!(world.executors[0].running.is_empty(), "it was told to stop");
    assert_eq!(world.finish(0, 0, attempt, b"one"), Answer::Rejected(Rejection::Late { canonical: None }));
    assert_eq!(world.job(0, job).status, JobStatus::Cancelled);
    assert_eq!((statistics(&world).late, statistics(&world).cancelled), (1, 1));
    assert_eq!(statistics(&world).wasted_resource_ms, 1_000);
}

#[test]
fn a_cancel_after_the_result_is_too_late_and_loses_after_a_cut() {
    let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
    assert_eq!(world.finish(0, 0, attempt, b"one"), ACCEPTED);
    assert_eq!(world.command(0, Command::Cancel { job }), Ok(Reply::TooLate { job, canonical: first() }));

    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.cut(0, 1);
    let attempt = world.started(x).1;
    assert_eq!(world.finish(x, 0, attempt, b"one"), ACCEPTED);
    assert_eq!(world.command(1, Command::Cancel { job }), Ok(Reply::Cancelled { job }));
    world.heal(0, 1);
    let too_late = |kind: &EventKind| matches!(kind, EventKind::CancelTooLate { .. });
    assert_eq!((world.count(0, too_late), world.count(1, too_late)), (0, 1));
    for broker in [0, 1] {
        assert_eq!(world.job(broker, job).status, JobStatus::Completed);
    }
    world.run_to(500);
    world.exchange(0, 1);
    assert_eq!(world.count(1, too_late), 1);
}

#[test]
fn an_attempt_unknown_here_is_not_foreign() {
    let (mut world, job, _) = running(StrategyKind::FirstComeFirstServed);
    assert_eq!(world.finish(1, 0, unknown(job, 1), b"one"), ACCEPTED);
    assert_eq!(statistics(&world).accepted, 1);
}

#[test]
fn d2_an_attempt_that_reports_again_is_compared_by_digest() {
    let (mut world, job, attempt) = running(StrategyKind::PriorityBased);
    // A second attempt keeps the job from being settled at once.
    let _ = world.job(0, job);
    assert_eq!(world.finish(0, 0, attempt, b"one"), ACCEPTED);
    let equivalent = Rejection::Equivalent { canonical: first(), agreement: 1 };
    assert_eq!(world.finish(0, 0, attempt, b"one"), Answer::Rejected(equivalent));
    let mut better = world.result(0, attempt, b"two");
    better.quality_bp = 10_000;
    assert_eq!(world.submit(0, 0, better), Answer::Rejected(Rejection::Divergent));
    assert_eq!((statistics(&world).equivalent, statistics(&world).divergent), (1, 1));
}

#[test]
fn d3_d4_first_stands() {
    for other in [0, 1] {
        let (mut world, job, attempt) = running(StrategyKind::FirstComeFirstServed);
        assert_eq!(world.finish(0, 0, attempt, b"one"), ACCEPTED);
        let equivalent = Rejection::Equivalent { canonical: first(), agreement: 2 };
        assert_eq!(world.finish(other, 0, unknown(job, 1), b"one"), Answer::Rejected(equivalent));
        let taken = Rejection::AlreadyAccepted { by: first() };
        assert_eq!(world.finish(other, 0, unknown(job, 2), b"two"), Answer::Rejected(taken));
        assert_eq!((statistics(&world).equivalent, statistics(&world).divergent), (1, 1));
        assert_eq!(world.job(0, job).result.unwrap().agreement, 2);
    }
}

#[test]
fn d4_a_settled_job_admits_no_challenger() {
    // The only attempt has reported, so the owner settles at once.
    let (mut world, job, attempt) = running(StrategyKind::PriorityBased);
    assert_eq!(world.finish(0, 0, attempt, b"one"), ACCEPTED);
    assert!(world.job(0, job).settled);
    let mut better = world.result(1, unknown(job, 1), b"two");
    better.quality_bp = 10_000;
    let settled = Rejection::Settled { canonical: first() };
    assert_eq!(world.submit(1, 0, better), Answer::Rejected(settled));
    assert_eq!((statistics(&world).late, statistics(&world).settled), (1, 1));
}

#[test]
fn failures_are_retried_until_the_budget_is_spent() {
    let (mut world, job, mut attempt) = running(StrategyKind::PriorityBased);
    for number in 1..=3 {
        assert_eq!(attempt.number, number);
        let executor = world.starts(job).last().unwrap().1;
        let failure = world.failure(executor, attempt, "broken");
        assert_eq!(world.submit(executor, 0, failure), Answer::AcceptedFailure);
        if number < 3 {
            attempt = world.starts(job).last().unwrap().2;
        }
    }
    world.run_to(1_000);
    assert_eq!((world.starts(job).len(), world.job(0, job).status), (3, JobStatus::Failed));
    assert_eq!((statistics(&world).failures, statistics(&world).retried), (3, 2));
    assert_eq!(world.count(0, |kind| matches!(kind, EventKind::JobFailed { .. })), 1);
    // A failure of an older attempt counts for nothing; a success completes even a failed job.
    let old = AttemptId { number: 0, ..attempt };
    let failure = world.failure(1, old, "late");
    assert!(matches!(world.submit(1, 0, failure), Answer::Rejected(Rejection::NotCurrent { .. })));
    assert_eq!(world.finish(1, 0, unknown(job, 1), b"one"), ACCEPTED);
    assert_eq!(world.job(0, job).status, JobStatus::Completed);
}

#[test]
fn a_failure_never_beats_a_success() {
    for strategy in StrategyKind::ALL {
        let (mut world, job, attempt) = running(strategy);
        assert_eq!(world.finish(1, 0, unknown(job, 1), b"one"), ACCEPTED);
        let failure = world.failure(0, attempt, "broken");
        assert!(matches!(world.submit(0, 0, failure), Answer::Rejected(_)), "{strategy}");
        assert_eq!(world.job(0, job).status, JobStatus::Completed);
        assert_eq!(statistics(&world).superseded, 0);
    }
}

#[test]
fn d7_is_bounded_and_expires() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    world.brokers[0].config.parked_limit = 2;
    world.brokers[0].config.parked_ttl_ms = 100_000;
    world.start(0);
    let x = world.add_executor(0, 1);
    let known = world.submit_job(0, JobSpec::new(Vec::new()));
    let parked: Vec<_> = (1..=3)
        .map(|sequence| {
            let mut submit = world.result(x, unknown(known, 1), b"one");
            submit.attempt.job = JobId::new(replica(7), sequence);
            world.submit(x, 0, submit)
        })
        .collect();
    assert!(matches!(parked[..], [Answer::Parked { until_ms: 100_000 }, Answer::Parked { .. }, Answer::Busy { .. }]));
    assert_eq!((statistics(&world).parked, statistics(&world).parked_refused), (2, 1));
    world.run_to(99);
    assert_eq!(statistics(&world).parked_expired, 0);
    world.run_to(100);
    assert_eq!(statistics(&world).parked_expired, 2);
    assert_eq!(world.count(0, |kind| matches!(kind, EventKind::ParkedExpired { .. })), 2);
}

#[test]
fn bad_commands_are_named() {
    let (mut world, job, _) = running(StrategyKind::FirstComeFirstServed);
    let refused = |world: &mut World, command| world.command(0, command).unwrap_err();
    let spec = JobSpec::new(Vec::new()).with_value(0);
    assert!(
        matches!(refused(&mut world, Command::Submit { spec }), CommandError::Spec { field, .. } if field == "value")
    );
    let spec = JobSpec::new(Vec::new()).with_deadline(reconvene_clock::WallTime::from_millis(1));
    let error = refused(&mut world, Command::Submit { spec });
    assert!(matches!(error, CommandError::Spec { field, .. } if field == "deadline"));
    let nobody = JobId::new(replica(9), 9);
    assert_eq!(refused(&mut world, Command::Job { job: nobody }), CommandError::UnknownJob { job: nobody });
    assert_eq!(refused(&mut world, Command::Cancel { job: nobody }), CommandError::UnknownJob { job: nobody });
    // The same client key is the same job; nobody's jobs are all different.
    let again = world.submit_job(0, JobSpec::new(b"other".to_vec()).with_client("client", 1));
    assert_eq!((again, statistics(&world).repeated_submits), (job, 1));
    assert_ne!(world.submit_job(0, JobSpec::new(Vec::new())), world.submit_job(0, JobSpec::new(Vec::new())));
    world.brokers[0].config.max_jobs = 1;
    world.start(0);
    let spec = JobSpec::new(Vec::new());
    assert!(matches!(refused(&mut world, Command::Submit { spec }), CommandError::Busy { .. }));
    assert_eq!(world.executors[0].node, node(100));
}
