//! Brokers that lose each other, die, and come back: scenarios 1, 3, 4 and 5.

use reconvene_broker::{Command, Config, EventKind, JobStatus, OwnCause, Phase, Reply, StrategyKind};
use reconvene_executor::{Finality, JobId, OwnershipEpoch};
use reconvene_sim::world::Place;

use super::network::{A, ACCEPTED, B, Network, confirmed, job, redeployed, superseded};

const FIRST: StrategyKind = StrategyKind::FirstComeFirstServed;

fn taken(kind: &EventKind) -> bool {
    matches!(kind, EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. })
}

/// J runs on X at A when the two brokers are cut from each other; B takes it over and runs it on Z. Both sides accept a
/// result before the cut heals at 300.
fn two_sides(varies: bool) -> (Network, JobId, Place) {
    let mut network = Network::new(2, FIRST);
    let (x, z) = (network.executor(&[A], 1), network.executor(&[B], 1));
    // 200 s on X, 68 on Z.
    network.set_traits(z, 34, None);
    let id = network.submit(A, job(200_200, varies));
    network.begin_when_running(id);
    let side = [Place::Broker(A), Place::Executor(x)];
    network.cut(&side);
    network.run_to(300);
    assert_eq!(network.times(B, taken), [150]);
    let (first, second) = (network.attempt(id, 1, A, 1), network.attempt(id, 2, B, 1));
    assert_eq!(network.starts(id), [(-1, x, first), (192, z, second)]);
    assert_eq!(network.answers(id), [(200, x, ACCEPTED), (260, z, ACCEPTED)]);
    for broker in [A, B] {
        let result = network.job(broker, id).result.unwrap();
        assert_eq!((result.submission, result.finality), (network.submission(broker, 1), Finality::Provisional));
    }
    assert_eq!(network.count(redeployed), 1, "B has placed it again");
    network.heal(&side);
    (network, id, side[0])
}

#[test]
fn sim_scenario_01_two_accepted_results() {
    let (mut network, id, a) = two_sides(true);
    network.equal();
    let (canonical, loser) = (network.submission(A, 1), network.submission(B, 1));
    for broker in [A, B] {
        let view = network.job(broker, id);
        let kept: Vec<_> = view.submissions.iter().map(|submission| (submission.id, submission.accepted)).collect();
        assert_eq!(kept.len(), 2);
        assert!(kept.contains(&(canonical, true)) && kept.contains(&(loser, true)), "{kept:?}");
        let digest = view.submissions.iter().find(|submission| submission.id == canonical).unwrap().digest;
        let result = view.result.unwrap();
        assert_eq!((view.status, view.owner), (JobStatus::Completed, network.replica(B)));
        assert_eq!((result.submission, result.digest, result.agreement), (canonical, digest, 1), "200 < 260");
    }
    assert_eq!(network.superseded(id).collect::<Vec<_>>(), [(B, loser, canonical)]);
    network.stable(id);
    // One exchange brings the results, and one more what each knows of the other's: 72 s at most for each.
    assert!(network.now_s() <= 300 + 2 * 72, "stable at {}", network.now_s());
    // A repeated heal reports nothing.
    let side = [a, Place::Executor(0)];
    network.cut(&side);
    network.run_ms(100_000);
    network.heal(&side);
    network.run_ms(300_000);
    network.equal();
    assert_eq!((network.times(A, superseded).len(), network.times(B, superseded).len()), (0, 1));
    assert_eq!((network.statistics(A).superseded, network.statistics(B).superseded), (0, 1));
    assert_eq!(network.count(confirmed), 0);
    assert_eq!((network.job(A, id), network.starts(id).len()), (network.job(B, id), 2));
    network.no_fault();
}

