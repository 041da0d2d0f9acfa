//! What the broker that decides knows of its executors, and what it decided.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use reconvene_clock::WallTime;

use crate::{AgeingRules, CandidateId, ExecutorFacts, HeadRoom, JobFacts, JobValue, Level, Policy, Reason, Resources};

/// The executors of one broker during one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a plan may depend on")]
pub struct ClusterView {
    /// The executors, in an order that the caller keeps; plans name them by their place in it.
    pub executors: Vec<ExecutorFacts>,
    /// How many more jobs each executor can take at once, in the same order, whatever they demand. One that is not named
    /// here takes as many as fit. Only [`plan_preemption`](crate::plan_preemption) looks at it.
    pub places: Vec<u32>,
    /// What runs on them. Needed for reservations, reserved shares and preemption; plain placement does without.
    pub running: Vec<RunningJob>,
    /// Places that are kept for a job.
    pub reservations: Vec<Reservation>,
    /// What jobs that have waited long are owed.
    pub ageing: AgeingRules,
    /// What is kept free for life safety.
    pub head_room: HeadRoom,
    /// Whether the broker takes itself for cut off from its executors: then nothing is started or stopped.
    pub storm: bool,
}

impl ClusterView {
    /// Idle executors without reservations, under the default rules.
    #[must_use]
    pub fn new(executors: Vec<ExecutorFacts>) -> Self {
        Self { executors, ..Self::default() }
    }

    /// The same under the rules of a policy.
    ///
    /// ```
    /// use reconvene_resolve::{ClusterView, HeadRoom, Policy, Resources, StrategyKind};
    ///
    /// let head_room = HeadRoom::new(Resources::new(3_000, 0, 0));
    /// let policy = Policy::builder(StrategyKind::EmergencyFirst).head_room(head_room).build()?;
    /// assert_eq!(ClusterView::new(vec![]).under(&policy).head_room, head_room);
    /// # Ok::<(), reconvene_resolve::PolicyError>(())
    /// ```
    #[must_use]
    pub fn under(self, policy: &Policy) -> Self {
        Self { ageing: *policy.ageing(), head_room: *policy.head_room(), ..self }
    }

    /// What is free on all executors together, without the room that others were stopped for on behalf of other jobs.
    pub(crate) fn free_for(&self, job: CandidateId, now: WallTime) -> Resources {
        let executors = self.executors.iter().map(ExecutorFacts::usable);
        let free = executors.fold(Resources::default(), |sum, usable| sum.saturating_add(&usable));
        free.saturating_sub(&freed_for_others(&self.reservations, &self.executors, job, now))
    }

    /// The capacity of all executors together.
    #[must_use]
    pub fn total(&self) -> Resources {
        self.executors.iter().fold(Resources::default(), |sum, executor| sum.saturating_add(&executor.capacity))
    }
}

/// A job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what a plan may depend on")]
pub struct RunningJob {
    /// The job.
    pub id: CandidateId,
    /// Where, as a place in [`ClusterView::executors`].
    pub executor: usize,
    /// The level of the emergency it serves, now.
    pub level: Level,
    /// What it takes.
    pub demand: Resources,
    /// When its attempt started.
    pub started: WallTime,
    /// When it is expected to end; `None` if nothing was estimated.
    pub ends: Option<WallTime>,
    /// What it is worth.
    pub value: JobValue,
    /// Whether it may be stopped in favour of another.
    pub preemptible: bool,
    /// Whether it can write a checkpoint before it is stopped.
    pub checkpoints: bool,
    /// How often it was preempted before.
    pub preempted: u32,
}

impl RunningJob {
    /// `job`, running on `executor` since `started`, preemptible and ending as estimated.
    #[must_use]
    pub fn new(job: &JobFacts, executor: usize, started: WallTime) -> Self {
        let ends = (job.estimate_ms > 0).then(|| started.saturating_add(job.estimate_ms));
        Self {
            id: job.id,
            executor,
            level: job.level,
            demand: job.demand,
            started,
            ends,
            value: job.value,
            preemptible: true,
            checkpoints: false,
            preempted: job.preempted,
        }
    }

    /// For how many milliseconds it has run.
    #[must_use]
    pub const fn ran_ms(&self, now: WallTime) -> u64 {
        now.saturating_since(self.started)
    }

    /// The core-milliseconds that would be lost if it were stopped now, rounded down.
    #[must_use]
    pub fn lost_core_ms(&self, now: WallTime) -> u64 {
        let lost = u128::from(self.demand.cpu_milli).saturating_mul(u128::from(self.ran_ms(now))) / 1_000;
        u64::try_from(lost).unwrap_or(u64::MAX)
    }
}

