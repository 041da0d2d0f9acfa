//! A log under each strategy.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use reconvene_resolve::{HeadStartMinutes, JobFacts, Level, Policy, StrategyKind};
use serde::Serialize;

use super::pool::{Keyed, Queue, Rules, Starving, run as run_pool};
use super::workload::{CLASSES, Case, Workload};
use crate::numbers;

/// How long the jobs of one class waited.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) trace: String,
    pub(crate) strategy: &'static str,
    pub(crate) class: String,
    pub(crate) jobs: usize,
    pub(crate) wait_mean_s: f64,
    pub(crate) wait_p95_s: f64,
    pub(crate) wait_max_s: f64,
}

/// How far a job went before one submitted earlier.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Overtake {
    pub(crate) longest_s: f64,
    pub(crate) bound_s: f64,
}

impl Overtake {
    pub(crate) const fn widen(&mut self, other: Self) {
        self.longest_s = self.longest_s.max(other.longest_s);
        self.bound_s = self.bound_s.max(other.bound_s);
    }
}

/// Whether a job serves an emergency: three in a hundred do, the same for the same seed.
pub(crate) fn emergencies(jobs: usize, seed: u64) -> Vec<bool> {
    numbers(seed).take(jobs).map(|random| random % 100 < 3).collect()
}

/// How long each job waited, in milliseconds.
pub(crate) fn waits(case: &Case, policy: &Policy, facts: &[JobFacts]) -> Result<Vec<u64>> {
    let keyed = Keyed::new(policy.contention(), case, facts);
    let rules = Rules::of(policy, case, facts);
    match policy.kind() {
        StrategyKind::ResourceOptimal => {
            record(case, &mut Starving::new(keyed, policy.packing().starvation_after_ms), &rules)
        }
        StrategyKind::FirstComeFirstServed
        | StrategyKind::PriorityBased
        | StrategyKind::EmergencyFirst
        | StrategyKind::VectorClockCausal => {
            let mut keyed = keyed;
            record(case, &mut keyed, &rules)
        }
    }
}

fn record(case: &Case, queue: &mut impl Queue, rules: &Rules<'_>) -> Result<Vec<u64>> {
    let mut waits = vec![None; case.jobs.len()];
    run_pool(case, queue, rules, |job, now| {
        waits[job] = Some(now - case.jobs[job].submit_ms);
    });
    let count = waits.len();
    let waits: Vec<u64> = waits.into_iter().flatten().collect();
    ensure!(waits.len() == count, "{} of {count} jobs never started", count - waits.len());
    Ok(waits)
}

/// The whole log on one pool.
///
/// # Errors
/// If a job never starts.
pub(crate) fn run(trace: &str, case: &Case, seed: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, waits) in by_class(case, seed)? {
        rows.extend(waits.into_iter().map(|(class, waits)| row(trace, kind.name(), &class, waits)));
    }
    Ok(rows)
}

/// Each site on its own pool: all sites together by class, and each site in one row.
///
/// # Errors
/// If a job never starts.
pub(crate) fn sites(workload: &Workload, seed: u64) -> Result<Vec<Row>> {
    let mut together: BTreeMap<(StrategyKind, String), Vec<u64>> = BTreeMap::new();
    let mut single = Vec::new();
    for (site, case) in workload.sites() {
        for (kind, classes) in by_class(&case, seed)? {
            for (class, waits) in classes {
                if class == ALL {
                    single.push(row(&format!("{}/site {site}", workload.name), kind.name(), &class, waits.clone()));
                }
                together.entry((kind, class)).or_default().extend(waits);
            }
        }
    }
    let trace = format!("{}/all sites", workload.name);
    let together = together.into_iter().map(|((kind, class), waits)| row(&trace, kind.name(), &class, waits));
    Ok(together.chain(single).collect())
}

pub(crate) const ALL: &str = "all";
pub(crate) const EMERGENCY: &str = "emergency";

type Classes = BTreeMap<String, Vec<u64>>;

/// Waiting times by strategy and class: emergencies, the others by their class, and all.
fn by_class(case: &Case, seed: u64) -> Result<Vec<(StrategyKind, Classes)>> {
    let emergency = emergencies(case.jobs.len(), seed);
    let facts = case.facts(|job| if emergency[job] { Level::LIFE_SAFETY } else { Level::ROUTINE });
    let replays = StrategyKind::ALL.into_iter().map(|kind| {
        let mut classes = Classes::new();
        for (job, wait) in waits(case, &Policy::of(kind), &facts)?.into_iter().enumerate() {
            let class = if emergency[job] { EMERGENCY.to_owned() } else { case.jobs[job].class.to_string() };
            classes.entry(class).or_default().push(wait);
            classes.entry(ALL.to_owned()).or_default().push(wait);
        }
        Ok((kind, classes))
    });
    replays.collect()
}

pub(crate) fn row(trace: &str, strategy: &'static str, class: &str, mut waits: Vec<u64>) -> Row {
    waits.sort_unstable();
    let jobs = waits.len();
    // The nearest rank.
    let p95 = waits.get((jobs * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
    Row {
        trace: trace.to_owned(),
        strategy,
        class: class.to_owned(),
        jobs,
        wait_mean_s: mean_s(&waits),
        wait_p95_s: seconds(p95),
        wait_max_s: seconds(waits.last().copied().unwrap_or(0)),
    }
}

pub(crate) fn mean_s(waits: &[u64]) -> f64 {
    seconds(waits.iter().sum()) / waits.len().max(1) as f64
}

pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// The longest overtake with classes 0 to 4 of 30 minutes each, beside their sum.
///
/// # Errors
/// If the head starts are refused, or the bound is exceeded.
pub(crate) fn overtake(case: &Case) -> Result<Overtake> {
    let minutes = u32::from(CLASSES - 1) * 30;
    let head_start = HeadStartMinutes { priority: minutes, deadline: 0, lightness: 0, smallness: 0, emergency: 0 };
    let policy = Policy::priority_based(head_start)?;
    let facts = case.facts(|_| Level::ROUTINE);
    let mut observed = Observed {
        queue: Keyed::new(policy.contention(), case, &facts),
        case,
        waiting: BTreeSet::new(),
        longest_ms: 0,
    };
    run_pool(case, &mut observed, &Rules::of(&policy, case, &facts), |_, _| {});
    let overtake = Overtake { longest_s: seconds(observed.longest_ms), bound_s: seconds(head_start.longest_ms()) };
    ensure!(overtake.longest_s < overtake.bound_s, "an overtake of {} s", overtake.longest_s);
    Ok(overtake)
}

/// A queue of one tier whose overtakes are measured.
struct Observed<'a> {
    queue: Keyed<'a>,
    case: &'a Case,
    waiting: BTreeSet<(u64, usize)>,
    longest_ms: u64,
}

impl Queue for Observed<'_> {
    fn push(&mut self, job: usize) {
        self.waiting.insert((self.case.jobs[job].submit_ms, job));
        self.queue.push(job);
    }

    fn pop(&mut self, now: u64) -> Option<usize> {
        let job = self.queue.pop(now)?;
        let submit = self.case.jobs[job].submit_ms;
        self.waiting.remove(&(submit, job));
        if let Some((earliest, _)) = self.waiting.first() {
            self.longest_ms = self.longest_ms.max(submit.saturating_sub(*earliest));
        }
        Some(job)
    }
}
