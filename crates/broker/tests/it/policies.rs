//! Policies that change while the network runs.

use reconvene_broker::{
    Command, CommandError, Config, EventKind, Fact, FactKey, JobStatus, Policy, PolicyId, Reply, StrategyKind,
};
use reconvene_executor::{Answer, Finality, JobId, JobSpec, Rejection, Resources};
use reconvene_resolve::{HeadRoom, HeadStartMinutes, Pin, PinEpoch, PolicyChoice, PolicyEpoch};

use crate::world::{SECOND, World, replica};

const A: usize = 0;
const B: usize = 1;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

fn switched(kind: &EventKind) -> bool {
    matches!(kind, EventKind::PolicySwitched { .. })
}

fn superseded(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResultSuperseded { .. })
}

fn id_of(kind: StrategyKind) -> PolicyId {
    Policy::of(kind).id()
}

fn set(world: &mut World, broker: usize, policy: &Policy, issuer_rank: u32) -> PolicyChoice {
    let command = Command::SetPolicy { canonical: policy.canonical_bytes(), issuer_rank };
    match world.command(broker, command) {
        Ok(Reply::PolicySet { choice }) => choice,
        other => panic!("{other:?}"),
    }
}

fn repin(world: &mut World, broker: usize, job: JobId, policy: PolicyId) -> Result<Reply, CommandError> {
    world.command(broker, Command::Repin { job, policy, issuer_rank: 1 })
}

/// Of an own kind: nobody knows it whom its definition has not reached.
fn own() -> Policy {
    Policy::priority_based(HeadStartMinutes { priority: 7, ..HeadStartMinutes::PRIORITY_BASED }).unwrap()
}

#[test]
fn scenario_07_switch_during_a_partition() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 4);
    let z = world.add_executor(B, 4);
    let choice = set(&mut world, A, &Policy::first_come_first_served(), 0);
    assert_eq!((choice.epoch, choice.policy), (PolicyEpoch(1), id_of(StrategyKind::FirstComeFirstServed)));
    let first = world.submit_job(A, JobSpec::new(b"one".to_vec()));
    world.run_to(10);
    two_results_of(&mut world, first, x, true);
    // The operators do not see each other.
    let choice = set(&mut world, A, &Policy::of(StrategyKind::PriorityBased), 1);
    assert_eq!((choice.epoch, choice.issuer_rank), (PolicyEpoch(2), 1));
    let choice = set(&mut world, B, &Policy::emergency_first(), 2);
    assert_eq!((choice.epoch, choice.issuer_rank), (PolicyEpoch(2), 2));
    world.run_to(30);
    let second = world.submit_job(A, JobSpec::new(b"two".to_vec()));
    world.run_to(40);
    world.heal(A, B);
    world.run_to(45);
    world.cut(A, B);
    two_results_of(&mut world, second, x, false);
    world.heal(A, B);
    world.run_to(100);
    for broker in [A, B] {
        assert_eq!(world.coordinator(broker).policy().kind(), StrategyKind::EmergencyFirst);
        let view = world.job(broker, first);
        assert_eq!(view.strategy, Some(StrategyKind::FirstComeFirstServed));
        assert_eq!(view.result.unwrap().submission.accepted_by, replica(1), "the first one");
        let view = world.job(broker, second);
        assert_eq!(view.strategy, Some(StrategyKind::PriorityBased));
        assert_eq!(view.result.unwrap().submission.accepted_by, replica(2), "the better one");
    }
    let last = |world: &World, broker| {
        let switches = world.kinds(broker).filter_map(|(_, kind)| match kind {
            EventKind::PolicySwitched { to, epoch, .. } => Some((*to, *epoch)),
            _ => None,
        });
        switches.last().unwrap()
    };
    let emergency = (id_of(StrategyKind::EmergencyFirst), PolicyEpoch(2));
    assert_eq!((last(&world, A), last(&world, B)), (emergency, emergency));
    assert_eq!((world.count(A, switched), world.count(B, switched)), (3, 2));
    world.executors[z].alive = true;
}

