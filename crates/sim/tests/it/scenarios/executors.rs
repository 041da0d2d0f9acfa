//! Executors that fall silent, come back and move: scenarios 2, 8 and 9.

use std::cell::RefCell;
use std::rc::Rc;

use reconvene_broker::{EventKind, JobStatus, LossCause, Phase, Statistics, StrategyKind};
use reconvene_executor::message::{StopReason, Submit, ToBroker, ToExecutor};
use reconvene_executor::{self as executor, Answer, AttemptId, JobId, Outcome, Rejection, ResultDigest, codec};
use reconvene_sim::world::Place;

use super::network::{A, ACCEPTED, B, C, Network, job, lost, redeployed, superseded};

const FIRST: StrategyKind = StrategyKind::FirstComeFirstServed;

/// X runs J at A, is answered its last heartbeat at 100 and stands still from then on; its run ends at `ends`. Y gets J
/// at 142, and is done at 160 if `y_is_done`.
fn silent(strategy: StrategyKind, ends: u64, y_is_done: bool, varies: bool) -> (Network, JobId, [usize; 2]) {
    let mut network = Network::new(2, strategy);
    let x = network.executor(&[A], 1);
    let id = network.submit(A, job(ends * 1_000 + 500, varies));
    network.begin_when_running(id);
    let y = network.executor(&[A], 1);
    let pace = if y_is_done { 18 * 100 * 1_000 / (ends * 1_000 + 500) + 1 } else { 1_000 };
    network.set_traits(y, pace, Some(9_000));
    network.set_traits(x, 100, Some(9_500));
    network.run_to_heartbeat(x, 99, 100);
    network.world.pause(Place::Executor(x));
    network.run_to(141);
    let suspect = |kind: &EventKind| matches!(kind, EventKind::ExecutorSuspect { .. });
    assert_eq!((network.times(A, suspect), network.count(lost)), (vec![119], 0));
    network.run_to(150);
    let lost = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::Silence, .. });
    assert_eq!((network.times(A, lost), network.times(A, redeployed)), (vec![142], vec![142]));
    assert_eq!(network.starts(id)[1..], [(142, y, network.attempt(id, 1, A, 2))]);
    (network, id, [x, y])
}

/// X goes on where it stood.
fn returns(network: &mut Network, x: usize, at: u64) {
    network.run_to(at);
    network.world.resume(Place::Executor(x)).unwrap();
    network.run_to(at + 100);
}

/// Who has not heard its home for 60 s turns to the next broker, so that it may be B that X submits to.
fn counted(network: &Network, count: fn(&Statistics) -> u64) -> u64 {
    [A, B].map(|broker| count(&network.statistics(broker))).iter().sum()
}

fn rejected(rejection: Rejection) -> Answer {
    Answer::Rejected(rejection)
}

#[test]
fn sim_scenario_02a_the_first_of_two_running_attempts_wins() {
    let (mut network, id, [x, y]) = silent(FIRST, 160, false, true);
    let session = network.world.executor(x).unwrap().session();
    returns(&mut network, x, 150);
    assert_eq!(network.world.executor(x).unwrap().session(), session);
    let again = |kind: &EventKind| matches!(kind, EventKind::AttemptReappeared { .. });
    assert_eq!(network.times(A, again), [150]);
    assert_eq!(network.answers(id), [(160, x, ACCEPTED)]);
    // The first accept stops the rest.
    assert_eq!(network.ends(id), [(160, x, true), (160, y, false)]);
    let stopped = |event: &executor::Event| {
        let completed = executor::StopCause::Ordered(StopReason::Completed);
        matches!(event, executor::Event::AttemptStopped { cause, .. } if *cause == completed)
    };
    assert_eq!(network.reported(y, stopped), [160]);
    network.equal();
    for broker in [A, B] {
        let view = network.job(broker, id);
        assert_eq!((view.status, view.submissions.len()), (JobStatus::Completed, 1));
        assert_eq!(view.result.unwrap().submission, network.submission(A, 1));
        assert_eq!(view.submissions[0].attempt, network.attempt(id, 1, A, 1));
    }
    let statistics = network.statistics(A);
    assert_eq!((statistics.redeployed, statistics.reappeared, statistics.superseded), (1, 1, 0));
    network.no_fault();
}

#[test]
fn sim_scenario_02b_a_later_result_meets_an_accepted_one() {
    let (mut network, id, [x, y]) = silent(FIRST, 165, true, true);
    returns(&mut network, x, 170);
    let by = network.submission(A, 1);
    assert_eq!(network.answers(id), [(160, y, ACCEPTED), (170, x, rejected(Rejection::AlreadyAccepted { by }))]);
    network.equal();
    for broker in [A, B] {
        let view = network.job(broker, id);
        assert_eq!(view.result.unwrap().submission, by);
        let accepted = view.submissions.iter().filter(|submission| submission.accepted).count();
        assert_eq!((view.submissions.len(), accepted), (2, 1), "a refused one is kept, and counts for nothing");
    }
    assert_eq!((counted(&network, |counts| counts.divergent), network.count(superseded)), (1, 0));
}

