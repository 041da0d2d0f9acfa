//! Executors register: what they hold is compared with what they were given.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::message::{HeldAttempt, HeldVerdict, Register, RosterEntry, RosterRole, Terms, ToExecutor};
use reconvene_executor::{AttemptId, limits};

use crate::coordinator::Coordinator;
use crate::coordinator::executors::{HeldState, Homed};
use crate::coordinator::limits::Noting;
use crate::coordinator::suspicion::Gaps;
use crate::fact::{ExecutorFact, ExecutorState, Phase};
use crate::statistics::count;
use crate::view::serves;
use crate::{EventKind, Fact, FactKey, LossCause};

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
            heir: register.heir.clone(),
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
        // An order that may still be on its way is for the session that it was given to, and may have been followed there.
        let session = |attempt: &AttemptId| {
            let record = self.view.job(attempt.job).and_then(|job| job.attempts.get(attempt));
            record.and_then(|record| record.given_to()).map(|(_, session)| session)
        };
        if let Some(homed) = self.homed.get_mut(&from) {
            homed.attempts.retain(|attempt, held| {
                let offered = || held.state == HeldState::Offered && session(attempt) == Some(register.session);
                let stays = holds.contains(attempt) || keeps.contains(attempt) || offered();
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
        // A lease is given until the attempt is known to be replaced.
        if self.successor(held).is_some() { HeldVerdict::SubmitOnly } else { HeldVerdict::Continue }
    }

    /// The attempt that has replaced this one, if it is known: attempts at a job replace each other in the order of their
    /// tokens.
    pub(super) fn successor(&self, held: &HeldAttempt) -> Option<AttemptId> {
        let job = self.view.job(held.attempt.job).filter(|job| job.spec.is_some())?;
        job.attempt_in_force().filter(|current| job.token(current) > held.token)
    }

    /// After a restart: executors that were ours are watched from now on, until they register again. So are those that were
    /// given up, if a lease that they hold had not ended.
    pub(super) fn resume_homes(&mut self) {
        let own = self.own.replica;
        let at = self.at.mono;
        let ours: Vec<_> = self
            .view
            .executors()
            .filter(|(id, home, fact)| *home == own && (serves(fact) || self.view.working_on(*id).next().is_some()))
            .map(|(id, _, fact)| (id, fact.clone()))
            .collect();
        for (id, fact) in ours {
            let gone = !serves(&fact);
            let homed = Homed {
                session: fact.session,
                registration: fact.registration,
                capacity: fact.capacity,
                slots: fact.slots,
                tags: fact.tags,
                attempts: BTreeMap::new(),
                suspect: gone,
                silent_since: None,
                must_register: true,
                draining: false,
                gone,
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

    pub(super) fn roster(&self) -> Vec<RosterEntry> {
        let reachable = self.view.latest_members().filter_map(|member| {
            let address = member.address.clone().filter(|address| address.len() <= limits::ADDRESS_BYTES)?;
            Some(RosterEntry { node: member.node, role: RosterRole::Broker, address })
        });
        // In the order of their names, so that all who know the same executors tell the same order.
        let heirs = self.view.executors().filter(|(_, _, fact)| serves(fact)).filter_map(|(node, _, fact)| {
            let address = fact.heir.clone()?;
            Some(RosterEntry { node, role: RosterRole::Heir, address })
        });
        reachable.take(limits::ROSTER.saturating_sub(HEIRS)).chain(heirs.take(HEIRS)).collect()
    }
}

/// Executors in a roster that may start a broker.
const HEIRS: usize = 16;
