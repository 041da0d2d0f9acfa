//! Performs the outputs of a replica that concern its store.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, DotRange};
use reconvene_store::{CommitError, Cursor, Key, MetadataStore, Record, Snapshot, StoreError, Tombstones};

use crate::{Input, Output, Ticket, ViewId, Want};

/// A store and the frozen views that a [`Replica`](crate::Replica) opened on it.
///
/// Every driver uses it: it answers [`Output::Persist`], [`Output::OpenView`], [`Output::CloseView`] and
/// [`Output::Load`], and hands all others back.
#[derive(Debug)]
pub struct StoreDriver<S: MetadataStore> {
    store: S,
    views: BTreeMap<ViewId, S::Snapshot>,
}

/// What became of an output.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver that forgets one loses inputs or effects")]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub enum Performed {
    /// Performed, and there is nothing to answer.
    Done,
    /// Performed; feed this input.
    Input(Input),
    /// Not about the store: the caller's to perform.
    Other(Output),
}

/// Why a store could not do what a replica needs. The replica is finished: open the store again and a new replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreDriverError {
    /// A batch was not made durable.
    #[error("batch was not committed")]
    Commit(#[source] CommitError),
    /// Records could not be read.
    #[error("records could not be read")]
    Read(#[source] StoreError),
    /// An output named a view that is not open: outputs were not performed in order.
    #[error("view {} is not open", view.0)]
    NoSuchView {
        /// The view.
        view: ViewId,
    },
}

impl<S: MetadataStore> StoreDriver<S> {
    /// A driver of `store` without views.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store, views: BTreeMap::new() }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Gives the store back, and closes all views.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Performs `output` if it concerns the store. Not cancel safe: a persist that was dropped may have happened.
    ///
    /// # Errors
    ///
    /// [`StoreDriverError`]; the replica that gave the output must not be used further.
    pub async fn perform(&mut self, output: Output) -> Result<Performed, StoreDriverError> {
        match output {
            Output::Persist(batch) => {
                self.store.commit(&batch).await.map_err(StoreDriverError::Commit)?;
                Ok(Performed::Done)
            }
            Output::OpenView(view) => {
                let snapshot = self.store.snapshot().await.map_err(StoreDriverError::Read)?;
                self.views.insert(view, snapshot);
                Ok(Performed::Done)
            }
            Output::CloseView(view) => {
                self.views.remove(&view);
                Ok(Performed::Done)
            }
            Output::Load { ticket, view, want } => {
                let read = match view {
                    Some(view) => {
                        let snapshot = self.views.get(&view).ok_or(StoreDriverError::NoSuchView { view })?;
                        read(snapshot, want).await
                    }
                    None => {
                        let snapshot = self.store.snapshot().await.map_err(StoreDriverError::Read)?;
                        read(&snapshot, want).await
                    }
                };
                match read {
                    Ok((records, more)) => Ok(Performed::Input(Input::Loaded { ticket, records, more })),
                    Err(error @ StoreError::Corrupt { .. }) => self.find_damage(ticket, error).await,
                    Err(error) => Err(StoreDriverError::Read(error)),
                }
            }
            other @ (Output::Send { .. }
            | Output::Note { .. }
            | Output::Connect { .. }
            | Output::Disconnect { .. }
            | Output::Written { .. }
            | Output::WriteRefused { .. }
            | Output::BundleReady { .. }
            | Output::BundleTaken { .. }
            | Output::BundleRefused { .. }
            | Output::Notify(_)) => Ok(Performed::Other(other)),
        }
    }
}

impl<S: MetadataStore> StoreDriver<S> {
    /// Finds out which rows cannot be read. If that is not it, the replica is finished.
    async fn find_damage(&self, ticket: Ticket, error: StoreError) -> Result<Performed, StoreDriverError> {
        let revision = self.store.snapshot().await.map_err(StoreDriverError::Read)?.head().revision();
        let report = self.store.check().await.map_err(StoreDriverError::Read)?;
        if report.lost().next().is_none() {
            return Err(StoreDriverError::Read(error));
        }
        Ok(Performed::Input(Input::Damaged { ticket, revision, report: Box::new(report) }))
    }
}

async fn read<S: Snapshot>(snapshot: &S, want: Want) -> Result<(Vec<Record>, bool), StoreError> {
    match want {
        Want::Keys(keys) => Ok((snapshot.records(&keys).await?, false)),
        Want::Dots { ranges, max_records, max_bytes } => read_dots(snapshot, ranges, max_records, max_bytes).await,
        Want::Tombstones { after, max_records } => read_tombstones(snapshot, after, max_records).await,
    }
}

/// The records that hold live tombstones behind `after`, in the order of the least such dot.
async fn read_tombstones<S: Snapshot>(
    snapshot: &S,
    after: Option<Dot>,
    max_records: usize,
) -> Result<(Vec<Record>, bool), StoreError> {
    let mut cursor = Cursor::new(Tombstones).with_rows(max_records);
    if let Some(after) = after {
        cursor = cursor.resume_after(after);
    }
    let page = snapshot.tombstones(&cursor).await?;
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let keys = page.items.into_iter().map(|(_, key)| key);
    let keys: Vec<Key> = keys.filter(|key| seen.insert(key.clone())).collect();
    Ok((snapshot.records(&keys).await?, page.next.is_some()))
}

/// The records that hold live dots of `ranges`, in the order of the least such dot, until a limit is reached.
async fn read_dots<S: Snapshot>(
    snapshot: &S,
    ranges: Vec<DotRange>,
    max_records: usize,
    max_bytes: usize,
) -> Result<(Vec<Record>, bool), StoreError> {
    let mut records = Vec::new();
    let mut bytes = 0_usize;
    // Keys that another dot may lead to as well.
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    for range in ranges {
        let mut cursor = Some(Cursor::new(range).with_rows(max_records.saturating_add(1)));
        while let Some(at) = cursor {
            let page = snapshot.by_origin(&at).await?;
            for (_, key) in page.items {
                if seen.contains(&key) {
                    continue;
                }
                if !records.is_empty() && (records.len() >= max_records || bytes >= max_bytes) {
                    return Ok((records, true));
                }
                if let Some(record) = snapshot.record(&key).await? {
                    bytes = bytes.saturating_add(record.byte_len());
                    if record.siblings().len() > 1 {
                        seen.insert(key);
                    }
                    records.push(record);
                }
            }
            cursor = page.next;
        }
    }
    Ok((records, false))
}
