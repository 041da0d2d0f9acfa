//! `copy` facts: jobs whose brokers are gone, and that only executors know.

use reconvene_broker::{EventKind, Fact, FactKey, Input, JobStatus, OwnCause, StrategyKind};
use reconvene_clock::VectorClock;
use reconvene_executor::{Answer, Finality, JobId, JobSpec};
use reconvene_store::{Body, Record, Version};

use crate::world::{World, replica};

const A: usize = 0;
const B: usize = 1;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec()).with_client("client", 4)
}

fn recovered(kind: &EventKind) -> bool {
    matches!(kind, EventKind::SpecRecovered { .. })
}

/// A job that was admitted at A while nobody heard of it; A is gone for good, and X looks for another broker at 60.
fn known_to_an_executor_alone() -> (World, JobId, usize) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    world.cut(A, B);
    let job = world.submit_job(A, spec());
    world.run_to(20);
    world.stop(A);
    world.run_to(60);
    world.register(x, B);
    (world, job, x)
}

#[test]
fn a_job_that_only_an_executor_knows_is_asked_back_from_it() {
    let (mut world, job, x) = known_to_an_executor_alone();
    world.run_to(179);
    assert_eq!((world.count(B, recovered), world.job(B, job).status), (0, JobStatus::Unknown));
    world.run_to(181);
    assert_eq!(world.count(B, recovered), 1, "after two exchanges it would have come from a broker");
    assert_eq!(world.coordinator(B).statistics().recovered, 1);
    assert_eq!(world.job(B, job).spec, Some(spec().digest()));
    // It goes on where it runs, B takes the job over, and its result counts.
    world.run_to(600);
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. });
    assert_eq!((world.count(B, taken), world.starts(job).len()), (1, 1));
    let attempt = world.starts(job)[0].2;
    assert_eq!(world.finish(x, B, attempt, b"done"), ACCEPTED);
    assert_eq!(world.job(B, job).status, JobStatus::Completed);
    assert_eq!(world.submit_job(B, spec()), job, "the client is answered with the job that there is");
}

#[test]
fn a_parked_result_brings_its_job_along() {
    let (mut world, job, x) = known_to_an_executor_alone();
    let attempt = world.starts(job)[0].2;
    let answer = world.finish(x, B, attempt, b"done");
    assert!(matches!(answer, Answer::Parked { .. }), "{answer:?}");
    world.run_to(181);
    assert_eq!(world.job(B, job).status, JobStatus::Completed);
    assert_eq!(world.answers.last().unwrap().3, ACCEPTED);
}

/// Nobody could be asked when the time had come, and the executor came back with what it had submitted before.
#[test]
fn regress_a_parked_result_of_an_executor_that_was_away_brings_its_job_along() {
    let (mut world, job, x) = known_to_an_executor_alone();
    let attempt = world.starts(job)[0].2;
    let submit = world.result(x, attempt, b"done");
    assert!(matches!(world.submit(x, B, submit.clone()), Answer::Parked { .. }));
    world.run_to(100);
    world.executors[x].alive = false;
    let executor = world.executors[x].node;
    world.input(B, Input::ExecutorDown { executor });
    world.run_to(300);
    assert_eq!(world.count(B, recovered), 0);
    world.register(x, B);
    assert!(matches!(world.submit(x, B, submit), Answer::Parked { .. }));
    world.run_to(300 + 121);
    assert_eq!((world.count(B, recovered), world.job(B, job).status), (1, JobStatus::Completed));
    assert_eq!(world.answers.last().unwrap().3, ACCEPTED);
}

#[test]
fn the_specification_of_the_admitting_broker_goes_before_a_copy() {
    let (mut world, job, _) = known_to_an_executor_alone();
    world.run_to(181);
    let copied = world.job(B, job).submitted;
    world.start(A);
    world.heal(A, B);
    for broker in [A, B] {
        let view = world.job(broker, job);
        assert_eq!(view.spec, Some(spec().digest()));
        assert!(view.submitted < copied, "it was admitted before it was recovered");
        assert_eq!(world.count(broker, |kind| matches!(kind, EventKind::FactFault { .. })), 0);
    }
}

/// A row with a copy that replica 9 recovered.
fn copy(world: &World, job: JobId, spec: JobSpec) -> Record {
    let (record, mut fact) = world.brokers[A]
        .store
        .values()
        .find_map(|record| match (FactKey::parse(record.key())?, record.values().next()?) {
            (key @ FactKey::Spec(id), (_, bytes)) if id == job => match Fact::decode(&key, bytes).ok()? {
                Fact::Spec(fact) => Some((record, fact)),
                _ => None,
            },
            _ => None,
        })
        .unwrap();
    fact.spec = spec;
    let by = replica(9);
    let version = record.siblings().last().unwrap().clone();
    let dot = reconvene_clock::Dot::new(by, version.dot.counter);
    let body = Body::of(Fact::Copy(fact).encode().unwrap());
    Record::new(FactKey::Copy { job, by }.to_key(), [Version { dot, body, ..version }]).unwrap()
}

#[test]
fn two_copies_that_differ_are_a_fault_of_facts() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, spec());
    let same = copy(&world, job, spec());
    world.input(A, Input::Facts(vec![same]));
    let fault = |kind: &EventKind| matches!(kind, EventKind::FactFault { key, .. } if key.contains("/copy/"));
    assert_eq!(world.count(A, fault), 0);
    let other = copy(&world, job, spec().with_priority(1));
    world.input(A, Input::Facts(vec![other]));
    assert_eq!(world.count(A, fault), 1);
    assert_eq!(world.job(A, job).spec, Some(spec().digest()), "the one that was admitted stays");
}

/// Broken by sabotage X49.
#[test]
fn s5_a_copy_of_a_forgotten_job_revives_nothing() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    world.brokers[A].config.keep_results_ms = 600_000;
    world.stop(A);
    world.start(A);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let late = copy(&world, job, spec());
    world.finish(x, A, world.starts(job)[0].2, b"done");
    let mut through = VectorClock::new();
    for record in world.brokers[A].store.values() {
        through.raise(record.siblings().last().unwrap().dot);
    }
    world.input(A, Input::Stable { through });
    world.run_to(700);
    assert!(world.coordinator(A).is_compacted(job));
    world.brokers[A].store.insert(late.key().clone(), late.clone());
    world.input(A, Input::Facts(vec![late.clone()]));
    assert!(world.coordinator(A).job(job).is_none());
    assert_eq!(world.brokers[A].store[late.key()].values().count(), 0, "it is deleted where it turned up");
    world.run_to(2_000);
    assert_eq!(world.starts(job).len(), 1);
}