#[test]
fn sim_scenario_02b_a_better_result_wins_where_results_are_judged() {
    let (mut network, id, [x, y]) = silent(StrategyKind::PriorityBased, 165, true, true);
    returns(&mut network, x, 170);
    assert_eq!(network.answers(id), [(160, y, ACCEPTED), (170, x, ACCEPTED)], "9,500 over 9,000");
    network.equal();
    let (worse, better) = (network.submission(A, 1), network.submission(B, 1));
    for broker in [A, B] {
        let view = network.job(broker, id);
        assert_eq!((view.result.unwrap().submission, view.settled), (better, true));
    }
    assert_eq!(network.superseded(id).collect::<Vec<_>>(), [(A, worse, better)]);
    assert_eq!(network.times(A, superseded), [170]);
    // And that was the last word.
    network.stable(id);
    assert_eq!((network.count(superseded), network.job(A, id)), (1, network.job(B, id)));
}

#[test]
fn sim_scenario_02c_after_the_settle_nobody_is_heard() {
    let (mut network, id, [x, y]) = silent(StrategyKind::PriorityBased, 165, true, true);
    network.run_to(219);
    assert!(!network.job(A, id).settled);
    returns(&mut network, x, 221);
    let settled = |kind: &EventKind| matches!(kind, EventKind::ResultSettled { .. });
    assert_eq!(network.times(A, settled), [220]);
    let canonical = network.submission(A, 1);
    assert_eq!(network.answers(id), [(160, y, ACCEPTED), (221, x, rejected(Rejection::Settled { canonical }))]);
    assert_eq!((counted(&network, |counts| counts.late), network.count(superseded)), (1, 0));
    network.equal();
    network.stable(id);
    assert_eq!(network.job(B, id).result.unwrap().submission, canonical);
}

#[test]
fn sim_scenario_02d_an_equal_digest_agrees() {
    for strategy in [FIRST, StrategyKind::PriorityBased] {
        let (mut network, id, [x, y]) = silent(strategy, 165, true, false);
        returns(&mut network, x, 170);
        let canonical = network.submission(A, 1);
        let agrees = rejected(Rejection::Equivalent { canonical, agreement: 2 });
        assert_eq!(network.answers(id), [(160, y, ACCEPTED), (170, x, agrees)]);
        network.equal();
        assert_eq!((counted(&network, |counts| counts.equivalent), network.count(superseded)), (1, 0));
        assert_eq!(network.job(B, id).result.unwrap().submission, canonical);
    }
}

/// What passes between X and brokers about one result.
#[derive(Default)]
struct Wire {
    submits: Vec<Submit>,
    answers: Vec<(AttemptId, u64, Answer)>,
}

/// Loses the first `lost` answers about submission 4, and has something else in it when it is sent for the `other`th time.
fn tamper(network: &mut Network, lost: usize, other: Option<usize>) -> Rc<RefCell<Wire>> {
    let wire = Rc::new(RefCell::new(Wire::default()));
    let seen = Rc::clone(&wire);
    network.world.set_tamper(move |from, _, frame| {
        let mut seen = seen.borrow_mut();
        if matches!(from, Place::Executor(_)) {
            if let Ok(ToBroker::Submit(mut submit)) = codec::decode_to_broker(&frame)
                && submit.sequence == 4
            {
                seen.submits.push(submit.clone());
                if Some(seen.submits.len()) == other {
                    let output = b"something else".to_vec();
                    submit.digest = ResultDigest::of(&output);
                    submit.outcome = Outcome::Success { output };
                    return codec::encode_to_broker(&ToBroker::Submit(submit)).ok();
                }
            }
        } else if let Ok(ToExecutor::SubmitAnswer { attempt, sequence: 4, answer }) = codec::decode_to_executor(&frame)
        {
            seen.answers.push((attempt, 4, answer));
            return (seen.answers.len() > lost).then_some(frame);
        }
        Some(frame)
    });
    wire
}

/// X has submitted three results, and runs the job of the fourth.
fn fourth(known: &[usize]) -> (Network, JobId, usize) {
    let mut network = Network::new(2, FIRST);
    let x = network.executor(known, 1);
    for _ in 0..3 {
        let before = network.submit(A, job(5_000, true));
        network.run_ms(10_000);
        assert_eq!(network.answers(before).len(), 1);
    }
    let id = network.submit(A, job(100_000, true));
    network.begin_when_running(id);
    (network, id, x)
}

