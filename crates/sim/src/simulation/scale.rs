//! Many brokers on links without faults but delay and loss: what it costs them to meet, to heal and to be told.
//!
//! The brokers are the real ones with the settings that every broker starts with. Nothing is checked here but that all
//! become equal; what is asked is how long that takes in virtual time, and what it costs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_store::{Body, Class, Digest, Identity, Key, MemoryStore, MetadataStore, Snapshot as _, ready};
use reconvene_sync::{Config, Input, NetworkId, NewWrite, Output, Performed, Replica, Stats, StoreDriver, Ticket};
use serde::Serialize;

use super::chance::Chance;

/// A network whose cost is measured.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct Scale {
    /// How many brokers, at most 1,024.
    pub brokers: usize,
    /// How many others each of them is linked with at least: a ring and chords drawn at random. All are linked with all
    /// if this is as many as there are.
    pub links: usize,
    /// Where delays, losses and links come from.
    pub seed: u64,
    /// The longest that a frame takes, in milliseconds; each takes 1 at least.
    pub delay_ms: u64,
    /// Frames lost, of 1,000.
    pub loss_per_mille: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScaleReport {
    /// How many brokers there were.
    pub brokers: usize,
    /// How many links there were, each counted once.
    pub links: usize,
    /// The seed.
    pub seed: u64,
    /// What happened, in order.
    pub phases: Vec<Phase>,
    /// Whether all brokers had one digest at the end.
    pub equal: bool,
}

/// What one part of a run took and cost, in virtual time and for all brokers together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Phase {
    /// `meet`: all know all members. `part`: each half knows what its brokers wrote while it was cut off. `heal`: all know
    /// all of that. `quiet`: a minute in which nothing is to be done. `urgent`: all know one urgent write.
    pub name: &'static str,
    /// How many brokers came so far.
    pub reached: usize,
    /// When half of them had, in virtual milliseconds since the part began.
    pub p50_ms: u64,
    /// When 99 of 100 had.
    pub p99_ms: u64,
    /// When the last had.
    pub last_ms: u64,
    /// Rounds of anti-entropy that 99 of 100 brokers had needed for it.
    pub p99_rounds: u64,
    /// Frames, timers and inputs that were handled.
    pub events: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Sessions completed, counted at both ends.
    pub sessions: u64,
    /// Those of them that found nothing to do.
    pub in_sync_sessions: u64,
    /// Sessions given up.
    pub failed_sessions: u64,
    /// Versions that were known already where they came.
    pub duplicates: u64,
}

impl ScaleReport {
    /// The part of this name.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

impl Scale {
    /// As many brokers as this, each linked with each, on links that take up to 20 ms and lose nothing.
    #[must_use]
    pub const fn new(brokers: usize, seed: u64) -> Self {
        Self { brokers, links: brokers, seed, delay_ms: 20, loss_per_mille: 0 }
    }

