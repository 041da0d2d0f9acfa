//! The process that is killed.

use core::pin::Pin;
use core::task::{Context, Waker};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use reconvene_clock::{Hlc, NodeId};
use reconvene_sim::suite::block_on;
use reconvene_store::{
    Body, Class, CommitError, Head, Key, Limits, LocalWrite, MetadataStore as _, NetworkId, OpenError, Plan, PlanError,
    Record, Replaces, Revision, Snapshot as _,
};
use reconvene_store_redb::{RedbStore, Settings};

use super::groups::{self, GROUPS, Group};
use super::{Draw, Failure};

/// A batch on its way into the store.
type Commit<'a> = Pin<Box<dyn Future<Output = Result<Revision, CommitError>> + 'a>>;

/// Writes to a store until it is killed.
#[derive(Args, Debug)]
pub(in super::super) struct Writer {
    /// Where the store is, or will be.
    #[arg(long)]
    dir: PathBuf,
    /// Draws what is written.
    #[arg(long)]
    seed: u64,
}

/// Opens the store in `dir`, which is created where there is none.
pub(super) fn open(dir: &Path) -> Result<RedbStore, OpenError> {
    let path = dir.join("kills.redb");
    let settings = Settings::new(NetworkId::of_name("kills"), NodeId::new([1; 16]));
    match RedbStore::open(&path, &settings) {
        Err(OpenError::Missing { .. }) => RedbStore::create(&path, &settings),
        opened => opened,
    }
}

/// Writes groups, up to eight batches at a time, and says what is durable.
pub(in super::super) fn write(args: &Writer) -> Result<ExitCode, Failure> {
    let failed = |source: Box<dyn core::error::Error + Send + Sync>| Failure::Store { source };
    let store = open(&args.dir).map_err(|error| failed(error.into()))?;
    let mut draw = Draw(args.seed);
    let snapshot = block_on(store.snapshot()).map_err(|error| failed(error.into()))?;
    let mut book = Book { head: snapshot.head().clone(), rows: BTreeMap::new(), number: 0 };
    for group in (0..GROUPS).map(Group) {
        for key in group.keys() {
            if let Some(record) = block_on(snapshot.record(&key)).map_err(|error| failed(error.into()))? {
                book.rows.insert(key, record);
            }
        }
        let numbers = block_on(groups::read(&snapshot, group)).map_err(|error| failed(error.into()))?;
        book.number = numbers.into_iter().flatten().max().unwrap_or_default().max(book.number);
    }
    drop(snapshot);
    say("ready");
    loop {
        let (mut batches, mut groups) = (Vec::new(), Vec::new());
        for _ in 0..=draw.below(8) {
            let group = Group(u16::try_from(draw.below(GROUPS.into())).unwrap_or_default());
            batches.push(book.plan(group).map_err(|error| failed(error.into()))?);
            groups.push(groups::say(group, book.number));
        }
        let mut commits: Vec<Commit<'_>> = Vec::new();
        for batch in &batches {
            let mut commit: Pin<Box<dyn Future<Output = _>>> = Box::pin(store.commit(batch));
            // Polled once, so that all are under way before the first is waited for.
            match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                core::task::Poll::Pending => commits.push(commit),
                core::task::Poll::Ready(done) => commits.push(Box::pin(core::future::ready(done))),
            }
        }
        for (commit, said) in commits.into_iter().zip(groups) {
            block_on(commit).map_err(|error| failed(error.into()))?;
            say(&said);
        }
    }
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody listens any more once the parent is gone.
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}

/// The newest state that was planned.
struct Book {
    head: Head,
    rows: BTreeMap<Key, Record>,
    number: u64,
}

impl Book {
    /// The batch that writes the next number to all keys of `group`.
    fn plan(&mut self, group: Group) -> Result<reconvene_store::Batch, PlanError> {
        self.number = self.number.saturating_add(1);
        let found: Vec<Record> = group.keys().filter_map(|key| self.rows.get(&key).cloned()).collect();
        let mut plan = Plan::new(self.head.clone(), group.keys(), found, &Limits::default());
        for key in group.keys() {
            plan.write(LocalWrite {
                key,
                class: Class::NORMAL,
                body: Body::of(groups::value(self.number)),
                hlc: Hlc::from_u64(self.number),
                replaces: Replaces::AllLive,
            })?;
        }
        let batch = plan.finish();
        self.head = batch.head().clone();
        for row in batch.rows() {
            if let Some(after) = row.after() {
                self.rows.insert(row.key().clone(), after.clone());
            }
        }
        Ok(batch)
    }
}
