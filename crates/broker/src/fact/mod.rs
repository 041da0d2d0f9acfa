//! Facts: what brokers write down, each under a key of its own, and never change their minds about.
//!
//! A fact has one writer, the broker incarnation named in its key. A broker may write its own fact again as long as it
//! only rises in the order of its type, and folding keeps the greatest. So folding facts in any order, any number of
//! times, gives the same view.

mod codec;
mod data;
mod hex;
mod key;
mod phase;
mod ranges;

use reconvene_clock::{Height, Hlc, NodeId, ReplicaId, WallTime};
use reconvene_executor::{
    AttemptId, JobSpec, Reappearance, Rejection, Resources, ResultDigest, SessionEpoch, SpecDigest, SubmissionId, Tag,
};
use reconvene_resolve::{Pin, PolicyChoice, PolicyId};
use reconvene_store::Class;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub use self::codec::{CodecError, FACT_BYTES};
pub use self::data::{
    ContentHash, DATA_NAME_BYTES, DataFact, DataId, DataName, DataNameError, DataState, DigestTextError,
};
pub use self::key::FactKey;
pub use self::phase::{Phase, PhaseMark};
pub use self::ranges::{RANGES_MAX, Ranges, RangesError};

/// The value of a fact. Its [`FactKey`] says what it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// Under [`FactKey::Spec`].
    Spec(Box<SpecFact>),
    /// Under [`FactKey::Copy`]: the specification as an executor had it, with the stamp, the height and the policy of the
    /// broker that recovered it.
    Copy(Box<SpecFact>),
    /// Under [`FactKey::Own`].
    Own(OwnFact),
    /// Under [`FactKey::Attempt`].
    Attempt(AttemptFact),
    /// Under [`FactKey::Seen`].
    Seen(SeenFact),
    /// Under [`FactKey::Submission`].
    Submission(Box<SubmissionFact>),
    /// Under [`FactKey::Settle`].
    Settle(SettleFact),
    /// Under [`FactKey::Cancel`].
    Cancel(CancelFact),
    /// Under [`FactKey::Hold`].
    Hold(HoldFact),
    /// Under [`FactKey::Pin`].
    Pin(PinFact),
    /// Under [`FactKey::Told`].
    Told(ToldFact),
    /// Under [`FactKey::Executor`].
    Executor(ExecutorFact),
    /// Under [`FactKey::Emergency`].
    Emergency(EmergencyFact),
    /// Under [`FactKey::Data`].
    Data(DataFact),
    /// Under [`FactKey::PolicyDef`].
    PolicyDef(PolicyDefFact),
    /// Under [`FactKey::PolicyCurrent`].
    PolicyCurrent(PolicyCurrentFact),
    /// Under [`FactKey::Done`].
    Done(DoneFact),
}

/// The specification of a job as it was admitted. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct SpecFact {
    /// What is to be run.
    pub spec: JobSpec,
    /// When the first broker admitted it.
    pub submitted: Hlc,
    /// One more than the greatest height that broker had observed.
    pub height: Height,
    /// The policy that was in force: it judges the job's results, whatever is in force later, unless another is pinned.
    pub policy: PolicyId,
    /// What becomes of its attempts when a lost one comes back: as specified, else as that broker does.
    pub reappearance: Reappearance,
}

/// A claim of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct OwnFact {
    /// Who owns the job from this epoch on.
    pub owner: ReplicaId,
    /// Why.
    pub cause: OwnCause,
    /// When it was written.
    pub at: Hlc,
}

/// Why the owner of a job changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OwnCause {
    /// The owner gave the job to a broker whose executors can run it.
    HandedOver,
    /// The owner was silent for too long.
    TakenOver,
}

