//! The scenarios of the design, with their times and outcomes.

use reconvene_broker::{EventKind, JobStatus, LossCause, OwnCause, Phase, StrategyKind};
use reconvene_executor::message::{HeldVerdict, Order};
use reconvene_executor::{Answer, AttemptId, Finality, JobId, JobSpec, OwnershipEpoch, Rejection, SubmissionId};
use reconvene_store::Identity;

use crate::world::{SECOND, World, node, replica};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

fn attempt(job: JobId, epoch: u32, owner: u64, number: u32) -> AttemptId {
    AttemptId { job, epoch: OwnershipEpoch(epoch), owner: replica(owner), number }
}

fn submission(broker: u64, number: u64) -> SubmissionId {
    SubmissionId { accepted_by: replica(broker), number }
}

fn superseded(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResultSuperseded { .. })
}

fn confirmed(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResultConfirmed { .. })
}

/// Two brokers, cut at 0 with J running on X at A; B takes over and starts its own attempt on Z.
fn two_sides(outputs: [&[u8]; 2]) -> (World, JobId) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    assert_eq!(world.started(x).1, attempt(job, 1, 1, 1));
    // The cut is made at 10; from here on, times are those of the scenario plus 10.
    world.cut(A, B);
    world.run_to(10 + 149);
    assert_eq!(world.job(B, job).owner, replica(1));
    world.run_to(10 + 150);
    assert_eq!((world.job(B, job).owner, world.job(B, job).epoch), (replica(2), OwnershipEpoch(2)));
    world.run_to(10 + 191);
    assert_eq!(world.starts(job).len(), 1);
    world.run_to(10 + 192);
    assert_eq!(world.starts(job)[1], ((10 + 192) * SECOND, z, attempt(job, 2, 2, 1)));
    world.run_to(10 + 200);
    assert_eq!(world.finish(x, A, attempt(job, 1, 1, 1), outputs[0]), ACCEPTED);
    world.run_to(10 + 260);
    assert_eq!(world.finish(z, B, attempt(job, 2, 2, 1), outputs[1]), ACCEPTED);
    world.run_to(10 + 300);
    (world, job)
}

#[test]
fn scenario_01_two_accepted_results() {
    let (mut world, job) = two_sides([b"one", b"two"]);
    assert_eq!(world.coordinator(A).canonical(job), Some(submission(1, 1)));
    assert_eq!(world.coordinator(B).canonical(job), Some(submission(2, 1)));
    world.heal(A, B);
    for broker in [A, B] {
        let view = world.job(broker, job);
        assert_eq!((view.status, view.submissions.len()), (JobStatus::Completed, 2));
        assert_eq!(view.result.unwrap().submission, submission(1, 1));
        assert_eq!(view.owner, replica(2));
    }
    let reports: Vec<_> = world.kinds(B).filter(|(_, kind)| superseded(kind)).collect();
    assert!(
        matches!(reports[..], [(_, EventKind::ResultSuperseded { old, new, .. })]
            if *old == submission(2, 1) && *new == submission(1, 1)),
        "{reports:?}"
    );
    assert_eq!(world.count(A, superseded), 0);
    assert_eq!(world.count(A, confirmed) + world.count(B, confirmed), 0);
    // A repeated heal reports nothing.
    world.cut(A, B);
    world.run_to(400);
    world.heal(A, B);
    world.run_to(1_000);
    assert_eq!((world.count(A, superseded), world.count(B, superseded)), (0, 1));
    assert_eq!(world.coordinator(B).statistics().superseded, 1);
}

#[test]
fn scenario_01_equal_digests_are_confirmed() {
    let (mut world, job) = two_sides([b"same", b"same"]);
    world.heal(A, B);
    let reports: Vec<_> = world.kinds(B).filter(|(_, kind)| confirmed(kind)).collect();
    assert!(
        matches!(reports[..], [(_, EventKind::ResultConfirmed { new, agreement: 2, .. })] if *new == submission(1, 1)),
        "{reports:?}"
    );
    assert_eq!(world.count(A, confirmed) + world.count(A, superseded) + world.count(B, superseded), 0);
    assert_eq!(world.job(B, job).result.unwrap().agreement, 2);
}

