//! The attempts that run here, and which orders may add to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use reconvene_clock::{ReplicaId, Timestamp};

use crate::config::AgentConfig;
use crate::id::{AttemptId, FencingToken, JobId, OwnershipEpoch, SessionEpoch, SpecDigest};
use crate::message::{HeldAttempt, Refusal, StopReason};
use crate::spec::{JobSpec, Resources};

/// An attempt that runs here.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: FencingToken,
    pub(super) session: SessionEpoch,
    pub(super) spec_digest: SpecDigest,
    pub(super) spec: Arc<JobSpec>,
    pub(super) progress_bp: u16,
    pub(super) started: bool,
    demand: Resources,
    fenced: bool,
    /// When the lease ends; `None` without a lease.
    lease_end: Option<Timestamp>,
    /// When it is stopped, and why, unless it ends before.
    stop: Option<(Timestamp, StopReason)>,
}

/// What became of an order to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ordered {
    /// It is new, and is held now.
    New,
    /// It came before; the attempt is held, or its result is kept.
    Known,
    /// It is not followed.
    Refused(Refusal),
}

/// The attempts that run here, and the greatest token seen of each job.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    held: BTreeMap<AttemptId, Held>,
    used: Resources,
    tokens: BTreeMap<JobId, (FencingToken, u64)>,
    /// Jobs of `tokens` from the one whose token was seen longest ago. The number is that of `tokens`.
    by_age: BTreeMap<u64, JobId>,
    next_age: u64,
}

/// What the rest of the agent knows that decides about an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    pub(super) session: SessionEpoch,
    /// When the lease of the order ends, counted from when what it answers was sent.
    pub(super) lease_end: Timestamp,
    pub(super) draining: bool,
    /// Whether the result of this very attempt is kept.
    pub(super) result_kept: bool,
    /// Whether one more result can be kept besides those of the attempts held.
    pub(super) room_for_result: bool,
}

impl Attempts {
    /// Takes an order to start, or says why not. Nothing changes if it is not new.
    pub(super) fn order(
        &mut self,
        attempt: AttemptId,
        token: FencingToken,
        spec: &JobSpec,
        config: &AgentConfig,
        given: Circumstances,
    ) -> Ordered {
        // First what is known: a repeated order is no news, whatever else has changed since.
        if self.held.contains_key(&attempt) || given.result_kept {
            return Ordered::Known;
        }
        if !token.belongs_to(&attempt) || spec.validate().is_err() {
            return Ordered::Refused(Refusal::Malformed);
        }
        match self.tokens.get(&attempt.job) {
            Some((greatest, _)) if *greatest == token => return Ordered::Refused(Refusal::AlreadyEnded),
            Some((greatest, _)) if *greatest > token => {
                return Ordered::Refused(Refusal::SmallerToken { greatest: *greatest });
            }
            Some(_) | None => {}
        }
        match self.admit(spec, config, given) {
            Ok(used) => {
                self.remember(attempt.job, token, config.remembered_jobs);
                self.used = used;
                let held = Held {
                    token,
                    session: given.session,
                    spec_digest: spec.digest(),
                    spec: Arc::new(spec.clone()),
                    progress_bp: 0,
                    started: false,
                    demand: spec.demand,
                    fenced: spec.fenced,
                    lease_end: Some(given.lease_end),
                    stop: None,
                };
                self.held.insert(attempt, held);
                Ordered::New
            }
            Err(refusal) => Ordered::Refused(refusal),
        }
    }

    /// What is used up with one more, if there is a place for it.
    fn admit(&self, spec: &JobSpec, config: &AgentConfig, given: Circumstances) -> Result<Resources, Refusal> {
        if given.draining {
            return Err(Refusal::Draining);
        }
        if given.lease_end <= given.now {
            return Err(Refusal::LeaseOver);
        }
        if !spec.requires.is_subset(&config.tags) {
            return Err(Refusal::MissingTag);
        }
        if self.held.len() >= usize::try_from(config.slots).unwrap_or(usize::MAX) {
            return Err(Refusal::NoFreeSlot);
        }
        let used = self.used.checked_add(spec.demand).filter(|used| used.fits_in(config.capacity));
        let used = used.ok_or_else(|| Refusal::NoFreeCapacity { free: config.capacity.saturating_sub(self.used) })?;
        if given.room_for_result { Ok(used) } else { Err(Refusal::TooManyResults) }
    }

