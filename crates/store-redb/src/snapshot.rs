//! Reading one revision.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reconvene_clock::{Dot, DotRange};
use reconvene_store::codec::{decode_dot, encode_dot};
use reconvene_store::{
    Cursor, Fact, FactKind, Head, Key, Page, Prefix, Range, Record, RowCodec, Snapshot, StoreError, Tombstones,
};

use crate::engine::{Tables, Unreadable, reading};
use crate::rows::{fact_kind_of, fact_of, record_of};

/// A frozen view of a [`RedbStore`](crate::RedbStore). Cloning is cheap.
///
/// Reads block the thread while the disk does. The file keeps the pages of a revision while a snapshot of it is held,
/// so that one that is held for long makes the file grow. Once its store was closed or dropped it answers
/// [`Closed`](StoreError::Closed), and after a commit that found the disk full it may answer
/// [`Unavailable`](StoreError::Unavailable): a new snapshot reads on.
#[derive(Clone)]
pub struct RedbSnapshot(Arc<View>);

/// The tables at one revision, and their head.
pub(crate) struct View {
    pub(crate) tables: Tables,
    pub(crate) head: Head,
    pub(crate) codec: RowCodec,
    /// Whether the store is.
    pub(crate) open: Arc<AtomicBool>,
}

impl RedbSnapshot {
    pub(crate) fn of(view: Arc<View>) -> Self {
        Self(view)
    }

    fn read<'a, T>(&'a self, read: impl FnOnce(&'a Tables) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        reading(|| read(&self.0.tables)).map_err(|error| {
            if matches!(error, Unreadable::Closed) && self.0.open.load(Ordering::Acquire) {
                // The store is open, behind another engine.
                StoreError::Unavailable { source: "the disk was full since: take a new snapshot".into() }
            } else {
                error.into_store_error("reading a page of")
            }
        })
    }

    /// Reads a page of `cursor` out of `rows`. A damaged row among them is the answer: none is left out.
    fn page<'a, T, R: Range>(
        &'a self,
        cursor: &Cursor<R>,
        measure: impl Fn(&T) -> (R::Position, usize),
        rows: impl FnOnce(&'a Tables) -> Result<Rows<'a, T>, redb::Error>,
    ) -> Result<Page<T, R>, StoreError> {
        let mut damage = None;
        let page = self.read(|tables| {
            let mut failed = None;
            let rows = rows(tables)?.map_while(|row| match row {
                Ok(Ok(item)) => Some(item),
                Ok(Err(what)) => {
                    damage = Some(what);
                    None
                }
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            let page = Page::fill(cursor, rows, measure);
            failed.map_or(Ok(page), Err)
        })?;
        damage.map_or(Ok(page), Err)
    }
}

/// Rows as they come: the outer error is the engine's, the inner one is damage that only we can see.
type Rows<'a, T> = Box<dyn Iterator<Item = Result<Result<T, StoreError>, redb::Error>> + 'a>;

impl fmt::Debug for RedbSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbSnapshot").field("revision", &self.0.head.revision()).finish_non_exhaustive()
    }
}

impl Snapshot for RedbSnapshot {
    fn head(&self) -> &Head {
        &self.0.head
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let found = self.read(|tables| {
            let row = tables.records.get(key.as_bytes())?;
            Ok(row.map(|row| record_of(&self.0.codec, key, row.value())))
        })?;
        found.transpose()
    }

    async fn by_prefix(&self, at: &Cursor<Prefix>) -> Result<Page<Record, Prefix>, StoreError> {
        let prefix = at.range().as_bytes();
        // The position may lie outside the range, in a cursor that somebody made up.
        let after = at.after().map(Key::as_bytes).filter(|after| *after >= prefix);
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let measure = |record: &Record| (record.key().clone(), record.byte_len());
        let codec = &self.0.codec;
        self.page(at, measure, |tables| {
            let rows = tables.records.range::<&[u8]>((start, Bound::Unbounded))?;
            let prefix = at.range().clone();
            let within = move |key: &[u8]| key.starts_with(prefix.as_bytes());
            let rows = rows.take_while(move |row| row.as_ref().map_or(true, |(key, _)| within(key.value())));
            Ok(Box::new(rows.map(move |row| {
                let (key, row) = row?;
                Ok(key_of(key.value()).and_then(|key| record_of(codec, &key, row.value())))
            })))
        })
    }

    async fn by_origin(&self, at: &Cursor<DotRange>) -> Result<Page<(Dot, Key), DotRange>, StoreError> {
        let range = at.range();
        let first = Dot::new(range.replica(), range.first());
        let after = at.after().map(|after| Dot::new(range.replica(), *after)).filter(|after| *after >= first);
        let last = encode_dot(Dot::new(range.replica(), range.last()));
        let from = || Bound::Included(encode_dot(first));
        let start = after.map_or_else(from, |after| Bound::Excluded(encode_dot(after)));
        let measure = |(dot, key): &(Dot, Key)| (dot.counter, key.as_bytes().len().saturating_add(16));
        self.page(at, measure, |tables| {
            if bounds_cross(start, last) {
                return Ok(Box::new(core::iter::empty()));
            }
            let rows = tables.live.range::<&[u8; 16]>((start.as_ref(), Bound::Included(&last)))?;
            Ok(Box::new(rows.map(|row| {
                let (dot, key) = row?;
                Ok(entry_of(dot.value(), key.value()))
            })))
        })
    }

    async fn tombstones(&self, at: &Cursor<Tombstones>) -> Result<Page<(Dot, Key), Tombstones>, StoreError> {
        let start = at.after().map_or(Bound::Unbounded, |after| Bound::Excluded(encode_dot(*after)));
        let measure = |(dot, key): &(Dot, Key)| (*dot, key.as_bytes().len().saturating_add(16));
        self.page(at, measure, |tables| {
            let rows = tables.tombs.range::<&[u8; 16]>((start.as_ref(), Bound::Unbounded))?;
            Ok(Box::new(rows.map(|row| {
                let (dot, _) = row?;
                let Some(key) = tables.live.get(dot.value())? else {
                    return Ok(Err(corrupt("a tombstone that is not in the live index".to_owned())));
                };
                Ok(entry_of(dot.value(), key.value()))
            })))
        })
    }

    async fn facts(&self, kind: FactKind) -> Result<Vec<Fact>, StoreError> {
        let facts: Vec<Result<Fact, String>> = self.read(|tables| {
            let mut facts = Vec::new();
            for row in tables.facts.range::<&[u8]>(..)? {
                let (name, fact) = row?;
                // A name that does not read may be one of those that were asked for.
                if fact_kind_of(name.value()).is_none_or(|found| found == kind) {
                    facts.push(fact_of(name.value(), fact.value()));
                }
            }
            Ok(facts)
        })?;
        facts.into_iter().map(|fact| fact.map_err(corrupt)).collect()
    }
}

/// Whether a range is empty in a way that the engine does not take.
fn bounds_cross(start: Bound<[u8; 16]>, last: [u8; 16]) -> bool {
    match start {
        Bound::Included(start) => start > last,
        Bound::Excluded(start) => start >= last,
        Bound::Unbounded => false,
    }
}

fn entry_of(dot: &[u8; 16], key: &[u8]) -> Result<(Dot, Key), StoreError> {
    let dot = decode_dot(dot).map_err(|error| corrupt(error.to_string()))?;
    Ok((dot, key_of(key)?))
}

fn key_of(bytes: &[u8]) -> Result<Key, StoreError> {
    Key::new(bytes).map_err(|error| corrupt(format!("a key that is none: {error}")))
}

pub(crate) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}
