//! The store through its public interface: the conformance suite, laws of the planner, and bugs that stay fixed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely, and fail by panicking"
)]

mod codec;
mod conformance;
mod feed;
mod golden;
mod laws;
mod limits;
mod opening;
mod plain;
mod regress;
mod repair;
mod view;
mod world;
