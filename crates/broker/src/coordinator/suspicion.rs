//! Whether an executor's silence is longer than its heartbeats make likely.

use std::collections::VecDeque;

/// The gaps between heartbeats of one executor, as phi-accrual detection uses them (Hayashibara et al. 2004), in
/// integers: a silence of mean + 5.61 standard deviations has phi = 8 under a normal tail.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    expected_ms: u64,
    window: VecDeque<u64>,
}

impl Gaps {
    pub(super) const fn new(expected_ms: u64) -> Self {
        Self { expected_ms, window: VecDeque::new() }
    }

    pub(super) fn push(&mut self, gap_ms: u64) {
        if self.window.len() >= WINDOW {
            self.window.pop_front();
        }
        // A gap after a silence says nothing about the usual ones, and would hide the next silence.
        self.window.push_back(gap_ms.min(self.suspect_after_ms()));
    }

    /// The silence after which the executor is suspect.
    pub(super) fn suspect_after_ms(&self) -> u64 {
        let half = self.expected_ms / 2;
        let (mean, deviation) = self.moments().unwrap_or((self.expected_ms, half));
        let slack = deviation.max(half).saturating_mul(DEVIATIONS_CENTI).div_ceil(100);
        mean.saturating_add(slack)
    }

    fn moments(&self) -> Option<(u64, u64)> {
        let count = u64::try_from(self.window.len()).ok().filter(|count| *count >= SAMPLES)?;
        let sum = self.window.iter().fold(0_u64, |sum, gap| sum.saturating_add(*gap));
        let mean = sum.checked_div(count)?;
        let squares = self.window.iter().map(|gap| gap.abs_diff(mean).saturating_pow(2));
        let variance = squares.fold(0_u64, u64::saturating_add).checked_div(count)?;
        Some((mean, variance.isqrt()))
    }
}

const WINDOW: usize = 100;
const SAMPLES: u64 = 5;
const DEVIATIONS_CENTI: u64 = 561;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_heartbeats_make_nineteen_seconds_suspicious() {
        let mut gaps = Gaps::new(5_000);
        assert_eq!(gaps.suspect_after_ms(), 5_000 + 14_025);
        for _ in 0..200 {
            gaps.push(5_000);
        }
        assert_eq!(gaps.suspect_after_ms(), 19_025);
    }

    #[test]
    fn irregular_heartbeats_earn_patience_and_one_silence_does_not() {
        let mut gaps = Gaps::new(5_000);
        (0..50).for_each(|i| gaps.push(if i % 2 == 0 { 1_000 } else { 15_000 }));
        assert!(gaps.suspect_after_ms() > 40_000);
        let mut gaps = Gaps::new(5_000);
        (0..50).for_each(|_| gaps.push(5_000));
        gaps.push(u64::MAX);
        assert!(gaps.suspect_after_ms() < 20_000);
    }
}
