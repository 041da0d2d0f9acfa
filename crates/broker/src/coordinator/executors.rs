//! Executors whose home is this broker: what they hold, leases, silence.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, ReplicaId, Timestamp};
use reconvene_executor::message::{HeldAttempt, Leave, StopReason};
use reconvene_executor::{AttemptId, FencingToken, JobId, OwnershipEpoch, Resources, SessionEpoch, Tag, limits};

use crate::coordinator::Coordinator;
use crate::coordinator::suspicion::Gaps;
use crate::coordinator::timers::Timer;
use crate::fact::{ExecutorFact, ExecutorState, Phase};
use crate::view::serves;
use crate::{EventKind, ExecutorView, Fact, FactKey, LossCause, StrategyKind};

/// An executor that takes its orders from this broker.
#[derive(Debug)]
pub(super) struct Homed {
    pub(super) session: SessionEpoch,
    pub(super) registration: u64,
    pub(super) capacity: Resources,
    pub(super) slots: u32,
    pub(super) tags: BTreeSet<Tag>,
    pub(super) attempts: BTreeMap<AttemptId, Held>,
    pub(super) suspect: bool,
    /// Since when it is suspect, unless its silence was judged already.
    pub(super) silent_since: Option<Timestamp>,
    /// Something of it was given up, so it must register before it is believed again.
    pub(super) must_register: bool,
    /// It takes no more work until it registers again.
    pub(super) draining: bool,
    pub(super) gone: bool,
    /// It runs more than could be noted here.
    pub(super) unnoted: bool,
    pub(super) heard: Timestamp,
    pub(super) gaps: Gaps,
    /// Of the last heartbeat.
    pub(super) sequence: u64,
}

/// An attempt that an executor of ours has, or was offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: FencingToken,
    pub(super) demand: Resources,
    pub(super) state: HeldState,
    /// How far it is, in basis points, as its executor said last.
    pub(super) progress_bp: u16,
    /// When it is lost unless it is heard of before.
    pub(super) lost_at: Timestamp,
    pub(super) offers: u32,
    /// The heartbeat after which it was last ordered. Once each is enough: the next shows whether it arrived.
    pub(super) sent: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldState {
    /// Ordered, not confirmed.
    Offered,
    Running,
    /// It has ended; its result is kept, or on its way.
    Ended,
    /// To come to its end, and stopped at this time at the latest, so that a graver job has its place.
    Draining {
        until: Timestamp,
        by: JobId,
    },
    /// Told to stop.
    Stopping(StopReason),
}

impl Homed {
    /// Whether it may be given work.
    pub(super) fn takes_work(&self) -> bool {
        !self.suspect && !self.must_register && !self.draining && !self.gone
    }

