//! The plainest store there is, and the same with one fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use reconvene_clock::{Dot, DotRange, ReplicaId};
use reconvene_store::{
    Batch, Capabilities, ChangeFeed, Changes, CheckReport, Checker, CommitError, Cursor, Durability, Fact, FactKind,
    Head, Identity, IndexChange, Key, Limits, MetadataStore, NetworkId, Page, PageLimit, Prefix, Record, Revision,
    Snapshot, StoreError, Tombstones,
};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    ForgetsIndexRemoval,
    ForgetsIndexInsert,
    LosesLastRow,
    AppliesRowsBeforeConflict,
    AcceptsAnyRevision,
    AcceptsForeign,
    AcceptsBigBatch,
    EvictsWhenFull,
    HeadOfBatchBefore,
    SnapshotsMove,
    PagesSkip,
    PagesRepeat,
    PagesOverflow,
    OriginsStartLate,
    PrefixWithoutEnd,
}

impl Fault {
    pub(crate) const ALL: [Self; 15] = [
        Self::ForgetsIndexRemoval,
        Self::ForgetsIndexInsert,
        Self::LosesLastRow,
        Self::AppliesRowsBeforeConflict,
        Self::AcceptsAnyRevision,
        Self::AcceptsForeign,
        Self::AcceptsBigBatch,
        Self::EvictsWhenFull,
        Self::HeadOfBatchBefore,
        Self::SnapshotsMove,
        Self::PagesSkip,
        Self::PagesRepeat,
        Self::PagesOverflow,
        Self::OriginsStartLate,
        Self::PrefixWithoutEnd,
    ];
}

/// Clones everything for each snapshot.
#[derive(Debug)]
pub(crate) struct PlainStore {
    limits: Limits,
    fault: Option<Fault>,
    state: Arc<Mutex<State>>,
    feed: ChangeFeed,
}

#[derive(Clone, Debug)]
struct State {
    head: Head,
    rows: BTreeMap<Key, Record>,
    live: BTreeMap<Dot, Key>,
    tombstones: BTreeMap<Dot, Key>,
    facts: BTreeMap<(FactKind, ReplicaId), Fact>,
}

#[derive(Debug)]
pub(crate) struct PlainSnapshot {
    head: Head,
    fault: Option<Fault>,
    state: Arc<Mutex<State>>,
}

