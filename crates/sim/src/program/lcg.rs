//! A real log on simulated brokers.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use reconvene_sim::jobs::{LogReplay, LogReport, Waiting};
use reconvene_sim::swf;
use serde::Serialize;

use super::{Failure, peak_mib, write_json};

/// The log of the LCG grid (eleven days of 2005, 170 sites) on brokers that are cut off from each other and executors that
/// vanish. Fails if a job is lost, has not one result everywhere, or brokers differ at the end.
#[derive(Debug, Args)]
pub(crate) struct Lcg {
    /// The log; `LCG.swf.gz` in the folder that `RECONVENE_TRACES` names, or `../shared/traces`, if not said.
    #[arg(long)]
    file: Option<PathBuf>,
    /// How many days of it; all if 0.
    #[arg(long, default_value_t = 1)]
    days: u64,
    /// Brokers that its sites are dealt to.
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    brokers: u16,
    /// Executors that each broker has for its sites, at most.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    executors: u16,
    /// Where chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What runs longer is cut to so many hours.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    longest_hours: u64,
    /// Brokers forget a job five minutes after all of them know that it is over; the run ends when all are forgotten.
    #[arg(long)]
    forget: bool,
    /// Tell all that happens between these two milliseconds.
    #[arg(long, value_name = "FROM..UNTIL", value_parser = range)]
    trace: Option<Range<u64>>,
    /// Write the figures as JSON to this file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    report: LogReport,
    seed: u64,
    days: u64,
    longest_hours: u64,
    /// What the run took, on whatever machine this is.
    seconds: f64,
    /// The most memory this process has had, where the system says so.
    peak_mib: Option<u64>,
}

pub(crate) fn run(args: &Lcg) -> Result<ExitCode, Failure> {
    let file = args.file.clone().unwrap_or_else(|| {
        let folder =
            std::env::var_os("RECONVENE_TRACES").map_or_else(|| PathBuf::from("../shared/traces"), PathBuf::from);
        folder.join("LCG.swf.gz")
    });
    let mut jobs = swf::read_file(&file, usize::MAX)?;
    let first = jobs.iter().map(|job| job.submit_ms).min().unwrap_or(0);
    let until_ms = if args.days == 0 { u64::MAX } else { args.days.saturating_mul(24 * HOUR_MS) };
    jobs.retain(|job| job.submit_ms.saturating_sub(first) < until_ms);
    let longest_ms = args.longest_hours.saturating_mul(HOUR_MS);
    let wanted = jobs.len();
    let (brokers, executors) = (usize::from(args.brokers), usize::from(args.executors));
    let replay = LogReplay { jobs, brokers, executors, seed: args.seed, longest_ms, forgets: args.forget };
    let watch = super::stopwatch();
    let hour = |hour, jobs| {
        eprintln!("hour {hour}: {jobs} of {wanted} jobs, {:.0} s, {} MiB", watch(), peak_mib().unwrap_or(0));
    };
    let ran = replay.watch(hour, |happened| {
        if args.trace.as_ref().is_some_and(|trace| trace.contains(&happened.at.as_millis())) {
            eprintln!("{happened:?}");
        }
    });
    let report = match ran {
        Ok(report) => report,
        Err(violation) => {
            println!("broken: {violation}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let (seed, days, longest_hours) = (args.seed, args.days, args.longest_hours);
    let figures = Figures { report, seed, days, longest_hours, seconds: watch(), peak_mib: peak_mib() };
    if let Some(path) = &args.json {
        write_json(path, &figures)?;
    }
    if args.json.as_deref() != Some("-") {
        show(&figures);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(Figures { report, seconds, peak_mib, .. }: &Figures) {
    let memory = peak_mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib} MiB"));
    println!(
        "{} jobs on {} brokers and {} executors, {} virtual hours, in {seconds:.0} s, peak {memory}: none lost, one result \
         of each, all brokers equal",
        report.jobs,
        report.brokers,
        report.executors,
        report.virtual_seconds / 3_600,
    );
    println!(
        "{} cuts, {} silences, {} crashes of executors, {} restarts of brokers",
        report.splits, report.silences, report.crashes, report.restarts
    );
    println!(
        "{} redeployments, {} jobs taken over, {} duplicate results ({} accepted), {} superseded, {} confirmed, {} \
         forgotten",
        report.redeployments,
        report.taken_over,
        report.duplicates,
        report.duplicates_accepted,
        report.supersessions,
        report.confirmations,
        report.forgotten,
    );
    for Waiting { class, jobs, p50_s, p90_s, p99_s, max_s, .. } in &report.waiting {
        println!(
            "{jobs:>8} jobs of {class} waited {p50_s} s (p50), {p90_s} s (p90), {p99_s} s (p99), {max_s} s at most"
        );
    }
}

/// `FROM..UNTIL`, in milliseconds.
fn range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, until)| Some((from.parse().ok()?, until.parse().ok()?)));
    ends.map(|(from, until)| from..until).ok_or_else(|| "write it as FROM..UNTIL".to_owned())
}

const HOUR_MS: u64 = 3_600_000;