    pub(super) fn free_slots(&self) -> u32 {
        let used = self.attempts.values().filter(|held| held.state != HeldState::Ended).count();
        self.slots.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    pub(super) fn free(&self) -> Resources {
        let used = self.attempts.values().filter(|held| held.state != HeldState::Ended);
        used.fold(self.capacity, |free, held| free.saturating_sub(held.demand))
    }

    /// Whether it could run such a job when idle.
    pub(super) fn could_run(&self, demand: Resources, requires: &BTreeSet<Tag>) -> bool {
        self.slots > 0 && demand.fits_in(self.capacity) && requires.is_subset(&self.tags)
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Since when it has been silent for longer than is usual, if it has.
    fn falls_silent(&self, at: Timestamp, detection_ms: u64) -> bool {
        let usual_ms = self.gaps.suspect_after_ms().min(detection_ms);
        !self.suspect && !self.gone && at.saturating_since(self.heard) >= usual_ms
    }

    /// When to look at it next. `None` while its silence proves nothing.
    fn next_check(&self, detection_ms: u64, storm: bool) -> Option<Timestamp> {
        if storm {
            let usual_ms = self.gaps.suspect_after_ms().min(detection_ms);
            return (!self.suspect).then(|| self.heard.saturating_add(usual_ms));
        }
        let lost = self.attempts.values().map(|held| held.lost_at).min();
        let silent = if self.suspect {
            self.heard.saturating_add(detection_ms)
        } else {
            self.heard.saturating_add(self.gaps.suspect_after_ms().min(detection_ms))
        };
        Some(lost.map_or(silent, |lost| if self.gone { lost } else { lost.min(silent) }))
    }
}

impl Coordinator {
    /// Notes that the executor has this attempt: its lease begins anew.
    pub(super) fn renew(&mut self, from: NodeId, attempt: AttemptId, token: Option<FencingToken>, state: HeldState) {
        let lost_at = self.at.mono.saturating_add(self.config.detection_ms());
        let job = self.view.job(attempt.job);
        let token = token.or_else(|| job.map(|job| job.token(&attempt)));
        let demand = job.and_then(|job| job.spec.as_ref()).map_or(Resources::NONE, |spec| spec.fact.spec.demand);
        let (Some(homed), Some(token)) = (self.homed.get_mut(&from), token) else { return };
        let new = Held { token, demand, state, progress_bp: 0, lost_at, offers: 0, sent: None };
        let held = homed.attempts.entry(attempt).or_insert(new);
        held.lost_at = lost_at;
        // That it still runs is no news.
        if !(matches!(held.state, HeldState::Draining { .. }) && state == HeldState::Running) {
            held.state = state;
        }
    }

    /// Remembers how far an attempt is.
    pub(super) fn note_progress(&mut self, from: NodeId, heard: &HeldAttempt) -> u16 {
        let progress_bp = heard.progress_bp.min(limits::WHOLE_BP);
        if let Some(held) = self.homed.get_mut(&from).and_then(|homed| homed.attempts.get_mut(&heard.attempt)) {
            held.progress_bp = progress_bp;
        }
        progress_bp
    }

    /// Notes an order before it is sent.
    pub(super) fn hold(&mut self, executor: NodeId, attempt: AttemptId, token: FencingToken, demand: Resources) {
        let lost_at = self.at.mono.saturating_add(self.config.detection_ms());
        if let Some(homed) = self.homed.get_mut(&executor) {
            let state = HeldState::Offered;
            let held = Held { token, demand, state, progress_bp: 0, lost_at, offers: 0, sent: None };
            homed.attempts.insert(attempt, held);
        }
        self.watch(executor);
    }

    /// The executor has a final answer for the result of an attempt: it does not run any more.
    pub(super) fn release(&mut self, executor: NodeId, attempt: AttemptId) {
        let ended = self.has_ended(attempt);
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        let Some(held) = homed.attempts.get_mut(&attempt) else { return };
        // A result that did not count leaves the attempt without an end: it is lost when its lease is over.
        held.state = HeldState::Ended;
        if ended {
            homed.attempts.remove(&attempt);
        }
        self.placing = true;
        self.watch(executor);
    }

    /// Whether nothing more can come of an attempt, or nothing is needed.
    pub(super) fn has_ended(&self, attempt: AttemptId) -> bool {
        self.view.is_done(attempt.job)
            || self.view.job(attempt.job).is_some_and(|job| {
                job.is_over(self.config.retries)
                    || job.attempts.get(&attempt).and_then(|record| record.phase()).is_some_and(Phase::is_final)
            })
    }

    /// Gives up attempts of this job that are said to run on an executor of ours, which registered later without them.
    pub(super) fn check_held(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let missing = |attempt: AttemptId| {
            let record = job.attempts.get(&attempt)?;
            let (executor, session) = record.given_to()?;
            let homed = self.homed.get(&executor).filter(|homed| !homed.must_register && !homed.unnoted)?;
            if homed.attempts.contains_key(&attempt) {
                return None;
            }
            // Each session counts its registrations from 1.
            if session < homed.session {
                return Some((attempt, executor, LossCause::NewSession));
            }
            (record.registration() < homed.registration).then_some((attempt, executor, LossCause::NotHeld))
        };
        // Another home has given the executor up. It may never have heard of an attempt that was given to it here before, so
        // the owner says that it is lost; its own storm guard has nothing to do with what another broker saw.
        let given_up = |attempt| {
            let executor = job.attempts.get(&attempt)?.given_to()?.0;
            let (home, fact) = self.view.executor(executor)?;
            let elsewhere = home != self.own.replica && job.owner() == self.own.replica;
            (elsewhere && fact.state == ExecutorState::Gone).then_some((attempt, executor, LossCause::Silence))
        };
        let given_up: Vec<_> = job.live_attempts().filter_map(given_up).collect();
        let missing: Vec<_> = job.live_attempts().filter_map(missing).chain(given_up).collect();
        let since = |attempt| Some((attempt, self.unwatched_since(job, attempt)?));
        let unwatched: Vec<_> = job.live_attempts().filter_map(since).collect();
        for (attempt, executor, cause) in missing {
            self.lose(attempt, executor, cause);
        }
        // While nobody's silence is believed, that of their homes is not either.
        let unwatched = unwatched.into_iter().filter(|_| !self.storm.is_on());
        for (attempt, since) in unwatched.collect::<Vec<_>>() {
            if since > self.at.mono {
                self.timers.arm(Timer::Ready(id), since);
            } else {
                self.lose(attempt, None, LossCause::Unwatched);
            }
        }
    }

    /// Tells the executors of ours to stop what they do for a job.
    pub(super) fn stop_attempts(&mut self, id: JobId, reason: StopReason) {
        self.stop_where(id, reason, |_| true);
    }

    /// Tells the executors of ours to stop some of what they do for a job.
    pub(super) fn stop_where(&mut self, id: JobId, reason: StopReason, wanted: impl Fn(&AttemptId) -> bool) {
        let (first, last) = attempts_of(id);
        let mut stopped = Vec::new();
        for (executor, homed) in &mut self.homed {
            for (attempt, held) in homed.attempts.range_mut(first..=last) {
                let stops = matches!(held.state, HeldState::Offered | HeldState::Running | HeldState::Draining { .. });
                if wanted(attempt) && stops {
                    held.state = HeldState::Stopping(reason);
                    held.sent = None;
                    stopped.push((*executor, *attempt));
                }
            }
        }
        for (executor, attempt) in stopped {
            self.notify(EventKind::AttemptStopped { attempt, executor, reason });
            self.order_now(executor);
        }
    }

    /// Takes back the orders of a job that was not admitted after all.
    pub(super) fn drop_orders(&mut self, id: JobId) {
        let (first, last) = attempts_of(id);
        for homed in self.homed.values_mut() {
            homed.attempts.retain(|attempt, _| !(first..=last).contains(attempt));
        }
        self.placing = true;
    }

    pub(super) fn executor_leaves(&mut self, from: NodeId, leave: Leave) {
        let Some(homed) = self.homed.get(&from) else { return };
        if (homed.session, homed.registration) != (leave.session, leave.registration) {
            return;
        }
        let attempts: Vec<_> = homed.attempts.keys().copied().collect();
        for attempt in attempts {
            self.give_up(from, attempt, LossCause::Left);
        }
        self.executor_gone(from);
        self.homed.remove(&from);
        self.storm.changed();
        self.timers.disarm(Timer::Executor(from));
    }

    /// Looks whether an executor of ours is silent, and which of its attempts are lost.
    pub(super) fn check_executor(&mut self, executor: NodeId) {
        let at = self.at.mono;
        let detection_ms = self.config.detection_ms();
        // All of them first: one is not given up before it is clear how many others are silent.
        let silent: Vec<_> = self.homed.iter().filter(|(_, homed)| homed.falls_silent(at, detection_ms)).collect();
        let silent: Vec<_> = silent.into_iter().map(|(id, homed)| (*id, at.saturating_since(homed.heard))).collect();
        for (executor, silent_ms) in silent {
            if let Some(homed) = self.homed.get_mut(&executor) {
                homed.suspect = true;
                homed.silent_since = Some(at);
            }
            self.storm.changed();
            self.notify(EventKind::ExecutorSuspect { executor, silent_ms });
        }
        self.check_storm();
        if self.storm.is_on() {
            self.watch(executor);
            return;
        }
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        let silent_ms = at.saturating_since(homed.heard);
        let lost: Vec<_> = homed.attempts.iter().filter(|(_, held)| held.lost_at <= at).map(|(id, _)| *id).collect();
        let gone = silent_ms >= detection_ms && !homed.gone;
        for attempt in lost {
            self.give_up(executor, attempt, LossCause::Silence);
        }
        if gone {
            self.executor_lost(executor);
            self.executor_gone(executor);
        }
        self.watch(executor);
    }

    /// An executor's process has ended, or so it seems.
    pub(super) fn executor_lost(&mut self, executor: NodeId) {
        // A crash is judged a window after it, by what happened since a window before it.
        let keep_ms = self.config.storm_window_ms.saturating_mul(3);
        self.lately_lost.push(self.at.mono, executor, keep_ms);
    }

    pub(super) fn give_up(&mut self, executor: NodeId, attempt: AttemptId, cause: LossCause) {
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        let Some(held) = homed.attempts.remove(&attempt) else { return };
        self.placing = true;
        // Another broker may have given it up before, and the job have waited for this.
        self.dirty.insert(attempt.job);
        if matches!(held.state, HeldState::Stopping(_)) {
            return;
        }
        if !self.has_ended(attempt) {
            if let Some(homed) = self.homed.get_mut(&executor) {
                homed.must_register = true;
            }
            self.lose(attempt, executor, cause);
        }
    }

    /// Says to everybody that an executor of ours does not serve.
    fn executor_gone(&mut self, executor: NodeId) {
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        homed.gone = true;
        homed.must_register = true;
        let fact = ExecutorFact {
            session: homed.session,
            registration: homed.registration,
            state: ExecutorState::Gone,
            capacity: homed.capacity,
            slots: homed.slots,
            tags: homed.tags.clone(),
            heir: None,
        };
        self.write(FactKey::Executor { executor, home: self.own.replica }, Fact::Executor(fact));
        self.notify(EventKind::ExecutorGone { executor });
        self.handing = true;
    }

    /// Sets the executor's timer to what is due next.
    pub(super) fn watch(&mut self, executor: NodeId) {
        let detection_ms = self.config.detection_ms();
        let Some(homed) = self.homed.get(&executor) else { return };
        let next = homed.next_check(detection_ms, self.storm.is_on());
        match next.filter(|_| !homed.gone || !homed.attempts.is_empty()) {
            Some(at) => self.timers.arm(Timer::Executor(executor), at),
            None => self.timers.disarm(Timer::Executor(executor)),
        }
    }

    /// An executor's fact has changed, here or elsewhere.
    pub(super) fn executor_changed(&mut self, executor: NodeId) {
        self.note_departure(executor);
        let Some((home, fact)) = self.view.executor(executor) else { return };
        if serves(fact) {
            self.handing = true;
        }
        if home == self.own.replica {
            self.capacity_changed();
            self.placing = true;
            return;
        }
        if !serves(fact) {
            self.dirty.extend(self.view.working_on(executor).map(|attempt| attempt.job));
        }
        self.know_owner(home);
        if let Some(homed) = self.homed.remove(&executor) {
            self.dirty.extend(homed.attempts.keys().map(|attempt| attempt.job));
            self.timers.disarm(Timer::Executor(executor));
            self.storm.changed();
            self.capacity_changed();
            self.handing = true;
            self.notify(EventKind::ExecutorMoved { executor, to: home });
        }
    }

    /// One strategy ranks by the share of the whole capacity here that a job takes.
    fn capacity_changed(&mut self) {
        self.rank_again |= self.in_force.policy.kind() == StrategyKind::ResourceOptimal;
    }

    pub(super) fn executor_view(&self, id: NodeId, home: ReplicaId, fact: &ExecutorFact) -> ExecutorView {
        ExecutorView {
            id,
            home,
            session: fact.session,
            registration: fact.registration,
            state: fact.state,
            suspect: self.homed.get(&id).is_some_and(|homed| homed.suspect),
            capacity: fact.capacity,
            slots: fact.slots,
            running: u32::try_from(self.view.working_on(id).count()).unwrap_or(u32::MAX),
            tags: fact.tags.clone(),
        }
    }
}

/// The least and the greatest name of an attempt of this job.
pub(super) fn attempts_of(job: JobId) -> (AttemptId, AttemptId) {
    let owner = |id| ReplicaId::new(id).expect("not zero");
    let first = AttemptId { job, epoch: OwnershipEpoch(0), owner: owner(1), number: 0 };
    let last = AttemptId { job, epoch: OwnershipEpoch(u32::MAX), owner: owner(u64::MAX), number: u32::MAX };
    (first, last)
}
