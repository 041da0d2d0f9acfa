//! Simulated networks, fault plans and conformance suites for the Reconvene crates.
//!
//! What each part is for:
//!
//! - [`simulation`]: replicas and their stores under every fault, in virtual time, with an oracle; [`Sim`] is its entry;
//! - [`jobs`]: brokers, executors and clients under faults, with an oracle of their own, in a [`world`];
//! - [`replicas`]: a smaller run of replicas, for tests that steer it themselves;
//! - [`proxy`]: a UDP proxy between real processes that cuts, delays and loses;
//! - [`disk`] and [`suite`]: a disk that fails as told, and what every store must pass.
//!
//! The program `reconvene-sim` runs them by number: `cargo run --release -p reconvene-sim -- --help`.
//! Not a dependency for anything but tests and demonstrations.

pub mod disk;
pub mod jobs;
pub mod proxy;
pub mod replicas;
pub mod simulation;
pub mod suite;
pub mod swf;
pub mod world;

pub use self::simulation::{FaultPlan, Options, Plan, Report, Sim};
