//! Quarantine: jobs that are not placed again at once, or not without an operator's word, because of what became of
//! their attempts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{NodeId, Timestamp};
use reconvene_executor::{AttemptId, JobId};

use crate::coordinator::Coordinator;
use crate::coordinator::timers::Timer;
use crate::fact::{HoldFact, HoldReason};
use crate::statistics::count;
use crate::{CommandError, EventKind, Fact, FactKey, Reply, WaitReason};

/// How the attempts of a job were lost that this broker placed, as it saw it.
#[derive(Debug, Default)]
pub(super) struct Losses {
    seen: BTreeMap<AttemptId, Loss>,
    /// The release after which crashes count anew.
    released: u64,
}

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Nobody knows what became of it; or that was judged already.
    Other,
    /// Its executor's process ended under it, and came back in a newer session.
    Crash {
        executor: NodeId,
        at: Timestamp,
        /// Whether no other executor was lost at about that time, once that is clear.
        alone: Option<bool>,
    },
}

/// Which executors were lost here lately.
#[derive(Debug, Default)]
pub(super) struct Lately(VecDeque<(Timestamp, NodeId)>);

impl Lately {
    pub(super) fn push(&mut self, at: Timestamp, executor: NodeId, keep_ms: u64) {
        while self.0.front().is_some_and(|(oldest, _)| at.saturating_since(*oldest) > keep_ms) {
            self.0.pop_front();
        }
        // One that crashes again and again is one of those that were lost, not many.
        if self.0.len() >= LATELY {
            self.0.pop_front();
        }
        self.0.push_back((at, executor));
    }

    /// Whether one that is not among `but` was lost within `window_ms` before or after this moment.
    fn any_around(&self, at: Timestamp, window_ms: u64, but: &BTreeSet<NodeId>) -> bool {
        let near = |moment: Timestamp| moment.saturating_since(at).max(at.saturating_since(moment)) <= window_ms;
        self.0.iter().any(|(moment, executor)| near(*moment) && !but.contains(executor))
    }
}

impl Coordinator {
    /// Whether a job of ours is not to be placed for now because of what became of its attempts. Decides about it, too.
    pub(super) fn is_quarantined(&mut self, id: JobId) -> bool {
        self.note_losses(id);
        let own = self.own.replica;
        let Some(job) = self.view.job(id) else { return false };
        if job.quarantine().is_some() {
            self.await_release(id);
            return true;
        }
        let losses = job.losses();
        let judged = job.hold().filter(|hold| hold.owner == own).map_or(0, |hold| hold.losses);
        match self.suspicion(id) {
            Suspicion::Poison => {
                self.quarantine(id, HoldReason::PoisonSuspected);
                true
            }
            Suspicion::Until(clear) => {
                if !self.timers.is_armed(Timer::Ready(id)) {
                    self.notify(EventKind::JobWaiting { job: id, reason: WaitReason::Crashed });
                }
                self.timers.arm(Timer::Ready(id), clear);
                true
            }
            Suspicion::None if losses > self.config.redeploys.max(judged) => {
                self.quarantine(id, HoldReason::LossBudget);
                true
            }
            Suspicion::None => false,
        }
    }

    /// Takes down how attempts were lost that this broker placed.
    fn note_losses(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let (own, at) = (self.own.replica, self.at.mono);
        let window_ms = self.config.storm_window_ms;
        let released = job.hold().filter(|hold| hold.released && hold.reason == HoldReason::PoisonSuspected);
        let lost = job.attempts.iter().filter(|(attempt, record)| attempt.owner == own && record.is_loss());
        let lost: BTreeMap<_, _> = lost.filter_map(|(attempt, record)| Some((*attempt, record.given_to()?))).collect();
        if released.is_none() && lost.is_empty() && !self.troubles.contains_key(&id) {
            return;
        }
        let losses = &mut self.troubles.entry(id).or_default().lost;
        if let Some(hold) = released.filter(|hold| hold.revision > losses.released) {
            losses.released = hold.revision;
            losses.seen.values_mut().for_each(|loss| *loss = Loss::Other);
        }
        losses.seen.retain(|attempt, _| lost.contains_key(attempt));
        for (attempt, (executor, session)) in lost {
            // What was lost before this broker was opened may have been lost in any way.
            let crashed = !self.loading && self.view.executor(executor).is_some_and(|(_, fact)| fact.session > session);
            let loss = if crashed { Loss::Crash { executor, at, alone: None } } else { Loss::Other };
            losses.seen.entry(attempt).or_insert(loss);
        }
        let crashed: BTreeSet<NodeId> = losses.seen.values().filter_map(Loss::crashed).collect();
        for loss in losses.seen.values_mut() {
            if let Loss::Crash { at: crash, alone: alone @ None, .. } = loss
                && at.saturating_since(*crash) > window_ms
            {
                *alone = Some(!self.lately_lost.any_around(*crash, window_ms, &crashed));
            }
        }
    }