/// X's last heartbeat is answered at 100; Y gets the second attempt at 142.
fn silent_executor(strategy: StrategyKind) -> (World, JobId, usize, usize) {
    let mut world = World::new(1, strategy);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(20);
    let y = world.add_executor(A, 1);
    world.run_to(100);
    world.executors[x].alive = false;
    world.run_to(119);
    let suspect = |kind: &EventKind| matches!(kind, EventKind::ExecutorSuspect { .. });
    assert_eq!(world.count(A, suspect), 0);
    world.run_to(120);
    assert_eq!(world.when(A, suspect), Some(119_025));
    world.run_to(141);
    assert_eq!(world.starts(job).len(), 1);
    world.run_to(142);
    assert_eq!(world.starts(job)[1], (142 * SECOND, y, attempt(job, 1, 1, 2)));
    let lost = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::Silence, .. });
    assert_eq!(world.when(A, lost), Some(142 * SECOND));
    (world, job, x, y)
}

#[test]
fn scenario_02a_the_first_of_two_running_attempts_wins() {
    let (mut world, job, x, y) = silent_executor(StrategyKind::FirstComeFirstServed);
    world.run_to(150);
    world.register(x, A);
    let first = attempt(job, 1, 1, 1);
    assert_eq!(world.verdicts.last(), Some(&(150 * SECOND, x, first, HeldVerdict::SubmitOnly)), "it has been replaced");
    let phases: Vec<_> = world.job(A, job).attempts.iter().map(|attempt| attempt.phase).collect();
    assert_eq!(phases, [Some(Phase::Running), Some(Phase::Running)]);
    world.run_to(160);
    assert_eq!(world.finish(x, A, first, b"one"), ACCEPTED);
    let stop = world.orders.last().unwrap();
    assert!(matches!(stop, (_, to, Order::Stop { attempt, .. }) if *to == y && attempt.number == 2), "{stop:?}");
    assert!(world.executors[y].running.is_empty());
    assert_eq!(world.coordinator(A).statistics().reappeared, 1);
}

#[test]
fn scenario_02b_a_later_result_meets_an_accepted_one() {
    let (mut world, job, x, y) = silent_executor(StrategyKind::FirstComeFirstServed);
    world.run_to(160);
    assert_eq!(world.finish(y, A, attempt(job, 1, 1, 2), b"two"), ACCEPTED);
    world.run_to(170);
    world.executors[x].alive = true;
    let by = submission(1, 1);
    let answer = world.finish(x, A, attempt(job, 1, 1, 1), b"one");
    assert_eq!(answer, Answer::Rejected(Rejection::AlreadyAccepted { by }));
    assert_eq!(world.coordinator(A).statistics().divergent, 1);
    assert_eq!(world.count(A, superseded), 0);

    let (mut world, job, x, y) = silent_executor(StrategyKind::PriorityBased);
    world.run_to(160);
    assert_eq!(world.finish(y, A, attempt(job, 1, 1, 2), b"two"), ACCEPTED);
    world.run_to(170);
    world.executors[x].alive = true;
    let mut better = world.result(x, attempt(job, 1, 1, 1), b"one");
    better.quality_bp = 9_500;
    assert_eq!(world.submit(x, A, better), ACCEPTED);
    assert_eq!(world.coordinator(A).canonical(job), Some(submission(1, 2)));
    assert_eq!(world.count(A, superseded), 1);
}

#[test]
fn scenario_02b_a_worse_challenger_loses() {
    let (mut world, job, x, y) = silent_executor(StrategyKind::PriorityBased);
    world.run_to(160);
    assert_eq!(world.finish(y, A, attempt(job, 1, 1, 2), b"two"), ACCEPTED);
    world.run_to(170);
    world.executors[x].alive = true;
    let mut worse = world.result(x, attempt(job, 1, 1, 1), b"one");
    worse.quality_bp = 8_000;
    let canonical = submission(1, 1);
    assert_eq!(world.submit(x, A, worse), Answer::Rejected(Rejection::LostTo { canonical }));
}

