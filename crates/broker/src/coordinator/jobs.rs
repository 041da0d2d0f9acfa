//! Bringing one job into line with its facts.

use std::collections::BTreeMap;

use reconvene_clock::{NodeId, Timestamp, WallTime, digest};
use reconvene_executor::{AttemptId, FencingToken, JobId, SessionEpoch, StopReason, SubmissionId};
use reconvene_resolve::{CandidateId, Reason};
use reconvene_store::sabotage;

use crate::coordinator::Coordinator;
use crate::coordinator::elsewhere::Asking;
use crate::coordinator::outbox::Effect;
use crate::coordinator::quarantine::Losses;
use crate::coordinator::timers::Timer;
use crate::explain::Choice;
use crate::fact::{AttemptFact, OwnCause, Phase, PhaseMark, SeenFact, SettleFact, ToldFact};
use crate::statistics::count;
use crate::strategy;
use crate::view::Ownership;
use crate::{EventKind, Fact, FactKey, LossCause, WaitReason};

/// What this broker remembers of a job beside its facts.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// The ownership that was acted upon last.
    pub(super) ownership: Option<Ownership>,
    /// Since when this broker owns it.
    pub(super) owned_since: Timestamp,
    /// Not to be placed before.
    pub(super) not_before: Timestamp,
    pub(super) reason: Option<WaitReason>,
    /// Why the last attempt that was placed here went where it went.
    pub(super) choice: Option<(AttemptId, Choice)>,
    /// Whether its end was acted upon.
    over: bool,
    failed: bool,
    /// Whether it was said that its results cannot be judged.
    unresolved: bool,
    /// Whether it was said to wait for the end of the storm guard.
    in_storm: bool,
    cancel_too_late: bool,
}

/// What this broker remembers of a job that was not simply placed and done. Most are.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) refused_by: BTreeMap<NodeId, RefusedBy>,
    pub(super) lost: Losses,
    /// Why this broker gave attempts up.
    pub(super) causes: BTreeMap<AttemptId, LossCause>,
    /// When it was preempted here last.
    pub(super) displaced: Option<WallTime>,
    /// Its attempts that were preempted here, and for whom.
    pub(super) preempted_by: BTreeMap<AttemptId, JobId>,
    /// Who was stopped here for it.
    pub(super) victims: Vec<CandidateId>,
    /// Why nobody was, when that was asked last.
    pub(super) refusal: Option<Reason>,
    /// The brokers that are asked for room for it.
    pub(super) asking: Asking,
}

/// An executor did not take a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedBy {
    /// The registration under which it refused.
    pub(super) session: SessionEpoch,
    pub(super) registration: u64,
    /// When it may be asked again, if before its next registration.
    pub(super) until: Option<Timestamp>,
    /// The token that it holds against ours.
    pub(super) greatest: Option<FencingToken>,
}

impl Coordinator {
    /// Acts on whatever has changed about a job. Acting twice does nothing new.
    pub(super) fn refresh(&mut self, id: JobId) {
        self.attest(id);
        let Some(job) = self.view.job(id) else { return };
        if job.spec.is_none() {
            return;
        }
        if self.parked.contains(id) {
            self.judge_parked(id);
        }
        self.report_change(id);
        self.climb(id);
        self.notice_owner(id);
        let Some(job) = self.view.job(id) else { return };
        let (own, owner) = (self.own.replica, job.owner());
        let (canonical, over, has_success) = (job.canonical(), job.is_over(self.config.retries), job.has_success());
        let missing = job.pin().map(|pin| pin.policy).filter(|_| job.is_unresolved());
        let too_late = canonical.filter(|_| job.is_cancelled_by(own));
        if let Some(policy) = missing
            && !core::mem::replace(&mut self.locals.or_default(id).unresolved, true)
        {
            self.notify(EventKind::Unresolved { job: id, policy });
        }
        if let Some(canonical) = too_late
            && !core::mem::replace(&mut self.locals.or_default(id).cancel_too_late, true)
        {
            self.notify(EventKind::CancelTooLate { job: id, canonical });
        }
        if over {
            self.end(id);
        } else if has_success {
            // Challengers may still come, but nothing more is started.
            self.unqueue(id);
            if core::mem::replace(&mut self.locals.or_default(id).over, false) && owner != own {
                // A pin has opened it again. If its owner went meanwhile, nobody stood in for it.
                self.consider_takeover(id, owner);
            }
            self.contest(id);
        } else {
            self.locals.or_default(id).over = false;
            self.check_held(id);
            self.check_reappeared(id);
            self.consider_waiting(id);
        }
    }

