//! A store in memory.

mod tree;

use std::sync::Arc;

use parking_lot::RwLock;
use reconvene_clock::{Dot, DotRange};

use self::tree::Tree;
use crate::{
    Batch, Capabilities, CommitError, Cursor, Durability, Head, Identity, IndexChange, Key, Limits, MetadataStore,
    NetworkId, Page, Prefix, Record, Revision, Snapshot, StoreError,
};

/// Keeps everything in memory, within bounds: when it is full it says so, and evicts nothing.
///
/// A snapshot clones three pointers; readers then hold no lock, and a commit copies only what a snapshot still shares
/// on the paths it changes. Rows, index and head change together under one lock, so that taking a snapshot waits at most
/// while another thread puts a batch into memory. Every future is [`ready`](crate::ready) at its first poll.
///
/// ```
/// use reconvene_clock::{NodeId, ReplicaId};
/// use reconvene_store::{Identity, Limits, MemoryStore, MetadataStore, Snapshot, ready};
///
/// let replica = ReplicaId::new(7).expect("not zero");
/// let identity = Identity { node: NodeId::new([1; 16]), replica, incarnation: 1 };
/// let store = MemoryStore::new(identity, Limits::default());
/// let snapshot = ready(store.snapshot()).expect("never waits")?;
/// assert_eq!(snapshot.head().identity().replica, replica);
/// # Ok::<(), reconvene_store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    limits: Limits,
    state: RwLock<MemorySnapshot>,
}

/// A frozen view of a [`MemoryStore`]. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct MemorySnapshot {
    head: Arc<Head>,
    records: Tree<Key, Record>,
    /// The key of each live dot.
    live: Tree<Dot, Key>,
    /// The bytes of all records.
    bytes: usize,
}

impl MemoryStore {
    /// An empty store of this identity, in the network whose id is zero.
    #[must_use]
    pub fn new(identity: Identity, limits: Limits) -> Self {
        Self::for_network(identity, NetworkId::default(), limits)
    }

    /// An empty store of this identity in `network`. Fingerprints are equal within one network alone.
    #[must_use]
    pub fn for_network(identity: Identity, network: NetworkId, limits: Limits) -> Self {
        let head = Arc::new(Head::new(identity, network));
        let state = MemorySnapshot { head, records: Tree::new(), live: Tree::new(), bytes: 0 };
        Self { limits, state: RwLock::new(state) }
    }

    fn apply(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let refused = |what, count, limit| {
            if count > limit { Err(CommitError::Refused { what, count, limit }) } else { Ok(()) }
        };
        refused("rows", batch.len(), self.limits.batch_rows)?;
        refused("bytes", batch.byte_len(), self.limits.batch_bytes)?;
        let mut state = self.state.write();
        let (store, planned_for) = (state.head.identity().replica, batch.head().identity().replica);
        if planned_for != store {
            return Err(CommitError::Foreign { planned_for, store });
        }
        if batch.based_on() != state.head.revision() {
            return Err(CommitError::Conflict { head: state.head.revision(), based_on: batch.based_on() });
        }
        state.bytes = state.room_for(batch, &self.limits)?;
        // Nothing can fail from here on.
        for row in batch.rows() {
            match row.after() {
                Some(record) => drop(state.records.insert(row.key().clone(), record.clone())),
                None => drop(state.records.remove(row.key())),
            }
        }
        for change in batch.index() {
            match change {
                IndexChange::Insert { dot, key } => drop(state.live.insert(dot, key.clone())),
                IndexChange::Remove { dot } => drop(state.live.remove(&dot)),
            }
        }
        state.head = Arc::new(batch.head().clone());
        Ok(batch.head().revision())
    }
}

impl MemorySnapshot {
    /// The bytes of all records after `batch`, if they and their number stay within `limits`.
    fn room_for(&self, batch: &Batch, limits: &Limits) -> Result<usize, CommitError> {
        let (mut rows, mut bytes) = (self.records.len(), self.bytes);
        for row in batch.rows() {
            if let Some(before) = self.records.get(row.key()) {
                rows = rows.saturating_sub(1);
                bytes = bytes.saturating_sub(before.byte_len());
            }
            if let Some(after) = row.after() {
                rows = rows.saturating_add(1);
                bytes = bytes.saturating_add(after.byte_len());
            }
        }
        for (what, count, limit) in [("rows", rows, limits.store_rows), ("bytes", bytes, limits.store_bytes)] {
            if count > limit {
                return Err(CommitError::Full { what, count, limit });
            }
        }
        Ok(bytes)
    }
}

impl MetadataStore for MemoryStore {
    type Snapshot = MemorySnapshot;

    fn capabilities(&self) -> Capabilities {
        Capabilities { durability: Durability::None, shared: false, limits: self.limits }
    }

    async fn snapshot(&self) -> Result<MemorySnapshot, StoreError> {
        Ok(self.state.read().clone())
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        self.apply(batch)
    }

    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}

impl Snapshot for MemorySnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.records.get(key).cloned())
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let prefix = at.range();
        let walk = self.records.iter_from(|key| match at.after() {
            Some(after) => key <= after || key.as_bytes() < prefix.as_bytes(),
            None => key.as_bytes() < prefix.as_bytes(),
        });
        let records = walk.take_while(|(key, _)| prefix.matches(key)).map(|(_, record)| record.clone());
        Ok(Page::fill(at, records, |record| (record.key().clone(), record.byte_len())))
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        let range = at.range();
        let first = Dot::new(range.replica(), range.first());
        let walk = self.live.iter_from(|dot| match at.after() {
            Some(after) => *dot <= Dot::new(range.replica(), *after) || *dot < first,
            None => *dot < first,
        });
        let dots = walk.take_while(|(dot, _)| range.contains(*dot)).cloned();
        Ok(Page::fill(at, dots, |(dot, key)| (dot.counter, key.as_bytes().len().saturating_add(16))))
    }
}
