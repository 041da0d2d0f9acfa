//! Room that is kept free for the gravest.

use crate::resources::share;
use crate::{Dimension, JobFacts, Level, Reason, Resources};

/// Room that stays free for life safety: a job of a lower tier starts only if at least this much is free after it, over
/// all executors of the broker. A *reserved head room*, as a standing reservation or a buffer of spare capacity of other
/// schedulers; none by default.
///
/// Without it an emergency waits until something that runs ends, unless it may [preempt](crate::plan_preemption). With it
/// as many emergencies as fit the head room start at once, and the others pay for it: what is kept free does no work.
/// `docs/benchmarks.md` has what that came to on a log.
///
/// - It holds against all tiers below life safety alike, however long their jobs have waited: where the queue never
///   empties every job has waited for long. But once a job has a place reserved, after
///   [`reserve_after_ms`](crate::AgeingRules::reserve_after_ms), those ranked behind it leave both its place and the head
///   room, so that it starts at the latest when it is first in rank.
/// - Only what a job asks for is looked at: room for graphics processors holds back no job without.
/// - It cannot hold a job back for ever. One so large that even idle executors would not leave the head room beside it is
///   let through, and so is one that takes the place that was freed for it by stopping others. A head room larger than the
///   broker is therefore none.
/// - It is a sum: room scattered over executors is kept as well as room in one place.
///
/// ```
/// use reconvene_clock::Hlc;
/// use reconvene_resolve::{CandidateId, Dimension, HeadRoom, JobFacts, Level, Reason, Resources};
///
/// let cores = |count: u64| Resources::new(count * 1_000, 0, 0);
/// let mut job = JobFacts { demand: cores(1), ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) };
/// let head_room = HeadRoom::new(cores(3));
/// assert_eq!(head_room.holds_back(&job, &cores(4), &cores(16)), None);
/// let short = Reason::KeptAsHeadRoom { dimension: Dimension::Cpu, short_by: 1_000 };
/// assert_eq!(head_room.holds_back(&job, &cores(3), &cores(16)), Some(short));
/// job.level = Level::LIFE_SAFETY;
/// assert_eq!(head_room.holds_back(&job, &cores(1), &cores(16)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct HeadRoom(Resources);

impl HeadRoom {
    /// Nothing is kept free.
    pub const NONE: Self = Self(Resources::new(0, 0, 0));

    /// This much is kept free, of all executors of a broker together.
    #[must_use]
    pub const fn new(room: Resources) -> Self {
        Self(room)
    }

    /// How much is kept free.
    #[must_use]
    pub const fn room(&self) -> &Resources {
        &self.0
    }

    /// Why a job that fits must not start all the same: [`Reason::KeptAsHeadRoom`] with what is shortest as a share of
    /// `total`. `None` if it may.
    ///
    /// `free` is what is free on all executors together before the job starts, and `total` all there is.
    #[must_use]
    pub fn holds_back(&self, job: &JobFacts, free: &Resources, total: &Resources) -> Option<Reason> {
        if *self == Self::NONE || job.level >= Level::LIFE_SAFETY {
            return None;
        }
        let asked = || Dimension::ALL.into_iter().filter(|dimension| job.demand.get(*dimension) > 0);
        let wanted = |dimension| job.demand.get(dimension).saturating_add(self.0.get(dimension));
        if asked().any(|dimension| wanted(dimension) > total.get(dimension)) {
            return None;
        }
        let shortages = asked().map(|dimension| {
            let short_by = wanted(dimension).saturating_sub(free.get(dimension));
            (share(short_by, total.get(dimension)), short_by, dimension)
        });
        let shortest = shortages.filter(|(_, short_by, _)| *short_by > 0).max_by_key(|(share, _, _)| *share);
        shortest.map(|(_, short_by, dimension)| Reason::KeptAsHeadRoom { dimension, short_by })
    }
}
