//! One run again, told in full.

use std::process::ExitCode;

use clap::Args;
use reconvene_sim::Plan;
use reconvene_sim::jobs::Scenario;
use reconvene_sim::simulation::{run_plan, shrink};

use super::{Failure, seeds};

/// Which run, and how much to tell.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A seed, or a file with a plan.
    run: String,
    /// Virtual minutes of the run of a seed.
    #[arg(long, default_value_t = 90)]
    minutes: u64,
    /// Damage stores as well, as the run of the seed did.
    #[arg(long)]
    damage: bool,
    /// The run of this seed with executors and jobs, as `--jobs` makes it; with `--shrink`, the steps that are left are told.
    #[arg(long)]
    jobs: bool,
    /// Tell everything that happens.
    #[arg(long)]
    trace: bool,
    /// Look for a smaller plan that still breaks a promise, in at most this many runs, and write it to this file.
    #[arg(long, value_name = "FILE")]
    shrink: Option<String>,
    /// How many runs to look for a smaller plan in.
    #[arg(long, default_value_t = 2_000)]
    runs: usize,
}

pub(crate) fn run(args: &Replay) -> Result<ExitCode, Failure> {
    if args.jobs {
        return jobs(args);
    }
    let mut plan = match args.run.parse::<u64>() {
        Ok(seed) => seeds::sim(seed, args.minutes, args.damage).plan(),
        Err(_) => read(&args.run)?,
    };
    if let Some(path) = &args.shrink {
        plan = shrink(&plan, args.runs);
        super::write_json(path, &plan)?;
    }
    println!("{}", plan.options);
    println!("{} steps", plan.steps.len());
    let mut say = |line: &str| println!("{line}");
    let report = run_plan(&plan, args.trace.then_some(&mut say));
    println!("{} events, trace {:016x}", report.steps, report.trace_hash);
    for violation in &report.violations {
        println!("broken: {violation}");
    }
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same of a run with executors and jobs.
fn jobs(args: &Replay) -> Result<ExitCode, Failure> {
    let seed = args.run.parse().map_err(|_| Failure::NoSeed { found: args.run.clone() })?;
    let mut scenario = if args.damage { Scenario::with_backups(seed) } else { Scenario::new(seed) };
    if args.shrink.is_some() {
        scenario = scenario.smaller(args.runs);
    }
    let plan = &scenario.plan;
    println!("{:?}\n{:?}\n{:?}, forgets: {}", plan.brokers, plan.executors, plan.links, plan.forgets);
    for step in &plan.steps {
        println!("{:>8} {:?}", step.at_ms, step.act);
    }
    let outcome = scenario.watch(|happened| {
        if args.trace {
            println!("{:>8} {:?}", happened.at.as_millis(), happened.what);
        }
    });
    match outcome {
        Ok(reached) => {
            reached.iter().for_each(|(what, count)| println!("{count:>8}  {what}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(violation) => {
            println!("broken: {violation}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn read(path: &str) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| Failure::Plan { path: path.to_owned(), source })
}
