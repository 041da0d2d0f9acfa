//! Executors whose home is this broker: registration, heartbeats, leases, silence.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, ReplicaId, Timestamp};
use reconvene_executor::message::{
    Heartbeat, HeldAttempt, HeldVerdict, LeaseLost, Leave, Order, Refusal, Register, RosterEntry, StopReason, Terms,
    ToExecutor,
};
use reconvene_executor::{AttemptId, FencingToken, JobId, OwnershipEpoch, Resources, SessionEpoch, Tag, limits};

use crate::coordinator::Coordinator;
use crate::coordinator::jobs::RefusedBy;
use crate::coordinator::limits::Noting;
use crate::coordinator::suspicion::Gaps;
use crate::coordinator::timers::Timer;
use crate::fact::{ExecutorFact, ExecutorState, Phase};
use crate::statistics::count;
use crate::view::{JobRecord, serves};
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
    gone: bool,
    /// It runs more than could be noted here.
    unnoted: bool,
    pub(super) heard: Timestamp,
    gaps: Gaps,
    /// Of the last heartbeat.
    sequence: u64,
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
    lost_at: Timestamp,
    offers: u32,
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

/// What the answer to a heartbeat says beside its orders.
#[derive(Debug, Default)]
struct BeatAnswer {
    renewed: Vec<AttemptId>,
    lost: Vec<LeaseLost>,
    roster: Vec<RosterEntry>,
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
    pub(super) fn register(&mut self, from: NodeId, register: Register) {
        let known = self.view.executor(from).map(|(home, fact)| (home, fact.clone()));
        if let Some((_, fact)) = &known {
            if register.session < fact.session {
                self.send(from, ToExecutor::SessionBehind { known: fact.session });
                return;
            }
            if register.session == fact.session && register.registration < fact.registration {
                // An old message, or a counter that was lost: the next number is higher and will do.
                self.send(from, ToExecutor::NotRegistered { registration: register.registration });
                return;
            }
        }
        // It looks for another broker when it gets no answer.
        if !self.may_register(from) {
            count(&mut self.statistics.over_limits);
            return;
        }
        let own = self.own.replica;
        self.linked.insert(from);
        let news = known.as_ref().is_none_or(|(home, fact)| {
            *home != own || (fact.session, fact.registration) != (register.session, register.registration)
        });
        if news {
            self.record_registration(from, &register, known.as_ref());
        }
        let held = self.receive_held(from, &register);
        let Register { session, registration, .. } = register;
        let terms = Terms {
            lease_ms: self.config.lease_ms,
            heartbeat_ms: self.config.heartbeat_ms,
            drift_ms: self.config.drift_ms,
        };
        let roster = self.roster();
        self.send(from, ToExecutor::Registered { session, registration, terms, roster, held });
        self.placing = true;
        self.handing = true;
    }

    fn record_registration(&mut self, from: NodeId, register: &Register, known: Option<&(ReplicaId, ExecutorFact)>) {
        let own = self.own.replica;
        let fact = ExecutorFact {
            session: register.session,
            registration: register.registration,
            state: ExecutorState::Up,
            capacity: register.capacity,
            slots: register.slots,
            tags: register.tags.clone(),
        };
        if known.is_some_and(|(_, before)| before.session < register.session) {
            self.executor_lost(from);
        }
        count(&mut self.statistics.registrations);
        self.write(FactKey::Executor { executor: from, home: own }, Fact::Executor(fact));
        let session = register.session;
        match known {
            Some((home, _)) if *home != own => {
                count(&mut self.statistics.adopted);
                self.notify(EventKind::ExecutorAdopted { executor: from, from: *home });
            }
            Some((_, before)) if before.session == session => {
                self.notify(EventKind::ExecutorReappeared { executor: from, session });
            }
            _ => self.notify(EventKind::ExecutorJoined { executor: from, session }),
        }
        let heard = self.at.mono;
        let entry = self.homed.entry(from).or_insert_with(|| Homed {
            session,
            registration: register.registration,
            capacity: register.capacity,
            slots: register.slots,
            tags: BTreeSet::new(),
            attempts: BTreeMap::new(),
            suspect: false,
            silent_since: None,
            must_register: false,
            draining: false,
            gone: false,
            unnoted: false,
            heard,
            gaps: Gaps::new(self.config.heartbeat_ms),
            sequence: 0,
        });
        entry.session = session;
        entry.registration = register.registration;
        entry.capacity = register.capacity;
        entry.slots = register.slots;
        entry.tags.clone_from(&register.tags);
        entry.suspect = false;
        entry.silent_since = None;
        entry.must_register = false;
        entry.draining = false;
        entry.gone = false;
        entry.unnoted = false;
        entry.heard = heard;
        entry.sequence = 0;
        entry.attempts.values_mut().for_each(|held| held.sent = None);
        self.storm.changed();
    }

