//! A few brokers and executors in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{
    Command, CommandError, Config, Coordinator, Event, EventKind, Input, JobView, Output, PeerMessage, Reply,
    StrategyKind,
};
use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_executor::message::{
    Heartbeat, HeldAttempt, HeldSpec, HeldVerdict, Order, Refused, Register, RosterEntry, Submit, ToBroker, ToExecutor,
};
use reconvene_executor::{
    Answer, AttemptId, FencingToken, JobId, JobSpec, Outcome, OwnershipEpoch, Resources, ResultDigest, SessionEpoch,
    SpecDigest, Tag,
};
use reconvene_store::{Body, Class, Identity, Key, KeyContext, PlanError, Record, Version};
use reconvene_sync::{NewWrite, Ticket};

pub const SECOND: u64 = 1_000;
const START: u64 = 1_000_000_000;

pub struct Broker {
    pub coordinator: Option<Coordinator>,
    pub identity: Identity,
    pub config: Config,
    pub store: BTreeMap<Key, Record>,
    counter: u64,
}

#[derive(Clone)]
pub struct Executor {
    pub node: NodeId,
    pub home: Option<usize>,
    pub session: SessionEpoch,
    pub registration: u64,
    pub sequence: u64,
    pub slots: u32,
    pub capacity: Resources,
    pub tags: BTreeSet<Tag>,
    pub running: BTreeMap<AttemptId, FencingToken>,
    pub kept: BTreeSet<AttemptId>,
    /// Results that were submitted and have no final answer.
    pub pending: BTreeMap<AttemptId, Submit>,
    pub refusing: bool,
    /// What it was ordered to run.
    pub ordered: BTreeMap<AttemptId, JobSpec>,
    /// How far it is with what it runs, in basis points; 0 if it does not say.
    pub progress: BTreeMap<AttemptId, u16>,
    /// The greatest token of each job.
    pub tokens: BTreeMap<JobId, FencingToken>,
    /// When attempts that are drained are stopped.
    pub draining: BTreeMap<AttemptId, u64>,
    /// Where it would start a broker.
    pub heir: Option<String>,
    refused: Vec<Refused>,
    /// Reachable, and sending heartbeats.
    pub alive: bool,
    submissions: u64,
}

pub struct World {
    pub now: u64,
    pub brokers: Vec<Broker>,
    pub executors: Vec<Executor>,
    cut: BTreeSet<(usize, usize)>,
    pub events: Vec<(u64, usize, Event)>,
    pub orders: Vec<(u64, usize, Order)>,
    pub verdicts: Vec<(u64, usize, AttemptId, HeldVerdict)>,
    pub answers: Vec<(u64, usize, usize, Answer)>,
    /// The last roster of each executor.
    pub rosters: BTreeMap<usize, Vec<RosterEntry>>,
    /// What brokers said to each other, with who said it, lost or not.
    pub said: Vec<(u64, usize, PeerMessage)>,
    /// Answers between brokers are lost.
    pub lose_answers: bool,
    /// So many writes of keys that begin like this are refused by the stores.
    pub refuse_writes: (u32, &'static str),
    /// No fact reaches another broker.
    pub hold_facts: bool,
    /// So many messages between brokers are lost from now on.
    pub lose_next: u32,
    pub replies: BTreeMap<u64, Result<Reply, CommandError>>,
    /// Everything that came out, in order.
    pub log: Vec<String>,
    ticket: u64,
    depth: u32,
    specs: BTreeMap<JobId, SpecDigest>,
}

pub fn node(number: u8) -> NodeId {
    NodeId::new([number; 16])
}

pub fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub fn attempt(job: JobId, epoch: u32, owner: u64, number: u32) -> AttemptId {
    AttemptId { job, epoch: OwnershipEpoch(epoch), owner: replica(owner), number }
}

pub fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec())
}

