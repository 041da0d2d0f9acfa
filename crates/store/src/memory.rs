//! A store in memory.

mod tree;

use core::hint::black_box;
use std::sync::Arc;

use parking_lot::RwLock;
use reconvene_clock::{Dot, DotRange, ReplicaId};

use self::tree::Tree;
use crate::record::row_bytes;
use crate::version::is_tombstone;
use crate::{
    Batch, Capabilities, ChangeFeed, Changes, CheckReport, Checker, CommitError, Cursor, Durability, Fact, FactKind,
    Head, Identity, IndexChange, Key, Limits, MetadataStore, NetworkId, Page, PageLimit, Prefix, Record, Revision,
    RowChange, Snapshot, StoreError, Tombstones, Version,
};

/// Keeps everything in memory, within bounds: when it is full it says so, and evicts nothing.
///
/// A snapshot clones one pointer; readers then hold no lock, and a commit copies only what a snapshot still shares
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
    state: RwLock<Arc<State>>,
    feed: ChangeFeed,
}

/// A frozen view of a [`MemoryStore`]. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct MemorySnapshot {
    state: Arc<State>,
}

#[derive(Clone, Debug)]
struct State {
    head: Head,
    /// The versions of each key: a record without its key, which is here already.
    records: Tree<Key, Arc<[Version]>>,
    /// The key of each live dot.
    live: Tree<Dot, Key>,
    /// The key of each live tombstone.
    tombstones: Tree<Dot, Key>,
    facts: Tree<(FactKind, ReplicaId), Fact>,
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
        Self::holding(Head::new(identity, network), [], [], limits)
    }

    /// A store of what another one held at `head`: these records, one for each key, and facts. For backends that keep in
    /// memory what they have elsewhere.
    #[must_use]
    pub fn holding(
        head: Head,
        held: impl IntoIterator<Item = Record>,
        known: impl IntoIterator<Item = Fact>,
        limits: Limits,
    ) -> Self {
        let feed = ChangeFeed::new(head.revision(), ChangeFeed::DEFAULT_KEYS);
        let (mut records, mut live, mut tombstones, mut facts) = (Tree::new(), Tree::new(), Tree::new(), Tree::new());
        let mut bytes = 0_usize;
        for record in held {
            bytes = bytes.saturating_add(record.byte_len());
            for version in record.siblings() {
                live.insert(version.dot, record.key().clone());
                if is_tombstone(version) {
                    tombstones.insert(version.dot, record.key().clone());
                }
            }
            records.insert(record.key().clone(), Arc::clone(record.versions()));
        }
        for fact in known {
            facts.insert((fact.kind(), fact.id()), fact);
        }
        let state = State { head, records, live, tombstones, facts, bytes };
        Self { limits, state: RwLock::new(Arc::new(state)), feed }
    }

    /// A second store that holds what this one holds now: the backup of a store that is not on any disk. The two share
    /// what neither of them changes.
    ///
    /// Both have one identity. Before the copy is written to, it is to be renewed, as any restored backup
    /// ([`Plan::renew`](crate::Plan::renew)).
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let state = Arc::clone(&self.state.read());
        let feed = ChangeFeed::new(state.head.revision(), ChangeFeed::DEFAULT_KEYS);
        Self { limits: self.limits, state: RwLock::new(state), feed }
    }

    fn apply(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let refused = |what, count, limit| {
            if count > limit { Err(CommitError::Refused { what, count, limit }) } else { Ok(()) }
        };
        refused("rows", batch.len(), self.limits.batch_rows)?;
        refused("bytes", batch.byte_len(), self.limits.batch_bytes)?;
        let mut shared = self.state.write();
        let state = &**shared;
        let (store, planned_for) = (state.head.identity().replica, batch.planned_for());
        if planned_for != store {
            return Err(CommitError::Foreign { planned_for, store });
        }
        if batch.based_on() != state.head.revision() {
            return Err(CommitError::Conflict { head: state.head.revision(), based_on: batch.based_on() });
        }
        state.has_room_for(batch, &self.limits)?;
        // Nothing can fail from here on. If a snapshot shares the state, this clones it: a few pointers and the head.
        let state = Arc::make_mut(&mut shared);
        let added = batch.rows().iter().filter_map(RowChange::after).map(Record::byte_len);
        let mut bytes = added.fold(state.bytes, usize::saturating_add);
        let rows = batch.rows().iter();
        let rows = rows.map(|row| (row.key().clone(), row.after().map(|record| Arc::clone(record.versions()))));
        state.records.edit(rows, |key, before| bytes = bytes.saturating_sub(row_bytes(key, before.iter())));
        state.bytes = bytes;
        state.index(batch);
        for fact in batch.facts() {
            let id = (fact.kind(), fact.id());
            let mut joined = state.facts.get(&id).unwrap_or(fact).clone();
            joined.merge(fact);
            state.facts.insert(id, joined);
        }
        state.head = batch.head().clone();
        // Under the lock, so that the feed hears of batches in their order.
        self.feed.committed(batch);
        Ok(batch.head().revision())
    }
}

