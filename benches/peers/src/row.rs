//! One line of the result.

use std::collections::BTreeMap;

use serde::Serialize;

/// What one operation took at one size. Absent is what was not measured or makes no sense there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The operation.
    pub op: &'static str,
    /// Entries of the clocks.
    pub n: usize,
    /// What the clocks are keyed by.
    pub id: &'static str,
    /// Nanoseconds per operation, the median of many samples.
    pub ours_ns: Option<f64>,
    /// The same for bare slices of numbers that do the least there is to do.
    pub floor_ns: Option<f64>,
    /// The same for other crates.
    pub peers: BTreeMap<&'static str, f64>,
    /// Bytes on the wire or on the heap.
    pub ours_bytes: Option<u64>,
    /// The same for other crates.
    pub peer_bytes: BTreeMap<&'static str, u64>,
    /// What we want of our figure, each with what it came to.
    pub goals: Vec<Goal>,
}

/// An upper bound of a figure.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What ours is divided by, or `bytes`, or `ns`.
    pub of: &'static str,
    /// The greatest quotient or figure that is good enough.
    pub at_most: f64,
    /// What it was in this run.
    pub is: f64,
}

impl Row {
    /// A row of this operation.
    pub fn new(op: &'static str, n: usize) -> Self {
        Self { op, n, id: "u64", ..Self::default() }
    }

    /// This row with the times of a race: `ours`, `floor`, and all others are peers.
    pub fn with_times(mut self, mut times: BTreeMap<&'static str, f64>) -> Self {
        self.ours_ns = times.remove("ours");
        self.floor_ns = times.remove("floor");
        self.peers = times;
        self
    }

    /// This row with a goal: ours at most so many times what that candidate took.
    pub fn times(mut self, of: &'static str, at_most: f64) -> Self {
        let other = if of == "floor" { self.floor_ns } else { self.peers.get(of).copied() };
        if let (Some(ours), Some(other)) = (self.ours_ns, other) {
            self.goals.push(Goal { of, at_most, is: ours / other });
        }
        self
    }

    /// This row with a goal: at most so many nanoseconds.
    pub fn nanos(mut self, at_most: f64) -> Self {
        if let Some(is) = self.ours_ns {
            self.goals.push(Goal { of: "ns", at_most, is });
        }
        self
    }

    /// This row with a goal: at most so many bytes.
    pub fn bytes(mut self, at_most: f64) -> Self {
        if let Some(is) = self.ours_bytes {
            self.goals.push(Goal { of: "bytes", at_most, is: is as f64 });
        }
        self
    }
}

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| operation | n | ours | floor | peers | goals |\n|---|---|---|---|---|---|\n");
    let ns = |value: f64| if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    for row in rows {
        let ours = match (row.ours_ns, row.ours_bytes) {
            (Some(value), _) => format!("{} ns", ns(value)),
            (None, Some(bytes)) => format!("{bytes} B"),
            (None, None) => String::new(),
        };
        let floor = row.floor_ns.map(ns).unwrap_or_default();
        let times = row.peers.iter().map(|(name, value)| format!("{name} {}", ns(*value)));
        let bytes = row.peer_bytes.iter().map(|(name, value)| format!("{name} {value}"));
        let peers: Vec<_> = times.chain(bytes).collect();
        let goals = row.goals.iter().map(|goal| {
            let verdict = if goal.is <= goal.at_most { "" } else { " **missed**" };
            format!("{} {:.3} <= {}{verdict}", goal.of, goal.is, goal.at_most)
        });
        let goals: Vec<_> = goals.collect();
        text +=
            &format!("| {} | {} | {ours} | {floor} | {} | {} |\n", row.op, row.n, peers.join(", "), goals.join("; "));
    }
    text
}
