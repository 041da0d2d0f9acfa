//! A store on a simulated disk.

mod format;
mod opening;

use core::fmt::{self, Debug};
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use reconvene_clock::{Dot, DotRange};
use reconvene_store::opening::{Lineage, Witness};
use reconvene_store::{
    Batch, Body, Capabilities, Changes, CheckReport, Checker, CommitError, Cursor, Durability, Fact, FactKind, Head,
    Key, Limits, MemorySnapshot, MemoryStore, MetadataStore, Page, PageLimit, Prefix, Record, Revision, Snapshot,
    StoreError, Tombstones, Version, ready,
};

use self::format::{HEADS, LOGS, head_cell, log_cell, log_name, row_cell, row_name};
use super::faults::DiskError;
use super::medium::{Session, SimDisk};

/// A [`MetadataStore`] on a [`SimDisk`]: what it holds in memory is a [`MemoryStore`], and what it acknowledged is on the
/// disk.
///
/// A batch goes to a log, twice, and is acknowledged once that is synced. Every few batches the rows go to cells of
/// their own, then the head, twice, and then the log is cut. Opening takes the newest head and redoes the log behind it
/// as far as it has no gap, so that a crash leaves a prefix of the batches; what is damaged and no crash explains is
/// [`Corrupt`](reconvene_store::OpenError::Corrupt). Every cell ends with its checksum, and every read of a row goes to
/// the disk: a bit that turned over, or an old state of a cell, is found and not served.
///
/// Every future is [`ready`] at its first poll, unless a fault makes the disk slow or the store was
/// [told to queue](Self::queueing).
pub struct SimStore {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    disk: SimDisk,
    session: Session,
    memory: MemoryStore,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lineage: Lineage,
    witness: Witness,
    /// What the cell of each row holds.
    homes: BTreeMap<Key, Arc<[u8]>>,
    /// Rows that are newer in the log.
    dirty: BTreeSet<Key>,
    /// Batches that are in the log and not synced.
    queued: Vec<Queued>,
    numbers: u64,
    /// Why batches of the queue were not applied, until somebody asks.
    refused: BTreeMap<u64, CommitError>,
    /// The revision of the head on the disk.
    checkpointed: Revision,
    queues: bool,
    over: bool,
    defect: Option<Defect>,
    /// A batch whose cells wait for the next one.
    late: Vec<(String, Vec<u8>)>,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    batch: Batch,
    /// What stands after it.
    lineage: Lineage,
}

impl State {
    fn new(lineage: Lineage, witness: Witness, checkpointed: Revision) -> Self {
        Self {
            lineage,
            witness,
            homes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            queued: Vec::new(),
            numbers: 0,
            refused: BTreeMap::new(),
            checkpointed,
            queues: false,
            over: false,
            defect: None,
            late: Vec::new(),
        }
    }
}

/// Something that a [`SimStore`] does wrong, so that whoever tests stores can test his tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// The last of several rows of a batch does not go to the log.
    DropsRow,
    /// The newest batch goes to the log with the next one.
    ForgetsLast,
    /// A commit is acknowledged before it is synced.
    SkipsSync,
    /// There is no log: rows are changed in place, then the head.
    TearsBatches,
    /// A batch that found no room stays in the log.
    KeepsRefused,
    /// The handle goes on after a failed write or sync.
    StaysOpen,
    /// A snapshot shows what is committed later.
    SnapshotsMove,
    /// A snapshot shows the head of batches in flight.
    KnowledgeEarly,
    /// Whoever waits for changes is not woken.
    LosesWakeUps,
    /// An old copy goes on under its name.
    IgnoresWitness,
    /// A copy from a few commits ago does, whose witness is the same.
    IgnoresLastCommit,
    /// Opening a damaged store makes an empty one of it.
    ErasesDamage,
    /// Batches in flight are applied in another order.
    Reorders,
}

/// Batches in the log before the rows go to their cells.
const CHECKPOINT: u64 = 4;

/// A frozen view of a [`SimStore`], whose rows are read from the disk each time.
#[derive(Clone)]
pub struct SimSnapshot {
    shared: Arc<Shared>,
    memory: MemorySnapshot,
    /// A head that should not be shown yet.
    early: Option<Head>,
}

impl SimStore {
    /// Lets a commit wait for one poll between log and sync, so that batches that are handed in meanwhile are synced
    /// together, and a crash finds them in flight.
    pub fn queueing(&self, queues: bool) {
        self.shared.state.lock().queues = queues;
    }

    /// Breaks the store.
    pub fn sabotage(&self, defect: Defect) {
        self.shared.state.lock().defect = Some(defect);
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.shared.disk
    }

