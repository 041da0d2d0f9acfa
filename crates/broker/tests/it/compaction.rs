//! Section 6, "Compaction": jobs that are over are forgotten, and stay over.

use reconvene_broker::{Command, CommandError, EventKind, FactKey, Input, JobStatus, Reply, StrategyKind, Verdict};
use reconvene_clock::VectorClock;
use reconvene_executor::message::{HeldVerdict, Order, StopReason};
use reconvene_executor::{Answer, Finality, JobId, JobSpec, Rejection};
use reconvene_store::Record;

use crate::world::{World, replica};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };
const LATE: Answer = Answer::Rejected(Rejection::Late { canonical: None });

/// Results are kept for 10 minutes.
fn world(brokers: u64) -> World {
    let mut world = World::new(brokers, StrategyKind::FirstComeFirstServed);
    for broker in 0..world.brokers.len() {
        world.brokers[broker].config.keep_results_ms = 600_000;
        world.stop(broker);
    }
    for broker in 0..world.brokers.len() {
        world.start(broker);
    }
    world
}

fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec())
}

/// Every member has all that there is.
fn acknowledge(world: &mut World, broker: usize) {
    let mut through = VectorClock::new();
    for record in world.brokers.iter().flat_map(|broker| broker.store.values()) {
        through.raise(record.siblings().last().unwrap().dot);
    }
    world.input(broker, Input::Stable { through });
}

fn live(world: &World, broker: usize, job: JobId) -> Vec<Record> {
    let of_job = |record: &&Record| FactKey::parse(record.key()).and_then(|key| key.job()) == Some(job);
    let records = world.brokers[broker].store.values().filter(of_job);
    records.filter(|record| record.values().next().is_some()).cloned().collect()
}

fn compacted(world: &World, broker: usize) -> usize {
    world.count(broker, |kind| matches!(kind, EventKind::JobCompacted { .. }))
}

/// A job that was finished at 10, and is stable at A from 20 on.
fn finished(world: &mut World) -> (usize, JobId) {
    let x = world.add_executor(A, 2);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let attempt = world.starts(job)[0].2;
    assert_eq!(world.finish(x, A, attempt, b"done"), ACCEPTED);
    world.run_to(20);
    acknowledge(world, A);
    (x, job)
}

#[test]
fn a_job_is_forgotten_when_it_is_stable_and_old() {
    let mut world = world(2);
    let (_, job) = finished(&mut world);
    world.run_to(609);
    assert_eq!(world.job(A, job).status, JobStatus::Completed);
    assert!(!world.coordinator(A).is_compacted(job));
    world.run_to(611);
    assert_eq!((compacted(&world, A), compacted(&world, B)), (1, 0), "its owner does it");
    for broker in [A, B] {
        assert!(world.coordinator(broker).is_compacted(job));
        assert_eq!(world.coordinator(broker).jobs().count(), 0);
        assert_eq!(live(&world, broker, job), []);
        for command in [Command::Job { job }, Command::Cancel { job }, Command::Release { job }] {
            assert_eq!(world.command(broker, command), Err(CommandError::Compacted { job }));
        }
    }
    assert_eq!(world.coordinator(A).statistics().compacted, 1);
    assert_eq!(world.coordinator(A).statistics().leftovers + world.coordinator(B).statistics().leftovers, 0);
}

#[test]
fn jobs_that_become_old_one_by_one_are_forgotten_together() {
    let mut world = world(2);
    let x = world.add_executor(A, 2);
    for second in [10, 20, 30, 40] {
        let job = world.submit_job(A, spec());
        world.run_to(second);
        assert_eq!(world.finish(x, A, world.starts(job)[0].2, b"done"), ACCEPTED);
        acknowledge(&mut world, A);
    }
    world.run_to(611);
    assert_eq!(compacted(&world, A), 1, "the first one waits for nobody");
    world.run_to(645);
    assert_eq!(compacted(&world, A), 1, "the others wait for a sixteenth of the time that results are kept");
    world.run_to(649);
    assert_eq!(compacted(&world, A), 4);
}

#[test]
fn regress_a_job_whose_forgetting_the_store_refuses_is_not_forgotten() {
    let mut world = world(2);
    let (_, job) = finished(&mut world);
    world.refuse_writes = (1, "done/");
    world.run_to(611);
    assert_eq!(world.refuse_writes.0, 0, "it was tried");
    assert_eq!((compacted(&world, A), world.coordinator(A).statistics().compacted), (0, 0));
    assert_eq!(world.job(A, job).status, JobStatus::Completed);
    assert!(!live(&world, A, job).is_empty());
    // It is tried again, and not at every moment.
    world.run_to(1_000);
    assert_eq!((compacted(&world, A), world.coordinator(A).statistics().compacted), (1, 1));
    for broker in [A, B] {
        assert!(world.coordinator(broker).is_compacted(job));
        assert_eq!(live(&world, broker, job), []);
    }
}