/// One attempt to run a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct AttemptFact {
    /// How far it has come.
    pub mark: PhaseMark,
    /// How far its executor had come by then, in basis points.
    pub progress_bp: u16,
    /// The executor it was given to.
    pub executor: NodeId,
    /// The executor's session at that time.
    pub session: SessionEpoch,
    /// Whether the executor ever confirmed it. An attempt lost before that uses no budget.
    pub started: bool,
    /// Why it was made.
    pub cause: AttemptCause,
    /// How well the executor suited the job when it was placed: greater is better. Frozen, so that all compare the same.
    pub score: u64,
    /// When it was placed.
    pub at: Hlc,
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AttemptCause {
    /// It is the first.
    First,
    /// The one before was lost.
    Redeployed,
    /// The one before failed.
    Retried,
    /// The one before was refused by its executor.
    Refused,
    /// The one before was preempted.
    Preempted,
}

/// What a broker other than the attempt's owner knows of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct SeenFact {
    /// How far it has come.
    pub mark: PhaseMark,
    /// Progress in basis points.
    pub progress_bp: u16,
}

/// A result that a broker has judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct SubmissionFact {
    /// The attempt that made the result.
    pub attempt: AttemptId,
    /// The executor that submitted it.
    pub executor: NodeId,
    /// The executor's session that ran the attempt.
    pub session: SessionEpoch,
    /// The executor's number for this submission.
    pub sequence: u64,
    /// The digest of the specification that was run.
    pub spec: SpecDigest,
    /// The digest of the result.
    pub digest: ResultDigest,
    /// Whether the attempt succeeded.
    pub success: bool,
    /// What the broker decided.
    pub verdict: Verdict,
    /// When it was judged.
    pub stamp: Hlc,
    /// One more than the greatest height the broker had observed.
    pub height: Height,
    /// The job's emergency level at that time.
    pub level: u8,
    /// What the attempt cost, in thousandths of a core times milliseconds.
    pub cost_resource_ms: u64,
    /// The declared quality in basis points.
    pub quality_bp: u16,
    /// Whether the broker named this result as the canonical one when it accepted it.
    pub named: bool,
    /// The result's bytes, or the error's text; only of accepted submissions, and only up to the configured size.
    pub output: Option<Vec<u8>>,
}

/// What a broker decided about a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// A candidate for the job's canonical result, or, if the attempt failed, a failure that uses a retry.
    Accepted,
    /// Kept for the record only.
    Refused(Rejection),
}

/// No further challengers are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct SettleFact {
    /// When it was written.
    pub at: Hlc,
}

/// A client cancelled a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct CancelFact {
    /// When it was written.
    pub at: Hlc,
}

/// A job is not to be placed, or may be placed again. The greatest of all brokers' holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct HoldFact {
    /// One more than the greatest known, for a quarantine; that of the quarantine, for its release.
    pub revision: u64,
    /// Whether it ends the quarantine of this revision.
    pub released: bool,
    /// Why the job was put into quarantine.
    pub reason: HoldReason,
    /// The owner that did so: the losses are those of its attempts.
    pub owner: ReplicaId,
    /// How many there were.
    pub losses: u32,
    /// When it was written.
    pub at: Hlc,
}

/// Why a job is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HoldReason {
    /// Its attempts were lost more often than is allowed. Its owner releases it after a while.
    LossBudget,
    /// Executors crashed under it, and nothing else did at the time. An operator releases it.
    PoisonSuspected,
}

/// Another policy judges a job's results from now on. The greatest of all pins holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct PinFact {
    /// The pin.
    pub pin: Pin,
    /// When it was written.
    pub at: Hlc,
}

/// A policy with all its parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct PolicyDefFact {
    /// Its canonical bytes, whose digest is in the key.
    pub canonical: Vec<u8>,
}

/// An operator has switched the policy of the network. The greatest of all choices holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct PolicyCurrentFact {
    /// The choice.
    pub choice: PolicyChoice,
    /// When it was written.
    pub at: Hlc,
}

