//! Promise L2 with whole brokers: an emergency on slow links that bulk saturates.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely"
)]

use std::collections::BTreeMap;

use reconvene_broker::{Command, Config, Node, NodeConfig, NodeInput, NodeOutput, Reply, StrategyKind};
use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_executor::JobSpec;
use reconvene_store::{Head, Identity, Limits, MemoryStore, ready};
use reconvene_sync::{self as sync, Lane, NetworkId, Performed, StoreDriver, Ticket, frame_lane};

/// Of each link, one way.
const BITS: u64 = 64_000;
const PROPAGATION_MS: u64 = 20;
/// What one packet holds that an urgent frame may have to wait for.
const PACKET_BYTES: usize = 1_200;

/// Brokers in a row, each linked with the next alone.
struct Row {
    now: u64,
    nodes: Vec<(Node, StoreDriver<MemoryStore>)>,
    /// Frames on their way, by arrival.
    underway: BTreeMap<(u64, u64), (usize, usize, Vec<u8>)>,
    sent: u64,
    /// When each way is free again for each lane.
    free: BTreeMap<(usize, usize), [u64; 2]>,
    /// When each broker first knew so many emergencies.
    heard: BTreeMap<(usize, usize), u64>,
    tickets: u64,
    replies: BTreeMap<u64, Reply>,
}

fn node_id(index: usize) -> NodeId {
    NodeId::new([u8::try_from(index).unwrap().saturating_add(1); 16])
}

fn took(bytes: usize) -> u64 {
    (u64::try_from(bytes).unwrap() * 8_000).div_ceil(BITS)
}

impl Row {
    fn new(count: usize) -> Self {
        let network = NetworkId::of_name("slow");
        let mut nodes = Vec::new();
        for index in 0..count {
            let replica = ReplicaId::new(u64::try_from(index).unwrap() + 1).unwrap();
            let identity = Identity { node: node_id(index), replica, incarnation: 1 };
            let sync = sync::Config::new(network, u64::try_from(index).unwrap());
            let lifecycle = Config::new(StrategyKind::EmergencyFirst).build().unwrap();
            let store = StoreDriver::new(MemoryStore::for_network(identity, network, Limits::default()));
            let head = Head::new(identity, network);
            let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(1_000_000_000) };
            let node = Node::open(NodeConfig::new(sync, lifecycle), head, Vec::new(), now).unwrap();
            nodes.push((node, store));
        }
        let mut row = Self {
            now: 0,
            nodes,
            underway: BTreeMap::new(),
            sent: 0,
            free: BTreeMap::new(),
            heard: BTreeMap::new(),
            tickets: 0,
            replies: BTreeMap::new(),
        };
        (0..count).for_each(|index| row.perform(index));
        row
    }

    fn feed(&mut self, index: usize, input: NodeInput) {
        let now = Now { mono: Timestamp::from_millis(self.now), wall: WallTime::from_millis(1_000_000_000 + self.now) };
        self.nodes[index].0.handle(now, input);
        self.perform(index);
    }

    fn perform(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].0.poll_output() {
            match output {
                NodeOutput::Store(output) => {
                    let performed = ready(self.nodes[index].1.perform(output)).unwrap().unwrap();
                    if let Performed::Input(answer) = performed {
                        let now = Now {
                            mono: Timestamp::from_millis(self.now),
                            wall: WallTime::from_millis(1_000_000_000 + self.now),
                        };
                        self.nodes[index].0.handle(now, NodeInput::Store(answer));
                    }
                }
                NodeOutput::SendPeer { to, frame } => self.send(index, to, frame),
                NodeOutput::Reply { ticket, reply } => {
                    self.replies.insert(ticket.0, reply.unwrap());
                }
                _ => {}
            }
        }
        let known = self.nodes[index].0.coordinator().emergencies().count();
        self.heard.entry((index, known)).or_insert(self.now);
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
        self.sent += 1;
        self.underway.insert((left + PROPAGATION_MS, self.sent), (from, to, frame));
    }

    fn run_until(&mut self, until: u64) {
        loop {
            let frame = self.underway.first_key_value().map(|((at, _), _)| *at);
            let deadlines = self.nodes.iter().filter_map(|(node, _)| node.next_deadline());
            let timer = deadlines.map(Timestamp::as_millis).min().map(|at| at.max(self.now));
            let Some(next) = frame.into_iter().chain(timer).min().filter(|next| *next <= until) else { break };
            self.now = next;
            if frame == Some(next) {
                let (_, (from, to, frame)) = self.underway.pop_first().unwrap();
                self.feed(to, NodeInput::PeerFrame { from: node_id(from), frame });
                continue;
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].0.next_deadline().is_some_and(|due| due.as_millis() <= next) {
                    self.feed(index, NodeInput::Tick);
                }
            }
        }
        self.now = until;
    }

    fn command(&mut self, index: usize, command: Command) -> Reply {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.feed(index, NodeInput::Command { ticket, command });
        self.replies.remove(&ticket.0).unwrap()
    }

    /// How long the bulk that waits for this way takes.
    fn backlog_ms(&self, from: usize, to: usize) -> u64 {
        self.free.get(&(from, to)).map_or(0, |[_, bulk]| bulk.saturating_sub(self.now))
    }
}