/// Each side accepts another result of the same attempt: A the earlier one, B the one of greater quality. Where `cut`,
/// the cut is made here.
fn two_results_of(world: &mut World, job: JobId, x: usize, cut: bool) {
    if cut {
        world.cut(A, B);
    }
    let attempt = world.starts(job)[0].2;
    let mut first = world.result(x, attempt, b"first");
    first.quality_bp = 1_000;
    assert_eq!(world.submit(x, A, first), ACCEPTED);
    world.run_to(world.now / SECOND + 5);
    let mut better = world.result(x, attempt, b"better");
    better.quality_bp = 9_000;
    assert_eq!(world.submit(x, B, better), ACCEPTED);
}

#[test]
fn a_switch_ranks_what_waits_anew() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let running = world.submit_job(A, JobSpec::new(b"runs".to_vec()));
    let low = world.submit_job(A, JobSpec::new(b"low".to_vec()).with_priority(1));
    let high = world.submit_job(A, JobSpec::new(b"high".to_vec()).with_priority(250));
    set(&mut world, A, &Policy::of(StrategyKind::PriorityBased), 0);
    let attempt = world.starts(running)[0].2;
    assert_eq!(world.finish(x, A, attempt, b"done"), ACCEPTED);
    world.run_to(10);
    assert_eq!((world.starts(high).len(), world.starts(low).len()), (1, 0));
    // The same again is no switch.
    set(&mut world, A, &Policy::of(StrategyKind::PriorityBased), 0);
    assert_eq!(world.count(A, switched), 1);
}

#[test]
fn a_policy_survives_a_restart() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    set(&mut world, A, &own(), 0);
    world.run_to(10);
    world.stop(A);
    world.start(A);
    assert_eq!(world.coordinator(A).policy(), &own());
    assert_eq!(world.count(A, switched), 1, "what was decided before is no news");
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    assert_eq!(world.job(A, job).policy, Some(own().id()));
    let Ok(Reply::Policy(view)) = world.command(A, Command::Policy) else { panic!("a view") };
    assert_eq!((view.id, view.epoch, view.kind), (own().id(), PolicyEpoch(1), StrategyKind::PriorityBased));
    assert_eq!((view.canonical, view.known), (own().canonical_bytes(), vec![own().id()]));
}

#[test]
fn a_pin_changes_the_result_and_says_so() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    two_results_of(&mut world, job, x, true);
    world.heal(A, B);
    for broker in [A, B] {
        assert_eq!(world.job(broker, job).result.unwrap().submission.accepted_by, replica(1));
    }
    let priority = id_of(StrategyKind::PriorityBased);
    let pin = Pin { epoch: PinEpoch(1), issuer_rank: 1, policy: priority };
    let before = world.count(A, superseded) + world.count(B, superseded);
    assert_eq!(repin(&mut world, B, job, priority), Ok(Reply::Repinned { job, pin }));
    for broker in [A, B] {
        let view = world.job(broker, job);
        assert_eq!((view.policy, view.strategy), (Some(priority), Some(StrategyKind::PriorityBased)));
        assert_eq!(view.result.unwrap().submission.accepted_by, replica(2));
    }
    assert_eq!(world.count(A, superseded) + world.count(B, superseded), before + 2, "each had named the other");
    let repinned = |kind: &EventKind| matches!(kind, EventKind::JobRepinned { epoch: PinEpoch(1), .. });
    assert_eq!(world.count(B, repinned), 1);
    // It is judged, so it has to be settled before it is over.
    world.run_to(200);
    assert!(world.job(A, job).settled);
    // The same pin again changes nothing.
    assert_eq!(repin(&mut world, A, job, priority), Ok(Reply::Repinned { job, pin }));
}

