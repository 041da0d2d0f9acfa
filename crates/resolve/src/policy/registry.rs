//! Which policies are known, which is current, and which judges one job's results.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::policy::codec::Frame;
use crate::policy::{Policy, PolicyDecodeError, PolicyEpoch, PolicyId, PolicyRef};
use crate::{AlgorithmId, Reason};

/// The policies that are known, and which of them is current: a value that only grows, equal on all brokers that have
/// seen the same facts, in any order.
///
/// It holds what operators have written, at most [`Policy::MAX_BYTES`] each, and forgets nothing: a limit on their number
/// would leave brokers with different ones.
///
/// Policies of algorithms that are not known here are kept too: another broker may know them, and so may the next version
/// of this one.
///
/// ```
/// use reconvene_resolve::{Policy, PolicyRegistry};
///
/// let mut registry = PolicyRegistry::default();
/// let fair = registry.insert(&Policy::first_come_first_served().canonical_bytes())?;
/// let rescue = registry.insert(&Policy::emergency_first().canonical_bytes())?;
///
/// // Two operators switch while they do not see each other; the one of the greater rank is followed.
/// let mut other = registry.clone();
/// registry.observe(registry.switch_to(fair, 1)?);
/// other.observe(other.switch_to(rescue, 2)?);
/// registry.merge(&other);
/// other.merge(&registry);
/// assert_eq!(registry, other);
/// assert_eq!(registry.current().map(|current| current.policy), Some(rescue));
/// # Ok::<(), reconvene_resolve::RegistryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRegistry {
    policies: BTreeMap<PolicyId, Box<[u8]>>,
    current: Option<PolicyChoice>,
}

/// That a policy became current. The greatest of all choices holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "compared field by field, in this order")]
pub struct PolicyChoice {
    /// One more than that of the choice its issuer replaced.
    pub epoch: PolicyEpoch,
    /// The rank of its issuer: who is followed if two switch at once. Higher wins.
    pub issuer_rank: u32,
    /// The policy.
    pub policy: PolicyId,
}

/// Counts the times a job's policy was changed after its admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct PinEpoch(pub u64);

/// The policy that judges the results of one job: the one that was current when the job was admitted, until an operator
/// pins another. The greatest of a job's pins holds.
///
/// A switch of the current policy changes no pin, so no decided job changes its result for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "compared field by field, in this order")]
pub struct Pin {
    /// 0 at admission, one more with each repin.
    pub epoch: PinEpoch,
    /// The rank of its issuer; 0 at admission.
    pub issuer_rank: u32,
    /// The policy.
    pub policy: PolicyId,
}

impl Pin {
    /// The pin of a job that is admitted under `policy`.
    #[must_use]
    pub const fn at_admission(policy: PolicyId) -> Self {
        Self { epoch: PinEpoch(0), issuer_rank: 0, policy }
    }

    /// The pin that puts `policy` in the place of this one. May change the canonical result.
    ///
    /// # Errors
    /// [`RegistryError::EpochsExhausted`] after 2^64 of them.
    pub fn repin(&self, policy: PolicyId, issuer_rank: u32) -> Result<Self, RegistryError> {
        let epoch = self.epoch.0.checked_add(1).map(PinEpoch).ok_or(RegistryError::EpochsExhausted)?;
        Ok(Self { epoch, issuer_rank, policy })
    }

    /// The one that holds of two.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }
}

impl PolicyRegistry {
    /// Adds a policy by its canonical bytes and returns its name. Adding it again changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] if they are not canonical, as far as that can be told without knowing the algorithm.
    /// Nothing was added.
    pub fn insert(&mut self, canonical: &[u8]) -> Result<PolicyId, RegistryError> {
        match Policy::decode(canonical) {
            Ok(_) | Err(PolicyDecodeError::UnknownAlgorithm { .. }) => {}
            Err(cause) => return Err(RegistryError::Refused(cause)),
        }
        let id = PolicyId::of_bytes(canonical);
        self.policies.entry(id).or_insert_with(|| Box::from(canonical));
        Ok(id)
    }

