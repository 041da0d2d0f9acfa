//! The ten scenarios of the design on whole brokers and executors: their exchange, their links, their heartbeats and their
//! results are the real ones, at the pace that they have by default. Times are the scenario's own, in seconds.
//!
//! A build with `--cfg reconvene_sabotage` breaks the rule whose number is in `RECONVENE_SABOTAGE`, to see who finds out.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely, and look for one event among many"
)]

mod brokers;
mod executors;
mod network;
mod policies;
mod storm;