    /// Lets the brokers meet, cuts them in two halves in each of which every broker writes one record, heals that, leaves
    /// them alone for a minute, and has one of them write something urgent.
    ///
    /// # Panics
    ///
    /// If a store in memory fails, or there are more than 1,024 brokers.
    #[must_use]
    pub fn run(&self) -> ScaleReport {
        assert!((2..=1_024).contains(&self.brokers), "from 2 to 1,024 brokers");
        let mut world = World::new(*self);
        let mut phases = vec![world.phase("meet", "sys/member/", [self.brokers; 2], LONG_MS, World::link_all)];
        let half = self.brokers / 2;
        let halves = [half, self.brokers - half];
        phases.push(world.phase("part", "scale/", halves, LONG_MS, World::part));
        phases.push(world.phase("heal", "scale/", [self.brokers; 2], LONG_MS, World::heal));
        phases.push(world.phase("quiet", "none/", [1; 2], 60_000, |_| {}));
        phases.push(world.phase("urgent", "urgent", [1; 2], LONG_MS, World::write_urgent));
        // What is left of it is brought by sessions.
        world.run_until(world.now + LONG_MS, |world| world.is_equal());
        let links = world.nodes.iter().map(|node| node.peers.len()).sum::<usize>() / 2;
        ScaleReport { brokers: self.brokers, links, seed: self.seed, phases, equal: world.is_equal() }
    }
}

struct World {
    scale: Scale,
    now: u64,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: BTreeMap<u64, Event>,
    queued: u64,
    chance: Chance,
    parted: bool,
    /// What the keys begin with that are counted.
    watched: &'static str,
    reached: usize,
    events: u64,
}

struct Node {
    replica: Replica,
    store: StoreDriver<MemoryStore>,
    peers: Vec<usize>,
    wake: Option<u64>,
    /// Watched versions that are held here, and how many there should be.
    held: usize,
    wanted: usize,
    /// When there were as many, and after how many rounds.
    reached: Option<(u64, u64)>,
    rounds_before: u64,
}

enum Event {
    Wake(usize),
    Input(usize, Input),
    Frame { from: usize, to: usize, bytes: Vec<u8> },
}

impl World {
    fn new(scale: Scale) -> Self {
        let mut chance = Chance::new(scale.seed, 1);
        let nodes = links(&scale, &mut chance).into_iter().enumerate();
        let nodes = nodes.map(|(index, peers)| Node::new(&scale, index, peers)).collect();
        Self {
            scale,
            now: 0,
            nodes,
            queue: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            queued: 0,
            chance,
            parted: false,
            watched: "",
            reached: 0,
            events: 0,
        }
    }

    /// Runs until every broker holds as many watched versions as its half should, or for so long.
    fn phase(
        &mut self,
        name: &'static str,
        watched: &'static str,
        wanted: [usize; 2],
        most_ms: u64,
        begin: impl FnOnce(&mut Self),
    ) -> Phase {
        let (before, events, began) = (self.stats(), self.events, self.now);
        if self.watched != watched {
            self.nodes.iter_mut().for_each(|node| node.held = 0);
        }
        (self.watched, self.reached) = (watched, 0);
        for index in 0..self.nodes.len() {
            let side = usize::from(self.side(index));
            let node = &mut self.nodes[index];
            node.rounds_before = node.replica.stats().rounds;
            (node.wanted, node.reached) = (wanted[side], None);
        }
        begin(self);
        self.run_until(began + most_ms, |world| world.reached == world.nodes.len());
        let mut times: Vec<u64> = self.nodes.iter().filter_map(|node| Some(node.reached?.0 - began)).collect();
        let mut rounds: Vec<u64> = self.nodes.iter().filter_map(|node| Some(node.reached?.1)).collect();
        times.sort_unstable();
        rounds.sort_unstable();
        let after = self.stats();
        Phase {
            name,
            reached: times.len(),
            p50_ms: of_all(&times, self.nodes.len(), 50),
            p99_ms: of_all(&times, self.nodes.len(), 99),
            last_ms: of_all(&times, self.nodes.len(), 100),
            p99_rounds: of_all(&rounds, self.nodes.len(), 99),
            events: self.events - events,
            frames: after.frames_sent - before.frames_sent,
            bytes: after.bytes_sent - before.bytes_sent,
            sessions: after.sessions - before.sessions,
            in_sync_sessions: after.in_sync_sessions - before.in_sync_sessions,
            failed_sessions: after.failed_sessions - before.failed_sessions,
            duplicates: after.duplicates_received - before.duplicates_received,
        }
    }

    /// All links come up within a second.
    fn link_all(&mut self) {
        (0..self.nodes.len()).for_each(|index| self.perform(index));
        for index in 0..self.nodes.len() {
            for peer in self.nodes[index].peers.clone().into_iter().filter(|peer| *peer < index) {
                let at = self.now + self.chance.below(1_000);
                self.link(at, index, peer);
            }
        }
    }

