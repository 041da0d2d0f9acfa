//! The `reconvene` program: a network of brokers and executors that go on working while it is cut, and afterwards all
//! name the same result for every job.
//!
//! Data goes to standard output and everything else to standard error. The exit status is 0 for success, 1 for failure,
//! 2 for wrong usage and 130 after a second Ctrl-C.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "tests index and add freely"
    )
)]

use std::process::ExitCode;

use clap::Parser as _;

mod carry;
mod cli;
mod client;
mod commands;
mod config;
mod data;
mod demo;
mod duration;
mod exit;
mod keys;
mod plan;
mod run_log;
mod service;
mod show;
mod show_explanation;
mod signals;
mod verify;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = cli.common.start_logging().and_then(|()| cli.command.run(&cli.common));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
