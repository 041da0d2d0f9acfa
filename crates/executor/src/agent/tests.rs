//! Scenarios of one agent and the brokers it meets, told message by message.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconvene_clock::{Hlc, ReplicaId, WallTime};

use super::*;
use crate::answer::{Finality, Rejection};
use crate::id::{JobId, OwnershipEpoch, SubmissionId};
use crate::message::StopReason;

const HOME: NodeId = NodeId::new([1; 16]);
const OTHER: NodeId = NodeId::new([2; 16]);

fn config() -> AgentConfig {
    let mut config = AgentConfig::new(SessionEpoch::new(Hlc::from_u64(1_000), 1), 7);
    config.capacity = Resources::new(4_000, 1_000, 0);
    config.slots = 4;
    config.brokers = vec!["home".into(), "other".into()];
    config
}

/// An agent and the time around it.
struct Scene {
    agent: Agent,
    now: Now,
}

impl Scene {
    fn new(config: AgentConfig) -> Self {
        let now = Now::new(Timestamp::from_millis(1_000), WallTime::from_millis(1_000_000));
        Self { agent: Agent::new(config, now).unwrap(), now }
    }

    /// At home with [`HOME`], which has answered at this moment.
    fn at_home(config: AgentConfig) -> Self {
        let mut scene = Self::new(config);
        assert_eq!(scene.outputs(), [Output::Connect { address: "home".into() }]);
        scene.link_up(HOME, "home");
        scene.registered(HOME, vec![]);
        scene.outputs();
        scene
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.agent.poll_output()).collect()
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.agent.handle(self.now, input);
        if let Some(deadline) = self.agent.next_deadline() {
            assert!(deadline > self.now.mono, "a deadline that is not in the future makes drivers spin");
        }
        self.outputs()
    }

    fn receive(&mut self, from: NodeId, message: ToExecutor) -> Vec<Output> {
        self.input(Input::Received { from, message })
    }

    fn link_up(&mut self, broker: NodeId, address: &str) -> Vec<Output> {
        self.input(Input::LinkUp { broker, address: Some(address.into()) })
    }

    /// Both clocks move on at one go, with a tick at the end of it.
    fn pass(&mut self, ms: u64) -> Vec<Output> {
        self.now = Now::new(self.now.mono.saturating_add(ms), self.now.wall.saturating_add(ms));
        self.input(Input::Tick)
    }

    /// Ticks at each deadline until that long has passed.
    fn run(&mut self, ms: u64) -> Vec<(u64, Output)> {
        let end = self.now.mono.saturating_add(ms);
        let mut outputs = Vec::new();
        while let Some(deadline) = self.agent.next_deadline().filter(|deadline| *deadline <= end) {
            let at = deadline.as_millis();
            outputs.extend(self.pass(deadline.saturating_since(self.now.mono)).into_iter().map(|output| (at, output)));
        }
        outputs.extend(self.pass(end.saturating_since(self.now.mono)).into_iter().map(|o| (end.as_millis(), o)));
        outputs
    }

    fn registered(&mut self, from: NodeId, held: Vec<(AttemptId, HeldVerdict)>) -> Vec<Output> {
        let message = ToExecutor::Registered {
            session: self.agent.session(),
            registration: self.agent.registration(),
            terms: Terms { lease_ms: 30_000, heartbeat_ms: 5_000, drift_ms: 2_000 },
            roster: vec![RosterEntry { node: OTHER, address: "roster".into() }],
            held,
        };
        self.receive(from, message)
    }

    fn answer(&mut self, sequence: u64, renewed: Vec<AttemptId>, orders: Vec<Order>) -> Vec<Output> {
        let message = ToExecutor::HeartbeatAnswer {
            session: self.agent.session(),
            registration: self.agent.registration(),
            sequence,
            renewed,
            lost: vec![],
            orders,
            roster: vec![],
        };
        let home = self.agent.home().unwrap();
        self.receive(home, message)
    }

    /// Answers the last heartbeat.
    fn order(&mut self, orders: Vec<Order>) -> Vec<Output> {
        self.answer(self.agent.heartbeat, vec![], orders)
    }

    fn finish(&mut self, attempt: AttemptId, output: &[u8]) -> Vec<Output> {
        self.input(Input::Finished { attempt, report: Report::success(output.to_vec()) })
    }

    fn submit_answer(&mut self, from: NodeId, submit: &Submit, answer: Answer) -> Vec<Output> {
        let (attempt, sequence) = (submit.attempt, submit.sequence);
        self.receive(from, ToExecutor::SubmitAnswer { attempt, sequence, answer })
    }

    fn held(&self) -> Vec<AttemptId> {
        self.agent.held().map(|held| held.attempt).collect()
    }
}

