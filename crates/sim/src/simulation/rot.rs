//! A store in which rows rot: what was written cannot be read any more, and the store says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reconvene_clock::{Dot, DotRange};
use reconvene_store::{
    Batch, Body, Capabilities, Changes, CheckReport, Checker, CommitError, Cursor, Fact, FactKind, Head, Key,
    MemorySnapshot, MemoryStore, MetadataStore, Page, PageLimit, Prefix, Record, Revision, RowChange, Snapshot,
    StoreError, Tombstones,
};

/// The rows that rotted, each as it was when it did. It is this content that cannot be read, in no view: a row that was
/// written anew can.
type Rotten = Arc<Mutex<BTreeMap<Key, Record>>>;

/// A [`MemoryStore`] some rows of which cannot be read.
#[derive(Debug)]
pub(super) struct RotStore {
    inner: MemoryStore,
    rotten: Rotten,
}

/// A frozen view of a [`RotStore`].
#[derive(Clone, Debug)]
pub(super) struct RotSnapshot {
    inner: MemorySnapshot,
    rotten: Rotten,
}

impl RotStore {
    /// This store, with nothing rotten in it.
    pub(super) fn new(inner: MemoryStore) -> Self {
        Self { inner, rotten: Rotten::default() }
    }

    /// This store in the place of another one, on the same medium: what is rotten there stays so.
    pub(super) fn in_place_of(inner: MemoryStore, before: &Self) -> Self {
        Self { inner, rotten: Arc::clone(&before.rotten) }
    }

    /// The store as it was written, rotten rows included: what nobody in it can see.
    pub(super) fn written(&self) -> &MemoryStore {
        &self.inner
    }

    /// Every row can be read again.
    pub(super) fn heal(&self) {
        self.rotten.lock().clear();
    }

    /// Whether a row with this content can be read.
    pub(super) fn can_read(&self, row: &Record) -> bool {
        readable(&self.rotten, row).is_ok()
    }

    /// This row cannot be read from now on.
    pub(super) fn rot(&self, row: Record) {
        self.rotten.lock().insert(row.key().clone(), row);
    }
}

fn readable(rotten: &Rotten, row: &Record) -> Result<(), StoreError> {
    match rotten.lock().get(row.key()) {
        Some(rotten) if rotten == row => {
            Err(StoreError::Corrupt { what: format!("the row of {} does not match its checksum", row.key()) })
        }
        _ => Ok(()),
    }
}

impl MetadataStore for RotStore {
    type Snapshot = RotSnapshot;

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn snapshot(&self) -> Result<RotSnapshot, StoreError> {
        Ok(RotSnapshot { inner: self.inner.snapshot().await?, rotten: Arc::clone(&self.rotten) })
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let revision = self.inner.commit(batch).await?;
        // The same content in a new place is whole.
        let mut rotten = self.rotten.lock();
        for row in batch.rows().iter().filter_map(RowChange::after) {
            if rotten.get(row.key()) == Some(row) {
                rotten.remove(row.key());
            }
        }
        Ok(revision)
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.inner.changes(after, limit).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        let snapshot = self.inner.snapshot().await?;
        let mut checker = Checker::new(snapshot.head());
        let all = Cursor::new(Prefix::all()).with_rows(usize::MAX).with_bytes(usize::MAX);
        let rows = snapshot.by_prefix(&all).await?.items;
        for row in &rows {
            match readable(&self.rotten, row) {
                Ok(()) => checker.row(row),
                Err(error) => checker.damaged_row(row.key().clone(), &error),
            }
        }
        // The index is elsewhere, and whole.
        for (key, version) in rows.iter().flat_map(|row| row.siblings().iter().map(move |version| (row.key(), version)))
        {
            checker.live(version.dot, key);
            if version.body == Body::Tombstone {
                checker.tombstone(version.dot, key);
            }
        }
        Ok(checker.finish())
    }

    async fn close(self) -> Result<(), CommitError> {
        self.inner.close().await
    }
}

impl Snapshot for RotSnapshot {
    fn head(&self) -> &Head {
        self.inner.head()
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let row = self.inner.record(key).await?;
        row.iter().try_for_each(|row| readable(&self.rotten, row))?;
        Ok(row)
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let page = self.inner.by_prefix(at).await?;
        page.items.iter().try_for_each(|row| readable(&self.rotten, row))?;
        Ok(page)
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        self.inner.by_origin(at).await
    }

    async fn tombstones(&self, at: &Cursor<Tombstones>) -> Result<Page<(Dot, Key), Tombstones>, StoreError> {
        self.inner.tombstones(at).await
    }

    async fn facts(&self, kind: FactKind) -> Result<Vec<Fact>, StoreError> {
        self.inner.facts(kind).await
    }
}
