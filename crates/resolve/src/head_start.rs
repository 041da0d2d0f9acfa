//! Head starts: everything that lets a job go before others of its tier, as minutes it seems to have waited already.

use alloc::vec::Vec;

use crate::{BasisPoints, ChainError, FactorReading, JobFacts, LinkReading, RoundFacts};

/// How many minutes of head start the whole of each factor is worth.
///
/// Waiting raises nothing and needs no timer: a job's virtual start is fixed, later jobs simply start further right. So
/// no job is ranked before one of its tier that was submitted [`longest_ms`](Self::longest_ms) or more earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the factors of this algorithm version; it validates where it is used")]
pub struct HeadStartMinutes {
    /// For priority 255.
    pub priority: u32,
    /// For a deadline without slack.
    pub deadline: u32,
    /// For declared work of nothing.
    pub lightness: u32,
    /// For a demand of nothing.
    pub smallness: u32,
    /// For the level life safety.
    pub emergency: u32,
}

/// The most that head starts may be together, in minutes: 2^32 milliseconds, so that no word wraps.
pub const MAX_HEAD_START_MINUTES: u32 = 71_582;

const MS_PER_BP_MINUTE: u64 = 6; // 60,000 ms for 10,000 bp
const ONE_HOUR_MS: u64 = 3_600_000;
const EIGHT_CORE_HOURS_MS: u64 = 8 * ONE_HOUR_MS;
const NEVER_BELOW_ZERO: u64 = 1 << 32;

impl HeadStartMinutes {
    /// The defaults of `PRIORITY_BASED`: 4 hours together.
    pub const PRIORITY_BASED: Self = Self { priority: 60, deadline: 30, lightness: 15, smallness: 15, emergency: 120 };
    /// The defaults of `EMERGENCY_FIRST`, where the emergency is the tier: 2 hours together.
    pub const EMERGENCY_FIRST: Self = Self { emergency: 0, ..Self::PRIORITY_BASED };

    /// The sum of all of them, in minutes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        [self.priority, self.deadline, self.lightness, self.smallness, self.emergency].into_iter().map(u64::from).sum()
    }

    /// The overtake bound, in milliseconds: how much later a job may have been submitted and still go first.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.sum().saturating_mul(60_000)
    }

    pub(crate) fn checked(self) -> Result<Self, ChainError> {
        let minutes = self.sum();
        if minutes > u64::from(MAX_HEAD_START_MINUTES) {
            return Err(ChainError::HeadStartTooLong { minutes, limit: MAX_HEAD_START_MINUTES });
        }
        Ok(self)
    }

    /// The word of the virtual start: `submit_ms + 2^32 - head start`.
    pub(crate) fn word(&self, job: &JobFacts, round: &RoundFacts) -> u64 {
        let head_start = self.factors(job, round).into_iter().map(contribution).fold(0, u64::saturating_add);
        job.submitted.millis().saturating_add(NEVER_BELOW_ZERO).saturating_sub(head_start)
    }

    pub(crate) fn explain(&self, job: &JobFacts, round: &RoundFacts) -> LinkReading {
        let factors: Vec<FactorReading> = self
            .factors(job, round)
            .into_iter()
            .map(|(name, share, weight)| FactorReading {
                name,
                share,
                weight,
                contribution_ms: contribution((name, share, weight)),
            })
            .collect();
        LinkReading { name: "virtual start", word: self.word(job, round), factors }
    }

    fn factors(&self, job: &JobFacts, round: &RoundFacts) -> [(&'static str, BasisPoints, u32); 5] {
        [
            ("priority", BasisPoints::from_ratio(job.priority.0.into(), 255), self.priority),
            ("deadline", urgency(job), self.deadline),
            ("lightness", lightness(job), self.lightness),
            ("smallness", smallness(job, round), self.smallness),
            ("emergency", BasisPoints::from_ratio(job.level.get().into(), 200), self.emergency),
        ]
    }
}

fn contribution((_, share, minutes): (&'static str, BasisPoints, u32)) -> u64 {
    u64::from(share.get()).saturating_mul(minutes.into()).saturating_mul(MS_PER_BP_MINUTE)
}

/// The whole with no slack, nothing with an hour of it or without a deadline.
fn urgency(job: &JobFacts) -> BasisPoints {
    match job.deadline {
        Some(deadline) if !job.late => {
            let start = job.submitted.millis().saturating_add(job.estimate_ms);
            let slack = deadline.as_millis().saturating_sub(start).min(ONE_HOUR_MS);
            BasisPoints::from_ratio(slack, ONE_HOUR_MS).complement()
        }
        _ => BasisPoints::ZERO,
    }
}

/// The whole with declared work of nothing, nothing with eight core-hours of it or undeclared.
fn lightness(job: &JobFacts) -> BasisPoints {
    job.work_core_ms.map_or(BasisPoints::ZERO, |work| {
        BasisPoints::from_ratio(work.min(EIGHT_CORE_HOURS_MS), EIGHT_CORE_HOURS_MS).complement()
    })
}

/// What is left of the reference capacity in the dimension that the job needs most of.
fn smallness(job: &JobFacts, round: &RoundFacts) -> BasisPoints {
    let dominant = crate::Dimension::ALL
        .iter()
        .map(|dimension| BasisPoints::from_ratio(job.demand.get(*dimension), round.reference.get(*dimension)))
        .max();
    dominant.unwrap_or_default().complement()
}
