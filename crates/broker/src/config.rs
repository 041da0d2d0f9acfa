//! The durations, limits and rules of a coordinator.

use reconvene_executor::Reappearance;
use reconvene_resolve::{Policy, StrategyKind};

/// How a [`Coordinator`](crate::Coordinator) behaves. Durations are in milliseconds.
///
/// [`build`](Self::build) checks that the settings do not contradict each other.
///
/// ```
/// use reconvene_broker::{Config, ConfigError, StrategyKind};
///
/// let config = Config::new(StrategyKind::EmergencyFirst).build()?;
/// assert_eq!(config.detection_ms(), 42_000);
///
/// let mut hasty = Config::new(StrategyKind::EmergencyFirst);
/// hasty.lease_ms = 10_000;
/// assert!(matches!(hasty.build(), Err(ConfigError::TooShort { what: "lease_ms", .. })));
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Orders waiting jobs here, and judges the results of jobs admitted here, until an operator switches the policy of
    /// the network.
    pub policy: Policy,
    /// How often brokers exchange what they know. Owners' silence is measured against it.
    pub sync_interval_ms: u64,
    /// How often executors say that they are there.
    pub heartbeat_ms: u64,
    /// How long an executor may go on with an attempt after its last answered heartbeat.
    pub lease_ms: u64,
    /// How far two clocks may drift apart during a lease.
    pub drift_ms: u64,
    /// How much longer the broker waits before it calls an attempt lost.
    pub redeploy_grace_ms: u64,
    /// Silence after which the owner of a job counts as gone.
    pub owner_timeout_ms: u64,
    /// How much later each further broker in line takes over.
    pub takeover_step_ms: u64,
    /// How long executors wait for their home before they look for another. Told to nobody; checked against the lease.
    pub orphan_after_ms: u64,
    /// How long a job waits here before it may be handed to a broker with more room, and between two hand-overs.
    pub place_after_ms: u64,
    /// For how long a place is kept for a job of another broker that asked for it.
    pub reservation_ms: u64,
    /// How long after the first accepted result challengers are admitted, under strategies that judge.
    pub contest_window_ms: u64,
    /// How often executors look for brokers. A broker that comes back waits twice as long for a peer to learn from.
    pub discovery_interval_ms: u64,
    /// Losses of a job, of attempts that its present owner placed, before it is put into quarantine.
    pub redeploys: u32,
    /// How long the first such quarantine lasts; each further loss doubles it.
    pub redeploy_delay_ms: u64,
    /// How long such a quarantine lasts at most.
    pub redeploy_delay_max_ms: u64,
    /// Failures of a job, of attempts that its present owner placed, that are tried again. One more, and the job has failed.
    pub retries: u32,
    /// What becomes of the attempts of jobs admitted here when a lost one comes back, unless the job says.
    pub reappearance: Reappearance,
    /// How often an order is repeated to an executor that neither takes nor refuses it.
    pub offers: u32,
    /// The storm guard turns on when more than this many executors in a hundred fall silent together; 100 keeps it off.
    pub storm_percent: u32,
    /// What counts as together. An executor's crash is laid to its job only if no other was lost as near to it in time.
    pub storm_window_ms: u64,
    /// With fewer executors than this the guard does not turn on.
    pub storm_min_executors: u32,
    /// How long the guard is on at most: executors that are gone for good must not hold their jobs for ever.
    pub storm_hold_ms: u64,
    /// Executors that have registered here, above which no more are taken: a further one takes the place of one that left or
    /// was given up, or gets no answer and looks for another broker.
    pub max_executors: usize,
    /// Attempts that executors name here and that no owner's fact attests: so many are noted, a sixteenth of them of one
    /// executor and 64 of one job. Of others the executor is told to go on, and nothing is written down.
    pub max_unattested: usize,
    /// Results of one job that are written down although they do not count. Of others the executor gets the same answer.
    /// Sixteen may be accepted here, one over the other, until the job is settled; a further one is to wait.
    pub max_submissions: usize,
    /// Results kept for jobs not known here.
    pub parked_limit: usize,
    /// Bytes of results kept for jobs not known here.
    pub parked_bytes: usize,
    /// How long such a result is kept.
    pub parked_ttl_ms: u64,
    /// Bytes of a result above which it is not taken here. Its executor keeps it.
    pub result_max: usize,
    /// Bytes of a result that are kept in its fact; of a longer one only the digest is.
    pub inline_result_max: usize,
    /// How long a job is kept after its result was accepted, or it was cancelled, and every member knows that.
    pub keep_results_ms: u64,
    /// Unfinished jobs above which no more are admitted here.
    pub max_jobs: usize,
    /// Names of data above which no more are published here.
    pub max_data: usize,
    /// The greatest level of emergency that may be declared here.
    pub max_emergency_level: u8,
    /// How long an emergency stands if its declaration does not say.
    pub emergency_default_ms: u64,
    /// How long an emergency may stand.
    pub emergency_max_ms: u64,
    /// Emergencies that may be declared here in a minute.
    pub emergencies_per_minute: u32,
    /// Whether this broker was started by an executor because none was left, and how many executors came before it.
    pub promoted: Option<u32>,
    /// How far ahead of local time a stamp may be and still move the local clock.
    pub max_skew_ms: u64,
}

