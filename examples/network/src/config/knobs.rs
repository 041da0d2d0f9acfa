//! The settings of the designs, by their names in files.

use std::{fmt, time::Duration};

use reconvene_clock::MaxAhead;

use super::Plain;

/// A setting of a `C`: its name in a file, and how to read and show it.
pub(crate) struct Knob<C> {
    pub(crate) name: &'static str,
    set: Box<Set<C>>,
    show: Box<dyn Fn(&C) -> String>,
}

type Set<C> = dyn Fn(&mut C, &str) -> Result<(), String>;

impl<C> Knob<C> {
    /// Sets it in `config` from text.
    ///
    /// # Errors
    /// What may be written instead.
    pub(crate) fn set(&self, config: &mut C, text: &str) -> Result<(), String> {
        (self.set)(config, text)
    }

    /// Its value in `config`, in TOML.
    pub(crate) fn show(&self, config: &C) -> String {
        (self.show)(config)
    }
}

impl<C> fmt::Debug for Knob<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Knob").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A setting held as milliseconds and written as a duration.
macro_rules! duration {
    ($name:literal, $($field:ident).+) => {
        Knob {
            name: $name,
            set: Box::new(|config, text| {
                let millis = Duration::read(text)?.as_millis();
                config.$($field).+ = u64::try_from(millis).map_err(|_| "expected a shorter duration".to_owned())?;
                Ok(())
            }),
            show: Box::new(|config| Duration::from_millis(config.$($field).+).show()),
        }
    };
}

/// A setting held and written as what it is.
macro_rules! plain {
    ($name:literal, $($field:ident).+) => {
        Knob {
            name: $name,
            set: Box::new(|config, text| {
                config.$($field).+ = Plain::read(text)?;
                Ok(())
            }),
            show: Box::new(|config| config.$($field).+.show()),
        }
    };
}

/// `[lifecycle]` of a broker: how jobs, executors and owners are looked after.
pub(crate) fn lifecycle_knobs() -> Vec<Knob<reconvene_broker::Config>> {
    vec![
        duration!("heartbeat_interval", heartbeat_ms),
        duration!("lease", lease_ms),
        duration!("drift_allowance", drift_ms),
        duration!("redeploy_grace", redeploy_grace_ms),
        duration!("owner_timeout", owner_timeout_ms),
        duration!("takeover_step", takeover_step_ms),
        duration!("orphan_after", orphan_after_ms),
        duration!("place_after", place_after_ms),
        duration!("contest_window", contest_window_ms),
        duration!("discovery_interval", discovery_interval_ms),
        plain!("redeploys", redeploys),
        duration!("redeploy_delay", redeploy_delay_ms),
        duration!("redeploy_delay_max", redeploy_delay_max_ms),
        plain!("retries", retries),
        plain!("storm_percent", storm_percent),
        duration!("storm_window", storm_window_ms),
        plain!("storm_min_executors", storm_min_executors),
        duration!("storm_hold", storm_hold_ms),
        plain!("offers", offers),
        plain!("parked_limit", parked_limit),
        plain!("parked_bytes", parked_bytes),
        duration!("parked_ttl", parked_ttl_ms),
        plain!("inline_result_max", inline_result_max),
        plain!("max_jobs", max_jobs),
        plain!("max_emergency_level", max_emergency_level),
        duration!("emergency_default", emergency_default_ms),
        duration!("emergency_max", emergency_max_ms),
        plain!("emergencies_per_minute", emergencies_per_minute),
        duration!("max_skew", max_skew_ms),
    ]
}

