//! Several brokers and executors on one thread, in virtual time.
//!
//! The same [`Node`]s and [`Agent`]s that run in a program, with memory stores, over a network in memory. Everything
//! that a real run leaves to chance is drawn from one seed, and time passes only while somebody waits for something: the
//! same seed and the same calls give the same events, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use reconvene_broker::{Command, CommandError, Node, NodeConfig, NodeEvent, NodeInput, NodeOutput, Reply};
use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_executor::{self as executor, Agent, AgentConfig, AttemptId, Outcome, Report, ResultDigest};
use reconvene_store::{Head, Identity, MemoryStore, ready};
use reconvene_sync::memory::{LinkFaults, Network};
use reconvene_sync::{self as sync, Performed, StoreDriver, Ticket};

pub use self::faults::{ExecutorTraits, Tamper};
use self::rng::Rng;

mod faults;
pub(crate) mod rng;
#[cfg(test)]
mod tests;

/// How a [`World`] behaves where nobody cuts it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldConfig {
    /// Where all chance comes from.
    pub seed: u64,
    /// What wall clocks say at the start, give or take [`skew_ms`](Self::skew_ms).
    pub wall: WallTime,
    /// How far wall clocks are wrong at most, in either direction, in milliseconds. 20 by default.
    pub skew_ms: u64,
    /// How long a frame travels, in milliseconds; at least 1. 1 to 3 by default.
    pub delay_ms: RangeInclusive<u64>,
    /// Frames lost, of 1,000. None by default.
    pub loss_per_mille: u16,
    /// Frames that arrive twice, of 1,000. None by default.
    pub duplicate_per_mille: u16,
    /// How long a cut lasts before the two ends of a link notice, in milliseconds. 600 by default.
    pub idle_ms: u64,
}

impl WorldConfig {
    /// The defaults, with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            // 2025-01-01: any fixed date.
            wall: WallTime::from_millis(1_735_689_600_000),
            skew_ms: 20,
            delay_ms: 1..=3,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            idle_ms: 600,
        }
    }
}

/// One end of a link: a broker or an executor, numbered in the order in which they were added, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "there is nobody else in a world")]
pub enum Place {
    /// A broker.
    Broker(usize),
    /// An executor.
    Executor(usize),
}

/// Something that happened in a [`World`].
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data for an observer to take apart")]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened, as an observer outside sees it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an observer decides about each of them")]
pub enum What {
    /// A broker announced something.
    Broker {
        /// Which.
        broker: usize,
        /// What it announced.
        event: NodeEvent,
    },
    /// An executor announced something.
    Executor {
        /// Which.
        executor: usize,
        /// What it announced.
        event: executor::Event,
    },
    /// An executor began to run an attempt.
    RunStarted {
        /// Which executor.
        executor: usize,
        /// What it runs.
        attempt: AttemptId,
    },
    /// A run ended.
    RunEnded {
        /// Which executor.
        executor: usize,
        /// What it ran.
        attempt: AttemptId,
        /// The digest of the result; `None` if the run was stopped or failed.
        digest: Option<ResultDigest>,
    },
}

/// Why a broker or an executor could not be added, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A broker does not open on its empty store.
    #[error("broker {broker} did not open")]
    Open {
        /// Which.
        broker: usize,
        /// What it said.
        source: sync::OpenError,
    },
    /// An executor's settings are refused.
    #[error("the settings of executor {executor} are refused")]
    Agent {
        /// Which.
        executor: usize,
        /// What it said.
        source: reconvene_executor::ConfigError,
    },
    /// A store failed, or did not answer at once as stores in memory do.
    #[error("the store of broker {broker} failed: {reason}")]
    Store {
        /// Which.
        broker: usize,
        /// What it said.
        reason: String,
    },
    /// A command got no answer.
    #[error("broker {broker} did not answer a command")]
    NoReply {
        /// Which.
        broker: usize,
    },
}

