//! Why a job, or a result, is where it is: what [`Coordinator::explain`](crate::Coordinator::explain) answers with.

mod words;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{AttemptId, EmergencyId, Finality, JobId, OwnershipEpoch, Reappearance, SubmissionId};
use reconvene_resolve::{Deciding, Reason, StrategyKind, Unit};
use serde::{Deserialize, Serialize};

use crate::fact::{AttemptCause, HoldReason, OwnCause, Phase, Verdict};
use crate::{JobStatus, LossCause, PolicyId, WaitReason};

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "jobs and results are what there is to explain")]
pub enum Subject {
    /// A job, with all its results.
    Job(JobId),
    /// One result, accepted or not.
    Result(SubmissionId),
}

/// Why a job, or one of its results, is where it is, as one broker knows it.
///
/// Made when it is asked for, of the facts and of nothing else; `Display` says it in words, one ground a line. Lists are
/// cut to [`LISTED`](Self::LISTED) entries, and say how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// The result, where one was asked for.
    pub result: Option<SubmissionId>,
    /// Where the job stands.
    pub status: JobStatus,
    /// The broker whose knowledge this is.
    pub told_by: ReplicaId,
    /// The broker that places the job.
    pub owner: ReplicaId,
    /// The epoch of that ownership.
    pub epoch: OwnershipEpoch,
    /// Why, what decides first.
    pub grounds: Vec<Ground>,
}

impl Explanation {
    /// The most attempts, executors, jobs ahead and results that are named.
    pub const LISTED: usize = 16;
}