/// `[sync]` of a broker beside its interval: how brokers exchange what they know.
pub(crate) fn sync_knobs() -> Vec<Knob<reconvene_sync::Config>> {
    vec![
        plain!("fan_out", fan_out),
        duration!("cascade_min", cascade_min_ms),
        duration!("cascade_max", cascade_max_ms),
        plain!("cascade_fan_out", cascade_fan_out),
        plain!("quiet_rounds", quiet_rounds),
        plain!("cascade_on_local_writes", cascade_on_local_writes),
        plain!("push_fan_out", push_fan_out),
        duration!("backoff_min", backoff_min_ms),
        duration!("backoff_max", backoff_max_ms),
        duration!("session_idle", session_idle_ms),
        duration!("view_max", view_max_ms),
        duration!("busy_max", busy_max_ms),
        duration!("busy_retry", busy_retry_ms),
        duration!("probe_interval", probe_interval_ms),
        duration!("suspect_after", suspect_after_ms),
        duration!("unreachable_after", unreachable_after_ms),
        plain!("max_inbound_sessions", max_inbound_sessions),
        plain!("max_outbound_sessions", max_outbound_sessions),
        plain!("window_bytes", window_bytes),
        plain!("chunk_bytes", chunk_bytes),
        plain!("max_chunks", max_chunks),
        plain!("max_frame_bytes", max_frame_bytes),
        plain!("max_push_bytes", max_push_bytes),
        plain!("max_queued_pushes", max_queued_pushes),
        plain!("max_peers", max_peers),
        plain!("max_addresses", max_addresses),
        Knob {
            name: "max_ahead",
            set: Box::new(|config, text| {
                let millis = u64::try_from(Duration::read(text)?.as_millis());
                config.max_ahead = MaxAhead::from_millis(millis.map_err(|_| "expected a shorter duration".to_owned())?);
                Ok(())
            }),
            show: Box::new(|config| Duration::from_millis(config.max_ahead.as_millis()).show()),
        },
    ]
}

/// `[lifecycle]` of an executor: how long it waits for brokers, and what it keeps for them.
pub(crate) fn agent_knobs() -> Vec<Knob<reconvene_executor::AgentConfig>> {
    vec![
        duration!("heartbeat_interval", terms.heartbeat_ms),
        duration!("lease", terms.lease_ms),
        duration!("drift_allowance", terms.drift_ms),
        duration!("orphan_after", orphan_after_ms),
        duration!("discovery_interval", discovery_interval_ms),
        duration!("promote_after", promote_after_ms),
        duration!("promote_step", promote_step_ms),
        duration!("connect_retry", connect_retry_ms),
        duration!("resend_first", resend_first_ms),
        duration!("resend_max", resend_max_ms),
        plain!("kept_results", kept_results),
        plain!("kept_bytes", kept_bytes),
        plain!("submits_in_flight", submits_in_flight),
        plain!("remembered_jobs", remembered_jobs),
    ]
}

#[cfg(test)]
mod tests {
    use reconvene_broker::StrategyKind;
    use reconvene_executor::{AgentConfig, SessionEpoch};
    use reconvene_sync::NetworkId;

    use super::*;

    /// Every knob moves its own setting and no other, and shows what it reads.
    fn check<C: Clone>(knobs: &[Knob<C>], config: &C) {
        let values = |config: &C| knobs.iter().map(|knob| knob.show(config)).collect::<Vec<_>>();
        let before = values(config);
        for (index, knob) in knobs.iter().enumerate() {
            let other = ["\"7s\"", "7", "false"]
                .into_iter()
                .find(|text| knob.set(&mut config.clone(), text.trim_matches('"')).is_ok())
                .unwrap();
            let mut changed = config.clone();
            knob.set(&mut changed, other.trim_matches('"')).unwrap();
            let mut expected = before.clone();
            other.clone_into(&mut expected[index]);
            assert_ne!(expected, before, "{}", knob.name);
            assert_eq!(values(&changed), expected, "{}", knob.name);
        }
        let mut names: Vec<_> = knobs.iter().map(|knob| knob.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), knobs.len());
    }

    #[test]
    fn every_name_belongs_to_one_setting() {
        check(&lifecycle_knobs(), &reconvene_broker::Config::new(StrategyKind::EmergencyFirst));
        check(&sync_knobs(), &reconvene_sync::Config::new(NetworkId::of_name("test"), 1));
        let session = SessionEpoch::new(reconvene_clock::Hlc::default(), 1);
        check(&agent_knobs(), &AgentConfig::new(session, 1));
    }
}