/// Several brokers and executors on one thread, in virtual time. See the [module](self).
#[derive(Debug)]
pub struct World {
    config: WorldConfig,
    now: Timestamp,
    rng: Rng,
    network: Network,
    brokers: Vec<BrokerSlot>,
    executors: Vec<ExecutorSlot>,
    places: BTreeMap<NodeId, Place>,
    /// Pairs of nodes between which a link stands, the smaller first.
    links: BTreeSet<(NodeId, NodeId)>,
    /// How often each pair was cut: a cut that was healed in time breaks no link.
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    agenda: BTreeMap<(Timestamp, u64), Due>,
    /// When each process that runs wants to be called next; the same by time.
    wake_of: BTreeMap<Place, Timestamp>,
    wakes: BTreeSet<(Timestamp, Place)>,
    scheduled: u64,
    happened: Vec<Happened>,
    tamper: Option<Tamper>,
    /// Inputs fed to anybody so far.
    inputs: u64,
}

#[derive(Debug)]
struct BrokerSlot {
    id: NodeId,
    address: String,
    config: NodeConfig,
    node: Node,
    /// Whether its process runs.
    up: bool,
    /// What it was given while its process stood still; `None` while it does not.
    backlog: Option<Vec<NodeInput>>,
    store: StoreDriver<MemoryStore>,
    /// A copy of the store, as it was when it was made.
    backup: Option<MemoryStore>,
    skew_ms: u64,
    ticked: Option<Timestamp>,
    replies: BTreeMap<Ticket, Result<Reply, CommandError>>,
    tickets: u64,
}

#[derive(Debug)]
struct ExecutorSlot {
    id: NodeId,
    config: AgentConfig,
    agent: Agent,
    /// Whether its process runs.
    up: bool,
    /// As of a broker.
    backlog: Option<Vec<executor::Input>>,
    /// How often it was started.
    starts: u64,
    traits: ExecutorTraits,
    skew_ms: u64,
    ticked: Option<Timestamp>,
    running: BTreeMap<AttemptId, Report>,
}

/// Something that will happen at a known time.
#[derive(Debug)]
enum Due {
    /// An attempt to connect comes to its end.
    Dialled { from: NodeId, address: String },
    /// The two ends notice a cut, unless it was healed, or made again, since.
    Idle { pair: (NodeId, NodeId), cut: u64 },
    /// A run ends.
    RunEnds { executor: usize, attempt: AttemptId, start: u64 },
    /// One end notices that the process at the other has stopped, unless it has heard from a new one since.
    Stopped { end: NodeId, stopped: NodeId },
}

impl World {
    /// A world without anybody in it.
    #[must_use]
    pub fn new(config: WorldConfig) -> Self {
        let mut rng = Rng::new(config.seed);
        let mut network = Network::new(rng.next_u64());
        network.set_faults(LinkFaults {
            delay_ms: (*config.delay_ms.start()).max(1)..=(*config.delay_ms.end()).max(1),
            loss_per_mille: config.loss_per_mille,
            duplicate_per_mille: config.duplicate_per_mille,
        });
        Self {
            config,
            now: Timestamp::from_millis(0),
            rng,
            network,
            brokers: Vec::new(),
            executors: Vec::new(),
            places: BTreeMap::new(),
            links: BTreeSet::new(),
            cuts: BTreeMap::new(),
            agenda: BTreeMap::new(),
            wake_of: BTreeMap::new(),
            wakes: BTreeSet::new(),
            scheduled: 0,
            happened: Vec::new(),
            tamper: None,
            inputs: 0,
        }
    }

    /// Adds a broker on an empty store and returns its number. It knows the address of each broker added before.
    ///
    /// Its seed, its address and its identity are drawn from the world's seed.
    ///
    /// # Errors
    /// [`WorldError::Open`] if its settings are refused.
    pub fn add_broker(&mut self, mut config: NodeConfig) -> Result<usize, WorldError> {
        let broker = self.brokers.len();
        let address = Self::address(broker);
        config.sync.seed = self.rng.next_u64();
        config.sync.advertise = Some(address.clone());
        let id = self.draw_node();
        let identity = Identity { node: id, replica: self.draw_replica(), incarnation: 1 };
        let network = config.sync.network;
        let store = MemoryStore::for_network(identity, network, config.sync.store);
        let skew_ms = self.rng.below(self.config.skew_ms.saturating_mul(2).saturating_add(1));
        let now = self.now_for(skew_ms);
        let node = Node::open(config.clone(), Head::new(identity, network), Vec::new(), now)
            .map_err(|source| WorldError::Open { broker, source })?;
        self.places.insert(id, Place::Broker(broker));
        self.brokers.push(BrokerSlot {
            id,
            address,
            config,
            node,
            up: true,
            backlog: None,
            store: StoreDriver::new(store),
            backup: None,
            skew_ms,
            ticked: None,
            replies: BTreeMap::new(),
            tickets: 0,
        });
        for earlier in 0..broker {
            self.feed_broker(broker, NodeInput::Candidate { address: Self::address(earlier) })?;
        }
        self.perform_broker(broker)?;
        Ok(broker)
    }

