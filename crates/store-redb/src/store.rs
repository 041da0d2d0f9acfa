//! The store.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::RwLock;
use reconvene_store::opening::Continuity;
use reconvene_store::{
    Batch, Capabilities, ChangeFeed, Changes, CheckReport, CommitError, Durability, Limits, MetadataStore, PageLimit,
    Revision, RowCodec, StoreError,
};

use crate::oneshot::oneshot;
use crate::queue::Queue;
use crate::rows::changes_of;
use crate::snapshot::{RedbSnapshot, View};
use crate::worker::{Job, Request, Shared, Worker};

/// Keeps records in one file, durably.
///
/// [`create`](Self::create) makes the file, [`open`](Self::open) opens it; neither does the other's work, so that a
/// lost file is never taken for an empty store. Both block, and so do reads, while the disk does. Commits wait for a
/// thread of the store's own, which joins the batches that wait into one transaction; the futures need no runtime.
///
/// Dropping the store is a crash: what was acknowledged is there, and the next opening repairs the file.
/// [`close`](MetadataStore::close) ends it in good order. Both wait for the commit in progress.
pub struct RedbStore {
    shared: Arc<Shared>,
    continuity: Continuity,
    /// `None` once it was joined.
    thread: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Starts the thread that writes.
    pub(crate) fn start(
        view: View,
        limits: Limits,
        codec: RowCodec,
        continuity: Continuity,
        worker: impl FnOnce(Arc<Shared>) -> Worker,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            open: Arc::clone(&view.open),
            feed: ChangeFeed::new(view.head.revision(), ChangeFeed::DEFAULT_KEYS),
            view: RwLock::new(Some(Arc::new(view))),
            queue: Queue::new(),
            limits,
            codec,
        });
        let worker = worker(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("reconvene-store".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, continuity, thread: Some(thread) })
    }

    /// Whether the store went on as the same incarnation when it was opened, and why not.
    #[must_use]
    pub fn continuity(&self) -> Continuity {
        self.continuity
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.shared.view.read().as_ref().map(|view| view.head.revision());
        f.debug_struct("RedbStore").field("revision", &revision).finish_non_exhaustive()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.shared.queue.shut();
        if let Some(thread) = self.thread.take() {
            // It ends by itself once the queue is empty. What it panicked of, if so, was printed.
            let _ = thread.join();
        }
    }
}

impl MetadataStore for RedbStore {
    type Snapshot = RedbSnapshot;

    fn capabilities(&self) -> Capabilities {
        Capabilities { durability: Durability::Synced, shared: false, limits: self.shared.limits }
    }

    async fn snapshot(&self) -> Result<RedbSnapshot, StoreError> {
        let view = self.shared.view.read().clone();
        view.map(RedbSnapshot::of).ok_or(StoreError::Closed)
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let limits = &self.shared.limits;
        for (what, count, limit) in
            [("rows", batch.len(), limits.batch_rows), ("bytes", batch.byte_len(), limits.batch_bytes)]
        {
            if count > limit {
                return Err(CommitError::Refused { what, count, limit });
            }
        }
        let (reply, answer) = oneshot();
        let changes =
            changes_of(batch, &self.shared.codec).map_err(|error| CommitError::Seal { source: error.into() })?;
        let job = Job { batch: batch.clone(), changes, reply };
        self.shared.queue.push(Request::Commit(Box::new(job))).map_err(|_| CommitError::Closed)?;
        answer.await.unwrap_or_else(|| Err(CommitError::Unknown { source: "the thread that writes has ended".into() }))
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.shared.feed.changes(after, limit).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        let (reply, answer) = oneshot();
        self.shared.queue.push(Request::Check(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn close(self) -> Result<(), CommitError> {
        let (reply, answer) = oneshot();
        self.shared.queue.push(Request::Close(reply)).map_err(|_| CommitError::Closed)?;
        answer.await.unwrap_or_else(|| Err(CommitError::Unknown { source: "the thread that writes has ended".into() }))
    }
}