#[test]
fn what_is_not_stable_is_kept() {
    let mut world = world(2);
    let x = world.add_executor(A, 2);
    let job = world.submit_job(A, spec());
    let waiting = world.submit_job(A, spec());
    world.run_to(10);
    world.finish(x, A, world.starts(job)[0].2, b"done");
    world.run_to(5_000);
    assert_eq!((compacted(&world, A), world.job(A, job).status), (0, JobStatus::Completed));
    assert_eq!(world.job(A, waiting).status, JobStatus::Running);
    // It is old by now, so it goes as soon as all have it.
    acknowledge(&mut world, A);
    world.run_to(5_001);
    assert!(world.coordinator(A).is_compacted(job));
    assert!(!world.coordinator(A).is_compacted(waiting));
}

/// A broker accepts a result while it does not hear that another one was first. It may be the only one that has it when that
/// one is stable, and if it ends then nobody ever hears that a result was superseded.
#[test]
fn regress_a_job_is_kept_while_a_member_lacks_a_superseded_result() {
    let mut world = world(2);
    let job = world.submit_job(A, spec());
    let x = world.add_executor(A, 1);
    world.run_to(10);
    let first = world.starts(job)[0].2;
    world.executors[x].alive = false;
    let y = world.add_executor(A, 1);
    world.run_to(100);
    let second = world.starts(job)[1].2;
    world.cut(A, B);
    world.executors[x].alive = true;
    world.register(x, B);
    world.run_to(101);
    assert_eq!(world.finish(x, B, first, b"first"), ACCEPTED);
    let mut through = VectorClock::new();
    for record in world.brokers.iter().flat_map(|broker| broker.store.values()) {
        through.raise(record.siblings().last().unwrap().dot);
    }
    world.run_to(102);
    assert_eq!(world.finish(y, A, second, b"second"), ACCEPTED);
    world.exchange_some(B, A, |key| key.contains("/sub/"));
    world.input(A, Input::Stable { through });
    let result = world.job(A, job).result.unwrap();
    assert_eq!((result.submission.accepted_by, result.finality), (replica(2), Finality::Stable));
    assert!(world.coordinator(A).awaits_stability(), "nobody else has what was accepted here");
    world.run_to(800);
    assert_eq!(compacted(&world, A), 0);
    acknowledge(&mut world, A);
    assert!(!world.coordinator(A).awaits_stability());
    world.run_to(801);
    assert_eq!(compacted(&world, A), 1);
}

#[test]
fn names_are_never_given_again() {
    let mut world = world(1);
    let (_, job) = finished(&mut world);
    world.run_to(700);
    assert!(world.coordinator(A).is_compacted(job));
    world.stop(A);
    world.start(A);
    assert!(world.coordinator(A).is_compacted(job), "it is known after a restart");
    assert_eq!(world.submit_job(A, spec()), JobId::new(replica(1), job.sequence + 1));
}

#[test]
fn a_client_that_asks_again_for_a_forgotten_job_gets_a_new_one() {
    let mut world = world(1);
    let x = world.add_executor(A, 1);
    let spec = || spec().with_client("client", 7);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    world.finish(x, A, world.starts(job)[0].2, b"done");
    acknowledge(&mut world, A);
    assert_eq!(world.submit_job(A, spec()), job);
    world.run_to(700);
    assert_eq!(world.submit_job(A, spec()), JobId::new(replica(1), job.sequence + 1));
}

#[test]
fn d5_results_of_forgotten_jobs_are_late() {
    let mut world = world(2);
    let (x, job) = finished(&mut world);
    world.run_to(700);
    let attempt = world.starts(job)[0].2;
    for broker in [A, B] {
        assert_eq!(world.finish(x, broker, attempt, b"other"), LATE);
        assert_eq!(world.coordinator(broker).statistics().late, 1);
        assert_eq!(live(&world, broker, job), [], "nothing is written about it");
    }
}

#[test]
fn d7_a_parked_result_of_a_job_that_is_done_is_answered() {
    let mut world = world(3);
    let (x, job) = finished(&mut world);
    // C has never heard of the job: it lost its store.
    world.cut(A, C);
    world.cut(B, C);
    world.stop(C);
    world.brokers[C].store.clear();
    world.start(C);
    let attempt = world.starts(job)[0].2;
    // Nor can its executor say what it was.
    world.executors[x].ordered.clear();
    let answer = world.finish(x, C, attempt, b"other");
    assert!(matches!(answer, Answer::Parked { .. }), "{answer:?}");
    world.run_to(700);
    assert!(world.coordinator(A).is_compacted(job));
    world.heal(A, C);
    assert!(world.coordinator(C).is_compacted(job));
    assert_eq!(
        world.answers.last().map(|(_, executor, broker, answer)| (*executor, *broker, *answer)),
        Some((x, C, LATE))
    );
}