impl Config {
    /// The default settings under this strategy with its default parameters.
    #[must_use]
    pub fn new(strategy: StrategyKind) -> Self {
        Self {
            policy: Policy::of(strategy),
            sync_interval_ms: 60_000,
            heartbeat_ms: 5_000,
            lease_ms: 30_000,
            drift_ms: 2_000,
            redeploy_grace_ms: 10_000,
            owner_timeout_ms: 150_000,
            takeover_step_ms: 60_000,
            orphan_after_ms: 60_000,
            place_after_ms: 60_000,
            reservation_ms: 60_000,
            contest_window_ms: 60_000,
            discovery_interval_ms: 30_000,
            redeploys: 3,
            redeploy_delay_ms: 600_000,
            redeploy_delay_max_ms: 7_200_000,
            retries: 2,
            reappearance: Reappearance::FirstResult,
            offers: 5,
            storm_percent: 55,
            storm_window_ms: 60_000,
            storm_min_executors: 3,
            storm_hold_ms: 600_000,
            max_executors: 4_096,
            max_unattested: 4_096,
            max_submissions: 256,
            parked_limit: 4_096,
            parked_bytes: 64 * 1024 * 1024,
            parked_ttl_ms: 7 * 24 * 3_600_000,
            result_max: reconvene_executor::limits::OUTPUT_BYTES,
            inline_result_max: 64 * 1024,
            keep_results_ms: 7 * 24 * 3_600_000,
            max_jobs: 1_000_000,
            max_data: 65_536,
            max_emergency_level: 200,
            emergency_default_ms: 3_600_000,
            emergency_max_ms: 24 * 3_600_000,
            emergencies_per_minute: 10,
            promoted: None,
            max_skew_ms: 60_000,
        }
    }

