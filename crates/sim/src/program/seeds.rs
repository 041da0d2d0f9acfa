//! Many seeds, one after the other.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use reconvene_sim::{jobs, replicas};
use serde::Serialize;

use super::{Failure, write_json};

/// Which seeds to run, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Seeds {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Brokers with executors and jobs, instead of replicas alone.
    #[arg(long)]
    jobs: bool,
    /// Write the figures as JSON to this file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    seeds: u64,
    failures: Vec<Failed>,
    events: u64,
    sometimes: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    violation: String,
}

pub(crate) fn run(args: &Seeds) -> Result<ExitCode, Failure> {
    let mut figures = Figures { seeds: args.seeds, ..Figures::default() };
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let violation = if args.jobs {
            match jobs::Scenario::new(seed).run() {
                Ok(reached) => {
                    for (name, count) in reached.iter() {
                        let total = figures.sometimes.entry(name.to_owned()).or_default();
                        *total = total.saturating_add(count);
                    }
                    continue;
                }
                Err(violation) => violation.to_string(),
            }
        } else {
            match replicas::Scenario::new(seed).run() {
                Ok(_) => continue,
                Err(violation) => violation.to_string(),
            }
        };
        eprintln!("seed {seed}: {violation}");
        figures.failures.push(Failed { seed, violation });
    }
    if let Some(path) = &args.json {
        write_json(path, &figures)?;
    }
    let failed = figures.failures.len();
    println!("{} seeds, {failed} of them failed", args.seeds);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