impl World {
    pub fn new(brokers: u64, strategy: StrategyKind) -> Self {
        let config = Config::new(strategy).build().unwrap();
        let mut world = Self {
            now: 0,
            brokers: Vec::new(),
            executors: Vec::new(),
            cut: BTreeSet::new(),
            events: Vec::new(),
            orders: Vec::new(),
            verdicts: Vec::new(),
            answers: Vec::new(),
            rosters: BTreeMap::new(),
            said: Vec::new(),
            lose_next: 0,
            lose_answers: false,
            hold_facts: false,
            refuse_writes: (0, ""),
            replies: BTreeMap::new(),
            log: Vec::new(),
            ticket: 0,
            depth: 0,
            specs: BTreeMap::new(),
        };
        for number in 1..=brokers {
            let identity = Identity { node: node(number as u8), replica: replica(number), incarnation: 1 };
            world.add_broker(identity, config.clone());
        }
        for a in 0..world.brokers.len() {
            for b in 0..a {
                world.exchange(a, b);
            }
        }
        world
    }

    pub fn add_broker(&mut self, identity: Identity, config: Config) {
        let store = BTreeMap::new();
        let index = self.brokers.len();
        self.brokers.push(Broker { coordinator: None, identity, config, store, counter: 0 });
        self.start(index);
    }

    /// Starts a broker on what its store holds, and writes its member fact as sync does.
    pub fn start(&mut self, index: usize) {
        let now = self.at();
        let broker = &mut self.brokers[index];
        let records = broker.store.values().cloned().collect();
        broker.coordinator = Some(Coordinator::open(broker.config.clone(), broker.identity, records, now));
        let member = member_record(broker.identity);
        self.drain(index);
        if !self.brokers[index].store.contains_key(member.key()) {
            self.spread(index, vec![member]);
        }
    }

    pub fn stop(&mut self, index: usize) {
        self.brokers[index].coordinator = None;
        for executor in &mut self.executors {
            if executor.home == Some(index) {
                executor.home = None;
            }
        }
    }

    pub fn at(&self) -> Now {
        Now { mono: Timestamp::from_millis(self.now), wall: WallTime::from_millis(START + self.now) }
    }

    pub fn connected(&self, a: usize, b: usize) -> bool {
        let up = |index: usize| self.brokers[index].coordinator.is_some();
        up(a) && up(b) && !self.cut.contains(&(a.min(b), a.max(b)))
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
    }

