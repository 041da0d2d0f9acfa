//! Which executor a job goes to, and which broker.

use reconvene_broker::{
    AttemptCause, Command, EventKind, ExecutorState, HoldReason, JobStatus, LossCause, Output, OwnCause, Phase,
    StrategyKind, WaitReason,
};
use reconvene_executor::message::{HeldVerdict, Leave, ToBroker};
use reconvene_executor::{JobSpec, Resources, SessionEpoch, Tag};

use crate::world::{SECOND, World, replica};

fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec())
}

fn tagged(tag: &str) -> JobSpec {
    spec().with_tag(Tag::new(tag).unwrap())
}

const ROOM: Resources = Resources::new(8_000, 16_384, 0);

#[test]
fn jobs_go_where_they_fit() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let plain = world.add_executor_with(0, 2, Resources::new(4_000, 4_096, 0), &[]);
    let imaging = world.add_executor_with(0, 2, ROOM, &["medical-imaging", "gpu"]);
    let scan = world.submit_job(0, tagged("medical-imaging"));
    let big = world.submit_job(0, spec().with_demand(Resources::new(6_000, 1_024, 0)));
    let small = world.submit_job(0, spec().with_demand(Resources::new(3_000, 1_024, 0)));
    let full = world.submit_job(0, spec().with_demand(Resources::new(6_000, 1_024, 0)));
    let placed = |world: &World, job| world.starts(job).iter().map(|(_, executor, _)| *executor).collect::<Vec<_>>();
    assert_eq!((placed(&world, scan), placed(&world, big)), (vec![imaging], vec![imaging]));
    assert_eq!((placed(&world, small), placed(&world, full)), (vec![plain], vec![]));
    assert_eq!(world.job(0, full).status, JobStatus::Waiting);
    let attempt = world.starts(big)[0].2;
    world.finish(imaging, 0, attempt, b"done");
    assert_eq!(placed(&world, full), [imaging]);
}

#[test]
fn slots_and_capacity_are_never_exceeded_and_nothing_is_left_over() {
    for strategy in StrategyKind::ALL {
        let mut world = World::new(1, strategy);
        world.add_executor_with(0, 3, ROOM, &["gpu"]);
        world.add_executor_with(0, 2, Resources::new(2_000, 2_048, 0), &[]);
        let jobs: Vec<_> = (0..40_u64)
            .map(|index| {
                let demand = Resources::new(500 * (index % 9), 100 * (index % 5), 0);
                let job = if index % 4 == 0 { tagged("gpu") } else { spec() };
                world.submit_job(0, job.with_demand(demand).with_priority((index * 7 % 256) as u8))
            })
            .collect();
        let mut finished = 0;
        while finished < jobs.len() {
            for executor in 0..2 {
                let running: Vec<_> = world.executors[executor].running.keys().copied().collect();
                assert!(running.len() <= world.executors[executor].slots as usize);
                let demands = running.iter().map(|attempt| jobs.iter().position(|job| *job == attempt.job).unwrap());
                let used: u64 = demands.map(|index| 500 * (index as u64 % 9)).sum();
                assert!(used <= world.executors[executor].capacity.cpu_milli);
            }
            let next = (0..2).find_map(|x| Some((x, *world.executors[x].running.keys().next()?)));
            let (executor, attempt) = next.expect("something runs while something waits");
            world.finish(executor, 0, attempt, b"done");
            finished += 1;
        }
        assert!(jobs.iter().all(|job| world.job(0, *job).status == JobStatus::Completed), "{strategy}");
        assert_eq!(world.coordinator(0).statistics().placed, 40, "no job was started twice");
    }
}

#[test]
fn priorities_and_arrival_decide_who_is_next() {
    let mut world = World::new(1, StrategyKind::PriorityBased);
    let x = world.add_executor(0, 1);
    world.submit_job(0, spec());
    let low = world.submit_job(0, spec().with_priority(1));
    let high = world.submit_job(0, spec().with_priority(255));
    for next in [high, low] {
        let attempt = world.started(x).1;
        world.finish(x, 0, attempt, b"done");
        assert_eq!(world.started(x).1.job, next);
    }
}

