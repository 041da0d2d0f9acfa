//! What time does to a queue: late jobs, reserved shares, and whose tier a job inherits.
//!
//! Waiting itself does nothing: a job's key is fixed, and jobs that come later start further right.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use reconvene_clock::WallTime;

use crate::{BasisPoints, CandidateId, Dimension, JobFacts, Level, Resources};

/// What happens, once and at dispatch, to a job that would miss its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "the rules of the policy format")]
pub enum LateRule {
    /// It is ranked anew without its deadline. Urgency that can no longer help would only make the next ones late too.
    #[default]
    LoseUrgency,
    /// As `LoseUrgency`, and all of its tier that are not late go before it.
    LateTier,
    /// It is not run.
    Refuse,
    /// Nothing.
    Keep,
}

/// What [`LateRule::dispatch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever dispatches must handle each")]
pub enum Lateness {
    /// It can meet its deadline, or has none.
    InTime,
    /// It was marked now: its key has changed.
    Marked {
        /// By how much it would miss its deadline, in milliseconds.
        by_ms: u64,
    },
    /// It must not be run.
    Refused {
        /// By how much it would miss its deadline, in milliseconds.
        by_ms: u64,
    },
    /// It is late and goes on as it is: the rule keeps it, or it was marked before.
    Unchanged {
        /// By how much it would miss its deadline, in milliseconds.
        by_ms: u64,
    },
}

impl LateRule {
    /// To be called when it is the job's turn: marks it late if the rule says so and `now + estimate > deadline`.
    ///
    /// ```
    /// use reconvene_clock::{Hlc, WallTime};
    /// use reconvene_resolve::{CandidateId, JobFacts, LateRule, Lateness};
    ///
    /// let mut job = JobFacts {
    ///     estimate_ms: 1_800_000,
    ///     deadline: Some(WallTime::from_millis(2_400_000)),
    ///     ..JobFacts::new(CandidateId::new(1, 1), Hlc::default())
    /// };
    /// let rule = LateRule::LoseUrgency;
    /// assert_eq!(rule.dispatch(&mut job, WallTime::from_millis(600_000)), Lateness::InTime);
    /// assert_eq!(rule.dispatch(&mut job, WallTime::from_millis(600_001)), Lateness::Marked { by_ms: 1 });
    /// assert!(job.late);
    /// ```
    pub fn dispatch(self, job: &mut JobFacts, now: WallTime) -> Lateness {
        let Some(by_ms) = job.misses_deadline_by(now) else { return Lateness::InTime };
        match self {
            Self::LoseUrgency | Self::LateTier if !job.late => {
                job.late = true;
                Lateness::Marked { by_ms }
            }
            Self::LoseUrgency | Self::LateTier | Self::Keep => Lateness::Unchanged { by_ms },
            Self::Refuse => Lateness::Refused { by_ms },
        }
    }
}

/// What jobs that have waited long are owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the parameters of the policy format")]
pub struct AgeingRules {
    /// What a missed deadline does.
    pub late: LateRule,
    /// After how many milliseconds of waiting an executor is reserved for a job that does not fit.
    pub reserve_after_ms: u64,
    /// After how many milliseconds of waiting a lower tier may claim its reserved share back.
    pub floor_after_ms: u64,
    /// What each lower tier keeps of the capacity.
    pub shares: TierShares,
}

impl Default for AgeingRules {
    /// Late jobs lose their urgency; 4 hours; 30 minutes; a tenth for each lower tier.
    fn default() -> Self {
        Self {
            late: LateRule::LoseUrgency,
            reserve_after_ms: 14_400_000,
            floor_after_ms: 1_800_000,
            shares: TierShares::default(),
        }
    }
}

/// The share of the capacity that each tier below the highest keeps, so that emergencies cannot starve the rest.
///
/// Levels between two named ones count to the lower. Higher tiers may borrow a share while no job of its owner has
/// waited for [`AgeingRules::floor_after_ms`]; after that they leave free whatever of it its owner does not use. Nothing
/// that runs is stopped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "[BasisPoints; 4]", into = "[BasisPoints; 4]"))]
pub struct TierShares([BasisPoints; 4]);

/// Reserved shares of more than the whole. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reserved shares of {sum} basis points together are more than the whole of 10000")]
#[non_exhaustive]
pub struct SharesTooLarge {
    /// The sum.
    pub sum: u32,
}

impl TierShares {
    /// Nothing is reserved.
    pub const NONE: Self = Self([BasisPoints::ZERO; 4]);

    /// For routine, elevated, public safety and critical infrastructure, in this order.
    ///
    /// # Errors
    /// [`SharesTooLarge`] if together they are more than the whole.
    pub fn new(shares: [BasisPoints; 4]) -> Result<Self, SharesTooLarge> {
        let sum = shares.iter().fold(0, |sum: u32, share| sum.saturating_add(u32::from(share.get())));
        if sum > u32::from(BasisPoints::FULL.get()) {
            return Err(SharesTooLarge { sum });
        }
        Ok(Self(shares))
    }

