//! Conformance suites: what every implementation of a trait must do, checked against a model.
//!
//! A suite runs seeded schedules over a small universe, where conflicts are common, and checks after every step. A
//! failure names the property that does not hold, and its seed; the same seed gives the same schedule.
//!
//! [`store()`] is the suite for stores. It asks whoever brings one for a [`StoreFactory`].

mod block_on;
mod check;
mod factory;
mod random;
mod report;
mod sim;
mod store;

pub use self::block_on::block_on;
pub use self::check::Check;
pub use self::factory::{Abilities, Setup, StoreFactory, Transfer};
pub use self::report::{Failure, Outcome, Report};
pub use self::sim::SimStores;
pub use self::store::{Group, StoreSuite, store};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/store-suite.md")]
struct Guide;
