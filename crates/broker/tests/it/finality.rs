//! Results that cannot change any more, and that they do not.

use reconvene_broker::{Command, EventKind, Input, JobStatus, Policy, Reply, StrategyKind};
use reconvene_clock::VectorClock;
use reconvene_executor::{Answer, Finality, JobId, JobSpec};

use crate::world::{SECOND, World, replica};

const A: usize = 0;
const B: usize = 1;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

/// What these brokers have written so far, all of it acknowledged by everybody.
fn all(world: &World) -> VectorClock {
    let mut clock = VectorClock::new();
    for record in world.brokers.iter().flat_map(|broker| broker.store.values()) {
        clock.raise(record.siblings().last().unwrap().dot);
    }
    clock
}

fn stable(world: &mut World, broker: usize, through: &VectorClock) {
    world.input(broker, Input::Stable { through: through.clone() });
}

fn finality(world: &World, broker: usize, job: JobId) -> Finality {
    world.job(broker, job).result.unwrap().finality
}

fn changes(world: &World, broker: usize) -> Vec<(Finality, Finality)> {
    let change = |(_, kind): (u64, &EventKind)| match kind {
        EventKind::FinalityChanged { from, to, .. } => Some((*from, *to)),
        _ => None,
    };
    world.kinds(broker).filter_map(change).collect()
}

/// A job that has its result, and what was everywhere before that.
fn finished(strategy: StrategyKind) -> (World, JobId, VectorClock) {
    let mut world = World::new(2, strategy);
    let x = world.add_executor(A, 1);
    // A second attempt that can still report keeps a judged job open.
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(20);
    world.add_executor(A, 1);
    world.executors[x].alive = false;
    world.run_to(100);
    let second = world.starts(job)[1];
    let before = all(&world);
    assert_eq!(world.finish(second.1, A, second.2, b"done"), ACCEPTED);
    (world, job, before)
}

#[test]
fn a_result_is_stable_when_every_member_has_it() {
    let (mut world, job, before) = finished(StrategyKind::FirstComeFirstServed);
    let now = all(&world);
    assert!(world.coordinator(A).awaits_stability());
    stable(&mut world, A, &before);
    assert_eq!((finality(&world, A, job), changes(&world, A)), (Finality::Provisional, vec![]));
    stable(&mut world, A, &now);
    assert_eq!(finality(&world, A, job), Finality::Stable);
    assert_eq!(changes(&world, A), [(Finality::Provisional, Finality::Stable)]);
    assert_eq!(finality(&world, B, job), Finality::Provisional, "B has not heard of that");
    assert!(!world.coordinator(A).awaits_stability());
    assert_eq!(world.coordinator(A).statistics().stable, 1);
}

#[test]
fn a_judged_result_is_stable_when_its_settle_is() {
    let (mut world, job, _) = finished(StrategyKind::PriorityBased);
    let now = all(&world);
    stable(&mut world, A, &now);
    assert_eq!(finality(&world, A, job), Finality::Provisional, "challengers are admitted");
    world.run_to(200);
    assert!(world.job(A, job).settled);
    assert_eq!(finality(&world, A, job), Finality::Provisional);
    let now = all(&world);
    stable(&mut world, A, &now);
    assert_eq!(finality(&world, A, job), Finality::Stable);
}

#[test]
fn a_member_that_nobody_has_heard_of_keeps_results_provisional() {
    let (mut world, job, _) = finished(StrategyKind::FirstComeFirstServed);
    let mut without_b = all(&world);
    without_b.retain(|id| id != replica(2));
    stable(&mut world, A, &without_b);
    assert_eq!(finality(&world, A, job), Finality::Provisional, "that B is a member is a fact, too");
}

#[test]
fn a_repin_may_change_a_stable_result_and_says_so() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.cut(A, B);
    let attempt = world.started(x).1;
    let mut first = world.result(x, attempt, b"first");
    first.quality_bp = 1;
    assert_eq!(world.submit(x, A, first), ACCEPTED);
    world.run_to(world.now / SECOND + 5);
    let better = world.result(x, attempt, b"better");
    assert_eq!(world.submit(x, B, better), ACCEPTED);
    world.heal(A, B);
    let now = all(&world);
    stable(&mut world, A, &now);
    assert_eq!(finality(&world, A, job), Finality::Stable);
    let policy = Policy::of(StrategyKind::PriorityBased).id();
    let repinned = world.command(A, Command::Repin { job, policy, issuer_rank: 0 });
    assert!(matches!(repinned, Ok(Reply::Repinned { .. })));
    let (up, down) = ((Finality::Provisional, Finality::Stable), (Finality::Stable, Finality::Provisional));
    assert_eq!(
        (world.job(A, job).result.unwrap().submission.accepted_by, finality(&world, A, job)),
        (replica(2), Finality::Provisional)
    );
    assert_eq!(changes(&world, A), [up, down]);
    world.run_to(200);
    let now = all(&world);
    stable(&mut world, A, &now);
    assert_eq!((finality(&world, A, job), changes(&world, A)), (Finality::Stable, vec![up, down, up]));
    assert_eq!(world.job(A, job).status, JobStatus::Completed);
}
