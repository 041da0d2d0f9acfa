//! Losing the home, finding another, and leaving.

use super::*;

#[test]
fn an_orphan_finds_a_home_within_orphan_after_and_one_discovery_interval() {
    let mut scene = Scene::at_home(config());
    let last_answer = scene.now.mono.as_millis();
    // The home is silent though its link is up, and so is the next candidate. The one after that answers.
    let outputs = scene.run(90_000);
    let lost = Output::Notify(Event::HomeLost { broker: HOME, silent_ms: 60_000 });
    assert!(outputs.contains(&(last_answer + 60_000, lost)));
    assert!(outputs.contains(&(last_answer + 60_000, Output::Disconnect { broker: HOME })));
    let tries = [(last_answer + 60_000, "other".into()), (last_answer + 90_000, "roster".into())];
    assert_eq!(connects(&outputs), tries);
    assert_eq!(registers(&scene.link_up(OTHER, "roster")).len(), 1);
    scene.registered(OTHER, vec![]);
    assert_eq!(scene.agent.home(), Some(OTHER));
}

#[test]
fn an_orphan_with_one_broker_lets_the_link_close_before_it_connects_again() {
    let mut config = config();
    config.brokers = vec!["home".into()];
    let mut scene = Scene::new(config);
    scene.link_up(HOME, "home");
    let message = ToExecutor::Registered {
        session: scene.agent.session(),
        registration: 1,
        terms: scene.agent.terms,
        roster: vec![],
        held: vec![],
    };
    scene.receive(HOME, message);
    let lost = scene.now.mono.as_millis() + 60_000;
    let outputs = scene.run(61_000);
    assert!(outputs.contains(&(lost, Output::Disconnect { broker: HOME })));
    assert_eq!(connects(&outputs), [(lost + 1_000, "home".into())]);
}

#[test]
fn a_refused_connection_moves_on_at_once_and_a_round_waits_for_the_interval() {
    let mut scene = Scene::at_home(config());
    scene.run(60_000);
    let lost = scene.now.mono.as_millis();
    let mut tried = vec![(lost, "other".to_owned())];
    while tried.len() < 5 {
        let address = tried.last().unwrap().1.clone();
        scene.input(Input::ConnectFailed { address });
        let wait = scene.agent.next_deadline().unwrap().saturating_since(scene.now.mono);
        tried.extend(connects(&scene.run(wait)));
    }
    let (times, addresses): (Vec<_>, Vec<_>) = tried.into_iter().map(|(at, address)| (at - lost, address)).unzip();
    assert_eq!(addresses, ["other", "roster", "home", "other", "roster"], "the lost home comes last");
    assert_eq!(times, [0, 1_000, 2_000, 32_000, 33_000]);
}

#[test]
fn a_home_whose_link_comes_back_in_time_stays_the_home() {
    let mut scene = Scene::at_home(config());
    let outputs = scene.input(Input::LinkDown { broker: HOME });
    assert_eq!(outputs, [Output::Connect { address: "home".into() }]);
    scene.input(Input::ConnectFailed { address: "home".into() });
    let tries = connects(&scene.run(1_200));
    assert_eq!(tries.len(), 1, "{tries:?}");
    let outputs = scene.link_up(HOME, "home");
    assert_eq!(heartbeats(&outputs).len(), 1);
    scene.answer(scene.agent.heartbeat, vec![], vec![]);
    assert_eq!((scene.agent.home(), scene.agent.registration()), (Some(HOME), 1));
}

#[test]
fn a_home_that_answers_is_kept_however_long() {
    let mut scene = Scene::at_home(config());
    for _ in 0..100 {
        let outputs = scene.run(5_000);
        assert!(connects(&outputs).is_empty());
        scene.answer(scene.agent.heartbeat, vec![], vec![]);
    }
    assert_eq!(scene.agent.home(), Some(HOME));
}

#[test]
fn a_broker_that_does_not_answer_a_registration_is_left() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let outputs = scene.run(30_000);
    assert!(outputs.iter().any(|(_, output)| *output == Output::Disconnect { broker: HOME }));
    assert_eq!(connects(&outputs), [(31_000, "other".into())]);
}

#[test]
fn an_agent_without_addresses_takes_the_link_that_comes() {
    let mut config = config();
    config.brokers.clear();
    let mut scene = Scene::new(config);
    assert_eq!((scene.outputs().len(), scene.agent.next_deadline()), (0, None));
    let outputs = scene.input(Input::LinkUp { broker: HOME, address: None });
    assert_eq!(registers(&outputs).len(), 1);
    scene.registered(HOME, vec![]);
    assert_eq!(scene.agent.home(), Some(HOME));
    scene.input(Input::LinkDown { broker: HOME });
    scene.run(10_000);
    assert_eq!(heartbeats(&scene.input(Input::LinkUp { broker: HOME, address: None })).len(), 1);
}

#[test]
fn a_draining_agent_finishes_and_then_leaves() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    assert_eq!(scene.input(Input::Drain), [Output::Notify(Event::Draining)]);
    assert_eq!(refusals(&scene.order(vec![start(attempt(2, 1, 1))])), [Refusal::Draining]);
    let [(_, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    assert!(!scene.agent.has_left());
    let outputs = scene.submit_answer(HOME, submit, ACCEPTED);
    let leave = Leave { session: scene.agent.session(), registration: 1 };
    assert_eq!(sent(&outputs), [(HOME, ToBroker::Leave(leave))]);
    assert_eq!(outputs.last(), Some(&Output::Notify(Event::Left { stopped: 0, unanswered: 0 })));
    assert!(scene.agent.has_left());
    assert!(scene.pass(1_000_000).is_empty());
    assert_eq!(scene.agent.next_deadline(), None);
}

#[test]
fn leaving_stops_what_runs() {
    let mut scene = Scene::at_home(config());
    scene.order(vec![start(attempt(1, 1, 1)), start(attempt(2, 1, 1))]);
    scene.finish(attempt(2, 1, 1), b"out");
    let outputs = scene.input(Input::Leave);
    assert_eq!(stops(&outputs), [attempt(1, 1, 1)]);
    assert_eq!(outputs.last(), Some(&Output::Notify(Event::Left { stopped: 1, unanswered: 1 })));
}
