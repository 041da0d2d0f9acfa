//! What is due when.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, ReplicaId, Timestamp};
use reconvene_executor::{EmergencyId, JobId};

/// What a deadline is for. Each may be armed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A broker may have been silent for too long.
    Owner(ReplicaId),
    /// It is our turn to take a job over.
    Takeover(JobId),
    /// Leases given by the owner before have ended.
    Recover(JobId),
    /// Executors of a silent broker have not been heard of elsewhere.
    HomeLost(ReplicaId),
    /// An executor of ours may be silent.
    Executor(NodeId),
    /// A job may be placed again.
    Ready(JobId),
    /// A job whose losses were used up may be placed again.
    Release(JobId),
    /// What stood in the way of a preemption may have passed.
    Preempt,
    /// Room is kept for a job no longer.
    Reserved(JobId),
    /// A broker that was asked for room has not answered.
    PlaceAnswer(JobId),
    /// A job has waited long enough to be handed over.
    HandOver(JobId),
    /// Challengers had their time.
    Settle(JobId),
    /// Results kept for an unknown job are given up.
    Parked(JobId),
    /// An emergency ends by itself.
    Emergency(EmergencyId),
    /// The storm guard has held for as long as it may.
    Storm,
    /// The specification of a job that an executor speaks of has not come.
    Recall(JobId),
    /// Jobs may be forgotten.
    Compact,
    /// A broker that came back has found nobody to learn from.
    Alone,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Timestamp, Timer)>,
    armed: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// Sets the deadline, replacing one set before.
    pub(super) fn arm(&mut self, timer: Timer, at: Timestamp) {
        if let Some(before) = self.armed.insert(timer, at) {
            self.queue.remove(&(before, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets the deadline, unless an earlier one was set before.
    pub(super) fn arm_sooner(&mut self, timer: Timer, at: Timestamp) {
        if self.armed.get(&timer).is_none_or(|before| at < *before) {
            self.arm(timer, at);
        }
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(before) = self.armed.remove(&timer) {
            self.queue.remove(&(before, timer));
        }
    }

    pub(super) fn is_armed(&self, timer: Timer) -> bool {
        self.armed.contains_key(&timer)
    }

    /// When this timer is due, if it is armed.
    pub(super) fn when(&self, timer: Timer) -> Option<Timestamp> {
        self.armed.get(&timer).copied()
    }

    /// The next timer that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.armed.remove(&timer);
        Some(timer)
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }
}