fn attempt(job: u64, epoch: u32, number: u32) -> AttemptId {
    let owner = ReplicaId::new(u64::from(epoch)).unwrap();
    AttemptId { job: JobId::new(ReplicaId::new(9).unwrap(), job), epoch: OwnershipEpoch(epoch), owner, number }
}

fn token(of: AttemptId) -> FencingToken {
    FencingToken { epoch: of.epoch, tie: 5, owner: of.owner, number: of.number }
}

fn start_spec(attempt: AttemptId, spec: JobSpec) -> Order {
    Order::Start { attempt, token: token(attempt), spec, lease_ms: 30_000 }
}

fn start(attempt: AttemptId) -> Order {
    start_spec(attempt, JobSpec::new(vec![1]))
}

fn runs(outputs: &[Output]) -> Vec<AttemptId> {
    let run = |output: &Output| if let Output::Run { attempt, .. } = output { Some(*attempt) } else { None };
    outputs.iter().filter_map(run).collect()
}

fn stops(outputs: &[Output]) -> Vec<AttemptId> {
    let stop = |output: &Output| if let Output::Stop { attempt } = output { Some(*attempt) } else { None };
    outputs.iter().filter_map(stop).collect()
}

fn refusals(outputs: &[Output]) -> Vec<Refusal> {
    let refusal = |output: &Output| {
        if let Output::Notify(Event::OrderRefused { reason, .. }) = output { Some(*reason) } else { None }
    };
    outputs.iter().filter_map(refusal).collect()
}

fn sent(outputs: &[Output]) -> Vec<(NodeId, ToBroker)> {
    let message = |output: &Output| {
        if let Output::Send { to, message } = output { Some((*to, message.clone())) } else { None }
    };
    outputs.iter().filter_map(message).collect()
}

fn submits(outputs: &[Output]) -> Vec<(NodeId, Submit)> {
    let submit = |(to, message)| if let ToBroker::Submit(submit) = message { Some((to, submit)) } else { None };
    sent(outputs).into_iter().filter_map(submit).collect()
}

fn heartbeats(outputs: &[Output]) -> Vec<Heartbeat> {
    let heartbeat = |(_, message)| if let ToBroker::Heartbeat(heartbeat) = message { Some(heartbeat) } else { None };
    sent(outputs).into_iter().filter_map(heartbeat).collect()
}

fn registers(outputs: &[Output]) -> Vec<(NodeId, Register)> {
    let register = |(to, message)| if let ToBroker::Register(register) = message { Some((to, register)) } else { None };
    sent(outputs).into_iter().filter_map(register).collect()
}

fn connects(outputs: &[(u64, Output)]) -> Vec<(u64, String)> {
    let connect = |(at, output): &(u64, Output)| {
        if let Output::Connect { address } = output { Some((*at, address.clone())) } else { None }
    };
    outputs.iter().filter_map(connect).collect()
}

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

// Registration and heartbeats.

