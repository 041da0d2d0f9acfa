//! The settings of brokers and executors in the demo: the designs' defaults at the demo's pace.

use std::time::Duration;

use anyhow::Result;
use reconvene_broker::Config;
use reconvene_clock::Hlc;
use reconvene_executor::{AgentConfig, Resources, SessionEpoch};
use reconvene_sync::{self as sync, NetworkId};

use super::Options;

/// What a broker's exchange with others is set to.
pub(crate) fn sync(options: &Options, seed: u64) -> sync::Config {
    sync::Config::new(network(), seed).scaled(options.sync_interval_ms)
}

/// What a broker's handling of jobs is set to.
///
/// # Errors
/// If the settings contradict each other at this pace.
pub(crate) fn lifecycle(options: &Options) -> Result<Config> {
    Ok(Config::new(options.strategy).scaled(options.sync_interval_ms).build()?)
}

/// What an executor is set to. Its seed, session and brokers are for the caller to say.
pub(crate) fn agent(options: &Options, slots: u32) -> AgentConfig {
    let session = SessionEpoch { start: Hlc::from_u64(0), random: 0 };
    let mut config = AgentConfig::new(session, 0).scaled(options.sync_interval_ms);
    // Machines answer as fast as they can at any pace; to ask again sooner only makes them slower.
    config.resend_first_ms = config.resend_first_ms.max(250);
    config.resend_max_ms = config.resend_max_ms.max(1_000);
    config.slots = slots;
    config.capacity = Resources::new(u64::from(slots).saturating_mul(1_000), u64::from(slots).saturating_mul(1_024), 0);
    config
}

/// The broker that an executor turns to first.
pub(crate) fn home(options: &Options, executor: usize) -> usize {
    executor.checked_rem(options.brokers).unwrap_or(0)
}

/// How long a link may be silent before it counts as down: less than the detection bound, so that what was cut is known
/// to be cut when it counts, and never so short that a busy machine looks like a cut.
pub(crate) fn idle(options: &Options) -> Duration {
    Duration::from_millis((options.sync_interval_ms.saturating_mul(6) / 10).clamp(400, 15_000))
}

/// How often a quiet link shows that it is there.
pub(crate) fn keep_alive(options: &Options) -> Duration {
    idle(options).checked_div(4).unwrap_or_default()
}

/// The network of the demo: others on the same machine do not get in by accident.
pub(crate) fn network() -> NetworkId {
    NetworkId::of_name("reconvene demo")
}
