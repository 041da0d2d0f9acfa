//! Room that is kept for one job: others were stopped for it, or will be, or its owner asked for it.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, Timestamp};
use reconvene_executor::{AttemptId, JobId, Resources};

use crate::coordinator::Coordinator;
use crate::coordinator::executors::{HeldState, Homed};
use crate::coordinator::timers::Timer;
use crate::explain::Choice;
use crate::statistics::count;

/// A place that is kept for one job.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    pub(super) executor: NodeId,
    pub(super) demand: Resources,
    /// The level of the job when the place was reserved.
    pub(super) level: u8,
    /// When the place is anybody's again.
    pub(super) until: Timestamp,
    /// Who is to be stopped so that there is room, on that executor.
    pub(super) victims: BTreeSet<AttemptId>,
    /// Whether they were told. Until then the room is only spoken for.
    pub(super) carried_out: bool,
    /// Whether the job is still another broker's.
    pub(super) foreign: bool,
}

/// The places that are kept here, by the jobs for which they are.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    by_job: BTreeMap<JobId, Reserved>,
}

impl Reservations {
    pub(super) fn get(&self, job: JobId) -> Option<&Reserved> {
        self.by_job.get(&job)
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Reserved> {
        self.by_job.get_mut(&job)
    }

    pub(super) fn insert(&mut self, job: JobId, reserved: Reserved) {
        self.by_job.insert(job, reserved);
    }

    pub(super) fn remove(&mut self, job: JobId) -> Option<Reserved> {
        self.by_job.remove(&job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_job.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobId, &Reserved)> {
        self.by_job.iter().map(|(job, reserved)| (*job, reserved))
    }

    /// How many places are kept for jobs of others.
    pub(super) fn foreign(&self) -> usize {
        self.by_job.values().filter(|reserved| reserved.foreign).count()
    }

    pub(super) fn jobs(&self) -> BTreeSet<JobId> {
        self.by_job.keys().copied().collect()
    }

    /// Whether this attempt will be stopped for a job, and was not told yet.
    pub(super) fn is_spoken_for(&self, attempt: AttemptId) -> bool {
        self.by_job.values().any(|reserved| !reserved.carried_out && reserved.victims.contains(&attempt))
    }

    /// What others may have of an executor's room: slots and resources. Room that is still to be freed counts towards what
    /// is kept, and is nobody else's before.
    pub(super) fn leave(&self, executor: NodeId, homed: &Homed) -> (u32, Resources) {
        let (slots, free) = (homed.free_slots(), homed.free());
        let mut kept = self.by_job.values().filter(|reserved| reserved.executor == executor).peekable();
        if kept.peek().is_none() {
            return (slots, free);
        }
        let mut to_come = (0_u32, Resources::NONE);
        for (attempt, held) in &homed.attempts {
            if matches!(held.state, HeldState::Draining { .. }) || self.is_spoken_for(*attempt) {
                to_come = (to_come.0.saturating_add(1), plus(to_come.1, held.demand));
            }
        }
        let (taken, demand) = kept.fold((0_u32, Resources::NONE), |(slots, demand), reserved| {
            (slots.saturating_add(1), plus(demand, reserved.demand))
        });
        let slots_left = slots.min(slots.saturating_add(to_come.0).saturating_sub(taken));
        // In each dimension no more than is free now, since what is to come has not come.
        let left = plus(free, to_come.1).saturating_sub(demand);
        (slots_left, free.saturating_sub(free.saturating_sub(left)))
    }
}

fn plus(sum: Resources, more: Resources) -> Resources {
    sum.checked_add(more).unwrap_or(sum)
}

impl Coordinator {
    /// Keeps a place for a job until it starts or the time is over.
    pub(super) fn reserve(&mut self, job: JobId, reserved: Reserved) {
        self.timers.arm(Timer::Reserved(job), reserved.until);
        self.reserved.insert(job, reserved);
    }

    /// Keeps no place for this job any more.
    pub(super) fn unreserve(&mut self, job: JobId) {
        if self.reserved.remove(job).is_some() {
            self.timers.disarm(Timer::Reserved(job));
            self.placing = true;
        }
    }

    /// Nobody has used the place that was kept for a job.
    pub(super) fn reservation_lapses(&mut self, job: JobId) {
        if self.reserved.remove(job).is_some() {
            count(&mut self.statistics.reservations_lapsed);
            self.placing = true;
        }
    }

    /// Gives up places on executors that take no work any more, and those that were kept for a level that has ended.
    pub(super) fn drop_void_reservations(&mut self) {
        if self.reserved.is_empty() {
            return;
        }
        let is_void = |(job, reserved): &(JobId, &Reserved)| {
            let serves = self.homed.get(&reserved.executor).is_some_and(Homed::takes_work);
            let now = self.view.job(*job).filter(|job| job.spec.is_some());
            !serves || now.is_some_and(|job| self.view.level(job, self.at.wall) < reserved.level)
        };
        let void: Vec<_> = self.reserved.iter().filter(is_void).map(|(job, _)| job).collect();
        for job in void {
            self.unreserve(job);
        }
    }

    /// Starts the jobs whose places are free, and frees the places of those that have come to wait here.
    pub(super) fn place_reserved(&mut self) {
        for job in self.reserved.jobs() {
            let Some(reserved) = self.reserved.get(job).filter(|_| self.queue.contains(job)) else { continue };
            let executor = reserved.executor;
            let Some(homed) = self.homed.get(&executor).filter(|_| self.linked.contains(&executor)) else { continue };
            if homed.free_slots() > 0 && reserved.demand.fits_in(homed.free()) {
                let (session, demand) = (homed.session, reserved.demand);
                self.offer(job, executor, session, demand, Choice::KeptRoom);
            } else if !reserved.carried_out {
                self.stop_victims(job);
            }
        }
    }
}
