//! Commands and options.

mod kills;
mod lcg;
mod replay;
mod sabotage;
mod scale;
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
    /// Break one rule on purpose, or each of them in turn, and say after how many seeds it is found out. Builds the
    /// program again, with what only that build can do.
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "all")]
    sabotage: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed, or the plan in a file, again.
    Replay(replay::Replay),
    Kills(kills::Kills),
    Lcg(lcg::Lcg),
    Scale(scale::Scale),
    /// The process that `kills` kills.
    #[command(hide = true)]
    KillsWriter(kills::Writer),
}

/// Runs what was asked for.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        None => match &args.sabotage {
            Some(id) => sabotage::run(id, &args.seeds),
            None => seeds::run(&args.seeds),
        },
        Some(Command::Replay(args)) => replay::run(args),
        Some(Command::Kills(args)) => kills::run(args),
        Some(Command::Lcg(args)) => lcg::run(args),
        Some(Command::Scale(args)) => scale::run(args),
        Some(Command::KillsWriter(args)) => kills::write(args),
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
    /// A process could not be run.
    #[error("{doing} failed: {source}")]
    Process {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A store failed.
    #[error("the store failed: {source}")]
    Store {
        /// Why.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
    /// A plan could not be read.
    #[error("cannot read a plan from {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds no plan.
    #[error("{path} holds no plan: {source}")]
    Plan {
        /// The file.
        path: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// A run of jobs is asked for by something else than its seed.
    #[error("{found} is no seed; runs of jobs have no plans in files")]
    NoSeed {
        /// What was given.
        found: String,
    },
    /// A log could not be read.
    #[error(transparent)]
    Log(#[from] reconvene_sim::swf::SwfError),
    /// There is no such entry.
    #[error("no rule to break is called {id}; they are called X01 to X49")]
    NoSuchSabotage {
        /// What was asked for.
        id: String,
    },
    /// The build that can break rules did not come about.
    #[cfg_attr(reconvene_sabotage, expect(dead_code, reason = "that build is this one"))]
    #[error("cannot build the program that can break rules with {cargo}: {source}")]
    Build {
        /// The command.
        cargo: String,
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

/// Starts to measure; the answer says how many seconds have passed.
#[expect(clippy::disallowed_methods, reason = "what a run took is real time")]
fn stopwatch() -> impl Fn() -> f64 {
    let begun = std::time::Instant::now();
    move || begun.elapsed().as_secs_f64()
}

/// The most memory this process has had so far, in MiB, as Linux has it.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? >> 10)
}