    /// Joins two brokers again; each learns what the other knows.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a.min(b), a.max(b)));
        self.exchange(a, b);
    }

    /// One complete sync in both directions.
    pub fn exchange(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let records: Vec<_> = self.brokers[from].store.values().cloned().collect();
            let node = self.brokers[from].identity.node;
            let new = self.merge(to, &records);
            self.input(to, Input::Facts(new));
            self.input(to, Input::PeerSynced { node });
        }
    }

    /// Brings some rows to another broker, as a sync does that is cut off in the middle.
    pub fn exchange_some(&mut self, from: usize, to: usize, wanted: impl Fn(&str) -> bool) {
        let wanted = |record: &&Record| wanted(&record.key().to_string());
        let records: Vec<_> = self.brokers[from].store.values().filter(wanted).cloned().collect();
        let new = self.merge(to, &records);
        self.input(to, Input::Facts(new));
    }

    /// The rows that change when these arrive.
    fn merge(&mut self, to: usize, records: &[Record]) -> Vec<Record> {
        let store = &mut self.brokers[to].store;
        let mut changed = Vec::new();
        for record in records {
            // A delete goes before what it deletes, whoever wrote either.
            let newest =
                |record: &Record| (record.values().next().is_none(), record.siblings().last().unwrap().dot.counter);
            if store.get(record.key()).is_none_or(|known| newest(known) < newest(record)) {
                store.insert(record.key().clone(), record.clone());
                changed.push(record.clone());
            }
        }
        changed
    }

    /// Brings rows to a broker and all it is connected to, directly or through others.
    fn spread(&mut self, from: usize, records: Vec<Record>) {
        let mut reached = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(index) = next.pop() {
            let new = self.merge(index, &records);
            self.input(index, Input::Facts(new));
            for other in 0..self.brokers.len() {
                if !self.hold_facts && self.connected(index, other) && reached.insert(other) {
                    next.insert(0, other);
                }
            }
        }
    }

    pub fn input(&mut self, index: usize, input: Input) {
        let now = self.at();
        self.depth += 1;
        assert!(self.depth < 200, "an answer to an answer without end: {:#?}", &self.log[self.log.len() - 6..]);
        if let Some(coordinator) = &mut self.brokers[index].coordinator {
            coordinator.handle(now, input);
            self.drain(index);
        }
        self.depth -= 1;
    }

    fn drain(&mut self, index: usize) {
        loop {
            let Some(coordinator) = &mut self.brokers[index].coordinator else { return };
            let Some(output) = coordinator.poll_output() else { return };
            self.log.push(format!("{} {index} {output:?}", self.now));
            match output {
                Output::Write { ticket, writes } if self.refuses(&writes) => {
                    let error = PlanError::ValueTooLarge { key: writes[0].key.clone(), len: 9, limit: 8 };
                    self.input(index, Input::WriteRefused { ticket, error });
                }
                Output::Write { ticket, writes } => {
                    let records = writes.into_iter().map(|write| self.record(index, write)).collect();
                    self.spread(index, records);
                    self.input(index, Input::Written { ticket });
                }
                Output::Retire { ticket, replica } => {
                    let record = self.retirement(index, replica);
                    self.spread(index, vec![record]);
                    self.input(index, Input::Written { ticket });
                }
                Output::SendExecutor { to, message } => self.tell_executor(index, to, message),
                Output::SendPeer { to, message } => self.tell_peer(index, to, message),
                Output::Reply { ticket, reply } => {
                    self.replies.insert(ticket.0, reply);
                }
                Output::Notify(event) => self.events.push((self.now, index, event)),
            }
        }
    }

    fn refuses(&mut self, writes: &[NewWrite]) -> bool {
        let (left, prefix) = self.refuse_writes;
        let refused = left > 0 && writes.iter().any(|write| write.key.to_string().starts_with(prefix));
        self.refuse_writes.0 -= u32::from(refused);
        refused
    }

    fn tell_peer(&mut self, from: usize, to: NodeId, message: PeerMessage) {
        let index = self.brokers.iter().position(|broker| broker.identity.node == to).unwrap();
        self.said.push((self.now, from, message.clone()));
        let answer = matches!(message, PeerMessage::PlaceAnswer(_));
        let lost = self.lose_next > 0 || (answer && self.lose_answers);
        self.lose_next = self.lose_next.saturating_sub(1);
        if !lost && self.connected(from, index) {
            let message = PeerMessage::decode(&message.encode().unwrap()).unwrap();
            let from = self.brokers[from].identity.node;
            self.input(index, Input::FromPeer { from, message });
        }
    }

    fn record(&mut self, index: usize, write: NewWrite) -> Record {
        let now = self.at();
        let broker = &mut self.brokers[index];
        broker.counter += 1;
        let version = Version {
            dot: Dot::new(broker.identity.replica, Counter::new(broker.counter).unwrap()),
            context: KeyContext::new(),
            height: Height::MIN,
            hlc: Hlc::from_parts(now.wall, 0).unwrap(),
            class: write.class,
            body: write.body,
        };
        Record::new(write.key, [version]).unwrap()
    }

    /// What sync writes when a replica is retired.
    fn retirement(&mut self, index: usize, replica: ReplicaId) -> Record {
        let author = self.brokers[index].identity.replica;
        let key = Key::new(format!("sys/retire/{replica}/{author}")).unwrap();
        // A version byte, and that nothing of the replica is held.
        self.record(index, NewWrite::new(key, Class::CONTROL, Body::of(vec![1, 0])))
    }

    /// Writes a row as this broker's store would, whatever its coordinator thinks of it.
    pub fn write_as(&mut self, index: usize, key: &str, class: Class, bytes: Vec<u8>) {
        let record = self.row(index, key, class, bytes);
        self.spread(index, vec![record]);
    }

    /// A row that this broker might write.
    pub fn row(&mut self, index: usize, key: &str, class: Class, bytes: Vec<u8>) -> Record {
        self.record(index, NewWrite::new(Key::try_from(key).unwrap(), class, Body::of(bytes)))
    }

    /// Runs everything that is due up to `second`.
    pub fn run_to(&mut self, second: u64) {
        let until = second * SECOND;
        loop {
            let deadlines = self.brokers.iter().filter_map(|broker| broker.coordinator.as_ref()?.next_deadline());
            let due = deadlines.map(Timestamp::as_millis).min().unwrap_or(u64::MAX).max(self.now);
            let beat = (self.now / (5 * SECOND) + 1) * 5 * SECOND;
            let drained = self.executors.iter().filter(|executor| executor.alive);
            let drained = drained.flat_map(|executor| executor.draining.values()).copied().min().unwrap_or(u64::MAX);
            let next = due.min(beat).min(drained.max(self.now));
            if next > until {
                break;
            }
            self.now = next;
            self.stop_drained();
            if next == beat {
                self.beat();
            }
            for index in 0..self.brokers.len() {
                let due = self.brokers[index].coordinator.as_ref().and_then(Coordinator::next_deadline);
                if due.is_some_and(|due| due.as_millis() <= self.now) {
                    self.input(index, Input::Tick);
                }
            }
        }
        self.now = until;
    }

    /// Executors stop what had time to end by itself, and say so.
    fn stop_drained(&mut self) {
        for index in 0..self.executors.len() {
            let now = self.now;
            let executor = &mut self.executors[index];
            if !executor.alive || executor.draining.values().all(|until| *until > now) {
                continue;
            }
            let over: Vec<_> = executor.draining.extract_if(.., |_, until| *until <= now).collect();
            let stopped = over.iter().filter(|(attempt, _)| executor.running.remove(attempt).is_some()).count();
            if stopped > 0 {
                self.heartbeat(index);
            }
        }
    }

    /// Every 5 s: brokers hear each other, executors send their heartbeats.
    fn beat(&mut self) {
        for a in 0..self.brokers.len() {
            for b in 0..self.brokers.len() {
                if a != b && self.connected(a, b) {
                    let node = self.brokers[b].identity.node;
                    self.input(a, Input::PeerHeard { node });
                }
            }
        }
        for index in 0..self.executors.len() {
            self.heartbeat(index);
        }
    }

    pub fn heartbeat(&mut self, index: usize) {
        let executor = &mut self.executors[index];
        let Some(home) = executor.home.filter(|_| executor.alive) else { return };
        executor.sequence += 1;
        let message = ToBroker::Heartbeat(Heartbeat {
            session: executor.session,
            registration: executor.registration,
            sequence: executor.sequence,
            running: executor.held(),
            kept: executor.kept.iter().copied().collect(),
            refused: core::mem::take(&mut executor.refused),
        });
        let from = executor.node;
        self.input(home, Input::FromExecutor { from, message });
    }

    pub fn add_executor(&mut self, home: usize, slots: u32) -> usize {
        self.add_executor_with(home, slots, Resources::new(8_000, 16_384, 0), &[])
    }

    pub fn add_executor_with(&mut self, home: usize, slots: u32, capacity: Resources, tags: &[&str]) -> usize {
        let index = self.executors.len();
        let number = 100 + u8::try_from(index).unwrap();
        self.executors.push(Executor {
            node: node(number),
            home: None,
            session: SessionEpoch::new(Hlc::from_parts(self.at().wall, 0).unwrap(), u64::from(number)),
            registration: 0,
            sequence: 0,
            slots,
            capacity,
            tags: tags.iter().map(|tag| Tag::new(*tag).unwrap()).collect(),
            running: BTreeMap::new(),
            kept: BTreeSet::new(),
            pending: BTreeMap::new(),
            refusing: false,
            ordered: BTreeMap::new(),
            progress: BTreeMap::new(),
            tokens: BTreeMap::new(),
            draining: BTreeMap::new(),
            heir: None,
            refused: Vec::new(),
            alive: true,
            submissions: 0,
        });
        self.register(index, home);
        index
    }

    pub fn register(&mut self, index: usize, home: usize) {
        let executor = &mut self.executors[index];
        executor.registration += 1;
        executor.sequence = 0;
        executor.home = Some(home);
        executor.alive = true;
        let message = ToBroker::Register(Register {
            session: executor.session,
            registration: executor.registration,
            capacity: executor.capacity,
            slots: executor.slots,
            tags: executor.tags.clone(),
            held: executor.held(),
            kept: executor.kept.iter().copied().collect(),
            heir: executor.heir.clone(),
        });
        let from = executor.node;
        self.input(home, Input::ExecutorUp { executor: from });
        self.input(home, Input::FromExecutor { from, message });
    }

    fn tell_executor(&mut self, broker: usize, to: NodeId, message: ToExecutor) {
        let index = self.executors.iter().position(|executor| executor.node == to).unwrap();
        if !self.executors[index].alive {
            return;
        }
        match message {
            ToExecutor::Registered { held, roster, .. } => {
                self.rosters.insert(index, roster);
                for (attempt, verdict) in held {
                    self.verdicts.push((self.now, index, attempt, verdict));
                    if verdict == HeldVerdict::Stop {
                        self.executors[index].running.remove(&attempt);
                    }
                }
            }
            ToExecutor::HeartbeatAnswer { session, registration, orders, .. } => {
                let executor = &mut self.executors[index];
                // An old home may not have heard that it moved. It takes orders from its home alone.
                if executor.home != Some(broker) || (session, registration) != (executor.session, executor.registration)
                {
                    return;
                }
                for order in orders {
                    self.orders.push((self.now, index, order.clone()));
                    let now = self.now;
                    self.executors[index].obey(order, &mut self.specs, now);
                }
            }
            ToExecutor::AskSpec { attempt } => {
                let executor = &self.executors[index];
                if let Some(spec) = executor.ordered.get(&attempt).cloned() {
                    let from = executor.node;
                    let message = ToBroker::Spec(HeldSpec { attempt, spec });
                    self.input(broker, Input::FromExecutor { from, message });
                }
            }
            ToExecutor::NotRegistered { .. } => self.register(index, broker),
            ToExecutor::SessionBehind { known } => {
                self.executors[index].session = SessionEpoch::new(known.start, known.random + 1);
                self.register(index, broker);
            }
            ToExecutor::SubmitAnswer { attempt, answer, .. } => {
                if answer.is_final() {
                    self.executors[index].kept.remove(&attempt);
                    self.executors[index].pending.remove(&attempt);
                }
                self.answers.push((self.now, index, broker, answer));
            }
        }
    }

    pub fn command(&mut self, broker: usize, command: Command) -> Result<Reply, CommandError> {
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        self.input(broker, Input::Command { ticket, command });
        self.replies.remove(&ticket.0).expect("an answer")
    }

    pub fn submit_job(&mut self, broker: usize, spec: JobSpec) -> JobId {
        let digest = spec.digest();
        match self.command(broker, Command::Submit { spec }) {
            Ok(Reply::Submitted { job }) => {
                self.specs.insert(job, digest);
                job
            }
            other => panic!("{other:?}"),
        }
    }

    /// A result as this executor would submit it, with the next number.
    pub fn result(&mut self, index: usize, attempt: AttemptId, output: &[u8]) -> Submit {
        let executor = &mut self.executors[index];
        executor.submissions += 1;
        executor.running.remove(&attempt);
        executor.kept.insert(attempt);
        Submit {
            attempt,
            session: executor.session,
            sequence: executor.submissions,
            spec_digest: self.specs[&attempt.job],
            digest: ResultDigest::of(output),
            outcome: Outcome::Success { output: output.to_vec() },
            cost_resource_ms: 1_000,
            quality_bp: 9_000,
        }
    }

    pub fn failure(&mut self, index: usize, attempt: AttemptId, error: &str) -> Submit {
        let submit = self.result(index, attempt, error.as_bytes());
        Submit { outcome: Outcome::Failure { error: error.to_owned() }, ..submit }
    }

    /// Submits at a broker, and gives the last answer that the executor gets at once.
    pub fn submit(&mut self, index: usize, broker: usize, submit: Submit) -> Answer {
        let before = self.answers.len();
        let from = self.executors[index].node;
        self.executors[index].pending.insert(submit.attempt, submit.clone());
        self.input(broker, Input::FromExecutor { from, message: ToBroker::Submit(submit) });
        assert!(self.answers.len() > before, "no answer");
        self.answers.last().unwrap().3
    }

    pub fn finish(&mut self, index: usize, broker: usize, attempt: AttemptId, output: &[u8]) -> Answer {
        let submit = self.result(index, attempt, output);
        self.submit(index, broker, submit)
    }

    pub fn job(&self, broker: usize, job: JobId) -> JobView {
        self.coordinator(broker).job(job).expect("a known job")
    }

    pub fn coordinator(&self, broker: usize) -> &Coordinator {
        self.brokers[broker].coordinator.as_ref().expect("a running broker")
    }

    /// The attempt that was started on this executor last.
    pub fn started(&self, index: usize) -> (u64, AttemptId) {
        let starts = self.orders.iter().rev().find_map(|(at, executor, order)| match order {
            Order::Start { attempt, .. } if *executor == index => Some((*at, *attempt)),
            _ => None,
        });
        starts.expect("a start order")
    }

    pub fn starts(&self, job: JobId) -> Vec<(u64, usize, AttemptId)> {
        let mut seen = BTreeSet::new();
        let starts = self.orders.iter().filter_map(|(at, executor, order)| match order {
            Order::Start { attempt, .. } if attempt.job == job => Some((*at, *executor, *attempt)),
            _ => None,
        });
        starts.filter(|(_, _, attempt)| seen.insert(*attempt)).collect()
    }

    pub fn kinds(&self, broker: usize) -> impl Iterator<Item = (u64, &EventKind)> {
        self.events.iter().filter(move |(_, at, _)| *at == broker).map(|(time, _, event)| (*time, &event.kind))
    }

    pub fn count(&self, broker: usize, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.kinds(broker).filter(|(_, kind)| wanted(kind)).count()
    }

    pub fn when(&self, broker: usize, wanted: impl Fn(&EventKind) -> bool) -> Option<u64> {
        self.kinds(broker).find(|(_, kind)| wanted(kind)).map(|(at, _)| at)
    }
}