    /// Compares what the executor holds with what the facts say it was given.
    fn receive_held(&mut self, from: NodeId, register: &Register) -> Vec<(AttemptId, HeldVerdict)> {
        let mut verdicts = Vec::new();
        let holds: BTreeSet<AttemptId> = register.held.iter().map(|held| held.attempt).collect();
        let keeps: BTreeSet<AttemptId> = register.kept.iter().copied().collect();
        if let Some(homed) = self.homed.get_mut(&from) {
            homed.attempts.retain(|attempt, held| {
                let stays = holds.contains(attempt) || keeps.contains(attempt) || held.state == HeldState::Offered;
                if !stays {
                    self.dirty.insert(attempt.job);
                }
                stays
            });
        }
        for held in &register.held {
            let verdict = self.receive_one(from, held, register);
            verdicts.push((held.attempt, verdict));
        }
        for attempt in &register.kept {
            if self.noting(from, *attempt) == Noting::Yes {
                self.renew(from, *attempt, None, HeldState::Ended);
            }
        }
        // What it was given and does not name any more will not run. An order of ours that is on its way is repeated.
        let missing: Vec<_> = self.view.working_on(from).collect();
        for attempt in missing.into_iter().filter(|attempt| !holds.contains(attempt) && !keeps.contains(attempt)) {
            let given = self.view.job(attempt.job).and_then(|job| job.attempts.get(&attempt)?.given_to());
            let same_session = given.is_some_and(|(_, session)| session == register.session);
            let on_its_way = self.homed.get(&from).is_some_and(|homed| homed.attempts.contains_key(&attempt));
            if !(same_session && on_its_way) {
                if let Some(homed) = self.homed.get_mut(&from) {
                    homed.attempts.remove(&attempt);
                }
                self.lose(attempt, from, if same_session { LossCause::NotHeld } else { LossCause::NewSession });
            }
        }
        self.watch(from);
        verdicts
    }

    fn receive_one(&mut self, from: NodeId, held: &HeldAttempt, register: &Register) -> HeldVerdict {
        let attempt = held.attempt;
        if self.view.is_done(attempt.job) {
            return HeldVerdict::Stop;
        }
        let job = self.view.job(attempt.job);
        if job.is_some_and(|job| job.spec.is_some() && job.is_over(self.config.retries)) {
            return HeldVerdict::Stop;
        }
        if job.is_some_and(|job| job.is_replaced(&attempt)) {
            return HeldVerdict::Stop;
        }
        let record = job.and_then(|job| job.attempts.get(&attempt));
        if record.and_then(|record| record.given_to()).is_some_and(|(executor, _)| executor != from) {
            return HeldVerdict::Stop;
        }
        let unknown = job.is_none_or(|job| job.spec.is_none());
        let was_lost = record.and_then(|record| record.phase()) == Some(Phase::Lost);
        if self.noting(from, attempt) != Noting::Yes {
            self.leave_unnoted(from);
            return HeldVerdict::Continue;
        }
        self.renew(from, attempt, Some(held.token), HeldState::Running);
        let progress_bp = self.note_progress(from, held);
        if unknown {
            self.await_spec(attempt.job);
        }
        self.mark(attempt, Phase::Running, register.registration, progress_bp);
        if was_lost {
            count(&mut self.statistics.reappeared);
            self.notify(EventKind::AttemptReappeared { attempt, executor: from });
        }
        HeldVerdict::Continue
    }