    /// One half is cut off the other, and both know it. Then every broker writes.
    fn part(&mut self) {
        self.parted = true;
        for (a, b) in self.across() {
            self.feed(a, Input::LinkDown { peer: id(b) });
        }
        for index in 0..self.nodes.len() {
            self.write(index, format!("scale/{index:04}"), Class::NORMAL);
        }
    }

    /// All cut links stand again.
    fn heal(&mut self) {
        self.parted = false;
        for (a, b) in self.across().into_iter().filter(|(a, b)| a < b) {
            let at = self.now + self.chance.between(1, self.scale.delay_ms);
            self.link(at, a, b);
        }
    }

    fn write_urgent(&mut self) {
        let index = self.chance.index(self.nodes.len());
        self.write(index, "urgent".to_owned(), Class::URGENT);
    }

    fn write(&mut self, index: usize, key: String, class: Class) {
        let value = Body::of("a declaration of about as many bytes as one has");
        let writes = vec![NewWrite::new(Key::new(key).expect("short"), class, value)];
        self.feed(index, Input::LocalWrite { ticket: Ticket(0), writes });
    }

    fn link(&mut self, at: u64, a: usize, b: usize) {
        self.push(at, Event::Input(a, Input::LinkUp { peer: id(b), address: None }));
        self.push(at, Event::Input(b, Input::LinkUp { peer: id(a), address: None }));
    }

    /// The links between the halves, from both ends.
    fn across(&self) -> Vec<(usize, usize)> {
        let of = |index: usize| self.nodes[index].peers.iter().map(move |peer| (index, *peer));
        (0..self.nodes.len()).flat_map(of).filter(|(a, b)| self.side(*a) != self.side(*b)).collect()
    }

    fn side(&self, index: usize) -> bool {
        index >= self.nodes.len() / 2
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.parted && self.side(a) != self.side(b)
    }

    fn run_until(&mut self, until: u64, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let Some(Reverse((at, number))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= until) else {
                self.now = until;
                return;
            };
            self.queue.pop();
            self.now = at;
            let Some(event) = self.waiting.remove(&number) else { continue };
            match event {
                Event::Wake(index) => {
                    if self.nodes[index].wake == Some(at) {
                        self.nodes[index].wake = None;
                        self.feed(index, Input::Tick);
                    }
                }
                Event::Input(index, input) => self.feed(index, input),
                Event::Frame { from, to, bytes } => {
                    if !self.is_cut(from, to) {
                        self.feed(to, Input::Received { from: id(from), frame: bytes });
                    }
                }
            }
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued)));
        self.waiting.insert(self.queued, event);
    }

    fn feed(&mut self, index: usize, input: Input) {
        self.events += 1;
        let now = now(self.now);
        self.nodes[index].replica.handle(now, input);
        self.perform(index);
    }

    fn perform(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].replica.poll_output() {
            let node = &mut self.nodes[index];
            if let Output::Persist(batch) = &output {
                node.held +=
                    batch.versions().filter(|(key, _)| key.as_bytes().starts_with(self.watched.as_bytes())).count();
            }
            match ready(node.store.perform(output)) {
                Some(Ok(Performed::Done)) => {}
                Some(Ok(Performed::Input(input))) => node.replica.handle(now(self.now), input),
                Some(Ok(Performed::Other(Output::Send { to, frame }))) => self.send(index, index_of(to), frame),
                Some(Ok(Performed::Other(Output::Disconnect { from, .. }))) => {
                    let peer = index_of(from);
                    self.push(self.now + 1, Event::Input(peer, Input::LinkDown { peer: id(index) }));
                    if !self.is_cut(index, peer) {
                        self.link(self.now + RELINK_MS, index, peer);
                    }
                }
                Some(Ok(Performed::Other(_))) => {}
                failed => panic!("the store of broker {index} failed: {failed:?}"),
            }
        }
        let node = &mut self.nodes[index];
        if node.reached.is_none() && node.held >= node.wanted {
            node.reached = Some((self.now, node.replica.stats().rounds - node.rounds_before));
            self.reached += 1;
        }
        let due = node.replica.next_deadline().map(|due| due.as_millis().max(self.now));
        if due != node.wake {
            node.wake = due;
            if let Some(at) = due {
                self.push(at, Event::Wake(index));
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if self.is_cut(from, to) || self.chance.per_mille(self.scale.loss_per_mille) {
            return;
        }
        let at = self.now + self.chance.between(1, self.scale.delay_ms);
        self.push(at, Event::Frame { from, to, bytes });
    }

    fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for stats in self.nodes.iter().map(|node| node.replica.stats()) {
            sum.frames_sent += stats.frames_sent;
            sum.bytes_sent += stats.bytes_sent;
            sum.sessions += stats.sessions;
            sum.in_sync_sessions += stats.in_sync_sessions;
            sum.failed_sessions += stats.failed_sessions;
            sum.duplicates_received += stats.duplicates_received;
        }
        sum
    }

    fn is_equal(&self) -> bool {
        let mut digests = self.nodes.iter().map(Node::digest);
        digests.next().is_none_or(|first| digests.all(|digest| digest == first))
    }
}

