//! When the demo breaks what.

use super::Options;

/// The script of faults, in milliseconds since the start of the workload.
///
/// Each step has its place in the workload, in per cent, and a least distance from the step before it: a short workload
/// stretches the script, so that every fault lasts long enough to be noticed and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// The brokers are cut into two sides.
    pub(crate) cut_ms: u64,
    /// A third of the executors vanish.
    pub(crate) vanish_ms: u64,
    /// An emergency is declared on one side.
    pub(crate) emergency_ms: u64,
    /// The two sides see each other again.
    pub(crate) heal_ms: u64,
    /// The vanished executors reappear, though not before `gone_ms` after they really vanished.
    pub(crate) reappear_ms: u64,
    /// The least time that vanished executors stay away: twice the detection bound.
    pub(crate) gone_ms: u64,
}

impl Script {
    /// The script for a workload whose last job comes after `workload_ms` and whose jobs run `typical_run_ms`.
    pub(crate) fn new(options: &Options, workload_ms: u64, typical_run_ms: u64) -> Self {
        let interval = options.sync_interval_ms;
        let at = |percent: u64| workload_ms.saturating_mul(percent) / 100;
        let after = |earlier: u64, distance: u64| earlier.saturating_add(distance);
        let detection = options.scaled_ms(DETECTION_BOUND_MS);

        // Before the first cut brokers have met and exchanged what there is.
        let cut = at(20).max(interval.saturating_mul(3) / 2);
        let vanish = at(30).max(after(cut, interval / 4));
        let emergency = at(45).max(after(vanish, interval / 4));
        // Long enough that the other side takes silent owners' jobs over, waits for their leases and runs them again.
        let parted = options
            .scaled_ms(OWNER_TIMEOUT_MS)
            .saturating_add(detection)
            .saturating_add(typical_run_ms)
            .saturating_add(interval);
        let heal = at(60).max(after(emergency, interval / 4)).max(after(cut, parted));
        let gone = detection.saturating_mul(2);
        let reappear = at(70).max(after(heal, interval / 4)).max(after(vanish, gone));
        Self {
            cut_ms: cut,
            vanish_ms: vanish,
            emergency_ms: emergency,
            heal_ms: heal,
            reappear_ms: reappear,
            gone_ms: gone,
        }
    }
}

/// After this much silence an executor's attempts are lost: lease, drift and grace.
pub(crate) const DETECTION_BOUND_MS: u64 = 42_000;
/// After this much silence another broker takes a job over.
const OWNER_TIMEOUT_MS: u64 = 150_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tests::options;

    #[test]
    fn a_long_workload_follows_the_percentages() {
        let script = Script::new(&options(), 100_000, 1_000);
        let expected = Script {
            cut_ms: 20_000,
            vanish_ms: 30_000,
            emergency_ms: 45_000,
            heal_ms: 60_000,
            reappear_ms: 70_000,
            gone_ms: 1_400,
        };
        assert_eq!(script, expected);
    }

    #[test]
    fn a_short_workload_stretches_the_script() {
        let script = Script::new(&options(), 1_000, 500);
        assert!(script.cut_ms >= 1_500);
        assert!(script.cut_ms < script.vanish_ms && script.vanish_ms < script.emergency_ms);
        assert!(script.heal_ms - script.cut_ms >= 2_500 + 700 + 500, "{script:?}");
        assert!(script.reappear_ms > script.heal_ms);
        assert!(script.reappear_ms - script.vanish_ms >= script.gone_ms);
    }
}
