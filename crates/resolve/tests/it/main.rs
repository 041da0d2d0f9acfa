//! Worked examples and laws of the five strategies.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests index, add and unwrap freely"
)]

mod ageing;
mod chains;
mod decisions;
mod draws;
mod examples;
mod head_room;
mod kit;
mod laws;
mod offenders;
mod packing;
mod policies;
mod shown;
