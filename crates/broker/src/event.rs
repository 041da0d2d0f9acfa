//! What a coordinator reports.

use serde::{Deserialize, Serialize};

use reconvene_clock::{NodeId, ReplicaId, WallTime};
use reconvene_executor::{
    Answer, AttemptId, EmergencyId, FencingToken, Finality, JobId, OwnershipEpoch, ResultDigest, SessionEpoch,
    StopReason, SubmissionId,
};
use reconvene_resolve::{PinEpoch, PolicyEpoch, PolicyId, PreemptionRefusal};

use crate::fact::{AttemptCause, ContentHash, DataName, HoldReason, OwnCause};
use crate::peer::PlaceRefusal;

/// Something that happened, as this broker learned or decided it. Sent when what it speaks of is durable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Rises by one with each event of this coordinator, from 1.
    pub seq: u64,
    /// Local wall time.
    pub at: WallTime,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// A job was admitted here.
    JobAdmitted {
        /// The job.
        job: JobId,
        /// The policy that will judge its results.
        policy: PolicyId,
    },
    /// A job owned here waits.
    JobWaiting {
        /// The job.
        job: JobId,
        /// Why.
        reason: WaitReason,
    },
    /// A job was cancelled here.
    JobCancelled {
        /// The job.
        job: JobId,
    },
    /// A job cancelled here had been completed elsewhere; the result stands.
    CancelTooLate {
        /// The job.
        job: JobId,
        /// Its result.
        canonical: SubmissionId,
    },
    /// All tries of a job owned here were used.
    JobFailed {
        /// The job.
        job: JobId,
    },
    /// A job was over for so long that this broker has deleted all that is known of it.
    JobCompacted {
        /// The job.
        job: JobId,
        /// The result that was canonical; `None` if the job was cancelled.
        result: Option<SubmissionId>,
    },
    /// A job owned here is not placed again until it is released.
    JobQuarantined {
        /// The job.
        job: JobId,
        /// Why.
        reason: HoldReason,
    },
    /// A job may be placed again.
    JobReleased {
        /// The job.
        job: JobId,
        /// Why it was held.
        reason: HoldReason,
        /// The broker that released it: its owner after a while, or the operator's.
        by: ReplicaId,
    },
    /// An attempt was placed here.
    AttemptOffered {
        /// The attempt.
        attempt: AttemptId,
        /// The executor.
        executor: NodeId,
        /// What fences it.
        token: FencingToken,
        /// Why it was made.
        cause: AttemptCause,
    },
    /// An executor of ours runs an attempt.
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
        /// The executor.
        executor: NodeId,
    },
    /// This broker has given up an attempt.
    AttemptLost {
        /// The attempt.
        attempt: AttemptId,
        /// The executor. `None` if the fact that says it never came here ([`LossCause::Unwatched`]).
        executor: Option<NodeId>,
        /// Why.
        cause: LossCause,
    },
    /// An attempt that was lost is there again.
    AttemptReappeared {
        /// The attempt.
        attempt: AttemptId,
        /// The executor.
        executor: NodeId,
    },
    /// An executor of ours did not take an order.
    AttemptRefused {
        /// The attempt.
        attempt: AttemptId,
        /// The executor.
        executor: NodeId,
    },
    /// An executor of ours was told to stop an attempt.
    AttemptStopped {
        /// The attempt.
        attempt: AttemptId,
        /// The executor.
        executor: NodeId,
        /// Why.
        reason: StopReason,
    },
    /// The owner of a job has decided that another attempt at it runs on.
    AttemptReplaced {
        /// The attempt that is to stop.
        attempt: AttemptId,
        /// The one that runs on.
        by: AttemptId,
    },
    /// A failure was accepted here.
    AttemptFailed {
        /// The attempt.
        attempt: AttemptId,
        /// What the executor said, shortened.
        error: String,
    },
    /// An attempt on an executor of ours was stopped so that a graver job has its place. The job waits on with the rank
    /// that it had.
    JobPreempted {
        /// The job that was stopped.
        job: JobId,
        /// Its attempt.
        attempt: AttemptId,
        /// The job that gets the place.
        by: JobId,
        /// The work that is lost, in thousandths of a core times milliseconds.
        lost_resource_ms: u64,
    },
    /// Nobody is stopped for a job that would be grave enough.
    PreemptionRefused {
        /// The job, which waits.
        job: JobId,
        /// Why.
        reason: PreemptionRefusal,
    },
    /// A broker that was asked for room for a job of ours has none.
    PlaceRefused {
        /// The job, which waits.
        job: JobId,
        /// The broker.
        by: ReplicaId,
        /// Why.
        reason: PlaceRefusal,
    },
    /// A job whose attempt was lost was placed again here.
    JobRedeployed {
        /// The job.
        job: JobId,
        /// The attempt that was lost.
        from: AttemptId,
        /// The new one.
        to: AttemptId,
    },
    /// A result was accepted here.
    ResultAccepted {
        /// The job.
        job: JobId,
        /// The submission.
        submission: SubmissionId,
        /// The attempt that made it.
        attempt: AttemptId,
        /// Its digest.
        digest: ResultDigest,
    },
    /// A result was refused here.
    ResultRejected {
        /// The job.
        job: JobId,
        /// The attempt that made it.
        attempt: AttemptId,
        /// Its digest.
        digest: ResultDigest,
        /// What the executor was answered.
        answer: Answer,
    },
    /// A result of a job unknown here is kept until the job is known.
    ResultParked {
        /// The job.
        job: JobId,
        /// The attempt that made it.
        attempt: AttemptId,
    },
    /// The specification of a job that no broker has told of was recovered from an executor.
    SpecRecovered {
        /// The job.
        job: JobId,
        /// The executor.
        executor: NodeId,
    },
    /// A kept result was given up.
    ParkedExpired {
        /// The job.
        job: JobId,
        /// The attempt that made it.
        attempt: AttemptId,
    },
    /// The canonical result is no longer the one this broker had named.
    ResultSuperseded {
        /// The job.
        job: JobId,
        /// What this broker had named.
        old: SubmissionId,
        /// The canonical result now.
        new: SubmissionId,
        /// Why the new one wins.
        decision: String,
        /// The same for the same change: a repetition after a crash can be recognised by it.
        key: u64,
    },
    /// The canonical submission is no longer the one this broker had named, but the result is the same.
    ResultConfirmed {
        /// The job.
        job: JobId,
        /// What this broker had named.
        old: SubmissionId,
        /// The canonical submission now.
        new: SubmissionId,
        /// How many attempts came to this result.
        agreement: u32,
    },
    /// No further results of a job are compared.
    ResultSettled {
        /// The job.
        job: JobId,
        /// Its result.
        canonical: SubmissionId,
    },
    /// How final the result of a job is, here: after a restart this is found out anew.
    FinalityChanged {
        /// The job.
        job: JobId,
        /// Before.
        from: Finality,
        /// Now.
        to: Finality,
    },
    /// An executor registered here.
    ExecutorJoined {
        /// The executor.
        executor: NodeId,
        /// Its session.
        session: SessionEpoch,
    },
    /// An executor of ours is silent for longer than is usual; it is given no new work.
    ExecutorSuspect {
        /// The executor.
        executor: NodeId,
        /// How long it has been silent, in milliseconds.
        silent_ms: u64,
    },
    /// An executor of ours is heard again.
    ExecutorReappeared {
        /// The executor.
        executor: NodeId,
        /// Its session.
        session: SessionEpoch,
    },
    /// An executor of another broker registered here.
    ExecutorAdopted {
        /// The executor.
        executor: NodeId,
        /// Its home before.
        from: ReplicaId,
    },
    /// An executor of ours has left, or has been silent for so long that all its attempts are lost.
    ExecutorGone {
        /// The executor.
        executor: NodeId,
    },
    /// An executor of ours registered at another broker.
    ExecutorMoved {
        /// The executor.
        executor: NodeId,
        /// Its home now.
        to: ReplicaId,
    },
    /// So many executors of ours fell silent together that this broker takes itself for cut off: it gives up nothing for
    /// their silence, and places nothing again that was lost.
    StormGuardOn {
        /// Executors that fell silent.
        silent: u64,
        /// Executors that there are.
        known: u64,
        /// Within how many milliseconds they did.
        window_ms: u64,
    },
    /// Silence counts again.
    StormGuardOff {
        /// What ended the guard.
        cause: StormEnd,
    },
    /// This broker owns a job that another owned.
    OwnershipTaken {
        /// The job.
        job: JobId,
        /// The new epoch.
        epoch: OwnershipEpoch,
        /// The owner before.
        from: ReplicaId,
        /// Taken over, or handed over by the owner before.
        cause: OwnCause,
    },
    /// This broker was started by an executor, because none had been heard for long.
    BrokerPromoted {
        /// How many other executors it had waited for.
        rank: u32,
    },
    /// Another broker owns a job that this one owned.
    OwnershipYielded {
        /// The job.
        job: JobId,
        /// The new epoch.
        epoch: OwnershipEpoch,
        /// The owner now.
        to: ReplicaId,
        /// Taken over by another, or handed over by this broker.
        cause: OwnCause,
    },
    /// A broker has been silent for so long that its jobs are taken over.
    OwnerSilent {
        /// The broker.
        broker: ReplicaId,
        /// How many open jobs it owns.
        jobs: u64,
    },
    /// An emergency became known here.
    EmergencyDeclared {
        /// Its name.
        id: EmergencyId,
        /// Its level.
        level: u8,
        /// What it covers.
        region: String,
        /// When it ends by itself.
        until: WallTime,
    },
    /// An emergency is known here to be revoked.
    EmergencyRevoked {
        /// Its name.
        id: EmergencyId,
    },
    /// An emergency has ended by itself.
    EmergencyExpired {
        /// Its name.
        id: EmergencyId,
    },
    /// Another policy is in force here.
    PolicySwitched {
        /// The number of the switch.
        epoch: PolicyEpoch,
        /// The rank of who made it.
        issuer_rank: u32,
        /// The policy before.
        from: PolicyId,
        /// The policy now.
        to: PolicyId,
    },
    /// Another policy judges a job from now on, by an operator's word given here.
    JobRepinned {
        /// The job.
        job: JobId,
        /// The number of the pin.
        epoch: PinEpoch,
        /// What judged before.
        from: PolicyId,
        /// What judges now.
        to: PolicyId,
    },
    /// A job has results, and the policy that must judge them is not known here yet.
    Unresolved {
        /// The job.
        job: JobId,
        /// The policy.
        policy: PolicyId,
    },
    /// A broker holds data, as became known here.
    DataPublished {
        /// Its name.
        name: DataName,
        /// What it is.
        hash: ContentHash,
        /// How long it is, in bytes.
        size: u64,
        /// The broker.
        holder: ReplicaId,
    },
    /// A broker does not hold data any more, as became known here.
    DataWithdrawn {
        /// Its name.
        name: DataName,
        /// What it was.
        hash: ContentHash,
        /// How long it was, in bytes.
        size: u64,
        /// The broker.
        holder: ReplicaId,
    },
    /// Brokers hold different data under one name. All of it stays listed.
    NameDivergence {
        /// The name.
        name: DataName,
        /// What there is under it: hashes and sizes.
        contents: Vec<(ContentHash, u64)>,
    },
    /// This broker is about to leave, and no other that is heard holds this data.
    SoleHolder {
        /// Its name.
        name: DataName,
        /// What it is.
        hash: ContentHash,
        /// How long it is, in bytes.
        size: u64,
        /// This broker.
        holder: ReplicaId,
    },
    /// A fact could not be read, or contradicts another.
    FactFault {
        /// The key, as text.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A stamp is too far ahead of local time; it was kept and did not move the local clock.
    ClockSuspect {
        /// Who wrote it.
        writer: ReplicaId,
        /// How far ahead.
        ahead_ms: u64,
    },
}

/// Why a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WaitReason {
    /// Executors that could run it are busy.
    Capacity,
    /// No executor known here could run it even when idle.
    NoExecutor,
    /// Executors crashed under it, and whether it is the cause will be clear in a while.
    Crashed,
    /// Its attempts under the owner before may still be at work.
    Recovering,
    /// Its last attempt was lost, and this broker takes itself for cut off.
    StormGuard,
    /// Another broker has given up its attempt, which an executor of this one still has.
    Reappearing,
}

/// What ended the storm guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StormEnd {
    /// No more executors are silent than the configured part of them: some were heard, or registered elsewhere.
    SilenceOver,
    /// An operator said so.
    Operator,
    /// It had been on for as long as it may: the silent executors are gone.
    HoldOver,
}

/// Why an attempt was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LossCause {
    /// Its lease ran out.
    Silence,
    /// Its executor came back in a new session, in which it does not run.
    NewSession,
    /// Its executor registered without it.
    NotHeld,
    /// Its executor has left.
    Left,
    /// The home of its executor is silent.
    HomeSilent,
    /// Its result could not be taken as it came. Its executor keeps it.
    ResultRefused,
    /// Its owner is gone and never told this broker where it runs, and no broker that is there sees it at work.
    Unwatched,
}