#[test]
fn an_executor_that_refuses_is_not_asked_again_at_once() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.executors[x].refusing = true;
    let job = world.submit_job(0, spec());
    world.run_to(5);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Refused));
    world.executors[x].refusing = false;
    world.run_to(46);
    assert_eq!(world.starts(job).len(), 1);
    // A lack of room passes; after the time of a lease it is asked again.
    world.run_to(47);
    let starts = world.starts(job);
    assert_eq!((starts.len(), starts[1].0), (2, 47 * SECOND));
    let statistics = world.coordinator(0).statistics();
    assert_eq!((statistics.refused, statistics.lost, statistics.retried, statistics.redeployed), (1, 0, 0, 0));
    let refused = |kind: &EventKind| matches!(kind, EventKind::AttemptOffered { cause: AttemptCause::Refused, .. });
    assert_eq!(world.count(0, refused), 1);
}

#[test]
fn a_new_session_loses_what_the_old_one_ran_at_once() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    world.run_to(10);
    let old = world.executors[x].session;
    world.executors[x].session = SessionEpoch::new(old.start, old.random + 1);
    world.executors[x].running.clear();
    world.register(x, 0);
    assert_eq!(
        world.when(0, |kind| matches!(kind, EventKind::AttemptLost { cause: LossCause::NewSession, .. })),
        Some(10 * SECOND)
    );
    assert_eq!(world.starts(job)[1].0, 10 * SECOND);
    // An older session is told so, and takes a greater one.
    world.executors[x].session = old;
    world.executors[x].running.clear();
    world.register(x, 0);
    assert!(world.executors[x].session.random > old.random + 1);
}

#[test]
fn an_executor_that_leaves_gives_its_work_back() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    world.run_to(10);
    let y = world.add_executor(0, 1);
    let leave = Leave { session: world.executors[x].session, registration: world.executors[x].registration };
    world.executors[x].alive = false;
    let from = world.executors[x].node;
    world.input(0, reconvene_broker::Input::FromExecutor { from, message: ToBroker::Leave(leave) });
    assert_eq!(world.starts(job)[1], (10 * SECOND, y, world.started(y).1));
    let gone = world.coordinator(0).executors().find(|executor| executor.id == from).unwrap();
    assert_eq!(gone.state, ExecutorState::Gone);
}

#[test]
fn losses_beyond_the_budget_are_delayed_and_never_end_a_job() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    let mut waits = Vec::new();
    for number in 1..=6 {
        let (started, _, attempt) = *world.starts(job).last().unwrap();
        assert_eq!(attempt.number, number);
        world.run_to(started / SECOND + 10);
        // A crash: the executor comes back without the attempt.
        world.executors[x].running.clear();
        world.register(x, 0);
        let lost = world.now;
        while world.starts(job).len() == number as usize {
            world.run_to(world.now / SECOND + 5);
        }
        waits.push((world.starts(job).last().unwrap().0 - lost) / SECOND);
    }
    assert_eq!(waits, [0, 0, 0, 600, 1_200, 2_400]);
    let waiting = |kind: &EventKind| matches!(kind, EventKind::JobQuarantined { reason: HoldReason::LossBudget, .. });
    assert_eq!(world.count(0, waiting), 3);
    let attempt = world.starts(job).last().unwrap().2;
    world.finish(x, 0, attempt, b"done");
    assert_eq!(world.job(0, job).status, JobStatus::Completed);
}

#[test]
fn a_job_nobody_here_can_run_is_handed_to_a_broker_that_can() {
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    world.add_executor(0, 4);
    let gpu = world.add_executor_with(1, 1, ROOM, &["gpu"]);
    let job = world.submit_job(0, tagged("gpu"));
    assert_eq!(world.starts(job), [(0, gpu, world.started(gpu).1)]);
    let view = world.job(2, job);
    assert_eq!((view.owner, view.epoch.0), (replica(2), 2));
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { cause: OwnCause::HandedOver, .. });
    assert_eq!((world.count(1, taken), world.coordinator(0).statistics().handed_over), (1, 1));
    // Nobody can run this one: it waits where it is, until somebody comes who can.
    let nowhere = world.submit_job(0, tagged("lab"));
    world.run_to(100);
    assert_eq!(world.job(0, nowhere).owner, replica(1));
    let stranded = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { reason: WaitReason::NoExecutor, .. });
    assert_eq!(world.count(0, stranded), 2);
    let lab = world.add_executor_with(2, 1, ROOM, &["lab"]);
    assert_eq!(world.starts(nowhere), [(100 * SECOND, lab, world.started(lab).1)]);
}

