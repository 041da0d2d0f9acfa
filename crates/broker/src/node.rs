//! One broker as a single sans-io value: a [`Replica`] and a [`Coordinator`], and the routing between the two.

use std::collections::BTreeMap;

use reconvene_clock::{Counter, NodeId, Now, Timestamp};
use reconvene_executor::codec as executor_codec;
use reconvene_store::{Cursor, Head, Prefix, Record, Snapshot, StoreError};
use reconvene_sync::{self as sync, Replica, Ticket};

use crate::coordinator::{self, Coordinator};
use crate::peer::PeerMessage;
use crate::{
    Bundle, BundleAnswer, BundleRequest, Command, CommandError, Config, Event, ExecutorState, JobStatus,
    MAX_BUNDLE_BYTES, NodeStatus, PeerStatus, Reply,
};

/// What drives a [`Node`].
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a new input must be routed by every driver")]
pub enum NodeInput {
    /// Time passed: [`Node::next_deadline`] is due.
    Tick,
    /// This broker is about to stop: peers are told, no new work is started.
    Leave,
    /// A link to another broker is up: authenticated, its hello answered.
    PeerUp {
        /// The peer, as its certificate names it.
        peer: NodeId,
        /// Where it can be dialled again, if known.
        address: Option<String>,
    },
    /// The last link to that broker is gone.
    PeerDown {
        /// The peer.
        peer: NodeId,
    },
    /// A frame from another broker.
    PeerFrame {
        /// The transport's word for who sent it.
        from: NodeId,
        /// The frame, as received.
        frame: Vec<u8>,
    },
    /// An address at which a broker may be found.
    Candidate {
        /// The address, in the transport's notation.
        address: String,
    },
    /// Dialling an address came to nothing.
    ConnectFailed {
        /// The address of the [`NodeOutput::Connect`].
        address: String,
    },
    /// What a [`sync::StoreDriver`] answered to a [`NodeOutput::Store`].
    Store(sync::Input),
    /// A link to an executor is up.
    ExecutorUp {
        /// The executor, as its certificate names it.
        executor: NodeId,
    },
    /// The last link to that executor is gone.
    ExecutorDown {
        /// The executor.
        executor: NodeId,
    },
    /// A frame from an executor.
    ExecutorFrame {
        /// The transport's word for who sent it.
        from: NodeId,
        /// The frame, as received.
        frame: Vec<u8>,
    },
    /// Make a bundle; answered by [`NodeOutput::Bundle`].
    MakeBundle {
        /// Chosen by the caller, echoed in the answer.
        ticket: Ticket,
        /// What it is to hold.
        request: BundleRequest,
    },
    /// A fragment of a bundle was brought by somebody who vouches for it; answered by [`NodeOutput::Bundle`].
    BundleFragment {
        /// Chosen by the caller, echoed in the answer.
        ticket: Ticket,
        /// The fragment.
        bytes: Vec<u8>,
    },
    /// Something a user of this broker asks for.
    Command {
        /// Chosen by the caller, echoed in [`NodeOutput::Reply`].
        ticket: Ticket,
        /// What is asked.
        command: Command,
    },
}

/// What a [`Node`] asks its driver to do. Perform outputs strictly in order; asking for the next one says that this one
/// was performed.
#[derive(Debug)]
#[must_use = "an unperformed output is a lost effect"]
#[expect(clippy::exhaustive_enums, reason = "a new effect must break every driver at compile time")]
pub enum NodeOutput {
    /// One of the replica's store effects (persist, views, loads), for a [`sync::StoreDriver`].
    ///
    /// A failed persist ends this node: stop asking, open the store again, make a new one.
    Store(sync::Output),
    /// Best effort: may be lost, repeated or reordered.
    SendPeer {
        /// The broker it is for.
        to: NodeId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Best effort, as above.
    SendExecutor {
        /// The executor it is for.
        to: NodeId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Dial this address; answer with [`NodeInput::PeerUp`] or [`NodeInput::ConnectFailed`].
    Connect {
        /// In the transport's notation.
        address: String,
    },
    /// Close the links to this broker.
    DisconnectPeer {
        /// The peer.
        peer: NodeId,
    },
    /// The answer to a command.
    Reply {
        /// The ticket of the command.
        ticket: Ticket,
        /// What came of it.
        reply: Result<Reply, CommandError>,
    },
    /// The answer to a request about bundles.
    Bundle {
        /// The ticket of the request.
        ticket: Ticket,
        /// What came of it.
        answer: BundleAnswer,
    },
    /// Something a user may want to know.
    Notify(NodeEvent),
}

/// What a broker tells its users without being asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// From the life of jobs and executors.
    Job(Event),
    /// From the exchange with other brokers.
    Sync(sync::Event),
}

/// How a [`Node`] behaves: the settings of its two halves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Sessions, peers and schedules.
    pub sync: sync::Config,
    /// Jobs, executors and strategies.
    pub lifecycle: Config,
}

