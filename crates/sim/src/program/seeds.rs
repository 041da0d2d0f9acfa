//! Many seeds, on as many threads as there are processors; each run has a thread to itself.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use reconvene_sim::simulation::{Mark, Marks, Report};
use reconvene_sim::{FaultPlan, Options, Sim, jobs};
use serde::Serialize;

use super::{Failure, write_json};

/// Which seeds to run, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Seeds {
    /// How many seeds; 100, or for `--sabotage` at most 200 for each rule, if not said.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    pub(super) from: u64,
    /// Brokers with executors and jobs, instead of replicas alone.
    #[arg(long)]
    jobs: bool,
    /// Damage stores as well: rows that cannot be read any more, values that vanish without a sign; with `--jobs`, brokers
    /// that go back to old copies. Always with `--sabotage`, but for rules of jobs.
    #[arg(long)]
    damage: bool,
    /// Virtual minutes of each run, a third of them without faults, but 18 at least if there are 36.
    #[arg(long, default_value_t = 90)]
    pub(super) minutes: u64,
    /// Write the figures as JSON to this file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

impl Seeds {
    /// How many seeds.
    pub(super) fn seeds(&self) -> u64 {
        self.seeds.unwrap_or(if cfg!(reconvene_sabotage) { 200 } else { 100 })
    }

    #[cfg(reconvene_sabotage)]
    pub(super) fn json(&self) -> Option<&str> {
        self.json.as_deref()
    }
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    seeds: u64,
    failures: Vec<Failed>,
    events: u64,
    /// All that happened, in one number: the same for the same seeds, in every process.
    trace: String,
    sometimes: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    promise: String,
    what: String,
    replay: String,
}

/// What one seed came to.
struct Outcome {
    seed: u64,
    trace: u64,
    events: u64,
    broken: Option<(String, String)>,
    reached: Vec<(String, u64)>,
}

/// The run of a seed as this program makes it.
pub(super) fn sim(seed: u64, minutes: u64, damage: bool) -> Sim {
    let faults = if damage { FaultPlan::swarm().with_damage() } else { FaultPlan::swarm() };
    // Less calm than that shows nothing about liveness.
    let calm = if minutes >= 36 { (minutes / 3).max(18) } else { minutes / 3 };
    Sim::new(Options::from_seed(seed)).faults(faults).minutes(minutes.saturating_sub(calm), calm)
}

pub(crate) fn run(args: &Seeds) -> Result<ExitCode, Failure> {
    let (watch, minutes, damage) = (super::stopwatch(), args.minutes, args.damage);
    let one = move |seed| {
        let outcome = if args.jobs { run_jobs(seed, damage) } else { run_sim(seed, minutes, damage) };
        // At once, so that a long run can be stopped and has told what it found.
        if let Some((promise, what)) = &outcome.broken {
            eprintln!("seed {seed} breaks {promise}: {what}\n{}", replay_of(seed, args));
        }
        outcome
    };
    let outcomes = in_parallel(args.from..args.from.saturating_add(args.seeds()), one);
    let seconds = watch();
    let mut figures = Figures { seeds: args.seeds(), ..Figures::default() };
    if !args.jobs {
        let drawn = |mark: &&Mark| args.damage || !matches!(mark, Mark::Vanished | Mark::RowsLost);
        figures.sometimes.extend(Mark::ALL.iter().filter(drawn).map(|mark| (mark.to_string(), 0)));
    }
    let mut whole = 0_u64;
    for Outcome { seed, trace, events, broken, reached } in outcomes {
        whole = whole.rotate_left(5) ^ trace.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        figures.events = figures.events.saturating_add(events);
        for (name, count) in reached {
            let total = figures.sometimes.entry(name).or_default();
            *total = total.saturating_add(count);
        }
        if let Some((promise, what)) = broken {
            let replay = replay_of(seed, args);
            println!("seed {seed} breaks {promise}: {what}");
            figures.failures.push(Failed { seed, promise, what, replay });
        }
    }
    figures.trace = format!("{whole:016x}");
    show(args, &figures, seconds)
}

fn show(args: &Seeds, figures: &Figures, seconds: f64) -> Result<ExitCode, Failure> {
    for (name, count) in &figures.sometimes {
        println!("{count:>12}  {name}");
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = |count: u64| count as f64 / seconds.max(0.001);
    let failed = figures.failures.len();
    println!(
        "{} seeds of {} virtual minutes in {seconds:.1} s ({:.1} a second), {} events ({:.0} a second), trace {}, {failed} failed",
        args.seeds(),
        args.minutes,
        rate(args.seeds()),
        figures.events,
        rate(figures.events),
        figures.trace,
    );
    if let Some(path) = &args.json {
        write_json(path, figures)?;
    }
    let missed: Vec<&String> =
        figures.sometimes.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
    if let Some(first) = figures.failures.first() {
        println!("{}", first.replay);
        return Ok(ExitCode::FAILURE);
    }
    // A few seeds cannot meet everything.
    if args.seeds() >= SUITE_SEEDS && !missed.is_empty() {
        println!("never met: {missed:?}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs each seed on one of as many threads as there are processors, and gives the answers in the order of seeds.
pub(super) fn in_parallel<T: Send>(seeds: std::ops::Range<u64>, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push((seed, one(seed)));
        }
    };
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("runs catch panics")).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter().map(|(_, done)| done).collect()
}

fn run_sim(seed: u64, minutes: u64, damage: bool) -> Outcome {
    let Report { trace_hash, steps, violations, reached, .. } = sim(seed, minutes, damage).run();
    let broken = violations.into_iter().next().map(|violation| (violation.promise.to_owned(), violation.to_string()));
    Outcome { seed, trace: trace_hash, events: steps, broken, reached: names(&reached) }
}

fn names(reached: &Marks) -> Vec<(String, u64)> {
    reached.iter().filter(|(_, count)| *count > 0).map(|(mark, count)| (mark.to_string(), count)).collect()
}

fn run_jobs(seed: u64, damage: bool) -> Outcome {
    let scenario = if damage { jobs::Scenario::with_backups(seed) } else { jobs::Scenario::new(seed) };
    let (broken, reached) = match scenario.run() {
        Ok(reached) => (None, reached.iter().map(|(name, count)| (name.to_owned(), count)).collect()),
        Err(violation) => (Some((violation.promise.to_owned(), violation.to_string())), Vec::new()),
    };
    Outcome { seed, trace: 0, events: 0, broken, reached }
}

fn replay_of(seed: u64, args: &Seeds) -> String {
    let minutes = if args.minutes == 90 { String::new() } else { format!(" --minutes {}", args.minutes) };
    let damage = if args.damage { " --damage" } else { "" };
    match args.jobs {
        true => format!("cargo run --release -p reconvene-sim -- replay {seed} --jobs{damage}"),
        false => {
            format!("cargo run --release -p reconvene-sim -- replay {seed}{minutes}{damage}")
        }
    }
}

/// From this many seeds on, everything that is registered must have been met.
const SUITE_SEEDS: u64 = 1_000;
