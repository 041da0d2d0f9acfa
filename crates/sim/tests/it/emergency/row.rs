//! Brokers in a row on slow links, an executor beside each.

use std::collections::BTreeMap;

use reconvene_broker::{
    Command, Config, EventKind, JobView, Node, NodeConfig, NodeEvent, NodeInput, NodeOutput, Reply, StrategyKind,
};
use reconvene_clock::{Hlc, NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_executor::{
    self as executor, Agent, AgentConfig, AttemptId, JobId, Report, SessionEpoch, TraceJob, codec,
};
use reconvene_store::{Head, Identity, Limits, MemoryStore, ready};
use reconvene_sync::{self as sync, Lane, NetworkId, Performed, StoreDriver, Ticket, frame_lane};

/// Of each link, one way.
const BITS: u64 = 64_000;
pub(super) const PROPAGATION_MS: u64 = 20;
/// What one packet holds that an urgent frame may have to wait for.
pub(super) const PACKET_BYTES: usize = 1_200;
/// How long a frame takes between a broker and its executor, which are in one place.
pub(super) const BESIDE_MS: u64 = 1;

/// Brokers in a row, each linked with the next alone.
pub(super) struct Row {
    pub(super) now: u64,
    nodes: Vec<(Node, StoreDriver<MemoryStore>)>,
    /// The executor of each broker, and what it runs.
    agents: Vec<(Agent, BTreeMap<AttemptId, Report>)>,
    /// What is on its way or under way, by when it arrives or ends.
    due: BTreeMap<(u64, u64), Due>,
    scheduled: u64,
    /// When each way is free again for each lane.
    free: BTreeMap<(usize, usize), [u64; 2]>,
    /// When each broker first knew so many emergencies.
    pub(super) heard: BTreeMap<(usize, usize), u64>,
    tickets: u64,
    replies: BTreeMap<u64, Reply>,
    /// What brokers announced, and what their executors did.
    pub(super) announced: Vec<(u64, usize, EventKind)>,
    pub(super) reported: Vec<(u64, usize, executor::Event)>,
    pub(super) started: Vec<(u64, usize, AttemptId)>,
}

enum Due {
    Peer { from: usize, to: usize, frame: Vec<u8> },
    ToBroker { index: usize, frame: Vec<u8> },
    ToExecutor { index: usize, frame: Vec<u8> },
    RunEnds { index: usize, attempt: AttemptId },
}

pub(super) fn node_id(index: usize) -> NodeId {
    NodeId::new([u8::try_from(index).unwrap().saturating_add(1); 16])
}

fn executor_id(index: usize) -> NodeId {
    NodeId::new([u8::try_from(index).unwrap().saturating_add(101); 16])
}

/// How long so many bytes take on the wire.
pub(super) fn took(bytes: usize) -> u64 {
    (u64::try_from(bytes).unwrap() * 8_000).div_ceil(BITS)
}

impl Row {
    pub(super) fn new(count: usize) -> Self {
        let network = NetworkId::of_name("slow");
        let mut row = Self {
            now: 0,
            nodes: Vec::new(),
            agents: Vec::new(),
            due: BTreeMap::new(),
            scheduled: 0,
            free: BTreeMap::new(),
            heard: BTreeMap::new(),
            tickets: 0,
            replies: BTreeMap::new(),
            announced: Vec::new(),
            reported: Vec::new(),
            started: Vec::new(),
        };
        for index in 0..count {
            let replica = ReplicaId::new(u64::try_from(index).unwrap() + 1).unwrap();
            let identity = Identity { node: node_id(index), replica, incarnation: 1 };
            let sync = sync::Config::new(network, u64::try_from(index).unwrap());
            let lifecycle = Config::new(StrategyKind::EmergencyFirst).build().unwrap();
            let store = StoreDriver::new(MemoryStore::for_network(identity, network, Limits::default()));
            let head = Head::new(identity, network);
            let node = Node::open(NodeConfig::new(sync, lifecycle), head, Vec::new(), row.time()).unwrap();
            row.nodes.push((node, store));
        }
        (0..count).for_each(|index| row.perform(index));
        for index in 1..count {
            row.feed(index, NodeInput::PeerUp { peer: node_id(index - 1), address: None });
            row.feed(index - 1, NodeInput::PeerUp { peer: node_id(index), address: None });
        }
        row
    }

    /// Puts an executor with one slot beside each broker.
    pub(super) fn add_executors(&mut self) {
        for index in 0..self.nodes.len() {
            let session = SessionEpoch { start: Hlc::from_u64(1), random: 1 };
            let mut config = AgentConfig::new(session, u64::try_from(index).unwrap());
            config.brokers = vec!["beside".to_owned()];
            self.agents.push((Agent::new(config, self.time()).unwrap(), BTreeMap::new()));
            self.perform_agent(index);
        }
    }

    fn time(&self) -> Now {
        Now { mono: Timestamp::from_millis(self.now), wall: WallTime::from_millis(1_000_000_000 + self.now) }
    }

    fn feed(&mut self, index: usize, input: NodeInput) {
        let now = self.time();
        self.nodes[index].0.handle(now, input);
        self.perform(index);
    }

    fn perform(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].0.poll_output() {
            match output {
                NodeOutput::Store(output) => {
                    let performed = ready(self.nodes[index].1.perform(output)).unwrap().unwrap();
                    if let Performed::Input(answer) = performed {
                        let now = self.time();
                        self.nodes[index].0.handle(now, NodeInput::Store(answer));
                    }
                }
                NodeOutput::SendPeer { to, frame } => self.send(index, to, frame),
                NodeOutput::SendExecutor { frame, .. } => self.schedule(BESIDE_MS, Due::ToExecutor { index, frame }),
                NodeOutput::Reply { ticket, reply } => {
                    self.replies.insert(ticket.0, reply.unwrap());
                }
                NodeOutput::Notify(NodeEvent::Job(event)) => self.announced.push((self.now, index, event.kind)),
                _ => {}
            }
        }
        let known = self.nodes[index].0.coordinator().emergencies().count();
        self.heard.entry((index, known)).or_insert(self.now);
    }

    fn feed_agent(&mut self, index: usize, input: executor::Input) {
        let now = self.time();
        self.agents[index].0.handle(now, input);
        self.perform_agent(index);
    }

    fn perform_agent(&mut self, index: usize) {
        while let Some(output) = self.agents[index].0.poll_output() {
            match output {
                executor::Output::Connect { address } => {
                    self.feed(index, NodeInput::ExecutorUp { executor: executor_id(index) });
                    let now = self.time();
                    let up = executor::Input::LinkUp { broker: node_id(index), address: Some(address) };
                    self.agents[index].0.handle(now, up);
                }
                executor::Output::Send { message, .. } => {
                    let frame = codec::encode_to_broker(&message).unwrap();
                    self.schedule(BESIDE_MS, Due::ToBroker { index, frame });
                }
                executor::Output::Run { attempt, spec } => {
                    let job = TraceJob::decode(&spec.payload).unwrap();
                    self.agents[index].1.insert(attempt, job.report(executor_id(index)));
                    self.started.push((self.now, index, attempt));
                    self.schedule(job.run_ms, Due::RunEnds { index, attempt });
                    let now = self.time();
                    self.agents[index].0.handle(now, executor::Input::Started { attempt });
                }
                executor::Output::Stop { attempt } => {
                    self.agents[index].1.remove(&attempt);
                }
                executor::Output::Notify(event) => self.reported.push((self.now, index, event)),
                executor::Output::Disconnect { .. } | executor::Output::Promote { .. } => {
                    panic!("the executor of {index} loses its broker");
                }
            }
        }
    }

    fn schedule(&mut self, in_ms: u64, due: Due) {
        self.scheduled += 1;
        self.due.insert((self.now + in_ms, self.scheduled), due);
    }

    /// Two lanes on one wire: an urgent frame waits for urgent ones before it and for a whole packet of bulk, as if one had
    /// always just begun.
    fn send(&mut self, from: usize, to: NodeId, frame: Vec<u8>) {
        let Some(to) = (0..self.nodes.len()).find(|index| node_id(*index) == to) else { return };
        let (now, takes) = (self.now, took(frame.len()));
        let [urgent, bulk] = self.free.entry((from, to)).or_default();
        let left = match frame_lane(&frame) {
            Lane::Urgent => {
                let left = (*urgent).max(now + took(PACKET_BYTES)) + takes;
                *urgent = left;
                *bulk = if *bulk > now { *bulk + takes } else { *bulk };
                left
            }
            Lane::Bulk => {
                *bulk = now.max(*urgent).max(*bulk) + takes;
                *bulk
            }
        };
        self.schedule(left + PROPAGATION_MS - now, Due::Peer { from, to, frame });
    }

    pub(super) fn run_until(&mut self, until: u64) {
        loop {
            let due = self.due.first_key_value().map(|((at, _), _)| *at);
            let of_nodes = self.nodes.iter().filter_map(|(node, _)| node.next_deadline());
            let of_agents = self.agents.iter().filter_map(|(agent, _)| agent.next_deadline());
            let timer = of_nodes.chain(of_agents).map(Timestamp::as_millis).min().map(|at| at.max(self.now));
            let Some(next) = due.into_iter().chain(timer).min().filter(|next| *next <= until) else { break };
            self.now = next;
            if due == Some(next) {
                let (_, due) = self.due.pop_first().unwrap();
                self.happen(due);
                continue;
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].0.next_deadline().is_some_and(|due| due.as_millis() <= next) {
                    self.feed(index, NodeInput::Tick);
                }
            }
            for index in 0..self.agents.len() {
                if self.agents[index].0.next_deadline().is_some_and(|due| due.as_millis() <= next) {
                    self.feed_agent(index, executor::Input::Tick);
                }
            }
        }
        self.now = until;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Peer { from, to, frame } => self.feed(to, NodeInput::PeerFrame { from: node_id(from), frame }),
            Due::ToBroker { index, frame } => {
                self.feed(index, NodeInput::ExecutorFrame { from: executor_id(index), frame });
            }
            Due::ToExecutor { index, frame } => {
                let message = codec::decode_to_executor(&frame).unwrap();
                self.feed_agent(index, executor::Input::Received { from: node_id(index), message });
            }
            Due::RunEnds { index, attempt } => {
                // It was not stopped meanwhile.
                if let Some(report) = self.agents[index].1.remove(&attempt) {
                    self.feed_agent(index, executor::Input::Finished { attempt, report });
                }
            }
        }
    }

    pub(super) fn command(&mut self, index: usize, command: Command) -> Reply {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.feed(index, NodeInput::Command { ticket, command });
        self.replies.remove(&ticket.0).unwrap()
    }

    pub(super) fn known(&self, index: usize, job: JobId) -> Option<JobView> {
        self.nodes[index].0.coordinator().job(job)
    }

    pub(super) fn job(&self, index: usize, job: JobId) -> JobView {
        self.known(index, job).unwrap()
    }

    /// The digest of all that a broker holds.
    pub(super) fn root(&self, index: usize) -> String {
        self.nodes[index].0.replica().head().digest().root.to_string()
    }

    /// How long the bulk that waits for this way takes.
    pub(super) fn backlog_ms(&self, from: usize, to: usize) -> u64 {
        self.free.get(&(from, to)).map_or(0, |[_, bulk]| bulk.saturating_sub(self.now))
    }
}