impl PlainStore {
    pub(crate) fn new(identity: Identity, network: NetworkId, limits: Limits, fault: Option<Fault>) -> Self {
        let head = Head::new(identity, network);
        let feed = ChangeFeed::new(head.revision(), ChangeFeed::DEFAULT_KEYS);
        let (rows, live, tombstones, facts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let state = State { head, rows, live, tombstones, facts };
        Self { limits, fault, state: Arc::new(Mutex::new(state)), feed }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

impl State {
    fn put_rows(&mut self, batch: &Batch, count: usize) {
        for row in batch.rows().iter().take(count) {
            match row.after() {
                Some(record) => drop(self.rows.insert(row.key().clone(), record.clone())),
                None => drop(self.rows.remove(row.key())),
            }
        }
    }
}

impl MetadataStore for PlainStore {
    type Snapshot = PlainSnapshot;

    fn capabilities(&self) -> Capabilities {
        Capabilities { durability: Durability::None, shared: false, limits: self.limits }
    }

    async fn snapshot(&self) -> Result<PlainSnapshot, StoreError> {
        let state = self.state.lock().unwrap().clone();
        let head = state.head.clone();
        let moves = self.has(Fault::SnapshotsMove);
        let state = if moves { Arc::clone(&self.state) } else { Arc::new(Mutex::new(state)) };
        Ok(PlainSnapshot { head, fault: self.fault, state })
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let mut state = self.state.lock().unwrap();
        let (store, planned_for) = (state.head.identity().replica, batch.planned_for());
        if planned_for != store && !self.has(Fault::AcceptsForeign) {
            return Err(CommitError::Foreign { planned_for, store });
        }
        if self.has(Fault::AppliesRowsBeforeConflict) {
            state.put_rows(batch, usize::MAX);
        }
        let head = state.head.revision();
        if batch.based_on() != head && !self.has(Fault::AcceptsAnyRevision) {
            return Err(CommitError::Conflict { head, based_on: batch.based_on() });
        }
        if batch.len() > self.limits.batch_rows && !self.has(Fault::AcceptsBigBatch) {
            return Err(CommitError::Refused { what: "rows", count: batch.len(), limit: self.limits.batch_rows });
        }
        if batch.byte_len() > self.limits.batch_bytes {
            return Err(CommitError::Refused {
                what: "bytes",
                count: batch.byte_len(),
                limit: self.limits.batch_bytes,
            });
        }
        let new = batch.rows().iter().filter(|row| !state.rows.contains_key(row.key())).count();
        let (count, limit) = (state.rows.len() + new, self.limits.store_rows);
        if count > limit && new > 0 {
            if self.has(Fault::EvictsWhenFull) {
                state.rows.pop_first();
            }
            return Err(CommitError::Full { what: "rows", count, limit });
        }
        let lost = usize::from(self.has(Fault::LosesLastRow) && batch.len() > 1);
        state.put_rows(batch, batch.len() - lost);
        for change in batch.index() {
            match change {
                IndexChange::Insert { dot, key, tombstone } if !self.has(Fault::ForgetsIndexInsert) => {
                    state.live.insert(dot, key.clone());
                    if tombstone {
                        state.tombstones.insert(dot, key.clone());
                    }
                }
                IndexChange::Remove { dot, .. } if !self.has(Fault::ForgetsIndexRemoval) => {
                    state.live.remove(&dot);
                    state.tombstones.remove(&dot);
                }
                _ => {}
            }
        }
        for fact in batch.facts() {
            state.facts.entry((fact.kind(), fact.id())).or_insert_with(|| fact.clone()).merge(fact);
        }
        if !(self.has(Fault::HeadOfBatchBefore) && batch.is_empty()) {
            state.head = batch.head().clone();
        }
        self.feed.committed(batch);
        Ok(batch.head().revision())
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.feed.changes(after, limit).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        let state = self.state.lock().unwrap();
        let mut checker = Checker::new(&state.head);
        state.rows.values().for_each(|row| checker.row(row));
        state.live.iter().for_each(|(dot, key)| checker.live(*dot, key));
        state.tombstones.iter().for_each(|(dot, key)| checker.tombstone(*dot, key));
        Ok(checker.finish())
    }

    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}

impl PlainSnapshot {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

impl Snapshot for PlainSnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.state.lock().unwrap().rows.get(key).cloned())
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let state = self.state.lock().unwrap();
        let all_to_the_end = self.has(Fault::PrefixWithoutEnd);
        let behind = |key: &Key| match at.after() {
            Some(after) if self.has(Fault::PagesRepeat) => key >= after,
            Some(after) => key > after,
            None => key.as_bytes() >= at.range().as_bytes(),
        };
        let records = state.rows.values().filter(|row| behind(row.key()));
        let records = records.take_while(|row| all_to_the_end || at.range().matches(row.key())).cloned();
        let skipped = usize::from(self.has(Fault::PagesSkip) && at.after().is_some());
        let unbounded = at.clone().with_rows(usize::MAX).with_bytes(usize::MAX);
        let bounds = if self.has(Fault::PagesOverflow) { &unbounded } else { at };
        Ok(Page::fill(bounds, records.skip(skipped), |row| (row.key().clone(), row.byte_len())))
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        let state = self.state.lock().unwrap();
        let late = self.has(Fault::OriginsStartLate);
        let inside = |dot: &Dot| {
            at.range().contains(*dot)
                && at.after().is_none_or(|after| dot.counter > *after)
                && (!late || dot.counter > at.range().first())
        };
        let dots = state.live.iter().filter(|(dot, _)| inside(dot)).map(|(dot, key)| (*dot, key.clone()));
        Ok(Page::fill(at, dots, |(dot, key)| (dot.counter, key.as_bytes().len() + 16)))
    }

    async fn tombstones(&self, at: &Cursor<Tombstones>) -> Result<Page<(Dot, Key), Tombstones>, StoreError> {
        let state = self.state.lock().unwrap();
        let rest = state.tombstones.iter().filter(|(dot, _)| at.after().is_none_or(|after| *dot > after));
        let dots = rest.map(|(dot, key)| (*dot, key.clone()));
        Ok(Page::fill(at, dots, |(dot, key)| (*dot, key.as_bytes().len() + 16)))
    }

    async fn facts(&self, kind: FactKind) -> Result<Vec<Fact>, StoreError> {
        let state = self.state.lock().unwrap();
        Ok(state.facts.values().filter(|fact| fact.kind() == kind).cloned().collect())
    }
}
