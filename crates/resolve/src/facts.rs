//! What a strategy may look at.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt::Debug;

use reconvene_clock::{Height, Hlc, WallTime};

use crate::bytes::Writer;
use crate::{BasisPoints, CandidateId, JobValue, Level, Priority, Resources, SubjectId};

/// One waiting job, as the broker that owns it knows it. Everything here is fixed when the job is admitted, but for its
/// emergency level, which follows the declaration it names, and the late mark, which is set at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what contention may depend on; a new fact is a new algorithm version")]
pub struct JobFacts {
    /// Names the job.
    pub id: CandidateId,
    /// The stamp that the first broker to admit the job gave it.
    pub submitted: Hlc,
    /// How urgent its submitter calls it.
    pub priority: Priority,
    /// When it should be done, if ever.
    pub deadline: Option<WallTime>,
    /// How long it is expected to run, in milliseconds.
    pub estimate_ms: u64,
    /// Declared work in core-milliseconds; `None` where nothing was declared.
    pub work_core_ms: Option<u64>,
    /// What it needs while it runs.
    pub demand: Resources,
    /// Tags that an executor must have.
    pub requires: BTreeSet<String>,
    /// What running it is worth.
    pub value: JobValue,
    /// The level of the emergency it serves, now.
    pub level: Level,
    /// Whether it was found to miss its deadline; it then has no deadline factor.
    pub late: bool,
    /// One more than the greatest height its first broker had observed.
    pub height: Height,
    /// How often it was preempted. None of the five strategies looks at it.
    pub preempted: u32,
}

impl JobFacts {
    /// A job without priority, deadline, demand or emergency.
    #[must_use]
    pub fn new(id: CandidateId, submitted: Hlc) -> Self {
        Self {
            id,
            submitted,
            priority: Priority::default(),
            deadline: None,
            estimate_ms: 0,
            work_core_ms: None,
            demand: Resources::default(),
            requires: BTreeSet::new(),
            value: JobValue::ONE,
            level: Level::ROUTINE,
            late: false,
            height: Height::MIN,
            preempted: 0,
        }
    }

    /// The time to spare, in milliseconds, between deadline and end if the job had started when it was submitted; 0 if
    /// there is none, `None` without a deadline.
    #[must_use]
    pub fn slack_ms(&self) -> Option<u64> {
        let deadline = self.deadline?.as_millis();
        Some(deadline.saturating_sub(self.submitted.millis()).saturating_sub(self.estimate_ms))
    }

    /// By how many milliseconds a start at `now` would miss the deadline, if it would: what [`late`](Self::late) is set
    /// from, once, when the job is dispatched.
    #[must_use]
    pub fn misses_deadline_by(&self, now: WallTime) -> Option<u64> {
        let end = now.as_millis().saturating_add(self.estimate_ms);
        let by_ms = end.saturating_sub(self.deadline?.as_millis());
        (by_ms > 0).then_some(by_ms)
    }
}

impl JobFacts {
    pub(crate) fn write(&self, out: &mut Writer) {
        let Self { id, submitted, priority, deadline, estimate_ms, work_core_ms, demand, .. } = self;
        let Self { requires, value, level, late, height, preempted, .. } = self;
        out.id(*id);
        out.u64(submitted.as_u64());
        out.u8(priority.0);
        out.option(deadline.map(WallTime::as_millis));
        out.u64(*estimate_ms);
        out.option(*work_core_ms);
        demand.write(out);
        out.texts(requires.iter());
        out.u32(value.get());
        out.u8(level.get());
        out.u8((*late).into());
        out.u64(height.get());
        out.u32(*preempted);
    }
}

/// What all jobs of one ranking are measured against. A queue is ranked anew when the epoch changes, never by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what contention may depend on; a new fact is a new algorithm version")]
pub struct RoundFacts {
    /// Raised whenever anything below changes.
    pub epoch: u64,
    /// The capacity that density is a share of: all executors of the broker together.
    pub total: Resources,
    /// The capacity that smallness is measured against: one ordinary executor, the same on all brokers.
    pub reference: Resources,
}

impl RoundFacts {
    /// The reference capacity of the design: 16 cores, 64 GiB, 4 graphics processors.
    pub const REFERENCE: Resources = Resources::new(16_000, 65_536, 4_000);

    /// A round over `total`, with the usual reference.
    #[must_use]
    pub const fn new(epoch: u64, total: Resources) -> Self {
        Self { epoch, total, reference: Self::REFERENCE }
    }
}