    /// Whether the job seems to be what its executors crash of. A power cut is no poison: it takes others, too.
    fn suspicion(&self, id: JobId) -> Suspicion {
        let Some(trouble) = self.troubles.get(&id) else { return Suspicion::None };
        let (mut alone, mut perhaps) = (BTreeSet::new(), BTreeSet::new());
        let mut clear = Timestamp::from_millis(0);
        for loss in trouble.lost.seen.values() {
            match loss {
                Loss::Crash { executor, alone: Some(true), .. } => {
                    alone.insert(*executor);
                    perhaps.insert(*executor);
                }
                Loss::Crash { executor, at, alone: None } => {
                    perhaps.insert(*executor);
                    clear = clear.max(at.saturating_add(self.config.storm_window_ms).saturating_add(1));
                }
                Loss::Crash { alone: Some(false), .. } | Loss::Other => {}
            }
        }
        if alone.len() >= CRASHES {
            Suspicion::Poison
        } else if perhaps.len() >= CRASHES {
            Suspicion::Until(clear)
        } else {
            Suspicion::None
        }
    }

    /// Until when it is not clear whether the job is what its executors crashed of, if it is not.
    pub(super) fn suspected_until(&self, id: JobId) -> Option<Timestamp> {
        match self.suspicion(id) {
            Suspicion::Until(clear) => Some(clear),
            Suspicion::None | Suspicion::Poison => None,
        }
    }

    fn quarantine(&mut self, id: JobId, reason: HoldReason) {
        let Some(job) = self.view.job(id) else { return };
        let revision = job.hold().map_or(0, |hold| hold.revision);
        // At the greatest revision nobody can hold it back any more: it runs.
        let Some(revision) = revision.checked_add(1) else { return };
        let (owner, losses) = (self.own.replica, job.losses());
        let fact = HoldFact { revision, released: false, reason, owner, losses, at: self.next_stamp() };
        count(&mut self.statistics.quarantined);
        self.write(FactKey::Hold { job: id, by: owner }, Fact::Hold(fact));
        self.notify(EventKind::JobQuarantined { job: id, reason });
        self.await_release(id);
    }

    /// A job whose losses are used up is released by its owner: vanishing executors must not cost a job its life.
    fn await_release(&mut self, id: JobId) {
        let Some(hold) = self.view.job(id).and_then(|job| job.quarantine()) else { return };
        match hold.reason {
            HoldReason::LossBudget if !self.timers.is_armed(Timer::Release(id)) => {
                let doublings = hold.losses.saturating_sub(self.config.redeploys).saturating_sub(1).min(32);
                let delay_ms = self.config.redeploy_delay_ms.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(1));
                self.arm(Timer::Release(id), delay_ms.min(self.config.redeploy_delay_max_ms));
            }
            HoldReason::LossBudget | HoldReason::PoisonSuspected => {}
        }
    }

    /// The owner's own release.
    pub(super) fn release_after_losses(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let losses = job.quarantine().is_some_and(|hold| hold.reason == HoldReason::LossBudget);
        if losses && job.owner() == self.own.replica && !job.is_over(self.config.retries) {
            self.release_hold(id);
        }
    }

    /// An operator's release.
    pub(super) fn release_command(&mut self, id: JobId) -> Result<Reply, CommandError> {
        if self.view.job(id).is_none() {
            return Err(self.unknown_job(id));
        }
        Ok(Reply::Released { job: id, was_held: self.release_hold(id) })
    }

    fn release_hold(&mut self, id: JobId) -> bool {
        let Some(hold) = self.view.job(id).and_then(|job| job.quarantine()).copied() else { return false };
        let by = self.own.replica;
        let fact = HoldFact { released: true, at: self.next_stamp(), ..hold };
        count(&mut self.statistics.released);
        self.timers.disarm(Timer::Release(id));
        self.write(FactKey::Hold { job: id, by }, Fact::Hold(fact));
        self.notify(EventKind::JobReleased { job: id, reason: hold.reason, by });
        self.dirty.insert(id);
        true
    }
}

enum Suspicion {
    None,
    /// It will be clear then whether others crashed as well.
    Until(Timestamp),
    Poison,
}

impl Loss {
    const fn crashed(&self) -> Option<NodeId> {
        match self {
            Self::Crash { executor, .. } => Some(*executor),
            Self::Other => None,
        }
    }
}

/// Losses of executors that are remembered at most.
const LATELY: usize = 1_024;
/// So many executors crash under one job before it is suspected.
const CRASHES: usize = 2;
