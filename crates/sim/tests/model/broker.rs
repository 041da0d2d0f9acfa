//! One broker of the model: a real replica, and a store that keeps what was made durable.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use reconvene_clock::{Dot, NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_store::{
    Body, Class, Cursor, Fact, FactKind, Identity, Key, Limits, MemorySnapshot, MemoryStore, MetadataStore, Prefix,
    Record, Snapshot, Version, ready,
};
use reconvene_sync::{
    Config, Event, Input, NetworkId, NewWrite, Output, Performed, Replica, StoreDriver, Ticket, ViewId,
};

/// How many brokers there are.
pub(crate) const BROKERS: usize = 3;

/// A broker between two inputs. Its driver is one task: it performs all outputs of an input before it takes the next.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    index: usize,
    life: u64,
    pub(crate) replica: Replica,
    /// What is durable.
    pub(crate) store: MemorySnapshot,
    pub(crate) records: Arc<[Record]>,
    views: BTreeMap<ViewId, MemorySnapshot>,
    /// A hash of all of the above.
    pub(crate) name: u64,
}

/// What a broker is given.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Feed {
    Tick,
    Frame {
        from: usize,
        bytes: Arc<[u8]>,
    },
    Write {
        number: usize,
        write: Write,
    },
    LinkUp(usize),
    LinkDown(usize),
    /// It was killed, and is started again on what was durable.
    Restart,
}

/// What a client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    pub(crate) at: usize,
    pub(crate) key: &'static str,
    /// Nothing deletes.
    pub(crate) value: Option<&'static str>,
    pub(crate) urgent: bool,
}

/// Where in the handling of an input the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kill {
    Never,
    /// When all before the first batch was performed, and it was not.
    BeforeCommit,
    /// When the first batch was durable, and nothing behind it was performed.
    AfterCommit,
}

/// In which order a driver does things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// As it was told.
    Right,
    /// It sends and acknowledges first, and makes durable what is left over then.
    AcknowledgesFirst,
}

/// What came of an input outside of the broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<(usize, Arc<[u8]>)>,
    pub(crate) made: Vec<(Key, Version)>,
    pub(crate) acknowledged: Vec<Dot>,
    pub(crate) hung_up: Vec<usize>,
    /// What no fault of the model explains.
    pub(crate) complaint: Option<String>,
    pub(crate) commits: usize,
}

impl Broker {
    /// A broker with an empty store, which has not begun to do anything.
    pub(crate) fn new(index: usize) -> Self {
        let number = u8::try_from(index + 1).unwrap();
        let replica = ReplicaId::new(u64::from(number)).unwrap();
        let identity = Identity { node: id(index), replica, incarnation: 1 };
        let store = MemoryStore::for_network(identity, network(), Limits::default());
        let store = snapshot(&store);
        let replica = open(index, 0, &store, 0);
        let (records, views) = (Arc::from([]), BTreeMap::new());
        Self { index, life: 0, replica, store, records, views, name: 0 }
    }

    /// Takes an input and performs what comes of it, up to where it is killed.
    pub(crate) fn step(&mut self, at: u64, feed: &Feed, kill: Kill, driver: Driver) -> Outcome {
        let mut outcome = Outcome::default();
        match feed {
            Feed::Restart => {
                self.life += 1;
                self.views.clear();
                self.replica = open(self.index, self.life, &self.store, at);
            }
            Feed::Tick => self.replica.handle(now(at), Input::Tick),
            Feed::Frame { from, bytes } => {
                self.replica.handle(now(at), Input::Received { from: id(*from), frame: bytes.to_vec() });
            }
            Feed::Write { number, write } => {
                let class = if write.urgent { Class::URGENT } else { Class::NORMAL };
                let body = write.value.map_or(Body::Tombstone, Body::of);
                let writes = vec![NewWrite::new(Key::new(write.key).unwrap(), class, body)];
                let ticket = Ticket(u64::try_from(*number).unwrap());
                self.replica.handle(now(at), Input::LocalWrite { ticket, writes });
            }
            Feed::LinkUp(peer) => self.replica.handle(now(at), Input::LinkUp { peer: id(*peer), address: None }),
            Feed::LinkDown(peer) => self.replica.handle(now(at), Input::LinkDown { peer: id(*peer) }),
        }
        self.perform(at, kill, driver, &mut outcome);
        outcome
    }

