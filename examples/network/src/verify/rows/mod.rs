//! The rows, by what they are about.

use super::row::{Missing, Row};

mod execution;
mod metadata;
mod partitions;
mod results;
mod storms;
mod strategies;

/// Every row, in the order in which it is shown.
pub(super) fn all() -> Vec<Row> {
    [execution::ROWS, strategies::ROWS, results::ROWS, metadata::ROWS, partitions::ROWS, storms::ROWS].concat()
}

/// What has no row here, and why.
pub(super) const MISSING: &[Missing] = &[
    Missing { id: "BB12", what: "explanations: there is no `reconvene explain` yet; statistics are shown" },
    Missing { id: "SC1", what: "`Stable` after one more exchange" },
    Missing { id: "SC6", what: "emergency across brokers: held in the simulator, no row on real processes yet" },
];
