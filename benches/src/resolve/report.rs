//! The figures, for programs and for people.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::decisions::Decisions;
use super::emergencies::Emergencies;
use super::packing::Packing;
use super::placement::PlacementRates;
pub(crate) use super::preemption::Preemptions;
use super::rank::Rank;
use super::replay::{Overtake, Row};

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) packing: Packing,
    pub(crate) rank: Rank,
    pub(crate) replay: Vec<Row>,
    pub(crate) overtake: Overtake,
    pub(crate) preemptions: Preemptions,
    pub(crate) placement: PlacementRates,
    pub(crate) reconcile_picks_per_s: u64,
    pub(crate) head_room_cores: u64,
    pub(crate) emergencies: Vec<Emergencies>,
    pub(crate) decisions: Vec<Decisions>,
}

/// A goal with what was found.
struct Goal {
    what: String,
    found: String,
    goal: String,
    met: bool,
}

fn at_least(what: impl Into<String>, found: f64, goal: f64) -> Goal {
    Goal { what: what.into(), found: format!("{found:.4}"), goal: format!(">= {goal}"), met: found >= goal }
}

fn at_most(what: impl Into<String>, found: f64, goal: f64) -> Goal {
    Goal { what: what.into(), found: format!("{found:.4}"), goal: format!("<= {goal}"), met: found <= goal }
}

impl Report {
    fn goals(&self) -> Vec<Goal> {
        let Self { packing, rank, overtake, preemptions, placement, .. } = self;
        let mut goals = vec![
            at_least("packing, portfolio, mean", packing.portfolio.mean, 0.98),
            at_least("packing, portfolio, worst", packing.portfolio.worst, 0.95),
            at_least("packing, search, mean", packing.search.mean, 0.99),
            at_least("packing, search, worst", packing.search.worst, 0.965),
            at_least("full order: BinaryHeap / ours", rank.binary_heap_ms / rank.ours_ms, 8.0),
            at_least("full order: f64 comparator / ours", rank.f64_sort_ms / rank.ours_ms, 7.0),
            at_most("top 1,000 / full order", rank.top_1000_ms / rank.ours_ms, 0.35),
            at_least("reconcile picks of 4 a second", self.reconcile_picks_per_s as f64, 10_000_000.0),
            at_least("placement: index / scan", placement.index_per_s / placement.scan_per_s, 6.0),
            Goal {
                what: "placement: identical choices".to_owned(),
                found: placement.identical.to_string(),
                goal: "true".to_owned(),
                met: placement.identical,
            },
            Goal {
                what: "longest overtake, s".to_owned(),
                found: overtake.longest_s.to_string(),
                goal: format!("< {}", overtake.bound_s),
                met: overtake.longest_s < overtake.bound_s,
            },
            at_most("preemptions", preemptions.count as f64, preemptions.bound as f64),
            at_most("preemptions, repeated pairs", preemptions.repeated_pairs as f64, 0.0),
        ];
        // What none gives is there to compare with.
        for found in self.emergencies.iter().filter(|found| found.head_room_cores == self.head_room_cores) {
            let Emergencies { trace, seed, head_room_cores: cores, .. } = found;
            let what = |what: &str| format!("{trace}, seed {seed}, head room {cores}: {what}");
            goals.push(at_most(what("longest emergency wait, s"), found.wait_max_s, 200.0));
            goals.push(at_most(what("rise of the others' mean wait"), found.others_rise, 0.03));
        }
        for found in &self.decisions {
            let ratio = found.ours_per_s / found.bare_set_per_s;
            goals.push(at_least(format!("{}: decisions, ours / bare set", found.trace), ratio, 0.7));
            let ratio = found.explained_per_s / found.bare_set_per_s;
            goals.push(at_least(format!("{}: decisions, explained / bare set", found.trace), ratio, 0.1));
        }
        goals
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut waits = Table::new();
        waits.set_header(["log", "strategy", "class", "jobs", "mean wait, s", "95 %, s", "longest, s"]);
        for row in self.replay.iter().filter(|row| !row.trace.contains("/site ")) {
            waits.add_row([
                row.trace.clone(),
                row.strategy.to_owned(),
                row.class.clone(),
                row.jobs.to_string(),
                format!("{:.1}", row.wait_mean_s),
                format!("{:.0}", row.wait_p95_s),
                format!("{:.0}", row.wait_max_s),
            ]);
        }
        writeln!(f, "{waits}")?;
        let rank = &self.rank;
        writeln!(
            f,
            "{} jobs in order: ours {:.1} ms, BinaryHeap {:.1}, f64 comparator {:.1} (scores once: {:.1}), \
             priority-queue {:.1}; the first 1,000 {:.1}, of a burst {:.1}",
            rank.n,
            rank.ours_ms,
            rank.binary_heap_ms,
            rank.f64_sort_ms,
            rank.f64_cached_sort_ms,
            rank.priority_queue_ms,
            rank.top_1000_ms,
            rank.top_1000_burst_ms,
        )?;
        writeln!(
            f,
            "placement on {} executors: {:.0} a second by the index, {:.0} by the scan",
            self.placement.executors, self.placement.index_per_s, self.placement.scan_per_s
        )?;
        for found in &self.decisions {
            writeln!(
                f,
                "{}: starts a second: bare set {:.0}, FIRST_COME_FIRST_SERVED {:.0}, PRIORITY_BASED {:.0}, explained {:.0}",
                found.trace, found.bare_set_per_s, found.ours_per_s, found.priority_per_s, found.explained_per_s
            )?;
        }
        for found in &self.emergencies {
            writeln!(
                f,
                "{}, seed {}, head room of {}: emergencies wait {:.1} s, {:.0} at most; others {:+.2} % by them, {:+.2} % by them \
                 and the head room",
                found.trace,
                found.seed,
                found.head_room_cores,
                found.wait_mean_s,
                found.wait_max_s,
                100.0 * found.others_rise,
                100.0 * found.others_rise_over_none,
            )?;
        }
        writeln!(f, "longest wait of life safety with preemption: {} s", self.preemptions.emergency_wait_max_s)?;
        let mut goals = Table::new();
        goals.set_header(["", "found", "goal", ""]);
        for Goal { what, found, goal, met } in self.goals() {
            goals.add_row([what, found, goal, if met { String::new() } else { "missed".to_owned() }]);
        }
        write!(f, "{goals}")
    }
}