#[test]
fn sim_scenario_01_equal_digests_are_confirmed() {
    let (mut network, id, _) = two_sides(false);
    network.equal();
    network.stable(id);
    let notices: Vec<_> = network.announced(B).filter(|(_, kind)| confirmed(kind)).collect();
    let (old, new) = (network.submission(B, 1), network.submission(A, 1));
    assert!(
        matches!(notices[..], [(_, EventKind::ResultConfirmed { job, old: was, new: is, agreement: 2 })]
            if (*job, *was, *is) == (id, old, new)),
        "{notices:?}"
    );
    assert_eq!((network.count(superseded), network.count(confirmed)), (0, 1));
    assert_eq!(network.job(A, id), network.job(B, id));
    assert_eq!(network.job(B, id).result.unwrap().agreement, 2);
}

#[test]
fn sim_scenario_03_orphans_are_adopted() {
    let mut network = Network::new(2, FIRST);
    let (x, _z) = (network.executor(&[A, B], 1), network.executor(&[B], 1));
    let id = network.submit(A, job(155_200, true));
    network.begin_when_running(id);
    network.world.stop_broker(A);
    let first = network.attempt(id, 1, A, 1);
    network.run_to(59);
    assert_eq!(network.home(x), Some(A), "it may come back");
    network.run_to(63);
    assert_eq!(network.home(x), Some(B));
    let adopted = |kind: &EventKind| matches!(kind, EventKind::ExecutorAdopted { .. });
    assert_eq!(network.times(B, adopted), [60]);
    assert!(network.world.executor(x).unwrap().is_leased(first), "it was told to continue");
    network.run_to(149);
    assert_eq!(network.job(B, id).epoch, OwnershipEpoch(1));
    network.run_to(1_000);
    assert_eq!(network.times(B, taken), [150]);
    assert_eq!(network.starts(id), [(-1, x, first)]);
    assert_eq!(network.answers(id), [(155, x, ACCEPTED)]);
    let view = network.job(B, id);
    let attempts: Vec<_> = view.attempts.iter().map(|attempt| (attempt.id, attempt.phase)).collect();
    assert_eq!((view.status, attempts), (JobStatus::Completed, vec![(first, Some(Phase::Finished))]));
    assert_eq!((view.owner, view.epoch), (network.replica(B), OwnershipEpoch(2)));
    assert_eq!(view.result.unwrap().submission, network.submission(B, 1));
    assert_eq!((network.statistics(B).placed, network.statistics(B).redeployed), (0, 0));
    // Who returns hears the same.
    network.world.start_broker(A).unwrap();
    network.run_ms(200_000);
    network.equal();
    network.stable(id);
    assert_eq!(network.job(A, id), network.job(B, id));
    assert_eq!((network.starts(id).len(), network.count(superseded)), (1, 0));
    network.no_fault();
}

#[test]
fn sim_scenario_04_a_broker_returns_after_the_timeout() {
    let mut network = Network::new(2, FIRST);
    let (x, z) = (network.executor(&[A], 1), network.executor(&[B], 1));
    let id = network.submit(A, job(200_000, true));
    network.begin_when_running(id);
    network.world.stop_broker(A);
    network.world.stop_executor(x);
    network.run_to(191);
    assert_eq!((network.times(B, taken), network.starts(id).len()), (vec![150], 1));
    let before = network.replica(A);
    network.run_to(200);
    let again = network.attempt(id, 2, B, 1);
    assert_eq!(network.starts(id)[1], (192, z, again));
    network.world.start_broker(A).unwrap();
    assert_eq!(network.replica(A), before, "its log proves its last write");
    let at_first = network.job(A, id);
    assert_eq!((at_first.owner, at_first.epoch), (before, OwnershipEpoch(1)), "it believes what it knew");
    // One that is idle is there for what it would start.
    let fresh = network.executor(&[A], 4);
    network.run_to(300);
    let yielded = |kind: &EventKind| matches!(kind, EventKind::OwnershipYielded { job, epoch: OwnershipEpoch(2), cause: OwnCause::TakenOver, .. } if *job == id);
    assert_eq!(network.times(A, yielded).len(), 1);
    assert_eq!(network.job(A, id), network.job(B, id), "clients are told the same");
    network.run_to(500);
    assert_eq!(network.answers(id), [(392, z, ACCEPTED)]);
    assert_eq!(network.starts(id).len(), 2, "nothing of it runs on {fresh}");
    assert_eq!(network.statistics(A).placed, 0);
    network.equal();
    network.stable(id);
    assert_eq!(network.job(A, id), network.job(B, id));
    let view = network.job(A, id);
    assert_eq!((view.result.unwrap().submission, network.count(superseded)), (network.submission(B, 1), 0));
    network.no_fault();
}