#[test]
fn it_registers_with_the_first_broker_and_sends_heartbeats() {
    let mut scene = Scene::new(config());
    assert_eq!(scene.outputs(), [Output::Connect { address: "home".into() }]);
    let outputs = scene.link_up(HOME, "home");
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((register.registration, register.slots, register.held.len()), (1, 4, 0));
    assert_eq!(scene.agent.home(), None);
    let outputs = scene.registered(HOME, vec![]);
    assert!(matches!(outputs[..], [Output::Notify(Event::Registered { broker: HOME, registration: 1, .. })]));
    assert_eq!(scene.agent.home(), Some(HOME));
    assert!(heartbeats(&scene.pass(4_999)).is_empty());
    assert_eq!(heartbeats(&scene.pass(1)).len(), 1);
    let outputs: Vec<_> = scene.run(15_000).into_iter().map(|(_, output)| output).collect();
    assert_eq!(heartbeats(&outputs).iter().map(|beat| beat.sequence).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_lost_registration_is_repeated_with_a_greater_number() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let again = registers(&scene.pass(2_000));
    assert_eq!(again[0].1.registration, 2);
    // The answer to the first one comes late and is not the one that counts.
    let late = ToExecutor::Registered {
        session: scene.agent.session(),
        registration: 1,
        terms: config().terms,
        roster: vec![],
        held: vec![],
    };
    scene.receive(HOME, late);
    assert_eq!(scene.agent.home(), None);
    scene.registered(HOME, vec![]);
    assert_eq!(scene.agent.home(), Some(HOME));
}

#[test]
fn a_session_behind_is_raised_above_the_one_known() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let known = SessionEpoch::new(Hlc::from_u64(u64::MAX - 5), 9);
    let outputs = scene.receive(HOME, ToExecutor::SessionBehind { known });
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(register.session > known);
    assert_eq!(register.registration, 2);
    // The same answer once more, to the first registration, changes nothing.
    assert!(scene.receive(HOME, ToExecutor::SessionBehind { known }).is_empty());
    scene.registered(HOME, vec![]);
    assert_eq!(scene.agent.home(), Some(HOME));
}

#[test]
fn a_broker_that_knows_every_session_better_is_given_up() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let mut sessions = BTreeSet::new();
    for _ in 0..20 {
        let known = scene.agent.session();
        sessions.insert(known);
        scene.receive(HOME, ToExecutor::SessionBehind { known });
    }
    assert!(sessions.len() <= 9, "{}", sessions.len());
    assert_eq!(connects(&scene.run(1_000))[0].1, "other");
    // And where there is no greater session.
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let known = SessionEpoch::new(Hlc::MAX, u64::MAX);
    let outputs = scene.receive(HOME, ToExecutor::SessionBehind { known });
    assert_eq!(outputs, [Output::Disconnect { broker: HOME }]);
}

#[test]
fn not_registered_means_register_again_with_what_is_held() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let outputs = scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 });
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((register.registration, register.held[0].attempt), (2, first));
    // The answer to a heartbeat of the former registration does not start it all over.
    scene.registered(HOME, vec![(first, HeldVerdict::Continue)]);
    assert!(scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 }).is_empty());
    assert_eq!(scene.held(), [first]);
}

// Orders.

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
    scene.order(vec![Order::Stop { attempt: newer, reason: StopReason::Replaced }]);
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
        scene.order(vec![Order::Stop { attempt: short, reason: StopReason::Completed }]);
    }
    assert_eq!(scene.agent.attempts.remembered(), 9);
    let greatest = token(held);
    assert_eq!(refusals(&scene.order(vec![start(attempt(1, 1, 1))])), [Refusal::SmallerToken { greatest }]);
    assert_eq!(refusals(&scene.order(vec![start(attempt(19, 2, 1))])), [Refusal::AlreadyEnded]);
}

// Leases.

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