/// The owner had ended the job, and nobody took it over when it went: a new pin asks for what only an owner does.
#[test]
fn regress_a_pin_after_the_owner_is_gone_is_settled_all_the_same() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    let attempt = world.started(x).1;
    assert_eq!(world.finish(x, A, attempt, b"done"), ACCEPTED);
    world.run_to(20);
    world.stop(A);
    world.run_to(400);
    assert_eq!((world.job(B, job).status, world.job(B, job).owner), (JobStatus::Completed, replica(1)));
    assert!(repin(&mut world, B, job, id_of(StrategyKind::PriorityBased)).is_ok());
    world.run_to(600);
    let view = world.job(B, job);
    assert_eq!((view.settled, view.owner), (true, replica(2)));
}

#[test]
fn what_is_not_known_is_refused() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    let unknown = own().id();
    assert_eq!(repin(&mut world, A, job, unknown), Err(CommandError::UnknownPolicy { policy: unknown }));
    let nobody = JobId::new(replica(9), 9);
    let fcfs = id_of(StrategyKind::FirstComeFirstServed);
    assert_eq!(repin(&mut world, A, nobody, fcfs), Err(CommandError::UnknownJob { job: nobody }));
    for canonical in [Vec::new(), b"RCVP".to_vec(), vec![0; 5_000]] {
        let answer = world.command(A, Command::SetPolicy { canonical, issuer_rank: 0 });
        assert!(matches!(answer, Err(CommandError::Policy { .. })), "{answer:?}");
    }
    assert_eq!(world.count(A, switched), 0);
}

/// A job under a policy that B has not heard of, with a result accepted at A.
fn undefined_at_b() -> (World, JobId, usize) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    world.cut(A, B);
    set(&mut world, A, &own(), 0);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    let attempt = world.starts(job)[0].2;
    let mut first = world.result(x, attempt, b"first");
    first.quality_bp = 1_000;
    assert_eq!(world.submit(x, A, first), ACCEPTED);
    // Everything arrives but the policy.
    let key = FactKey::PolicyDef(own().id()).to_key();
    let definition = world.brokers[A].store.remove(&key).unwrap();
    world.heal(A, B);
    world.brokers[A].store.insert(key, definition);
    (world, job, x)
}

#[test]
fn a_job_is_not_judged_by_a_policy_that_is_not_known() {
    let (mut world, job, x) = undefined_at_b();
    let view = world.job(B, job);
    assert_eq!((view.strategy, view.policy, view.status), (None, Some(own().id()), JobStatus::Completed));
    assert_eq!(view.result.unwrap().submission.accepted_by, replica(1), "the only one there is");
    // Whether a challenger wins cannot be told.
    let attempt = world.starts(job)[0].2;
    let mut better = world.result(x, attempt, b"better");
    better.quality_bp = 9_000;
    better.attempt.number = 2;
    assert!(matches!(world.submit(x, B, better.clone()), Answer::Busy { .. }));
    assert_eq!(world.coordinator(B).statistics().unresolved, 1);
    assert_eq!(world.job(B, job).submissions.len(), 1, "nothing is kept");
    world.exchange(A, B);
    assert_eq!(world.job(B, job).strategy, Some(StrategyKind::PriorityBased));
    // Its only attempt has ended, so it was settled meanwhile; the answer is that of the policy.
    let canonical = reconvene_executor::SubmissionId { accepted_by: replica(1), number: 1 };
    assert_eq!(world.submit(x, B, better), Answer::Rejected(Rejection::Settled { canonical }));
}

#[test]
fn two_results_are_unresolved_until_the_policy_arrives() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    two_results_of(&mut world, job, x, true);
    set(&mut world, A, &own(), 0);
    assert!(repin(&mut world, A, job, own().id()).is_ok());
    let key = FactKey::PolicyDef(own().id()).to_key();
    let definition = world.brokers[A].store.remove(&key).unwrap();
    world.heal(A, B);
    world.brokers[A].store.insert(key, definition);
    let unresolved = |kind: &EventKind| matches!(kind, EventKind::Unresolved { .. });
    assert_eq!(world.count(B, unresolved), 1);
    let view = world.job(B, job);
    assert_eq!((view.status, view.result, view.strategy), (JobStatus::Completed, None, None));
    world.run_to(500);
    assert_eq!(world.starts(job).len(), 1, "it is not run again");
    world.exchange(A, B);
    assert_eq!(world.job(B, job).result.unwrap().submission.accepted_by, replica(2));
    assert_eq!(world.job(A, job), world.job(B, job));
}

