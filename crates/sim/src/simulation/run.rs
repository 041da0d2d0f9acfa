//! One run: one thread, one queue of events, one number.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use reconvene_store::{Body, Class, Key, PlanError, Replaces, Snapshot as _, ready};
use reconvene_sync::{Event as Told, Input, NewWrite, Output, PeerState, Performed, RejectReason, Ticket};

use super::chance::Chance;
use super::flow::Flows;
use super::marks::{Mark, Marks};
use super::net::{Frame, SimNet};
use super::node::SimNode;
use super::oracle::{Commit, Oracle};
use super::plan::{Plan, PlannedWrite, Restart};
use super::trace::Trace;
use super::{Report, Violation};

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: u64,
    queue: BinaryHeap<Queued>,
    queued: u64,
    pub(super) nodes: Vec<SimNode>,
    pub(super) net: SimNet,
    pub(super) oracle: Oracle,
    flows: Flows,
    pub(super) marks: Marks,
    pub(super) trace: Trace<'a>,
    steps: u64,
    tickets: u64,
    pub(super) calm: bool,
    /// Bundles that are being made, to be carried.
    carried: BTreeMap<Ticket, Carried>,
    /// Flapping links that are down.
    pub(super) flapped: BTreeSet<usize>,
    /// Whether any replica was retired or took another name.
    pub(super) renamed: bool,
    /// Versions by the time all had become equal.
    written: usize,
    chance: Chance,
}

/// What waits in the queue.
#[derive(Debug)]
pub(super) enum Event {
    Frame(Frame),
    Input {
        node: usize,
        life: u64,
        input: Input,
    },
    Wake {
        node: usize,
    },
    /// A store is done with a batch.
    Stored {
        node: usize,
        life: u64,
    },
    Connect {
        from: usize,
        to: usize,
        life: u64,
    },
    Start {
        node: usize,
        life: u64,
        restart: Restart,
    },
    /// A fragment of a bundle was carried to a broker, whatever has become of it meanwhile.
    Fragment {
        to: usize,
        bytes: Vec<u8>,
    },
    Begin {
        step: usize,
    },
    End {
        step: usize,
    },
    Flap {
        step: usize,
        blocked: bool,
    },
    Calm,
    Check(Check),
}

/// What is looked at while the network is calm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// All brokers are equal again.
    Healed,
    /// An urgent write overtakes bulk.
    Bulk,
    Urgent,
    Arrived,
    /// They become equal after writes within the time that is promised.
    Write,
    Equal,
    End,
}

/// Where a bundle is carried, what is lost of it, and how long that takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) to: usize,
    pub(super) lost: u32,
    pub(super) takes_ms: u64,
}

struct Queued {
    at: u64,
    number: u64,
    event: Event,
}

