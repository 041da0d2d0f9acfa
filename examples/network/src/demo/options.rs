//! What the user asked the demo for, validated.

use std::path::PathBuf;

use clap::ValueEnum;
use reconvene_resolve::StrategyKind;

/// What the user asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) brokers: usize,
    pub(crate) executors: usize,
    pub(crate) jobs: usize,
    pub(crate) workload: Option<PathBuf>,
    pub(crate) strategy: StrategyKind,
    pub(crate) strategy_name: &'static str,
    pub(crate) sync_interval_ms: u64,
    pub(crate) seed: u64,
    pub(crate) transport: TransportKind,
    pub(crate) store: StoreKind,
    pub(crate) time_scale: u64,
    pub(crate) faults: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) timeline: Option<PathBuf>,
    pub(crate) quiet: bool,
}

impl Options {
    /// A duration of the designs, which are written for a sync interval of 60 s, at this run's pace. At least 1 ms.
    pub(crate) fn scaled_ms(&self, at_default_ms: u64) -> u64 {
        (at_default_ms.saturating_mul(self.sync_interval_ms) / DEFAULT_SYNC_INTERVAL_MS).max(1)
    }
}

/// The period that the durations of the designs belong to.
const DEFAULT_SYNC_INTERVAL_MS: u64 = 60_000;

/// Where brokers keep what they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// In memory.
    Memory,
    /// In files, in this directory or a temporary one.
    Redb {
        /// The directory.
        data: Option<PathBuf>,
    },
}

impl StoreKind {
    /// The name on the command line and in the report.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redb { .. } => "redb",
        }
    }
}

/// What carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportKind {
    /// QUIC with mutual TLS on loopback sockets, in real time.
    Quic,
    /// A network in memory, in virtual time: the same seed gives the same report.
    Memory,
}

impl TransportKind {
    /// The name on the command line and in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Memory => "memory",
        }
    }
}
