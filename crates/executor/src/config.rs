//! How an agent is set up.

use std::collections::BTreeSet;

use crate::id::SessionEpoch;
use crate::limits;
use crate::message::Terms;
use crate::spec::{Resources, Tag};

/// How an [`Agent`](crate::Agent) is set up: what it offers, whom it turns to, and how long it waits.
///
/// ```
/// use reconvene_executor::{AgentConfig, Resources, SessionEpoch};
/// # let session = SessionEpoch { start: Default::default(), random: 1 };
///
/// let mut config = AgentConfig::new(session, 7);
/// config.capacity = Resources::new(8_000, 16_384, 0);
/// config.slots = 8;
/// config.tags = ["medical-imaging".parse()?].into();
/// config.brokers = vec!["10.0.0.7:7400".into(), "10.0.0.8:7400".into()];
/// // A network that syncs every second instead of every minute does everything sixty times as fast.
/// let config = config.scaled(1_000);
/// assert_eq!(config.orphan_after_ms, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentConfig {
    /// This run of the process: its start, and a number drawn at random.
    pub session: SessionEpoch,
    /// Where all randomness comes from.
    pub seed: u64,
    /// What there is when nothing runs. One core by default.
    pub capacity: Resources,
    /// How many attempts run at once, 1 to [`limits::SLOTS`]. 1 by default.
    pub slots: u32,
    /// What this executor can do. Nothing in particular by default.
    pub tags: BTreeSet<Tag>,
    /// Addresses of brokers, in the order in which to try them. Rosters of brokers add to them.
    pub brokers: Vec<String>,
    /// How leases and heartbeats are kept until a home says how it does. 30 s, 5 s and 2 s.
    pub terms: Terms,
    /// How long the home may be silent before another broker is made the home, in milliseconds. 60 s.
    pub orphan_after_ms: u64,
    /// Where a broker would listen that this executor starts when none is left: what others dial, so no port 0. `None`, as
    /// by default: it starts none.
    ///
    /// The executors that may do so are in the roster that their home tells them, in the same order for all, so that the
    /// first of them starts one and the others find it.
    pub promote_at: Option<String>,
    /// How long no broker is heard before the first of these executors starts one, in milliseconds. 180 s.
    pub promote_after_ms: u64,
    /// How much longer each further one waits, in milliseconds. 15 s.
    pub promote_step_ms: u64,
    /// How long a broker that does not answer is given before the next one is tried, and how often all of them are
    /// tried again, in milliseconds. 30 s.
    pub discovery_interval_ms: u64,
    /// How long to wait after a connection was refused, in milliseconds; doubled at each further refusal of the home.
    /// 1 s.
    pub connect_retry_ms: u64,
    /// How long to wait for an answer to a submission or a registration before it is repeated, in milliseconds;
    /// doubled each time. 2 s.
    pub resend_first_ms: u64,
    /// The longest wait before a submission is repeated, in milliseconds. 60 s.
    pub resend_max_ms: u64,
    /// Results kept at once, at most [`limits::ATTEMPTS`]. While attempts and results together reach it, new orders
    /// are refused: a result is never dropped to make room. 1,024.
    pub kept_results: usize,
    /// Bytes of results kept before new orders are refused. Attempts that run at that moment may still add up to
    /// [`limits::OUTPUT_BYTES`] each. 64 MiB.
    pub kept_bytes: usize,
    /// Submissions sent and not yet answered at once. 8.
    pub submits_in_flight: usize,
    /// Jobs whose greatest token is remembered after their attempts have ended, so that a late order does not run one
    /// again. The oldest are forgotten first. 65,536.
    pub remembered_jobs: usize,
}

impl AgentConfig {
    /// The defaults, for this run of the process and this seed.
    #[must_use]
    pub const fn new(session: SessionEpoch, seed: u64) -> Self {
        Self {
            session,
            seed,
            capacity: Resources::new(1_000, 0, 0),
            slots: 1,
            tags: BTreeSet::new(),
            brokers: Vec::new(),
            terms: Terms { lease_ms: 30_000, heartbeat_ms: 5_000, drift_ms: 2_000 },
            orphan_after_ms: 60_000,
            promote_at: None,
            promote_after_ms: 180_000,
            promote_step_ms: 15_000,
            discovery_interval_ms: 30_000,
            connect_retry_ms: 1_000,
            resend_first_ms: 2_000,
            resend_max_ms: 60_000,
            kept_results: 1_024,
            kept_bytes: 64 * 1024 * 1024,
            submits_in_flight: 8,
            remembered_jobs: 65_536,
        }
    }

    /// The same with every duration multiplied by `sync_interval_ms` / 60 s, and at least 1 ms.
    #[must_use]
    pub fn scaled(mut self, sync_interval_ms: u64) -> Self {
        for duration in [
            &mut self.terms.lease_ms,
            &mut self.terms.heartbeat_ms,
            &mut self.terms.drift_ms,
            &mut self.orphan_after_ms,
            &mut self.discovery_interval_ms,
            &mut self.connect_retry_ms,
            &mut self.resend_first_ms,
            &mut self.resend_max_ms,
            &mut self.promote_after_ms,
            &mut self.promote_step_ms,
        ] {
            *duration = (duration.saturating_mul(sync_interval_ms) / 60_000).max(1);
        }
        self
    }