impl Ord for Queued {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}

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
    fn healed_after(&self) -> u64 {
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

    fn feed_life(&mut self, node: usize, life: u64, input: Input) -> Result<(), Violation> {
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

    /// Performs outputs in order, until there is none or the store takes its time.
    fn perform(&mut self, node: usize) -> Result<(), Violation> {
        loop {
            let slot = &mut self.nodes[node];
            if slot.busy_until > self.now || slot.paused > 0 {
                return Ok(());
            }
            let Some(output) = slot.replica.as_mut().and_then(|replica| replica.poll_output()) else { break };
            match output {
                Output::Persist(_) => {
                    if !self.commit(node, output)? {
                        break;
                    }
                }
                output => match ready(slot.store.perform(output)) {
                    Some(Ok(Performed::Done)) => {}
                    Some(Ok(Performed::Input(input))) => self.later(node, 0, input),
                    Some(Ok(Performed::Other(output))) => self.perform_outside(node, output)?,
                    failed => {
                        return Err(Violation::new("S13", format!("the store of broker {node} failed: {failed:?}")));
                    }
                },
            }
        }
        self.schedule(node);
        Ok(())
    }

    /// Makes a batch durable, unless a fault has it otherwise. False if the process has ended or waits.
    fn commit(&mut self, node: usize, output: Output) -> Result<bool, Violation> {
        let Output::Persist(batch) = &output else { return Ok(true) };
        let slot = &mut self.nodes[node];
        let number = slot.commits;
        slot.commits += 1;
        let crash = slot.crash.take_if(|crash| crash.commit <= number);
        if let Some(crash) = crash.filter(|crash| !crash.after) {
            self.marks.meet(Mark::CrashedBeforeCommit);
            self.crash(node, true, crash.restart, crash.down_ms)?;
            return Ok(false);
        }
        let slot = &mut self.nodes[node];
        let fails = slot.fails.take_if(|(commit, _)| *commit <= number);
        if slot.full > 0 || fails.is_some_and(|(_, made)| !made) {
            self.marks.meet(if slot.full > 0 { Mark::StoreFull } else { Mark::StoreFailed });
            self.crash(node, true, Restart::Full, REOPEN_MS)?;
            return Ok(false);
        }
        let (commit, head) = (Commit::of(batch), batch.head().clone());
        slot.urgent += commit.urgent();
        let done = ready(slot.store.perform(output));
        if !matches!(done, Some(Ok(Performed::Done))) {
            return Err(Violation::new("S13", format!("broker {node} could not commit: {done:?}")));
        }
        slot.committed(&head);
        self.trace.commit(self.now, node, &commit);
        let did = self.oracle.committed(node, commit)?;
        for (met, mark) in [
            (did.replaced, Mark::Replaced),
            (did.part, Mark::PartReplaced),
            (did.siblings, Mark::Siblings),
            (did.deleted, Mark::Deleted),
            (did.deleted_beside, Mark::DeletedBesideSet),
            (did.collapsed, Mark::Collapsed),
            (did.unknown_class, Mark::UnknownClass),
            (did.cloud, Mark::CloudRange),
            (did.collected, Mark::Collected),
            (did.dropped_dead, Mark::FloorRepair),
        ] {
            self.marks.meet_if(met, mark);
        }
        if let Some(crash) = crash {
            self.marks.meet(Mark::CrashedAfterCommit);
            self.crash(node, true, crash.restart, crash.down_ms)?;
            return Ok(false);
        }
        if fails.is_some() {
            self.marks.meet(Mark::StoreFailed);
            self.crash(node, true, Restart::Full, REOPEN_MS)?;
            return Ok(false);
        }
        let slot = &mut self.nodes[node];
        let takes = self.plan.options.store_ms + slot.slowing.sum();
        if takes > 0 {
            slot.busy_until = self.now + takes;
            let life = slot.life;
            self.marks.meet_if(takes > 20, Mark::StoreSlow);
            self.push(self.now + takes, Event::Stored { node, life });
            return Ok(false);
        }
        Ok(true)
    }

    fn perform_outside(&mut self, node: usize, output: Output) -> Result<(), Violation> {
        match output {
            Output::Send { to, frame } => {
                self.trace.sent(self.now, node, &frame);
                if let Some(peer) = self.index_of(to) {
                    self.flows.sent(node, peer, &frame, self.plan.options.window_bytes)?;
                    self.send(node, peer, frame);
                }
                Ok(())
            }
            Output::Connect { address } => {
                self.trace.note(self.now, node, &|| format!("dials {address}"));
                let target = self.nodes.iter().position(|other| other.address == address);
                match target.filter(|peer| *peer != node) {
                    Some(to) => {
                        let took = self.net.round_trip() + self.chance.below(5);
                        let life = self.nodes[node].life;
                        self.push(self.now + took, Event::Connect { from: node, to, life });
                    }
                    None => self.later(node, 1, Input::ConnectFailed { address }),
                }
                Ok(())
            }
            Output::Disconnect { from, why } => {
                self.trace.note(self.now, node, &|| format!("disconnects {from}: {why}"));
                if let Some(peer) = self.index_of(from) {
                    let connection = self.net.connection(node, peer);
                    self.net.drop_end(node, peer);
                    self.hang_up(node, peer, connection);
                }
                Ok(())
            }
            Output::Written { ticket: _, dots } => {
                self.trace.note(self.now, node, &|| format!("acknowledges {dots:?}"));
                self.oracle.acknowledged(node, &dots)
            }
            Output::WriteRefused { ticket: _, error } => {
                self.trace.note(self.now, node, &|| format!("refuses a write: {error}"));
                Ok(())
            }
            // Nobody carries bundles here.
            Output::BundleReady { ticket, fragments, .. } => {
                self.set_out(ticket, fragments);
                Ok(())
            }
            Output::BundleTaken { progress, .. } => {
                self.trace.note(self.now, node, &|| format!("takes in a fragment: {progress:?}"));
                self.marks.meet_if(progress.claimed, Mark::BundleClaimed);
                Ok(())
            }
            Output::BundleRefused { error, .. } => {
                self.trace.note(self.now, node, &|| format!("refuses a bundle: {error}"));
                Ok(())
            }
            Output::Notify(told) => {
                self.trace.note(self.now, node, &|| format!("{told:?}"));
                self.told(node, &told)
            }
            Output::Persist(_) | Output::OpenView(_) | Output::CloseView(_) | Output::Load { .. } => {
                Err(Violation::new("S13", format!("the store driver handed back {output:?}")))
            }
        }
    }

    /// The other end learns that a connection is over, if that gets through.
    pub(super) fn hang_up(&mut self, node: usize, peer: usize, connection: Option<u64>) {
        if connection.is_some() && self.net.connection(peer, node) == connection && !self.net.is_blocked(node, peer) {
            self.net.drop_end(peer, node);
            let id = self.nodes[node].id;
            let takes = 1 + self.plan.options.delay_ms / 2;
            self.later(peer, takes, Input::LinkDown { peer: id });
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        match bytes.first() {
            Some(6) => self.marks.meet(Mark::CreditSpent),
            Some(8) => self.marks.meet(Mark::Busy),
            Some(10) => self.marks.meet(Mark::Pushed),
            Some(12) => self.marks.meet(Mark::ProbeAnswered),
            _ => {}
        }
        let (queue, queued) = (&mut self.queue, &mut self.queued);
        self.net.send(self.now, from, to, bytes, &mut self.marks, |at, frame| {
            *queued += 1;
            queue.push(Queued { at, number: *queued, event: Event::Frame(frame) });
        });
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
                Restart::Full | Restart::Moved => false,
                Restart::LostTail { .. } | Restart::Empty { .. } | Restart::Backup { .. } => true,
            };
            let replica = head.identity().replica;
            let renamed = self.oracle.replica_of(node).is_some_and(|before| before != replica);
            self.renamed |= renamed;
            self.marks.meet_if(renamed, Mark::NewIncarnation);
            self.marks.meet_if(loses && !renamed, Mark::Relapsed);
            self.oracle.reopened(node, replica, head.knowledge(), &slot.records(), loses)?;
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

    fn told(&mut self, node: usize, told: &Told) -> Result<(), Violation> {
        match told {
            Told::SessionDone { .. } => self.marks.meet(Mark::SessionDone),
            Told::PeerState { state: PeerState::Suspect, .. } => self.marks.meet(Mark::Suspect),
            Told::PeerState { state: PeerState::Unreachable, .. } => self.marks.meet(Mark::Unreachable),
            Told::PeerState { state: PeerState::Alive, .. } => self.marks.meet(Mark::Returned),
            Told::AheadOfBound { .. } => self.marks.meet(Mark::FarAhead),
            Told::Divergence { .. } => {
                self.marks.meet(Mark::Divergence);
                if !self.oracle.is_lossy() {
                    let what = format!("broker {node} knows the same as a peer and differs: {told:?}");
                    return Err(Violation::new("S3", what));
                }
            }
            Told::DotCollision { .. } => {
                return Err(Violation::new("S8", format!("broker {node} met one dot with two contents: {told:?}")));
            }
            Told::Amnesia { .. } => {
                self.marks.meet(Mark::Amnesia);
                if !self.oracle.is_lossy() {
                    let what = format!("broker {node} lost what a peer knows it wrote: {told:?}");
                    return Err(Violation::new("S6", what));
                }
            }
            Told::Rejected {
                why: RejectReason::Retired | RejectReason::Incarnation | RejectReason::Identity, ..
            } if self.renamed => {
                self.marks.meet(Mark::Rejected);
            }
            Told::Frozen { .. } => {
                self.marks.meet(Mark::Frozen);
                // The driver opens the store again, under the name that the replica then takes.
                self.crash(node, true, Restart::Full, REOPEN_MS)?;
            }
            Told::Renewed { .. } => self.renamed = true,
            Told::Retired { .. } => self.marks.meet(Mark::Retired),
            Told::CollectionBlocked { .. } => self.marks.meet(Mark::CollectionBlocked),
            Told::Refused { error: PlanError::Clock(_) | PlanError::UnusedDot { .. }, .. }
                if self.oracle.is_lossy() => {}
            Told::Refused { .. } | Told::LimitReached { .. } | Told::Rejected { .. } => {
                return Err(Violation::new("S12", format!("honest brokers refuse each other: {node}, {told:?}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn index_of(&self, id: reconvene_clock::NodeId) -> Option<usize> {
        let number = usize::from(id.as_bytes()[0]);
        number.checked_sub(1).filter(|index| *index < self.nodes.len())
    }

    /// Somebody asks for a bundle to be carried.
    pub(super) fn carry(
        &mut self,
        from: usize,
        carried: Carried,
        addressed: bool,
        again: bool,
    ) -> Result<(), Violation> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let to = addressed.then(|| self.nodes[carried.to].id);
        self.carried.insert(ticket, carried);
        self.feed(from, Input::MakeBundle { ticket, to, budget_bytes: 1 << 20, ttl_s: 3_600, again })
    }

    /// The fragments of a bundle are on their way.
    fn set_out(&mut self, ticket: Ticket, fragments: Vec<Vec<u8>>) {
        let Some(Carried { to, lost, takes_ms }) = self.carried.remove(&ticket) else { return };
        self.marks.meet(Mark::BundleCarried);
        for (number, bytes) in fragments.into_iter().enumerate() {
            if lost & (1 << (number % 32)) != 0 {
                self.marks.meet(Mark::FragmentLost);
                continue;
            }
            let late = self.chance.below(2_000);
            if number % 3 == 1 {
                self.push(self.now + takes_ms + 3 * late, Event::Fragment { to, bytes: bytes.clone() });
            }
            self.push(self.now + takes_ms + late, Event::Fragment { to, bytes });
        }
    }

    /// An operator's word.
    pub(super) fn retire(&mut self, node: usize, by: usize) -> Result<(), Violation> {
        let Some(replica) = self.oracle.replica_of(node) else { return Ok(()) };
        self.tickets += 1;
        self.renamed = true;
        self.feed(by, Input::Retire { ticket: Ticket(self.tickets), replica })
    }

    /// A client's batch.
    pub(super) fn write(&mut self, node: usize, writes: &[PlannedWrite]) -> Result<(), Violation> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let writes: Vec<NewWrite> = writes.iter().map(|write| self.new_write(node, write)).collect();
        self.feed(node, Input::LocalWrite { ticket, writes })
    }

    fn new_write(&self, node: usize, planned: &PlannedWrite) -> NewWrite {
        let key = key_of(planned.key);
        let body = match planned.bytes {
            None => Body::Tombstone,
            Some(bytes) => {
                // Each value is like no other.
                let text = format!("{:x}.", self.tickets);
                let len = usize::try_from(bytes).unwrap_or(0).max(text.len());
                Body::of(text.bytes().cycle().take(len).collect::<Vec<u8>>())
            }
        };
        let seen = planned.partly.then(|| self.nodes[node].record(&key)).flatten();
        let seen = seen.and_then(|record| record.siblings().first().map(reconvene_store::Version::seen));
        NewWrite {
            key,
            class: Class::new(planned.class),
            body,
            replaces: seen.map_or(Replaces::AllLive, Replaces::Context),
        }
    }

    /// Faults are over: what they left behind is put in order, and nothing more happens but what brokers do themselves.
    fn make_calm(&mut self) -> Result<(), Violation> {
        self.calm = true;
        for node in 0..self.nodes.len() {
            let slot = &mut self.nodes[node];
            slot.crash = None;
            slot.fails = None;
            if slot.replica.is_none() {
                self.start(node, Some(Restart::Full))?;
            }
            let slot = &mut self.nodes[node];
            slot.sessions_before = slot.replica.as_ref().map_or(0, |replica| replica.stats().sessions);
        }
        Ok(())
    }

    fn check(&mut self, check: Check) -> Result<(), Violation> {
        match check {
            Check::Healed => self.check_equal("L1", "since faults stopped"),
            Check::Bulk => self.write(0, &[PlannedWrite { key: 0, class: 3, bytes: Some(BULK_BYTES), partly: false }]),
            Check::Urgent => {
                self.write(0, &[PlannedWrite { key: URGENT_KEY, class: 1, bytes: Some(20), partly: false }])?;
                // A packet on the wire, the frame itself and a few small ones before it, each at its pace.
                let sends = |bytes: u64| self.net.bits().map_or(0, |bits| bytes * 8_000 / bits);
                let stores = 6 * self.plan.options.store_ms;
                let bound = self.plan.options.delay_ms + sends(1_200 + 600) + stores + 50;
                self.push(self.now + bound, Event::Check(Check::Arrived));
                Ok(())
            }
            Check::Arrived => self.check_urgent(),
            Check::Write => {
                for node in 0..self.nodes.len() {
                    let key = u32::try_from(node).unwrap_or(0) % self.plan.options.keys;
                    self.write(node, &[PlannedWrite { key, class: 2, bytes: Some(20), partly: false }])?;
                }
                Ok(())
            }
            Check::Equal => {
                self.written = self.oracle.len();
                self.check_equal("L1", "since the last writes")
            }
            Check::End => {
                if self.plan.options.calm_ms < self.healed_after() {
                    return Ok(());
                }
                self.check_equal("L1", "at the end")?;
                (0..self.nodes.len()).try_for_each(|node| self.check_counters(node))?;
                self.oracle.check_end()?;
                self.check_quiet()
            }
        }
    }

    /// All brokers hold the same, and each has spoken with a peer since faults stopped.
    fn check_equal(&self, promise: &'static str, since: &str) -> Result<(), Violation> {
        let digests: Vec<_> = self.nodes.iter().map(|node| node.snapshot().head().digest()).collect();
        for (node, slot) in self.nodes.iter().enumerate() {
            let Some(replica) = &slot.replica else {
                return Err(Violation::new("L4", format!("broker {node} is down")));
            };
            if replica.stats().sessions <= slot.sessions_before {
                return Err(Violation::new("L4", format!("broker {node} had no session {since}")));
            }
            if digests[node] == digests[0] {
                continue;
            }
            let what = format!("brokers 0 and {node} differ {since}: {} and {}", digests[0], digests[node]);
            let promise = if digests[node].knowledge == digests[0].knowledge { "S3" } else { promise };
            return Err(Violation::new(promise, what));
        }
        Ok(())
    }

    /// An urgent write is at every broker that its writer is linked with: as many as it pushes to at once.
    fn check_urgent(&mut self) -> Result<(), Violation> {
        let linked = self.nodes[0].replica.as_ref().map_or(0, |replica| replica.linked_peers().count());
        let others = self.nodes.len() - 1;
        if linked < others || others > self.nodes[0].config.push_fan_out {
            return Ok(());
        }
        self.marks.meet(Mark::UrgentOnTime);
        let late = (1..=others).find(|node| !self.oracle.has(*node, &key_of(URGENT_KEY)));
        late.map_or(Ok(()), |node| {
            Err(Violation::new("L2", format!("an urgent write of broker 0 is not at broker {node} in time")))
        })
    }

    /// When all is done, nothing is written any more, and nothing is left of deletes.
    fn check_quiet(&self) -> Result<(), Violation> {
        if self.written > 0 && self.oracle.len() > self.written {
            let more = self.oracle.len() - self.written;
            return Err(Violation::new("L1", format!("{more} more versions were written though nobody wrote any")));
        }
        for node in 0..self.nodes.len() {
            let left = self.oracle.tombstones(node);
            if !left.is_empty() {
                return Err(Violation::new("L6", format!("broker {node} still holds tombstones at the end: {left}")));
            }
        }
        Ok(())
    }

    fn check_counters(&mut self, node: usize) -> Result<(), Violation> {
        let slot = &self.nodes[node];
        let Some(replica) = &slot.replica else { return Ok(()) };
        let stats = replica.stats();
        self.marks.meet_if(stats.failed_sessions > 0, Mark::SessionFailed);
        self.marks.meet_if(stats.in_sync_sessions > 0, Mark::InSync);
        self.marks.meet_if(stats.frames_refused > 0, Mark::FrameRefused);
        let pushes = u64::try_from(slot.config.push_fan_out).unwrap_or(0) * slot.urgent;
        if stats.pushes_sent > pushes {
            let what = format!("broker {node} pushed {} versions for {} urgent ones", stats.pushes_sent, slot.urgent);
            return Err(Violation::new("S12", what));
        }
        Ok(())
    }
}

fn key_of(number: u32) -> Key {
    Key::new(format!("key/{number}")).expect("short")
}

/// No plan writes to this one.
const URGENT_KEY: u32 = 1_000_000;
/// Takes seconds on a slow link.
const BULK_BYTES: u32 = 40_000;
/// A broker whose store failed is started again after this long.
const REOPEN_MS: u64 = 1_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Within this many periods after the last fault all brokers must be equal: the longest backoff is five of them.
const HEALED_AFTER_INTERVALS: u64 = 12;
/// Within this many periods after a write all brokers must be equal.
const EQUAL_AFTER_INTERVALS: u64 = 4;
