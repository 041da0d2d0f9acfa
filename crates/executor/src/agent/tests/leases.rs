//! Leases: how long, and what their end means.

use super::*;

#[test]
fn a_lease_counts_from_when_the_request_was_sent() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    scene.pass(5_000);
    let asked = scene.agent.heartbeat;
    scene.pass(4_000);
    // Answered 4 s after it was asked: the lease ends 30 s after the asking, not after the answer.
    scene.answer(asked, vec![first], vec![]);
    scene.run(25_999);
    assert!(scene.agent.is_leased(first));
    let outputs = scene.run(1);
    assert!(!scene.agent.is_leased(first));
    assert!(outputs.iter().any(|(_, output)| matches!(output, Output::Notify(Event::LeaseEnded { .. }))));
}

#[test]
fn an_attempt_without_a_lease_finishes_and_submits() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    scene.input(Input::LinkDown { broker: HOME });
    scene.run(31_000);
    assert_eq!((scene.held(), scene.agent.is_leased(first)), (vec![first], false));
    scene.link_up(HOME, "home");
    assert_eq!(submits(&scene.finish(first, b"out")).len(), 1);
}

#[test]
fn a_fenced_attempt_stops_at_the_end_of_its_lease() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start_spec(first, JobSpec::new(vec![]).with_fenced(true))]);
    assert!(stops(&scene.pass(29_999)).is_empty());
    assert_eq!(stops(&scene.pass(1)), [first]);
    assert!(scene.finish(first, b"too late").is_empty(), "a stopped attempt has no result");
    assert_eq!(scene.agent.kept(), 0);
}

#[test]
fn a_lost_lease_is_a_message_and_stops_only_fenced_attempts() {
    let mut scene = Scene::at_home(config());
    let (free, fenced) = (attempt(1, 1, 1), attempt(2, 1, 1));
    scene.order(vec![start(free), start_spec(fenced, JobSpec::new(vec![]).with_fenced(true))]);
    let successor = Some(attempt(1, 2, 1));
    let message = ToExecutor::HeartbeatAnswer {
        session: scene.agent.session(),
        registration: 1,
        sequence: 0,
        renewed: vec![],
        lost: vec![LeaseLost { attempt: free, successor }, LeaseLost { attempt: fenced, successor: None }],
        orders: vec![],
        roster: vec![],
    };
    let outputs = scene.receive(HOME, message);
    assert!(outputs.contains(&Output::Notify(Event::LeaseEnded { attempt: free, successor })));
    assert_eq!((stops(&outputs), scene.held()), (vec![fenced], vec![free]));
}

#[test]
fn a_machine_that_slept_believes_in_no_lease() {
    let mut scene = Scene::at_home(config());
    let (free, fenced) = (attempt(1, 1, 1), attempt(2, 1, 1));
    scene.order(vec![start(free), start_spec(fenced, JobSpec::new(vec![]).with_fenced(true))]);
    scene.pass(5_000);
    let asked = scene.agent.heartbeat;
    // Two seconds are drift; more is sleep.
    scene.now.wall = scene.now.wall.saturating_add(2_000);
    assert!(scene.pass(1).is_empty());
    scene.now.wall = scene.now.wall.saturating_add(600_000);
    let outputs = scene.pass(1);
    assert_eq!(stops(&outputs), [fenced]);
    assert!(!scene.agent.is_leased(free));
    assert_eq!(heartbeats(&outputs).len(), 1, "it asks anew at once");
    // What was asked before the sleep gives no lease any more; what was asked after it does.
    scene.answer(asked, vec![free], vec![]);
    assert!(!scene.agent.is_leased(free));
    scene.answer(asked + 1, vec![free], vec![]);
    assert!(scene.agent.is_leased(free));
}

#[test]
fn an_old_answer_takes_no_lease_away() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    scene.pass(5_000);
    scene.pass(5_000);
    let last = scene.agent.heartbeat;
    scene.answer(last, vec![first], vec![]);
    scene.answer(last - 1, vec![first], vec![start(attempt(2, 1, 1))]);
    assert!(scene.agent.is_leased(first));
    assert_eq!(scene.held(), [first], "nothing starts on an answer to something forgotten");
}
