//! Placement elsewhere: requests for room between brokers, and scenario 6.

use reconvene_broker::{
    EventKind, JobStatus, OwnCause, PeerMessage, Phase, PlaceRefusal, PlaceVerdict, PreemptionRefusal, StrategyKind,
    WaitReason,
};
use reconvene_executor::message::{Order, StopReason};
use reconvene_executor::{JobId, JobSpec, OwnershipEpoch};

use crate::preemption::{declare, preempted, refusals, routine, urgent};
use crate::world::{SECOND, World, replica};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn requests(world: &World) -> Vec<(u64, usize)> {
    let said = world.said.iter().filter(|(_, _, message)| matches!(message, PeerMessage::PlaceRequest(_)));
    said.map(|(at, from, _)| (*at, *from)).collect()
}

fn verdicts(world: &World) -> Vec<(u64, usize, PlaceVerdict)> {
    let verdict = |(at, from, message): &(u64, usize, PeerMessage)| match message {
        PeerMessage::PlaceAnswer(answer) => Some((*at, *from, answer.verdict)),
        PeerMessage::PlaceRequest(_) => None,
    };
    world.said.iter().filter_map(verdict).collect()
}

fn reserved(world: &World) -> usize {
    verdicts(world).iter().filter(|(_, _, verdict)| matches!(verdict, PlaceVerdict::Reserved { .. })).count()
}

/// A is full with life safety work; B runs a routine job on Z, begun so that it has run for `ran` seconds when A asks B
/// for room for another life safety job, which came to A 60 s before.
fn scenario_06(ran: u64) -> (World, [usize; 2], JobId, JobId) {
    let mut world = World::new(2, StrategyKind::EmergencyFirst);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 1);
    let emergency = declare(&mut world, A, 200, "north");
    world.submit_job(A, urgent(emergency));
    let begun = 100 - ran;
    world.run_to(begun.min(40));
    let early = (begun < 40).then(|| world.submit_job(B, routine()));
    world.run_to(40);
    let job = world.submit_job(A, urgent(emergency));
    world.run_to(begun.max(40));
    let victim = early.unwrap_or_else(|| world.submit_job(B, routine()));
    world.run_to(99);
    assert!(world.said.is_empty(), "it waits for room at A first");
    (world, [x, z], victim, job)
}

#[test]
fn scenario_06_an_emergency_gets_room_at_another_broker() {
    let (mut world, [_, z], victim, job) = scenario_06(80);
    let stamp = world.job(B, victim).submitted;
    assert_eq!(refusals(&world, A, job), [PreemptionRefusal::NotLowerTier]);
    world.run_to(100);
    // A asks, B keeps a place, A names B as the owner, and only then is anybody stopped.
    assert_eq!(requests(&world), [(100 * SECOND, A)]);
    assert_eq!(verdicts(&world), [(100 * SECOND, B, PlaceVerdict::Reserved { for_ms: 60 * SECOND })]);
    let view = world.job(B, job);
    assert_eq!((view.owner, view.epoch), (replica(2), OwnershipEpoch(2)));
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { job: taken, cause: OwnCause::HandedOver, .. } if *taken == job);
    assert_eq!(world.when(B, taken), Some(100 * SECOND));
    assert!(world.starts(job).is_empty());
    world.run_to(129);
    assert_eq!(world.job(B, victim).status, JobStatus::Running);
    world.run_to(130);
    assert_eq!(preempted(&world, B), [(130 * SECOND, victim, job)]);
    let starts = world.starts(job);
    assert_eq!(starts.iter().map(|(at, executor, _)| (*at, *executor)).collect::<Vec<_>>(), [(130 * SECOND, z)]);
    for broker in [A, B] {
        let view = world.job(broker, victim);
        assert_eq!((view.status, view.submitted, view.preempted), (JobStatus::Redeploying, stamp, 1));
        assert_eq!(view.attempts[0].phase, Some(Phase::Preempted));
        assert_eq!(world.job(broker, job).status, JobStatus::Running);
    }
    assert_eq!(world.coordinator(A).statistics().handed_over, 1);
    assert_eq!(world.coordinator(B).statistics().preempted, 1);
    assert_eq!(world.coordinator(B).statistics().reservations_lapsed, 0);
}

#[test]
fn scenario_06_nobody_is_stopped_who_ran_40_s() {
    let (mut world, _, victim, job) = scenario_06(40);
    world.run_to(100);
    let why = PlaceRefusal::Preemption(PreemptionRefusal::MinRun);
    assert_eq!(verdicts(&world), [(100 * SECOND, B, PlaceVerdict::Refused(why))]);
    assert_eq!(refusals(&world, B, job), [PreemptionRefusal::MinRun]);
    let told = |kind: &EventKind| matches!(kind, EventKind::PlaceRefused { job: refused, reason, .. } if *refused == job && *reason == why);
    assert_eq!(world.when(A, told), Some(100 * SECOND));
    let waits = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { job: waiting, reason: WaitReason::Capacity } if *waiting == job);
    assert_eq!(world.count(A, waits), 1);
    let view = world.job(A, job);
    assert_eq!((view.status, view.owner, view.epoch), (JobStatus::Waiting, replica(1), OwnershipEpoch(1)));
    world.run_to(159);
    assert_eq!((preempted(&world, B).len(), world.job(B, victim).status), (0, JobStatus::Running));
    assert_eq!(world.coordinator(B).statistics().preemptions_refused.min_run, 1);
    // Asked again after another 60 s, it has run for long enough.
    world.run_to(190);
    assert_eq!((preempted(&world, B).len(), world.starts(job).len()), (1, 1));
}

/// A has no executor at all; B has one that is idle.
fn stranded() -> (World, JobId) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.add_executor(B, 1);
    let job = world.submit_job(A, JobSpec::new(b"stranded".to_vec()));
    (world, job)
}

