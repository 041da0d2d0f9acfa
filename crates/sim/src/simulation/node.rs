//! One machine: clocks, a store, and a process that comes and goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{Dot, NodeId, Now, ReplicaId};
use reconvene_store::opening::{self, AfterCrash, Found, Fresh, HostMarker, LastCommit, Lineage, Witness};
use reconvene_store::{
    Cursor, FactKind, Head, Identity, Key, MemorySnapshot, MemoryStore, MetadataStore, Plan, Prefix, Record,
    SessionNonce, Snapshot, Version, ready,
};
use reconvene_sync::{Config, Input, NetworkId, Replica, StoreDriver};

use super::clock::SimClock;
use super::net::Active;
use super::plan::{Options, Restart};
use super::rot::RotStore;

/// One machine.
#[derive(Debug)]
pub(super) struct SimNode {
    pub(super) id: NodeId,
    pub(super) address: String,
    pub(super) config: Config,
    pub(super) clock: SimClock,
    pub(super) store: StoreDriver<RotStore>,
    /// What the store says of its own history, and what a file outside of it does.
    lineage: Lineage,
    beside: Beside,
    host: HostMarker,
    /// The store as it was after its last commits, the latest last.
    images: VecDeque<(MemorySnapshot, Lineage)>,
    /// What names and nonces are drawn from.
    drawn: u64,
    /// The process, if it runs.
    pub(super) replica: Option<Replica>,
    /// Which process this is: what was meant for an earlier one does not reach it.
    pub(super) life: u64,
    /// How many faults hold it still, and what waits for it meanwhile.
    pub(super) paused: u32,
    pub(super) backlog: Vec<Input>,
    /// When it is woken, in true time.
    pub(super) wake: Option<u64>,
    /// Its store is at work until then.
    pub(super) busy_until: u64,
    pub(super) slowing: Active,
    /// How many faults fill its store.
    pub(super) full: u32,
    pub(super) commits: u64,
    pub(super) crash: Option<CrashAt>,
    /// The commit that fails, and whether it is made all the same.
    pub(super) fails: Option<(u64, bool)>,
    /// Urgent versions it made durable in this life: it may push each to a few.
    pub(super) urgent: u64,
    /// Wake-ups at one moment of its clock.
    pub(super) stuck: u32,
    /// Sessions that this process completed before the last look at it.
    pub(super) sessions_before: u64,
}

/// What is kept outside of a store, and stays when it is restored from a backup.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    witness: Option<Witness>,
    last: Option<LastCommit>,
}

/// A crash at a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrashAt {
    pub(super) commit: u64,
    pub(super) after: bool,
    pub(super) restart: Restart,
    pub(super) down_ms: u64,
}

impl SimNode {
    pub(super) fn new(options: &Options, index: usize) -> Self {
        let number = u8::try_from(index).unwrap_or(u8::MAX).saturating_add(1);
        let id = NodeId::from_bytes([number; 16]);
        let replica = ReplicaId::new(u64::from(number) << 32 | 0xabc).expect("not zero");
        let address = format!("node-{index}");
        let mut config =
            Config::new(network(), options.seed ^ u64::from(number) << 40).scaled(options.sync_interval_ms);
        config.advertise = Some(address.clone());
        config.chunk_bytes = options.chunk_bytes;
        config.window_bytes = options.window_bytes;
        // Half of the brokers send chunks and claims one by one whatever their size, so that both ways are met.
        config.max_whole_bytes = if index.is_multiple_of(2) { options.chunk_bytes } else { 0 };
        config.cascade_on_local_writes = options.cascade_on_local_writes;
        config.view_max_ms = options.view_max_ms;
        // A run is shorter than what is long for an operator.
        config.blocked_after_ms = 10 * options.sync_interval_ms;
        let identity = Identity { node: id, replica, incarnation: 1 };
        let host = HostMarker::from_bytes([number; 16]);
        let nonce = SessionNonce::new(number.into());
        let (_, head, lineage, witness) = opening::create(identity, config.network, nonce, host, None);
        let store = StoreDriver::new(RotStore::new(MemoryStore::holding(head, [], [], config.store)));
        let ahead_ms = options.skew_ms.get(index).copied().unwrap_or(0);
        Self {
            id,
            address,
            config,
            clock: SimClock::new(ahead_ms),
            store,
            lineage,
            beside: Beside { witness: Some(witness), last: None },
            host,
            images: VecDeque::new(),
            drawn: options.seed ^ u64::from(number) << 56,
            replica: None,
            life: 0,
            paused: 0,
            backlog: Vec::new(),
            wake: None,
            busy_until: 0,
            slowing: Active::default(),
            full: 0,
            commits: 0,
            crash: None,
            fails: None,
            urgent: 0,
            stuck: 0,
            sessions_before: 0,
        }
    }

