//! The rows, by what they are about.

use super::row::{Missing, Row};

mod execution;
mod metadata;
mod partitions;
mod results;

/// Every row, in the order in which it is shown.
pub(super) fn all() -> Vec<Row> {
    [execution::ROWS, results::ROWS, metadata::ROWS, partitions::ROWS].concat()
}

/// What has no row here, and why.
pub(super) const MISSING: &[Missing] = &[];
