//! What a plan comes to: the changes that a store makes at once.

use reconvene_clock::Dot;

use crate::{Head, Key, Record, Revision, Version};

/// One row as it is after a batch, and how its live versions changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub(crate) key: Key,
    pub(crate) after: Option<Record>,
    pub(crate) added: Vec<Dot>,
    pub(crate) removed: Vec<Dot>,
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

    /// The dots that became live, ascending.
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
    },
    /// The dot is no longer live.
    Remove {
        /// The dot.
        dot: Dot,
    },
}

/// The changes that a [`Plan`](crate::Plan) comes to. A store applies all of them or none.
///
/// The same head, rows and calls give equal batches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a batch that is not committed is a lost change"]
pub struct Batch {
    pub(crate) based_on: Revision,
    pub(crate) rows: Vec<RowChange>,
    pub(crate) head: Head,
    pub(crate) byte_len: usize,
}

impl Batch {
    /// The revision that it was planned from: the only one it may be applied to.
    #[must_use]
    pub fn based_on(&self) -> Revision {
        self.based_on
    }

    /// The changed rows, ascending by key.
    #[must_use]
    pub fn rows(&self) -> &[RowChange] {
        &self.rows
    }

    /// The changes of the live index. Each dot is in at most one.
    pub fn index(&self) -> impl Iterator<Item = IndexChange<'_>> {
        self.rows.iter().flat_map(|row| {
            let removed = row.removed.iter().map(|dot| IndexChange::Remove { dot: *dot });
            removed.chain(row.added.iter().map(|dot| IndexChange::Insert { dot: *dot, key: &row.key }))
        })
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

    /// Whether no row changes. The head may change still: knowledge grows without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes of the changed rows.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }
}