// Results.

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
    let stop = |attempt| Order::Stop { attempt, reason: StopReason::Completed };
    let outputs = scene.order(vec![stop(running), stop(done), stop(attempt(3, 1, 1))]);
    assert_eq!(stops(&outputs), [running]);
    assert_eq!((scene.agent.kept(), scene.held().len()), (1, 0));
    assert_eq!(scene.agent.free(), config().capacity);
}

// Losing the home, and finding another.

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

// Leaving.

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

// Laws.

/// One step of anything that may happen, of a small world in which everything collides.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Sleep(u64),
    Next,
    LinkUp(u8),
    LinkDown(u8),
    ConnectFailed,
    Registered(u8, u8),
    Behind(u8, i8),
    Answer { from: u8, back: u8, renew: bool, starts: Vec<(u8, u8, u8)>, stops: Vec<(u8, u8, u8)> },
    NotRegistered(u8),
    Submitted(u8, u8),
    Finish(u8),
    Progress(u8, u16),
    Drain,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let attempts = || proptest::collection::vec((1..6_u8, 1..3_u8, 1..3_u8), 0..4);
    // Mostly the broker that is the home at first, so that things happen.
    let from = || prop_oneof![4 => Just(0_u8), 1 => 1..3_u8];
    prop_oneof![
        8 => (0..8_000_u64).prop_map(Step::Pass),
        8 => Just(Step::Next),
        2 => (0..10_000_u64).prop_map(Step::Sleep),
        8 => from().prop_map(Step::LinkUp),
        3 => from().prop_map(Step::LinkDown),
        3 => Just(Step::ConnectFailed),
        16 => (from(), 0..4_u8).prop_map(|(from, verdict)| Step::Registered(from, verdict)),
        2 => (from(), -1..2_i8).prop_map(|(from, above)| Step::Behind(from, above)),
        40 => (from(), 0..3_u8, any::<bool>(), attempts(), attempts())
            .prop_map(|(from, back, renew, starts, stops)| Step::Answer { from, back, renew, starts, stops }),
        2 => from().prop_map(Step::NotRegistered),
        12 => (from(), 0..4_u8).prop_map(|(from, kind)| Step::Submitted(from, kind)),
        20 => any::<u8>().prop_map(Step::Finish),
        2 => (any::<u8>(), any::<u16>()).prop_map(|(which, bp)| Step::Progress(which, bp)),
        1 => Just(Step::Drain),
        1 => Just(Step::Leave),
    ]
}

/// What an observer outside the agent knows.
#[derive(Default)]
struct Observer {
    ran: BTreeSet<AttemptId>,
    running: BTreeSet<AttemptId>,
    /// Results that were made, and neither answered nor given up by leaving.
    unanswered: BTreeSet<AttemptId>,
    submitted: Vec<Submit>,
    registrations: BTreeSet<(SessionEpoch, u64)>,
    outputs: Vec<Output>,
}

impl Observer {
    fn watch(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match &output {
                Output::Run { attempt, .. } => {
                    assert!(self.ran.insert(*attempt), "{attempt} runs twice");
                    assert!(self.running.insert(*attempt));
                }
                Output::Stop { attempt } => assert!(self.running.remove(attempt), "{attempt} does not run"),
                Output::Send { message: ToBroker::Submit(submit), .. } => {
                    let same = |old: &&Submit| (old.attempt, old.sequence) == (submit.attempt, submit.sequence);
                    match self.submitted.iter().find(same) {
                        Some(old) => assert_eq!(old, submit, "one submission with two contents"),
                        None => self.submitted.push(submit.clone()),
                    }
                }
                Output::Send { message: ToBroker::Register(register), .. } => {
                    assert!(self.registrations.insert((register.session, register.registration)));
                }
                Output::Send { .. } | Output::Connect { .. } | Output::Disconnect { .. } | Output::Notify(_) => {}
            }
            self.outputs.push(output);
        }
    }
}