    /// Multiplies the durations by `sync_interval_ms` / 60 s, so that everything happens that much faster.
    ///
    /// What clients and executors hold on to keeps its length: results, those kept for unknown jobs as well, emergencies, and the
    /// skew allowed between wall clocks.
    #[must_use]
    pub fn scaled(mut self, sync_interval_ms: u64) -> Self {
        let scale = |ms: u64| {
            let scaled = u128::from(ms).saturating_mul(u128::from(sync_interval_ms)) / 60_000;
            u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
        };
        for ms in [
            &mut self.heartbeat_ms,
            &mut self.lease_ms,
            &mut self.drift_ms,
            &mut self.redeploy_grace_ms,
            &mut self.owner_timeout_ms,
            &mut self.takeover_step_ms,
            &mut self.orphan_after_ms,
            &mut self.place_after_ms,
            &mut self.reservation_ms,
            &mut self.contest_window_ms,
            &mut self.discovery_interval_ms,
            &mut self.redeploy_delay_ms,
            &mut self.redeploy_delay_max_ms,
            &mut self.storm_window_ms,
            &mut self.storm_hold_ms,
            &mut self.sync_interval_ms,
        ] {
            *ms = scale(*ms);
        }
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] with the first contradiction.
    pub fn build(self) -> Result<Self, ConfigError> {
        let durations = [
            self.sync_interval_ms,
            self.heartbeat_ms,
            self.lease_ms,
            self.drift_ms,
            self.redeploy_grace_ms,
            self.owner_timeout_ms,
            self.takeover_step_ms,
            self.orphan_after_ms,
            self.place_after_ms,
            self.reservation_ms,
            self.contest_window_ms,
            self.discovery_interval_ms,
            self.redeploy_delay_ms,
            self.redeploy_delay_max_ms,
            self.storm_window_ms,
            self.storm_hold_ms,
            self.parked_ttl_ms,
            self.keep_results_ms,
            self.emergency_default_ms,
            self.emergency_max_ms,
            self.max_skew_ms,
        ];
        let mut rest: &[u64] = &durations;
        while let [ms, tail @ ..] = rest {
            if *ms > DURATION_MAX_MS {
                return Err(ConfigError::TooLong { found: *ms, limit: DURATION_MAX_MS });
            }
            rest = tail;
        }
        if self.heartbeat_ms == 0 {
            return Err(ConfigError::TooShort {
                what: "heartbeat_ms",
                found: 0,
                least: 1,
                because: "timers need a step",
            });
        }
        let least = [
            ("lease_ms", self.lease_ms, self.heartbeat_ms.saturating_mul(3), "a lease must outlast three heartbeats"),
            (
                "owner_timeout_ms",
                self.owner_timeout_ms,
                self.sync_interval_ms.saturating_mul(2),
                "an owner must be able to miss a sync",
            ),
            (
                "orphan_after_ms",
                self.orphan_after_ms,
                self.lease_ms,
                "an executor must not leave while it holds leases",
            ),
            ("storm_hold_ms", self.storm_hold_ms, self.detection_ms(), "the guard must outlast what a loss takes"),
            (
                "keep_results_ms",
                self.keep_results_ms,
                self.owner_timeout_ms,
                "what is over must be known for as long as an owner may be silent",
            ),
            ("redeploy_delay_max_ms", self.redeploy_delay_max_ms, self.redeploy_delay_ms, "delays only grow"),
            ("emergency_max_ms", self.emergency_max_ms, self.emergency_default_ms, "the default must be allowed"),
        ];
        let mut rest: &[(&'static str, u64, u64, &'static str)] = &least;
        while let [(what, found, least, because), tail @ ..] = rest {
            if *found < *least {
                return Err(ConfigError::TooShort { what, found: *found, least: *least, because });
            }
            rest = tail;
        }
        if self.storm_percent > 100 {
            return Err(ConfigError::Percent { what: "storm_percent", found: self.storm_percent });
        }
        if self.max_emergency_level > 200 {
            return Err(ConfigError::Level { found: self.max_emergency_level });
        }
        if self.inline_result_max > INLINE_LIMIT {
            return Err(ConfigError::Inline { found: self.inline_result_max, limit: INLINE_LIMIT });
        }
        Ok(self)
    }

    /// What executors can make a coordinator hold in memory, in bytes, whatever they send: for each of
    ///
    /// * the executors: 32 KiB, with the most and the longest tags and the most orders to stop;
    /// * the attempts that nobody attests: 4 KiB;
    /// * the `jobs` known here: 1 KiB for each result, and the inlined bytes of those that may be accepted;
    /// * the results of unknown jobs, and again as much for specifications that executors gave back: 2 KiB and their bytes;
    ///
    /// and 16 MiB for messages on their way. A test with an allocator that counts holds it against what a million hostile
    /// messages leave behind.
    #[must_use]
    pub fn executors_memory_bytes(&self, jobs: usize) -> usize {
        let executors = self.max_executors.saturating_mul(32 << 10);
        let attempts = self.max_unattested.saturating_mul(4 << 10);
        let accepted = self.inline_result_max.saturating_mul(ACCEPTED);
        let of_job = self.max_submissions.saturating_mul(1 << 10).saturating_add(accepted);
        let kept = self.parked_bytes.saturating_add(self.parked_limit.saturating_mul(2 << 10));
        let parts = [executors, attempts, of_job.saturating_mul(jobs), kept.saturating_mul(2), 16 << 20];
        parts.into_iter().fold(0, usize::saturating_add)
    }

