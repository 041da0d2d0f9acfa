//! The rows, by what they are about.

use super::row::Row;

mod emergencies;
mod execution;
mod metadata;
mod partitions;
mod results;
mod storms;
mod strategies;

/// Every row, in the order in which it is shown.
pub(super) fn all() -> Vec<Row> {
    let rows = [
        execution::ROWS,
        strategies::ROWS,
        results::ROWS,
        metadata::ROWS,
        partitions::ROWS,
        emergencies::ROWS,
        storms::ROWS,
    ];
    rows.concat()
}