/// Plays the steps, checks after each of them, and gives back everything that came out.
fn play(config: AgentConfig, steps: &[Step]) -> Vec<Output> {
    let capacity = config.capacity;
    let slots = config.slots as usize;
    let mut scene = Scene::at_home(config);
    let mut observer = Observer::default();
    let broker = |which: u8| NodeId::new([which + 1; 16]);
    let address = |which: u8| ["home", "other", "roster"][usize::from(which)];
    for step in steps {
        let running: Vec<_> = observer.running.iter().copied().collect();
        let pick = |which: u8| running.get(usize::from(which).checked_rem(running.len()).unwrap_or(0)).copied();
        let left = scene.agent.has_left();
        let outputs = match step.clone() {
            Step::Pass(ms) => scene.pass(ms),
            Step::Sleep(ms) => {
                scene.now.wall = scene.now.wall.saturating_add(ms);
                scene.input(Input::Tick)
            }
            Step::Next => match scene.agent.next_deadline() {
                Some(deadline) => scene.pass(deadline.saturating_since(scene.now.mono)),
                None => vec![],
            },
            Step::LinkUp(from) => scene.link_up(broker(from), address(from)),
            Step::LinkDown(from) => scene.input(Input::LinkDown { broker: broker(from) }),
            Step::ConnectFailed => {
                let address = scene.agent.candidates.current().unwrap_or_default().to_owned();
                scene.input(Input::ConnectFailed { address })
            }
            Step::Registered(from, verdict) => {
                let verdicts = [HeldVerdict::Continue, HeldVerdict::Stop, HeldVerdict::SubmitOnly];
                let verdict = verdicts.get(usize::from(verdict)).copied();
                let held = running.iter().filter_map(|attempt| Some((*attempt, verdict?))).collect();
                scene.registered(broker(from), held)
            }
            Step::Behind(from, above) => {
                let session = scene.agent.session();
                let start = Hlc::from_u64(session.start.as_u64().saturating_add_signed(above.into()));
                scene.receive(broker(from), ToExecutor::SessionBehind { known: SessionEpoch { start, ..session } })
            }
            Step::Answer { from, back, renew, starts, stops } => {
                let of = |(job, epoch, number): (u8, u8, u8)| attempt(job.into(), epoch.into(), number.into());
                let spec = |job: u8| JobSpec::new(vec![job]).with_fenced(job == 2);
                let mut orders: Vec<_> = starts.into_iter().map(|start| start_spec(of(start), spec(start.0))).collect();
                let stop = |stop| Order::Stop { attempt: of(stop), reason: StopReason::Replaced };
                orders.extend(stops.into_iter().map(stop));
                let message = ToExecutor::HeartbeatAnswer {
                    session: scene.agent.session(),
                    registration: scene.agent.registration(),
                    sequence: scene.agent.heartbeat.saturating_sub(back.into()),
                    renewed: if renew { running.clone() } else { vec![] },
                    lost: vec![],
                    orders,
                    roster: vec![],
                };
                scene.receive(broker(from), message)
            }
            Step::NotRegistered(from) => {
                let registration = scene.agent.registration();
                scene.receive(broker(from), ToExecutor::NotRegistered { registration })
            }
            Step::Submitted(from, kind) => {
                let canonical = SubmissionId { accepted_by: ReplicaId::new(4).unwrap(), number: 2 };
                let answer = [
                    ACCEPTED,
                    Answer::Rejected(Rejection::Settled { canonical }),
                    Answer::Busy { retry_after_ms: 0 },
                    Answer::Parked { until_ms: 0 },
                ][usize::from(kind)];
                match observer.submitted.last().cloned() {
                    Some(submit) => {
                        if answer.is_final() && !left {
                            observer.unanswered.remove(&submit.attempt);
                        }
                        scene.submit_answer(broker(from), &submit, answer)
                    }
                    None => vec![],
                }
            }
            Step::Finish(which) => match pick(which) {
                Some(attempt) => {
                    observer.running.remove(&attempt);
                    // Stop and finish may cross only in one direction: what runs is held.
                    assert!(left || scene.held().contains(&attempt));
                    observer.unanswered.insert(attempt);
                    scene.finish(attempt, &[which])
                }
                None => vec![],
            },
            Step::Progress(which, bp) => match pick(which) {
                Some(attempt) => scene.input(Input::Progress { attempt, bp }),
                None => vec![],
            },
            Step::Drain => scene.input(Input::Drain),
            Step::Leave => scene.input(Input::Leave),
        };
        observer.watch(outputs);
        let held = scene.held();
        assert_eq!(held, observer.running.iter().copied().collect::<Vec<_>>());
        assert!(held.len() <= slots);
        let used = Resources::new(1_000 * held.len() as u64, 0, 0);
        assert_eq!(scene.agent.free(), capacity.saturating_sub(used), "what runs is what is used");
        assert_eq!(scene.agent.kept(), observer.unanswered.len(), "no result is dropped");
    }
    observer.outputs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn law_no_attempt_runs_twice_and_no_result_is_dropped(steps in proptest::collection::vec(step(), 0..150)) {
        play(config(), &steps);
    }

    #[test]
    fn law_same_seed_same_outputs(steps in proptest::collection::vec(step(), 0..100)) {
        prop_assert_eq!(play(config(), &steps), play(config(), &steps));
    }

    #[test]
    fn law_an_agent_with_a_willing_broker_delivers(
        steps in proptest::collection::vec(step().prop_filter("stays", |step| !matches!(step, Step::Leave)), 0..100),
    ) {
        let mut scene = Scene::new(config());
        scene.outputs();
        scene.link_up(HOME, "home");
        scene.registered(HOME, vec![]);
        scene.order((1..=4).map(|job| start(attempt(job, 1, 1))).collect());
        for job in 1..=4 {
            scene.finish(attempt(job, 1, 1), b"out");
        }
        // Whatever happens then, short of a final answer,
        for step in &steps {
            match step {
                Step::Pass(ms) => drop(scene.pass(*ms)),
                Step::LinkUp(from) => drop(scene.link_up(NodeId::new([from + 1; 16]), "other")),
                Step::LinkDown(from) => drop(scene.input(Input::LinkDown { broker: NodeId::new([from + 1; 16]) })),
                Step::Registered(from, _) => drop(scene.registered(NodeId::new([from + 1; 16]), vec![])),
                Step::ConnectFailed => drop(scene.input(Input::ConnectFailed { address: "other".into() })),
                _ => {}
            }
        }
        // a broker that answers everything gets every result before two discovery rounds are over.
        let mut delivered = BTreeSet::new();
        let mut pending: Vec<Output> = Vec::new();
        let end = scene.now.mono.saturating_add(400_000);
        while scene.now.mono < end && delivered.len() < 4 {
            let wait = scene.agent.next_deadline().map_or(1, |deadline| deadline.saturating_since(scene.now.mono));
            pending.extend(scene.pass(wait.min(1_000)));
            while let Some(output) = pending.pop() {
                match output {
                    Output::Connect { address } => pending.extend(scene.link_up(OTHER, &address)),
                    Output::Send { to, message: ToBroker::Register(_) } => pending.extend(scene.registered(to, vec![])),
                    Output::Send { message: ToBroker::Heartbeat(beat), .. } if scene.agent.home().is_some() => {
                        pending.extend(scene.answer(beat.sequence, vec![], vec![]));
                    }
                    Output::Send { to, message: ToBroker::Submit(submit) } => {
                        delivered.insert(submit.attempt);
                        pending.extend(scene.submit_answer(to, &submit, ACCEPTED));
                    }
                    _ => {}
                }
            }
        }
        prop_assert_eq!(delivered.len(), 4);
        prop_assert_eq!(scene.agent.kept(), 0);
    }
}