    /// Follows a change of owner.
    fn notice_owner(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let (now, over) = (job.ownership(), job.is_over(self.config.retries));
        let own = self.own.replica;
        let at = self.at.mono;
        let local = self.locals.or_default(id);
        // What was decided before this broker was opened is no news.
        let unknown = (!self.loading).then(|| job.first_ownership());
        let known = local.ownership.replace(now);
        let first_seen = known.is_none();
        let before = known.or(unknown);
        if before == Some(now) && !first_seen {
            return;
        }
        if now.owner == own {
            local.owned_since = at;
        } else {
            self.know_owner(now.owner);
        }
        if over {
            return;
        }
        if let (Some(before), Some(cause)) = (before, now.cause)
            && before.owner != now.owner
        {
            self.owner_changed(id, before, now, cause);
        }
        if now.owner != own {
            self.consider_takeover(id, now.owner);
        }
    }

    fn owner_changed(&mut self, id: JobId, before: Ownership, now: Ownership, cause: OwnCause) {
        let own = self.own.replica;
        if now.owner == own {
            self.timers.disarm(Timer::Takeover(id));
            self.notify(EventKind::OwnershipTaken { job: id, epoch: now.epoch, from: before.owner, cause });
            if cause == OwnCause::TakenOver {
                let detection_ms = self.config.detection_ms();
                let local = self.locals.or_default(id);
                local.not_before = self.at.mono.saturating_add(detection_ms);
                local.reason = Some(WaitReason::Recovering);
                self.arm(Timer::Recover(id), detection_ms);
            }
        } else if before.owner == own {
            if cause == OwnCause::TakenOver {
                count(&mut self.statistics.yielded);
            }
            self.timers.disarm(Timer::Recover(id));
            self.unreserve(id);
            self.notify(EventKind::OwnershipYielded { job: id, epoch: now.epoch, to: now.owner, cause });
        }
    }

    /// A job that may need an executor.
    fn consider_waiting(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        // X30: who has placed it before goes on placing it.
        let stubborn = || sabotage::on(30) && job.attempts.keys().any(|attempt| attempt.owner == self.own.replica);
        let mine = job.owner() == self.own.replica || stubborn();
        if !mine || job.live_attempts().next().is_some() || self.is_given_up_in_error(job) || self.learning {
            self.unqueue(id);
            return;
        }
        if self.waits_for_storm(id) {
            self.unqueue(id);
            let local = self.locals.or_default(id);
            if !core::mem::replace(&mut local.in_storm, true) {
                self.notify(EventKind::JobWaiting { job: id, reason: WaitReason::StormGuard });
            }
            return;
        }
        self.locals.or_default(id).in_storm = false;
        if self.is_quarantined(id) {
            self.unqueue(id);
            return;
        }
        let local = self.locals.or_default(id);
        let not_before = local.not_before;
        if not_before > self.at.mono {
            let reason = local.reason.take();
            self.unqueue(id);
            self.timers.arm(Timer::Ready(id), not_before);
            if let Some(reason) = reason {
                self.notify(EventKind::JobWaiting { job: id, reason });
            }
            return;
        }
        if !self.queue.contains(id) {
            self.enqueue(id);
            self.waiting.insert(id);
            self.arm(Timer::HandOver(id), self.config.place_after_ms);
        }
    }

    pub(super) fn unqueue(&mut self, id: JobId) {
        if self.queue.remove(id) {
            self.timers.disarm(Timer::HandOver(id));
            self.timers.disarm(Timer::PlaceAnswer(id));
            if let Some(trouble) = self.troubles.get_mut(&id) {
                trouble.refusal = None;
                trouble.asking = Asking::default();
            }
        }
        self.stranded.remove(&id);
        self.waiting.remove(&id);
    }

