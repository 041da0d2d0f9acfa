//! Measures Reconvene on inputs that anyone can bring, and prints figures beside their goals.
//!
//! ```sh
//! cargo run --release -p reconvene-benches -- resolve --traces FOLDER --packing FOLDER --json FILE
//! cargo run --release -p reconvene-benches -- broker --jobs 1000000 --json FILE
//! ```
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for the terminal that measures time and computes statistics"
)]

mod resolve;
mod throughput;

use clap::{Parser, Subcommand};
use reconvene_benches::numbers;
use reconvene_sim::swf;

#[derive(Parser)]
#[command(about = "Measures Reconvene on inputs that anyone can bring")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Strategies on real workloads: waiting times, packing, ranking, placement
    Resolve(resolve::Options),
    /// Jobs a second in one broker, in memory and with redb, beside their commits alone
    Broker(throughput::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Resolve(options) => resolve::run(&options),
        Command::Broker(options) => throughput::run(&options),
    }
}