#[test]
fn s5_facts_of_a_forgotten_job_fold_to_nothing_and_are_deleted_where_they_turn_up() {
    let mut world = world(2);
    let (_, job) = finished(&mut world);
    let old = live(&world, B, job);
    assert!(old.len() >= 3, "spec, attempt, submission");
    world.run_to(700);
    for record in &old {
        world.brokers[B].store.insert(record.key().clone(), record.clone());
    }
    world.input(B, Input::Facts(old.clone()));
    assert!(world.coordinator(B).is_compacted(job) && world.coordinator(B).job(job).is_none());
    assert_eq!(world.coordinator(B).statistics().leftovers, old.len() as u64);
    assert_eq!(live(&world, B, job), []);
    // The same at a broker that finds them when it opens.
    world.stop(B);
    for record in &old {
        world.brokers[B].store.insert(record.key().clone(), record.clone());
    }
    world.start(B);
    assert!(world.coordinator(B).job(job).is_none());
    assert_eq!(live(&world, B, job), []);
}

#[test]
fn a_cancelled_job_is_forgotten_when_every_member_knows_that() {
    let mut world = world(2);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    assert_eq!(world.command(A, Command::Cancel { job }), Ok(Reply::Cancelled { job }));
    assert!(world.coordinator(A).awaits_stability());
    world.run_to(700);
    assert_eq!(world.job(A, job).status, JobStatus::Cancelled);
    acknowledge(&mut world, A);
    assert!(!world.coordinator(A).awaits_stability());
    world.run_to(701);
    assert!(world.coordinator(A).is_compacted(job) && world.coordinator(B).is_compacted(job));
}

#[test]
fn the_first_in_line_stands_in_for_an_owner_that_is_gone() {
    let mut world = world(3);
    let (_, job) = finished(&mut world);
    acknowledge(&mut world, B);
    acknowledge(&mut world, C);
    world.stop(A);
    world.run_to(1_200);
    assert_eq!(compacted(&world, B) + compacted(&world, C), 1, "one of them");
    assert!(world.coordinator(B).is_compacted(job) && world.coordinator(C).is_compacted(job));
}

#[test]
fn what_still_runs_of_a_forgotten_job_is_stopped() {
    let mut world = world(2);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let attempt = world.starts(job)[0].2;
    // It goes on out of sight, and another executor finishes the job.
    world.executors[x].alive = false;
    let y = world.add_executor(B, 1);
    world.run_to(100);
    let (_, executor, second) = *world.starts(job).last().unwrap();
    assert_eq!(executor, y);
    world.finish(y, B, second, b"done");
    acknowledge(&mut world, A);
    acknowledge(&mut world, B);
    world.run_to(800);
    assert!(world.coordinator(A).is_compacted(job));
    world.register(x, A);
    assert_eq!(
        world.verdicts.last().map(|(_, _, attempt, verdict)| (*attempt, *verdict)),
        Some((attempt, HeldVerdict::Stop))
    );
    let stopped =
        |(_, _, order): &(u64, usize, Order)| matches!(order, Order::Stop { reason: StopReason::Replaced, .. });
    assert!(!world.orders.iter().any(stopped));
}

#[test]
fn l6_what_is_known_of_many_finished_jobs_is_one_range() {
    let mut world = world(2);
    let x = world.add_executor(A, 8);
    for round in 0..25 {
        let jobs: Vec<_> = (0..8).map(|_| world.submit_job(A, spec())).collect();
        world.run_to(round + 1);
        for job in jobs {
            let attempt = world.starts(job)[0].2;
            world.finish(x, A, attempt, b"done");
        }
    }
    assert_eq!(world.job(A, JobId::new(replica(1), 1)).submissions[0].verdict, Verdict::Accepted);
    acknowledge(&mut world, A);
    world.run_to(700);
    assert_eq!(world.coordinator(A).statistics().compacted, 200);
    for broker in [A, B] {
        assert_eq!(world.coordinator(broker).jobs().count(), 0);
        let live = world.brokers[broker].store.values().filter(|record| record.values().next().is_some());
        let keys: Vec<_> = live.filter_map(|record| FactKey::parse(record.key())).collect();
        let jobs = keys.iter().filter(|key| key.job().is_some()).count();
        let done = keys.iter().filter(|key| matches!(key, FactKey::Done { .. })).count();
        assert_eq!((jobs, done), (0, 1));
    }
}
