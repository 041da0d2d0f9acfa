//! What a run has met.

use std::collections::BTreeMap;

/// How often something happened, by name: a run in which nothing happened proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    counts: BTreeMap<&'static str, u64>,
}

impl Reached {
    /// How often this happened.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Everything that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in other.iter() {
            self.note(what, count);
        }
    }

    pub(super) fn note(&mut self, what: &'static str, count: u64) {
        let sum = self.counts.entry(what).or_default();
        *sum = sum.saturating_add(count);
    }
}
