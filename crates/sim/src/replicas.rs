//! Replicas on one thread, in virtual time, over a faulty network, held against a plain model.
//!
//! Each node is the real [`Replica`] with a real [`MemoryStore`] behind the real [`StoreDriver`]. The model is no
//! replica: it is the set of all versions that any node ever made durable for itself, and the rule that those live which
//! no other names as replaced.

mod model;
mod scenario;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};

use reconvene_clock::{Dot, NodeId, Now, ReplicaId, Timestamp, VectorClock, WallTime};
use reconvene_store::{
    Batch, Cursor, Digest, Identity, Key, MemoryStore, MetadataStore, Prefix, Record, Snapshot, ready,
};
use reconvene_sync::memory::{Delivery, LinkFaults, Network};
use reconvene_sync::{
    BundleError, BundleProgress, Config, Event, Input, NetworkId, NewWrite, Output, Performed, Replica, StoreDriver,
    Ticket,
};

pub use self::model::{Model, Violation};
pub use self::scenario::{Sabotage, Scenario};

/// What arrives instead of a frame from one node to another; `None` if nothing does.
pub type Tamper = Box<dyn FnMut(usize, usize, Vec<u8>) -> Option<Vec<u8>>>;

/// Some replicas and the network between them. Nodes are numbered from 0.
pub struct ReplicaWorld {
    now: u64,
    network: Network,
    nodes: Vec<Node>,
    /// Inputs that are due at once, in order.
    pending: VecDeque<(usize, Input)>,
    model: Model,
    /// The members that each node knew when it forgot a delete.
    forgotten_among: BTreeMap<(usize, Dot), BTreeSet<ReplicaId>>,
    tamper: Option<Tamper>,
    tickets: u64,
    /// A running hash of all that was sent, for runs to be compared.
    trace: u64,
}

struct Node {
    id: NodeId,
    address: String,
    config: Config,
    driver: StoreDriver<MemoryStore>,
    replica: Replica,
    links: BTreeSet<usize>,
    /// What the wall clock is ahead of virtual time.
    wall_ms: u64,
    events: Vec<Event>,
    notes: Vec<(usize, Vec<u8>)>,
    answered: BTreeMap<Ticket, Result<Vec<Dot>, String>>,
    bundles: BTreeMap<Ticket, BundleAnswer>,
    /// Crash at this commit, counted from now: before it is performed, or just after.
    crash: Option<(u64, bool)>,
    commits: u64,
    crashes: u64,
    identity: Identity,
    /// It has said that it must not go on under its name.
    frozen: bool,
    /// What its store committed, from the beginning, while that is little.
    history: Vec<Batch>,
}

/// What a node said to a request about bundles.
#[derive(Debug)]
enum BundleAnswer {
    Made(Vec<Vec<u8>>),
    Taken(BundleProgress),
    Refused(BundleError),
}