impl Node {
    fn new(scale: &Scale, index: usize, peers: Vec<usize>) -> Self {
        let number = u64::try_from(index).unwrap_or(u64::MAX) + 1;
        let replica = ReplicaId::new(number << 32 | 0xabc).expect("not zero");
        let config = Config::new(NetworkId::of_name("scale"), scale.seed << 16 | number);
        let identity = Identity { node: id(index), replica, incarnation: 1 };
        let store = StoreDriver::new(MemoryStore::for_network(identity, config.network, config.store));
        let head = ready(store.store().snapshot()).and_then(Result::ok).expect("memory is always there");
        let replica = Replica::open(config, head.head().clone(), Vec::new(), now(0)).expect("settings of a broker");
        Self { replica, store, peers, wake: None, held: 0, wanted: 0, reached: None, rounds_before: 0 }
    }

    fn digest(&self) -> Digest {
        self.replica.head().digest()
    }
}

/// Whom each broker is linked with.
fn links(scale: &Scale, chance: &mut Chance) -> Vec<Vec<usize>> {
    let count = scale.brokers;
    let mut linked = vec![std::collections::BTreeSet::new(); count];
    for index in 0..count {
        let mut others: Vec<usize> = match scale.links + 1 >= count {
            true => (0..index).collect(),
            false => vec![(index + 1) % count],
        };
        while others.len() < scale.links / 2 && scale.links + 1 < count {
            others.push(chance.index(count));
        }
        for other in others.into_iter().filter(|other| *other != index) {
            linked[index].insert(other);
            linked[other].insert(index);
        }
    }
    linked.into_iter().map(|peers| peers.into_iter().collect()).collect()
}

/// What so many of 100 among `all` brokers stayed below; the greatest number there is if fewer came so far.
fn of_all(sorted: &[u64], all: usize, percent: usize) -> u64 {
    let place = (all * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(u64::MAX)
}

fn id(index: usize) -> NodeId {
    let [high, low] = u16::try_from(index + 1).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = [7; 16];
    (bytes[0], bytes[1]) = (high, low);
    NodeId::from_bytes(bytes)
}

fn index_of(id: NodeId) -> usize {
    let bytes = id.as_bytes();
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) - 1
}

fn now(at: u64) -> Now {
    Now { mono: Timestamp::from_millis(at), wall: WallTime::from_millis(WALL_START_MS + at) }
}

/// Longer than anything should take.
const LONG_MS: u64 = 15 * 60_000;
/// How long it takes to dial again.
const RELINK_MS: u64 = 1_000;
/// Any fixed date.
const WALL_START_MS: u64 = 1_735_689_600_000;
