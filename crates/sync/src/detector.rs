//! Phi-accrual failure detection (Hayashibara et al. 2004), in integers, so that simulations repeat bit for bit.

use std::collections::VecDeque;

use reconvene_clock::Timestamp;

/// How long a peer is usually silent, from the gaps between its last frames.
///
/// Phi is -log10 of the chance that a gap is at least this long, were gaps distributed normally. So phi passes a
/// threshold when silence passes the mean plus a fixed number of deviations, and no logarithm is needed at run time.
#[derive(Clone, Debug)]
pub(crate) struct Detector {
    gaps: VecDeque<u32>,
    sum: u64,
    squares: u64,
    last: Timestamp,
}

/// A threshold of phi, as thousandths of a deviation above the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Threshold(u64);

impl Threshold {
    /// Phi 8: one gap in a hundred million.
    pub(crate) const SUSPECT: Self = Self(5_612);
    /// Phi 12.
    pub(crate) const UNREACHABLE: Self = Self(7_034);
}

/// Gaps remembered.
const WINDOW: usize = 100;
/// With fewer gaps than this there is nothing to judge by.
const ENOUGH: usize = 8;
/// Longer gaps count as this long: an outage is no habit.
const LONGEST_GAP_MS: u64 = 600_000;

impl Detector {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { gaps: VecDeque::new(), sum: 0, squares: 0, last: now }
    }

    /// A valid frame arrived. Frames of one burst, closer together than `burst_ms`, count as one.
    ///
    /// A peer speaks at least every `pause_ms`. That it speaks more often at times makes it no less regular, so shorter
    /// gaps count as this long.
    pub(crate) fn heard(&mut self, now: Timestamp, burst_ms: u64, pause_ms: u64) {
        let gap = now.saturating_since(self.last);
        if gap < burst_ms {
            return;
        }
        self.last = now;
        if self.gaps.len() >= WINDOW
            && let Some(oldest) = self.gaps.pop_front()
        {
            self.sum = self.sum.saturating_sub(oldest.into());
            self.squares = self.squares.saturating_sub(square(oldest));
        }
        let gap = u32::try_from(gap.max(pause_ms).min(LONGEST_GAP_MS)).unwrap_or(u32::MAX);
        self.gaps.push_back(gap);
        self.sum = self.sum.saturating_add(gap.into());
        self.squares = self.squares.saturating_add(square(gap));
    }

    /// Silence that is no gap: the link was down, or this replica was.
    pub(crate) fn skip_to(&mut self, now: Timestamp) {
        self.last = self.last.max(now);
    }

    /// The silence at which phi passes a threshold; `None` while there is too little to judge by.
    ///
    /// A peer speaks at least every `pause_ms`, however often it spoke of late; deviations count as at least
    /// `deviation_ms`.
    pub(crate) fn silence_ms(&self, threshold: Threshold, pause_ms: u64, deviation_ms: u64) -> Option<u64> {
        if self.gaps.len() < ENOUGH {
            return None;
        }
        let count = u64::try_from(self.gaps.len()).ok()?;
        let mean = self.sum.checked_div(count)?;
        let variance = self.squares.checked_div(count)?.saturating_sub(mean.saturating_mul(mean));
        let deviation = variance.isqrt().max(deviation_ms);
        let above = deviation.saturating_mul(threshold.0) / 1_000;
        Some(mean.max(pause_ms).saturating_add(above))
    }
}

fn square(gap: u32) -> u64 {
    u64::from(gap).saturating_mul(gap.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(gaps: &[u64]) -> Detector {
        let mut detector = Detector::new(Timestamp::from_millis(0));
        let mut now = 0;
        for gap in gaps {
            now += gap;
            detector.heard(Timestamp::from_millis(now), 1, 0);
        }
        detector
    }

    /// The tail of the normal distribution by its continued fraction, good to many digits out here.
    fn phi(deviations: f64) -> f64 {
        let fraction = (1..200).rev().fold(deviations, |below, term| deviations + f64::from(term) / below);
        let log_density = -deviations * deviations / 2.0 - (2.0 * std::f64::consts::PI).sqrt().ln();
        -(log_density - fraction.ln()) / std::f64::consts::LN_10
    }

    #[test]
    fn thresholds_are_phi_eight_and_twelve() {
        assert!((phi(Threshold::SUSPECT.0 as f64 / 1_000.0) - 8.0).abs() < 0.001);
        assert!((phi(Threshold::UNREACHABLE.0 as f64 / 1_000.0) - 12.0).abs() < 0.002);
    }

    #[test]
    fn regular_frames_leave_the_least_deviation() {
        let detector = fed(&[1_000; 50]);
        assert_eq!(detector.silence_ms(Threshold::SUSPECT, 0, 500), Some(1_000 + 2_806));
        assert_eq!(detector.silence_ms(Threshold::UNREACHABLE, 20_000, 500), Some(20_000 + 3_517));
        assert_eq!(fed(&[1_000; 7]).silence_ms(Threshold::SUSPECT, 0, 500), None);
    }

    #[test]
    fn a_link_that_loses_frames_gets_more_patience() {
        let regular = fed(&[20_000; 60]);
        let lossy: Vec<u64> = (0..60).map(|number| if number % 5 == 0 { 40_000 } else { 20_000 }).collect();
        let patience = |detector: &Detector| detector.silence_ms(Threshold::SUSPECT, 20_000, 500).unwrap();
        assert!(patience(&fed(&lossy)) > patience(&regular) + 30_000);
    }

    #[test]
    fn a_peer_that_also_speaks_in_between_is_no_less_regular() {
        let mut detector = Detector::new(Timestamp::from_millis(0));
        for (number, now) in (0..100).scan(0, |now, number| {
            *now += if number % 3 == 0 { 20_000 } else { 2_000 };
            Some((number, *now))
        }) {
            detector.heard(Timestamp::from_millis(now), 500, 20_000);
            assert!(number >= detector.gaps.len() - 1);
        }
        assert_eq!(detector.silence_ms(Threshold::SUSPECT, 20_000, 500), Some(20_000 + 2_806));
    }

    #[test]
    fn a_burst_is_one_sample() {
        let mut detector = Detector::new(Timestamp::from_millis(0));
        for now in 0..5_000 {
            detector.heard(Timestamp::from_millis(now), 1_000, 0);
        }
        assert_eq!(detector.gaps.len(), 4);
    }

    proptest! {
        #[test]
        fn law_only_the_window_counts(gaps in proptest::collection::vec(1..1_000_000_u64, 0..300)) {
            let all = fed(&gaps);
            let last = fed(&gaps[gaps.len().saturating_sub(WINDOW)..]);
            prop_assert_eq!((all.sum, all.squares), (last.sum, last.squares));
            let suspect = all.silence_ms(Threshold::SUSPECT, 5, 5);
            prop_assert!(suspect <= all.silence_ms(Threshold::UNREACHABLE, 5, 5));
        }
    }
}