#[test]
fn a_long_wait_ends_where_there_is_room_and_jobs_are_not_passed_round() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.add_executor(0, 1);
    let there = world.add_executor(1, 2);
    let jobs: Vec<_> = (0..6).map(|_| world.submit_job(0, spec())).collect();
    world.run_to(59);
    assert!(world.executors[there].running.is_empty());
    world.run_to(60);
    assert_eq!(world.executors[there].running.len(), 2);
    // The others stay: there is no more room there than here.
    world.run_to(1_000);
    let owners: Vec<_> = jobs.iter().map(|job| world.job(0, *job).owner).collect();
    assert_eq!(owners.iter().filter(|owner| **owner == replica(2)).count(), 2);
    for broker in [0, 1] {
        assert!(world.coordinator(broker).statistics().handed_over <= 2);
    }
    assert!(jobs.iter().all(|job| world.starts(*job).len() <= 1));
}

#[test]
fn takeovers_go_down_the_line_when_the_first_cannot_act() {
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    let jobs: Vec<_> = (0..8).map(|_| world.submit_job(0, spec())).collect();
    world.run_to(100);
    world.stop(0);
    world.run_to(249);
    assert!(jobs.iter().all(|job| world.job(1, *job).owner == replica(1)));
    world.run_to(250);
    let owners: Vec<_> = jobs.iter().map(|job| world.job(1, *job).owner).collect();
    assert!(owners.contains(&replica(2)) && owners.contains(&replica(3)), "the line differs by job: {owners:?}");
    assert_eq!(world.coordinator(1).statistics().taken_over + world.coordinator(2).statistics().taken_over, 8);

    // Both look at the same line, but the first is cut off just before its turn.
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    let jobs: Vec<_> = (0..8).map(|_| world.submit_job(0, spec())).collect();
    world.run_to(100);
    world.stop(0);
    world.run_to(240);
    world.cut(1, 2);
    world.run_to(250 + 59);
    let at_two = |world: &World| jobs.iter().filter(|job| world.job(1, **job).owner == replica(2)).count();
    assert!(at_two(&world) < jobs.len());
    world.run_to(250 + 60);
    assert_eq!(at_two(&world), jobs.len(), "the second in line acts a step later");
    // When they meet, the greater claim holds on both.
    world.heal(1, 2);
    for job in &jobs {
        assert_eq!(world.job(1, *job).owner, world.job(2, *job).owner);
        assert_eq!(world.job(1, *job).epoch.0, 2);
    }
}

#[test]
fn a_process_that_slept_declares_nobody_lost() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    world.submit_job(1, spec());
    world.run_to(20);
    // Ten minutes in which no deadline was met and no input came in.
    world.now += 600 * SECOND;
    for broker in [0, 1] {
        world.input(broker, reconvene_broker::Input::Tick);
    }
    let start = world.now / SECOND;
    world.run_to(start + 60);
    assert_eq!(world.starts(job).len(), 1);
    let bad = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { .. } | EventKind::OwnerSilent { .. });
    assert_eq!(world.count(0, bad) + world.count(1, bad), 0);
    assert!(world.coordinator(0).statistics().stalled_ms >= 590 * SECOND);
    // It still notices what happens after that.
    world.executors[x].alive = false;
    world.run_to(start + 60 + 50);
    assert_eq!(world.count(0, |kind| matches!(kind, EventKind::AttemptLost { .. })), 1);
}

#[test]
fn a_home_that_restarts_watches_its_executors_anew() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    world.run_to(10);
    world.stop(0);
    world.executors[x].alive = false;
    world.run_to(20);
    world.start(0);
    world.run_to(20 + 41);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Running));
    world.run_to(20 + 42);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Lost));
    // It comes back with the attempt, which lives again.
    world.register(x, 0);
    assert_eq!(world.verdicts.last().unwrap().3, HeldVerdict::Continue);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Running));
}