impl RoundFacts {
    pub(crate) fn write(&self, out: &mut Writer) {
        let Self { epoch, total, reference } = self;
        out.u64(*epoch);
        total.write(out);
        reference.write(out);
    }
}

/// Whether an attempt did what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_enums, reason = "the first word of every divergence key")]
pub enum Outcome {
    /// It did; before every failure.
    Success,
    /// It did not.
    Failure,
}

impl Outcome {
    /// 0 for success, 1 for failure: the word of a key.
    #[must_use]
    pub const fn word(self) -> u64 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
        }
    }
}

/// One version of a result, as the facts that every broker holds say. None of it is filled in on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what divergence may depend on; a new fact is a new algorithm version")]
pub struct VersionFacts {
    /// The job.
    pub subject: SubjectId,
    /// Names the version: who accepted it, and as its how-manyeth.
    pub id: CandidateId,
    /// Whether the attempt succeeded.
    pub outcome: Outcome,
    /// The stamp of its acceptance.
    pub accepted: Hlc,
    /// The ownership epoch of its attempt.
    pub attempt_epoch: u32,
    /// The number of its attempt within that epoch.
    pub attempt_number: u32,
    /// One more than the greatest height that the accepting broker had observed.
    pub height: Height,
    /// The emergency level of the job when it was accepted.
    pub level: Level,
    /// The quality that the executor declared.
    pub quality: BasisPoints,
    /// The score of the attempt's placement, frozen when it was placed; larger is better.
    pub placement: u64,
    /// What the attempt used, in resource-milliseconds.
    pub cost_resource_ms: u64,
    /// The digest of the result.
    pub digest: [u8; 32],
}

impl VersionFacts {
    /// A success of the first attempt, with nothing declared about it.
    #[must_use]
    pub const fn new(subject: SubjectId, id: CandidateId, accepted: Hlc) -> Self {
        Self {
            subject,
            id,
            outcome: Outcome::Success,
            accepted,
            attempt_epoch: 1,
            attempt_number: 1,
            height: Height::MIN,
            level: Level::ROUTINE,
            quality: BasisPoints::ZERO,
            placement: 0,
            cost_resource_ms: 0,
            digest: [0; 32],
        }
    }

    /// `epoch << 32 | number`: the word of a key.
    #[must_use]
    pub fn attempt_word(&self) -> u64 {
        (u64::from(self.attempt_epoch) << 32).saturating_add(self.attempt_number.into())
    }
}

impl VersionFacts {
    pub(crate) fn write(&self, out: &mut Writer) {
        let Self {
            subject, id, outcome, accepted, height, level, quality, placement, cost_resource_ms, digest, ..
        } = self;
        out.words(subject.0);
        out.id(*id);
        out.u64(outcome.word());
        out.u64(accepted.as_u64());
        out.u64(self.attempt_word());
        out.u64(height.get());
        out.u8(level.get());
        out.u16(quality.get());
        out.u64(*placement);
        out.u64(*cost_resource_ms);
        out.raw(digest);
    }
}

/// The facts that keys are made of: [`JobFacts`] in contention, [`VersionFacts`] in divergence, and no others.
pub trait Facts: Clone + Debug + sealed::Sealed + 'static {
    /// What else a key may depend on: [`RoundFacts`] in contention, nothing in divergence.
    type Round: Debug + 'static;

    /// Who is ranked.
    fn id(&self) -> CandidateId;
    /// For what.
    fn subject(&self) -> SubjectId;
    /// Since when the candidate stands, in Unix milliseconds: the submission, or the acceptance. Below 2^48.
    fn stands_since_ms(&self) -> u64;
}

impl Facts for JobFacts {
    type Round = RoundFacts;

    fn id(&self) -> CandidateId {
        self.id
    }

    fn subject(&self) -> SubjectId {
        SubjectId::NONE
    }

    fn stands_since_ms(&self) -> u64 {
        self.submitted.millis()
    }
}

impl Facts for VersionFacts {
    type Round = ();

    fn id(&self) -> CandidateId {
        self.id
    }

    fn subject(&self) -> SubjectId {
        self.subject
    }

    fn stands_since_ms(&self) -> u64 {
        self.accepted.millis()
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "a key is made of these facts or of none")]
    pub trait Sealed {}

    impl Sealed for super::JobFacts {}
    impl Sealed for super::VersionFacts {}
}