    fn new(disk: SimDisk, session: Session, memory: MemoryStore, limits: Limits, state: State) -> Self {
        Self { shared: Arc::new(Shared { disk, session, memory, limits, state: Mutex::new(state) }) }
    }
}

impl State {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

impl Drop for SimStore {
    fn drop(&mut self) {
        self.shared.disk.end(self.shared.session);
    }
}

impl Shared {
    /// The newest head that is in memory.
    fn head(&self) -> Head {
        ready(self.memory.snapshot()).and_then(Result::ok).expect("memory is always there").head().clone()
    }

    /// Writes a batch to the log, and returns its number in the queue.
    fn enqueue(&self, state: &mut State, batch: &Batch) -> Result<u64, CommitError> {
        let lineage = state.queued.last().map_or(state.lineage, |queued| queued.lineage);
        self.enqueue_with(state, batch, lineage.after(batch.head()))
    }

    fn enqueue_with(&self, state: &mut State, batch: &Batch, lineage: Lineage) -> Result<u64, CommitError> {
        if state.over {
            return Err(CommitError::Closed);
        }
        let newest = state.queued.last().map_or_else(|| self.head(), |queued| queued.batch.head().clone());
        let (store, planned_for) = (newest.identity().replica, batch.planned_for());
        if planned_for != store {
            return Err(CommitError::Foreign { planned_for, store });
        }
        if batch.based_on() != newest.revision() {
            // Whoever planned from a snapshot has not seen the queue, and must be able to get past it.
            self.flush(state)?;
            return Err(CommitError::Conflict { head: self.head().revision(), based_on: batch.based_on() });
        }
        for (what, count, limit) in
            [("rows", batch.len(), self.limits.batch_rows), ("bytes", batch.byte_len(), self.limits.batch_bytes)]
        {
            if count > limit {
                return Err(CommitError::Refused { what, count, limit });
            }
        }
        let rows = batch.len().saturating_sub(usize::from(state.has(Defect::DropsRow) && batch.len() > 1));
        let (revision, cell) = (batch.head().revision(), log_cell(batch, rows, &lineage));
        let mut cells: Vec<(String, Vec<u8>)> =
            LOGS.iter().map(|copy| (log_name(copy, revision), cell.clone())).collect();
        if state.has(Defect::ForgetsLast) {
            core::mem::swap(&mut cells, &mut state.late);
        } else if state.has(Defect::TearsBatches) {
            cells.clear();
        }
        for (written, (name, cell)) in cells.iter().enumerate() {
            if let Err(error) = self.disk.write(self.session, name, Some(cell)) {
                let DiskError::Full { .. } = error else { return Err(self.over(state, error)) };
                if written > 0 && !state.has(Defect::KeepsRefused) {
                    // Before anything else: a crash must not bring back what is refused now.
                    self.take_back(state, revision)?;
                    self.disk.sync(self.session).map_err(|error| self.over(state, error))?;
                }
                return Err(CommitError::NoSpace { source: Box::new(error) });
            }
        }
        state.numbers = state.numbers.saturating_add(1);
        state.queued.push(Queued { number: state.numbers, batch: batch.clone(), lineage });
        Ok(state.numbers)
    }

    /// Erases a batch from the log.
    fn take_back(&self, state: &mut State, revision: Revision) -> Result<(), CommitError> {
        for copy in LOGS {
            let erased = self.disk.write(self.session, &log_name(copy, revision), None);
            erased.map_err(|error| self.over(state, error))?;
        }
        Ok(())
    }

    /// Makes everything in the queue durable and shows it.
    fn flush(&self, state: &mut State) -> Result<(), CommitError> {
        if state.over {
            return Err(CommitError::Closed);
        }
        if state.queued.is_empty() {
            return Ok(());
        }
        let mut queued = core::mem::take(&mut state.queued);
        if state.has(Defect::Reorders) {
            queued.reverse();
        }
        for Queued { number, batch, lineage } in queued {
            match ready(self.memory.commit(&batch)) {
                Some(Ok(_)) => {
                    state.dirty.extend(batch.rows().iter().map(|row| row.key().clone()));
                    state.lineage = lineage;
                }
                Some(Err(error)) => {
                    self.take_back(state, batch.head().revision())?;
                    state.refused.insert(number, error);
                }
                None => unreachable!("memory never waits"),
            }
        }
        if !state.has(Defect::SkipsSync) {
            self.disk.sync(self.session).map_err(|error| self.over(state, error))?;
        }
        let head = self.head();
        if !state.witness.covers(&head) {
            let witness = Witness::of(&head, &state.lineage);
            self.write_witness(state, witness)?;
        }
        self.note_last_commit(state, &head)?;
        if head.revision().get().saturating_sub(state.checkpointed.get()) >= CHECKPOINT
            || state.has(Defect::TearsBatches)
        {
            self.checkpoint(state)?;
        }
        Ok(())
    }