impl Debug for ReplicaWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaWorld").field("now", &self.now).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl ReplicaWorld {
    /// The network that all worlds simulate.
    #[must_use]
    pub fn network_id() -> NetworkId {
        NetworkId::of_name("simulated")
    }

    /// `count` nodes, each of which knows the address of node 0 alone. `configure` may change the settings of each.
    ///
    /// # Panics
    ///
    /// If `configure` makes settings that a replica refuses.
    #[must_use]
    pub fn new(seed: u64, count: usize, mut configure: impl FnMut(usize, &mut Config)) -> Self {
        let mut world = Self {
            now: 0,
            network: Network::new(seed),
            nodes: Vec::new(),
            pending: VecDeque::new(),
            model: Model::default(),
            forgotten_among: BTreeMap::new(),
            tamper: None,
            tickets: 0,
            trace: 0,
        };
        for index in 0..count {
            let number = u8::try_from(index).unwrap_or(u8::MAX).saturating_add(1);
            let replica = ReplicaId::new(u64::from(number) << 32 | 0xabc).expect("not zero");
            let id = NodeId::from_bytes([number; 16]);
            let identity = Identity { node: id, replica, incarnation: 1 };
            let address = format!("node-{index}");
            let mut config = Config::new(Self::network_id(), seed ^ u64::from(number) << 40);
            config.advertise = Some(address.clone());
            // Schedules lose and delay chunks and claims by their kind, so each goes by itself.
            config.max_whole_bytes = 0;
            configure(index, &mut config);
            let store = MemoryStore::for_network(identity, config.network, config.store);
            let driver = StoreDriver::new(store);
            let wall_ms = WALL_START_MS;
            let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(wall_ms) };
            let replica = open(&driver, &config, now);
            world.nodes.push(Node {
                id,
                address,
                config,
                driver,
                replica,
                links: BTreeSet::new(),
                wall_ms,
                events: Vec::new(),
                notes: Vec::new(),
                answered: BTreeMap::new(),
                bundles: BTreeMap::new(),
                crash: None,
                commits: 0,
                crashes: 0,
                identity,
                frozen: false,
                history: Vec::new(),
            });
            world.perform(index);
            if index > 0 {
                world.feed(index, Input::Candidate { address: "node-0".into() });
            }
        }
        world
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Virtual milliseconds since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now
    }

    /// A node's replica.
    #[must_use]
    pub fn replica(&self, index: usize) -> &Replica {
        &self.node(index).replica
    }

    /// A node's name.
    #[must_use]
    pub fn node_id(&self, index: usize) -> NodeId {
        self.node(index).id
    }

    /// What a node reported so far.
    #[must_use]
    pub fn events(&self, index: usize) -> &[Event] {
        &self.node(index).events
    }

    /// The notes that a node got, with who sent each.
    #[must_use]
    pub fn notes(&self, index: usize) -> &[(usize, Vec<u8>)] {
        &self.node(index).notes
    }

    /// How often a node crashed.
    #[must_use]
    pub fn crashes(&self, index: usize) -> u64 {
        self.node(index).crashes
    }

    /// How many batches a node's store committed since it was last opened.
    #[must_use]
    pub fn commits(&self, index: usize) -> u64 {
        self.node(index).commits
    }

    /// The dots that a write got, or why it was refused; `None` while it waits.
    #[must_use]
    pub fn answer(&self, index: usize, ticket: Ticket) -> Option<&Result<Vec<Dot>, String>> {
        self.node(index).answered.get(&ticket)
    }

    /// All records of a node's store.
    #[must_use]
    pub fn records(&self, index: usize) -> Vec<Record> {
        records(&self.node(index).driver, Prefix::all())
    }

    /// One record of a node's store.
    #[must_use]
    pub fn record(&self, index: usize, key: &Key) -> Option<Record> {
        let snapshot = snapshot(&self.node(index).driver);
        ready(snapshot.record(key)).and_then(Result::ok).flatten()
    }

    /// The digest of what a node's store holds.
    #[must_use]
    pub fn digest(&self, index: usize) -> Digest {
        snapshot(&self.node(index).driver).head().digest()
    }

    /// The model: what all nodes together made durable.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A hash of all frames sent so far, in order.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Writes a batch at a node.
    pub fn write(&mut self, index: usize, writes: Vec<NewWrite>) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        self.feed(index, Input::LocalWrite { ticket, writes });
        ticket
    }

    /// The fragments of a bundle made by a node.
    ///
    /// # Panics
    ///
    /// If it refuses, or its store failed.
    pub fn make_bundle(&mut self, index: usize, to: Option<usize>, budget_bytes: u64, again: bool) -> Vec<Vec<u8>> {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        let to = to.map(|to| self.node(to).id);
        self.feed(index, Input::MakeBundle { ticket, to, budget_bytes, ttl_s: 3_600, again });
        self.run_for(0);
        match self.node_mut(index).bundles.remove(&ticket) {
            Some(BundleAnswer::Made(fragments)) => fragments,
            other => panic!("no bundle was made: {other:?}"),
        }
    }

    /// Hands a fragment to a node.
    ///
    /// # Errors
    ///
    /// What the node refused it for.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn take_fragment(&mut self, index: usize, bytes: Vec<u8>) -> Result<BundleProgress, BundleError> {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        self.feed(index, Input::BundleFragment { ticket, bytes });
        self.run_for(0);
        match self.node_mut(index).bundles.remove(&ticket) {
            Some(BundleAnswer::Taken(progress)) => Ok(progress),
            Some(BundleAnswer::Refused(error)) => Err(error),
            other => panic!("no answer to a fragment: {other:?}"),
        }
    }

    /// Cuts the link between two nodes. They notice if `noticed`; otherwise frames vanish silently.
    pub fn cut(&mut self, a: usize, b: usize, noticed: bool) {
        self.network.cut(self.node(a).id, self.node(b).id);
        if noticed {
            self.unlink(a, b);
        }
    }

    /// Restores the link between two nodes; one of them must dial again if they noticed the cut.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.network.heal(self.node(a).id, self.node(b).id);
    }

    /// Restores all links.
    pub fn heal_all(&mut self) {
        self.network.heal_all();
    }

    /// Whether frames between two nodes are lost.
    #[must_use]
    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.network.is_cut(self.node(a).id, self.node(b).id)
    }

    /// Changes what links do to frames.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        self.network.set_faults(faults);
    }

    /// Changes, drops or records frames as they arrive.
    pub fn set_tamper(&mut self, tamper: impl FnMut(usize, usize, Vec<u8>) -> Option<Vec<u8>> + 'static) {
        self.tamper = Some(Box::new(tamper));
    }

    /// Sets a node's wall clock, in Unix milliseconds, at this moment.
    pub fn set_wall(&mut self, index: usize, wall_ms: u64) {
        let now = self.now;
        self.node_mut(index).wall_ms = wall_ms.saturating_sub(now);
    }

    /// Feeds an input to a node, and performs what comes of it.
    pub fn feed(&mut self, index: usize, input: Input) {
        let now = self.time_of(index);
        self.node_mut(index).replica.handle(now, input);
        self.perform(index);
        // Whoever may not go on under its name is opened again, under another.
        if std::mem::take(&mut self.node_mut(index).frozen) {
            self.crash(index);
        }
    }

    /// How long the history of a node is, for [`restore`](Self::restore).
    #[must_use]
    pub fn backup(&self, index: usize) -> usize {
        self.node(index).history.len()
    }

    /// Stops a node at once, puts its store back to what it was at this backup, and opens it again.
    ///
    /// # Panics
    ///
    /// If so much has happened since the beginning that the world does not remember it all.
    pub fn restore(&mut self, index: usize, backup: usize) {
        let node = self.node_mut(index);
        assert!(backup <= node.history.len() && node.history.len() < MAX_HISTORY, "too long ago");
        node.history.truncate(backup);
        let store = MemoryStore::for_network(node.identity, node.config.network, node.config.store);
        for batch in &node.history {
            let done = ready(store.commit(batch));
            assert!(matches!(done, Some(Ok(_))), "the history of node {index} does not repeat: {done:?}");
        }
        node.driver = StoreDriver::new(store);
        self.crash(index);
    }

    /// Stops a node at once and opens it again from its store. Peers notice that its links are gone.
    pub fn crash(&mut self, index: usize) {
        for peer in self.node(index).links.clone() {
            self.unlink(index, peer);
        }
        // What was on its way to the old process does not reach the new one.
        for peer in (0..self.nodes.len()).filter(|peer| *peer != index) {
            let (own, other) = (self.node(index).id, self.node(peer).id);
            if !self.network.is_cut(own, other) {
                self.network.cut(own, other);
                self.network.heal(own, other);
            }
        }
        self.pending.retain(|(node, _)| *node != index);
        let now = self.time_of(index);
        let node = self.node_mut(index);
        node.crash = None;
        node.commits = 0;
        node.crashes = node.crashes.saturating_add(1);
        // Views are the process's, rows the store's.
        node.config.seed = node.config.seed.rotate_left(7) ^ 0x5bd1_e995;
        let driver = std::mem::replace(&mut node.driver, StoreDriver::new(placeholder()));
        node.driver = StoreDriver::new(driver.into_store());
        node.replica = open(&node.driver, &node.config, now);
        self.perform(index);
        let address = self.node(usize::from(index == 0)).address.clone();
        self.feed(index, Input::Candidate { address });
    }

    /// Crashes a node at its commit number `commit`, counted from now on from 0: before it is performed, or after it
    /// and before anything else is.
    pub fn crash_at_commit(&mut self, index: usize, commit: u64, after: bool) {
        let node = self.node_mut(index);
        node.crash = Some((node.commits.saturating_add(commit), after));
    }

    /// Lets `ms` virtual milliseconds pass.
    ///
    /// # Panics
    ///
    /// If a replica asks to be woken again and again at one moment.
    pub fn run_for(&mut self, ms: u64) {
        let until = self.now.saturating_add(ms);
        while self.step(until) {}
        self.now = until;
    }

    /// Whether all nodes hold exactly what the model says, and equal digests.
    ///
    /// # Errors
    ///
    /// The first node that does not, and how.
    pub fn check_converged(&self) -> Result<(), Violation> {
        for index in 0..self.nodes.len() {
            self.model.check_equal(index, &self.records(index))?;
            if self.digest(index) != self.digest(0) {
                return Err(Violation::Digest { node: index });
            }
        }
        Ok(())
    }

    /// Whether a node's Knowledge is nowhere ahead of its data: each dot in it is live there, was replaced there, or was
    /// deleted by a tombstone that was settled and that some node has collected.
    ///
    /// # Errors
    ///
    /// The first dot that is none of these.
    pub fn check_knowledge(&self, index: usize) -> Result<(), Violation> {
        let snapshot = snapshot(&self.node(index).driver);
        let mut floor = VectorClock::new();
        self.nodes.iter().for_each(|node| {
            floor.merge(node.replica.head().gc_floor());
        });
        self.model.check_knowledge(index, snapshot.head().knowledge(), &floor, &self.records(index))
    }

    /// Whether every delete that some node forgot is known to all nodes that it knew by then, but those whose replica was
    /// retired.
    ///
    /// # Errors
    ///
    /// The first delete that is not.
    pub fn check_forgotten(&self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            let head = snapshot(&self.node(node).driver).head().clone();
            for (key, dot) in self.model.forgotten(head.knowledge(), &self.records(node)) {
                let among = self.forgotten_among.get(&(node, dot));
                if among.is_none() && self.forgotten_among.keys().any(|(_, forgotten)| *forgotten == dot) {
                    // It never held the delete, and was told of it with the claim of a node that had forgotten it.
                    continue;
                }
                let counts = |other: &usize| {
                    let replica = self.node(*other).replica.head().identity().replica;
                    !self.node(node).replica.is_retired(replica)
                        && self.node(node).replica.members().any(|member| member.replica == replica)
                        && among.is_none_or(|members| members.contains(&replica))
                };
                let knows = |other: &usize| snapshot(&self.node(*other).driver).head().knowledge().contains(dot);
                if let Some(unknown_at) = (0..self.nodes.len()).filter(counts).find(|other| !knows(other)) {
                    return Err(Violation::Forgotten { node, key, dot, unknown_at });
                }
            }
        }
        Ok(())
    }

    /// Does the next thing due by `until`; false if there is none.
    fn step(&mut self, until: u64) -> bool {
        if let Some((index, input)) = self.pending.pop_front() {
            self.feed(index, input);
            return true;
        }
        let deadlines = self.nodes.iter().enumerate();
        let deadlines = deadlines.filter_map(|(index, node)| Some((node.replica.next_deadline()?.as_millis(), index)));
        let timer = deadlines.min();
        let arrival = self.network.next_due().map(Timestamp::as_millis);
        let due = arrival.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(due) = due.filter(|due| *due <= until) else { return false };
        self.now = self.now.max(due);
        if arrival.is_some_and(|at| at <= self.now) {
            if let Some(delivery) = self.network.pop(Timestamp::from_millis(self.now)) {
                self.arrive(delivery);
            }
            return true;
        }
        if let Some((_, index)) = timer {
            self.feed(index, Input::Tick);
            let next = self.node(index).replica.next_deadline();
            assert!(next.is_none_or(|next| next.as_millis() > self.now), "a timer of node {index} stands still");
        }
        true
    }

    fn arrive(&mut self, delivery: Delivery) {
        let Delivery { from, to, frame } = delivery;
        let (Some(sender), Some(receiver)) = (self.index_of(from), self.index_of(to)) else { return };
        let frame = match &mut self.tamper {
            Some(tamper) => tamper(sender, receiver, frame),
            None => Some(frame),
        };
        if let Some(frame) = frame {
            self.feed(receiver, Input::Received { from, frame });
        }
    }

    /// Performs the outputs of a node until it has no more.
    fn perform(&mut self, index: usize) {
        while let Some(output) = self.node_mut(index).replica.poll_output() {
            if let Output::Persist(batch) = &output {
                let node = self.node_mut(index);
                let crash = node.crash.filter(|(commit, _)| *commit == node.commits);
                node.commits = node.commits.saturating_add(1);
                let own = node.replica.head().identity().replica;
                if crash == Some((node.commits.saturating_sub(1), false)) {
                    self.crash(index);
                    return;
                }
                // The commit below cannot fail: an in-memory store within its limits.
                let made = batch.versions().filter(|(_, version)| version.dot.replica == own);
                let made: Vec<_> = made.map(|(key, version)| (key.clone(), version.clone())).collect();
                let replica = &self.node(index).replica;
                let members: BTreeSet<ReplicaId> = replica.members().map(|member| member.replica).collect();
                // A row that goes altogether: nothing replaced what it held.
                let emptied = batch.rows().iter().filter(|row| row.after().is_none());
                let forgotten: Vec<Dot> = emptied.flat_map(|row| row.removed()).copied().collect();
                self.forgotten_among.extend(forgotten.into_iter().map(|dot| ((index, dot), members.clone())));
                let node = self.node_mut(index);
                node.history.extend((node.history.len() < MAX_HISTORY).then(|| batch.clone()));
                let done = ready(self.node_mut(index).driver.perform(output));
                assert!(matches!(done, Some(Ok(Performed::Done))), "node {index} could not commit: {done:?}");
                self.model.add(made);
                if crash.is_some() {
                    self.crash(index);
                    return;
                }
                continue;
            }
            match ready(self.node_mut(index).driver.perform(output)) {
                Some(Ok(Performed::Done)) => {}
                Some(Ok(Performed::Input(input))) => self.pending.push_back((index, input)),
                Some(Ok(Performed::Other(output))) => self.perform_outside(index, output),
                failed => panic!("the store of node {index} failed: {failed:?}"),
            }
        }
    }

    fn perform_outside(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, frame } => {
                self.trace = frame.iter().fold(self.trace, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
                });
                let Some(peer) = self.index_of(to) else { return };
                if self.node(index).links.contains(&peer) {
                    let from = self.node(index).id;
                    self.network.send(Timestamp::from_millis(self.now), from, to, frame);
                }
            }
            Output::Note { from, bytes } => {
                if let Some(from) = self.index_of(from) {
                    self.node_mut(index).notes.push((from, bytes));
                }
            }
            Output::Connect { address } => self.connect(index, address),
            Output::Disconnect { from, .. } => {
                if let Some(peer) = self.index_of(from) {
                    self.node_mut(index).links.remove(&peer);
                    if self.node_mut(peer).links.remove(&index) && !self.is_cut(index, peer) {
                        let id = self.node(index).id;
                        self.pending.push_back((peer, Input::LinkDown { peer: id }));
                    }
                }
            }
            Output::Written { ticket, dots } => {
                self.node_mut(index).answered.insert(ticket, Ok(dots));
            }
            Output::WriteRefused { ticket, error } => {
                self.node_mut(index).answered.insert(ticket, Err(error.to_string()));
            }
            Output::BundleReady { ticket, fragments, .. } => {
                self.node_mut(index).bundles.insert(ticket, BundleAnswer::Made(fragments));
            }
            Output::BundleTaken { ticket, progress } => {
                self.node_mut(index).bundles.insert(ticket, BundleAnswer::Taken(progress));
            }
            Output::BundleRefused { ticket, error } => {
                self.node_mut(index).bundles.insert(ticket, BundleAnswer::Refused(error));
            }
            Output::Notify(event) => {
                let node = self.node_mut(index);
                node.frozen |= matches!(event, Event::Frozen { .. });
                node.events.push(event);
            }
            Output::Persist(_) | Output::OpenView(_) | Output::CloseView(_) | Output::Load { .. } => {
                panic!("the store driver handed back {output:?}");
            }
        }
    }

    fn connect(&mut self, index: usize, address: String) {
        let target = self.nodes.iter().position(|node| node.address == address);
        let Some(peer) = target.filter(|peer| *peer != index && !self.is_cut(index, *peer)) else {
            self.pending.push_back((index, Input::ConnectFailed { address }));
            return;
        };
        self.node_mut(index).links.insert(peer);
        self.node_mut(peer).links.insert(index);
        let (own, other) = (self.node(index).id, self.node(peer).id);
        self.pending.push_back((index, Input::LinkUp { peer: other, address: Some(address) }));
        self.pending.push_back((peer, Input::LinkUp { peer: own, address: None }));
    }

    fn unlink(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.node(a).id, self.node(b).id);
        if self.node_mut(a).links.remove(&b) {
            self.pending.push_back((a, Input::LinkDown { peer: id_b }));
        }
        if self.node_mut(b).links.remove(&a) {
            self.pending.push_back((b, Input::LinkDown { peer: id_a }));
        }
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    fn time_of(&self, index: usize) -> Now {
        let wall = WallTime::from_millis(self.node(index).wall_ms.saturating_add(self.now));
        Now { mono: Timestamp::from_millis(self.now), wall }
    }

    fn node(&self, index: usize) -> &Node {
        self.nodes.get(index).expect("a node of this world")
    }

    fn node_mut(&mut self, index: usize) -> &mut Node {
        self.nodes.get_mut(index).expect("a node of this world")
    }
}