/// Which result a broker last named as canonical, where it differs from what it named when it accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct ToldFact {
    /// Rises with each write, so that the last one holds.
    pub revision: u64,
    /// The result that the broker names.
    pub named: SubmissionId,
    /// The result it named before, while the notice of the change is not known to have been taken.
    pub pending: Option<SubmissionId>,
}

/// Jobs that are over and whose facts were deleted. Facts of them that turn up say nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct DoneFact {
    /// Their sequence numbers. Only grows.
    pub jobs: Ranges,
}

/// An executor as it registered at a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct ExecutorFact {
    /// The executor's session.
    pub session: SessionEpoch,
    /// The number of its registration, which it raises each time.
    pub registration: u64,
    /// Whether it has left.
    pub state: ExecutorState,
    /// What it has in all.
    pub capacity: Resources,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// What it is tagged with.
    pub tags: BTreeSet<Tag>,
    /// Where a broker would listen that it starts when none is left, if it may.
    pub heir: Option<String>,
}

/// Whether an executor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExecutorState {
    /// It serves.
    Up,
    /// It has left, or has been silent for too long.
    Gone,
}

/// An emergency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct EmergencyFact {
    /// Rises with each change; the greatest holds.
    pub revision: u64,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Its level, 0 to 200.
    pub level: u8,
    /// The region it covers, with all that lies below.
    pub region: String,
    /// When it was declared.
    pub issued: WallTime,
    /// When it ends by itself.
    pub expires: WallTime,
}

impl Fact {
    /// The class in which the fact travels: what others must act on at once goes first.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Own(_)
            | Self::Submission(_)
            | Self::Settle(_)
            | Self::Cancel(_)
            | Self::Hold(_)
            | Self::Executor(_)
            | Self::Emergency(_)
            | Self::PolicyDef(_)
            | Self::PolicyCurrent(_) => Class::URGENT,
            Self::Spec(_)
            | Self::Attempt(_)
            | Self::Seen(_)
            | Self::Pin(_)
            | Self::Told(_)
            | Self::Done(_)
            | Self::Copy(_)
            | Self::Data(_) => Class::NORMAL,
        }
    }

    /// The fact's bytes.
    ///
    /// # Errors
    /// [`CodecError`] if it is larger than [`FACT_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Spec(fact) | Self::Copy(fact) => codec::encode(fact.as_ref()),
            Self::Own(fact) => codec::encode(fact),
            Self::Attempt(fact) => codec::encode(fact),
            Self::Seen(fact) => codec::encode(fact),
            Self::Submission(fact) => codec::encode(fact.as_ref()),
            Self::Settle(fact) => codec::encode(fact),
            Self::Cancel(fact) => codec::encode(fact),
            Self::Hold(fact) => codec::encode(fact),
            Self::Pin(fact) => codec::encode(fact),
            Self::Told(fact) => codec::encode(fact),
            Self::Executor(fact) => codec::encode(fact),
            Self::Emergency(fact) => codec::encode(fact),
            Self::Data(fact) => codec::encode(fact),
            Self::PolicyDef(fact) => codec::encode(fact),
            Self::PolicyCurrent(fact) => codec::encode(fact),
            Self::Done(fact) => codec::encode(fact),
        }
    }

    /// Reads the bytes stored under `key`.
    ///
    /// # Errors
    /// [`CodecError`] if they are not exactly one fact of the kind that `key` names.
    pub fn decode(key: &FactKey, bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(match key {
            FactKey::Spec(_) => Self::Spec(codec::decode(bytes)?),
            FactKey::Copy { .. } => Self::Copy(codec::decode(bytes)?),
            FactKey::Own { .. } => Self::Own(codec::decode(bytes)?),
            FactKey::Attempt(_) => Self::Attempt(codec::decode(bytes)?),
            FactKey::Seen { .. } => Self::Seen(codec::decode(bytes)?),
            FactKey::Submission { .. } => Self::Submission(codec::decode(bytes)?),
            FactKey::Settle { .. } => Self::Settle(codec::decode(bytes)?),
            FactKey::Cancel { .. } => Self::Cancel(codec::decode(bytes)?),
            FactKey::Hold { .. } => Self::Hold(codec::decode(bytes)?),
            FactKey::Pin { .. } => Self::Pin(codec::decode(bytes)?),
            FactKey::Told { .. } => Self::Told(codec::decode(bytes)?),
            FactKey::Executor { .. } => Self::Executor(codec::decode(bytes)?),
            FactKey::Emergency { .. } => Self::Emergency(codec::decode(bytes)?),
            FactKey::Data { .. } => Self::Data(codec::decode(bytes)?),
            FactKey::PolicyDef(_) => Self::PolicyDef(codec::decode(bytes)?),
            FactKey::PolicyCurrent { .. } => Self::PolicyCurrent(codec::decode(bytes)?),
            FactKey::Done { .. } => Self::Done(codec::decode(bytes)?),
        })
    }
}

