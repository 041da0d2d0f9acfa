//! Bounds on parts of a store, and what is kept of versions that have no place in it.

use crate::{Key, KeyContext, Record};

/// The SHA-256 of a version's key and canonical form.
pub type ContentHash = [u8; 32];

/// A version that arrived and was not stored, because its row would be larger than any may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PutAside {
    /// The key it was written to.
    pub key: Key,
    /// Names its content.
    pub hash: ContentHash,
    /// The bytes that the row would have had.
    pub bytes: u64,
    /// What it replaced, or a shorter context that names more.
    pub context: KeyContext,
}

/// How much a part of a store may hold by local writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct Quota {
    /// Rows.
    pub rows: u64,
    /// Bytes of rows, as [`Record::byte_len`] counts them.
    pub bytes: u64,
}

/// How much a part of a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "counted by the caller, complete")]
pub struct Usage {
    /// Rows.
    pub rows: u64,
    /// Bytes of rows, as [`Record::byte_len`] counts them.
    pub bytes: u64,
}

impl Usage {
    /// Counts one more row.
    pub fn add(&mut self, record: &Record) {
        self.grow(1, record.byte_len());
    }

    pub(crate) fn grow(&mut self, rows: u64, bytes: usize) {
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn shrink(&mut self, rows: u64, bytes: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// The quota of a part of a store, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Allowance {
    /// How much local writes may bring it to.
    pub quota: Quota,
    /// How much it holds. Replicated versions may take it above the quota.
    pub usage: Usage,
}
