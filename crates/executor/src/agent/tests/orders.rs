//! Orders: which are taken, and which are refused.

use super::*;

#[test]
fn an_order_starts_an_attempt_once() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    assert_eq!(runs(&scene.order(vec![start(first)])), [first]);
    assert!(runs(&scene.order(vec![start(first)])).is_empty(), "a repeated order");
    let [beat] = &heartbeats(&scene.pass(200))[..] else { panic!("an early heartbeat brings the news") };
    assert_eq!(beat.running[0].attempt, first);
    let [(HOME, submit)] = &submits(&scene.finish(first, b"out"))[..] else { panic!() };
    assert!(scene.order(vec![start(first)]).is_empty(), "its result is kept");
    scene.submit_answer(HOME, submit, ACCEPTED);
    assert_eq!(refusals(&scene.order(vec![start(first)])), [Refusal::AlreadyEnded]);
    let [beat] = &heartbeats(&scene.pass(200))[..] else { panic!() };
    assert_eq!(beat.refused, [Refused { attempt: first, reason: Refusal::AlreadyEnded }]);
}

#[test]
fn an_order_with_a_smaller_token_is_refused() {
    let mut scene = Scene::at_home(config());
    let (older, newer) = (attempt(1, 1, 9), attempt(1, 2, 1));
    assert_eq!(runs(&scene.order(vec![start(newer)])), [newer]);
    let greatest = token(newer);
    assert_eq!(refusals(&scene.order(vec![start(older)])), [Refusal::SmallerToken { greatest }]);
    // It is remembered after the attempt has ended, too.
    scene.order(vec![Order::Stop { attempt: newer, reason: StopReason::Replaced, drain_ms: 0 }]);
    assert_eq!(refusals(&scene.order(vec![start(older)])), [Refusal::SmallerToken { greatest }]);
    assert_eq!(runs(&scene.order(vec![start(attempt(1, 2, 2))])), [attempt(1, 2, 2)]);
}

#[test]
fn an_order_beyond_the_free_capacity_is_refused() {
    let mut scene = Scene::at_home(config());
    let demand = |cpu, memory| JobSpec::new(vec![]).with_demand(Resources::new(cpu, memory, 0));
    assert_eq!(runs(&scene.order(vec![start_spec(attempt(1, 1, 1), demand(3_000, 0))])).len(), 1);
    let free = Resources::new(1_000, 1_000, 0);
    assert_eq!(scene.agent.free(), free);
    let outputs = scene.order(vec![start_spec(attempt(2, 1, 1), demand(1_001, 0))]);
    assert_eq!(refusals(&outputs), [Refusal::NoFreeCapacity { free }]);
    let outputs = scene.order(vec![start_spec(attempt(3, 1, 1), demand(limits::AMOUNT_MAX, 0))]);
    assert_eq!(refusals(&outputs), [Refusal::NoFreeCapacity { free }]);
    let small = (4..=6).map(|job| start_spec(attempt(job, 1, 1), demand(0, 1))).collect();
    assert_eq!(runs(&scene.order(small)).len(), 3);
    let outputs = scene.order(vec![start_spec(attempt(7, 1, 1), demand(0, 1))]);
    assert_eq!(refusals(&outputs), [Refusal::NoFreeSlot]);
    // A place that is given back is free again, and the order that was refused may come again.
    scene.finish(attempt(1, 1, 1), b"");
    assert_eq!(runs(&scene.order(vec![start_spec(attempt(2, 1, 1), demand(1_001, 0))])).len(), 1);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    let foreign =
        Order::Start { attempt: first, token: token(attempt(1, 2, 1)), spec: JobSpec::new(vec![]), lease_ms: 30_000 };
    assert_eq!(refusals(&scene.order(vec![foreign])), [Refusal::Malformed]);
    let worthless = JobSpec::new(vec![]).with_value(0);
    assert_eq!(refusals(&scene.order(vec![start_spec(first, worthless)])), [Refusal::Malformed]);
    let tagged = JobSpec::new(vec![]).with_tag("gpu".parse().unwrap());
    assert_eq!(refusals(&scene.order(vec![start_spec(first, tagged)])), [Refusal::MissingTag]);
    let short = Order::Start { attempt: first, token: token(first), spec: JobSpec::new(vec![]), lease_ms: 0 };
    assert_eq!(refusals(&scene.order(vec![short])), [Refusal::LeaseOver]);
    assert_eq!(runs(&scene.order(vec![start(first)])), [first]);
}