impl NodeConfig {
    /// Both halves together.
    #[must_use]
    pub const fn new(sync: sync::Config, lifecycle: Config) -> Self {
        Self { sync, lifecycle }
    }
}

/// A broker without its runtime: feed it inputs, perform its outputs, wake it at its deadline.
///
/// The async `Broker` (feature `driver`) and the virtual-time world of the test kit drive this same value, so what a
/// simulation finds is what a program does.
#[derive(Debug)]
pub struct Node {
    replica: Replica,
    coordinator: Coordinator,
    /// Rows of the batch that was handed out last: folded once the driver comes back, for then they are durable.
    persisting: Option<Vec<Record>>,
    now: Now,
    refused_frames: u64,
    /// When it was last asked what is stable.
    stability_asked: Option<Timestamp>,
}

impl Node {
    /// Opens a broker on what its store holds: `head`, and every record in `records`.
    ///
    /// # Errors
    ///
    /// [`sync::OpenError`] if head and records contradict each other or the configuration is refused; nothing was
    /// written.
    pub fn open(config: NodeConfig, head: Head, records: Vec<Record>, now: Now) -> Result<Self, sync::OpenError> {
        let is_fact = |record: &&Record| record.key().as_bytes().starts_with(Replica::FACTS.as_bytes());
        let facts = records.iter().filter(is_fact).cloned().collect();
        let replica = Replica::open(config.sync, head, facts, now)?;
        // A store that was frozen goes on under a new name.
        let identity = replica.head().identity();
        let mut coordinator = Coordinator::open(config.lifecycle, identity, records, now);
        coordinator.number_above(replica.head().issued().map_or(0, Counter::get));
        Ok(Self { replica, coordinator, persisting: None, now, refused_frames: 0, stability_asked: None })
    }

    /// Takes one input. Never waits, and never fails on what a peer, an executor or a user sent.
    pub fn handle(&mut self, now: Now, input: NodeInput) {
        self.now = now;
        match input {
            NodeInput::Tick => {
                self.replica.handle(now, sync::Input::Tick);
                self.coordinator.handle(now, coordinator::Input::Tick);
                if self.stability_is_due(self.coordinator.config().heartbeat_ms) {
                    self.ask_stability();
                }
            }
            NodeInput::Leave => {
                self.coordinator.handle(now, coordinator::Input::Leaving);
                self.replica.handle(now, sync::Input::Leave);
            }
            NodeInput::PeerUp { peer, address } => {
                self.replica.handle(now, sync::Input::LinkUp { peer, address });
                self.coordinator.handle(now, coordinator::Input::PeerHeard { node: peer });
            }
            NodeInput::PeerDown { peer } => self.replica.handle(now, sync::Input::LinkDown { peer }),
            NodeInput::PeerFrame { from, frame } => {
                self.replica.handle(now, sync::Input::Received { from, frame });
                self.coordinator.handle(now, coordinator::Input::PeerHeard { node: from });
            }
            NodeInput::Candidate { address } => self.replica.handle(now, sync::Input::Candidate { address }),
            NodeInput::ConnectFailed { address } => self.replica.handle(now, sync::Input::ConnectFailed { address }),
            NodeInput::Store(answer) => self.replica.handle(now, answer),
            NodeInput::ExecutorUp { executor } => {
                self.coordinator.handle(now, coordinator::Input::ExecutorUp { executor });
            }
            NodeInput::ExecutorDown { executor } => {
                self.coordinator.handle(now, coordinator::Input::ExecutorDown { executor });
            }
            NodeInput::ExecutorFrame { from, frame } => match executor_codec::decode_to_broker(&frame) {
                Ok(message) => self.coordinator.handle(now, coordinator::Input::FromExecutor { from, message }),
                // A frame that does not decode says nothing about its sender but that it speaks otherwise; the link
                // stays, and the executor's own time-outs find out.
                Err(_) => self.refused_frames = self.refused_frames.saturating_add(1),
            },
            NodeInput::MakeBundle { ticket, request } => {
                let BundleRequest { to, budget_bytes, ttl_s, again } = request;
                let budget_bytes = budget_bytes.min(MAX_BUNDLE_BYTES);
                self.replica.handle(now, sync::Input::MakeBundle { ticket, to, budget_bytes, ttl_s, again });
            }
            NodeInput::BundleFragment { ticket, bytes } => {
                self.replica.handle(now, sync::Input::BundleFragment { ticket, bytes });
            }
            NodeInput::Command { ticket, command } => {
                self.coordinator.handle(now, coordinator::Input::Command { ticket, command });
            }
        }
    }

