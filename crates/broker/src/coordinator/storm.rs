//! The storm guard: when most executors fall silent together, it is this broker that is cut off.

use std::collections::BTreeSet;

use reconvene_clock::{NodeId, Timestamp};
use reconvene_executor::JobId;

use crate::EventKind;
use crate::coordinator::timers::Timer;
use crate::coordinator::{Coordinator, number};
use crate::event::StormEnd;
use crate::fact::Phase;
use crate::statistics::count;

/// While it is on, nobody's silence is believed: nothing is given up for it, and nothing that was lost is placed again.
#[derive(Debug, Default)]
pub(super) struct StormGuard {
    /// Since when it is on.
    since: Option<Timestamp>,
    /// What would have concluded something from silence, and is looked at again when the guard ends.
    held_back: BTreeSet<Timer>,
    /// The silence of an executor has begun or ended.
    changed: bool,
    ended: bool,
}

impl StormGuard {
    pub(super) const fn is_on(&self) -> bool {
        self.since.is_some()
    }

    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// Whether it has ended since this was asked last.
    pub(super) const fn has_ended(&mut self) -> bool {
        core::mem::replace(&mut self.ended, false)
    }

    pub(super) fn on_for_ms(&self, at: Timestamp) -> u64 {
        self.since.map_or(0, |since| at.saturating_since(since))
    }
}

impl Coordinator {
    /// Whether this broker takes itself for cut off from its executors.
    #[must_use]
    pub const fn is_storm_guard_on(&self) -> bool {
        self.storm.is_on()
    }

    /// Whether a timer that would conclude something from silence has to wait for the end of the guard.
    pub(super) fn hold_back(&mut self, timer: Timer) -> bool {
        let on = self.storm.is_on();
        if on {
            self.storm.held_back.insert(timer);
        }
        on
    }

    /// Counts who is silent, and turns the guard on or off.
    pub(super) fn check_storm(&mut self) {
        if !core::mem::take(&mut self.storm.changed) {
            return;
        }
        let (silent, known) = self.silence();
        let share = silent.saturating_mul(100);
        let stormy = share > known.saturating_mul(u64::from(self.config.storm_percent));
        match self.storm.since {
            None if stormy && known >= u64::from(self.config.storm_min_executors) => {
                self.storm.since = Some(self.at.mono);
                count(&mut self.statistics.storms);
                self.arm(Timer::Storm, self.config.storm_hold_ms);
                let window_ms = self.config.storm_window_ms;
                self.notify(EventKind::StormGuardOn { silent, known, window_ms });
                self.dirty.extend(self.view.open_jobs(self.own.replica));
            }
            Some(_) if !stormy => {
                self.end_storm(StormEnd::SilenceOver);
            }
            None | Some(_) => {}
        }
    }

    /// How many executors fell silent together, and of how many. Those that have registered elsewhere or left are in
    /// neither count; those that were given up in the same window are in both.
    fn silence(&self) -> (u64, u64) {
        let reference = self.storm.since.unwrap_or(self.at.mono);
        let window_ms = self.config.storm_window_ms;
        let recent = |since: &Timestamp| reference.saturating_since(*since) <= window_ms;
        let is_silent = |homed: &&super::executors::Homed| homed.silent_since.as_ref().is_some_and(recent);
        let silent = self.homed.values().filter(is_silent).count();
        let known = self.homed.values().filter(|homed| !homed.is_gone() || is_silent(homed)).count();
        (number(silent), number(known))
    }

    /// Ends the guard, and does what it held back. Says whether it was on.
    pub(super) fn end_storm(&mut self, cause: StormEnd) -> bool {
        let Some(since) = self.storm.since.take() else { return false };
        let lasted_ms = self.at.mono.saturating_since(since);
        self.statistics.storm_ms = self.statistics.storm_ms.saturating_add(lasted_ms);
        self.storm.ended = true;
        self.timers.disarm(Timer::Storm);
        self.notify(EventKind::StormGuardOff { cause });
        if cause != StormEnd::SilenceOver {
            // Their silence has been judged: it is not to turn the guard on again.
            self.homed.values_mut().for_each(|homed| homed.silent_since = None);
        }
        for timer in core::mem::take(&mut self.storm.held_back) {
            self.timers.arm(timer, self.at.mono);
        }
        let homed: Vec<NodeId> = self.homed.keys().copied().collect();
        for executor in homed {
            self.watch(executor);
        }
        self.dirty.extend(self.view.open_jobs(self.own.replica));
        true
    }

    /// Whether a job has to wait because its last attempt was lost and the guard is on.
    pub(super) fn waits_for_storm(&self, id: JobId) -> bool {
        let lost = |phase| phase == Phase::Lost;
        self.storm.is_on()
            && self.view.job(id).is_some_and(|job| {
                let last = job.current_attempt().and_then(|last| job.attempts.get(&last)?.phase());
                last.is_some_and(lost)
            })
    }
}
