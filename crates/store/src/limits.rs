//! How much a store takes.

/// Bounds on rows, batches and the whole store.
///
/// Those on values, siblings and contexts bind local writes alone: a version that was accepted anywhere is never refused
/// elsewhere for them, since replicas would differ.
///
/// ```
/// use reconvene_store::Limits;
///
/// let mut small = Limits::default();
/// small.store_rows = 100;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one value of a local write. Default 1 MiB.
    pub value_bytes: usize,
    /// Siblings that a local write may leave on a key, itself included. Default 64.
    pub siblings: usize,
    /// Exact dots in the context of a local write. Default 1,024.
    pub context_dots: usize,
    /// Bytes of one row. A local write beyond is refused; a replicated version is put aside, and neither it nor what it
    /// replaced is taken for known. Default 4 MiB.
    pub row_bytes: usize,
    /// Bytes of the rows that one batch changes; at least `row_bytes`. Default 8 MiB.
    pub batch_bytes: usize,
    /// Rows that one batch changes. Default 16,384.
    pub batch_rows: usize,
    /// Versions put aside at a time. Default 1,024.
    pub put_aside: usize,
    /// Bytes of all rows of an in-memory store. Default 1 GiB.
    pub store_bytes: usize,
    /// Rows of an in-memory store. Default 4,194,304.
    pub store_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_bytes: 1 << 20,
            siblings: 64,
            context_dots: 1_024,
            row_bytes: 4 << 20,
            batch_bytes: 8 << 20,
            batch_rows: 16_384,
            put_aside: 1_024,
            store_bytes: 1 << 30,
            store_rows: 4 << 20,
        }
    }
}