    fn perform(&mut self, at: u64, kill: Kill, driver: Driver, outcome: &mut Outcome) {
        let mut late: Option<Output> = None;
        loop {
            let next = self.replica.poll_output();
            let touches_store =
                matches!(&next, None | Some(Output::Persist(_) | Output::OpenView(_) | Output::Load { .. }));
            if touches_store
                && let Some(batch) = late.take()
                && !self.commit(batch, kill, outcome)
            {
                return;
            }
            match next {
                None => return,
                Some(batch @ Output::Persist(_)) => match driver {
                    Driver::AcknowledgesFirst => late = Some(batch),
                    Driver::Right => {
                        if !self.commit(batch, kill, outcome) {
                            return;
                        }
                    }
                },
                Some(Output::OpenView(view)) => {
                    self.views.insert(view, self.store.clone());
                }
                Some(Output::CloseView(view)) => {
                    self.views.remove(&view);
                }
                Some(Output::Load { ticket, view, want }) => {
                    let seen = view.map_or(&self.store, |view| &self.views[&view]);
                    let mut reader = StoreDriver::new(reopened(seen));
                    let read = ready(reader.perform(Output::Load { ticket, view: None, want })).unwrap().unwrap();
                    let Performed::Input(input) = read else { panic!("a load is answered") };
                    self.replica.handle(now(at), input);
                }
                Some(output) => outside(output, outcome),
            }
        }
    }

    /// Makes a batch durable. False if the process is killed there.
    fn commit(&mut self, output: Output, kill: Kill, outcome: &mut Outcome) -> bool {
        let Output::Persist(batch) = output else { panic!("only batches are committed") };
        if kill == Kill::BeforeCommit && outcome.commits == 0 {
            outcome.commits += 1;
            return false;
        }
        let own = self.store.head().identity().replica;
        let store = reopened(&self.store);
        ready(store.commit(&batch)).unwrap().unwrap();
        self.store = snapshot(&store);
        self.records = records(&self.store, Prefix::all()).into();
        let made = batch.versions().filter(|(_, version)| version.dot.replica == own);
        outcome.made.extend(made.map(|(key, version)| (key.clone(), version.clone())));
        outcome.commits += 1;
        kill != Kill::AfterCommit
    }

    /// Names the state: two brokers are the same if the replica is, to its last field, and what the store holds.
    pub(crate) fn rename(&mut self) {
        let mut text = Text(DefaultHasher::new());
        let Self { index, life, replica, store, records, views, name: _ } = self;
        write!(text, "{index} {life} {replica:?} {:?} {records:?}", store.head()).unwrap();
        for (view, frozen) in views {
            write!(text, "{view:?} {:?}", frozen.head().revision()).unwrap();
        }
        self.name = text.0.finish();
    }
}

/// Hashes what is written.
struct Text(DefaultHasher);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.hash(&mut self.0);
        Ok(())
    }
}

fn outside(output: Output, outcome: &mut Outcome) {
    match output {
        Output::Send { to, frame } => outcome.sent.push((index_of(to), frame.into())),
        Output::Disconnect { from, .. } => outcome.hung_up.push(index_of(from)),
        Output::Written { dots, .. } => outcome.acknowledged.extend(dots),
        Output::Notify(
            event @ (Event::Divergence { .. }
            | Event::Damaged { .. }
            | Event::DotCollision { .. }
            | Event::Amnesia { .. }
            | Event::Frozen { .. }
            | Event::Refused { .. }
            | Event::Rejected { .. }
            | Event::LimitReached { .. }),
        ) => outcome.complaint = Some(format!("{event:?}")),
        Output::WriteRefused { error, .. } => outcome.complaint = Some(error.to_string()),
        _ => {}
    }
}

fn open(index: usize, life: u64, store: &MemorySnapshot, at: u64) -> Replica {
    let config = Config::new(network(), 1_000 * u64::try_from(index).unwrap() + life);
    let facts = records(store, Prefix::new(Replica::FACTS).unwrap());
    Replica::open(config, store.head().clone(), facts, now(at)).unwrap()
}

/// A store of its own that holds what was seen.
fn reopened(seen: &MemorySnapshot) -> MemoryStore {
    let facts = [FactKind::Member, FactKind::Ack].map(|kind| ready(seen.facts(kind)).unwrap().unwrap());
    let facts = facts.into_iter().flatten().collect::<Vec<Fact>>();
    MemoryStore::holding(seen.head().clone(), records(seen, Prefix::all()), facts, Limits::default())
}

fn snapshot(store: &MemoryStore) -> MemorySnapshot {
    ready(store.snapshot()).unwrap().unwrap()
}

fn records(seen: &MemorySnapshot, prefix: Prefix) -> Vec<Record> {
    let all = Cursor::new(prefix).with_rows(usize::MAX).with_bytes(usize::MAX);
    ready(seen.by_prefix(&all)).unwrap().unwrap().items
}

fn network() -> NetworkId {
    NetworkId::of_name("model")
}

fn id(index: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(index + 1).unwrap(); 16])
}

fn index_of(id: NodeId) -> usize {
    usize::from(id.as_bytes()[0]) - 1
}

fn now(at: u64) -> Now {
    Now { mono: Timestamp::from_millis(at), wall: WallTime::from_millis(1_700_000_000_000 + at) }
}