/// Done when an emergency reaches a broker k hops away within k x (link delay + 50 ms), where bulk would take minutes.
#[test]
fn sim_an_emergency_overtakes_bulk_on_every_hop() {
    const BROKERS: usize = 5;
    let mut row = Row::new(BROKERS);
    for index in 1..BROKERS {
        row.feed(index, NodeInput::PeerUp { peer: node_id(index - 1), address: None });
        row.feed(index - 1, NodeInput::PeerUp { peer: node_id(index), address: None });
    }
    row.run_until(300_000);
    // Minutes of bulk in both directions of each link.
    for index in 0..BROKERS {
        for number in 0..60_u64 {
            let payload: Vec<u8> = (0..20_000_u64).map(|at| (at * 7 + number * 13 + 5) as u8).collect();
            row.command(index, Command::Submit { spec: JobSpec::new(payload) });
        }
    }
    // Propagation, a packet that is on the wire, and the declaration itself.
    let link_ms = PROPAGATION_MS + took(PACKET_BYTES) + took(DECLARATION_BYTES);
    let mut busy = BTreeMap::<usize, u64>::new();
    let mut longest = [0; BROKERS];
    for number in 1..=DECLARATIONS {
        row.run_until(row.now + 7_300);
        for index in 1..BROKERS {
            let waits = row.backlog_ms(index - 1, index).max(row.backlog_ms(index, index - 1));
            *busy.entry(index).or_default() += u64::from(waits > took(PACKET_BYTES));
        }
        let declared = row.now;
        let command = Command::DeclareEmergency { level: 200, region: "north".to_owned(), lifetime_ms: 0 };
        assert!(matches!(row.command(0, command), Reply::EmergencyDeclared { .. }));
        row.run_until(declared + 3_000);
        for hops in 1..BROKERS {
            let heard = row.heard.get(&(hops, number)).map(|at| at - declared);
            let bound = u64::try_from(hops).unwrap() * (link_ms + 50);
            assert!(heard.is_some_and(|heard| heard <= bound), "{hops} hops: {heard:?} ms, {bound} at most");
            longest[hops] = longest[hops].max(heard.unwrap());
        }
    }
    eprintln!("longest by hops: {longest:?} ms, {} ms a hop allowed; busy links: {busy:?}", link_ms + 50);
    // Silence must not mean that nothing happened.
    assert!(busy.values().all(|times| *times > 0), "each link was busy with bulk: {busy:?}");
}

/// Declarations one after another; a broker takes ten a minute.
const DECLARATIONS: usize = 20;
/// More than the frame of a declaration has.
const DECLARATION_BYTES: usize = 160;