    /// Adds an executor that turns to the brokers with these numbers, in this order, and returns its number.
    ///
    /// Its seed, session and identity are drawn from the world's seed. It runs payloads that are a
    /// [`TraceJob`](executor::TraceJob) and
    /// reports a failure of any other.
    ///
    /// # Errors
    /// [`WorldError::Agent`] if its settings are refused.
    pub fn add_executor(&mut self, mut config: AgentConfig, brokers: &[usize]) -> Result<usize, WorldError> {
        let executor = self.executors.len();
        config.seed = self.rng.next_u64();
        config.session.random = self.rng.next_u64();
        config.brokers = brokers.iter().map(|broker| Self::address(*broker)).collect();
        let skew_ms = self.rng.below(self.config.skew_ms.saturating_mul(2).saturating_add(1));
        let agent = Agent::new(config.clone(), self.now_for(skew_ms))
            .map_err(|source| WorldError::Agent { executor, source })?;
        let id = self.draw_node();
        self.places.insert(id, Place::Executor(executor));
        self.executors.push(ExecutorSlot {
            id,
            config,
            agent,
            up: true,
            backlog: None,
            starts: 0,
            traits: ExecutorTraits::default(),
            skew_ms,
            ticked: None,
            running: BTreeMap::new(),
        });
        self.perform_executor(executor)?;
        Ok(executor)
    }

    /// The time now, since the start.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// A broker, to look at; `None` if there is none with this number.
    #[must_use]
    pub fn broker(&self, broker: usize) -> Option<&Node> {
        Some(&self.brokers.get(broker)?.node)
    }

    /// A broker's store, to look at; `None` if there is none with this number.
    #[must_use]
    pub fn store(&self, broker: usize) -> Option<&MemoryStore> {
        Some(self.brokers.get(broker)?.store.store())
    }

    /// An executor, to look at; `None` if there is none with this number.
    #[must_use]
    pub fn executor(&self, executor: usize) -> Option<&Agent> {
        Some(&self.executors.get(executor)?.agent)
    }

    /// What happened since the last call.
    #[must_use = "what is taken here is not told again"]
    pub fn take_happened(&mut self) -> Vec<Happened> {
        core::mem::take(&mut self.happened)
    }

    /// Gives a command to a broker and lets the world run until it is answered.
    ///
    /// # Errors
    /// [`WorldError::NoReply`] if there is no such broker, or it stands still or was stopped, or it does not answer within a second, and as
    /// [`run_until`](Self::run_until). What the broker answers is in the value.
    pub fn command(&mut self, broker: usize, command: Command) -> Result<Result<Reply, CommandError>, WorldError> {
        let slot = self
            .brokers
            .get_mut(broker)
            .filter(|slot| slot.up && slot.backlog.is_none())
            .ok_or(WorldError::NoReply { broker })?;
        let ticket = Ticket(slot.tickets);
        slot.tickets = slot.tickets.saturating_add(1);
        self.feed_broker(broker, NodeInput::Command { ticket, command })?;
        let until = self.now.saturating_add(1_000);
        loop {
            if let Some(reply) = self.brokers.get_mut(broker).and_then(|slot| slot.replies.remove(&ticket)) {
                return Ok(reply);
            }
            match self.next_due() {
                Some(due) if due <= until => self.step(due)?,
                _ => return Err(WorldError::NoReply { broker }),
            }
        }
    }

