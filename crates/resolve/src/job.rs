//! Links and factors over [`JobFacts`], ready for chains of one's own.

use crate::resources::share;
use crate::{BasisPoints, Dimension, Factor, FactorValue, JobFacts, Link, Resources, RoundFacts, Unit, packing};

/// The submit stamp: who came first.
#[must_use]
pub const fn submitted() -> Link<JobFacts> {
    Link::word("submitted", Unit::Stamp, |job, _| job.submitted.as_u64())
}

/// `200 − level`: the graver emergency first.
#[must_use]
pub const fn tier() -> Link<JobFacts> {
    Link::word("tier", Unit::Tier, |job, _| job.level.tier())
}

/// 1 for a job that was marked late, else 0: those that can still meet their deadline first.
#[must_use]
pub const fn late() -> Link<JobFacts> {
    Link::word("late", Unit::Class, |job, _| if job.late { 1 } else { 0 })
}

/// The height of the job's spec: causes before their effects.
#[must_use]
pub const fn height() -> Link<JobFacts> {
    Link::word("height", Unit::Count, |job, _| job.height.get())
}

/// Value for the scarcest share of the total capacity that the job takes: `floor(value × 2^40 / max(1, share))` with
/// share = `max_d floor(demand_d × 2^20 / total_d)`. **Larger is better**, so chains reverse it.
#[must_use]
pub const fn density() -> Link<JobFacts> {
    Link::word("density", Unit::Score, |job: &JobFacts, round: &RoundFacts| {
        let share = Dimension::ALL.iter().map(|d| share(job.demand.get(*d), round.total.get(*d))).max();
        packing::density(job, share.unwrap_or(0))
    })
}

/// Priority as a share of 255.
pub const PRIORITY: Factor<JobFacts> = Factor::new("priority", |job, _| {
    let priority = u64::from(job.priority.0);
    FactorValue::new(priority, BasisPoints::from_ratio(priority, u64::from(u8::MAX)))
});

/// How little of an hour is to spare before the deadline. Nothing without a deadline, and nothing once the job is
/// marked late: urgency that can no longer help must not delay the others, one after the other.
pub const DEADLINE: Factor<JobFacts> = Factor::new("deadline", |job, _| match job.slack_ms() {
    Some(slack) if !job.late => FactorValue::new(slack, BasisPoints::from_ratio(slack, HOUR_MS).complement()),
    Some(slack) => FactorValue::new(slack, BasisPoints::ZERO),
    None => FactorValue::ABSENT,
});

/// How much less than 8 core-hours of work the job declares. Undeclared work is not light.
pub const LIGHTNESS: Factor<JobFacts> = Factor::new("lightness", |job, _| match job.work_core_ms {
    Some(work) => FactorValue::new(work, BasisPoints::from_ratio(work, EIGHT_CORE_HOURS_MS).complement()),
    None => FactorValue::ABSENT,
});

/// How much of the reference capacity the job leaves free in the dimension it takes most of.
pub const SMALLNESS: Factor<JobFacts> = Factor::new("smallness", |job, round| {
    let share = dominant_share(&job.demand, round);
    FactorValue::new(u64::from(share.get()), share.complement())
});

/// The emergency level as a share of the highest one: 50 bp for each of its 200 steps.
pub const EMERGENCY: Factor<JobFacts> = Factor::new("emergency", |job, _| {
    let level = u64::from(job.level.get());
    FactorValue::new(level, BasisPoints::from_ratio(level, 200))
});

fn dominant_share(demand: &Resources, round: &RoundFacts) -> BasisPoints {
    let shares = Dimension::ALL.iter().map(|d| BasisPoints::from_ratio(demand.get(*d), round.reference.get(*d)));
    shares.max().unwrap_or(BasisPoints::ZERO)
}

const HOUR_MS: u64 = 3_600_000;
const EIGHT_CORE_HOURS_MS: u64 = 28_800_000;