    pub(super) fn now(&self, at: u64) -> Now {
        self.clock.now(at)
    }

    /// Starts the process on what the store holds.
    ///
    /// # Errors
    ///
    /// What the replica refuses.
    pub(super) fn start(&mut self, at: u64) -> Result<(), String> {
        self.clock.restart(at);
        let head = self.snapshot().head().clone();
        let facts = self.read(Prefix::new(Replica::FACTS).map_err(|error| error.to_string())?);
        self.config.seed = self.config.seed.rotate_left(7) ^ 0x5bd1_e995;
        let replica = Replica::open(self.config.clone(), head, facts, self.now(at));
        self.replica = Some(replica.map_err(|error| error.to_string())?);
        self.urgent = 0;
        self.stuck = 0;
        self.sessions_before = 0;
        self.busy_until = at;
        Ok(())
    }

    /// Opens the store as this restart finds it. What it then holds may be less than what it held before.
    pub(super) fn reopen(&mut self, restart: Restart) {
        let back = match restart {
            Restart::Full | Restart::Moved | Restart::Vanished { .. } => 0,
            Restart::LostTail { commits } | Restart::Backup { commits, .. } => commits,
            Restart::Empty { witness_gone } => {
                self.create(witness_gone);
                return;
            }
        };
        let kept = self.images.len().saturating_sub(back).max(1);
        self.images.truncate(kept);
        let (snapshot, lineage) = match self.images.back() {
            Some((snapshot, lineage)) => (snapshot.clone(), *lineage),
            None => (self.snapshot(), self.lineage),
        };
        if matches!(restart, Restart::Backup { note_gone: true, .. }) {
            self.beside.last = None;
        }
        if matches!(restart, Restart::Moved) {
            let next = self.draw().to_be_bytes();
            self.host = HostMarker::of([next.as_slice()]);
        }
        let fresh = self.fresh();
        let found = Found {
            head: snapshot.head(),
            lineage: &lineage,
            witness: self.beside.witness.as_ref(),
            last: self.beside.last.as_slice(),
            host: self.host,
            // An engine that loses what it said was durable cannot prove anything.
            proves_last_commit: !matches!(restart, Restart::LostTail { .. }),
            taken: false,
        };
        let opened = opening::open(&found, AfterCrash::KeepIfProven, fresh, 0);
        let facts = [FactKind::Member, FactKind::Ack].map(|kind| ready(snapshot.facts(kind)).and_then(Result::ok));
        let records = all(&snapshot, Prefix::all());
        let facts = facts.into_iter().flatten().flatten();
        let store = MemoryStore::holding(snapshot.head().clone(), records, facts, self.config.store);
        let committed = ready(store.commit(&opened.batch));
        assert!(matches!(committed, Some(Ok(_))), "an opening is committed: {committed:?}");
        // A backup is on a medium of its own; anything else is where it was.
        self.store = StoreDriver::new(match restart {
            Restart::Backup { .. } => RotStore::new(store),
            _ => RotStore::in_place_of(store, self.store.store()),
        });
        self.lineage = opened.lineage;
        self.beside = Beside { witness: Some(opened.witness), last: Some(LastCommit::of(opened.batch.head())) };
        self.keep_image();
    }

    /// Values go out of the store without a sign, as if they had never been there: what is left makes sense, and is known
    /// to hold what it does not. An even `pick` is for keys with several values, if there are such. Says which went.
    pub(super) fn vanish(&mut self, count: usize, pick: u64) -> Vec<(Key, Dot)> {
        let rows = self.read(Prefix::new(DATA).expect("short"));
        let several = |row: &&Record| pick.is_multiple_of(2) && row.siblings().len() > 1;
        let alone = rows.iter().find(several).is_none();
        let mut values: Vec<(Key, Dot)> = Vec::new();
        for row in rows.iter().filter(|row| alone || several(row)) {
            let of_row = row.siblings().iter().filter(|version| version.body.value().is_some());
            values.extend(of_row.map(|version| (row.key().clone(), version.dot)));
        }
        let gone: Vec<(Key, Dot)> = picked(values.len(), count, pick / 2).map(|at| values[at].clone()).collect();
        let head = self.snapshot().head().clone();
        let keys: Vec<Key> = rows.iter().map(|row| row.key().clone()).collect();
        let mut plan = Plan::new(head, keys, rows, &self.config.store);
        for (key, dot) in &gone {
            plan.drop_dead(key, *dot).expect("it is live");
        }
        let batch = plan.finish();
        if !batch.is_idle() {
            let committed = ready(self.store.store().written().commit(&batch));
            assert!(matches!(committed, Some(Ok(_))), "what is left is committed: {committed:?}");
            self.committed(batch.head());
        }
        gone
    }

