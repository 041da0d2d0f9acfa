//! Emergencies, and what they do to waiting jobs.

use reconvene_broker::{Command, CommandError, EventKind, Reply, StrategyKind};
use reconvene_clock::ReplicaId;
use reconvene_executor::{EmergencyId, JobId, JobSpec};

use crate::world::{SECOND, World, replica};

fn declare(world: &mut World, broker: usize, level: u8, region: &str, lifetime_ms: u64) -> EmergencyId {
    let command = Command::DeclareEmergency { level, region: region.to_owned(), lifetime_ms };
    match world.command(broker, command) {
        Ok(Reply::EmergencyDeclared { id }) => id,
        other => panic!("{other:?}"),
    }
}

/// A job runs on the only slot; others wait behind it.
fn queued(specs: impl IntoIterator<Item = JobSpec>) -> (World, Vec<JobId>) {
    let mut world = World::new(2, StrategyKind::EmergencyFirst);
    world.add_executor(0, 1);
    world.submit_job(0, JobSpec::new(b"first".to_vec()));
    world.run_to(1);
    let jobs = specs
        .into_iter()
        .enumerate()
        .map(|(index, spec)| {
            world.run_to(2 + index as u64);
            world.submit_job(0, spec)
        })
        .collect();
    (world, jobs)
}

/// Lets every job that gets the slot finish, and says in which order they got it.
fn order(world: &mut World) -> Vec<JobId> {
    let mut order = Vec::new();
    while let Some(attempt) = world.executors[0].running.keys().next().copied() {
        order.push(attempt.job);
        world.finish(0, 0, attempt, b"done");
    }
    order
}

fn named(id: EmergencyId, region: &str) -> JobSpec {
    JobSpec::new(b"urgent".to_vec()).with_emergency(id).with_region(region)
}

/// The first emergency that broker 2 declares.
fn first_of_b() -> EmergencyId {
    EmergencyId { declared_by: replica(2), number: 1 }
}

#[test]
fn a_declaration_ranks_waiting_jobs_again() {
    let plain = || JobSpec::new(b"plain".to_vec());
    let id = first_of_b();
    let (mut world, jobs) = queued([plain(), named(id, "north/harbour/pier-3"), named(id, "north/harbourside")]);
    assert_eq!(declare(&mut world, 1, 200, "north/harbour", 0), id);
    for broker in [0, 1] {
        assert_eq!(world.when(broker, |kind| matches!(kind, EventKind::EmergencyDeclared { .. })), Some(world.now));
        assert_eq!(jobs.iter().map(|job| world.job(broker, *job).level).collect::<Vec<_>>(), [0, 200, 0]);
    }
    let order = order(&mut world);
    assert_eq!(order[1..], [jobs[1], jobs[0], jobs[2]]);
    // The level is frozen in the result.
    let revoke = Command::RevokeEmergency { id };
    assert_eq!(world.command(0, revoke), Ok(Reply::EmergencyRevoked { id }));
    assert_eq!(world.job(1, jobs[1]).level, 0);
}

#[test]
fn revoking_and_expiry_rank_them_back() {
    for revoke in [true, false] {
        let id = first_of_b();
        let (mut world, jobs) = queued([JobSpec::new(b"plain".to_vec()), named(id, "north")]);
        declare(&mut world, 1, 150, "", 600 * SECOND);
        assert_eq!(world.job(0, jobs[1]).level, 150);
        if revoke {
            // Any broker may revoke; the larger revision holds everywhere.
            assert!(world.command(0, Command::RevokeEmergency { id }).is_ok());
            assert_eq!(world.count(1, |kind| matches!(kind, EventKind::EmergencyRevoked { .. })), 1);
        } else {
            world.run_to(602);
            assert_eq!(world.count(0, |kind| matches!(kind, EventKind::EmergencyExpired { .. })), 0);
            world.run_to(603);
            for broker in [0, 1] {
                assert_eq!(world.count(broker, |kind| matches!(kind, EventKind::EmergencyExpired { .. })), 1);
            }
        }
        assert_eq!(world.job(0, jobs[1]).level, 0);
        let order = order(&mut world);
        assert_eq!(order[1..], jobs);
    }
}

#[test]
fn bad_declarations_are_refused() {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    let mut refused = |level, region: &str, lifetime_ms| {
        let command = Command::DeclareEmergency { level, region: region.to_owned(), lifetime_ms };
        world.command(0, command).unwrap_err()
    };
    assert!(matches!(refused(0, "", 0), CommandError::OutOfRange { .. }));
    assert!(matches!(refused(201, "", 0), CommandError::OutOfRange { .. }));
    assert!(matches!(refused(50, &"x".repeat(129), 0), CommandError::OutOfRange { .. }));
    assert!(matches!(refused(50, "", 25 * 3_600 * SECOND), CommandError::OutOfRange { .. }));
    let id = EmergencyId { declared_by: ReplicaId::new(5).unwrap(), number: 1 };
    let unknown = world.command(0, Command::RevokeEmergency { id });
    assert_eq!(unknown, Err(CommandError::UnknownEmergency { id }));

    for _ in 0..10 {
        declare(&mut world, 0, 50, "", 0);
    }
    let command = Command::DeclareEmergency { level: 50, region: String::new(), lifetime_ms: 0 };
    assert_eq!(
        world.command(0, command.clone()),
        Err(CommandError::Busy {
            what: "the number of emergencies declared in a minute".to_owned(),
            retry_after_ms: 60_000
        })
    );
    world.run_to(60);
    assert!(world.command(0, command).is_ok());

    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    world.brokers[0].config.max_emergency_level = 50;
    world.start(0);
    let command = Command::DeclareEmergency { level: 100, region: String::new(), lifetime_ms: 0 };
    assert_eq!(world.command(0, command), Err(CommandError::NotAuthorised));
}
