//! Commands and options.

mod seeds;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Networks in virtual time, under faults drawn from one number.
#[derive(Debug, Parser)]
#[command(name = "reconvene-sim", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seeds: seeds::Seeds,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Runs what was asked for.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        None => seeds::run(&args.seeds),
        Some(command) => match *command {},
    }
}

/// Why a command could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The figures could not be written.
    #[error("cannot write figures to {path}: {source}")]
    Write {
        /// Where they should have gone.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The figures do not encode.
    #[error("figures do not encode: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Writes figures as JSON to a file, or to standard output for `-`.
pub(crate) fn write_json(path: &str, figures: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(figures)?;
    if path == "-" {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(path, text + "\n").map_err(|source| Failure::Write { path: path.to_owned(), source })
}
