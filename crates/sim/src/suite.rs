//! Conformance suites: what every implementation of a trait must do, checked against a model.
//!
//! A suite runs seeded schedules over a small universe, where conflicts are common, and checks after every step. A
//! failure names its seed, and the same seed gives the same schedule.

mod block_on;
mod random;
mod store;

pub use self::store::{Failure, StoreReport, store, store_seed};