/// An executor was given up, but not yet what was ordered from it after it was last heard.
#[test]
fn regress_a_home_that_restarts_ends_the_leases_of_who_is_gone() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.run_to(10);
    world.executors[x].alive = false;
    world.run_to(20);
    let job = world.submit_job(0, spec());
    assert_eq!(world.job(0, job).attempts.len(), 1);
    world.run_to(60);
    assert_eq!(world.count(0, |kind| matches!(kind, EventKind::ExecutorGone { .. })), 1);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Offered));
    world.stop(0);
    world.start(0);
    world.run_to(60 + 42);
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Lost));
    world.executors[x].alive = true;
    world.register(x, 0);
    world.run_to(60 + 42 + 90);
    assert_eq!(world.starts(job).len(), 1, "it is placed again, on one that is there");
}

/// While nobody's silence is believed, there is nothing to look at of one that was given up before. A broker that looked all
/// the same would do so for ever, within one call.
#[test]
fn regress_who_is_gone_is_not_looked_at_in_a_storm() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    world.run_to(10);
    world.executors[x].alive = false;
    world.run_to(20);
    let job = world.submit_job(0, spec());
    for _ in 0..4 {
        world.add_executor(0, 1);
    }
    world.run_to(60);
    world.stop(0);
    world.executors.iter_mut().for_each(|executor| executor.alive = false);
    world.start(0);
    world.run_to(60 + 50);
    assert!(world.coordinator(0).is_storm_guard_on());
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Offered));
    world.run_to(60 + 700);
    assert!(!world.coordinator(0).is_storm_guard_on());
    assert_eq!(world.job(0, job).attempts[0].phase, Some(Phase::Lost));
}

#[test]
fn an_order_is_repeated_and_given_up_when_nobody_takes_it() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    // An executor that answers but does nothing about the order.
    for _ in 0..9 {
        world.executors[x].running.clear();
        world.run_to(world.now / SECOND + 4);
        world.executors[x].running.clear();
        world.run_to(world.now / SECOND + 1);
    }
    let orders = world.orders.iter().filter(|(_, _, order)| order.attempt().job == job).count();
    assert!(orders <= 6, "{orders}");
    assert_eq!(world.coordinator(0).statistics().lost, 0);
    world.executors[x].running.clear();
    world.run_to(90);
    assert!(world.starts(job).len() > 1, "it is placed again");
    assert_eq!(world.coordinator(0).statistics().retried, 0);
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    world.add_executor(0, 1);
    let coordinator = world.brokers[0].coordinator.as_mut().unwrap();
    let now = reconvene_broker::Now {
        mono: reconvene_clock::Timestamp::from_millis(1_000),
        wall: reconvene_clock::WallTime::from_millis(1_000_001_000),
    };
    let ticket = reconvene_sync::Ticket(9);
    let command = Command::Submit { spec: spec() };
    coordinator.handle(now, reconvene_broker::Input::Command { ticket, command });
    let Some(Output::Write { ticket: written, writes }) = coordinator.poll_output() else { panic!() };
    assert_eq!(writes.len(), 3, "the policy, the specification and the first attempt in one batch");
    assert_eq!(coordinator.poll_output(), None);
    // The store refuses: the client hears of it, the executor of nothing, and the job does not exist.
    let error = reconvene_store::PlanError::HeightExhausted;
    coordinator.handle(now, reconvene_broker::Input::WriteRefused { ticket: written, error });
    let outputs: Vec<_> = core::iter::from_fn(|| coordinator.poll_output()).collect();
    assert!(
        matches!(&outputs[..], [Output::Reply { reply: Err(reconvene_broker::CommandError::Store { .. }), .. }]),
        "{outputs:?}"
    );
    assert_eq!(coordinator.jobs().count(), 0);
    assert_eq!(coordinator.executors().next().unwrap().running, 0);
}

#[test]
fn an_order_that_never_arrived_does_not_hold_its_job() {
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    // The home places a job, tells only the third broker, and dies before the executor hears of it.
    world.cut(0, 1);
    world.cut(1, 2);
    world.executors[x].alive = false;
    let job = world.submit_job(0, spec());
    assert_eq!(world.job(2, job).status, JobStatus::Dispatched);
    world.stop(0);
    world.run_to(60);
    world.register(x, 1);
    // The second learns of the attempt after its executor had registered there.
    world.run_to(70);
    world.heal(1, 2);
    assert_eq!(world.job(1, job).attempts[0].phase, Some(Phase::Lost));
    world.run_to(300);
    let starts = world.starts(job);
    assert_eq!(starts.len(), 1, "taken over and placed: {starts:?}");
    assert!(world.executors[x].running.contains_key(&starts[0].2));
}

