//! The traits that a store's backends implement.

use reconvene_clock::{Dot, DotRange};

use crate::{
    Batch, Changes, CheckReport, CommitError, Cursor, Fact, FactKind, Head, Key, Limits, Page, PageLimit, Prefix,
    Record, Revision, StoreError, Tombstones, Usage,
};

/// What survives, once [`MetadataStore::commit`] has returned `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: the store ends with its process.
    None,
    /// What the engine behind the store promises, which cannot be checked from here.
    Engine,
    /// The batch is on the medium: it survives a power cut.
    Synced,
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built by every backend")]
pub struct Capabilities {
    /// What survives a commit.
    pub durability: Durability,
    /// Whether several processes may write to it.
    pub shared: bool,
    /// What it takes. Plan within these.
    pub limits: Limits,
}

/// Keeps the records, the live index and the head of one replica.
///
/// Methods are futures without a runtime: they spawn nothing, and a backend that blocks says so. The conformance suite
/// in `reconvene-sim` checks an implementation.
pub trait MetadataStore: Send + Sync + 'static {
    /// A frozen view.
    type Snapshot: Snapshot;

    /// Durability level, whether several processes can share it, row and batch limits.
    fn capabilities(&self) -> Capabilities;

    /// A frozen view of the newest revision. Cheap, and never waits for a commit in progress. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot, StoreError>> + Send;

    /// Applies all of `batch` or none of it, for every later snapshot and after every crash. Durable at the level of
    /// [`capabilities`](Self::capabilities) once it returns `Ok`.
    ///
    /// Dropping the future never tears a batch, but leaves open whether it was applied; a new snapshot tells.
    ///
    /// # Errors
    ///
    /// [`Conflict`](CommitError::Conflict) if the store's revision is not the one that the batch is based on: plan
    /// again. [`Foreign`](CommitError::Foreign) if it was planned for another store. [`Refused`](CommitError::Refused)
    /// and [`Full`](CommitError::Full) where a limit is exceeded. None of these changes anything. After
    /// [`Unknown`](CommitError::Unknown) the store must be opened again.
    fn commit(&self, batch: &Batch) -> impl Future<Output = Result<Revision, CommitError>> + Send;

    /// Waits until something is newer than `after`, and says which keys changed since: each once, in the order of their
    /// last changes. A slow reader misses states in between, and never the last one. Cancel safe: nothing is consumed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read, or was closed.
    fn changes(&self, after: Revision, limit: PageLimit) -> impl Future<Output = Result<Changes, StoreError>> + Send;

    /// Reads everything and verifies it: checksums, the index against the rows, the fingerprints against the versions.
    /// Changes nothing. Cancel safe. What is damaged is in the report, not an error.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read at all.
    fn check(&self) -> impl Future<Output = Result<CheckReport, StoreError>> + Send;

    /// Waits for commits in progress and ends in good order, with the token that says so. Dropping the store instead is
    /// a crash.
    ///
    /// # Errors
    ///
    /// [`CommitError::Unknown`] if a commit in progress may not have been applied.
    fn close(self) -> impl Future<Output = Result<(), CommitError>> + Send
    where
        Self: Sized;
}

/// A frozen view of a store: every method reads the same revision, and is cancel safe.
pub trait Snapshot: Send + Sync + 'static {
    /// The head at this revision.
    fn head(&self) -> &Head;

    /// The record of `key`, or `None` if it has no live version.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn record(&self, key: &Key) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// The records of `keys`, in their order, without those of keys that have no live version. The same as asking for one
    /// after the other; faster where a store can look for many side by side.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn records(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send {
        async move {
            let mut records = Vec::with_capacity(keys.len());
            for key in keys {
                records.extend(self.record(key).await?);
            }
            Ok(records)
        }
    }

    /// The records whose keys begin with a prefix, ascending by key, a page at a time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn by_prefix(&self, at: &Cursor<Prefix>) -> impl Future<Output = Result<Page<Record, Prefix>, StoreError>> + Send;

    /// The live dots of a range with their keys, tombstones included, ascending by dot, a page at a time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn by_origin(
        &self,
        at: &Cursor<DotRange>,
    ) -> impl Future<Output = Result<Page<(Dot, Key), DotRange>, StoreError>> + Send;

    /// Every live tombstone with its key, ascending by dot, a page at a time: what may one day be collected.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn tombstones(
        &self,
        at: &Cursor<Tombstones>,
    ) -> impl Future<Output = Result<Page<(Dot, Key), Tombstones>, StoreError>> + Send;

    /// The facts of this kind, ascending by replica.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    fn facts(&self, kind: FactKind) -> impl Future<Output = Result<Vec<Fact>, StoreError>> + Send;
}

/// What `snapshot` holds under `prefix`, for [`Plan::set_quota`](crate::Plan::set_quota). Reads all of it.
///
/// # Errors
///
/// [`StoreError`] if the store cannot be read.
pub async fn count_usage<S: Snapshot>(snapshot: &S, prefix: Prefix) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    let mut cursor = Some(Cursor::new(prefix));
    while let Some(at) = cursor {
        let page = snapshot.by_prefix(&at).await?;
        page.items.iter().for_each(|record| usage.add(record));
        cursor = page.next;
    }
    Ok(usage)
}
