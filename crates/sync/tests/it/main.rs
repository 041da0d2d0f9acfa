//! Replicas among each other: the rules of sessions and schedule, and the traps that others fell into.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely, and fail by panicking"
)]

mod bundles;
mod deletes;
mod identity;
mod kit;
mod laws;
mod notes;
mod parts;
mod peers;
mod repairs;
mod schedule;
mod sessions;
mod traps;
