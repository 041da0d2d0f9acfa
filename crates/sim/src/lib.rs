//! Simulated networks, fault plans and conformance suites for the Reconvene crates.

pub mod disk;
pub mod jobs;
pub mod replicas;
pub mod simulation;
pub mod suite;
pub mod swf;
pub mod world;

pub use self::simulation::{FaultPlan, Options, Plan, Report, Sim};