#[test]
fn a_definition_under_another_name_is_a_fault() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    set(&mut world, A, &own(), 0);
    let key = FactKey::PolicyDef(own().id()).to_key();
    let row = world.brokers[A].store[&key].clone();
    let other =
        Fact::PolicyDef(reconvene_broker::PolicyDefFact { canonical: Policy::emergency_first().canonical_bytes() });
    let mut version = row.siblings().last().unwrap().clone();
    version.body = reconvene_store::Body::of(other.encode().unwrap());
    let row = reconvene_store::Record::new(key, [version]).unwrap();
    world.input(A, reconvene_broker::Input::Facts(vec![row]));
    assert_eq!(world.coordinator(A).statistics().fact_faults, 1);
    assert_eq!(world.coordinator(A).policy(), &own());
}

#[test]
fn a_head_room_is_left_to_life_safety() {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    let room = Resources::new(8_000, 16_384, 0);
    let x = world.add_executor_with(A, 8, room, &[]);
    let head_room = HeadRoom::new(reconvene_resolve::Resources::new(3_000, 0, 0));
    let policy = Policy::builder(StrategyKind::EmergencyFirst).head_room(head_room).build().unwrap();
    set(&mut world, A, &policy, 0);
    let job = || JobSpec::new(b"work".to_vec()).with_demand(Resources::new(2_000, 0, 0));
    let routine: Vec<_> = (0..4).map(|_| world.submit_job(A, job())).collect();
    world.run_to(10);
    let started: Vec<_> = routine.iter().map(|job| world.starts(*job).len()).collect();
    assert_eq!(started, [1, 1, 0, 0], "a third would leave 2,000 of the 3,000");
    let declare = Command::DeclareEmergency { level: 200, region: String::new(), lifetime_ms: 0 };
    let Ok(Reply::EmergencyDeclared { id }) = world.command(A, declare) else { panic!("declared") };
    let grave = world.submit_job(A, job().with_emergency(id));
    assert_eq!(world.starts(grave).len(), 1, "it has the room at once");
    // Under a policy without one, nothing is kept.
    set(&mut world, A, &Policy::emergency_first(), 0);
    assert_eq!(world.starts(routine[2]).len(), 1);
    assert_eq!(world.executors[x].running.len(), 4);
}

#[test]
fn a_configured_policy_holds_until_one_is_set() {
    let mut config = Config::new(StrategyKind::FirstComeFirstServed);
    config.policy = own();
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    world.brokers[A].config = config.build().unwrap();
    world.stop(A);
    world.start(A);
    world.run_to(100);
    let job = world.submit_job(A, JobSpec::new(b"work".to_vec()));
    assert_eq!(world.job(A, job).policy, Some(own().id()));
    assert!(world.brokers[A].store.contains_key(&FactKey::PolicyDef(own().id()).to_key()), "others can judge it");
    let rejected =
        Rejection::LostTo { canonical: reconvene_executor::SubmissionId { accepted_by: replica(1), number: 1 } };
    let x = world.add_executor(A, 1);
    let attempt = world.starts(job)[0].2;
    assert_eq!(world.finish(x, A, attempt, b"one"), ACCEPTED);
    let mut worse = world.result(x, attempt, b"two");
    worse.quality_bp = 1;
    worse.attempt.number = 2;
    // Every attempt has ended, so the job is settled at once.
    assert_ne!(world.submit(x, A, worse), Answer::Rejected(rejected));
    assert!(world.job(A, job).settled);
}