    /// How long after the last answer that offered or renewed an attempt the attempt is lost: the lease, the drift of
    /// clocks and the grace together.
    #[must_use]
    pub const fn detection_ms(&self) -> u64 {
        self.lease_ms.saturating_add(self.drift_ms).saturating_add(self.redeploy_grace_ms)
    }
}

/// Ten years, so that sums of durations and a date stay far from overflow.
const DURATION_MAX_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// Results of one job that may be accepted here, one over the other, until it is settled.
pub(crate) const ACCEPTED: usize = 16;

/// A fact with a result of this size still fits the limit of a fact.
const INLINE_LIMIT: usize = 512 * 1024;

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration is too short beside another.
    #[error("{what} is {found}, must be at least {least}: {because}")]
    TooShort {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The least that goes with the other settings.
        least: u64,
        /// Why.
        because: &'static str,
    },
    /// A duration is too long to be added to a date.
    #[error("a duration of {found} ms is more than {limit} ms")]
    TooLong {
        /// The duration.
        found: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// Parts in a hundred end at 100.
    #[error("{what} is {found}, must be at most 100")]
    Percent {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: u32,
    },
    /// Levels of emergency end at 200.
    #[error("max_emergency_level is {found}, levels end at 200")]
    Level {
        /// The level.
        found: u8,
    },
    /// Results this long do not fit a fact.
    #[error("inline_result_max is {found}, a fact holds at most {limit} bytes of a result")]
    Inline {
        /// The setting.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = Config::new(StrategyKind::FirstComeFirstServed);
        change(&mut config);
        config.build().unwrap_err()
    }

    #[test]
    fn contradictions_are_named() {
        assert!(matches!(refused(|c| c.lease_ms = 14_999), ConfigError::TooShort { what: "lease_ms", .. }));
        assert!(matches!(
            refused(|c| c.owner_timeout_ms = 119_999),
            ConfigError::TooShort { what: "owner_timeout_ms", .. }
        ));
        assert!(matches!(
            refused(|c| c.orphan_after_ms = 29_999),
            ConfigError::TooShort { what: "orphan_after_ms", .. }
        ));
        assert!(matches!(refused(|c| c.heartbeat_ms = 0), ConfigError::TooShort { what: "heartbeat_ms", .. }));
        assert!(matches!(refused(|c| c.lease_ms = u64::MAX), ConfigError::TooLong { .. }));
        assert!(matches!(refused(|c| c.storm_hold_ms = 41_999), ConfigError::TooShort { what: "storm_hold_ms", .. }));
        assert!(matches!(
            refused(|c| c.keep_results_ms = 149_999),
            ConfigError::TooShort { what: "keep_results_ms", .. }
        ));
        assert!(matches!(refused(|c| c.storm_percent = 101), ConfigError::Percent { found: 101, .. }));
        assert!(matches!(refused(|c| c.max_emergency_level = 201), ConfigError::Level { found: 201 }));
        assert!(matches!(refused(|c| c.inline_result_max = 1 << 20), ConfigError::Inline { .. }));
    }

    #[test]
    fn scaling_keeps_the_settings_consistent() {
        for sync_ms in [1_000, 60, 600_000] {
            let config = Config::new(StrategyKind::FirstComeFirstServed).scaled(sync_ms).build().unwrap();
            assert_eq!(config.sync_interval_ms, sync_ms);
        }
        let second = Config::new(StrategyKind::FirstComeFirstServed).scaled(1_000);
        assert_eq!((second.detection_ms(), second.owner_timeout_ms), (500 + 33 + 166, 2_500));
    }
}
