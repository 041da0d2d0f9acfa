//! Links in memory, and brokers that take everything.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex};

use reconvene_executor::codec::{decode_to_broker, encode_to_executor};
use reconvene_executor::{
    Answer, AttemptId, BrokerLink, FencingToken, Finality, HeldVerdict, JobId, JobSpec, LinkEvent, NodeId, Order,
    OwnershipEpoch, SessionEpoch, StopReason, Submit, Terms, ToBroker, ToExecutor,
};
use tokio::sync::mpsc;

/// How a broker of the network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers everything, and accepts every result.
    Willing,
    /// Takes no frame in: sending to it waits for ever.
    Stuck,
    /// Cannot be reached.
    Gone,
}

#[derive(Debug)]
struct Broker {
    manner: Manner,
    orders: Vec<Order>,
    submitted: Vec<Submit>,
    running: BTreeSet<AttemptId>,
    last: Option<(SessionEpoch, u64)>,
    left: bool,
}

#[derive(Debug)]
struct State {
    brokers: BTreeMap<NodeId, Broker>,
    linked: BTreeSet<NodeId>,
    /// `None` once the link is finished.
    events: Option<mpsc::UnboundedSender<LinkEvent>>,
}

/// The network around one executor. Brokers are called by one letter, which is their address too.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Mutex<State>>);

/// The executor's end of it.
#[derive(Debug)]
pub(crate) struct Link {
    network: Network,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<LinkEvent>>,
}

#[derive(Debug)]
pub(crate) struct Unreachable;

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody there")
    }
}

impl std::error::Error for Unreachable {}

pub(crate) fn node(address: &str) -> NodeId {
    NodeId::new([address.as_bytes()[0]; 16])
}

impl Network {
    pub(crate) fn new(brokers: &[(&str, Manner)]) -> (Self, Link) {
        let broker = |(address, manner): &(&str, Manner)| {
            let (orders, submitted) = (Vec::new(), Vec::new());
            let broker =
                Broker { manner: *manner, orders, submitted, running: BTreeSet::new(), last: None, left: false };
            (node(address), broker)
        };
        let (sender, events) = mpsc::unbounded_channel();
        let brokers = brokers.iter().map(broker).collect();
        let state = State { brokers, linked: BTreeSet::new(), events: Some(sender) };
        let network = Self(Arc::new(Mutex::new(state)));
        (network.clone(), Link { network, events: tokio::sync::Mutex::new(events) })
    }

    fn with<T>(&self, address: &str, look: impl FnOnce(&mut Broker) -> T) -> T {
        look(self.0.lock().unwrap().brokers.get_mut(&node(address)).unwrap())
    }

    /// The broker orders this with its next answer, again and again.
    pub(crate) fn order(&self, broker: &str, order: Order) {
        self.with(broker, |broker| broker.orders.push(order));
    }

    pub(crate) fn submitted(&self, broker: &str) -> Vec<Submit> {
        self.with(broker, |broker| broker.submitted.clone())
    }

    /// What the last heartbeat to the broker listed.
    pub(crate) fn running(&self, broker: &str) -> BTreeSet<AttemptId> {
        self.with(broker, |broker| broker.running.clone())
    }

    pub(crate) fn was_left(&self, broker: &str) -> bool {
        self.with(broker, |broker| broker.left)
    }

    /// The broker vanishes, and its link with it.
    pub(crate) fn kill(&self, broker: &str) {
        self.with(broker, |broker| broker.manner = Manner::Gone);
        let mut state = self.0.lock().unwrap();
        if state.linked.remove(&node(broker)) {
            state.emit(LinkEvent::LinkDown { peer: node(broker) });
        }
    }

    pub(crate) fn finish_link(&self) {
        self.0.lock().unwrap().events = None;
    }

    pub(crate) fn send_garbage(&self, from: &str) {
        self.0.lock().unwrap().emit(LinkEvent::Frame { from: node(from), frame: vec![1, 0xff, 0xff] });
    }
}

impl State {
    fn emit(&self, event: LinkEvent) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

impl Broker {
    fn answer(&mut self, message: ToBroker) -> Option<ToExecutor> {
        match message {
            ToBroker::Register(register) => {
                self.last = Some((register.session, register.registration));
                Some(ToExecutor::Registered {
                    session: register.session,
                    registration: register.registration,
                    terms: Terms { lease_ms: 30_000, heartbeat_ms: 5_000, drift_ms: 2_000 },
                    roster: vec![],
                    held: register.held.iter().map(|held| (held.attempt, HeldVerdict::Continue)).collect(),
                })
            }
            ToBroker::Heartbeat(beat) => {
                self.running = beat.running.iter().map(|held| held.attempt).collect();
                Some(ToExecutor::HeartbeatAnswer {
                    session: beat.session,
                    registration: beat.registration,
                    sequence: beat.sequence,
                    renewed: self.running.iter().copied().collect(),
                    lost: vec![],
                    orders: self.orders.clone(),
                    roster: vec![],
                })
            }
            ToBroker::Submit(submit) => {
                let (attempt, sequence) = (submit.attempt, submit.sequence);
                self.submitted.push(submit);
                let answer = Answer::Accepted { finality: Finality::Provisional };
                Some(ToExecutor::SubmitAnswer { attempt, sequence, answer })
            }
            ToBroker::Spec(_) => None,
            ToBroker::Leave(leave) => {
                self.left = self.last == Some((leave.session, leave.registration));
                None
            }
        }
    }
}

impl BrokerLink for Link {
    type Error = Unreachable;

    async fn connect(&self, address: &str) -> Result<NodeId, Unreachable> {
        let mut state = self.network.0.lock().unwrap();
        let peer = node(address);
        if state.brokers.get(&peer).is_none_or(|broker| broker.manner == Manner::Gone) {
            return Err(Unreachable);
        }
        if state.linked.insert(peer) {
            state.emit(LinkEvent::LinkUp { peer, address: Some(address.into()) });
        }
        Ok(peer)
    }

    async fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), Unreachable> {
        let manner = self.network.0.lock().unwrap().brokers[&to].manner;
        if manner == Manner::Stuck {
            pending::<()>().await;
        }
        let mut state = self.network.0.lock().unwrap();
        if !state.linked.contains(&to) {
            return Err(Unreachable);
        }
        let message = decode_to_broker(frame).unwrap();
        if let Some(answer) = state.brokers.get_mut(&to).unwrap().answer(message) {
            let frame = encode_to_executor(&answer).unwrap();
            state.emit(LinkEvent::Frame { from: to, frame });
        }
        Ok(())
    }

    async fn recv(&self) -> Result<LinkEvent, Unreachable> {
        self.events.lock().await.recv().await.ok_or(Unreachable)
    }

    fn disconnect(&self, broker: NodeId) {
        let mut state = self.network.0.lock().unwrap();
        if state.linked.remove(&broker) {
            state.emit(LinkEvent::LinkDown { peer: broker });
        }
    }
}

pub(crate) fn attempt(job: u64, number: u32) -> AttemptId {
    let owner = reconvene_clock::ReplicaId::new(1).unwrap();
    AttemptId { job: JobId::new(owner, job), epoch: OwnershipEpoch::FIRST, owner, number }
}

pub(crate) fn start(attempt: AttemptId, spec: JobSpec) -> Order {
    let token = FencingToken { epoch: attempt.epoch, tie: 0, owner: attempt.owner, number: attempt.number };
    Order::Start { attempt, token, spec, lease_ms: 30_000 }
}

pub(crate) fn stop(attempt: AttemptId) -> Order {
    Order::Stop { attempt, reason: StopReason::Cancelled, drain_ms: 0 }
}
