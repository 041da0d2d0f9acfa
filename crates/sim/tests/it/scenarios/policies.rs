//! Emergencies and policies across brokers: scenarios 6 and 7.

use reconvene_broker::{
    Command, EventKind, JobStatus, OwnCause, Phase, PlaceRefusal, Policy, PreemptionRefusal, Reply, StrategyKind,
    WaitReason,
};
use reconvene_executor::{self as executor, EmergencyId, JobId, JobSpec, OwnershipEpoch};
use reconvene_resolve::PolicyEpoch;
use reconvene_sim::world::Place;

use super::network::{A, ACCEPTED, B, C, Network, job, superseded};

const LIFE_SAFETY: u8 = 200;

fn routine(run_ms: u64) -> JobSpec {
    job(run_ms, true).with_region("north")
}

fn declare(network: &mut Network) -> EmergencyId {
    let command = Command::DeclareEmergency { level: LIFE_SAFETY, region: "north".to_owned(), lifetime_ms: 0 };
    match network.command(A, command) {
        Reply::EmergencyDeclared { id } => id,
        other => panic!("{other:?}"),
    }
}

/// A is full with life safety work. At 100 another job of that kind comes to A, which asks B for room at 160; Routine r has
/// run on Z for `ran` seconds then.
fn full(ran: u64) -> (Network, [usize; 2], [JobId; 2]) {
    let mut network = Network::new(3, StrategyKind::EmergencyFirst);
    let (x, z) = (network.executor(&[A], 1), network.executor(&[B], 1));
    let emergency = declare(&mut network);
    let before = network.submit(A, routine(1_000_000).with_emergency(emergency));
    network.begin_when_running(before);
    let early = (ran > 60).then(|| {
        network.run_to(160 - ran);
        network.submit(B, routine(200_000))
    });
    network.run_to(100);
    let urgent = network.submit(A, routine(50_000).with_emergency(emergency));
    let victim = early.unwrap_or_else(|| {
        network.run_to(160 - ran);
        network.submit(B, routine(200_000))
    });
    network.run_to(159);
    assert_eq!(network.starts(victim), [(160 - ran as i64, z, network.attempt(victim, 1, B, 1))]);
    assert_eq!(network.statistics(A).places_asked, 0, "it waits for room at A first");
    (network, [x, z], [victim, urgent])
}

fn refused(network: &Network, broker: usize, id: JobId) -> Vec<(i64, PreemptionRefusal)> {
    let refusals = network.announced(broker).filter_map(|(at, kind)| match kind {
        EventKind::PreemptionRefused { job, reason } if *job == id => Some((at, *reason)),
        _ => None,
    });
    refusals.collect()
}

fn preempted(network: &Network, broker: usize) -> Vec<(i64, JobId, JobId)> {
    let preempted = network.announced(broker).filter_map(|(at, kind)| match kind {
        EventKind::JobPreempted { job, by, .. } => Some((at, *job, *by)),
        _ => None,
    });
    preempted.collect()
}

/// Everybody is done at last, everywhere alike, with one result each.
fn all_done(network: &mut Network, jobs: &[JobId]) {
    network.run_to(1_300);
    network.equal();
    for id in jobs {
        network.stable(*id);
        let view = network.job(A, *id);
        let accepted = view.submissions.iter().filter(|submission| submission.accepted).count();
        assert_eq!((view.status, accepted, network.count(superseded)), (JobStatus::Completed, 1, 0));
        for broker in [B, C] {
            assert_eq!(network.job(broker, *id), view);
        }
    }
    network.no_fault();
}

#[test]
fn sim_scenario_06_an_emergency_gets_room_at_another_broker() {
    let (mut network, [_, z], [victim, urgent]) = full(80);
    let (stamp, first) = (network.job(B, victim).submitted, network.attempt(victim, 1, B, 1));
    assert_eq!(refused(&network, A, urgent), [(100, PreemptionRefusal::NotLowerTier)]);
    // A asks, B keeps a place, A names B as the owner, and only then is anybody stopped.
    network.run_to(161);
    let asked = [A, B].map(|broker| {
        let counts = network.statistics(broker);
        (counts.places_asked, counts.places_kept, counts.handed_over)
    });
    assert_eq!(asked, [(1, 0, 1), (0, 1, 0)]);
    let taken = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { job, epoch: OwnershipEpoch(2), cause: OwnCause::HandedOver, .. } if *job == urgent);
    assert_eq!((network.times(B, taken), network.job(B, urgent).owner), (vec![160], network.replica(B)));
    let drained = |event: &executor::Event| matches!(event, executor::Event::AttemptDrains { attempt, drain_ms, .. } if *attempt == first && *drain_ms <= 30_000);
    assert_eq!((network.reported(z, drained), network.starts(urgent).len()), (vec![160], 0));
    network.run_to(189);
    assert_eq!(network.job(B, victim).status, JobStatus::Running);
    network.run_to(200);
    assert_eq!(preempted(&network, B), [(190, victim, urgent)]);
    assert_eq!(network.starts(urgent), [(190, z, network.attempt(urgent, 2, B, 1))]);
    for broker in [A, B, C] {
        let view = network.job(broker, victim);
        assert_eq!((view.status, view.submitted, view.preempted), (JobStatus::Redeploying, stamp, 1));
        assert_eq!(view.attempts[0].phase, Some(Phase::Preempted));
        assert_eq!(network.job(broker, urgent).status, JobStatus::Running);
    }
    // It goes on where the other has ended.
    all_done(&mut network, &[victim, urgent]);
    let second = network.attempt(victim, 1, B, 2);
    assert_eq!(network.starts(victim)[1..], [(240, z, second)]);
    assert_eq!(network.ends(victim), [(190, z, false), (440, z, true)]);
    let counts = network.statistics(B);
    assert_eq!((counts.preempted, counts.redeployed, counts.reservations_lapsed), (1, 0, 0));
}

