//! What a plan comes to: the changes that a store makes at once.

use reconvene_clock::{Dot, ReplicaId};
use smallvec::SmallVec;

use crate::version::is_tombstone;
use crate::{Fact, Fingerprint, Head, Key, PrintId, Record, Revision, Version};

/// Dots of one row, of which few change at once.
pub(crate) type Dots = SmallVec<[Dot; 1]>;

/// One row as it is after a batch, and how its live versions changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub(crate) key: Key,
    pub(crate) after: Option<Record>,
    pub(crate) added: Dots,
    pub(crate) removed: Dots,
    /// Those of `removed` that may be tombstones.
    pub(crate) removed_tombstones: Dots,
    /// The bytes of the record before, if there was one that could be read.
    pub(crate) before_len: Option<usize>,
}

impl RowChange {
    /// The key of the row.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The whole record after the batch, or `None` if the row is removed.
    #[must_use]
    pub fn after(&self) -> Option<&Record> {
        self.after.as_ref()
    }

    /// The dots that became live, ascending. One whose content changed, because a second one was found, is here and in
    /// [`removed`](Self::removed).
    #[must_use]
    pub fn added(&self) -> &[Dot] {
        &self.added
    }

    /// The dots that are no longer live, ascending.
    #[must_use]
    pub fn removed(&self) -> &[Dot] {
        &self.removed
    }
}

/// One change of the live index, which finds the key of a live dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every backend performs every change")]
pub enum IndexChange<'a> {
    /// The dot is live under the key.
    Insert {
        /// The dot.
        dot: Dot,
        /// Where it is live.
        key: &'a Key,
        /// Whether it is a tombstone, which is then also listed among the [`Tombstones`](crate::Tombstones).
        tombstone: bool,
    },
    /// The dot is no longer live.
    Remove {
        /// The dot.
        dot: Dot,
        /// Whether it may be listed among the [`Tombstones`](crate::Tombstones).
        tombstone: bool,
    },
}

/// The changes that a [`Plan`](crate::Plan) comes to. A store applies all of them or none.
///
/// The same head, rows and calls give equal batches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a batch that is not committed is a lost change"]
pub struct Batch {
    pub(crate) based_on: Revision,
    pub(crate) planned_for: ReplicaId,
    pub(crate) rows: Vec<RowChange>,
    pub(crate) prints: Vec<(PrintId, Fingerprint)>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) head: Head,
    pub(crate) byte_len: usize,
    pub(crate) idle: bool,
}

impl Batch {
    /// The revision that it was planned from: the only one it may be applied to.
    #[must_use]
    pub fn based_on(&self) -> Revision {
        self.based_on
    }

    /// The replica of the head that it was planned from: that of the only store it may be applied to. The
    /// [`head`](Self::head) after it names another one if the batch renews the store's identity.
    #[must_use]
    pub fn planned_for(&self) -> ReplicaId {
        self.planned_for
    }

    /// The changed rows, ascending by key.
    #[must_use]
    pub fn rows(&self) -> &[RowChange] {
        &self.rows
    }

    /// The changes of the live index, to be made in this order: a dot may be removed and inserted.
    pub fn index(&self) -> impl Iterator<Item = IndexChange<'_>> {
        self.rows.iter().flat_map(|row| {
            let was_tombstone = |dot: &Dot| row.removed_tombstones.contains(dot);
            let removed = row.removed.iter().map(move |dot| (*dot, was_tombstone(dot)));
            let removed = removed.map(|(dot, tombstone)| IndexChange::Remove { dot, tombstone });
            let is_tombstone = |dot| row.after.as_ref().and_then(|after| after.version(dot)).is_some_and(is_tombstone);
            let added = row.added.iter().map(move |dot| (*dot, is_tombstone(*dot)));
            removed.chain(added.map(|(dot, tombstone)| IndexChange::Insert { dot, key: &row.key, tombstone }))
        })
    }

    /// The fingerprints that changed, beside the root, as they are after the batch, ascending. One that is
    /// [`EMPTY`](Fingerprint::EMPTY) is removed.
    #[must_use]
    pub fn prints(&self) -> &[(PrintId, Fingerprint)] {
        &self.prints
    }

    /// Facts to be joined with those of the same kind and replica, by [`Fact::merge`]; ascending by kind and replica.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The versions that became live, by key and dot. One that was written and replaced within the batch is not there.
    pub fn versions(&self) -> impl Iterator<Item = (&Key, &Version)> {
        self.rows.iter().flat_map(|row| {
            let version = |dot: &Dot| Some((&row.key, row.after.as_ref()?.version(*dot)?));
            row.added.iter().filter_map(version)
        })
    }

    /// The head after the batch.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The number of changed rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row changes. Head and facts may change still: knowledge grows without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it changes nothing at all but the revision, so that it need not be committed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// The bytes of the changed rows.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }
}
