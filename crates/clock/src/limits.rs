//! How much a stranger may make us hold.

/// Bounds on a clock or context that comes from a wire, a file or a user.
///
/// They do not bound what grows by local calls: knowledge never loses an entry.
///
/// ```
/// use reconvene_clock::Limits;
///
/// let mut small = Limits::default();
/// small.max_entries = 100;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries of one vector. Default 65,536 (1 MiB in memory).
    pub max_entries: usize,
    /// Ranges of one context. Default 16,384.
    pub max_ranges: usize,
    /// Ranges of one replica in one context. Default 1,024.
    pub max_ranges_per_replica: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_entries: 65_536, max_ranges: 16_384, max_ranges_per_replica: 1_024 }
    }
}