    /// Lets everything happen that is due by `until`, which then is the time.
    ///
    /// # Errors
    /// [`WorldError::Store`] if a store failed; the world cannot go on.
    pub fn run_until(&mut self, until: Timestamp) -> Result<(), WorldError> {
        while let Some(due) = self.next_due().filter(|due| *due <= until) {
            self.step(due)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Cuts the link between two places: frames are lost at once, and both ends notice after
    /// [`WorldConfig::idle_ms`].
    pub fn cut(&mut self, a: Place, b: Place) {
        let Some(pair) = self.pair(a, b) else { return };
        if self.network.is_cut(pair.0, pair.1) {
            return;
        }
        self.network.cut(pair.0, pair.1);
        let cut = self.cuts.entry(pair).or_default();
        *cut = cut.saturating_add(1);
        let due = Due::Idle { pair, cut: *cut };
        self.schedule(self.config.idle_ms, due);
    }

    /// Restores what [`cut`](Self::cut) cut.
    pub fn heal(&mut self, a: Place, b: Place) {
        if let Some(pair) = self.pair(a, b) {
            self.network.heal(pair.0, pair.1);
        }
    }

    fn address(broker: usize) -> String {
        format!("sim:{broker}")
    }

    fn draw_node(&mut self) -> NodeId {
        let mut bytes = [0; 16];
        for (half, number) in bytes.chunks_mut(8).zip([self.rng.next_u64(), self.rng.next_u64()]) {
            half.copy_from_slice(&number.to_be_bytes());
        }
        NodeId::from_bytes(bytes)
    }

    fn draw_replica(&mut self) -> ReplicaId {
        loop {
            if let Some(replica) = ReplicaId::new(self.rng.next_u64()) {
                return replica;
            }
        }
    }

    /// The time as somebody sees whose wall clock is `skew_ms` less [`WorldConfig::skew_ms`] ahead.
    fn now_for(&self, skew_ms: u64) -> Now {
        let mono = self.now.as_millis();
        let wall = self.config.wall.as_millis().saturating_sub(self.config.skew_ms).saturating_add(skew_ms);
        Now { mono: self.now, wall: WallTime::from_millis(wall.saturating_add(mono)) }
    }

    fn id(&self, place: Place) -> Option<NodeId> {
        match place {
            Place::Broker(broker) => Some(self.brokers.get(broker)?.id),
            Place::Executor(executor) => Some(self.executors.get(executor)?.id),
        }
    }

    fn pair(&self, a: Place, b: Place) -> Option<(NodeId, NodeId)> {
        Some(ordered(self.id(a)?, self.id(b)?))
    }

    fn schedule(&mut self, in_ms: u64, due: Due) {
        // Never at once: whatever is scheduled while time stands still must let it move.
        let at = self.now.saturating_add(in_ms.max(1));
        self.agenda.insert((at, self.scheduled), due);
        self.scheduled = self.scheduled.saturating_add(1);
    }

    fn next_due(&self) -> Option<Timestamp> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        wake.into_iter().chain(agenda).chain(self.network.next_due()).min().map(|due| due.max(self.now))
    }

    /// Notes when a process wants to be called next, after something has changed about it.
    fn rewake(&mut self, place: Place) {
        let (deadline, ticked) = match place {
            Place::Broker(broker) => {
                let slot = self.brokers.get(broker).filter(|slot| slot.up && slot.backlog.is_none());
                (slot.and_then(|slot| slot.node.next_deadline()), slot.and_then(|slot| slot.ticked))
            }
            Place::Executor(executor) => {
                let slot = self.executors.get(executor).filter(|slot| slot.up && slot.backlog.is_none());
                (slot.and_then(|slot| slot.agent.next_deadline()), slot.and_then(|slot| slot.ticked))
            }
        };
        // A deadline that is still in the past after a tick waits for the next millisecond.
        let after = ticked.map_or(Timestamp::from_millis(0), |ticked| ticked.saturating_add(1));
        let wake = deadline.map(|deadline| deadline.max(after));
        let before = match wake {
            Some(wake) => self.wake_of.insert(place, wake),
            None => self.wake_of.remove(&place),
        };
        if before != wake {
            if let Some(before) = before {
                self.wakes.remove(&(before, place));
            }
            self.wakes.extend(wake.map(|wake| (wake, place)));
        }
    }

    /// Who wants to be called by `due`: brokers first, each by number, and only those after `last`.
    fn next_to_wake(&self, due: Timestamp, last: Option<Place>) -> Option<Place> {
        let ripe = self.wakes.iter().take_while(|(at, _)| *at <= due).map(|(_, place)| *place);
        ripe.filter(|place| last.is_none_or(|last| *place > last)).min()
    }

    /// Lets everything happen that is due at `due`.
    fn step(&mut self, due: Timestamp) -> Result<(), WorldError> {
        self.now = due;
        while self.agenda.first_key_value().is_some_and(|((at, _), _)| *at <= due) {
            let Some((_, due)) = self.agenda.pop_first() else { break };
            self.happen(due)?;
        }
        while let Some(delivery) = self.network.pop(due) {
            if self.links.contains(&ordered(delivery.from, delivery.to)) {
                self.deliver(delivery.from, delivery.to, delivery.frame)?;
            }
        }
        let mut last = None;
        while let Some(place) = self.next_to_wake(due, last) {
            last = Some(place);
            match place {
                Place::Broker(broker) => {
                    if let Some(slot) = self.brokers.get_mut(broker) {
                        slot.ticked = Some(due);
                    }
                    self.feed_broker(broker, NodeInput::Tick)?;
                }
                Place::Executor(executor) => {
                    if let Some(slot) = self.executors.get_mut(executor) {
                        slot.ticked = Some(due);
                    }
                    self.feed_executor(executor, executor::Input::Tick)?;
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, due: Due) -> Result<(), WorldError> {
        match due {
            Due::Dialled { from, address } => self.dialled(from, address),
            Due::Idle { pair, cut } => {
                let still = self.network.is_cut(pair.0, pair.1) && self.cuts.get(&pair) == Some(&cut);
                if still { self.unlink(pair.0, pair.1) } else { Ok(()) }
            }
            Due::Stopped { end, stopped } => {
                if self.links.contains(&ordered(end, stopped)) {
                    Ok(())
                } else {
                    self.link_down(end, stopped)
                }
            }
            Due::RunEnds { executor, attempt, start } => {
                let Some(slot) = self.executors.get_mut(executor).filter(|slot| slot.starts == start) else {
                    return Ok(());
                };
                // Stopped meanwhile: then its end was told already.
                let Some(report) = slot.running.remove(&attempt) else { return Ok(()) };
                let digest = match report.outcome {
                    Outcome::Success { .. } => Some(report.digest),
                    Outcome::Failure { .. } => None,
                };
                self.tell(What::RunEnded { executor, attempt, digest });
                self.feed_executor(executor, executor::Input::Finished { attempt, report })
            }
        }
    }

    fn dialled(&mut self, from: NodeId, address: String) -> Result<(), WorldError> {
        let answering = self.brokers.iter().find(|slot| slot.up && slot.address == address).map(|slot| slot.id);
        let reached = answering.filter(|to| *to != from && !self.network.is_cut(from, *to) && self.is_up(from));
        match (reached, self.places.get(&from).copied()) {
            (Some(to), Some(Place::Broker(broker))) => {
                let new = self.links.insert(ordered(from, to));
                self.feed_broker(broker, NodeInput::PeerUp { peer: to, address: Some(address) })?;
                match self.places.get(&to) {
                    Some(Place::Broker(other)) if new => {
                        self.feed_broker(*other, NodeInput::PeerUp { peer: from, address: None })
                    }
                    _ => Ok(()),
                }
            }
            (Some(to), Some(Place::Executor(executor))) => {
                let new = self.links.insert(ordered(from, to));
                if let Some(Place::Broker(other)) = self.places.get(&to).copied().filter(|_| new) {
                    self.feed_broker(other, NodeInput::ExecutorUp { executor: from })?;
                }
                self.feed_executor(executor, executor::Input::LinkUp { broker: to, address: Some(address) })
            }
            (None, Some(Place::Broker(broker))) => self.feed_broker(broker, NodeInput::ConnectFailed { address }),
            (None, Some(Place::Executor(executor))) => {
                self.feed_executor(executor, executor::Input::ConnectFailed { address })
            }
            (_, None) => Ok(()),
        }
    }

    fn unlink(&mut self, a: NodeId, b: NodeId) -> Result<(), WorldError> {
        if !self.links.remove(&ordered(a, b)) {
            return Ok(());
        }
        self.link_down(a, b)?;
        self.link_down(b, a)
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, frame: Vec<u8>) -> Result<(), WorldError> {
        let Some(frame) = self.tampered(from, to, frame) else { return Ok(()) };
        match (self.places.get(&from).copied(), self.places.get(&to).copied()) {
            (Some(Place::Broker(_)), Some(Place::Broker(broker))) => {
                self.feed_broker(broker, NodeInput::PeerFrame { from, frame })
            }
            (Some(Place::Executor(_)), Some(Place::Broker(broker))) => {
                self.feed_broker(broker, NodeInput::ExecutorFrame { from, frame })
            }
            (Some(Place::Broker(_)), Some(Place::Executor(executor))) => {
                // Only brokers of this world send to executors, so a frame that does not decode is a bug of the codec;
                // it is lost, as the agent's driver would lose it.
                match executor::codec::decode_to_executor(&frame) {
                    Ok(message) => self.feed_executor(executor, executor::Input::Received { from, message }),
                    Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn feed_broker(&mut self, broker: usize, input: NodeInput) -> Result<(), WorldError> {
        let Some(skew_ms) = self.brokers.get(broker).map(|slot| slot.skew_ms) else { return Ok(()) };
        let now = self.now_for(skew_ms);
        if let Some(slot) = self.brokers.get_mut(broker).filter(|slot| slot.up) {
            if let Some(backlog) = &mut slot.backlog {
                backlog.push(input);
                return Ok(());
            }
            self.inputs = self.inputs.saturating_add(1);
            slot.node.handle(now, input);
            self.perform_broker(broker)?;
        }
        Ok(())
    }

    fn perform_broker(&mut self, broker: usize) -> Result<(), WorldError> {
        let performed = self.perform_outputs(broker);
        self.rewake(Place::Broker(broker));
        performed
    }

    fn perform_outputs(&mut self, broker: usize) -> Result<(), WorldError> {
        loop {
            let Some(slot) = self.brokers.get_mut(broker) else { return Ok(()) };
            let (id, skew_ms) = (slot.id, slot.skew_ms);
            let Some(output) = slot.node.poll_output() else { return Ok(()) };
            match output {
                NodeOutput::Store(output) => {
                    let failed = |reason: String| WorldError::Store { broker, reason };
                    let performed = ready(slot.store.perform(output))
                        .ok_or_else(|| failed("it did not answer at once".into()))?
                        .map_err(|error| failed(error.to_string()))?;
                    let now = self.now_for(skew_ms);
                    if let (Performed::Input(answer), Some(slot)) = (performed, self.brokers.get_mut(broker)) {
                        slot.node.handle(now, NodeInput::Store(answer));
                    }
                }
                NodeOutput::SendPeer { to, frame } | NodeOutput::SendExecutor { to, frame } => {
                    if self.links.contains(&ordered(id, to)) {
                        self.network.send(self.now, id, to, frame);
                    }
                }
                NodeOutput::Connect { address } => self.dial(id, address),
                NodeOutput::DisconnectPeer { peer } => self.hang_up(id, peer)?,
                NodeOutput::Reply { ticket, reply } => {
                    slot.replies.insert(ticket, reply);
                }
                // Nobody carries bundles in this world.
                NodeOutput::Bundle { .. } => {}
                NodeOutput::Notify(event) => self.tell(What::Broker { broker, event }),
            }
        }
    }

    fn feed_executor(&mut self, executor: usize, input: executor::Input) -> Result<(), WorldError> {
        let Some(skew_ms) = self.executors.get(executor).map(|slot| slot.skew_ms) else { return Ok(()) };
        let now = self.now_for(skew_ms);
        if let Some(slot) = self.executors.get_mut(executor).filter(|slot| slot.up) {
            if let Some(backlog) = &mut slot.backlog {
                backlog.push(input);
                return Ok(());
            }
            self.inputs = self.inputs.saturating_add(1);
            slot.agent.handle(now, input);
            self.perform_executor(executor)?;
        }
        Ok(())
    }

    fn perform_executor(&mut self, executor: usize) -> Result<(), WorldError> {
        let performed = self.perform_agent(executor);
        self.rewake(Place::Executor(executor));
        performed
    }

    fn perform_agent(&mut self, executor: usize) -> Result<(), WorldError> {
        loop {
            let Some(slot) = self.executors.get_mut(executor) else { return Ok(()) };
            let (id, skew_ms) = (slot.id, slot.skew_ms);
            let Some(output) = slot.agent.poll_output() else { return Ok(()) };
            match output {
                executor::Output::Connect { address } => self.dial(id, address),
                executor::Output::Disconnect { broker } => self.hang_up(id, broker)?,
                executor::Output::Send { to, message } => {
                    if self.links.contains(&ordered(id, to))
                        && let Ok(frame) = executor::codec::encode_to_broker(&message)
                    {
                        self.network.send(self.now, id, to, frame);
                    }
                }
                executor::Output::Run { attempt, spec } => {
                    let (run_ms, report) = slot.traits.run(&spec, id);
                    slot.running.insert(attempt, report);
                    let start = slot.starts;
                    self.tell(What::RunStarted { executor, attempt });
                    self.schedule(run_ms, Due::RunEnds { executor, attempt, start });
                    let now = self.now_for(skew_ms);
                    if let Some(slot) = self.executors.get_mut(executor) {
                        slot.agent.handle(now, executor::Input::Started { attempt });
                    }
                }
                executor::Output::Stop { attempt } => {
                    if slot.running.remove(&attempt).is_some() {
                        self.tell(What::RunEnded { executor, attempt, digest: None });
                    }
                }
                // Executors of the simulator start no brokers.
                executor::Output::Promote { .. } => {}
                executor::Output::Notify(event) => self.tell(What::Executor { executor, event }),
            }
        }
    }

    fn dial(&mut self, from: NodeId, address: String) {
        let to = self.brokers.iter().find(|slot| slot.up && slot.address == address).map(|slot| slot.id);
        // Nobody answers across a cut, or where nothing runs: whoever dials learns it as late as a link would.
        let in_ms = if to.is_some_and(|to| !self.network.is_cut(from, to)) {
            let (least, most) = (*self.config.delay_ms.start(), *self.config.delay_ms.end());
            let round_trip = self.rng.below(most.saturating_sub(least).saturating_add(1)).saturating_add(least);
            round_trip.saturating_mul(2)
        } else {
            self.config.idle_ms
        };
        self.schedule(in_ms, Due::Dialled { from, address });
    }

    /// Drops the link from one end, which knows; the other is told.
    fn hang_up(&mut self, from: NodeId, peer: NodeId) -> Result<(), WorldError> {
        if self.links.remove(&ordered(from, peer)) { self.link_down(peer, from) } else { Ok(()) }
    }

    fn link_down(&mut self, end: NodeId, other: NodeId) -> Result<(), WorldError> {
        match (self.places.get(&end).copied(), self.places.get(&other).copied()) {
            (Some(Place::Broker(broker)), Some(Place::Broker(_))) => {
                self.feed_broker(broker, NodeInput::PeerDown { peer: other })
            }
            (Some(Place::Broker(broker)), Some(Place::Executor(_))) => {
                self.feed_broker(broker, NodeInput::ExecutorDown { executor: other })
            }
            (Some(Place::Executor(executor)), _) => {
                self.feed_executor(executor, executor::Input::LinkDown { broker: other })
            }
            (Some(Place::Broker(_)) | None, None) | (None, Some(_)) => Ok(()),
        }
    }

    fn tell(&mut self, what: What) {
        self.happened.push(Happened { at: self.now, what });
    }
}

fn ordered(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    if a <= b { (a, b) } else { (b, a) }
}