    /// Brings rows and head to their own cells, and cuts the log. Without room for that the log goes on.
    fn checkpoint(&self, state: &mut State) -> Result<(), CommitError> {
        match self.try_checkpoint(state) {
            Ok(()) | Err(DiskError::Full { .. }) => Ok(()),
            Err(error) => Err(self.over(state, error)),
        }
    }

    fn try_checkpoint(&self, state: &mut State) -> Result<(), DiskError> {
        let snapshot = ready(self.memory.snapshot()).and_then(Result::ok).expect("memory is always there");
        let revision = snapshot.head().revision();
        for key in &state.dirty {
            let record = ready(snapshot.record(key)).and_then(Result::ok).expect("memory is always there");
            let cell: Option<Arc<[u8]>> = record.map(|record| row_cell(revision, &record).into());
            self.disk.write(self.session, &row_name(key), cell.as_deref())?;
            match cell {
                Some(cell) => drop(state.homes.insert(key.clone(), cell)),
                None => drop(state.homes.remove(key)),
            }
        }
        self.disk.sync(self.session)?;
        let cell = head_cell(snapshot.head(), &state.lineage, &facts_of(&snapshot));
        for name in HEADS {
            // One after the other: a crash tears one of them at most.
            self.disk.write(self.session, name, Some(&cell))?;
            self.disk.sync(self.session)?;
        }
        let mut at = state.checkpointed.get();
        state.checkpointed = revision;
        state.dirty.clear();
        while at < revision.get() {
            at = at.saturating_add(1);
            for copy in LOGS {
                self.disk.write(self.session, &log_name(copy, Revision::new(at)), None)?;
            }
        }
        Ok(())
    }

    /// The handle refuses everything from here on.
    fn over(&self, state: &mut State, error: DiskError) -> CommitError {
        state.over = !state.has(Defect::StaysOpen);
        state.queued.clear();
        CommitError::Unknown { source: Box::new(error) }
    }

    /// Says what became of a batch in the queue, once it has left it.
    fn settle(&self, number: u64, revision: Revision) -> Result<Revision, CommitError> {
        let mut state = self.state.lock();
        if state.queued.iter().any(|queued| queued.number == number) {
            self.flush(&mut state)?;
        } else if state.over {
            return Err(CommitError::Unknown { source: Box::new(DiskError::Over) });
        }
        state.refused.remove(&number).map_or(Ok(revision), Err)
    }

    /// Waits as long as the disk is slow.
    async fn pause(&self) {
        for _ in 0..self.disk.take_polls() {
            yield_once().await;
        }
    }

