//! `reconvene demo`: its flags.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use reconvene_resolve::StrategyKind;

use crate::{
    cli::Common,
    demo::{self, Options, StoreKind, TransportKind},
    duration,
    exit::Failure,
};

/// Runs a whole network in one process, breaks it, heals it and checks what it promises
///
/// Several brokers with executors run a workload. Meanwhile the network is cut in two, a third of the executors
/// vanish, an emergency is declared, the network heals and the executors come back with results of their own. The exit
/// status is 0 only if every check held.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// How many brokers.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=32))]
    brokers: u32,
    /// How many executors, spread over the brokers.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=256))]
    executors: u32,
    /// How many jobs: the first of the workload.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    jobs: u32,
    /// A workload in the Standard Workload Format, plain or gzip; without it a small sample.
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// The rule by which jobs are ordered and results judged.
    #[arg(long, value_enum, default_value_t = StrategyName::Emergency)]
    strategy: StrategyName,
    /// How often brokers exchange what they know; every other duration scales with it.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_sync_interval)]
    sync_interval: Duration,
    /// What is drawn at random is drawn from this.
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Real sockets on this machine, or a network in memory and virtual time.
    #[arg(long, value_enum, default_value_t = TransportKind::Quic)]
    transport: TransportKind,
    /// Where brokers keep what they know.
    #[arg(long, value_enum, default_value_t = StoreName::Memory)]
    store: StoreName,
    /// Where a durable store keeps its files; without it in a temporary directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds of the workload that pass in one second; a job runs 5 s at most.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    time_scale: u32,
    /// Leave the network whole and the executors alone.
    #[arg(long)]
    no_faults: bool,
    /// Write the report as JSON to a file, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a picture of what happened when, as a self-contained HTML file.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
}

impl DemoArgs {
    /// Runs the demo.
    ///
    /// # Errors
    /// [`Failure`] if the flags contradict each other, a file cannot be read or written, or a check did not hold.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let store = match (self.store, &self.data) {
            (StoreName::Memory, None) => StoreKind::Memory,
            (StoreName::Memory, Some(_)) => {
                return Err(Failure::usage("'--data <DIR>' needs '--store redb': '--store memory' keeps no files"));
            }
            // Virtual time does not wait for a disk.
            (StoreName::Redb, _) if self.transport == TransportKind::Memory => {
                return Err(Failure::usage(
                    "'--store redb' needs '--transport quic': with '--transport memory' time is virtual, and no disk \
                     keeps up with it",
                ));
            }
            (StoreName::Redb, data) => StoreKind::Redb { data: data.clone() },
        };
        let options = Options {
            brokers: count(self.brokers),
            executors: count(self.executors),
            jobs: count(self.jobs),
            workload: self.workload.clone(),
            strategy: self.strategy.kind(),
            strategy_name: self.strategy.name(),
            sync_interval_ms: u64::try_from(self.sync_interval.as_millis()).unwrap_or(u64::MAX),
            seed: self.seed,
            transport: self.transport,
            store,
            time_scale: u64::from(self.time_scale),
            faults: !self.no_faults,
            json: self.json.clone(),
            timeline: self.timeline.clone(),
            quiet: common.is_quiet(),
        };
        demo::run(&options)
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn parse_sync_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if (Duration::from_millis(200)..=Duration::from_secs(600)).contains(&interval) {
        Ok(interval)
    } else {
        Err("must be between 200ms and 10m".to_owned())
    }
}

/// The strategies by the names they have on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StrategyName {
    /// First come, first served; the first result stands.
    Fcfs,
    /// By priority and quality.
    Priority,
    /// By the level of the emergency a job belongs to.
    Emergency,
    /// By use of resources.
    Resource,
    /// By causality alone, without wall clocks.
    Causal,
}

impl StrategyName {
    const fn kind(self) -> StrategyKind {
        match self {
            Self::Fcfs => StrategyKind::FirstComeFirstServed,
            Self::Priority => StrategyKind::PriorityBased,
            Self::Emergency => StrategyKind::EmergencyFirst,
            Self::Resource => StrategyKind::ResourceOptimal,
            Self::Causal => StrategyKind::VectorClockCausal,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Fcfs => "fcfs",
            Self::Priority => "priority",
            Self::Emergency => "emergency",
            Self::Resource => "resource",
            Self::Causal => "causal",
        }
    }
}

/// Where brokers keep what they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreName {
    /// In memory, for as long as the demo runs.
    Memory,
    /// In files.
    Redb,
}

const EXAMPLES: &str = "\
Examples:
  reconvene demo
  reconvene demo --transport memory --seed 11 --json -
  reconvene demo --store redb
  reconvene demo --workload LCG.swf.gz --jobs 2000 --brokers 5 --executors 20 --timeline run.html";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_have_the_names_that_the_engine_parses() {
        for strategy in StrategyName::value_variants() {
            assert_eq!(strategy.name().parse::<StrategyKind>().ok(), Some(strategy.kind()));
            let shown = strategy.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(shown.as_deref(), Some(strategy.name()));
        }
    }

    #[test]
    fn the_sync_interval_has_limits() {
        assert!(parse_sync_interval("199ms").is_err());
        assert!(parse_sync_interval("200ms").is_ok());
        assert!(parse_sync_interval("11m").is_err());
    }
}
