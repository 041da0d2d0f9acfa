//! Decisions a second in a replay: by keys, with a decision that explains itself, and by a bare ordered set.

use std::collections::BTreeSet;
use std::hint::black_box;

use anyhow::Result;
use reconvene_resolve::{AgeingRules, ContentionStrategy, JobFacts, Level, StrategyKind, explain_rank};
use serde::Serialize;

use super::pool::{Keyed, Queue, run as run_pool};
use super::rank::median;
use super::workload::Case;

/// Starts a second, engine and all.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decisions {
    pub(crate) trace: String,
    pub(crate) bare_set_per_s: f64,
    pub(crate) ours_per_s: f64,
    pub(crate) explained_per_s: f64,
}

/// Measures `PRIORITY_BASED`.
///
/// # Errors
/// None so far.
pub(crate) fn run(trace: &str, case: &Case) -> Result<Decisions> {
    let facts = case.facts(|_| Level::ROUTINE);
    let strategy = StrategyKind::PriorityBased.contention();
    let per_s = |work: &mut dyn FnMut() -> u64| {
        let time = median(3, work);
        case.jobs.len() as f64 / time.as_secs_f64()
    };
    Ok(Decisions {
        trace: trace.to_owned(),
        bare_set_per_s: per_s(&mut || starts(case, &mut Bare { case, set: BTreeSet::new() })),
        ours_per_s: per_s(&mut || starts(case, &mut Keyed::new(strategy, case, &facts))),
        explained_per_s: per_s(&mut || {
            starts(case, &mut Explained { strategy, facts: &facts, queue: Keyed::new(strategy, case, &facts) })
        }),
    })
}

fn starts(case: &Case, queue: &mut impl Queue) -> u64 {
    let mut last = 0;
    run_pool(case, queue, AgeingRules::default().reserve_after_ms, |_, now| last = now);
    last
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