    /// The next thing to do, or `None` until the next input. Asking again says that the last one was performed.
    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        let now = self.now;
        loop {
            if let Some(rows) = self.persisting.take() {
                self.coordinator.handle(now, coordinator::Input::Facts(rows));
            }
            if let Some(output) = self.coordinator.poll_output() {
                match self.route_coordinator(output) {
                    Some(output) => return Some(output),
                    None => continue,
                }
            }
            let output = self.replica.poll_output()?;
            if let Some(output) = self.route_replica(output) {
                return Some(output);
            }
        }
    }

    /// When to feed [`NodeInput::Tick`] next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match (self.replica.next_deadline(), self.coordinator.next_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The half that exchanges records.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The half that runs jobs.
    #[must_use]
    pub const fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// How this broker and its peers are. O(jobs + peers).
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let identity = self.replica.head().identity();
        let stats = self.replica.stats();
        // A broker that lost its store came back as a new replica; the facts of earlier ones stay.
        let mut latest: BTreeMap<NodeId, &sync::Member> = BTreeMap::new();
        for member in self.replica.members().filter(|member| member.node != identity.node) {
            let age = |member: &sync::Member| (member.incarnation, member.replica);
            if latest.get(&member.node).is_none_or(|known| age(known) < age(member)) {
                latest.insert(member.node, member);
            }
        }
        let peers = latest.into_values().map(|member| PeerStatus {
            node: member.node,
            address: member.address.clone(),
            state: self.replica.peer_state(member.node),
            converged_ms_ago: self.replica.converged_with(member.node).map(|at| self.now.mono.saturating_since(at)),
        });
        let executors = self.coordinator.executors();
        let at_home =
            executors.filter(|executor| executor.home == identity.replica && executor.state == ExecutorState::Up);
        let completed = self.coordinator.jobs().filter(|job| job.status == JobStatus::Completed).count();
        NodeStatus {
            node: identity.node,
            replica: identity.replica,
            incarnation: identity.incarnation,
            strategy: self.coordinator.policy().kind(),
            digest: self.replica.head().fingerprints().root().to_string(),
            peers: peers.collect(),
            executors: at_home.map(|executor| executor.id).collect(),
            jobs: self.coordinator.statistics().jobs,
            completed: u64::try_from(completed).unwrap_or(u64::MAX),
            sessions: stats.sessions,
            bytes_sent: stats.bytes_sent,
        }
    }

    /// Executor frames and messages of brokers that did not decode, and answers that did not fit a frame, since this node was opened.
    #[must_use]
    pub const fn refused_frames(&self) -> u64 {
        self.refused_frames
    }

    fn stability_is_due(&self, interval_ms: u64) -> bool {
        let asked = self.stability_asked.map(|asked| asked.saturating_add(interval_ms));
        asked.is_none_or(|due| due <= self.now.mono)
    }

    /// Whether there is no other member, but retired ones.
    fn is_alone(&self) -> bool {
        let own = self.replica.head().identity().replica;
        self.replica.members().all(|member| member.replica == own || self.replica.is_retired(member.replica))
    }

    /// Tells the coordinator what every member has, if it waits for that.
    fn ask_stability(&mut self) {
        if self.coordinator.awaits_stability() {
            self.stability_asked = Some(self.now.mono);
            if let Some(through) = self.replica.causally_stable() {
                self.coordinator.handle(self.now, coordinator::Input::Stable { through });
            }
        }
    }

    fn route_coordinator(&mut self, output: coordinator::Output) -> Option<NodeOutput> {
        match output {
            coordinator::Output::Write { ticket, writes } => {
                self.replica.handle(self.now, sync::Input::LocalWrite { ticket, writes });
                None
            }
            coordinator::Output::Retire { ticket, replica } => {
                self.replica.handle(self.now, sync::Input::Retire { ticket, replica });
                None
            }
            coordinator::Output::SendExecutor { to, message } => {
                // What does not fit a frame was refused when it was submitted, so nothing is dropped here in practice.
                match executor_codec::encode_to_executor(&message) {
                    Ok(frame) => Some(NodeOutput::SendExecutor { to, frame }),
                    Err(_) => {
                        self.refused_frames = self.refused_frames.saturating_add(1);
                        None
                    }
                }
            }
            coordinator::Output::SendPeer { to, message } => {
                // Names were checked when the job was submitted, so every message fits.
                if let Ok(bytes) = message.encode() {
                    self.replica.handle(self.now, sync::Input::Note { to, bytes });
                }
                None
            }
            coordinator::Output::Reply { ticket, reply } => Some(NodeOutput::Reply { ticket, reply }),
            coordinator::Output::Notify(event) => Some(NodeOutput::Notify(NodeEvent::Job(event))),
        }
    }

    fn route_replica(&mut self, output: sync::Output) -> Option<NodeOutput> {
        match output {
            sync::Output::Persist(batch) => {
                self.persisting = Some(batch.rows().iter().filter_map(|row| row.after().cloned()).collect());
                Some(NodeOutput::Store(sync::Output::Persist(batch)))
            }
            output @ (sync::Output::OpenView(_) | sync::Output::CloseView(_) | sync::Output::Load { .. }) => {
                Some(NodeOutput::Store(output))
            }
            sync::Output::Send { to, frame } => Some(NodeOutput::SendPeer { to, frame }),
            sync::Output::Note { from, bytes } => {
                match PeerMessage::decode(&bytes) {
                    Ok(message) => {
                        self.coordinator.handle(self.now, coordinator::Input::FromPeer { from, message });
                    }
                    Err(_) => self.refused_frames = self.refused_frames.saturating_add(1),
                }
                None
            }
            sync::Output::Connect { address } => Some(NodeOutput::Connect { address }),
            sync::Output::Disconnect { from, why: _ } => Some(NodeOutput::DisconnectPeer { peer: from }),
            sync::Output::Written { ticket, dots: _ } => {
                self.coordinator.handle(self.now, coordinator::Input::Written { ticket });
                if self.is_alone() {
                    // Nobody else has to confirm it.
                    self.ask_stability();
                }
                None
            }
            sync::Output::WriteRefused { ticket, error } => {
                self.coordinator.handle(self.now, coordinator::Input::WriteRefused { ticket, error });
                None
            }
            sync::Output::BundleReady { ticket, fragments, whole } => {
                Some(NodeOutput::Bundle { ticket, answer: BundleAnswer::Made(Bundle { fragments, whole }) })
            }
            sync::Output::BundleTaken { ticket, progress } => {
                Some(NodeOutput::Bundle { ticket, answer: BundleAnswer::Taken(progress) })
            }
            sync::Output::BundleRefused { ticket, error } => {
                Some(NodeOutput::Bundle { ticket, answer: BundleAnswer::Refused(error) })
            }
            sync::Output::Notify(event) => {
                if let sync::Event::PeerState { peer, state: sync::PeerState::Left, .. } = &event {
                    self.coordinator.handle(self.now, coordinator::Input::PeerLeft { node: *peer });
                }
                if let sync::Event::SessionDone { peer, .. } = &event {
                    self.coordinator.handle(self.now, coordinator::Input::PeerSynced { node: *peer });
                    // Sessions may come many a second, and each costs a look at all members.
                    if self.stability_is_due(self.coordinator.config().heartbeat_ms / 10) {
                        self.ask_stability();
                    }
                }
                Some(NodeOutput::Notify(NodeEvent::Sync(event)))
            }
        }
    }
}

/// The head and every record of a store, for [`Node::open`].
///
/// # Errors
///
/// [`StoreError`] if a page could not be read.
pub async fn read_all<S: Snapshot>(snapshot: &S) -> Result<(Head, Vec<Record>), StoreError> {
    let mut records = Vec::new();
    let mut cursor = Some(Cursor::new(Prefix::all()));
    while let Some(at) = cursor {
        let page = snapshot.by_prefix(&at).await?;
        records.extend(page.items);
        cursor = page.next;
    }
    Ok((snapshot.head().clone(), records))
}