impl State {
    /// Makes the changes of the indices.
    fn index(&mut self, batch: &Batch) {
        let removed: Vec<Dot> = batch.rows().iter().flat_map(RowChange::removed).copied().collect();
        // They lie anywhere, and are about to be taken out one after the other.
        drop(self.live.get_many(&removed, |_| ()));
        let (mut live, mut tombstones) = (Vec::with_capacity(batch.len().saturating_mul(2)), Vec::new());
        for change in batch.index() {
            let (dot, key, is_tombstone) = match change {
                IndexChange::Insert { dot, key, tombstone } => (dot, Some(key.clone()), tombstone),
                IndexChange::Remove { dot, tombstone } => (dot, None, tombstone),
            };
            if is_tombstone {
                tombstones.push((dot, key.clone()));
            }
            live.push((dot, key));
        }
        for (index, mut changes) in [(&mut self.live, live), (&mut self.tombstones, tombstones)] {
            // Stable: what concerns one dot stays in its order.
            changes.sort_by_key(|(dot, _)| *dot);
            index.edit(changes, |_, _| {});
        }
    }

    /// Fails if the records after `batch` would be too many, or too large.
    fn has_room_for(&self, batch: &Batch, limits: &Limits) -> Result<(), CommitError> {
        // As the plan found the rows, which is as they are unless its caller kept some from it: then nothing is less.
        let planned = self.after(batch, |row| row.before_len);
        if planned.0 <= limits.store_rows && planned.1 <= limits.store_bytes {
            return Ok(());
        }
        let held = |row: &RowChange| self.records.get(row.key()).map(|before| row_bytes(row.key(), before.iter()));
        let (rows, bytes) = self.after(batch, held);
        for (what, count, limit) in [("rows", rows, limits.store_rows), ("bytes", bytes, limits.store_bytes)] {
            if count > limit {
                return Err(CommitError::Full { what, count, limit });
            }
        }
        Ok(())
    }

    /// The number and bytes of all records after `batch`, if the rows that it changes had so many bytes.
    fn after(&self, batch: &Batch, before: impl Fn(&RowChange) -> Option<usize>) -> (usize, usize) {
        let (mut rows, mut bytes) = (self.records.len(), self.bytes);
        for row in batch.rows() {
            if let Some(len) = row.after().map(Record::byte_len) {
                rows = rows.saturating_add(1);
                bytes = bytes.saturating_add(len);
            }
            if let Some(len) = before(row) {
                rows = rows.saturating_sub(1);
                bytes = bytes.saturating_sub(len);
            }
        }
        (rows, bytes)
    }
}

impl MetadataStore for MemoryStore {
    type Snapshot = MemorySnapshot;

    fn capabilities(&self) -> Capabilities {
        Capabilities { durability: Durability::None, shared: false, limits: self.limits }
    }

    async fn snapshot(&self) -> Result<MemorySnapshot, StoreError> {
        Ok(MemorySnapshot { state: Arc::clone(&self.state.read()) })
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        self.apply(batch)
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.feed.changes(after, limit).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        let state = Arc::clone(&self.state.read());
        let mut checker = Checker::new(&state.head);
        state.records.iter_from(|_| false).for_each(|entry| checker.row(&record_of(entry)));
        state.live.iter_from(|_| false).for_each(|(dot, key)| checker.live(*dot, key));
        state.tombstones.iter_from(|_| false).for_each(|(dot, key)| checker.tombstone(*dot, key));
        Ok(checker.finish())
    }

    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}

impl Snapshot for MemorySnapshot {
    fn head(&self) -> &Head {
        &self.state.head
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.state.records.get_entry(key).map(record_of))
    }

    async fn records(&self, keys: &[Key]) -> Result<Vec<Record>, StoreError> {
        let found = self.state.records.get_many(keys, touch_versions);
        Ok(found.into_iter().flatten().map(record_of).collect())
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let prefix = at.range();
        let walk = self.state.records.iter_from(|key| match at.after() {
            Some(after) => key <= after || key.as_bytes() < prefix.as_bytes(),
            None => key.as_bytes() < prefix.as_bytes(),
        });
        let records = walk.take_while(|(key, _)| prefix.matches(key)).map(record_of);
        Ok(Page::fill(at, records, |record| (record.key().clone(), record.byte_len())))
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        let range = at.range();
        let first = Dot::new(range.replica(), range.first());
        let walk = self.state.live.iter_from(|dot| match at.after() {
            Some(after) => *dot <= Dot::new(range.replica(), *after) || *dot < first,
            None => *dot < first,
        });
        let dots = walk.take_while(|(dot, _)| range.contains(*dot)).cloned();
        Ok(Page::fill(at, dots, |(dot, key)| (dot.counter, key.as_bytes().len().saturating_add(16))))
    }

    async fn tombstones(&self, at: &Cursor<Tombstones>) -> Result<Page<(Dot, Key), Tombstones>, StoreError> {
        let dots = self.state.tombstones.iter_from(|dot| at.after().is_some_and(|after| dot <= after)).cloned();
        Ok(Page::fill(at, dots, |(dot, key)| (*dot, key.as_bytes().len().saturating_add(16))))
    }

    async fn facts(&self, kind: FactKind) -> Result<Vec<Fact>, StoreError> {
        let walk = self.state.facts.iter_from(|(other, _)| *other < kind);
        Ok(walk.take_while(|((other, _), _)| *other == kind).map(|(_, fact)| fact.clone()).collect())
    }
}

fn record_of((key, versions): &(Key, Arc<[Version]>)) -> Record {
    Record::of_versions(key.clone(), Arc::clone(versions))
}

/// Reads some of the versions and of what they say, so that they are near when they are read next.
fn touch_versions(versions: &Arc<[Version]>) {
    for version in versions.iter() {
        black_box((
            version.dot,
            version.body.value().and_then(|value| value.first().copied().zip(value.last().copied())),
        ));
    }
}
