//! What clients ask of a broker, and what they are answered.

use serde::{Deserialize, Serialize};

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{EmergencyId, JobId, JobSpec, SubmissionId};
use reconvene_resolve::{Pin, PolicyChoice, PolicyId};

use crate::Statistics;
use crate::explain::{Explanation, Subject};
use crate::fact::{ContentHash, DataName};
use crate::view::{DataView, EmergencyView, ExecutorView, JobView, PolicyView};

/// Something a client asks for. Reads never wait for peers; a change is answered when it is durable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Admit a job. A repeated (client, client key) known here is answered with the first job's name.
    Submit {
        /// What to run.
        spec: JobSpec,
    },
    /// Declare an emergency.
    DeclareEmergency {
        /// Its level, 1 to 200.
        level: u8,
        /// The region it covers, with all that lies below; empty for everywhere.
        region: String,
        /// How long it stands, in milliseconds; 0 for the configured default.
        lifetime_ms: u64,
    },
    /// End an emergency.
    RevokeEmergency {
        /// Its name.
        id: EmergencyId,
    },
    /// Cancel a job. Refused as too late if a result has been accepted.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Release a job from quarantine: it may be placed again.
    Release {
        /// The job.
        job: JobId,
    },
    /// Switch the policy of the network. Every broker ranks by it as soon as it hears of it; results of jobs that were
    /// admitted before are judged as they were.
    SetPolicy {
        /// The [canonical bytes](reconvene_resolve::Policy::canonical_bytes) of the policy.
        canonical: Vec<u8>,
        /// Who is followed if two switch while they do not see each other: the greater rank.
        issuer_rank: u32,
    },
    /// Have another policy judge the results of one job. May change its result.
    Repin {
        /// The job.
        job: JobId,
        /// A policy that is known here.
        policy: PolicyId,
        /// Who is followed if two pin at once: the greater rank.
        issuer_rank: u32,
    },
    /// The policy in force here, and those that are known.
    Policy,
    /// This broker holds data under this name from now on. Another content that it held under it is replaced.
    PublishData {
        /// The name.
        name: String,
        /// What it is.
        hash: ContentHash,
        /// How long it is, in bytes.
        size: u64,
    },
    /// This broker does not hold the data of this name any more.
    WithdrawData {
        /// The name.
        name: String,
    },
    /// Who holds the data of this name.
    Locate {
        /// The name.
        name: String,
    },
    /// A broker will not return: nothing waits for it any more, and its jobs are taken over at once. Whatever it wrote
    /// stays valid. Its store cannot be used again under its name.
    RetireMember {
        /// The broker.
        node: NodeId,
        /// Whether to do so although it is heard.
        even_if_heard: bool,
    },
    /// End the storm guard: executors that are silent are given up as usual.
    EndStormGuard,
    /// One job with its attempts and results.
    Job {
        /// The job.
        job: JobId,
    },
    /// Why a job or a result is where it is.
    Explain {
        /// Which.
        of: Subject,
    },
    /// Jobs by name, without the bytes of their results.
    Jobs {
        /// The job after which the page begins.
        after: Option<JobId>,
        /// The most jobs to answer with; at most [`PAGE_JOBS`] are.
        limit: usize,
    },
    /// The executors that are known here.
    Executors,
    /// The emergencies that are known here.
    Emergencies,
    /// Counters.
    Statistics,
}

/// The most jobs in one answer to [`Command::Jobs`].
pub const PAGE_JOBS: usize = 256;

/// The answer to a [`Command`] that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// The job is admitted, durably here.
    Submitted {
        /// Its name.
        job: JobId,
    },
    /// The emergency is declared, durably here.
    EmergencyDeclared {
        /// Its name.
        id: EmergencyId,
    },
    /// The emergency is revoked, durably here.
    EmergencyRevoked {
        /// Its name.
        id: EmergencyId,
    },
    /// The job is cancelled, durably here. A result accepted elsewhere before that is known may still win.
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// The job is released, durably here, or was not held.
    Released {
        /// The job.
        job: JobId,
        /// Whether it was in quarantine, as far as is known here.
        was_held: bool,
    },
    /// The policy of the network, durably here.
    PolicySet {
        /// The choice that holds, as far as is known here.
        choice: PolicyChoice,
    },
    /// What judges the job, durably here.
    Repinned {
        /// The job.
        job: JobId,
        /// The pin that holds, as far as is known here.
        pin: Pin,
    },
    /// The policy in force here.
    Policy(Box<PolicyView>),
    /// This broker holds the data, durably written down here.
    DataPublished {
        /// Its name.
        name: DataName,
        /// Whether brokers hold different data under this name, as far as is known here.
        diverges: bool,
    },
    /// This broker does not hold the data, durably written down here.
    DataWithdrawn {
        /// Its name.
        name: DataName,
        /// Whether it held it before.
        was_held: bool,
        /// Whether no other broker that is heard holds it.
        was_sole: bool,
    },
    /// Where data is.
    Located(Box<DataView>),
    /// The broker counts no more, durably here.
    MemberRetired {
        /// The broker.
        node: NodeId,
        /// Its incarnations that had counted until now.
        replicas: Vec<ReplicaId>,
    },
    /// The storm guard is off.
    StormGuardEnded {
        /// Whether it was on.
        was_on: bool,
    },
    /// The job has a result already; nothing was written.
    TooLate {
        /// The job.
        job: JobId,
        /// Its result.
        canonical: SubmissionId,
    },
    /// One job.
    Job(Box<JobView>),
    /// Why it is where it is.
    Explanation(Box<Explanation>),
    /// A page of jobs.
    Jobs {
        /// By name.
        jobs: Vec<JobView>,
        /// Whether more follow.
        more: bool,
    },
    /// Executors by name.
    Executors(Vec<ExecutorView>),
    /// Emergencies by name.
    Emergencies(Vec<EmergencyView>),
    /// Counters.
    Statistics(Box<Statistics>),
}
