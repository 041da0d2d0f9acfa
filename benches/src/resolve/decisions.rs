//! Decisions a second in a replay: by keys, with a decision that explains itself, and by a bare ordered set.

use std::collections::BTreeSet;
use std::hint::black_box;

use anyhow::{Result, ensure};
use reconvene_resolve::{AgeingRules, ContentionStrategy, JobFacts, Level, StrategyKind, explain_rank};
use serde::Serialize;

use super::pool::{Keyed, Queue, run as run_pool};
use super::rank::median;
use super::workload::Case;

/// Starts a second, engine and all: the bare set and `FIRST_COME_FIRST_SERVED` start the same jobs at the same times.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decisions {
    pub(crate) trace: String,
    pub(crate) bare_set_per_s: f64,
    pub(crate) ours_per_s: f64,
    /// `PRIORITY_BASED`, with five factors.
    pub(crate) priority_per_s: f64,
    /// The same with a decision against the runner-up for each start.
    pub(crate) explained_per_s: f64,
}

/// Measures each way.
///
/// # Errors
/// If the bare set does not start the same jobs.
pub(crate) fn run(trace: &str, case: &Case) -> Result<Decisions> {
    let facts = case.facts(|_| Level::ROUTINE);
    let (first, strategy) = (StrategyKind::FirstComeFirstServed.contention(), StrategyKind::PriorityBased.contention());
    let ours = starts(case, &mut Keyed::new(first, case, &facts));
    ensure!(ours == starts(case, &mut Bare { case, set: BTreeSet::new() }), "the bare set starts other jobs");
    let per_s = |work: &mut dyn FnMut() -> u64| {
        let time = median(3, work);
        case.jobs.len() as f64 / time.as_secs_f64()
    };
    Ok(Decisions {
        trace: trace.to_owned(),
        bare_set_per_s: per_s(&mut || starts(case, &mut Bare { case, set: BTreeSet::new() })),
        ours_per_s: per_s(&mut || starts(case, &mut Keyed::new(first, case, &facts))),
        priority_per_s: per_s(&mut || starts(case, &mut Keyed::new(strategy, case, &facts))),
        explained_per_s: per_s(&mut || {
            starts(case, &mut Explained { strategy, facts: &facts, queue: Keyed::new(strategy, case, &facts) })
        }),
    })
}

/// Replays the case; a sum over all starts, in order.
fn starts(case: &Case, queue: &mut impl Queue) -> u64 {
    let mut all = 0_u64;
    run_pool(case, queue, AgeingRules::default().reserve_after_ms, |job, now| {
        all = all.rotate_left(5).wrapping_add(now ^ job as u64);
    });
    all
}

/// First come, first served, with nothing but a time and an id.
struct Bare<'a> {
    case: &'a Case,
    set: BTreeSet<(u64, u128)>,
}

impl Queue for Bare<'_> {
    fn push(&mut self, job: usize) {
        self.set.insert((self.case.jobs[job].submit_ms, job as u128));
    }

    fn pop(&mut self, _now: u64) -> Option<usize> {
        self.set.pop_first().map(|(_, job)| job as usize)
    }
}

/// Explains each choice against the runner-up.
struct Explained<'a> {
    strategy: &'a dyn ContentionStrategy,
    facts: &'a [JobFacts],
    queue: Keyed<'a>,
}

impl Queue for Explained<'_> {
    fn push(&mut self, job: usize) {
        self.queue.push(job);
    }

    fn pop(&mut self, now: u64) -> Option<usize> {
        let job = self.queue.pop(now)?;
        let second = self.queue.first().map(|second| self.facts[second].clone());
        let candidates: Vec<JobFacts> = core::iter::once(self.facts[job].clone()).chain(second).collect();
        black_box(explain_rank(self.strategy, &candidates, self.queue.round()));
        Some(job)
    }
}