impl Executor {
    fn held(&self) -> Vec<HeldAttempt> {
        let held = self.running.iter();
        let progress = |attempt| self.progress.get(attempt).copied().unwrap_or(0);
        let held = held.map(|(attempt, token)| (*attempt, *token, progress(attempt)));
        held.map(|(attempt, token, progress_bp)| HeldAttempt { attempt, token, progress_bp }).collect()
    }

    fn obey(&mut self, order: Order, specs: &mut BTreeMap<JobId, SpecDigest>, now: u64) {
        match order {
            Order::Start { attempt, token, spec, .. } => {
                specs.insert(attempt.job, spec.digest());
                self.ordered.insert(attempt, spec);
                let greatest = *self.tokens.entry(attempt.job).and_modify(|t| *t = token.max(*t)).or_insert(token);
                if greatest > token {
                    let reason = reconvene_executor::message::Refusal::SmallerToken { greatest };
                    self.refused.push(Refused { attempt, reason });
                } else if self.refusing {
                    let reason = reconvene_executor::message::Refusal::NoFreeSlot;
                    self.refused.push(Refused { attempt, reason });
                } else if !self.kept.contains(&attempt) {
                    self.running.insert(attempt, token);
                }
            }
            Order::Stop { attempt, drain_ms, .. } => {
                let until = now + drain_ms;
                if drain_ms == 0 {
                    self.running.remove(&attempt);
                } else if self.running.contains_key(&attempt) {
                    self.draining.entry(attempt).and_modify(|known| *known = until.min(*known)).or_insert(until);
                }
            }
        }
    }
}

/// The member fact that sync writes when it opens.
fn member_record(identity: Identity) -> Record {
    let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(START) };
    let network = reconvene_sync::NetworkId::of_name("test");
    let head = reconvene_store::Head::new(identity, network);
    let config = reconvene_sync::Config::new(network, 1);
    let mut replica = reconvene_sync::Replica::open(config, head, Vec::new(), now).unwrap();
    loop {
        match replica.poll_output().expect("a replica introduces itself") {
            reconvene_sync::Output::Persist(batch) => {
                return batch.rows().iter().find_map(|row| row.after().cloned()).expect("the member fact");
            }
            reconvene_sync::Output::Load { ticket, .. } => {
                let loaded = reconvene_sync::Input::Loaded { ticket, records: Vec::new(), more: false };
                replica.handle(now, loaded);
            }
            _ => {}
        }
    }
}
