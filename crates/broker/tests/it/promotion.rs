//! No broker left: an executor starts one, which learns what there is from executors.

use reconvene_broker::{Config, EventKind, JobStatus, OwnCause, StrategyKind};
use reconvene_executor::message::RosterRole;
use reconvene_executor::{Answer, Finality, JobSpec};
use reconvene_store::Identity;

use crate::world::{World, node, replica};

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

/// A broker that an executor has started: its own node, a fresh replica, nothing in its store.
fn promote(world: &mut World, number: u8, rank: u32) -> usize {
    let identity = Identity { node: node(number), replica: replica(number.into()), incarnation: 1 };
    let mut config = Config::new(StrategyKind::FirstComeFirstServed);
    config.promoted = Some(rank);
    world.add_broker(identity, config.build().unwrap());
    world.brokers.len() - 1
}

fn work(priority: u8) -> JobSpec {
    JobSpec::new(b"work".to_vec()).with_priority(priority)
}

#[test]
fn the_roster_names_heirs_in_the_same_order_to_all() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let homes = [0, 1, 0];
    let executors = homes.map(|home| world.add_executor(home, 1));
    for executor in &executors[..2] {
        world.executors[*executor].heir = Some(format!("heir-{executor}"));
    }
    for (executor, home) in executors.into_iter().zip(homes) {
        world.register(executor, home);
    }
    world.register(0, 0);
    for executor in [0, 2] {
        let heirs = world.rosters[&executor].iter().filter(|entry| entry.role == RosterRole::Heir);
        let heirs: Vec<_> = heirs.map(|heir| (heir.node, heir.address.as_str())).collect();
        assert_eq!(heirs, [(node(100), "heir-0"), (node(101), "heir-1")]);
    }
}

#[test]
fn a_promoted_broker_learns_the_jobs_from_executors_and_ends_them() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let [runs, has_run, idle] = [0, 0, 0].map(|home| world.add_executor(home, 1));
    let (first, second) = (world.submit_job(0, work(9)), world.submit_job(0, work(8)));
    let (attempt, ended) = (world.started(runs).1, world.started(has_run).1);
    assert_eq!((attempt.job, ended.job), (first, second));
    let never_placed = world.submit_job(0, JobSpec::new(vec![1]).with_tag("nobody".parse().unwrap()));
    let spec = world.job(0, first).spec;
    world.run_to(10);
    world.stop(0);

    world.run_to(200);
    let broker = promote(&mut world, 60, 2);
    assert_eq!(world.count(broker, |kind| *kind == EventKind::BrokerPromoted { rank: 2 }), 1);
    for executor in [runs, has_run, idle] {
        world.register(executor, broker);
    }
    let parked = world.finish(has_run, broker, ended, b"out");
    assert!(matches!(parked, Answer::Parked { .. }), "{parked:?}");
    // Sync would have brought the jobs by then, if there were anybody.
    world.run_to(325);
    let view = world.job(broker, first);
    assert_eq!((view.status, view.priority, view.spec), (JobStatus::Running, 9, spec));
    assert_eq!(world.job(broker, second).status, JobStatus::Completed);
    assert_eq!(world.answers.last().unwrap().3, ACCEPTED);
    assert!(world.coordinator(broker).job(never_placed).is_none(), "nobody is left who knows of it");
    assert_eq!(world.coordinator(broker).statistics().recovered, 2);

    // The owner is silent here too, and after the usual time the job is taken over; its attempt goes on.
    world.run_to(600);
    let view = world.job(broker, first);
    assert_eq!((view.owner, view.epoch.0, view.status), (replica(60), 2, JobStatus::Running));
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. });
    assert_eq!(world.count(broker, taken), 1);
    assert_eq!(world.finish(runs, broker, attempt, b"out"), ACCEPTED);
    assert_eq!(world.starts(first).len(), 1, "nothing was run twice");
}

#[test]
fn promoted_brokers_sync_like_any_two_and_stay_when_others_return() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let executors = [0, 0].map(|home| world.add_executor(home, 1));
    let jobs = [world.submit_job(0, work(9)), world.submit_job(0, work(8))];
    let attempts = executors.map(|executor| world.started(executor).1);
    world.run_to(10);
    world.stop(0);
    world.run_to(200);
    let promoted = [(60, 0), (61, 1)].map(|(number, rank)| promote(&mut world, number, rank));
    world.cut(promoted[0], promoted[1]);
    for (executor, broker) in executors.into_iter().zip(promoted) {
        world.register(executor, broker);
    }
    // One job is recovered by both: its executor moves.
    world.run_to(330);
    world.register(executors[0], promoted[1]);
    world.run_to(460);
    for (broker, recovered) in promoted.into_iter().zip([1, 2]) {
        assert_eq!(world.coordinator(broker).statistics().recovered, recovered);
    }
    world.heal(promoted[0], promoted[1]);
    for (executor, attempt) in executors.into_iter().zip(attempts) {
        assert_eq!(world.finish(executor, promoted[1], attempt, b"out"), ACCEPTED);
    }

    // The first broker is back with its files: the same jobs, the same results, no fault anywhere.
    world.start(0);
    for broker in promoted {
        world.exchange(0, broker);
    }
    for broker in [0, promoted[0], promoted[1]] {
        for job in jobs {
            let (one, other) = (world.job(broker, job), world.job(promoted[0], job));
            assert_eq!(one.status, JobStatus::Completed);
            assert_eq!((one.submitted, one.spec, one.result), (other.submitted, other.spec, other.result));
        }
        assert_eq!(world.coordinator(broker).statistics().fact_faults, 0, "a copy says what the fact says");
    }
}
