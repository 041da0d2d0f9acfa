//! One run: one thread, one queue of events, one number.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use reconvene_store::Snapshot as _;
use reconvene_sync::{Input, Ticket};

use super::chance::Chance;
use super::client::Carried;
use super::flow::Flows;
use super::marks::{Mark, Marks};
use super::net::{Frame, SimNet};
use super::node::SimNode;
use super::oracle::Oracle;
use super::plan::{Plan, Restart};
use super::queue::{Check, Event, Queued};
use super::trace::Trace;
use super::{Report, Violation};

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: u64,
    pub(super) queue: BinaryHeap<Queued>,
    pub(super) queued: u64,
    pub(super) nodes: Vec<SimNode>,
    pub(super) net: SimNet,
    pub(super) oracle: Oracle,
    pub(super) flows: Flows,
    pub(super) marks: Marks,
    pub(super) trace: Trace<'a>,
    steps: u64,
    pub(super) tickets: u64,
    pub(super) calm: bool,
    /// Whether anybody in this network was ever hostile, and who is: by whom others are spoken for, and whose chunks are
    /// full of forgeries.
    pub(super) hostile: bool,
    pub(super) spoofing: BTreeMap<usize, (usize, usize)>,
    pub(super) tampering: BTreeMap<usize, (usize, u64)>,
    /// Bundles that are being made, to be carried.
    pub(super) carried: BTreeMap<Ticket, Carried>,
    /// Flapping links that are down.
    pub(super) flapped: BTreeSet<usize>,
    /// Whether any replica was retired or took another name.
    pub(super) renamed: bool,
    /// Versions by the time all had become equal.
    pub(super) written: usize,
    pub(super) chance: Chance,
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Plan, trace: Trace<'a>) -> Self {
        let options = &plan.options;
        let nodes = (0..options.brokers).map(|index| SimNode::new(options, index)).collect();
        Self {
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            nodes,
            net: SimNet::new(options.seed, options.brokers, options.delay_ms, options.link_bits),
            oracle: Oracle::new(options.brokers),
            flows: Flows::default(),
            marks: Marks::default(),
            trace,
            steps: 0,
            tickets: 0,
            calm: false,
            hostile: false,
            spoofing: BTreeMap::new(),
            tampering: BTreeMap::new(),
            carried: BTreeMap::new(),
            flapped: BTreeSet::new(),
            renamed: false,
            written: 0,
            chance: Chance::new(options.seed, 3),
        }
    }

    pub(super) fn run(mut self) -> Report {
        let violation = self.go().err().map(|mut violation| {
            violation.at_ms = self.now;
            violation
        });
        Report {
            trace_hash: self.trace.hash(),
            steps: self.steps,
            versions: self.oracle.len(),
            violations: violation.into_iter().collect(),
            reached: self.marks,
        }
    }

    fn go(&mut self) -> Result<(), Violation> {
        let options = &self.plan.options;
        for node in 0..self.nodes.len() {
            self.start(node, None)?;
        }
        for (step, planned) in self.plan.steps.iter().enumerate() {
            if planned.at_ms < options.faulty_ms {
                self.push(planned.at_ms, Event::Begin { step });
            }
        }
        let calm = options.faulty_ms;
        self.push(calm, Event::Calm);
        let healed = self.healed_after();
        if options.calm_ms > healed {
            self.push(calm + healed, Event::Check(Check::Healed));
            self.push(calm + healed + 1_000, Event::Check(Check::Bulk));
            self.push(calm + healed + 4_000, Event::Check(Check::Urgent));
            let write = healed + options.sync_interval_ms / 2;
            let equal = write + EQUAL_AFTER_INTERVALS * options.sync_interval_ms;
            if options.calm_ms > equal {
                self.push(calm + write, Event::Check(Check::Write));
                self.push(calm + equal, Event::Check(Check::Equal));
            }
        }
        self.push(calm + options.calm_ms, Event::Check(Check::End));
        while let Some(Queued { at, event, .. }) = self.queue.pop() {
            self.now = at;
            self.steps += 1;
            let end = matches!(event, Event::Check(Check::End));
            self.happen(event)?;
            if self.steps.is_multiple_of(64) || end {
                (0..self.nodes.len()).try_for_each(|node| self.oracle.check_store(node))?;
            }
            if end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long after the last fault all brokers must be equal again.
    pub(super) fn healed_after(&self) -> u64 {
        HEALED_AFTER_INTERVALS * self.plan.options.sync_interval_ms + self.net.round_trip()
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Queued { at, number: self.queued, event });
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Frame(frame) => self.arrive(frame),
            Event::Input { node, life, input } => self.feed_life(node, life, input),
            Event::Wake { node } => {
                if self.nodes[node].wake != Some(self.now) {
                    return Ok(());
                }
                self.nodes[node].wake = None;
                self.feed(node, Input::Tick)?;
                self.still_ticking(node)
            }
            Event::Stored { node, life } => {
                if self.nodes[node].life == life {
                    self.perform(node)
                } else {
                    Ok(())
                }
            }
            Event::Connect { from, to, life } => self.connected(from, to, life),
            Event::Start { node, life, restart } => {
                if self.nodes[node].life == life && self.nodes[node].replica.is_none() {
                    self.start(node, Some(restart))?;
                }
                Ok(())
            }
            Event::Fragment { to, bytes } => {
                self.tickets += 1;
                self.feed(to, Input::BundleFragment { ticket: Ticket(self.tickets), bytes })
            }
            Event::Begin { step } => self.begin(step),
            Event::End { step } => self.end(step),
            Event::Flap { step, blocked } => {
                self.flap(step, blocked);
                Ok(())
            }
            Event::Calm => self.make_calm(),
            Event::Check(check) => self.check(check),
        }
    }

    /// A frame comes to the machine that it was sent to.
    fn arrive(&mut self, frame: Frame) -> Result<(), Violation> {
        let Frame { from, to, connection, bytes } = frame;
        if self.net.is_blocked(from, to) {
            return Ok(());
        }
        if self.net.connection(to, from) != Some(connection) {
            // The kernel answers for a process that is gone, if the machine runs and the answer gets through.
            let answers = self.nodes[to].replica.is_some() && self.nodes[to].paused == 0;
            let current = self.net.connection(from, to) == Some(connection);
            if answers && current && self.net.resets(to, from) && !self.net.is_blocked(to, from) {
                self.net.drop_end(from, to);
                let peer = self.nodes[to].id;
                self.later(from, 1, Input::LinkDown { peer });
            }
            return Ok(());
        }
        self.flows.arrived(from, to, &bytes);
        let from = self.nodes[from].id;
        self.feed(to, Input::Received { from, frame: bytes })
    }

    /// Feeds an input to a broker some time later, unless its process has ended by then.
    pub(super) fn later(&mut self, node: usize, ms: u64, input: Input) {
        let life = self.nodes[node].life;
        self.push(self.now + ms, Event::Input { node, life, input });
    }

    pub(super) fn feed_life(&mut self, node: usize, life: u64, input: Input) -> Result<(), Violation> {
        if self.nodes[node].life == life { self.feed(node, input) } else { Ok(()) }
    }

    /// Feeds an input to a broker and performs what comes of it.
    pub(super) fn feed(&mut self, node: usize, input: Input) -> Result<(), Violation> {
        let slot = &mut self.nodes[node];
        let now = slot.clock.now(self.now);
        let Some(replica) = slot.replica.as_mut() else { return Ok(()) };
        if slot.paused > 0 {
            slot.backlog.push(input);
            return Ok(());
        }
        self.trace.input(self.now, node, &input);
        self.oracle.saw_wall(node, now.wall.as_millis());
        replica.handle(now, input);
        self.perform(node)
    }

    /// An attempt to connect comes to its end.
    fn connected(&mut self, from: usize, to: usize, life: u64) -> Result<(), Violation> {
        if self.nodes[from].life != life {
            return Ok(());
        }
        let address = self.nodes[to].address.clone();
        let open = !self.net.is_blocked(from, to) && !self.net.is_blocked(to, from);
        if !open || self.nodes[to].replica.is_none() || self.nodes[to].paused > 0 {
            self.later(from, CONNECT_TIMEOUT_MS, Input::ConnectFailed { address });
            return Ok(());
        }
        self.net.connect(from, to);
        let (near, far) = (self.nodes[from].id, self.nodes[to].id);
        self.feed(to, Input::LinkUp { peer: near, address: None })?;
        self.feed_life(from, life, Input::LinkUp { peer: far, address: Some(address) })
    }

    /// Starts the process of a broker, for the first time or again.
    fn start(&mut self, node: usize, restart: Option<Restart>) -> Result<(), Violation> {
        let now = self.now;
        let slot = &mut self.nodes[node];
        if let Some(restart) = restart {
            slot.reopen(restart);
            let snapshot = slot.snapshot();
            let head = snapshot.head();
            let loses = match restart {
                Restart::Full | Restart::Moved | Restart::Vanished { .. } => false,
                Restart::LostTail { .. } | Restart::Empty { .. } | Restart::Backup { .. } => true,
            };
            let replica = head.identity().replica;
            let renamed = self.oracle.replica_of(node).is_some_and(|before| before != replica);
            self.renamed |= renamed;
            self.marks.meet_if(renamed, Mark::NewIncarnation);
            self.marks.meet_if(loses && !renamed, Mark::Relapsed);
            self.oracle.reopened(node, replica, head.knowledge(), &slot.records(), slot.rotten(), loses)?;
            if let Restart::Vanished { count, pick } = restart {
                let gone = slot.vanish(count, pick);
                self.marks.meet_if(!gone.is_empty(), Mark::Vanished);
                self.oracle.vanished(node, &gone);
            }
        }
        let slot = &mut self.nodes[node];
        slot.start(now).map_err(|error| Violation::new("L4", format!("broker {node} does not start: {error}")))?;
        self.trace.note(now, node, &|| "starts".into());
        let known = if self.plan.options.chained { node.saturating_sub(1) } else { 0 };
        if known != node {
            let address = self.nodes[known].address.clone();
            self.feed(node, Input::Candidate { address })?;
        }
        self.perform(node)
    }

    /// Ends the process of a broker. If peers notice, their ends of its connections go down at once.
    pub(super) fn crash(
        &mut self,
        node: usize,
        noticed: bool,
        restart: Restart,
        down_ms: u64,
    ) -> Result<(), Violation> {
        self.trace.note(self.now, node, &|| "crashes".into());
        let slot = &mut self.nodes[node];
        slot.stop();
        slot.crash = None;
        slot.fails = None;
        let life = slot.life;
        for peer in 0..self.nodes.len() {
            let connection = self.net.connection(node, peer);
            self.net.drop_end(node, peer);
            if noticed {
                self.hang_up(node, peer, connection);
            }
        }
        self.push(self.now + down_ms.max(1), Event::Start { node, life, restart });
        Ok(())
    }

    /// Sets the time of a broker's next wake-up by its own clock.
    pub(super) fn schedule(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        let due = slot.replica.as_ref().and_then(reconvene_sync::Replica::next_deadline);
        let at = due.filter(|_| slot.paused == 0).and_then(|due| slot.clock.when(due)).map(|at| at.max(self.now));
        if slot.wake == at {
            return;
        }
        slot.wake = at;
        if let Some(at) = at {
            self.push(at, Event::Wake { node });
        }
    }

    /// A timer that is due again at once, for ever, would stop everything.
    fn still_ticking(&mut self, node: usize) -> Result<(), Violation> {
        let slot = &mut self.nodes[node];
        slot.stuck = if slot.wake == Some(self.now) { slot.stuck + 1 } else { 0 };
        if slot.stuck > 1_000 {
            return Err(Violation::new("L5", format!("a timer of broker {node} stands still")));
        }
        Ok(())
    }

    /// Faults are over: what they left behind is put in order, and nothing more happens but what brokers do themselves.
    fn make_calm(&mut self) -> Result<(), Violation> {
        self.calm = true;
        for node in 0..self.nodes.len() {
            let slot = &mut self.nodes[node];
            slot.crash = None;
            slot.fails = None;
            // What nobody has come across by now would start things anew in the midst of the calm. What somebody just has is
            // about to be given up: the oracle goes on to count it as rotten.
            slot.store.store().heal();
            if slot.replica.is_none() {
                self.start(node, Some(Restart::Full))?;
            }
            let slot = &mut self.nodes[node];
            slot.sessions_before = slot.replica.as_ref().map_or(0, |replica| replica.stats().sessions);
        }
        Ok(())
    }
}

/// A broker whose store failed is started again after this long.
pub(super) const REOPEN_MS: u64 = 1_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Within this many periods after the last fault all brokers must be equal: the longest backoff is five of them.
const HEALED_AFTER_INTERVALS: u64 = 12;
/// Within this many periods after a write all brokers must be equal.
const EQUAL_AFTER_INTERVALS: u64 = 4;