    /// The four, in the order of [`new`](Self::new).
    #[must_use]
    pub const fn get(&self) -> &[BasisPoints; 4] {
        &self.0
    }

    /// What the tier of `level` keeps; nothing for life safety, which has nobody above it.
    #[must_use]
    pub fn of(&self, level: Level) -> BasisPoints {
        self.0.get(level.band()).copied().unwrap_or(BasisPoints::ZERO)
    }
}

impl Default for TierShares {
    /// A tenth for each.
    fn default() -> Self {
        Self([BasisPoints::TENTH; 4])
    }
}

impl TryFrom<[BasisPoints; 4]> for TierShares {
    type Error = SharesTooLarge;

    fn try_from(shares: [BasisPoints; 4]) -> Result<Self, SharesTooLarge> {
        Self::new(shares)
    }
}

impl From<TierShares> for [BasisPoints; 4] {
    fn from(shares: TierShares) -> Self {
        shares.0
    }
}

/// The reserved shares during one round: who claims what, and how much of it is in use.
#[derive(Clone, Debug)]
pub(crate) struct Floors {
    /// What the four lower tiers keep; they claim it while a job of theirs has waited too long.
    kept: [Resources; 4],
    claims: [Option<CandidateId>; 4],
    used: [Resources; 4],
    free: Resources,
}

impl Floors {
    /// `total` and `free` of all executors; `running` jobs as (level, demand).
    pub(crate) fn new(
        rules: &AgeingRules,
        (total, free): (Resources, Resources),
        waiting: &[JobFacts],
        running: impl Iterator<Item = (Level, Resources)>,
        now: WallTime,
    ) -> Self {
        let kept = rules.shares.0.map(|share| total.portion(share));
        let mut claims: [Option<(WallTime, CandidateId)>; 4] = [None; 4];
        for job in waiting {
            let since = job.submitted.wall();
            if now.saturating_since(since) < rules.floor_after_ms {
                continue;
            }
            if let Some(claim) = claims.get_mut(job.level.band()) {
                let this = (since, job.id);
                *claim = Some(claim.map_or(this, |oldest| oldest.min(this)));
            }
        }
        let claims = claims.map(|claim| claim.map(|(_, job)| job));
        let mut floors = Self { kept, claims, used: [Resources::default(); 4], free };
        for (level, demand) in running {
            floors.use_of(level, &demand);
        }
        floors
    }

    /// The job whose tier's share a start of `demand` at `level` would take, if it would.
    pub(crate) fn taken_from(&self, level: Level, demand: &Resources) -> Option<CandidateId> {
        let lower = self.kept.iter().zip(&self.used).zip(&self.claims).take(level.band());
        let mut owed = Resources::default();
        for ((kept, used), claim) in lower {
            let Some(job) = claim else { continue };
            owed = owed.saturating_add(&kept.saturating_sub(used));
            let left = self.free.saturating_sub(demand);
            // Only what the start needs can be taken from somebody.
            let short = |d: &Dimension| demand.get(*d) > 0 && left.get(*d) < owed.get(*d);
            if Dimension::ALL.iter().any(short) {
                return Some(*job);
            }
        }
        None
    }

    /// A job has been started.
    pub(crate) fn start(&mut self, level: Level, demand: &Resources) {
        self.free = self.free.saturating_sub(demand);
        self.use_of(level, demand);
    }

    fn use_of(&mut self, level: Level, demand: &Resources) {
        if let Some(used) = self.used.get_mut(level.band()) {
            *used = used.saturating_add(demand);
        }
    }
}

/// Raises every job to the highest level of those that cannot start without it, through any number of steps.
///
/// `dependencies` are pairs (who waits, for what). Jobs that are not in the list pass nothing on; cycles do no harm.
///
/// # Complexity
/// O((n + d) log n × levels) for n jobs and d dependencies.
pub fn inherit_levels(jobs: &mut [JobFacts], dependencies: &[(CandidateId, CandidateId)]) {
    let mut levels: BTreeMap<CandidateId, Level> = jobs.iter().map(|job| (job.id, job.level)).collect();
    let mut needs: BTreeMap<CandidateId, Vec<CandidateId>> = BTreeMap::new();
    for (waits, on) in dependencies {
        needs.entry(*waits).or_default().push(*on);
    }
    // Highest first: a job is settled the first time it is reached at its final level.
    let mut open: BTreeSet<(Level, CandidateId)> = levels.iter().map(|(id, level)| (*level, *id)).collect();
    while let Some((level, id)) = open.pop_last() {
        for need in needs.get(&id).into_iter().flatten() {
            if let Some(held) = levels.get_mut(need).filter(|held| **held < level) {
                open.remove(&(*held, *need));
                *held = level;
                open.insert((level, *need));
            }
        }
    }
    for job in jobs {
        job.level = levels.get(&job.id).copied().unwrap_or(job.level);
    }
}