#[test]
fn only_the_home_gives_orders() {
    let mut scene = Scene::at_home(config());
    let message = ToExecutor::HeartbeatAnswer {
        session: scene.agent.session(),
        registration: 1,
        sequence: 0,
        renewed: vec![],
        lost: vec![],
        orders: vec![start(attempt(1, 1, 1))],
        roster: vec![],
    };
    assert!(scene.receive(OTHER, message.clone()).is_empty());
    assert_eq!(runs(&scene.receive(HOME, message)).len(), 1);
}

#[test]
fn orders_are_refused_when_no_more_results_can_be_kept() {
    let mut config = config();
    config.kept_results = 2;
    let mut scene = Scene::at_home(config);
    scene.order(vec![start(attempt(1, 1, 1)), start(attempt(2, 1, 1))]);
    assert_eq!(scene.held().len(), 2);
    assert_eq!(refusals(&scene.order(vec![start(attempt(3, 1, 1))])), [Refusal::TooManyResults]);
    let [(_, submit)] = &submits(&scene.finish(attempt(1, 1, 1), b""))[..] else { panic!() };
    assert_eq!(refusals(&scene.order(vec![start(attempt(3, 1, 1))])), [Refusal::TooManyResults]);
    scene.submit_answer(HOME, submit, ACCEPTED);
    assert_eq!(runs(&scene.order(vec![start(attempt(3, 1, 1))])).len(), 1);
}

#[test]
fn the_oldest_tokens_are_forgotten_but_not_those_of_attempts_here() {
    let mut config = config();
    config.kept_results = 4;
    config.remembered_jobs = 9;
    let mut scene = Scene::at_home(config);
    let held = attempt(1, 2, 1);
    scene.order(vec![start(held)]);
    for job in 2..20 {
        let short = attempt(job, 2, 1);
        assert_eq!(runs(&scene.order(vec![start(short)])), [short]);
        scene.order(vec![Order::Stop { attempt: short, reason: StopReason::Completed, drain_ms: 0 }]);
    }
    assert_eq!(scene.agent.attempts.remembered(), 9);
    let greatest = token(held);
    assert_eq!(refusals(&scene.order(vec![start(attempt(1, 1, 1))])), [Refusal::SmallerToken { greatest }]);
    assert_eq!(refusals(&scene.order(vec![start(attempt(19, 2, 1))])), [Refusal::AlreadyEnded]);
}

#[test]
fn a_drained_attempt_may_end_by_itself_and_is_stopped_when_its_time_is_over() {
    let mut scene = Scene::at_home(config());
    let (long, short) = (attempt(1, 1, 1), attempt(2, 1, 1));
    scene.order(vec![start(long), start(short)]);
    let drain = |attempt, drain_ms| Order::Stop { attempt, reason: StopReason::Preempted, drain_ms };
    let stopped = |outputs: &[Output]| -> Vec<AttemptId> {
        let stops = outputs
            .iter()
            .filter_map(|output| if let Output::Stop { attempt } = output { Some(*attempt) } else { None });
        stops.collect()
    };
    assert!(stopped(&scene.order(vec![drain(long, 10_000), drain(short, 10_000)])).is_empty());
    assert_eq!(scene.agent.held().count(), 2);
    // One ends in time, and its result counts.
    scene.pass(4_000);
    assert_eq!(submits(&scene.finish(short, b"out")).len(), 1);
    // A repeated order gives no more time, and one with less takes some away.
    scene.order(vec![drain(long, 10_000), drain(long, 5_000)]);
    assert!(stopped(&scene.pass(4_999)).is_empty());
    assert_eq!(stopped(&scene.pass(1)), [long]);
    assert_eq!(scene.agent.held().count(), 0);
}
