//! What many brokers cost.

use std::process::ExitCode;

use clap::Args;
use reconvene_sim::simulation::{Phase, Scale as Network, ScaleReport};
use serde::Serialize;

use super::{Failure, peak_mib, write_json};

/// Brokers by the hundred, on links without faults: what it costs them to meet, to heal and to be told of an urgent write,
/// in virtual time, bytes and frames. Fails if they do not become equal.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// How many brokers.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=1_024))]
    brokers: u16,
    /// How many others each is linked with at least; all if not said.
    #[arg(long)]
    links: Option<usize>,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The longest that a frame takes, in milliseconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    delay_ms: u64,
    /// Frames lost, of 1,000.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=900))]
    loss: u64,
    /// Write the figures as JSON to this file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    report: ScaleReport,
    /// What the run took, on whatever machine this is.
    seconds: f64,
    /// The most memory this process has had so far, where the system says so.
    peak_mib: Option<u64>,
}

pub(crate) fn run(args: &Scale) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let watch = super::stopwatch();
        let brokers = usize::from(args.brokers);
        let mut network = Network::new(brokers, seed);
        network.links = args.links.unwrap_or(brokers);
        (network.delay_ms, network.loss_per_mille) = (args.delay_ms, args.loss);
        let figures = Figures { report: network.run(), seconds: watch(), peak_mib: peak_mib() };
        show(&figures);
        all.push(figures);
    }
    if let Some(path) = &args.json {
        write_json(path, &all)?;
    }
    let equal = all.iter().all(|figures| figures.report.equal);
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(Figures { report, seconds, peak_mib }: &Figures) {
    let memory = peak_mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    eprintln!(
        "{} brokers, {} links, seed {}: {seconds:.1} s, peak {memory}, {}",
        report.brokers,
        report.links,
        report.seed,
        if report.equal { "equal at the end" } else { "NOT EQUAL" },
    );
    for Phase { name, reached, p50_ms, p99_ms, last_ms, p99_rounds, events, frames, bytes, sessions, .. } in
        &report.phases
    {
        let times = match *reached {
            0 => "-".to_owned(),
            _ => format!("p50 {p50_ms} ms, p99 {p99_ms} ms, last {last_ms} ms, {p99_rounds} rounds"),
        };
        eprintln!(
            "  {name}: {reached} brokers, {times}; {events} events, {frames} frames, {bytes} B, {sessions} sessions"
        );
    }
}