#[test]
fn a_job_that_nobody_here_can_run_is_asked_for_at_once() {
    let (world, job) = stranded();
    assert_eq!((requests(&world), reserved(&world)), (vec![(0, A)], 1));
    assert_eq!(world.starts(job).len(), 1);
    assert_eq!(world.job(A, job).owner, replica(2));
}

#[test]
fn a_full_broker_takes_a_stranded_job_and_queues_it() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.add_executor(B, 1);
    world.submit_job(B, JobSpec::new(b"first".to_vec()));
    let job = world.submit_job(A, JobSpec::new(b"stranded".to_vec()));
    assert_eq!(verdicts(&world), [(0, B, PlaceVerdict::Refused(PlaceRefusal::Busy))]);
    assert_eq!((world.job(B, job).owner, world.starts(job).len()), (replica(2), 0));
    let (_, attempt) = world.started(0);
    world.finish(0, B, attempt, b"done");
    assert_eq!(world.starts(job).len(), 1);
}

#[test]
fn who_can_run_a_job_when_idle_keeps_it_while_others_are_full() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    for broker in [A, B] {
        world.add_executor(broker, 1);
        world.submit_job(broker, JobSpec::new(b"first".to_vec()));
    }
    let job = world.submit_job(A, JobSpec::new(b"second".to_vec()));
    world.run_to(300);
    assert_eq!((world.job(A, job).owner, requests(&world).len()), (replica(1), 0));
    // B has room at last, and A asks for it.
    let (_, attempt) = world.started(1);
    world.finish(1, B, attempt, b"done");
    world.run_to(361);
    assert_eq!((world.job(A, job).owner, reserved(&world), world.starts(job).len()), (replica(2), 1, 1));
}

#[test]
fn a_lost_request_and_a_lost_answer_delay_a_job_and_no_more() {
    for lost in 1..=2 {
        let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
        world.add_executor(B, 1);
        world.add_executor(C, 1);
        // The request, or its answer: `lose_next` counts from the next message on.
        world.lose_next = lost;
        if lost == 2 {
            world.lose_next = 0;
        }
        let first = world.submit_job(A, JobSpec::new(b"stranded".to_vec()));
        if lost == 1 {
            assert!(world.starts(first).is_empty());
            world.run_to(5);
        }
        assert_eq!(world.starts(first).len(), 1);
        world.run_to(200);
        assert_eq!(world.starts(first).len(), 1);
    }
}

#[test]
fn a_place_that_nobody_comes_for_lapses() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.add_executor(A, 1);
    world.add_executor(B, 1);
    world.submit_job(A, JobSpec::new(b"first".to_vec()));
    let second = world.submit_job(A, JobSpec::new(b"second".to_vec()));
    world.run_to(59);
    // B hears the request, and A never hears the answer.
    world.lose_answers = true;
    world.run_to(61);
    assert_eq!((reserved(&world), world.starts(second).len()), (1, 0));
    world.cut(A, B);
    let mine = world.submit_job(B, JobSpec::new(b"of B".to_vec()));
    world.run_to(119);
    assert!(world.starts(mine).is_empty(), "the place is kept");
    world.run_to(120);
    assert_eq!(world.starts(mine).len(), 1);
    assert_eq!(world.coordinator(B).statistics().reservations_lapsed, 1);
    assert!(world.starts(second).is_empty(), "nothing starts without a fact");
}

#[test]
fn a_fact_that_comes_when_the_place_has_lapsed_still_moves_the_job() {
    let (mut world, _, victim, job) = scenario_06(80);
    world.hold_facts = true;
    world.run_to(100);
    assert_eq!((reserved(&world), world.job(A, job).owner, world.job(B, job).owner), (1, replica(2), replica(1)));
    world.run_to(161);
    assert_eq!(world.coordinator(B).statistics().reservations_lapsed, 1);
    assert!(preempted(&world, B).is_empty(), "nobody is stopped before the fact is there");
    world.hold_facts = false;
    world.exchange(A, B);
    assert_eq!(world.job(B, job).owner, replica(2));
    // B owns it, and plans for it as for any other.
    let drains = world.orders.iter().filter(|(_, _, order)| {
        matches!(order, Order::Stop { attempt, reason: StopReason::Preempted, .. } if attempt.job == victim)
    });
    assert_eq!(drains.count(), 1);
    world.run_to(200);
    assert_eq!((preempted(&world, B).len(), world.starts(job).len()), (1, 1));
}

#[test]
fn only_the_owner_gets_a_place() {
    let (mut world, [_, _], _, job) = scenario_06(80);
    world.run_to(100);
    let Some((_, _, PeerMessage::PlaceRequest(request))) = world.said.first().cloned() else { panic!() };
    let refused = PlaceVerdict::Refused(PlaceRefusal::NotOwner);
    // The epoch has passed; and nobody may ask in the name of another.
    let mut world_at = world.said.len();
    let from = world.brokers[A].identity.node;
    let message = PeerMessage::PlaceRequest(request.clone());
    world.input(B, reconvene_broker::Input::FromPeer { from, message });
    assert_eq!(verdicts(&world).last(), Some(&(100 * SECOND, B, refused)));
    assert!(world.said.len() > world_at);
    world_at = world.said.len();
    let request = reconvene_broker::PlaceRequest { epoch: OwnershipEpoch(2), ..request };
    world.input(B, reconvene_broker::Input::FromPeer { from, message: PeerMessage::PlaceRequest(request) });
    assert_eq!(verdicts(&world).last(), Some(&(100 * SECOND, B, refused)));
    assert!(world.said.len() > world_at);
    assert_eq!(world.job(B, job).owner, replica(2));
}