#[test]
fn sim_scenario_06_nobody_is_stopped_who_ran_40_s() {
    let (mut network, [_, z], [victim, urgent]) = full(40);
    network.run_to(200);
    assert_eq!(refused(&network, B, urgent), [(160, PreemptionRefusal::MinRun)]);
    let why = PlaceRefusal::Preemption(PreemptionRefusal::MinRun);
    let told = |kind: &EventKind| matches!(kind, EventKind::PlaceRefused { job, reason, .. } if *job == urgent && *reason == why);
    assert_eq!(network.times(A, told), [160]);
    let waits = |kind: &EventKind| matches!(kind, EventKind::JobWaiting { job, reason: WaitReason::Capacity } if *job == urgent);
    assert_eq!(network.times(A, waits), [100]);
    let view = network.job(A, urgent);
    assert_eq!((view.status, view.owner, view.epoch), (JobStatus::Waiting, network.replica(A), OwnershipEpoch(1)));
    assert_eq!((preempted(&network, B), network.statistics(B).preemptions_refused.min_run), (vec![], 1));
    // Asked again after another 60 s, it has run for long enough.
    network.run_to(400);
    assert_eq!(preempted(&network, B), [(250, victim, urgent)]);
    assert_eq!(network.starts(urgent), [(250, z, network.attempt(urgent, 2, B, 1))]);
    all_done(&mut network, &[victim, urgent]);
}

#[test]
fn sim_scenario_07_a_switch_during_a_partition() {
    let mut network = Network::new(2, StrategyKind::FirstComeFirstServed);
    let (x, z) = (network.executor(&[A], 3), network.executor(&[B], 3));
    network.set_traits(x, 100, Some(9_000));
    network.set_traits(z, 17, Some(9_500));
    let set = |network: &mut Network, broker, policy: &Policy, issuer_rank| {
        let command = Command::SetPolicy { canonical: policy.canonical_bytes(), issuer_rank };
        match network.command(broker, command) {
            Reply::PolicySet { choice } => choice.epoch,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(set(&mut network, A, &Policy::first_come_first_served(), 0), PolicyEpoch(1));
    network.run_ms(1_000);
    let first = network.submit(A, job(401_300, true));
    network.begin_when_running(first);
    let side = [Place::Broker(A), Place::Executor(x)];
    network.cut(&side);
    // The operators do not see each other.
    assert_eq!(set(&mut network, A, &Policy::of(StrategyKind::PriorityBased), 1), PolicyEpoch(2));
    assert_eq!(set(&mut network, B, &Policy::emergency_first(), 2), PolicyEpoch(2));
    network.run_to(60);
    let second = network.submit(A, job(340_300, true));
    network.run_to(100);
    assert!(network.known(B, second).is_none());
    network.heal(&side);
    network.run_to(199);
    network.equal();
    // Once more, for so long that both sides come to a result of both jobs, and the later one is the better.
    let last = network.submit(A, job(5_000, true));
    network.begin_when_running(last);
    network.cut(&side);
    network.run_to(300);
    for (id, [began, ended]) in [(first, [-201, 260]), (second, [-140, 250])] {
        let attempts = [network.attempt(id, 1, A, 1), network.attempt(id, 2, B, 1)];
        assert_eq!(network.starts(id), [(began, x, attempts[0]), (192, z, attempts[1])]);
        assert_eq!(network.answers(id), [(200, x, ACCEPTED), (ended, z, ACCEPTED)]);
    }
    network.heal(&side);
    network.equal();
    let emergency = (Policy::emergency_first().id(), PolicyEpoch(2));
    for broker in [A, B] {
        let switches = network.announced(broker).filter_map(|(_, kind)| match kind {
            EventKind::PolicySwitched { to, epoch, .. } => Some((*to, *epoch)),
            _ => None,
        });
        assert_eq!(switches.last(), Some(emergency), "of equal epochs the greater rank");
        let policy = network.world.broker(broker).unwrap().coordinator().policy();
        assert_eq!(policy, &Policy::emergency_first());
    }
    // Each by the policy under which it was admitted: the first of two, the better of two; and of the last job, which both
    // sides ran too, the one that was accepted first, for there is no emergency.
    let [of_a, of_b] = [A, B].map(|broker| move |number| (broker, number));
    for (id, strategy, loser, winner) in [
        (first, StrategyKind::FirstComeFirstServed, of_b(3), of_a(3)),
        (second, StrategyKind::PriorityBased, of_a(2), of_b(2)),
        (last, StrategyKind::EmergencyFirst, of_b(1), of_a(1)),
    ] {
        let [old, new] = [loser, winner].map(|(broker, number)| network.submission(broker, number));
        for broker in [A, B] {
            let view = network.job(broker, id);
            assert_eq!((view.strategy, view.submissions.len()), (Some(strategy), 2));
            assert_eq!(view.result.unwrap().submission, new);
        }
        // Whoever told the other one says so, once.
        let notices: Vec<_> = network.superseded(id).collect();
        assert_eq!(notices, [(loser.0, old, new)]);
        network.stable(id);
        assert_eq!(network.job(A, id), network.job(B, id));
        assert_eq!(network.superseded(id).count(), 1);
    }
    network.no_fault();
}
