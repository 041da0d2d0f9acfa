//! What emergencies gain without preemption, and what they cost the others.

use anyhow::Result;
use reconvene_resolve::{Level, StrategyKind};
use serde::Serialize;

use super::replay::{EMERGENCY, Row, emergencies, mean_s, row, waits};
use super::workload::Case;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Emergencies {
    pub(crate) trace: String,
    pub(crate) jobs: usize,
    pub(crate) wait_max_s: f64,
    /// Mean wait of the other jobs.
    pub(crate) others_mean_s: f64,
    /// The same jobs in the same replay without emergencies.
    pub(crate) others_mean_without_s: f64,
    /// By what share the one is above the other.
    pub(crate) others_rise: f64,
}

/// `EMERGENCY_FIRST` with three emergencies in a hundred jobs, and with none.
///
/// # Errors
/// If a job never starts.
pub(crate) fn run(trace: &str, case: &Case, seed: u64) -> Result<(Vec<Row>, Emergencies)> {
    let kind = StrategyKind::EmergencyFirst;
    let emergency = emergencies(case.jobs.len(), seed);
    let with = case.facts(|job| if emergency[job] { Level::LIFE_SAFETY } else { Level::ROUTINE });
    let with = waits(case, kind, &with)?;
    let without = waits(case, kind, &case.facts(|_| Level::ROUTINE))?;
    let select = |waits: &[u64], which: bool| -> Vec<u64> {
        waits.iter().zip(&emergency).filter(|(_, emergency)| **emergency == which).map(|(wait, _)| *wait).collect()
    };
    let (others, others_without) = (select(&with, false), select(&without, false));
    let urgent = row(trace, kind.name(), EMERGENCY, select(&with, true));
    let (others_mean_s, others_mean_without_s) = (mean_s(&others), mean_s(&others_without));
    let found = Emergencies {
        trace: trace.to_owned(),
        jobs: urgent.jobs,
        wait_max_s: urgent.wait_max_s,
        others_mean_s,
        others_mean_without_s,
        others_rise: if others_mean_without_s > 0.0 { others_mean_s / others_mean_without_s - 1.0 } else { 0.0 },
    };
    let rows = vec![
        row(trace, kind.name(), "others", others),
        row(trace, kind.name(), "others, without emergencies", others_without),
    ];
    Ok((rows, found))
}