    /// Rows of clients cannot be read any more.
    pub(super) fn rot(&self, count: usize, pick: u64) {
        let rows = self.read(Prefix::new(DATA).expect("short"));
        picked(rows.len(), count, pick).for_each(|at| self.store.store().rot(rows[at].clone()));
    }

    /// The rows that cannot be read.
    pub(super) fn rotten(&self) -> BTreeSet<Key> {
        let rows = self.read(Prefix::new(DATA).expect("short"));
        let rotten = rows.iter().filter(|row| !self.store.store().can_read(row));
        rotten.map(|row| row.key().clone()).collect()
    }

    /// A new store where there is none.
    fn create(&mut self, witness_gone: bool) {
        let witness = self.beside.witness.filter(|_| !witness_gone);
        let Fresh { replica, session } = self.fresh();
        // Without a witness nobody here knows how many there were before.
        let identity = Identity { node: self.id, replica, incarnation: 1 };
        let (_, head, lineage, witness) =
            opening::create(identity, self.config.network, session, self.host, witness.as_ref());
        self.store = StoreDriver::new(RotStore::new(MemoryStore::holding(head, [], [], self.config.store)));
        self.lineage = lineage;
        self.beside = Beside { witness: Some(witness), last: None };
        self.images.clear();
    }

    /// A batch was committed, which leaves `head`.
    pub(super) fn committed(&mut self, head: &Head) {
        self.lineage = self.lineage.after(head);
        if self.beside.witness.is_none_or(|witness| !witness.covers(head)) {
            self.beside.witness = Some(Witness::of(head, &self.lineage));
        }
        self.beside.last = Some(LastCommit::of(head));
        self.keep_image();
    }

    fn keep_image(&mut self) {
        if self.images.len() >= IMAGES {
            self.images.pop_front();
        }
        self.images.push_back((self.snapshot(), self.lineage));
    }

    fn fresh(&mut self) -> Fresh {
        let replica = loop {
            if let Some(replica) = ReplicaId::new(self.draw()) {
                break replica;
            }
        };
        Fresh { replica, session: SessionNonce::new(self.draw()) }
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.drawn ^ (self.drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    /// Ends the process, wherever it is.
    pub(super) fn stop(&mut self) {
        self.replica = None;
        self.life += 1;
        self.backlog.clear();
        self.wake = None;
    }

    pub(super) fn snapshot(&self) -> MemorySnapshot {
        ready(self.store.store().written().snapshot()).and_then(Result::ok).expect("memory is always there")
    }

    /// Everything that the store holds.
    pub(super) fn records(&self) -> BTreeMap<Key, Vec<Version>> {
        let all = self.read(Prefix::all()).into_iter();
        all.map(|record| (record.key().clone(), record.siblings().to_vec())).collect()
    }

    pub(super) fn record(&self, key: &Key) -> Option<Record> {
        ready(self.snapshot().record(key)).and_then(Result::ok).flatten()
    }

    fn read(&self, prefix: Prefix) -> Vec<Record> {
        all(&self.snapshot(), prefix)
    }
}

fn all(snapshot: &MemorySnapshot, prefix: Prefix) -> Vec<Record> {
    let all = Cursor::new(prefix).with_rows(usize::MAX).with_bytes(usize::MAX);
    ready(snapshot.by_prefix(&all)).and_then(Result::ok).expect("memory is always there").items
}

/// `count` places of `len`, one behind the other from where `pick` says.
fn picked(len: usize, count: usize, pick: u64) -> impl Iterator<Item = usize> {
    let first = usize::try_from(pick).unwrap_or(0);
    (0..count.min(len)).map(move |place| (first % len + place) % len)
}

/// The network that is simulated.
pub(super) fn network() -> NetworkId {
    NetworkId::of_name("simulated")
}

/// What the keys of clients begin with.
pub(super) const DATA: &str = "key/";
/// Earlier states that a store can be put back to.
pub(super) const IMAGES: usize = 64;
