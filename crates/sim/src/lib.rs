//! Simulated networks, fault plans and conformance suites for the Reconvene crates.

pub mod replicas;
pub mod suite;
pub mod world;
