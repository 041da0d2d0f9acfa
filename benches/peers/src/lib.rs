//! Other crates measured beside Reconvene's: in one run, on the same inputs, and only after their results were found
//! equal. See `docs/benchmarks.md`.

pub mod clock;
pub mod measure;
pub mod row;
pub mod sync;
