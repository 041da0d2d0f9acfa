//! The driver, with links that exist in memory and brokers that the tests play.
#![cfg(feature = "driver")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely and fail by panicking"
)]

mod driver;
mod network;