/// One thing that has to do with where a job or result is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ground {
    /// The specification of the job has not arrived here.
    SpecificationMissing,
    /// The job has another owner than the broker that admitted it.
    Owned {
        /// Whether it was handed over or taken over.
        cause: OwnCause,
    },
    /// The job serves an emergency, or did.
    Emergency {
        /// Which.
        id: EmergencyId,
        /// The level that the job has of it now.
        level: u8,
        /// Why it is that level.
        standing: EmergencyStanding,
    },
    /// Another broker places the job, and knows what it waits for.
    OwnerPlaces {
        /// Whether that broker counts as gone here, so that the job will be taken over.
        gone: bool,
    },
    /// This broker came back and first learns what happened meanwhile.
    Learning,
    /// The job waits here for something other than an executor.
    Held {
        /// For what.
        reason: WaitReason,
        /// For how much longer, in milliseconds; unknown for a storm guard.
        for_ms: Option<u64>,
    },
    /// The job waits for an executor here.
    Queued {
        /// Its place, from 1.
        place: u64,
        /// How many wait here.
        waiting: u64,
        /// What ranks them.
        strategy: StrategyKind,
    },
    /// A job that goes before it: the first one, or one directly ahead.
    Behind {
        /// Which.
        job: JobId,
        /// By what.
        by: Lead,
        /// What this job would need to go before that one, in words.
        needs: String,
    },
    /// An executor that was looked at.
    Executor {
        /// Which.
        executor: NodeId,
        /// Why it is not given the job.
        obstacle: Obstacle,
    },
    /// How many executors were looked at, where not all of them are named.
    MoreExecutors {
        /// How many more.
        more: u64,
    },
    /// There is no executor here at all.
    NoExecutors,
    /// Brokers that are there have executors that could run it.
    CapableElsewhere {
        /// How many slots.
        slots: u64,
        /// When this broker considers to hand the job over, in milliseconds from now at most.
        within_ms: u64,
    },
    /// Room at an executor that is kept for one job, this one or another.
    RoomKept {
        /// The executor.
        executor: NodeId,
        /// For which job.
        job: JobId,
        /// How many attempts there have been told to come to an end for it.
        stopping: u64,
        /// For how much longer it is kept at most, in milliseconds.
        for_ms: u64,
    },
    /// No attempt is stopped for this job, which is grave enough to ask.
    NobodyPreempted {
        /// Why.
        reason: Reason,
    },
    /// An attempt was stopped so that a graver job got its place. Only the broker that stopped it knows for which.
    Preempted {
        /// The attempt.
        attempt: AttemptId,
        /// The graver job.
        by: JobId,
    },
    /// A lost attempt came back while another ran in its place.
    Reappeared {
        /// What the job says of that.
        policy: Reappearance,
        /// The attempt that goes on, if it is one.
        keeps: Option<AttemptId>,
        /// Those that were stopped for another one's sake.
        stopped: Vec<AttemptId>,
    },
    /// What would have to be otherwise for the job to start.
    WouldStartIf {
        /// The executor that is nearest to taking it.
        executor: NodeId,
        /// What is in its way.
        obstacle: Obstacle,
    },
    /// An attempt at the job.
    Attempt {
        /// Its name, with the broker that placed it.
        attempt: AttemptId,
        /// Where it was placed.
        executor: Option<NodeId>,
        /// How far it has come.
        phase: Option<Phase>,
        /// Why it was made.
        cause: Option<AttemptCause>,
        /// Why it was placed there and nowhere else. Only the broker that placed it can tell, and of its last attempt at the
        /// job alone.
        choice: Option<Choice>,
        /// How long ago it was placed, in milliseconds by wall clocks.
        ago_ms: Option<u64>,
        /// Of a lost one: what the facts say of why.
        lost: Option<LossCause>,
        /// Whether a later one has replaced it.
        replaced_by: Option<AttemptId>,
    },
    /// Attempts that are not named.
    MoreAttempts {
        /// How many.
        more: u64,
    },
    /// Too many attempts failed.
    TriesUsed {
        /// Failures of attempts that the present owner placed.
        failures: u32,
        /// How many are tried again.
        retries: u32,
    },
    /// A client cancelled it.
    Cancelled {
        /// The brokers that were told.
        by: Vec<ReplicaId>,
        /// How long ago the first one was, in milliseconds by wall clocks.
        ago_ms: u64,
        /// Whether a result had been accepted, which stands.
        too_late: bool,
    },
    /// It is not placed until it is released.
    Quarantined {
        /// Why.
        reason: HoldReason,
        /// Losses of attempts that this owner placed.
        losses: u32,
        /// The owner that held it.
        owner: ReplicaId,
        /// When this broker releases it by itself, in milliseconds from now; `None`: an operator does, or another broker.
        release_in_ms: Option<u64>,
    },
    /// The policy that must judge its results is not known here.
    AwaitingPolicy {
        /// Which.
        policy: PolicyId,
    },
    /// Which result counts, and by what.
    Decision {
        /// The result that counts.
        canonical: SubmissionId,
        /// The pinned policy.
        policy: PolicyId,
        /// Its strategy.
        strategy: StrategyKind,
        /// How many were accepted.
        candidates: u64,
        /// By what it goes before the second; `None` of a single one.
        by: Option<Lead>,
        /// Whether it can change.
        finality: Finality,
        /// Whether challengers are admitted.
        contest: Contest,
    },
    /// A result that was judged.
    Judged {
        /// Its name, with the broker that judged it.
        submission: SubmissionId,
        /// The attempt that made it.
        attempt: AttemptId,
        /// The executor that submitted it.
        executor: NodeId,
        /// Whether the attempt succeeded.
        success: bool,
        /// Which row of the table of duplicates it was judged by.
        rule: ResultRule,
        /// What its broker decided.
        verdict: Verdict,
        /// Where it stands beside the one that counts, unless it was refused for when it came.
        standing: Option<Reason>,
        /// By what the one that counts goes before it.
        behind_by: Option<Lead>,
        /// Where it does not count: what would have made it count, in words.
        needs: Option<String>,
        /// Whether the broker that took it named it to clients.
        named: bool,
    },
    /// Results that are not named.
    MoreResults {
        /// How many.
        more: u64,
    },
    /// A result that is kept until the job is known here.
    Parked {
        /// The attempt that made it.
        attempt: AttemptId,
        /// The executor that submitted it.
        executor: NodeId,
        /// How much longer it is kept, in milliseconds.
        for_ms: u64,
    },
}

/// Why an attempt was placed on its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Choice {
    /// Its room was kept for the job.
    KeptRoom,
    /// No other executor here could have taken the job then.
    OnlyOne,
    /// Others could have.
    Of {
        /// How many could have, with the one that was chosen.
        fitting: u32,
        /// The one that came second.
        second: NodeId,
        /// Where the first goes before the second.
        by: Preference,
    },
}

/// In what one executor goes before another, the first that tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Preference {
    /// The second lost an attempt at the job in its present session.
    HadNotLostIt,
    /// Less of it was in use or kept.
    LessBusy {
        /// Slots of the first that were in use or kept.
        used: u32,
        /// All slots of the first.
        slots: u32,
        /// Slots of the second that were in use or kept.
        second_used: u32,
        /// All slots of the second.
        second_slots: u32,
    },
    /// With the job, its resources are used more evenly.
    MoreEvenly,
    /// They are equal, and the lesser name goes first.
    Name,
}

/// By what one goes before another: the first link of their keys in which they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a link and a distance")]
pub struct Lead {
    /// What the link ranks by.
    pub link: String,
    /// By how much, in the unit of that link.
    pub margin: u64,
    /// The same in words.
    pub words: String,
}

