//! Tests of the redb backend.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests index and add freely, and fail by panicking"
)]

mod conformance;
mod disk;
mod files;
mod flips;
mod golden;
mod newer;
mod world;
