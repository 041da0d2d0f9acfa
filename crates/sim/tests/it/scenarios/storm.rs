//! Executors that fall silent together: scenario 10.

use reconvene_broker::{EventKind, JobStatus, LossCause, StormEnd, StrategyKind};
use reconvene_executor::JobId;
use reconvene_sim::world::Place;

use super::network::{A, B, Network, job, lost, redeployed, superseded};

fn on(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StormGuardOn { .. })
}

fn off(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StormGuardOff { .. })
}

/// Five executors at A with a job each, of different priority; the first `silent` of them fall silent, the last of them after
/// its heartbeat at 100, the others after those at 95.
fn five(silent: usize) -> (Network, Vec<JobId>) {
    let mut network = Network::new(2, StrategyKind::PriorityBased);
    for _ in 0..5 {
        network.executor(&[A], 3);
    }
    let jobs: Vec<_> =
        (0..5).map(|number| network.submit(A, job(1_000_000, true).with_priority(number * 50))).collect();
    network.begin_when_running(jobs[4]);
    let homes: Vec<_> = jobs.iter().map(|job| network.starts(*job)[0].1).collect();
    for executor in 0..5 {
        assert_eq!(homes.iter().filter(|home| **home == executor).count(), 1, "one on each: {homes:?}");
    }
    // Heartbeats come at 95 and at 100.
    let last = silent - 1;
    network.run_to(97);
    (0..last).for_each(|executor| network.world.pause(Place::Executor(executor)));
    network.run_to_heartbeat(last, 99, 100);
    network.world.pause(Place::Executor(last));
    let of: Vec<_> = (0..5).map(|executor| jobs[homes.iter().position(|home| *home == executor).unwrap()]).collect();
    (network, of)
}

/// Everybody is done at last, with one result each.
fn all_done(network: &mut Network, jobs: &[JobId]) {
    for executor in 0..5 {
        if !network.world.runs(Place::Executor(executor)) {
            network.world.resume(Place::Executor(executor)).unwrap();
        }
    }
    network.run_ms(2_500_000);
    network.equal();
    for id in jobs {
        network.stable(*id);
        let view = network.job(A, *id);
        assert_eq!((view.status, &view), (JobStatus::Completed, &network.job(B, *id)));
    }
    assert_eq!(network.count(superseded), 0);
    network.no_fault();
}

#[test]
fn sim_scenario_10_three_of_five_silent_is_a_storm_until_one_returns() {
    let (mut network, jobs) = five(3);
    network.run_to(200);
    let (at, kind) = network.announced(A).find(|(_, kind)| on(kind)).unwrap();
    assert_eq!((at, kind), (119, &EventKind::StormGuardOn { silent: 3, known: 5, window_ms: 60_000 }));
    assert_eq!(network.count(lost) + network.count(redeployed), 0);
    for broker in [A, B] {
        assert!(jobs.iter().all(|job| network.job(broker, *job).status == JobStatus::Running));
    }
    // Two of five are 40 %.
    network.world.resume(Place::Executor(1)).unwrap();
    network.run_to(300);
    assert_eq!((network.times(A, on).len(), network.times(A, off).len()), (1, 1));
    let (ended, kind) = network.announced(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!(kind, &EventKind::StormGuardOff { cause: StormEnd::SilenceOver });
    assert!((200..=202).contains(&ended), "it registers anew: {ended}");
    let silent = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::Silence, .. });
    assert_eq!((network.times(A, silent), network.times(A, redeployed)), (vec![ended; 2], vec![ended; 2]));
    let runs: Vec<_> = jobs.iter().map(|job| network.starts(*job).len()).collect();
    assert_eq!(runs, [2, 1, 2, 1, 1], "and who returned goes on");
    for job in [jobs[0], jobs[2]] {
        let (at, by, attempt) = network.starts(job)[1];
        assert_eq!((at, attempt), (ended, network.attempt(job, 1, A, 2)));
        assert!(![0, 2].contains(&by), "on one that is heard");
    }
    let statistics = network.statistics(A);
    assert_eq!((statistics.storms, statistics.redeployed, statistics.storm_ms / 1_000), (1, 2, ended as u64 - 119));
    all_done(&mut network, &jobs);
}

#[test]
fn sim_scenario_10_nobody_returns_and_the_hold_ends_the_guard() {
    let (mut network, jobs) = five(3);
    network.run_to(718);
    assert_eq!((network.times(A, on), network.times(A, off)), (vec![119], vec![]));
    assert_eq!(network.count(lost) + network.count(redeployed), 0);
    network.run_to(900);
    let (at, kind) = network.announced(A).find(|(_, kind)| off(kind)).unwrap();
    assert_eq!((at, kind), (719, &EventKind::StormGuardOff { cause: StormEnd::HoldOver }));
    assert_eq!((network.times(A, lost), network.times(A, redeployed)), (vec![719; 3], vec![719; 3]));
    // In the order of their ranks.
    let order = network.announced(A).filter_map(|(_, kind)| match kind {
        EventKind::JobRedeployed { job, .. } => Some(*job),
        _ => None,
    });
    let order: Vec<_> = order.collect();
    let mut ranked = jobs[..3].to_vec();
    ranked.sort_by_key(|job| std::cmp::Reverse(network.job(A, *job).priority));
    assert_eq!(order, ranked);
    assert_eq!((network.times(A, on).len(), network.times(A, off).len()), (1, 1), "their silence has been judged");
    all_done(&mut network, &jobs);
}

#[test]
fn sim_scenario_10_two_of_five_silent_are_lost_as_usual() {
    let (mut network, jobs) = five(2);
    network.run_to(136);
    assert_eq!(network.count(lost), 0);
    network.run_to(200);
    assert_eq!((network.times(A, lost), network.times(A, redeployed)), (vec![137, 142], vec![137, 142]));
    assert_eq!(network.count(on), 0);
    all_done(&mut network, &jobs);
}