impl From<Deciding> for Lead {
    fn from(Deciding { link, unit, margin }: Deciding) -> Self {
        let words = match unit {
            Unit::Stamp if margin < 1 << 16 => "less than a millisecond".to_owned(),
            Unit::Stamp => words::seconds(margin >> 16).to_string(),
            Unit::Millis => words::seconds(margin).to_string(),
            Unit::Tier => format!("{margin} levels"),
            Unit::BasisPoints => format!("{margin} bp"),
            Unit::Hash | Unit::Id => "a fixed tie-break".to_owned(),
            Unit::Class | Unit::Count | Unit::Score | _ => margin.to_string(),
        };
        Self { link: link.to_owned(), margin, words }
    }
}

/// What a job has of the emergency that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EmergencyStanding {
    /// It stands and covers the job's region.
    InForce,
    /// It was revoked, or has ended by itself.
    Ended,
    /// It does not cover the job's region.
    OutOfScope,
    /// Its declaration has not arrived here.
    Unknown,
}

/// Why an executor is not given a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Obstacle {
    /// Nothing: the job is placed there unless one before it is.
    None,
    /// All its slots are taken.
    NoFreeSlot {
        /// How many it has.
        slots: u32,
    },
    /// A reason of the strategies: capacity, tags, head room.
    Reason(Reason),
    /// It did not take the job.
    Refused {
        /// When it may be asked again, in milliseconds from now; `None`: after its next registration.
        again_in_ms: Option<u64>,
    },
    /// It is silent for longer than is usual.
    Silent {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// There is no connection to it.
    Unreachable,
    /// It is given nothing before it registers again.
    AwaitsRegistration,
    /// It takes no more work.
    Draining,
    /// It has left, or was silent for too long.
    Gone,
    /// Even idle it could not run the job.
    TooSmall(Reason),
    /// It takes its orders from another broker.
    Elsewhere {
        /// Which.
        home: ReplicaId,
    },
}

/// Whether another result can take the place of the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Contest {
    /// Under this strategy the first accepted result stands.
    FirstStands,
    /// Challengers are admitted until the owner settles the job.
    Open,
    /// The job is settled.
    Settled,
}

/// The row of the table of duplicates by which a result was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ResultRule {
    /// No success was known to the broker that took it.
    First,
    /// D2: the attempt had submitted before.
    Resubmission,
    /// D3: another attempt of the same executor.
    SameExecutor,
    /// D4: another attempt of another executor.
    OtherExecutor,
    /// D5: the job was over.
    Late,
    /// A failure, or a result that only the current attempt may submit.
    CurrentAttempt,
}

impl ResultRule {
    /// The name of the row.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Resubmission => "D2",
            Self::SameExecutor => "D3",
            Self::OtherExecutor => "D4",
            Self::Late => "D5",
            Self::CurrentAttempt => "current attempt",
        }
    }
}

impl Ground {
    /// A stable name of the kind of ground, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SpecificationMissing => "SpecificationMissing",
            Self::Owned { .. } => "Owned",
            Self::Emergency { .. } => "Emergency",
            Self::OwnerPlaces { .. } => "OwnerPlaces",
            Self::Learning => "Learning",
            Self::Held { .. } => "Held",
            Self::Queued { .. } => "Queued",
            Self::Behind { .. } => "Behind",
            Self::Executor { .. } => "Executor",
            Self::MoreExecutors { .. } => "MoreExecutors",
            Self::NoExecutors => "NoExecutors",
            Self::CapableElsewhere { .. } => "CapableElsewhere",
            Self::RoomKept { .. } => "RoomKept",
            Self::NobodyPreempted { .. } => "NobodyPreempted",
            Self::Preempted { .. } => "Preempted",
            Self::Reappeared { .. } => "Reappeared",
            Self::WouldStartIf { .. } => "WouldStartIf",
            Self::Attempt { .. } => "Attempt",
            Self::MoreAttempts { .. } => "MoreAttempts",
            Self::TriesUsed { .. } => "TriesUsed",
            Self::Cancelled { .. } => "Cancelled",
            Self::Quarantined { .. } => "Quarantined",
            Self::AwaitingPolicy { .. } => "AwaitingPolicy",
            Self::Decision { .. } => "Decision",
            Self::Judged { .. } => "Judged",
            Self::MoreResults { .. } => "MoreResults",
            Self::Parked { .. } => "Parked",
        }
    }
}

impl Obstacle {
    /// A stable name, for programs; the [code](Reason::code) of a reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::NoFreeSlot { .. } => "NoFreeSlot",
            Self::Reason(reason) => reason.code(),
            Self::Refused { .. } => "Refused",
            Self::Silent { .. } => "Silent",
            Self::Unreachable => "Unreachable",
            Self::AwaitsRegistration => "AwaitsRegistration",
            Self::Draining => "Draining",
            Self::Gone => "Gone",
            Self::TooSmall(_) => "TooSmall",
            Self::Elsewhere { .. } => "Elsewhere",
        }
    }
}
