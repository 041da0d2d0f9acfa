//! Heartbeats and their answers: what an executor runs, and what it is to start and stop.

use std::collections::BTreeSet;

use reconvene_clock::NodeId;
use reconvene_executor::message::{
    Heartbeat, HeldAttempt, LeaseLost, Order, Refusal, RosterEntry, StopReason, ToExecutor,
};
use reconvene_executor::{AttemptId, limits};

use crate::EventKind;
use crate::coordinator::Coordinator;
use crate::coordinator::executors::{Held, HeldState};
use crate::coordinator::jobs::RefusedBy;
use crate::coordinator::limits::Noting;
use crate::coordinator::timers::Timer;
use crate::fact::Phase;
use crate::statistics::count;
use crate::view::JobRecord;

/// What the answer to a heartbeat says beside its orders.
#[derive(Debug, Default)]
struct BeatAnswer {
    renewed: Vec<AttemptId>,
    lost: Vec<LeaseLost>,
    roster: Vec<RosterEntry>,
}

impl Coordinator {
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
        // One that was replaced goes on without a lease.
        let successor = self.successor(held);
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
    pub(super) fn leave_unnoted(&mut self, from: NodeId) {
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
                self.placing = true;
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
        let before = self.troubles.entry(attempt.job).or_default().refused_by.insert(from, refused);
        if let Some(until) = until {
            self.timers.arm(Timer::Ready(attempt.job), until);
        }
        let waited = before.is_some_and(|before| before.greatest == greatest);
        if let Some(greatest) = greatest.filter(|_| waited)
            && self.outrank(attempt.job, greatest)
            && let Some(trouble) = self.troubles.get_mut(&attempt.job)
        {
            trouble.refused_by.remove(&from);
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
}
