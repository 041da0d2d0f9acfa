//! One machine: clocks, a store, and a process that comes and goes.

use std::collections::BTreeMap;

use reconvene_clock::{NodeId, Now, ReplicaId};
use reconvene_store::{Cursor, Identity, Key, MemoryStore, MetadataStore, Prefix, Record, Snapshot, Version, ready};
use reconvene_sync::{Config, Input, NetworkId, Replica, StoreDriver};

use super::clock::SimClock;
use super::net::Active;
use super::plan::{Options, Restart};

/// One machine.
#[derive(Debug)]
pub(super) struct SimNode {
    pub(super) id: NodeId,
    pub(super) address: String,
    pub(super) config: Config,
    pub(super) clock: SimClock,
    pub(super) store: StoreDriver<MemoryStore>,
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
        config.cascade_on_local_writes = options.cascade_on_local_writes;
        let identity = Identity { node: id, replica, incarnation: 1 };
        let store = StoreDriver::new(MemoryStore::for_network(identity, config.network, config.store));
        let ahead_ms = options.skew_ms.get(index).copied().unwrap_or(0);
        Self {
            id,
            address,
            config,
            clock: SimClock::new(ahead_ms),
            store,
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
        let views = std::mem::replace(&mut self.store, StoreDriver::new(placeholder()));
        self.store = StoreDriver::new(views.into_store());
        let head = self.snapshot().head().clone();
        let members = self.read(Prefix::new(Replica::FACTS).map_err(|error| error.to_string())?);
        self.config.seed = self.config.seed.rotate_left(7) ^ 0x5bd1_e995;
        let replica = Replica::open(self.config.clone(), head, members, self.now(at));
        self.replica = Some(replica.map_err(|error| error.to_string())?);
        self.urgent = 0;
        self.stuck = 0;
        self.sessions_before = 0;
        self.busy_until = at;
        Ok(())
    }

    /// Ends the process, wherever it is.
    pub(super) fn stop(&mut self) {
        self.replica = None;
        self.life += 1;
        self.backlog.clear();
        self.wake = None;
    }

    pub(super) fn snapshot(&self) -> <MemoryStore as MetadataStore>::Snapshot {
        ready(self.store.store().snapshot()).and_then(Result::ok).expect("memory is always there")
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
        let all = Cursor::new(prefix).with_rows(usize::MAX).with_bytes(usize::MAX);
        ready(self.snapshot().by_prefix(&all)).and_then(Result::ok).expect("memory is always there").items
    }
}

/// The network that is simulated.
pub(super) fn network() -> NetworkId {
    NetworkId::of_name("simulated")
}

/// Stands in for a store that is being moved out of its driver.
fn placeholder() -> MemoryStore {
    let identity =
        Identity { node: NodeId::from_bytes([0; 16]), replica: ReplicaId::new(1).expect("not zero"), incarnation: 1 };
    MemoryStore::for_network(identity, network(), reconvene_store::Limits::default())
}
