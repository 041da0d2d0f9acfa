//! Integration tests of the test kit: what it checks holds, and what it should find it finds.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod corpus;
mod emergency;
mod jobs;
mod replicas;
mod scale;
mod scenarios;
mod simulation;
mod stores;

/// The number in an environment variable. `RECONVENE_SIM_SEEDS` asks for another number of runs, `RECONVENE_SIM_FROM`
/// for other seeds: a seed that failed is run again by its number and one run.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
