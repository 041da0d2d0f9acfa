//! Real sockets on loopback: what peers see of each other, and what strangers do not.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests index and add freely"
)]

mod authority;
mod cuts;
mod hostile;
mod kit;
mod links;