    /// Whether the handle may be read through.
    fn open(&self) -> Result<(), StoreError> {
        if self.state.lock().over { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Reads the cell of a row, and whether it holds what it should.
    fn touch(&self, key: &Key) -> Result<(), StoreError> {
        let state = self.state.lock();
        let cell =
            self.disk.read(self.session, &row_name(key)).map_err(|error| unreadable("reading a row of", error))?;
        if state.dirty.contains(key) || cell.as_deref() == state.homes.get(key).map(|home| &**home) {
            return Ok(());
        }
        let what = match cell.and_then(|cell| format::read_row(key, &cell).ok()) {
            Some((revision, _)) => format!("the row of {key} is that of revision {revision}"),
            None => format!("the row of {key} does not match its checksum"),
        };
        Err(StoreError::Corrupt { what })
    }
}

fn unreadable(doing: &'static str, error: DiskError) -> StoreError {
    match error {
        DiskError::Over => StoreError::Closed,
        DiskError::Read { .. } | DiskError::Write { .. } | DiskError::Full { .. } | DiskError::InUse => {
            StoreError::Io { doing, source: Box::new(error) }
        }
    }
}

/// Lets others have a turn.
async fn yield_once() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn facts_of(snapshot: &MemorySnapshot) -> Vec<Fact> {
    let of = |kind| ready(snapshot.facts(kind)).and_then(Result::ok).unwrap_or_default();
    [FactKind::Member, FactKind::Ack].into_iter().flat_map(of).collect()
}

impl MetadataStore for SimStore {
    type Snapshot = SimSnapshot;

    fn capabilities(&self) -> Capabilities {
        Capabilities { durability: Durability::Synced, shared: false, limits: self.shared.limits }
    }

    async fn snapshot(&self) -> Result<SimSnapshot, StoreError> {
        let snapshot = {
            let shared = &self.shared;
            let state = shared.state.lock();
            if state.over {
                return Err(StoreError::Closed);
            }
            let head = HEADS.first().copied().unwrap_or_default();
            let cell =
                shared.disk.read(shared.session, head).map_err(|error| unreadable("reading the head of", error))?;
            let found = cell.and_then(|cell| format::revision_at(&cell));
            // A damaged copy of the head does no harm: there is another, and the head is in memory.
            if let Some(found) = found.filter(|found| *found < state.checkpointed) {
                return Err(StoreError::WentBack { seen: state.checkpointed, found });
            }
            let memory = ready(shared.memory.snapshot()).and_then(Result::ok).ok_or(StoreError::Closed)?;
            let early = state.queued.last().filter(|_| state.has(Defect::KnowledgeEarly));
            let early = early.map(|queued| queued.batch.head().clone());
            SimSnapshot { shared: Arc::clone(shared), memory, early }
        };
        self.shared.pause().await;
        Ok(snapshot)
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        let (number, queues) = {
            let mut state = self.shared.state.lock();
            (self.shared.enqueue(&mut state, batch)?, state.queues)
        };
        if queues {
            yield_once().await;
        }
        let answer = self.shared.settle(number, batch.head().revision());
        self.shared.pause().await;
        answer
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.shared.open()?;
        let deaf = self.shared.state.lock().has(Defect::LosesWakeUps);
        let mut changes = Box::pin(self.shared.memory.changes(after, limit));
        let changes = poll_fn(|context| {
            let mut nobody = Context::from_waker(Waker::noop());
            changes.as_mut().poll(if deaf { &mut nobody } else { context })
        });
        let changes = changes.await;
        self.shared.open()?;
        changes
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        let report = {
            self.shared.open()?;
            let memory = ready(self.shared.memory.snapshot()).and_then(Result::ok).ok_or(StoreError::Closed)?;
            let mut checker = Checker::new(memory.head());
            let mut index: Vec<(Dot, Key, bool)> = Vec::new();
            let mut cursor = Cursor::new(Prefix::all());
            loop {
                let page = ready(memory.by_prefix(&cursor)).and_then(Result::ok).ok_or(StoreError::Closed)?;
                for record in &page.items {
                    let entry =
                        |version: &Version| (version.dot, record.key().clone(), version.body == Body::Tombstone);
                    index.extend(record.siblings().iter().map(entry));
                    match self.shared.touch(record.key()) {
                        Ok(()) => checker.row(record),
                        Err(error @ StoreError::Corrupt { .. }) => checker.damaged_row(record.key().clone(), &error),
                        Err(error) => return Err(error),
                    }
                }
                match page.next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            // The index is worked out from the rows at each opening; it is in memory alone.
            for (dot, key, tombstone) in index {
                checker.live(dot, &key);
                if tombstone {
                    checker.tombstone(dot, &key);
                }
            }
            checker.finish()
        };
        self.shared.pause().await;
        Ok(report)
    }

    async fn close(self) -> Result<(), CommitError> {
        {
            let mut state = self.shared.state.lock();
            self.shared.flush(&mut state)?;
            self.shared.checkpoint(&mut state)?;
            self.shared.leave_token(&mut state)?;
        }
        self.shared.pause().await;
        Ok(())
    }
}

impl SimSnapshot {
    fn rows(&self) -> MemorySnapshot {
        let moves = self.shared.state.lock().has(Defect::SnapshotsMove);
        let newest = ready(self.shared.memory.snapshot()).and_then(Result::ok);
        newest.filter(|_| moves).unwrap_or_else(|| self.memory.clone())
    }
}

impl Snapshot for SimSnapshot {
    fn head(&self) -> &Head {
        self.early.as_ref().unwrap_or_else(|| self.memory.head())
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.shared.touch(key)?;
        self.shared.pause().await;
        self.rows().record(key).await
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let page = self.rows().by_prefix(at).await?;
        for record in &page.items {
            self.shared.touch(record.key())?;
        }
        self.shared.pause().await;
        Ok(page)
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        self.shared.open()?;
        self.memory.by_origin(at).await
    }

    async fn tombstones(&self, at: &Cursor<Tombstones>) -> Result<Page<(Dot, Key), Tombstones>, StoreError> {
        self.shared.open()?;
        self.memory.tombstones(at).await
    }

    async fn facts(&self, kind: FactKind) -> Result<Vec<Fact>, StoreError> {
        self.shared.open()?;
        self.memory.facts(kind).await
    }
}

impl Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStore").field("head", &self.shared.head()).finish_non_exhaustive()
    }
}

impl Debug for SimSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSnapshot").field("head", self.head()).finish_non_exhaustive()
    }
}
