//! Brokers that will not return, by an operator's word: section 4 of the design of the life of jobs.

use reconvene_broker::{Command, CommandError, EventKind, OwnCause, Reply, StrategyKind};
use reconvene_executor::JobSpec;

use crate::world::{World, node, replica};

fn retire(world: &mut World, broker: usize, number: u8, even_if_heard: bool) -> Result<Reply, CommandError> {
    world.command(broker, Command::RetireMember { node: node(number), even_if_heard })
}

#[test]
fn jobs_of_a_retired_broker_are_taken_over_at_once() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.run_to(10);
    world.stop(0);
    world.run_to(20);
    assert_eq!(retire(&mut world, 1, 1, false), Err(CommandError::StillHeard { node: node(1) }), "too early to tell");
    let retired = Ok(Reply::MemberRetired { node: node(1), replicas: vec![replica(1)] });
    assert_eq!(retire(&mut world, 1, 1, true), retired);
    let view = world.job(1, job);
    assert_eq!((view.owner, view.epoch.0), (replica(2), 2), "long before the time-out of owners");
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. });
    assert_eq!(world.when(1, taken), Some(20_000));

    let again = Ok(Reply::MemberRetired { node: node(1), replicas: Vec::new() });
    assert_eq!(retire(&mut world, 1, 1, false), again, "nothing is left to retire");
    assert_eq!(world.coordinator(1).statistics().retired, 1);
}

#[test]
fn a_retired_broker_is_no_heir() {
    // Whoever of the other two comes first in line for the job is retired; the other takes it over in its place.
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    world.stop(0);
    world.stop(1);
    world.run_to(160);
    assert!(retire(&mut world, 2, 2, false).is_ok());
    assert!(retire(&mut world, 2, 1, false).is_ok());
    assert_eq!(world.job(2, job).owner, replica(3));
}

#[test]
fn nobody_retires_itself_or_a_stranger() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    assert!(matches!(retire(&mut world, 0, 1, true), Err(CommandError::OutOfRange { .. })));
    assert_eq!(retire(&mut world, 0, 9, true), Err(CommandError::UnknownMember { node: node(9) }));
}