    /// Remembers the greatest token of a job, and forgets the oldest job without an attempt here if they are too many.
    fn remember(&mut self, job: JobId, token: FencingToken, limit: usize) {
        if let Some((_, age)) = self.tokens.get(&job) {
            self.by_age.remove(age);
        }
        let age = self.next_age;
        self.next_age = self.next_age.saturating_add(1);
        self.tokens.insert(job, (token, age));
        self.by_age.insert(age, job);
        if self.tokens.len() <= limit {
            return;
        }
        // At most slots + 1 steps: a job that is looked at in vain has an attempt here.
        let oldest = self.by_age.iter().find(|(_, old)| **old != job && !self.holds_job(**old));
        if let Some((&age, &old)) = oldest {
            self.by_age.remove(&age);
            self.tokens.remove(&old);
        }
    }

    fn holds_job(&self, job: JobId) -> bool {
        let first = AttemptId { job, epoch: OwnershipEpoch(0), owner: FIRST_REPLICA, number: 0 };
        self.held.range(first..).next().is_some_and(|(attempt, _)| attempt.job == job)
    }

    /// Takes an attempt out; its place is free.
    pub(super) fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        let held = self.held.remove(&attempt)?;
        self.used = self.used.saturating_sub(held.demand);
        Some(held)
    }

    /// What an attempt that runs here was ordered with.
    pub(super) fn spec(&self, attempt: AttemptId) -> Option<&JobSpec> {
        self.held.get(&attempt).map(|held| held.spec.as_ref())
    }

    pub(super) fn get_mut(&mut self, attempt: AttemptId) -> Option<&mut Held> {
        self.held.get_mut(&attempt)
    }

    /// Gives a lease until `end`, unless a later one was given already.
    pub(super) fn renew(&mut self, attempt: AttemptId, end: Timestamp, now: Timestamp) {
        if let Some(held) = self.held.get_mut(&attempt)
            && end > now
        {
            held.lease_end = held.lease_end.max(Some(end));
        }
    }

    /// Takes the lease away. Says whether the attempt has to stop for it; `None` if it is not held or had no lease.
    pub(super) fn end_lease(&mut self, attempt: AttemptId) -> Option<bool> {
        let held = self.held.get_mut(&attempt)?;
        held.lease_end.take().map(|_| held.fenced)
    }

    /// The attempts whose leases are over.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<AttemptId> {
        let over = |held: &Held| held.lease_end.is_some_and(|end| end <= now);
        self.held.iter().filter(|(_, held)| over(held)).map(|(attempt, _)| *attempt).collect()
    }

    /// Sets when an attempt is stopped, unless that is due earlier already. Says whether it was not set before.
    pub(super) fn drain(&mut self, attempt: AttemptId, until: Timestamp, reason: StopReason) -> bool {
        let Some(held) = self.held.get_mut(&attempt) else { return false };
        let before = held.stop;
        if before.is_none_or(|(due, _)| until < due) {
            held.stop = Some((until, reason));
        }
        before.is_none()
    }

    /// The attempts whose time to end by themselves is over.
    pub(super) fn drained(&self, now: Timestamp) -> Vec<(AttemptId, StopReason)> {
        let due = |held: &Held| held.stop.filter(|(at, _)| *at <= now).map(|(_, reason)| reason);
        self.held.iter().filter_map(|(attempt, held)| Some((*attempt, due(held)?))).collect()
    }

    /// When the next attempt is to be stopped.
    pub(super) fn next_stop(&self) -> Option<Timestamp> {
        self.held.values().filter_map(|held| held.stop).map(|(at, _)| at).min()
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.held.values().filter_map(|held| held.lease_end).min()
    }

    pub(super) fn ids(&self) -> Vec<AttemptId> {
        self.held.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = HeldAttempt> {
        self.held.iter().map(|(attempt, held)| HeldAttempt {
            attempt: *attempt,
            token: held.token,
            progress_bp: held.progress_bp,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_leased(&self, attempt: AttemptId) -> bool {
        self.held.get(&attempt).is_some_and(|held| held.lease_end.is_some())
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.tokens.len()
    }

    pub(super) const fn used(&self) -> Resources {
        self.used
    }
}

const FIRST_REPLICA: ReplicaId = ReplicaId::new(1).expect("1 is not zero");