#[test]
fn sim_scenario_08_retransmission() {
    let (mut network, id, x) = fourth(&[A, B]);
    let wire = tamper(&mut network, 3, None);
    network.run_to(99);
    // Three times to A, and then to B.
    for _ in 0..1_000 {
        if wire.borrow().submits.len() == 3 {
            break;
        }
        network.run_ms(100);
    }
    assert_eq!(wire.borrow().submits.len(), 3, "it is sent again for as long as no answer comes");
    network.run_ms(100);
    assert_eq!(wire.borrow().answers.len(), 3);
    network.world.cut(Place::Executor(x), Place::Broker(A));
    network.run_to(300);
    assert_eq!(network.home(x), Some(B));
    let wire = wire.borrow();
    let (attempt, first) = (network.attempt(id, 1, A, 1), wire.submits[0].clone());
    assert_eq!((first.attempt, wire.submits.len()), (attempt, 4));
    assert!(wire.submits.iter().all(|submit| *submit == first), "it is sent again as it was");
    assert_eq!(wire.answers, [(attempt, 4, ACCEPTED); 4], "four identical answers");
    assert_eq!((network.answers(id).len(), network.answers(id)[0].2), (1, ACCEPTED));
    network.equal();
    for broker in [A, B] {
        let view = network.job(broker, id);
        assert_eq!(view.submissions.iter().map(|known| known.id).collect::<Vec<_>>(), [network.submission(A, 4)]);
        assert_eq!(view.result.unwrap().agreement, 1, "one attempt, however often it is told");
    }
    let retransmissions = [A, B].map(|broker| network.statistics(broker).retransmission);
    assert_eq!(retransmissions, [2, 1]);
    assert_eq!((network.count(superseded), network.count(super::network::confirmed)), (0, 0));
    network.no_fault();
}

#[test]
fn sim_scenario_08_something_else_under_the_same_number_is_a_fault() {
    let (mut network, id, x) = fourth(&[A]);
    let wire = tamper(&mut network, 1, Some(2));
    network.run_to(200);
    let wire = wire.borrow();
    assert_eq!(wire.answers.len(), 2);
    assert_eq!(wire.answers[0].2, ACCEPTED);
    let (first, second) = (wire.submits[0].digest, ResultDigest::of(b"something else"));
    let evidence = executor::Equivocation { first, second };
    assert_eq!(
        network.answers(id).iter().map(|(_, by, answer)| (*by, *answer)).collect::<Vec<_>>(),
        [(x, Answer::Fault(evidence))]
    );
    network.equal();
    for broker in [A, B] {
        let view = network.job(broker, id);
        assert_eq!((view.submissions.len(), view.result.unwrap().digest), (1, first), "nothing is replaced");
    }
    assert_eq!((network.statistics(A).fault, network.count(superseded)), (1, 0));
}

/// X runs J at A, moves to C that nobody has told of J, and is done there; C restarts before it hears of J if so asked.
fn unknown(restart: bool) {
    let mut network = Network::new(3, FIRST);
    network.cut(&[Place::Broker(C)]);
    let x = network.executor(&[A, C], 1);
    network.world.heal(Place::Broker(C), Place::Executor(x));
    network.begin(0);
    let id = network.submit(A, job(80_000, true));
    network.run_to(5);
    network.world.cut(Place::Executor(x), Place::Broker(A));
    network.run_to(90);
    assert_eq!(network.home(x), Some(C));
    assert_eq!(network.ends(id), [(80, x, true)]);
    let parked = |kind: &EventKind| matches!(kind, EventKind::ResultParked { .. });
    let accepted = |kind: &EventKind| matches!(kind, EventKind::ResultAccepted { .. });
    assert_eq!((network.times(C, parked), network.times(C, accepted)), (vec![80], vec![]));
    assert!(matches!(network.answers(id)[..], [(80, _, Answer::Parked { .. })]), "{:?}", network.answers(id));
    assert!(network.known(C, id).is_none_or(|view| view.spec.is_none()));
    if restart {
        network.world.stop_broker(C);
        network.run_to(95);
        network.world.start_broker(C).unwrap();
        network.run_to(120);
        assert!(network.known(C, id).is_none_or(|view| view.spec.is_none()));
    }
    network.heal(&[Place::Broker(C)]);
    network.world.cut(Place::Executor(x), Place::Broker(A));
    network.run_to(300);
    network.equal();
    let when = network.times(C, accepted);
    assert_eq!(when.len(), 1);
    assert!(network.times(C, parked).iter().all(|at| *at <= when[0]));
    let last = network.answers(id).last().copied();
    assert_eq!(last.map(|(_, by, answer)| (by, answer)), Some((x, ACCEPTED)));
    let (told, first) = (last.unwrap().0, network.attempt(id, 1, A, 1));
    assert!((when[0]..=when[0] + 5).contains(&told), "accepted at {when:?}, told at {told}");
    assert_eq!((network.world.executor(x).unwrap().kept(), network.starts(id).len()), (0, 1));
    for broker in [A, B, C] {
        let view = network.job(broker, id);
        assert_eq!((view.status, view.submissions.len()), (JobStatus::Completed, 1));
        assert_eq!(view.result.unwrap().submission, network.submission(C, 1));
        assert_eq!(view.submissions[0].attempt, first);
        assert_eq!(view.attempts[0].phase, Some(Phase::Finished));
    }
    let recovered = |kind: &EventKind| matches!(kind, EventKind::SpecRecovered { .. });
    assert_eq!((network.count(recovered), network.count(superseded)), (0, 0));
    network.no_fault();
}

#[test]
fn sim_scenario_09_unknown_job() {
    unknown(false);
}

#[test]
fn sim_scenario_09_unknown_job_and_a_restart() {
    unknown(true);
}
