//! Results: sent until they are answered, and kept until then.

use super::*;

#[test]
fn a_result_is_sent_again_until_it_is_answered() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let [(HOME, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    let mut times = Vec::new();
    for _ in 0..40 {
        let now = scene.now.mono.as_millis();
        scene.answer(scene.agent.heartbeat, vec![], vec![]);
        for (_, output) in scene.run(1_000) {
            for (_, again) in submits(&[output]) {
                assert_eq!(again, *submit, "a repetition is the same in every part");
                times.push(now);
            }
        }
    }
    // After about 2, 4, 8 and 16 s.
    assert_eq!(times.len(), 4, "{times:?}");
    scene.submit_answer(HOME, submit, ACCEPTED);
    assert_eq!(scene.agent.kept(), 0);
}

#[test]
fn answers_are_idempotent() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let [(_, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    let busy = Answer::Busy { retry_after_ms: 500 };
    assert_eq!(scene.submit_answer(HOME, submit, busy).len(), 1);
    assert!(scene.submit_answer(HOME, submit, busy).is_empty(), "counts once for each sending");
    assert_eq!(submits(&scene.pass(500)).len(), 1);
    let wrong = Submit { sequence: submit.sequence + 1, ..submit.clone() };
    assert!(scene.submit_answer(HOME, &wrong, ACCEPTED).is_empty(), "the answer to another submission");
    let outputs = scene.submit_answer(HOME, submit, ACCEPTED);
    assert_eq!(outputs, [Output::Notify(Event::ResultAnswered { attempt: first, answer: ACCEPTED })]);
    assert!(scene.submit_answer(HOME, submit, ACCEPTED).is_empty());
}

#[test]
fn a_parked_result_is_kept_until_it_is_judged() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let [(_, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    scene.submit_answer(HOME, submit, Answer::Parked { until_ms: u64::MAX });
    assert_eq!(scene.agent.kept(), 1);
    assert_eq!(heartbeats(&scene.pass(5_000))[0].kept, [first]);
    let canonical = SubmissionId { accepted_by: ReplicaId::new(4).unwrap(), number: 2 };
    scene.submit_answer(HOME, submit, Answer::Rejected(Rejection::LostTo { canonical }));
    assert_eq!(scene.agent.kept(), 0);
}

#[test]
fn only_so_many_results_are_on_their_way_at_once() {
    let mut config = config();
    config.submits_in_flight = 2;
    let mut scene = Scene::at_home(config);
    let attempts: Vec<_> = (1..=4).map(|job| attempt(job, 1, 1)).collect();
    scene.order(attempts.iter().copied().map(start).collect());
    let mut on_their_way = Vec::new();
    for attempt in &attempts {
        on_their_way.extend(submits(&scene.finish(*attempt, b"")));
    }
    assert_eq!(on_their_way.iter().map(|(_, submit)| submit.attempt).collect::<Vec<_>>(), attempts[..2]);
    let next = submits(&scene.submit_answer(HOME, &on_their_way[0].1, ACCEPTED));
    assert_eq!(next[0].1.attempt, attempts[2]);
}

#[test]
fn a_result_survives_the_loss_of_its_broker_and_reaches_the_next() {
    let mut scene = Scene::at_home(config());
    let (done, running) = (attempt(1, 1, 1), attempt(2, 1, 1));
    scene.order(vec![start(done), start(running)]);
    let [(HOME, submit)] = &submits(&scene.finish(done, b"out"))[..] else { panic!() };
    scene.input(Input::LinkDown { broker: HOME });
    scene.run(60_000);
    let outputs = scene.link_up(OTHER, "other");
    let [(OTHER, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((register.registration, &register.kept[..]), (2, &[done][..]));
    assert_eq!(register.held[0].attempt, running);
    let outputs = scene.registered(OTHER, vec![(running, HeldVerdict::Continue)]);
    assert_eq!(submits(&outputs), [(OTHER, submit.clone())], "unchanged, session included");
    assert!(scene.agent.is_leased(running));
    scene.submit_answer(OTHER, submit, ACCEPTED);
    assert_eq!(submits(&scene.finish(running, b"two"))[0].0, OTHER);
}

#[test]
fn a_result_keeps_the_session_that_ran_it() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let session = scene.agent.session();
    scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 });
    scene.receive(HOME, ToExecutor::SessionBehind { known: session });
    assert!(scene.agent.session() > session);
    scene.registered(HOME, vec![]);
    assert_eq!(submits(&scene.finish(first, b""))[0].1.session, session);
}

#[test]
fn a_new_home_decides_about_what_is_held() {
    let mut scene = Scene::at_home(config());
    let ids: Vec<_> = (1..=4).map(|job| attempt(job, 1, 1)).collect();
    scene.order(ids.iter().copied().map(start).collect());
    scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 });
    let verdicts =
        vec![(ids[0], HeldVerdict::Continue), (ids[1], HeldVerdict::Stop), (ids[2], HeldVerdict::SubmitOnly)];
    assert_eq!(stops(&scene.registered(HOME, verdicts)), [ids[1]]);
    assert_eq!(scene.held(), [ids[0], ids[2], ids[3]]);
    assert_eq!(ids.iter().map(|id| scene.agent.is_leased(*id)).collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn a_stop_order_ends_an_attempt_but_not_a_result() {
    let mut scene = Scene::at_home(config());
    let (running, done) = (attempt(1, 1, 1), attempt(2, 1, 1));
    scene.order(vec![start(running), start(done)]);
    scene.finish(done, b"out");
    let stop = |attempt| Order::Stop { attempt, reason: StopReason::Completed, drain_ms: 0 };
    let outputs = scene.order(vec![stop(running), stop(done), stop(attempt(3, 1, 1))]);
    assert_eq!(stops(&outputs), [running]);
    assert_eq!((scene.agent.kept(), scene.held().len()), (1, 0));
    assert_eq!(scene.agent.free(), config().capacity);
}

#[test]
fn a_home_that_asks_is_told_what_was_ordered() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let asked = |scene: &mut Scene, from| {
        let outputs = scene.receive(from, ToExecutor::AskSpec { attempt: first });
        let told = outputs.into_iter().filter_map(|output| match output {
            Output::Send { to, message: ToBroker::Spec(held) } => Some((to, held.attempt, held.spec.digest())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let [(HOME, _, running)] = asked(&mut scene, HOME)[..] else { panic!("while it runs") };
    assert!(asked(&mut scene, OTHER).is_empty(), "nobody else is told");
    let [(HOME, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    let [(HOME, _, kept)] = asked(&mut scene, HOME)[..] else { panic!("while its result is kept") };
    assert_eq!((running, kept), (submit.spec_digest, submit.spec_digest));
    scene.submit_answer(HOME, submit, ACCEPTED);
    assert!(asked(&mut scene, HOME).is_empty());
}