/// A goes back to a copy of before much had happened: a job was cancelled, one had ended and was forgotten, one was new.
#[test]
fn sim_scenario_05_a_restored_backup() {
    let mut lifecycle = Config::new(FIRST);
    lifecycle.keep_results_ms = 200_000;
    let mut network = Network::with(2, lifecycle);
    let x = network.executor(&[A], 1);
    let old = network.submit(A, job(100_000, true));
    let nobody = || job(100_000, true).with_tag("nobody-has-this".parse().unwrap());
    let [waiting, recent] = [0, 1].map(|_| network.submit(A, nobody()));
    network.run_ms(80_000);
    network.world.back_up(A);
    network.begin(0);
    let cancelled = network.command(A, Command::Cancel { job: waiting });
    assert_eq!(cancelled, Reply::Cancelled { job: waiting });
    let later = network.submit(A, job(700_000, true));
    network.run_to(590);
    assert_eq!(network.job(A, recent).status, JobStatus::Waiting);
    assert_eq!(network.command(A, Command::Cancel { job: recent }), Reply::Cancelled { job: recent });
    network.run_to(600);
    let forgotten = |kind: &EventKind| matches!(kind, EventKind::JobCompacted { .. });
    assert_eq!(network.count(forgotten), 2);
    for over in [old, waiting] {
        assert_eq!((network.known(A, over), network.known(B, over)), (None, None));
    }
    network.equal();
    let before = network.replica(A);
    network.world.stop_broker(A);
    network.world.stop_executor(x);
    assert!(network.world.restore(A).unwrap());
    let after = network.replica(A);
    assert_ne!(after, before, "its log does not prove its last write");
    assert_eq!(network.job(A, waiting).status, JobStatus::Waiting, "the copy is old");
    assert!(network.known(A, old).is_some() && network.known(A, later).is_none());
    network.world.start_broker(A).unwrap();
    let placed_before = network.times(A, |kind| matches!(kind, EventKind::AttemptOffered { .. })).len();
    let fresh = network.executor(&[A], 4);
    network.run_to(700);
    network.equal();
    for broker in [A, B] {
        assert_eq!(network.job(broker, recent).status, JobStatus::Cancelled);
        for over in [old, waiting] {
            assert_eq!(network.known(broker, over), None, "what was deleted stays so");
        }
        assert_eq!(network.statistics(broker).fact_faults, 0);
        let view = network.job(broker, later);
        assert_eq!((view.id.admitted_by, view.owner, view.epoch), (before, after, OwnershipEpoch(2)));
    }
    // It owned nothing before it had written so, and places nothing that it does not own.
    let owned = |kind: &EventKind| matches!(kind, EventKind::OwnershipTaken { job, epoch: OwnershipEpoch(2), cause: OwnCause::TakenOver, .. } if *job == later);
    let offers = |kind: &EventKind| matches!(kind, EventKind::AttemptOffered { .. });
    assert_eq!(network.times(A, offers).len(), placed_before + 1);
    let runs = [old, waiting, recent].map(|job| network.starts(job).len());
    assert_eq!(runs, [1, 0, 0]);
    let (at, by, attempt) = *network.starts(later).last().unwrap();
    assert_eq!((by, attempt), (fresh, network.attempt(later, 2, A, 1)));
    assert_eq!((network.times(A, owned), at), (vec![601], 643), "after it has learned, and when leases are over");
    network.run_to(1_450);
    assert_eq!(network.job(A, later).status, JobStatus::Completed);
    let new = network.submit(A, job(10_000, true));
    assert_eq!(new, JobId::new(after, 1));
    network.run_ms(60_000);
    network.equal();
    assert_eq!(network.job(B, new).status, JobStatus::Completed);
    network.no_fault();
}
