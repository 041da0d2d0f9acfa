//! What simulated histories found, as short stories.

use reconvene_broker::{EventKind, JobStatus, LossCause, StrategyKind};
use reconvene_executor::{JobSpec, SessionEpoch};

use crate::world::World;

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