/// The room that is free because others were stopped for jobs other than this one.
pub(crate) fn freed_for_others(
    reservations: &[Reservation],
    executors: &[ExecutorFacts],
    job: CandidateId,
    now: WallTime,
) -> Resources {
    let theirs = reservations
        .iter()
        .filter(|held| held.cause == ReservationCause::Preempted && held.job != job && !held.has_lapsed(now));
    let freed = theirs.filter_map(|held| Some(executors.get(held.executor)?.usable().min(&held.demand)));
    freed.fold(Resources::default(), |sum, freed| sum.saturating_add(&freed))
}

/// A place that is kept for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what a plan may depend on")]
pub struct Reservation {
    /// The executor, as a place in [`ClusterView::executors`].
    pub executor: usize,
    /// For whom.
    pub job: CandidateId,
    /// The level of that job.
    pub level: Level,
    /// What that job needs.
    pub demand: Resources,
    /// Why.
    pub cause: ReservationCause,
    /// When the place is expected to be free.
    pub from: WallTime,
    /// When the reservation lapses; `None` if it stands until the job starts.
    pub until: Option<WallTime>,
}

/// Why a place is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "whoever plans must handle each")]
pub enum ReservationCause {
    /// The job has waited for long and nothing was large enough. It holds against its own tier and lower ones; who
    /// ends before `from` may slip in.
    Waited,
    /// Others were stopped for it. What it needs of the executor is kept against everybody.
    Preempted,
}

impl Reservation {
    /// Whether `job` must not start on the reserved executor, of which `free` is free, because of this.
    #[must_use]
    pub fn blocks(&self, job: &JobFacts, free: &Resources, now: WallTime) -> bool {
        if self.job == job.id || self.has_lapsed(now) {
            return false;
        }
        match self.cause {
            // A job of unknown length might stay for ever.
            ReservationCause::Waited => {
                job.level <= self.level && (job.estimate_ms == 0 || now.saturating_add(job.estimate_ms) > self.from)
            }
            ReservationCause::Preempted => !free.saturating_sub(&self.demand).holds(&job.demand),
        }
    }

    /// Whether it stands no longer.
    #[must_use]
    pub fn has_lapsed(&self, now: WallTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Where jobs go in one round, and why the others wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "read by whoever carries it out")]
pub struct Plan {
    /// What to start, in the order in which it was decided.
    pub placements: Vec<Placement>,
    /// What waits, best first.
    pub waiting: Vec<Waiting>,
    /// Jobs that were found late in this round; set [`JobFacts::late`] on them.
    pub late: Vec<CandidateId>,
    /// The places that are kept after this round: old ones that still stand, and new ones.
    pub reservations: Vec<Reservation>,
}

impl Plan {
    /// The value of what is placed, of `jobs` that were planned.
    #[must_use]
    pub fn value(&self, jobs: &[JobFacts]) -> u64 {
        let placed: BTreeSet<_> = self.placements.iter().map(|placement| placement.job).collect();
        let values = jobs.iter().filter(|job| placed.contains(&job.id)).map(|job| u64::from(job.value.get()));
        values.fold(0, u64::saturating_add)
    }
}

/// A job and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct Placement {
    /// The job.
    pub job: CandidateId,
    /// The executor, as a place in [`ClusterView::executors`].
    pub executor: usize,
}

/// A job without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct Waiting {
    /// The job.
    pub job: CandidateId,
    /// Why it waits.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    use reconvene_clock::Hlc;

    use super::*;

    /// Ten minutes are left until the place is expected to be free.
    #[test]
    fn who_ends_before_a_place_is_free_slips_in() {
        let minutes = |count: u64| WallTime::from_millis(count * 60_000);
        let held = Reservation {
            executor: 0,
            job: CandidateId::new(1, 1),
            level: Level::ELEVATED,
            demand: Resources::new(8, 0, 0),
            cause: ReservationCause::Waited,
            from: minutes(30),
            until: None,
        };
        let blocks = |number, level, estimate_ms| {
            let job = JobFacts::new(CandidateId::new(1, number), Hlc::default());
            held.blocks(&JobFacts { level, estimate_ms, ..job }, &Resources::default(), minutes(20))
        };
        assert!(!blocks(2, Level::ELEVATED, 600_000));
        assert!(blocks(2, Level::ELEVATED, 600_001));
        assert!(blocks(2, Level::ROUTINE, 600_001));
        assert!(blocks(2, Level::ROUTINE, 0), "of unknown length");
        assert!(!blocks(2, Level::PUBLIC_SAFETY, 0), "of a higher tier");
        assert!(!blocks(1, Level::ELEVATED, 0), "the job itself");
    }
}