#[test]
fn scenario_02c_after_the_settle_nobody_is_heard() {
    let (mut world, job, x, y) = silent_executor(StrategyKind::PriorityBased);
    world.run_to(160);
    assert_eq!(world.finish(y, A, attempt(job, 1, 1, 2), b"two"), ACCEPTED);
    world.run_to(219);
    assert!(!world.job(A, job).settled);
    world.run_to(221);
    assert_eq!(world.when(A, |kind| matches!(kind, EventKind::ResultSettled { .. })), Some(220 * SECOND));
    world.executors[x].alive = true;
    let mut better = world.result(x, attempt(job, 1, 1, 1), b"one");
    better.quality_bp = 9_500;
    let canonical = submission(1, 1);
    assert_eq!(world.submit(x, A, better), Answer::Rejected(Rejection::Settled { canonical }));
    assert_eq!(world.coordinator(A).statistics().late, 1);
}

#[test]
fn scenario_02d_an_equal_digest_agrees() {
    for strategy in [StrategyKind::FirstComeFirstServed, StrategyKind::PriorityBased] {
        let (mut world, job, x, y) = silent_executor(strategy);
        world.run_to(160);
        assert_eq!(world.finish(y, A, attempt(job, 1, 1, 2), b"same"), ACCEPTED);
        world.run_to(170);
        world.executors[x].alive = true;
        let canonical = submission(1, 1);
        let answer = world.finish(x, A, attempt(job, 1, 1, 1), b"same");
        assert_eq!(answer, Answer::Rejected(Rejection::Equivalent { canonical, agreement: 2 }));
        assert_eq!(world.coordinator(A).statistics().equivalent, 1);
    }
}

#[test]
fn scenario_03_orphans_are_adopted() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.stop(A);
    world.run_to(10 + 60);
    world.register(x, B);
    let first = attempt(job, 1, 1, 1);
    assert_eq!(world.verdicts.last(), Some(&(70 * SECOND, x, first, HeldVerdict::Continue)));
    assert_eq!(world.count(B, |kind| matches!(kind, EventKind::ExecutorAdopted { .. })), 1);
    world.run_to(10 + 149);
    assert_eq!(world.job(B, job).epoch, OwnershipEpoch(1));
    world.run_to(10 + 150);
    assert_eq!(world.job(B, job).epoch, OwnershipEpoch(2));
    world.run_to(10 + 155);
    assert_eq!(world.finish(x, B, first, b"done"), ACCEPTED);
    world.run_to(1_000);
    let view = world.job(B, job);
    assert_eq!(view.status, JobStatus::Completed);
    assert_eq!(view.attempts.iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [first]);
    assert_eq!(world.coordinator(B).statistics().placed, 0);
}

#[test]
fn scenario_03_an_adopted_orphan_outlives_the_recovery() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 4);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.stop(A);
    world.run_to(70);
    world.register(x, B);
    world.run_to(600);
    assert_eq!(world.starts(job).len(), 1, "it runs on under the new owner");
    assert!(world.executors[z].running.is_empty());
    // Now the adopter loses it, and as the owner places it again.
    world.executors[x].alive = false;
    world.run_to(600 + 41);
    assert_eq!(world.starts(job).len(), 1);
    world.run_to(600 + 42);
    assert_eq!(world.starts(job)[1], (642 * SECOND, z, attempt(job, 2, 2, 1)));
}

/// A dies with X; B places the job again on Z.
fn taken_over() -> (World, JobId, usize) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.stop(A);
    world.executors[x].alive = false;
    world.run_to(10 + 191);
    assert_eq!(world.starts(job).len(), 1);
    world.run_to(10 + 200);
    assert_eq!(world.starts(job)[1], ((10 + 192) * SECOND, z, attempt(job, 2, 2, 1)));
    (world, job, z)
}

#[test]
fn scenario_04_a_broker_returns_after_the_timeout() {
    let (mut world, job, z) = taken_over();
    world.start(A);
    let fresh = world.add_executor(A, 4);
    world.run_to(220);
    assert!(world.executors[fresh].running.is_empty(), "it starts nothing before it has learned");
    world.exchange(A, B);
    let yielded = |kind: &EventKind| matches!(kind, EventKind::OwnershipYielded { cause: OwnCause::TakenOver, .. });
    assert_eq!(world.count(A, yielded), 1);
    world.run_to(600);
    assert_eq!(world.starts(job).len(), 2);
    assert_eq!(world.job(A, job), world.job(B, job));
    assert_eq!(world.finish(z, B, attempt(job, 2, 2, 1), b"done"), ACCEPTED);
    assert_eq!(world.coordinator(A).canonical(job), world.coordinator(B).canonical(job));
}