    /// Notes that the executor has this attempt: its lease begins anew.
    fn renew(&mut self, from: NodeId, attempt: AttemptId, token: Option<FencingToken>, state: HeldState) {
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
    fn note_progress(&mut self, from: NodeId, heard: &HeldAttempt) -> u16 {
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
    fn has_ended(&self, attempt: AttemptId) -> bool {
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
            let elsewhere = home != self.own.replica && job.ownership().owner == self.own.replica;
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
            } else if self.mark(attempt, Phase::Lost, 0, 0) {
                count(&mut self.statistics.lost);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, from: NodeId, heartbeat: Heartbeat) {
        let registered = self.homed.get(&from).is_some_and(|homed| {
            (homed.session, homed.registration) == (heartbeat.session, heartbeat.registration) && !homed.must_register
        });
        if !registered {
            self.send(from, ToExecutor::NotRegistered { registration: heartbeat.registration });
            return;
        }
        self.linked.insert(from);
        let at = self.at.mono;
        let Some(homed) = self.homed.get_mut(&from) else { return };
        if heartbeat.sequence < homed.sequence {
            return;
        }
        if heartbeat.sequence == homed.sequence {
            // The same heartbeat again: its answer may have been lost, and the orders in it.
            homed.attempts.values_mut().for_each(|held| held.sent = None);
        } else {
            homed.gaps.push(at.saturating_since(homed.heard));
        }
        homed.sequence = heartbeat.sequence;
        homed.heard = at;
        let left_unnoted = core::mem::replace(&mut homed.unnoted, false);
        let session = homed.session;
        if core::mem::replace(&mut homed.suspect, false) {
            homed.silent_since = None;
            self.storm.changed();
            self.placing = true;
            self.notify(EventKind::ExecutorReappeared { executor: from, session });
        }
        for refused in &heartbeat.refused {
            self.refused(from, refused.attempt, refused.reason);
        }
        let mut answer = BeatAnswer::default();
        for held in &heartbeat.running {
            self.hear_running(from, held, heartbeat.registration, &mut answer);
        }
        for attempt in &heartbeat.kept {
            self.hear_kept(from, *attempt);
        }
        self.hear_missing(from, &heartbeat);
        if left_unnoted && self.homed.get(&from).is_some_and(|homed| !homed.unnoted) {
            self.dirty.extend(self.view.working_on(from).map(|attempt| attempt.job));
        }
        self.watch(from);
        answer.roster = self.roster();
        self.answer(from, answer);
    }

    fn hear_running(&mut self, from: NodeId, held: &HeldAttempt, registration: u64, answer: &mut BeatAnswer) {
        let attempt = held.attempt;
        let state = self.homed.get(&from).and_then(|homed| homed.attempts.get(&attempt)).map(|held| held.state);
        let job = self.view.job(attempt.job).filter(|job| job.spec.is_some());
        if let Some(HeldState::Stopping(_)) = state {
            return;
        }
        if self.view.is_done(attempt.job) {
            self.stop_running(from, held, StopReason::Completed);
            return;
        }
        if let Some(job) = job.filter(|job| job.is_over(self.config.retries)) {
            let reason = if job.canonical().is_some() { StopReason::Completed } else { StopReason::Cancelled };
            self.stop_running(from, held, reason);
            return;
        }
        if job.is_some_and(|job| job.is_replaced(&attempt)) {
            self.stop_running(from, held, StopReason::Replaced);
            return;
        }
        // Our own attempts replace each other in the order of their tokens; an older one goes on without a lease.
        let successor = job
            .and_then(|job| job.attempt_in_force().map(|current| (current, job.token(&current))))
            .filter(|(_, token)| *token > held.token)
            .map(|(current, _)| current);
        match self.noting(from, attempt) {
            Noting::Yes => {}
            // It may well run. Nothing is concluded here from its silence.
            Noting::Full => {
                self.leave_unnoted(from);
                return answer.renewed.push(attempt);
            }
            // Somebody else was given it. Without a lease it comes to its end.
            Noting::Foreign => return,
        }
        self.renew(from, attempt, Some(held.token), HeldState::Running);
        let progress_bp = self.note_progress(from, held);
        if self.mark(attempt, Phase::Running, registration, progress_bp) {
            self.notify(EventKind::AttemptStarted { attempt, executor: from });
        }
        // Another broker may have given it up while the executor was not heard here.
        let given_up =
            |job: &JobRecord| job.attempts.get(&attempt).and_then(|record| record.phase()) == Some(Phase::Lost);
        if self.view.job(attempt.job).is_some_and(given_up)
            && let Some(homed) = self.homed.get_mut(&from)
        {
            homed.must_register = true;
        }
        match successor {
            Some(successor) => answer.lost.push(LeaseLost { attempt, successor: Some(successor) }),
            None => answer.renewed.push(attempt),
        }
    }

    /// That an attempt is not noted here says nothing about whether it runs.
    fn leave_unnoted(&mut self, from: NodeId) {
        if let Some(homed) = self.homed.get_mut(&from) {
            homed.unnoted = true;
        }
    }

    /// The executor runs something that nobody needs.
    fn stop_running(&mut self, from: NodeId, held: &HeldAttempt, reason: StopReason) {
        let Some(homed) = self.homed.get(&from) else { return };
        let stopping = |held: &&Held| matches!(held.state, HeldState::Stopping(_));
        // No more than one answer holds: it is told of the rest when it names them again.
        let full = || homed.attempts.values().filter(stopping).nth(limits::ORDERS.saturating_sub(1)).is_some();
        if homed.attempts.contains_key(&held.attempt) || !full() {
            self.renew(from, held.attempt, Some(held.token), HeldState::Stopping(reason));
        }
    }

    fn hear_kept(&mut self, from: NodeId, attempt: AttemptId) {
        if self.homed.get(&from).is_some_and(|homed| homed.attempts.contains_key(&attempt)) {
            self.renew(from, attempt, None, HeldState::Ended);
            self.placing = true;
        }
    }

    /// What the executor does not name: orders it has not seen, attempts that ended, attempts that were stopped.
    fn hear_missing(&mut self, from: NodeId, heartbeat: &Heartbeat) {
        let running: BTreeSet<AttemptId> = heartbeat.running.iter().map(|held| held.attempt).collect();
        let kept: BTreeSet<AttemptId> = heartbeat.kept.iter().copied().collect();
        let Some(homed) = self.homed.get_mut(&from) else { return };
        let (mut freed, mut drained) = (false, Vec::new());
        homed.attempts.retain(|attempt, held| {
            if running.contains(attempt) || kept.contains(attempt) {
                return true;
            }
            match held.state {
                HeldState::Offered => true,
                HeldState::Running => {
                    held.state = HeldState::Ended;
                    freed = true;
                    true
                }
                HeldState::Ended => true,
                HeldState::Draining { by, .. } => {
                    drained.push((*attempt, by));
                    freed = true;
                    false
                }
                HeldState::Stopping(_) => {
                    freed = true;
                    false
                }
            }
        });
        self.placing |= freed;
        for (attempt, by) in drained {
            self.preempted(attempt, by, heartbeat.registration);
        }
    }

    fn refused(&mut self, from: NodeId, attempt: AttemptId, reason: Refusal) {
        let Some(homed) = self.homed.get_mut(&from) else { return };
        let registration = homed.registration;
        let offered = homed.attempts.get(&attempt).is_some_and(|held| held.state == HeldState::Offered);
        if !offered {
            return;
        }
        if reason == Refusal::AlreadyEnded {
            // It ran here, and its result is kept or was answered: nothing to place again yet.
            if let Some(held) = homed.attempts.get_mut(&attempt) {
                held.state = HeldState::Ended;
            }
            return;
        }
        homed.attempts.remove(&attempt);
        homed.draining |= reason == Refusal::Draining;
        let detection_ms = self.config.detection_ms();
        let (wait_ms, greatest) = match reason {
            // What stands in the way passes; the executor may be asked again.
            Refusal::NoFreeSlot | Refusal::NoFreeCapacity { .. } | Refusal::TooManyResults | Refusal::LeaseOver => {
                (Some(detection_ms), None)
            }
            // Somebody has claimed the job. The claim arrives, if anybody is left who knows of it.
            Refusal::SmallerToken { greatest } => (Some(self.config.owner_timeout_ms), Some(greatest)),
            Refusal::AlreadyEnded | Refusal::MissingTag | Refusal::Draining | Refusal::Malformed => (None, None),
        };
        let until = wait_ms.map(|ms| self.at.mono.saturating_add(ms));
        let refused = RefusedBy { session: homed.session, registration, until, greatest };
        count(&mut self.statistics.refused);
        let before = self.locals.entry(attempt.job).or_default().refused_by.insert(from, refused);
        if let Some(until) = until {
            self.timers.arm(Timer::Ready(attempt.job), until);
        }
        let waited = before.is_some_and(|before| before.greatest == greatest);
        if let Some(greatest) = greatest.filter(|_| waited)
            && self.outrank(attempt.job, greatest)
            && let Some(local) = self.locals.get_mut(&attempt.job)
        {
            local.refused_by.remove(&from);
        }
        self.mark(attempt, Phase::Refused, registration, 0);
        self.notify(EventKind::AttemptRefused { attempt, executor: from });
        self.placing = true;
    }

    /// Sends renewals and the orders that are due.
    fn answer(&mut self, to: NodeId, answer: BeatAnswer) {
        let orders = self.orders(to);
        let Some(homed) = self.homed.get(&to) else { return };
        let (session, registration, sequence) = (homed.session, homed.registration, homed.sequence);
        let BeatAnswer { renewed, lost, roster } = answer;
        let message = ToExecutor::HeartbeatAnswer { session, registration, sequence, renewed, lost, orders, roster };
        self.send(to, message);
    }

    /// Sends new orders without waiting for the next heartbeat. They count from the last one, which is the safe side.
    pub(super) fn order_now(&mut self, to: NodeId) {
        if self.linked.contains(&to) && self.homed.get(&to).is_some_and(|homed| !homed.must_register) {
            self.answer(to, BeatAnswer::default());
        }
    }

    fn orders(&mut self, to: NodeId) -> Vec<Order> {
        let lease_ms = self.config.lease_ms;
        let at = self.at.mono;
        let lost_at = at.saturating_add(self.config.detection_ms());
        let offers = self.config.offers;
        let Some(homed) = self.homed.get_mut(&to) else { return Vec::new() };
        let mut orders = Vec::new();
        let mut bytes = 0_usize;
        for (attempt, held) in &mut homed.attempts {
            if orders.len() >= limits::ORDERS {
                break;
            }
            if held.sent == Some(homed.sequence) {
                continue;
            }
            match held.state {
                HeldState::Stopping(reason) => {
                    held.sent = Some(homed.sequence);
                    orders.push(Order::Stop { attempt: *attempt, reason, drain_ms: 0 });
                }
                HeldState::Draining { until, .. } => {
                    held.sent = Some(homed.sequence);
                    let drain_ms = until.saturating_since(at).min(limits::TERM_MS);
                    orders.push(Order::Stop { attempt: *attempt, reason: StopReason::Preempted, drain_ms });
                }
                HeldState::Offered if held.offers < offers => {
                    let Some(spec) = self.view.job(attempt.job).and_then(|job| job.spec.as_ref()) else { continue };
                    let size = spec.fact.spec.payload.len();
                    if bytes.saturating_add(size) > limits::ORDERS_PAYLOAD_BYTES && bytes > 0 {
                        continue;
                    }
                    bytes = bytes.saturating_add(size);
                    held.offers = held.offers.saturating_add(1);
                    held.sent = Some(homed.sequence);
                    held.lost_at = lost_at;
                    let spec = spec.fact.spec.clone();
                    orders.push(Order::Start { attempt: *attempt, token: held.token, spec, lease_ms });
                }
                HeldState::Offered | HeldState::Running | HeldState::Ended => {}
            }
        }
        self.watch(to);
        orders
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
    fn executor_lost(&mut self, executor: NodeId) {
        // A crash is judged a window after it, by what happened since a window before it.
        let keep_ms = self.config.storm_window_ms.saturating_mul(3);
        self.lately_lost.push(self.at.mono, executor, keep_ms);
    }

    fn give_up(&mut self, executor: NodeId, attempt: AttemptId, cause: LossCause) {
        let Some(homed) = self.homed.get_mut(&executor) else { return };
        let Some(held) = homed.attempts.remove(&attempt) else { return };
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

    /// After a restart: executors that were ours are watched from now on, until they register again.
    pub(super) fn resume_homes(&mut self) {
        let own = self.own.replica;
        let at = self.at.mono;
        let ours: Vec<_> = self
            .view
            .executors()
            .filter(|(_, home, fact)| *home == own && serves(fact))
            .map(|(id, _, fact)| (id, fact.clone()))
            .collect();
        for (id, fact) in ours {
            let homed = Homed {
                session: fact.session,
                registration: fact.registration,
                capacity: fact.capacity,
                slots: fact.slots,
                tags: fact.tags,
                attempts: BTreeMap::new(),
                suspect: false,
                silent_since: None,
                must_register: true,
                draining: false,
                gone: false,
                unnoted: false,
                heard: at,
                gaps: Gaps::new(self.config.heartbeat_ms),
                sequence: 0,
            };
            self.homed.insert(id, homed);
            let attempts: Vec<_> = self.view.working_on(id).collect();
            for attempt in attempts {
                self.renew(id, attempt, None, HeldState::Running);
            }
            self.watch(id);
        }
    }

    fn roster(&self) -> Vec<RosterEntry> {
        let reachable = self.view.latest_members().filter_map(|member| {
            let address = member.address.clone().filter(|address| address.len() <= limits::ADDRESS_BYTES)?;
            Some(RosterEntry { node: member.node, address })
        });
        reachable.take(limits::ROSTER).collect()
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
