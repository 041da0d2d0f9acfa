//! Decisions a second in a replay: by keys, with a decision that explains itself, and by a bare ordered set.

use std::collections::BTreeSet;
use std::hint::black_box;

use anyhow::{Result, ensure};
use reconvene_resolve::{ContentionStrategy, JobFacts, Level, Policy, StrategyKind, explain_rank};
use serde::Serialize;

use super::pool::{Keyed, Queue, Rules, run as run_pool};
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
    let (first, priority) = (Policy::first_come_first_served(), Policy::of(StrategyKind::PriorityBased));
    let (in_order, by_priority) = (Rules::of(&first, case, &facts), Rules::of(&priority, case, &facts));
    let (first, strategy) = (first.contention(), priority.contention());
    let ours = starts(case, &in_order, &mut Keyed::new(first, case, &facts));
    let bare = starts(case, &in_order, &mut Bare { case, set: BTreeSet::new() });
    ensure!(ours == bare, "the bare set starts other jobs");
    let per_s = |work: &mut dyn FnMut() -> u64| {
        let time = median(3, work);
        case.jobs.len() as f64 / time.as_secs_f64()
    };
    Ok(Decisions {
        trace: trace.to_owned(),
        bare_set_per_s: per_s(&mut || starts(case, &in_order, &mut Bare { case, set: BTreeSet::new() })),
        ours_per_s: per_s(&mut || starts(case, &in_order, &mut Keyed::new(first, case, &facts))),
        priority_per_s: per_s(&mut || starts(case, &by_priority, &mut Keyed::new(strategy, case, &facts))),
        explained_per_s: per_s(&mut || {
            let queue = Keyed::new(strategy, case, &facts);
            starts(case, &by_priority, &mut Explained { strategy, facts: &facts, queue })
        }),
    })
}

/// Replays the case; a sum over all starts, in order.
fn starts(case: &Case, rules: &Rules<'_>, queue: &mut impl Queue) -> u64 {
    let mut all = 0_u64;
    run_pool(case, queue, rules, |job, now| {
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