    /// A result was accepted, and others may challenge it.
    fn contest(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        if job.owner() != self.own.replica || self.learning {
            return;
        }
        if job.all_attempts_ended() {
            self.settle(id);
        } else if !self.timers.is_armed(Timer::Settle(id)) {
            self.arm(Timer::Settle(id), self.config.contest_window_ms);
        }
    }

    /// Admits no further challengers.
    pub(super) fn settle(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let Some(canonical) = job.canonical() else { return };
        if job.is_decided() || job.owner() != self.own.replica {
            return;
        }
        self.timers.disarm(Timer::Settle(id));
        let at = self.next_stamp();
        count(&mut self.statistics.settled);
        self.write(FactKey::Settle { job: id, by: self.own.replica }, Fact::Settle(SettleFact { at }));
        self.notify(EventKind::ResultSettled { job: id, canonical });
    }

    /// A job for which nothing more is to be done.
    fn end(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let completed = job.canonical().is_some();
        let failed = !completed && !job.is_cancelled();
        let mine = job.owner() == self.own.replica;
        let reason = if completed { StopReason::Completed } else { StopReason::Cancelled };
        self.unqueue(id);
        self.unreserve(id);
        let local = self.locals.or_default(id);
        let fails = failed && mine && !core::mem::replace(&mut local.failed, true);
        let ends = !core::mem::replace(&mut local.over, true);
        if ends && let Some(trouble) = self.troubles.get_mut(&id) {
            trouble.refused_by.clear();
        }
        if fails {
            self.notify(EventKind::JobFailed { job: id });
        }
        self.timers.disarm(Timer::Release(id));
        if ends {
            self.stop_attempts(id, reason);
            for timer in
                [Timer::Takeover(id), Timer::Recover(id), Timer::Ready(id), Timer::HandOver(id), Timer::Settle(id)]
            {
                self.timers.disarm(timer);
            }
        }
    }

    /// Forgets a job that was not admitted after all.
    pub(super) fn forget(&mut self, id: JobId) {
        self.unqueue(id);
        self.unreserve(id);
        self.timers.disarm(Timer::Ready(id));
        self.dirty.remove(&id);
        self.locals.remove(id);
        self.troubles.remove(&id);
        self.drop_orders(id);
    }

    /// Reports, once, that the canonical result is not the one this broker had named.
    fn report_change(&mut self, id: JobId) {
        let own = self.own.replica;
        let Some(job) = self.view.job(id) else { return };
        let (Some(old), Some((new, new_fact))) = (job.told_by(own), job.canonical_fact()) else { return };
        if old == new {
            return;
        }
        let (Some(old_fact), Some(policy)) = (job.submissions.get(&old), job.policy()) else { return };
        let revision = job.told_fact(own).map_or(0, |told| told.revision).saturating_add(1);
        let same = old_fact.digest == new_fact.digest;
        let agreement = job.agreement(new_fact.digest, None);
        let wasted = old_fact.cost_resource_ms;
        let decision = strategy::explain(id, policy, (new, new_fact), (old, old_fact));
        let pending = (!same).then_some(old);
        // X29: it forgets that it said so.
        if !sabotage::on(29) {
            self.write(FactKey::Told { job: id, by: own }, Fact::Told(ToldFact { revision, named: new, pending }));
        }
        if same {
            count(&mut self.statistics.confirmed);
            self.notify(EventKind::ResultConfirmed { job: id, old, new, agreement });
        } else {
            count(&mut self.statistics.superseded);
            self.statistics.wasted_resource_ms = self.statistics.wasted_resource_ms.saturating_add(wasted);
            self.notify(EventKind::ResultSuperseded { job: id, old, new, decision, key: notice_key(id, old, new) });
            self.outbox.effect(Effect::Taken(id));
        }
    }