impl Fact {
    /// The stamp of the broker that wrote the fact, where it carries one.
    #[must_use]
    pub fn stamp(&self) -> Option<Hlc> {
        match self {
            Self::Spec(fact) | Self::Copy(fact) => Some(fact.submitted),
            Self::Own(fact) => Some(fact.at),
            Self::Attempt(fact) => Some(fact.at),
            Self::Submission(fact) => Some(fact.stamp),
            Self::Settle(fact) => Some(fact.at),
            Self::Cancel(fact) => Some(fact.at),
            Self::Hold(fact) => Some(fact.at),
            Self::Pin(fact) => Some(fact.at),
            Self::Data(fact) => Some(fact.at),
            Self::PolicyCurrent(fact) => Some(fact.at),
            Self::Seen(_)
            | Self::Told(_)
            | Self::Executor(_)
            | Self::Emergency(_)
            | Self::PolicyDef(_)
            | Self::Done(_) => None,
        }
    }

    /// The height that the fact carries, where it carries one.
    #[must_use]
    pub fn height(&self) -> Option<Height> {
        match self {
            Self::Spec(fact) | Self::Copy(fact) => Some(fact.height),
            Self::Submission(fact) => Some(fact.height),
            Self::Own(_)
            | Self::Attempt(_)
            | Self::Seen(_)
            | Self::Settle(_)
            | Self::Cancel(_)
            | Self::Hold(_)
            | Self::Pin(_)
            | Self::Told(_)
            | Self::Executor(_)
            | Self::Emergency(_)
            | Self::Data(_)
            | Self::PolicyDef(_)
            | Self::PolicyCurrent(_)
            | Self::Done(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use reconvene_resolve::{PinEpoch, PolicyEpoch};

    use super::*;

    fn replica(id: u64) -> ReplicaId {
        ReplicaId::new(id).unwrap()
    }

    /// The bytes that other versions of this crate have stored.
    #[test]
    fn golden_bytes() {
        let own = OwnFact { owner: replica(2), cause: OwnCause::TakenOver, at: Hlc::from_u64(5) };
        let told = ToldFact { revision: 1, named: SubmissionId { accepted_by: replica(2), number: 3 }, pending: None };
        let attempt = AttemptFact {
            mark: PhaseMark::new(Phase::Running, 2),
            progress_bp: 9,
            executor: NodeId::new([3; 16]),
            session: SessionEpoch::new(Hlc::from_u64(4), 5),
            started: true,
            cause: AttemptCause::Redeployed,
            score: 6,
            at: Hlc::from_u64(7),
        };
        let executor = [3; 16];
        let attempt_bytes = [&[1, 2, 2, 9][..], &executor, &[4, 5, 1, 1, 6, 7]].concat();
        let spec = SpecFact {
            spec: JobSpec::new(vec![0xfe]),
            submitted: Hlc::from_u64(5),
            height: Height::MIN,
            policy: PolicyId([7; 16]),
            reappearance: Reappearance::BestScore,
        };
        let head = [1, 0, 0, 100, 0, 0, 0, 251, 232, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0xfe, 5, 1];
        let spec_bytes = [&head[..], &[7; 16], &[3]].concat();
        let seen = SeenFact { mark: PhaseMark::new(Phase::Lost, 7), progress_bp: 300 };
        let (policy, at) = (PolicyId([7; 16]), Hlc::from_u64(5));
        let choice = PolicyChoice { epoch: PolicyEpoch(2), issuer_rank: 1, policy };
        let current = PolicyCurrentFact { choice, at };
        let pin = PinFact { pin: Pin { epoch: PinEpoch(1), issuer_rank: 3, policy }, at };
        let hold = HoldFact {
            revision: 2,
            released: true,
            reason: HoldReason::PoisonSuspected,
            owner: replica(2),
            losses: 4,
            at: Hlc::from_u64(5),
        };
        let data = DataFact {
            revision: 2,
            state: DataState::Gone,
            name: DataName::new("n").unwrap(),
            hash: ContentHash([9; 32]),
            size: 300,
            at,
        };
        let emergency = EmergencyFact {
            revision: 1,
            revoked: false,
            level: 200,
            region: "n".to_owned(),
            issued: WallTime::from_millis(4),
            expires: WallTime::from_millis(6),
        };
        for (fact, bytes) in [
            (Fact::Own(own), &[1, 2, 1, 5][..]),
            (Fact::Attempt(attempt), &attempt_bytes[..]),
            (Fact::Spec(Box::new(spec.clone())), &spec_bytes[..]),
            (Fact::Copy(Box::new(spec)), &spec_bytes[..]),
            (Fact::Settle(SettleFact { at: Hlc::from_u64(300) }), &[1, 251, 44, 1]),
            (Fact::Told(told), &[1, 1, 2, 3, 0]),
            (Fact::PolicyDef(PolicyDefFact { canonical: b"RC".to_vec() }), &[1, 2, b'R', b'C']),
            (Fact::PolicyCurrent(current), &[1, 2, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5]),
            (Fact::Pin(pin), &[1, 1, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5]),
            (Fact::Hold(hold), &[1, 2, 1, 1, 2, 4, 5]),
            (
                Fact::Data(data),
                &[
                    1, 2, 1, 1, b'n', 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
                    9, 9, 9, 9, 9, 251, 44, 1, 5,
                ],
            ),
            (Fact::Seen(seen), &[1, 3, 7, 251, 44, 1]),
            (
                Fact::Done(DoneFact { jobs: [1, 2, 3, 300].into_iter().collect() }),
                &[1, 2, 1, 3, 251, 44, 1, 251, 44, 1],
            ),
            (Fact::Emergency(emergency), &[1, 1, 0, 200, 1, b'n', 4, 6]),
        ] {
            assert_eq!(fact.encode().unwrap(), bytes, "{fact:?}");
        }
    }

    #[test]
    fn other_versions_and_damage_are_refused() {
        let key = FactKey::Settle { job: reconvene_executor::JobId::new(replica(1), 1), by: replica(1) };
        assert!(Fact::decode(&key, &[1, 5]).is_ok());
        for bytes in [&[][..], &[1], &[2, 5], &[1, 5, 0], &[1, 251, 44]] {
            assert!(Fact::decode(&key, bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_others_must_act_on_goes_first() {
        let at = Hlc::default();
        let own = OwnFact { owner: replica(2), cause: OwnCause::HandedOver, at };
        for fact in [Fact::Own(own), Fact::Settle(SettleFact { at }), Fact::Cancel(CancelFact { at })] {
            assert_eq!(fact.class(), Class::URGENT);
        }
        let seen = SeenFact { mark: PhaseMark::new(Phase::Running, 1), progress_bp: 0 };
        assert_eq!(Fact::Seen(seen).class(), Class::NORMAL);
    }
}
