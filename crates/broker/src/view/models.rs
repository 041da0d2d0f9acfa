//! What queries answer with.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use reconvene_clock::{Hlc, NodeId, ReplicaId, WallTime};
use reconvene_executor::{
    AttemptId, EmergencyId, FencingToken, Finality, JobId, OwnershipEpoch, Resources, ResultDigest, SessionEpoch,
    SpecDigest, SubmissionId, Tag,
};
use reconvene_resolve::{PolicyEpoch, PolicyId, StrategyKind};

use crate::fact::{ContentHash, DataName, ExecutorState, HoldReason, Phase, Verdict};

/// Where a job stands. Derived from its facts, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JobStatus {
    /// Something refers to it, but its specification has not arrived.
    Unknown,
    /// It waits for an executor.
    Waiting,
    /// It is offered to an executor.
    Dispatched,
    /// An executor runs it.
    Running,
    /// Its attempts were lost or preempted and none is at work.
    Redeploying,
    /// All tries were used.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It has a result.
    Completed,
    /// It is not placed until it is released. What still runs may end it.
    Quarantined,
}

impl JobStatus {
    /// Its name, for people and for JSON: one word in small letters.
    ///
    /// ```
    /// assert_eq!(reconvene_broker::JobStatus::Waiting.name(), "waiting");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Waiting => "waiting",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Redeploying => "redeploying",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A job as the facts known here tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// The digest of its specification, once that has arrived.
    pub spec: Option<SpecDigest>,
    /// Who submitted it; empty while the specification is unknown.
    pub client: String,
    /// The client's own number for it.
    pub client_key: u64,
    /// Its priority, larger first.
    pub priority: u8,
    /// Where it belongs.
    pub region: String,
    /// Its emergency level now.
    pub level: u8,
    /// When the first broker admitted it.
    pub submitted: Option<Hlc>,
    /// What judges its results, once the policy is known here.
    pub strategy: Option<StrategyKind>,
    /// The policy that judges its results: of its admission, or pinned later.
    pub policy: Option<PolicyId>,
    /// The broker that places it.
    pub owner: ReplicaId,
    /// The epoch of that ownership.
    pub epoch: OwnershipEpoch,
    /// Whether no more challengers are admitted.
    pub settled: bool,
    /// Why it is in quarantine, if it is.
    pub quarantine: Option<HoldReason>,
    /// How often it was preempted under its present owner.
    pub preempted: u32,
    /// Its attempts, in the order of their names.
    pub attempts: Vec<AttemptView>,
    /// The results that were judged, accepted or not.
    pub submissions: Vec<SubmissionView>,
    /// Its result, if it has one.
    pub result: Option<ResultView>,
}

/// One attempt of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptView {
    /// Its name.
    pub id: AttemptId,
    /// What fences it.
    pub token: FencingToken,
    /// The executor it was given to; unknown while its owner's fact is on the way.
    pub executor: Option<NodeId>,
    /// How far it has come.
    pub phase: Option<Phase>,
    /// How far it was, in basis points, when a broker last wrote that down.
    pub progress_bp: u16,
}

/// One judged result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubmissionView {
    /// Its name.
    pub id: SubmissionId,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// The executor that submitted it.
    pub executor: NodeId,
    /// Its digest.
    pub digest: ResultDigest,
    /// Whether the attempt succeeded.
    pub success: bool,
    /// Whether it is a candidate for the canonical result.
    pub accepted: bool,
    /// What its broker decided.
    pub verdict: Verdict,
    /// When.
    pub stamp: Hlc,
    /// The declared quality in basis points.
    pub quality_bp: u16,
    /// What it cost.
    pub cost_resource_ms: u64,
}

/// The canonical result of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResultView {
    /// The submission that counts.
    pub submission: SubmissionId,
    /// Its digest.
    pub digest: ResultDigest,
    /// Its bytes, if they are kept in the fact and were asked for.
    pub output: Option<Vec<u8>>,
    /// Whether it may still change, as far as this broker can tell: it needs to hear of all members for that.
    pub finality: Finality,
    /// How many attempts came to this result.
    pub agreement: u32,
}

/// The policy in force at a broker, and those it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicyView {
    /// The policy by which jobs are ranked here, and which judges the results of those that are admitted now.
    pub id: PolicyId,
    /// The number of the switch to it; 0 if it was configured.
    pub epoch: PolicyEpoch,
    /// Its strategy.
    pub kind: StrategyKind,
    /// Its canonical bytes.
    pub canonical: Vec<u8>,
    /// All policies that were written down, by name.
    pub known: Vec<PolicyId>,
}

/// An executor as the facts known here tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorView {
    /// Its name.
    pub id: NodeId,
    /// The broker it last registered with.
    pub home: ReplicaId,
    /// Its session.
    pub session: SessionEpoch,
    /// The number of its registration.
    pub registration: u64,
    /// Whether it serves.
    pub state: ExecutorState,
    /// Whether it is silent. Known only at its home.
    pub suspect: bool,
    /// What it has in all.
    pub capacity: Resources,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// Attempts believed to be at work on it.
    pub running: u32,
    /// What it is tagged with.
    pub tags: BTreeSet<Tag>,
}

/// An emergency as the facts known here tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmergencyView {
    /// Its name.
    pub id: EmergencyId,
    /// Its level.
    pub level: u8,
    /// What it covers.
    pub region: String,
    /// When it was declared.
    pub issued: WallTime,
    /// When it ends by itself.
    pub expires: WallTime,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it stands now.
    pub in_force: bool,
}

/// Where the data of one name is, as the facts known here tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataView {
    /// The name.
    pub name: DataName,
    /// What is held under it, those with reachable holders first. More than one: brokers hold different data under one
    /// name. None: all have withdrawn it.
    pub contents: Vec<DataContent>,
    /// Whether none of the holders is heard, so that they are only where the data was last known to be.
    pub last_known: bool,
}

/// Data of one content, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataContent {
    /// What it is.
    pub hash: ContentHash,
    /// How long it is, in bytes.
    pub size: u64,
    /// Who holds it, those that are heard first.
    pub holders: Vec<DataHolder>,
}

/// A broker that holds data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataHolder {
    /// The incarnation that said so.
    pub replica: ReplicaId,
    /// The broker, if its member fact is known here.
    pub node: Option<NodeId>,
    /// Where it can be dialled, if it says so.
    pub address: Option<String>,
    /// Whether that incarnation is heard.
    pub reachable: bool,
    /// When it said so.
    pub since: Hlc,
}
