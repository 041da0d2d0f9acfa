//! Scenarios of one agent and the brokers it meets, told message by message.

mod homes;
mod laws;
mod leases;
mod orders;
mod promotion;
mod registration;
mod results;

use reconvene_clock::{Hlc, ReplicaId, WallTime};

use super::*;
use crate::answer::{Finality, Rejection};
use crate::id::{JobId, OwnershipEpoch, SubmissionId};
use crate::message::{RosterRole, StopReason};

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
            roster: vec![RosterEntry { node: OTHER, role: RosterRole::Broker, address: "roster".into() }],
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