    /// The choice that makes `policy` current here, to be written down and [observed](Self::observe) by all. It need not
    /// be known here.
    ///
    /// # Errors
    /// [`RegistryError::EpochsExhausted`] after 2^64 switches.
    pub fn switch_to(&self, policy: PolicyId, issuer_rank: u32) -> Result<PolicyChoice, RegistryError> {
        let last = self.current.map_or(0, |current| current.epoch.0);
        let epoch = last.checked_add(1).map(PolicyEpoch).ok_or(RegistryError::EpochsExhausted)?;
        Ok(PolicyChoice { epoch, issuer_rank, policy })
    }

    /// Takes in a choice; it becomes current if it is greater than the current one. Returns whether it did.
    pub fn observe(&mut self, choice: PolicyChoice) -> bool {
        let newer = self.current.is_none_or(|current| current < choice);
        if newer {
            self.current = Some(choice);
        }
        newer
    }

    /// Takes in all that another registry knows. Commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Self) {
        for (id, bytes) in &other.policies {
            self.policies.entry(*id).or_insert_with(|| bytes.clone());
        }
        if let Some(choice) = other.current {
            self.observe(choice);
        }
    }

    /// The choice that holds.
    #[must_use]
    pub const fn current(&self) -> Option<PolicyChoice> {
        self.current
    }

    /// The canonical bytes of a policy, if it is known.
    #[must_use]
    pub fn bytes(&self, policy: PolicyId) -> Option<&[u8]> {
        self.policies.get(&policy).map(AsRef::as_ref)
    }

    /// All known policies, by id.
    pub fn iter(&self) -> impl Iterator<Item = (PolicyId, &[u8])> {
        self.policies.iter().map(|(id, bytes)| (*id, bytes.as_ref()))
    }

    /// A policy by its name.
    ///
    /// # Errors
    /// [`Unresolved::AwaitingPolicy`] if it, or its algorithm, is not known here. There is no other policy to fall back
    /// to: a guess would be another answer than that of the brokers who know.
    pub fn get(&self, policy: PolicyId) -> Result<Policy, Unresolved> {
        let unresolved = |cause| Unresolved::AwaitingPolicy { policy, cause };
        let bytes = self.bytes(policy).ok_or_else(|| unresolved(UnresolvedCause::UnknownPolicy))?;
        Policy::decode(bytes).map_err(|_| match Frame::read(bytes) {
            Ok(Frame { algorithm, .. }) => unresolved(UnresolvedCause::UnknownAlgorithm { algorithm }),
            // What is held was read before it was taken in.
            Err(_) => unresolved(UnresolvedCause::UnknownPolicy),
        })
    }

    /// The policy that orders this broker's jobs from its next round, with the name that goes into decisions. `None` if
    /// none was ever chosen.
    ///
    /// Brokers that have not heard of a switch yet order their own jobs by the old one, which is harmless: they own
    /// different executors.
    #[must_use]
    pub fn contention(&self) -> Option<Result<(PolicyRef, Policy), Unresolved>> {
        let PolicyChoice { epoch, policy, .. } = self.current?;
        Some(self.get(policy).map(|found| (PolicyRef { epoch, id: policy }, found)))
    }

    /// The policy that judges the results of a job with this pin.
    ///
    /// # Errors
    /// As [`get`](Self::get): the job stays undecided here until the policy arrives.
    pub fn divergence(&self, pin: Pin) -> Result<Policy, Unresolved> {
        self.get(pin.policy)
    }
}

/// What cannot be decided here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Unresolved {
    /// The policy that must judge is not known here.
    #[error("policy {policy} must judge and cannot yet: {cause}")]
    AwaitingPolicy {
        /// Which.
        policy: PolicyId,
        /// What is missing.
        cause: UnresolvedCause,
    },
}

impl Unresolved {
    /// As a reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::AwaitingPolicy { .. } => Reason::AwaitingPolicy,
        }
    }
}

/// What is missing before a policy can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum UnresolvedCause {
    /// Its bytes have not arrived.
    #[error("its parameters have not arrived")]
    UnknownPolicy,
    /// Its algorithm, or that version of it, is not known to this program.
    #[error("{algorithm} is not known to this program")]
    UnknownAlgorithm {
        /// Which.
        algorithm: AlgorithmId,
    },
}

/// Why a registry or a pin did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The bytes are no policy.
    #[error("the policy was not added")]
    Refused(#[source] PolicyDecodeError),
    /// There is no next epoch.
    #[error("there is no epoch after the last one")]
    EpochsExhausted,
}
