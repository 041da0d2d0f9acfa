//! Which policy is in force here, switching it, and pinning another to a job.

use std::sync::Arc;

use reconvene_executor::JobId;
use reconvene_resolve::{Policy, PolicyEpoch, PolicyId};

use crate::coordinator::Coordinator;
use crate::fact::{PinFact, PolicyCurrentFact, PolicyDefFact};
use crate::statistics::count;
use crate::view::PolicyView;
use crate::{CommandError, EventKind, Fact, FactKey, Reply};

/// The policy by which this broker ranks, and under which it admits jobs.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) id: PolicyId,
    epoch: PolicyEpoch,
    pub(super) policy: Arc<Policy>,
}

impl InForce {
    /// The one that was configured.
    pub(super) fn configured(policy: &Policy) -> Self {
        Self { id: policy.id(), epoch: PolicyEpoch(0), policy: Arc::new(policy.clone()) }
    }
}

impl Coordinator {
    /// Another policy may be in force. One that is not known here is waited for: until then this broker ranks its own
    /// jobs as before, which concerns nobody else.
    pub(super) fn policy_changed(&mut self) {
        let Some(choice) = self.view.registry().current() else { return };
        let Some(policy) = self.view.policy(choice.policy) else { return };
        if (choice.epoch, choice.policy) == (self.in_force.epoch, self.in_force.id) {
            return;
        }
        let from = core::mem::replace(&mut self.in_force, InForce { id: choice.policy, epoch: choice.epoch, policy });
        self.rank_again = true;
        self.placing = true;
        // What was decided before this broker was opened is no news.
        if !self.loading {
            let (epoch, issuer_rank, to) = (choice.epoch, choice.issuer_rank, choice.policy);
            self.notify(EventKind::PolicySwitched { epoch, issuer_rank, from: from.id, to });
        }
    }

    /// Writes a policy down, so that it is known wherever a fact arrives that names it.
    pub(super) fn define(&mut self, id: PolicyId, policy: &Policy) {
        if !self.defined.contains(&id) {
            let canonical = policy.canonical_bytes();
            self.write(FactKey::PolicyDef(id), Fact::PolicyDef(PolicyDefFact { canonical }));
        }
    }

    pub(super) fn set_policy(&mut self, canonical: &[u8], issuer_rank: u32) -> Result<Reply, CommandError> {
        let policy = Policy::decode(canonical).map_err(|error| CommandError::Policy { reason: error.to_string() })?;
        let id = policy.id();
        if let Some(choice) = self.view.registry().current()
            && choice.policy == id
            && choice.issuer_rank >= issuer_rank
        {
            return Ok(Reply::PolicySet { choice });
        }
        let exhausted = |_| CommandError::out_of_range("the number of switches", u64::MAX, "less");
        let choice = self.view.registry().switch_to(id, issuer_rank).map_err(exhausted)?;
        self.define(id, &policy);
        let fact = PolicyCurrentFact { choice, at: self.next_stamp() };
        count(&mut self.statistics.policies_set);
        self.write(FactKey::PolicyCurrent { by: self.own.replica }, Fact::PolicyCurrent(fact));
        Ok(Reply::PolicySet { choice })
    }

    pub(super) fn repin(&mut self, id: JobId, policy: PolicyId, issuer_rank: u32) -> Result<Reply, CommandError> {
        let unknown = || self.unknown_job(id);
        let before = self.view.job(id).and_then(|job| job.pin()).ok_or_else(unknown)?;
        let known = self.view.policy(policy).ok_or(CommandError::UnknownPolicy { policy })?;
        if before.policy == policy {
            return Ok(Reply::Repinned { job: id, pin: before });
        }
        let exhausted = |_| CommandError::out_of_range("the number of pins of the job", u64::MAX, "less");
        let pin = before.repin(policy, issuer_rank).map_err(exhausted)?;
        self.define(policy, &known);
        let fact = PinFact { pin, at: self.next_stamp() };
        count(&mut self.statistics.repinned);
        self.write(FactKey::Pin { job: id, by: self.own.replica }, Fact::Pin(fact));
        self.notify(EventKind::JobRepinned { job: id, epoch: pin.epoch, from: before.policy, to: policy });
        Ok(Reply::Repinned { job: id, pin })
    }

    /// The policy by which jobs are ranked here, and which judges the results of those that are admitted now.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.in_force.policy
    }

    /// The policy in force here, and those that are known.
    #[must_use]
    pub fn policy_view(&self) -> PolicyView {
        let InForce { id, epoch, policy } = &self.in_force;
        PolicyView {
            id: *id,
            epoch: *epoch,
            kind: policy.kind(),
            canonical: policy.canonical_bytes(),
            known: self.view.registry().iter().map(|(id, _)| id).collect(),
        }
    }
}