#[test]
fn scenario_04_a_broker_that_finds_nobody_goes_on_alone() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.stop(A);
    world.run_to(20);
    world.start(A);
    let x = world.add_executor(A, 1);
    world.run_to(79);
    assert!(world.starts(job).is_empty());
    world.run_to(80);
    assert_eq!(world.starts(job), [(80 * SECOND, x, attempt(job, 1, 1, 1))]);
}

#[test]
fn scenario_05_a_restored_backup() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let old = world.submit_job(A, JobSpec::new(b"old".to_vec()));
    let backup = world.brokers[A].store.clone();
    world.run_to(10);
    let cancel = reconvene_broker::Command::Cancel { job: old };
    assert!(world.command(A, cancel).is_ok());
    let later = world.submit_job(A, JobSpec::new(b"later".to_vec()));
    world.run_to(20);
    world.stop(A);
    // The copy comes back under a new incarnation.
    world.brokers[A].store = backup;
    world.brokers[A].identity = Identity { node: node(1), replica: replica(11), incarnation: 2 };
    world.run_to(30);
    world.start(A);
    world.exchange(A, B);
    world.run_to(40);
    for broker in [A, B] {
        assert_eq!(world.job(broker, old).status, JobStatus::Cancelled);
        assert_eq!(world.coordinator(broker).statistics().fact_faults, 0);
        // The old incarnation will not be heard again, and its successor is first in line.
        let view = world.job(broker, later);
        assert_eq!((view.owner, view.epoch), (replica(11), OwnershipEpoch(2)));
    }
    let x = world.add_executor(A, 1);
    world.run_to(100);
    assert_eq!(world.started(x).1, attempt(later, 2, 11, 1));
    let new = world.submit_job(A, JobSpec::new(b"new".to_vec()));
    assert_eq!(new, JobId::new(replica(11), 1));
}

#[test]
fn scenario_08_retransmission() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    let submit = world.result(x, attempt(job, 1, 1, 1), b"one");
    for broker in [A, A, A, B] {
        assert_eq!(world.submit(x, broker, submit.clone()), ACCEPTED);
    }
    assert_eq!(world.job(A, job).submissions.len(), 1);
    let retransmissions = |broker| world.coordinator(broker).statistics().retransmission;
    assert_eq!(retransmissions(A) + retransmissions(B), 3);
    assert_eq!(world.count(A, superseded) + world.count(B, superseded), 0);
    let mut other = submit;
    other.digest = reconvene_executor::ResultDigest::of(b"two");
    for broker in [A, B] {
        assert!(matches!(world.submit(x, broker, other.clone()), Answer::Fault(_)));
        assert_eq!(world.coordinator(broker).statistics().fault, 1);
    }
    assert_eq!(world.job(A, job).submissions.len(), 1);
}

#[test]
fn scenario_09_unknown_job() {
    for restart in [false, true] {
        let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
        for other in [A, B] {
            world.cut(C, other);
        }
        let x = world.add_executor(A, 1);
        let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
        world.run_to(10);
        world.register(x, C);
        let submit = world.result(x, attempt(job, 1, 1, 1), b"one");
        assert!(matches!(world.submit(x, C, submit.clone()), Answer::Parked { .. }));
        assert!(matches!(world.submit(x, C, submit.clone()), Answer::Parked { .. }), "the same copy again");
        if restart {
            world.stop(C);
            world.start(C);
            world.register(x, C);
            assert!(matches!(world.submit(x, C, submit.clone()), Answer::Parked { .. }));
        }
        world.run_to(30);
        world.heal(C, A);
        assert_eq!(world.answers.last().map(|(_, to, by, answer)| (*to, *by, *answer)), Some((x, C, ACCEPTED)));
        let parked = world.when(C, |kind| matches!(kind, EventKind::ResultParked { .. })).unwrap();
        let accepted = world.when(C, |kind| matches!(kind, EventKind::ResultAccepted { .. })).unwrap();
        assert!(parked < accepted);
        assert_eq!(world.coordinator(A).canonical(job), Some(submission(3, 1)));
        assert_eq!(world.coordinator(C).statistics().parked, 1);
        assert!(world.executors[x].kept.is_empty());
    }
}