/// Batches remembered for each node.
const MAX_HISTORY: usize = 4_096;
/// Any fixed date.
const WALL_START_MS: u64 = 1_735_689_600_000;

fn open(driver: &StoreDriver<MemoryStore>, config: &Config, now: Now) -> Replica {
    let head = snapshot(driver).head().clone();
    let facts = records(driver, Prefix::new(Replica::FACTS).expect("short"));
    Replica::open(config.clone(), head, facts, now).expect("settings of a simulation")
}

fn snapshot(driver: &StoreDriver<MemoryStore>) -> <MemoryStore as MetadataStore>::Snapshot {
    ready(driver.store().snapshot()).and_then(Result::ok).expect("memory is always there")
}

fn records(driver: &StoreDriver<MemoryStore>, prefix: Prefix) -> Vec<Record> {
    let all = Cursor::new(prefix).with_rows(usize::MAX).with_bytes(usize::MAX);
    ready(snapshot(driver).by_prefix(&all)).and_then(Result::ok).expect("memory is always there").items
}

/// Stands in for a store that is being moved out of its driver.
fn placeholder() -> MemoryStore {
    let identity =
        Identity { node: NodeId::from_bytes([0; 16]), replica: ReplicaId::new(1).expect("not zero"), incarnation: 1 };
    MemoryStore::for_network(identity, ReplicaWorld::network_id(), reconvene_store::Limits::default())
}