#[test]
fn a_result_that_does_not_count_leaves_its_attempt_to_be_lost() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 1);
    let job = world.submit_job(0, spec());
    world.run_to(10);
    let mut stale = world.result(x, world.started(x).1, b"one");
    stale.spec_digest = reconvene_executor::SpecDigest([7; 32]);
    world.submit(x, 0, stale);
    world.run_to(51);
    assert_eq!(world.starts(job).len(), 1);
    world.run_to(60);
    assert_eq!(world.starts(job).len(), 2);
}

#[test]
fn a_broker_that_left_and_came_back_is_watched_again() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let left = reconvene_broker::Input::PeerLeft { node: world.brokers[0].identity.node };
    let first = world.submit_job(0, spec());
    world.run_to(12);
    world.input(1, left);
    assert_eq!(world.job(1, first).owner, replica(2), "who leaves hands over what is open");
    world.run_to(20);
    let second = world.submit_job(0, spec());
    world.run_to(100);
    assert_eq!(world.job(1, second).owner, replica(1));
    world.stop(0);
    world.run_to(400);
    assert_eq!(world.job(1, second).owner, replica(2));
}

/// It leaves, is back, and leaves again before anybody could have missed it.
#[test]
fn regress_a_broker_that_leaves_twice_hands_over_twice() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let node = world.brokers[0].identity.node;
    for second in [12, 42] {
        world.run_to(second - 12);
        let job = world.submit_job(0, spec());
        world.run_to(second);
        assert_eq!(world.job(1, job).owner, replica(1));
        world.input(1, reconvene_broker::Input::PeerLeft { node });
        assert_eq!(world.job(1, job).owner, replica(2));
    }
}

/// The same when it had fallen silent the first time.
#[test]
fn regress_a_broker_that_was_silent_and_leaves_hands_over_again() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.cut(0, 1);
    world.run_to(400);
    let silent = |kind: &EventKind| matches!(kind, EventKind::OwnerSilent { .. });
    assert_eq!(world.count(1, silent), 1);
    world.heal(0, 1);
    let job = world.submit_job(0, spec());
    world.run_to(412);
    assert_eq!(world.job(1, job).owner, replica(1));
    world.input(1, reconvene_broker::Input::PeerLeft { node: world.brokers[0].identity.node });
    assert_eq!(world.job(1, job).owner, replica(2));
}

/// No order for a job reaches its executor, and the job is cancelled: the slot is free when the lease of the last order is
/// over, be that before or after the next heartbeat.
#[test]
fn regress_the_slot_of_a_lost_order_goes_to_who_waits() {
    for cancelled in 6..70 {
        let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
        let x = world.add_executor(0, 1);
        world.run_to(4);
        let lost = world.submit_job(0, spec());
        let waits = world.submit_job(0, spec());
        for second in 5..=cancelled {
            world.executors[x].running.retain(|attempt, _| attempt.job != lost);
            world.run_to(second);
        }
        world.executors[x].running.retain(|attempt, _| attempt.job != lost);
        assert!(world.command(0, Command::Cancel { job: lost }).is_ok());
        world.run_to(cancelled + 60);
        assert_eq!(world.job(0, waits).status, JobStatus::Running, "cancelled at {cancelled}");
    }
}

#[test]
fn each_order_goes_out_once_for_each_heartbeat() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(0, 8);
    let jobs: Vec<_> = (0..8).map(|_| world.submit_job(0, spec())).collect();
    assert_eq!(world.orders.len(), 8);
    assert!(jobs.iter().all(|job| world.starts(*job).len() == 1));
    // Two of them got lost on the way, and come again with the next answer.
    let lost: Vec<_> = world.executors[x].running.keys().copied().take(2).collect();
    for attempt in &lost {
        world.executors[x].running.remove(attempt);
    }
    world.run_to(9);
    assert_eq!(world.orders.len(), 10);
    assert_eq!(world.executors[x].running.len(), 8);
}
