//! The traits that a store's backends implement.

use reconvene_clock::{Dot, DotRange};

use crate::{Batch, CommitError, Cursor, Head, Key, Limits, Page, Prefix, Record, Revision, StoreError};

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

    /// Waits for commits in progress and ends in good order. Dropping the store instead is a crash.
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
}