    /// Checks the settings one by one and against each other.
    ///
    /// # Errors
    /// [`ConfigError`] with the first that cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |setting, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange { setting, value, least, most })
            }
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (setting, duration) in [
            ("terms.lease_ms", self.terms.lease_ms),
            ("terms.heartbeat_ms", self.terms.heartbeat_ms),
            ("orphan_after_ms", self.orphan_after_ms),
            ("discovery_interval_ms", self.discovery_interval_ms),
            ("connect_retry_ms", self.connect_retry_ms),
            ("resend_first_ms", self.resend_first_ms),
            ("resend_max_ms", self.resend_max_ms),
            ("promote_after_ms", self.promote_after_ms),
            ("promote_step_ms", self.promote_step_ms),
        ] {
            within(setting, duration, 1, limits::TERM_MS)?;
        }
        within("terms.drift_ms", self.terms.drift_ms, 0, limits::TERM_MS)?;
        within("slots", self.slots.into(), 1, limits::SLOTS.into())?;
        for (setting, amount) in [
            ("capacity.cpu_milli", self.capacity.cpu_milli),
            ("capacity.memory_mib", self.capacity.memory_mib),
            ("capacity.gpu_milli", self.capacity.gpu_milli),
        ] {
            within(setting, amount, 0, limits::AMOUNT_MAX)?;
        }
        within("tags", count(self.tags.len()), 0, count(limits::TAGS))?;
        within("brokers", count(self.brokers.len()), 0, count(limits::ROSTER))?;
        for address in &self.brokers {
            within("bytes of a broker's address", count(address.len()), 1, count(limits::ADDRESS_BYTES))?;
        }
        within("kept_results", count(self.kept_results), 1, count(limits::ATTEMPTS))?;
        within("submits_in_flight", count(self.submits_in_flight), 1, count(limits::ATTEMPTS))?;
        // Jobs with an attempt here are never forgotten, so there must be room beside them.
        let live = count(self.kept_results).saturating_add(self.slots.into());
        within("remembered_jobs", count(self.remembered_jobs), live.saturating_add(1), u64::MAX)?;
        if self.orphan_after_ms < self.terms.lease_ms {
            return Err(ConfigError::OrphanBeforeLeaseEnd {
                orphan_after_ms: self.orphan_after_ms,
                lease_ms: self.terms.lease_ms,
            });
        }
        if self.promote_after_ms < self.orphan_after_ms {
            return Err(ConfigError::PromotionBeforeOrphan {
                promote_after_ms: self.promote_after_ms,
                orphan_after_ms: self.orphan_after_ms,
            });
        }
        if let Some(address) = &self.promote_at {
            within("bytes of promote_at", count(address.len()), 1, count(limits::ADDRESS_BYTES))?;
        }
        Ok(())
    }
}

/// Settings that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is too small or too great.
    #[error("{setting} is {value}, expected {least} to {most}")]
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// What it is set to.
        value: u64,
        /// The least that makes sense.
        least: u64,
        /// The most that makes sense.
        most: u64,
    },
    /// The home would be given up while it still keeps its leases.
    #[error("orphan_after_ms is {orphan_after_ms}, less than a lease of {lease_ms} ms")]
    OrphanBeforeLeaseEnd {
        /// How long the home may be silent.
        orphan_after_ms: u64,
        /// How long a lease lasts.
        lease_ms: u64,
    },
    /// A broker would be started before others are looked for.
    #[error("promote_after_ms is {promote_after_ms}, less than orphan_after_ms, {orphan_after_ms}")]
    PromotionBeforeOrphan {
        /// How long no broker is heard before one is started.
        promote_after_ms: u64,
        /// How long the home may be silent.
        orphan_after_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use reconvene_clock::Hlc;

    use super::*;

    fn config() -> AgentConfig {
        AgentConfig::new(SessionEpoch::new(Hlc::default(), 1), 1)
    }

    #[test]
    fn the_defaults_hold_and_scale_together() {
        assert_eq!(config().validate(), Ok(()));
        let fast = config().scaled(1_000);
        assert_eq!(fast.validate(), Ok(()));
        assert_eq!((fast.terms.lease_ms, fast.terms.heartbeat_ms, fast.terms.drift_ms), (500, 83, 33));
        assert_eq!(config().scaled(60_000), config());
        assert_eq!(config().scaled(0).orphan_after_ms, 1);
        assert_eq!(config().scaled(0).validate(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut slots = config();
        slots.slots = 0;
        let mut orphan = config();
        orphan.orphan_after_ms = 1_000;
        let mut memory = config();
        memory.remembered_jobs = 10;
        let mut address = config();
        address.brokers = vec![String::new()];
        let mut hasty = config();
        hasty.promote_after_ms = 59_999;
        for (wrong, message) in [
            (hasty, "promote_after_ms is 59999, less than orphan_after_ms, 60000"),
            (slots, "slots is 0, expected 1 to 1024"),
            (orphan, "orphan_after_ms is 1000, less than a lease of 30000 ms"),
            (memory, "remembered_jobs is 10, expected 1026 to 18446744073709551615"),
            (address, "bytes of a broker's address is 0, expected 1 to 256"),
        ] {
            assert_eq!(wrong.validate().unwrap_err().to_string(), message);
        }
    }
}