    /// A notice was taken by the driver: it is not to be repeated.
    pub(super) fn notice_taken(&mut self, id: JobId) {
        let own = self.own.replica;
        let Some(told) = self.view.job(id).and_then(|job| job.told_fact(own)).copied() else { return };
        if told.pending.is_some() {
            let revision = told.revision.saturating_add(1);
            self.write(FactKey::Told { job: id, by: own }, Fact::Told(ToldFact { revision, pending: None, ..told }));
        }
    }

    /// Repeats notices that a crash may have kept from being taken.
    pub(super) fn repeat_notices(&mut self) {
        let own = self.own.replica;
        let pending = |job: &crate::view::JobRecord| {
            let told = job.told_fact(own)?;
            Some((job.id, told.pending?, told.named))
        };
        let notices: Vec<_> = self.view.jobs_after(None).filter_map(pending).collect();
        for (id, old, new) in notices {
            let Some(job) = self.view.job(id) else { continue };
            let (Some(old_fact), Some(new_fact)) = (job.submissions.get(&old), job.submissions.get(&new)) else {
                continue;
            };
            let Some(policy) = job.policy() else { continue };
            let decision = strategy::explain(id, policy, (new, new_fact), (old, old_fact));
            self.notify(EventKind::ResultSuperseded { job: id, old, new, decision, key: notice_key(id, old, new) });
            self.outbox.effect(Effect::Taken(id));
        }
    }

    /// Writes down how far an attempt has come, in our own fact of it. Says whether that was news.
    pub(super) fn mark(&mut self, attempt: AttemptId, phase: Phase, registration: u64, progress_bp: u16) -> bool {
        let Some(record) = self.view.job(attempt.job).and_then(|job| job.attempts.get(&attempt)) else {
            if attempt.owner != self.own.replica && !self.view.is_done(attempt.job) {
                let mark = PhaseMark::new(phase, registration);
                let key = FactKey::Seen { attempt, by: self.own.replica };
                self.write(key, Fact::Seen(SeenFact { mark, progress_bp }));
                return true;
            }
            return false;
        };
        let mark = PhaseMark::new(phase, registration.max(record.registration()));
        let progress_bp = progress_bp.max(record.progress_bp());
        let ended = record.phase().is_some_and(Phase::is_final) && !phase.is_final();
        if ended || record.mark_now().is_some_and(|held| held >= mark) {
            return false;
        }
        self.write_mark(attempt, mark, progress_bp)
    }

    /// Writes our own fact of an attempt that is known.
    pub(super) fn write_mark(&mut self, attempt: AttemptId, mark: PhaseMark, progress_bp: u16) -> bool {
        if attempt.owner == self.own.replica {
            let record = self.view.job(attempt.job).and_then(|job| job.attempts.get(&attempt));
            let Some(fact) = record.and_then(|record| record.fact()).copied() else { return false };
            let started = fact.started || mark.phase == Phase::Running;
            let fact = AttemptFact { mark, progress_bp, started, ..fact };
            self.write(FactKey::Attempt(attempt), Fact::Attempt(fact));
        } else {
            let key = FactKey::Seen { attempt, by: self.own.replica };
            self.write(key, Fact::Seen(SeenFact { mark, progress_bp }));
        }
        true
    }

    /// Gives an attempt up, wherever it runs.
    pub(super) fn lose(&mut self, attempt: AttemptId, executor: impl Into<Option<NodeId>>, cause: LossCause) {
        let executor = executor.into();
        let registered = executor.and_then(|executor| self.view.executor(executor));
        let registration = registered.map_or(0, |(_, fact)| fact.registration);
        if self.mark(attempt, Phase::Lost, registration, 0) {
            count(&mut self.statistics.lost);
            self.troubles.entry(attempt.job).or_default().causes.insert(attempt, cause);
            self.notify(EventKind::AttemptLost { attempt, executor, cause });
        }
    }
}

/// The same for the same change of the same job.
fn notice_key(job: JobId, old: SubmissionId, new: SubmissionId) -> u64 {
    let parts =
        [job.admitted_by.get(), job.sequence, old.accepted_by.get(), old.number, new.accepted_by.get(), new.number];
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    digest::sip24_64(&[0; 16], &bytes)
}
